"""One growing log file behind an open descriptor: its new lines, and whether it still is what was read before.

A file is known by device and inode, and by the bytes before the place up to which it was read: inodes are used again,
and a file that was truncated may have grown past that place before anyone looks.
"""

from __future__ import annotations

import errno
import os
import re
import stat as modes
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

CHUNK = 256 * 1024
"""Most bytes read from one file at once, so that a long file does not keep the others waiting."""
_MARK = 1024
_BLOCK = 64 * 1024
_NUMBERED = re.compile(r"[._-]\d[\dT:._-]*")
_DATED = re.compile(r"[._-]\d{4}-?\d{2}-?\d{2}[\dT:._-]*")

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FollowedLine:
    """One line of a followed file or stream, without its line feed."""

    file: str
    """The name that was given, also for a line of an older file behind that name."""
    device: int
    inode: int
    """Of the file that the line is in, which keeps them when it is renamed."""
    generation: int
    """How often that file has been seen truncated: an offset means another line after each time."""
    offset: int
    """Of the line's first byte in that file, in bytes."""
    data: bytes
    ended: bool
    """A line feed followed. Without one, the file was left or the following ended before the line was whole."""
    cut: bool
    """Only the head is in `data`, since the line is too long."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The place up to which a file is known, and the bytes before it."""

    position: int
    before: bytes

    def fits(self, fd: int) -> bool:
        """The file holds these bytes at this place."""
        with suppress(OSError):
            return os.pread(fd, len(self.before), self.position - len(self.before)) == self.before
        return False


def bookmark_at(fd: int, position: int) -> Bookmark:
    """A bookmark in an open file. Raises `OSError`."""
    size = min(_MARK, position)
    return Bookmark(position, os.pread(fd, size, position - size))


def identity_of(stat: os.stat_result) -> Identity:
    """What a file keeps when it is renamed."""
    return stat.st_dev, stat.st_ino


class Splitter:
    """Cuts bytes into lines; holds back what has no line feed yet, and of that no more than `max_line` bytes."""

    def __init__(self, offset: int, max_line: int) -> None:
        self.offset = offset
        """Of the first byte that is held back."""
        self._max = max_line
        self._held = bytearray()
        self._length = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes, bool]]:
        """Each line that is now complete: its offset, its bytes, and whether they were cut."""
        *ended, rest = data.split(b"\n")
        for part in ended:
            line = self._take(part)
            yield line
            self.offset += 1
        if rest:
            self._length += len(rest)
            self._held += rest[: max(0, self._max - len(self._held))]

    def rest(self) -> tuple[int, bytes, bool] | None:
        """What is held back, given up as a line; None where nothing is."""
        return self._take(b"") if self._length else None

    def forget(self) -> None:
        """Drop what is held back: the file no longer has it."""
        self._held.clear()
        self._length = 0

    def skip(self, size: int) -> None:
        """Pass over bytes that belong to no line."""
        self.offset += size

    def _take(self, part: bytes) -> tuple[int, bytes, bool]:
        start, length = self.offset, self._length + len(part)
        if self._length:
            part = bytes(self._held) + part
            self.forget()
        self.offset += length
        return start, part[: self._max], length > self._max


class Look(Enum):
    """What one look at a file found."""

    NOTHING = "nothing new"
    SOME = "all that is there"
    MORE = "a part of what is there"
    TRUNCATED = "not the file as it was"


