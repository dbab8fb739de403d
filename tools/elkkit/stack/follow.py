"""Follow files and streams: every line as it comes, once, through rotation, truncation and absence.

    with Follower(["a.log", "b.log"], last=10, notice=print) as follower:
        for line in follower.lines():
            if line is None:  # a round is over: a good moment to flush
                ...

Polling, since it works on every file system and in containers; an idle file costs two system calls a look.
What cannot be had: lines that were overwritten or deleted, with every descriptor and copy, between two looks.
"""

from __future__ import annotations

import os
import select
import stat as modes
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from elkkit.errors import ElkkitError, InputError, from_os_error
from elkkit.stack.files import MAX_LINE, STDIN, read_lines
from elkkit.stack.growing import CHUNK, OPEN_FLAGS, FollowedLine, Identity, Splitter, identity_of, not_a_log
from elkkit.stack.rotation import FollowedPath, Known, Notice

INTERVAL = 0.25
"""Seconds between two looks at files that did not grow."""
LINGER = 10.0
"""Seconds for which a rotated file is still read after it last grew: its writer may not have noticed yet."""
_GZIP_TURN = 1000


class _Source(Protocol):
    busy: bool
    """The last turn found something, so there may be more."""
    done: bool
    """It has ended and is closed."""

    @property
    def readable(self) -> int | None:
        """A descriptor that says when there is more, for what need not be polled."""

    def turn(self) -> Iterator[FollowedLine]:
        """What is new, up to about `CHUNK` bytes. Raises `ElkkitError` where it ends for good."""

    def rest(self) -> Iterator[FollowedLine]:
        """Lines that are held back."""

    def close(self) -> None:
        """Let go of every descriptor."""


class Follower:
    """Several files and streams, followed together; a context manager, or call `close`."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        last: int | None = None,
        following: bool = True,
        interval: float = INTERVAL,
        linger: float = LINGER,
        max_line: int = MAX_LINE,
        notice: Notice = lambda _text: None,
        output: int | None = None,
    ) -> None:
        """Open what is there.

        `names`: paths, or `-` for standard input; a path may be missing while following, and is waited for.
        `last`: begin with so many last lines of each file, None for all; a stream that is followed is given whole.
        `following`: False reads each to its present end. `interval` and `linger` are in seconds. `max_line`: bytes of
        a line that are kept. `notice` is told of waiting, rotation and truncation. `output`: a descriptor; when its
        reader hangs up, following ends.

        Raises `InputError` for what can be neither read nor waited for, such as a folder; not following, such errors
        are kept in `failed` instead, and the rest is read.
        """
        self.failed: list[ElkkitError] = []
        """What ended before its end."""
        self.hung_up = False
        """The reader of `output` is gone."""
        self._interval = interval
        self._linger = linger
        self._following = following
        self._last = last
        self._max_line = max_line
        self._notice = notice
        self._output = output
        self._stopping = False
        self._known = Known()
        self._sources: list[_Source] = []
        for name in dict.fromkeys(names):
            try:
                self._sources.append(self._source(name))
            except ElkkitError as error:
                if following:
                    self.close()
                    raise
                self.failed.append(error)

    def lines(self) -> Iterator[FollowedLine | None]:
        """Every line as it comes, and None after each round over all sources.

        Ends when each source has ended, after `stop`, and when the output has hung up; the lines that are held back
        come last, with `ended` false.
        """
        while self._sources and not self._ending():
            for source in self._sources:
                try:
                    yield from source.turn()
                except ElkkitError as error:
                    self.failed.append(error)
                    yield from source.rest()
                    source.close()
                    source.done = True
                if self._ending():
                    break
            self._sources = [s for s in self._sources if not s.done]
            yield None
            if self._sources and not self._ending():
                self._wait(0 if any(s.busy for s in self._sources) else self._interval)
        if not self.hung_up:
            for source in self._sources:
                yield from source.rest()
            yield None

    def stop(self) -> None:
        """End soon: after the turn in progress, and within one interval. May be called from a signal handler."""
        self._stopping = True

    def _ending(self) -> bool:  # a signal may set it at any moment
        return self._stopping

    def close(self) -> None:
        """Let go of every descriptor."""
        for source in self._sources:
            source.close()
        self._sources = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _source(self, name: str) -> _Source:
        last = None if self._following else self._last
        if name == STDIN:
            return _Stream(name, _stdin(), last, self._max_line)
        try:
            mode = Path(name).stat().st_mode
        except FileNotFoundError as error:
            if not self._following:
                raise from_os_error("read", name, error) from error
            mode = modes.S_IFREG
        except OSError as error:
            raise from_os_error("read", name, error) from error
        if modes.S_ISFIFO(mode) or modes.S_ISCHR(mode):
            try:
                return _Stream(name, os.open(name, OPEN_FLAGS), last, self._max_line, own=True)
            except OSError as error:
                raise from_os_error("read", name, error) from error
        if problem := not_a_log(mode):
            raise from_os_error("read", name, problem)
        path = FollowedPath(name, self._known, self._notice, self._linger, self._max_line, following=self._following)
        if path.start(self._last):
            return path
        return _Gzip(name, self._last, self._max_line)

    def _wait(self, seconds: float) -> None:
        readable = [source.readable for source in self._sources if source.readable is not None]
        if pause(seconds, readable, self._output):
            self.hung_up = self._stopping = True


def pause(seconds: float, readable: Iterable[int], output: int | None) -> bool:
    """Sleep, but not through input on a descriptor nor the end of the output's reader; True where that has come."""
    if not hasattr(select, "poll"):
        time.sleep(seconds)
        return False
    poll = select.poll()
    for fd in readable:
        poll.register(fd, select.POLLIN)
    if output is not None:
        poll.register(output, 0)  # a hang-up is always reported
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return any(fd == output and bool(event & gone) for fd, event in poll.poll(seconds * 1000))


