"""A path to follow, whatever files it leads to: rotation by rename and by copytruncate, absence, symbolic links."""

from __future__ import annotations

import errno
import os
import stat as modes
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from elkkit.errors import from_os_error
from elkkit.stack.growing import (
    OPEN_FLAGS,
    Bookmark,
    FollowedLine,
    GrowingFile,
    Identity,
    Look,
    bookmark_at,
    identity_of,
    last_lines,
    not_a_log,
    open_quietly,
    siblings,
)

Notice = Callable[[str], None]
"""Is told in one line what happens to a file."""
_MOST_LINGERING = 16
_MOST_REMEMBERED = 1024
_GZIP_MAGIC = b"\x1f\x8b"


class Known:
    """Files that are open or were read, for all names together: a file is read once, whatever it is called by then."""

    def __init__(self) -> None:
        self._open: dict[Identity, GrowingFile] = {}
        self._left: OrderedDict[Identity, Bookmark] = OrderedDict()

    def opened(self, file: GrowingFile) -> None:
        """It is being read."""
        self._open[file.on_disk] = file

    def is_open(self, identity: Identity) -> bool:
        """It is being read now, under whatever name."""
        return identity in self._open

    def left(self, file: GrowingFile) -> None:
        """It is read no longer; how far it was read is remembered."""
        if self._open.get(file.on_disk) is file:
            del self._open[file.on_disk]
        self.remember(file.on_disk, file.bookmark)

    def remember(self, identity: Identity, mark: Bookmark) -> None:
        """What lies before this mark needs no reading."""
        self._left[identity] = mark
        self._left.move_to_end(identity)
        if len(self._left) > _MOST_REMEMBERED:
            self._left.popitem(last=False)

    def read_to(self, identity: Identity, fd: int) -> int:
        """How much of this file was read already; 0 where another file has its inode by now."""
        mark = self._left.get(identity)
        return mark.position if mark and mark.fits(fd) else 0