class GrowingFile:
    """A regular file that is read as it grows. Close it; every method may raise `OSError` unless it says otherwise."""

    def __init__(self, name: str, path: str, fd: int, *, start: int, max_line: int) -> None:
        stat = os.fstat(fd)
        self.name = name
        self.path = path
        """Where it was found, symbolic links resolved."""
        self.fd = fd
        self.identity = self.on_disk = identity_of(stat)
        """Of its lines; a copy's lines keep the identity of the file that was copied."""
        self.modified = stat.st_mtime_ns
        """When it was last seen changed, in nanoseconds; set by whoever looks at the path."""
        self.grown = time.monotonic()
        """When a look last found something, in seconds."""
        self.generation = 0
        self.lines: list[FollowedLine] = []
        """The complete lines that the last look found."""
        self._max = max_line
        self._after_truncation = False
        self._begin(bookmark_at(fd, start))

    def _begin(self, mark: Bookmark) -> None:
        self._read_to = mark
        self._line_start = mark  # where the line that is held back begins
        self._splitter = Splitter(mark.position, self._max)

    @property
    def bookmark(self) -> Bookmark:
        """How far it is read."""
        return self._read_to

    @property
    def line_start(self) -> Bookmark:
        """Where the line begins that is held back; the bookmark where none is."""
        return self._line_start

    @property
    def deleted(self) -> bool:
        """No name leads to it any more. Raises nothing."""
        with suppress(OSError):
            return os.fstat(self.fd).st_nlink == 0
        return True

    def look(self) -> Look:
        """Read on, at most `CHUNK` bytes; the new lines are in `lines`."""
        self.lines = []
        mark = self._read_to
        data = os.pread(self.fd, len(mark.before) + CHUNK, mark.position - len(mark.before))
        # one read gives both the bytes known before and the new ones, so nobody can truncate in between
        if not data.startswith(mark.before):
            return self._shrunk()
        new = data[len(mark.before) :]
        if not new:
            return Look.NOTHING
        self.grown = time.monotonic()
        position = mark.position + len(new)
        self._read_to = Bookmark(position, data[-_MARK:])
        if feed := data.rfind(b"\n", len(mark.before)) + 1:
            self._line_start = Bookmark(position - len(data) + feed, data[max(0, feed - _MARK) : feed])
        if self._after_truncation:
            new = self._without_hole(new)
        self.lines = [self._line(*line, ended=True) for line in self._splitter.feed(new)]
        return Look.MORE if len(data) == len(mark.before) + CHUNK else Look.SOME

    def _shrunk(self) -> Look:
        """Only the unfinished line was taken back (a writer on a full disk does that), or the file began anew."""
        if self._line_start.position and self._line_start.fits(self.fd):
            self._splitter.forget()
            self._read_to = self._line_start
            return Look.SOME
        return Look.TRUNCATED

    def restart(self) -> None:
        """Read it from its start, as a file with new content."""
        self.grown = time.monotonic()
        self.generation += 1
        self._after_truncation = True
        self._begin(Bookmark(0, b""))

    def _without_hole(self, new: bytes) -> bytes:
        # a writer that does not append goes on at its old offset, and the file begins with a hole
        text = new.lstrip(b"\0")
        self._splitter.skip(len(new) - len(text))
        self._after_truncation = not text
        return text

    def rest(self) -> FollowedLine | None:
        """Give up the line that is held back. Raises nothing."""
        line = self._splitter.rest()
        return self._line(*line, ended=False) if line else None

    def _line(self, offset: int, data: bytes, cut: bool, *, ended: bool) -> FollowedLine:
        return FollowedLine(self.name, *self.identity, self.generation, offset, data, ended, cut)

    def continue_in(self, path: str) -> GrowingFile | None:
        """The copy of this file at `path`, read on from here under this file's identity; None where it has no more.

        For copytruncate: the lines that were written after the last look are in the copy. It takes over what this
        file holds back. Raises nothing.
        """
        mark = self._read_to
        fd = open_quietly(path)
        if fd is None:
            return None
        with suppress(OSError):
            if mark.position and os.fstat(fd).st_size > mark.position and mark.fits(fd):
                copy = GrowingFile(self.name, path, fd, start=mark.position, max_line=self._max)
                copy.identity, copy.generation = self.identity, self.generation
                copy._splitter, self._splitter = self._splitter, copy._splitter
                copy._line_start = self._line_start
                return copy
        os.close(fd)
        return None

    def reopen(self) -> bool:
        """Open the path again where it still leads to this file, after the descriptor failed. Raises nothing."""
        fd = open_quietly(self.path)
        if fd is None:
            return False
        if identity_of(os.fstat(fd)) != self.on_disk:
            os.close(fd)
            return False
        self.close()
        self.fd = fd
        return True

    def close(self) -> None:
        """Let go of the descriptor. Raises nothing."""
        with suppress(OSError):
            os.close(self.fd)


OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""For reading; a pipe without a writer and a terminal must not stop us."""


def not_a_log(mode: int) -> OSError | None:
    """Why a file of this mode cannot be followed; None where it can."""
    if modes.S_ISDIR(mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not modes.S_ISREG(mode):
        return OSError(errno.EINVAL, "it is neither a file nor a pipe")
    return None


def open_quietly(path: str) -> int | None:
    """A descriptor for reading, or None."""
    try:
        return os.open(path, OPEN_FLAGS)
    except OSError:
        return None


def siblings(path: str) -> list[str]:
    """Files in the same folder with names that rotation gives: `a.log.1`, `a.log.20261122-101112`, `a-20261122.log`."""
    folder, base = os.path.split(path)
    stem, ending = Path(base).stem, Path(base).suffix
    found = []
    with suppress(OSError), os.scandir(folder or ".") as entries:
        for entry in entries:
            numbered = entry.name.startswith(base) and _NUMBERED.fullmatch(entry.name, len(base))
            # a number alone may be another service's: lane-1.log and lane-1-2.log
            inside = entry.name.startswith(stem) and entry.name.endswith(ending) and ending
            dated = inside and _DATED.fullmatch(entry.name, len(stem), len(entry.name) - len(ending))
            if (numbered or dated) and entry.is_file(follow_symlinks=False):
                found.append(entry.path)
    return found


def last_lines(fd: int, count: int) -> int:
    """Offset from which `count` lines remain; text after the last line feed is a line too, and is never split."""
    position = os.fstat(fd).st_size
    missing = max(count, 1)
    last = True
    while position > 0:
        start = max(0, position - _BLOCK)
        block = os.pread(fd, position - start, start)
        at = len(block)
        if last and count and block.endswith(b"\n"):
            at -= 1  # it ends the last line
        last = False
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            missing -= 1
            if not missing:
                return start + at + 1
        position = start
    return 0
