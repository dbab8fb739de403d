"""Locks between processes: leases on the embedded engine, which the kernel takes back from the dead; one starter."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_LOOK = 0.05


@dataclass
class _Held:
    fd: int
    users: int


# A process loses a POSIX lock when it closes any descriptor of the file: so one descriptor for all users in a process
_held: dict[tuple[int, Path], _Held] = {}
_guard = threading.Lock()


@contextmanager
def lease(path: Path, *, seconds: float) -> Iterator[None]:
    """Hold a shared POSIX lock on a file, which keeps the engine alive.

    While the engine holds it for itself, it is going away: that is waited for, at most `seconds`. Raises
    `TimeoutError`, `OSError`. Nothing else in this process may open the file.
    """
    key = (os.getpid(), path)
    with _guard:
        if key not in _held:
            _held[key] = _Held(_locked(path, seconds), 0)
        _held[key].users += 1
    try:
        yield
    finally:
        with _guard:
            if (held := _held.get((os.getpid(), path))) is not None:  # a forked child holds none
                held.users -= 1
                if not held.users:
                    del _held[key]
                    os.close(held.fd)


def _locked(path: Path, seconds: float) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # which of them is up to the system
                if time.monotonic() > end:
                    raise TimeoutError from None
                time.sleep(_LOOK)
            else:
                return fd
    except BaseException:
        os.close(fd)
        raise


@contextmanager
def alone(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Let one thread of one process in at a time; `waiting` is called once by who must wait. Raises `OSError`."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        told = False
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    told = True
                    waiting()
                time.sleep(_LOOK)
        yield
    finally:
        os.close(fd)