def _stdin() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # or it is no real file, as in a test
        hint = "give it one, for example: kubectl logs -f deploy/lane-a | elkkit tail -"
        raise InputError("cannot read standard input", why="it is closed", hint=hint) from None


class _Stream:
    """Standard input, a pipe or a terminal: read to its end, each line as soon as it is there."""

    def __init__(self, name: str, fd: int, last: int | None, max_line: int, *, own: bool = False) -> None:
        self.busy = False
        self.done = False
        self.readable: int | None = fd
        self._name = name
        self._fd = fd
        self._own = own
        self._identity: Identity = identity_of(os.fstat(fd))
        self._splitter = Splitter(0, max_line)
        self._kept: deque[FollowedLine] | None = None if last is None else deque(maxlen=last)

    def turn(self) -> Iterator[FollowedLine]:
        self.busy = False
        try:
            if hasattr(select, "poll"):
                poll = select.poll()
                poll.register(self._fd, select.POLLIN)
                if not poll.poll(0):
                    return
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise from_os_error("read", "standard input" if self._name == STDIN else self._name, error) from error
        self.busy = True
        yield from self._keep(self._line(*line, ended=True) for line in self._splitter.feed(data))
        if not data:
            yield from self.rest()
            self.close()
            self.done = True

    def rest(self) -> Iterator[FollowedLine]:
        line = self._splitter.rest()
        yield from self._keep([self._line(*line, ended=False)] if line else [])
        if self._kept is not None:
            yield from self._kept
            self._kept = None

    def close(self) -> None:
        if self._own:
            os.close(self._fd)
            self._own = False

    def _keep(self, lines: Iterable[FollowedLine]) -> Iterable[FollowedLine]:
        if self._kept is None:
            return lines
        self._kept.extend(lines)
        return ()

    def _line(self, offset: int, data: bytes, cut: bool, *, ended: bool) -> FollowedLine:
        return FollowedLine(self._name, *self._identity, 0, offset, data, ended, cut)


class _Gzip:
    """A gzip file: read once, since it does not grow."""

    readable: int | None = None

    def __init__(self, name: str, last: int | None, max_line: int) -> None:
        self.busy = True
        self.done = False
        self._kept: deque[FollowedLine] | None = None if last is None else deque(maxlen=last)
        self._lines = self._read(name, max_line)

    def _read(self, name: str, max_line: int) -> Iterator[FollowedLine]:
        try:
            identity = identity_of(Path(name).stat())
        except OSError as error:
            raise from_os_error("read", name, error) from error
        for line in read_lines(name, max_line=max_line):
            yield FollowedLine(name, *identity, 0, line.offset, line.data, line.ended, line.cut)

    def turn(self) -> Iterator[FollowedLine]:
        taken = 0
        for line in islice(self._lines, _GZIP_TURN):
            taken += 1
            if self._kept is None:
                yield line
            else:
                self._kept.append(line)
        if taken < _GZIP_TURN:
            yield from self._kept or ()
            self.done = True

    def rest(self) -> Iterator[FollowedLine]:
        yield from self._kept or ()

    def close(self) -> None:
        close = getattr(self._lines, "close", None)
        if close is not None:
            close()