class FollowedPath:
    """Whatever files a path leads to, one after the other."""

    readable: int | None = None

    def __init__(
        self, name: str, known: Known, notice: Notice, linger: float, max_line: int, *, following: bool
    ) -> None:
        self.busy = False
        self.done = False
        self._name = name
        self._known = known
        self._notice = notice
        self._linger = linger
        self._max_line = max_line
        self._following = following
        self._trouble = ""
        self._failing = False
        self._gone = False
        self._files: list[GrowingFile] = []
        """Oldest first; the path led to the last one when it was last looked at."""

    def start(self, last: int | None) -> bool:
        """Open the file that is there now; False where it is gzip. Raises `InputError`."""
        try:
            fd = os.open(self._name, OPEN_FLAGS)
        except OSError as error:
            if error.errno == errno.ENOENT and self._following:
                self._wait_for(error)
                return True
            raise from_os_error("read", self._name, error) from error
        try:
            if os.pread(fd, 2, 0) == _GZIP_MAGIC:
                os.close(fd)
                return False
            if self._known.is_open(identity_of(os.fstat(fd))):
                os.close(fd)
                self._notice(f"{self._name} is a second name of a file that is read already")
                self.done = not self._following
                return True
            file = self._open(fd, start=0 if last is None else last_lines(fd, last))
        except OSError as error:
            os.close(fd)
            raise from_os_error("read", self._name, error) from error
        self._remember_siblings(file.path)
        return True

    def turn(self) -> Iterator[FollowedLine]:
        """What is new, oldest first. Raises `ElkkitError` only when not following."""
        self.busy = self._failing = False
        idle = []
        for file in list(self._files):
            try:
                look = file.look()
            except OSError as error:
                yield from self._unreadable(file, error)
                continue
            yield from file.lines
            if look is Look.TRUNCATED:
                yield from self._truncated(file)
            if look is Look.NOTHING:
                idle.append(file)
                continue
            self.busy = True
            if look is not Look.SOME:
                break  # what is newer waits for what is older
        if not self._following:
            if not self.busy:
                yield from self.rest()
                self.close()
                self.done = True
            return
        yield from self._leave(idle)
        self._look_at_path()

    def rest(self) -> Iterator[FollowedLine]:
        """The lines that are held back."""
        for file in self._files:
            if line := file.rest():
                yield line

    def close(self) -> None:
        """Let go of every descriptor."""
        for file in self._files:
            file.close()
        self._files = []

    def _open(self, fd: int, start: int) -> GrowingFile:
        file = GrowingFile(self._name, os.path.realpath(self._name), fd, start=start, max_line=self._max_line)
        self._known.opened(file)
        self._files.append(file)
        return file

    def _truncated(self, file: GrowingFile) -> Iterator[FollowedLine]:
        self._notice(f"{self._name} was truncated; reading it from its start")
        copy = next((c for path in siblings(file.path) if (c := file.continue_in(path))), None)
        if copy is not None:
            self._files.insert(self._files.index(file), copy)
        elif line := file.rest():
            yield line
        file.restart()
        self._remember_siblings(file.path)

    def _unreadable(self, file: GrowingFile, error: OSError) -> Iterator[FollowedLine]:
        if not self._following:
            raise from_os_error("read", self._name, error) from error
        self._failing = True
        self._wait_for(error)
        if not file.reopen() and file is not self._files[-1]:
            yield from self._done_with(file)

    def _leave(self, idle: Iterable[GrowingFile]) -> Iterator[FollowedLine]:
        """Give up files that the path no longer leads to and that have stopped growing."""
        now = time.monotonic()
        for file in idle:
            quiet = now - file.grown
            if file is not self._files[-1]:
                replaced = self._files[-1].bookmark.position > 0  # else the writer may still be at the old one
                old = quiet > self._linger * (1 if replaced else 6) or len(self._files) > _MOST_LINGERING
            else:
                old = self._gone and quiet > self._linger and file.deleted
            if old:
                yield from self._done_with(file)

    def _done_with(self, file: GrowingFile) -> Iterator[FollowedLine]:
        if line := file.rest():
            yield line
        self._files.remove(file)
        self._known.left(file)
        file.close()

    def _look_at_path(self) -> None:
        current = self._files[-1] if self._files else None
        try:
            stat = Path(self._name).stat()
            if current and current.on_disk == identity_of(stat):
                current.modified = stat.st_mtime_ns
                if not self._failing:
                    self._found("")
                return
            if self._known.is_open(identity_of(stat)):
                self._back_to(identity_of(stat))
                return
            if problem := not_a_log(stat.st_mode):
                raise problem
            fd = os.open(self._name, OPEN_FLAGS)
        except OSError as error:
            self._gone = error.errno == errno.ENOENT
            self._wait_for(error)
            return
        try:
            self._replace(current, fd)
        except OSError as error:
            os.close(fd)
            self._wait_for(error)

    def _replace(self, current: GrowingFile | None, fd: int) -> None:
        """Go on with another file at the path, which `fd` reads."""
        identity = identity_of(os.fstat(fd))
        if self._known.is_open(identity):  # renamed in this moment; the next look sees it
            os.close(fd)
            return
        if os.pread(fd, 2, 0) == _GZIP_MAGIC:
            os.close(fd)
            self._wait_for("it holds gzip data, which cannot be followed")
            return
        if current is not None and _same_log(current, fd):  # an editor or rsync has put a copy in its place
            self._open(fd, start=current.line_start.position)
            self._files.remove(current)
            self._known.left(current)
            current.close()
            self._found(f"{self._name} was replaced by a copy; going on where it was")
            return
        was = "was rotated; going on with the new file" if current else "has appeared"
        file = self._open(fd, start=self._known.read_to(identity, fd))
        if current is not None:
            # usually the new file is the last; but there may be a newer one by now, and the next look finds it
            self._files[-1:] = sorted([*self._missed(current), file], key=lambda f: f.modified)
        else:
            self._remember_siblings(file.path)
        self._found(f"{self._name} {was}")
        self.busy = True

    def _back_to(self, identity: Identity) -> None:
        """The path leads to a file that is open: an older one of ours, or one that another name follows."""
        ours = next((f for f in self._files if f.on_disk == identity), None)
        if ours is not None:
            self._files.remove(ours)
            self._files.append(ours)
            self._found("")

    def _missed(self, current: GrowingFile) -> list[GrowingFile]:
        """Files that came and were rotated away since the last look."""
        found: list[GrowingFile] = []
        quiet = 0
        while quiet < 2:  # a rotation in the middle of a listing can hide a file from it
            paths = [current.path, *siblings(current.path)]
            new = [f for path in paths if (f := self._adopt(path, current.modified))]
            found += new
            quiet = 0 if new else quiet + 1
        return found

    def _adopt(self, path: str, since: int) -> GrowingFile | None:
        fd = open_quietly(path)
        if fd is None:
            return None
        try:
            stat = os.fstat(fd)
            identity = identity_of(stat)
            ours = modes.S_ISREG(stat.st_mode) and stat.st_mtime_ns >= since and not self._known.is_open(identity)
            if ours and not self._known.read_to(identity, fd) and os.pread(fd, 2, 0) != _GZIP_MAGIC:
                file = GrowingFile(self._name, path, fd, start=0, max_line=self._max_line)
                self._known.opened(file)
                return file
        except OSError as error:
            self._notice(f"{path} may hold lines of {self._name} and cannot be read: {error.strerror}")
        os.close(fd)
        return None

    def _remember_siblings(self, path: str) -> None:
        """Older files that lie there already are none that were missed."""
        for other in siblings(path):
            fd = open_quietly(other)
            if fd is None:
                continue
            try:
                stat = os.fstat(fd)
                if not self._known.is_open(identity_of(stat)):
                    self._known.remember(identity_of(stat), bookmark_at(fd, stat.st_size))
            except OSError:
                pass  # what cannot be read now is not adopted later either
            finally:
                os.close(fd)

    def _wait_for(self, why: str | OSError) -> None:
        why = why if isinstance(why, str) else why.strerror or str(why)
        if self._trouble != why:
            self._trouble = why
            self._notice(f"waiting for {self._name}: {why}")

    def _found(self, news: str) -> None:
        if news or self._trouble:
            self._notice(news or f"{self._name} is back")
        self._trouble = ""
        self._gone = False


def _same_log(current: GrowingFile, fd: int) -> bool:
    """Another file begins with the same bytes and has the same bytes where reading stopped."""
    mark = current.bookmark
    size = len(mark.before)
    if mark.position <= size or not mark.fits(fd):  # too short to tell from another file that begins alike
        return False
    return os.pread(fd, size, 0) == os.pread(current.fd, size, 0)
