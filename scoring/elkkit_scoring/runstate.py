"""What a batch run remembers beside its log, and how a log is opened again after a crash.

Beside `x.log` lies `x.log.run.json`: the runs that wrote to it, and the digest of each model that did. It is written
whole or not at all, before the first line of a model. The log itself stays the only record of what has been scored.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from elkkit.contract import Contract
from elkkit.errors import UsageError, from_os_error
from elkkit.line import Outcome, Parser

STATE_ENDING = ".run.json"
_VERSION = 1
_OURS = b'{"@timestamp":"'
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model as a run scored it."""

    service: str
    model: str
    version: str
    digest: str


@dataclass(frozen=True)
class LogState:
    """What is known of a log: its runs, the last one last."""

    log: int = 0  # inode of the log
    size: int = 0  # bytes of the log when a run last began or ended
    runs: Mapping[str, tuple[Deployment, ...]] = field(default_factory=dict)
    gone: tuple[str, ...] = ()  # runs whose lines were in a log that was rotated, cut or replaced

    @property
    def last(self) -> str:
        """The run that wrote last."""
        return next(reversed(list(self.runs)), "")

    def with_run(self, run_id: str, deployments: tuple[Deployment, ...]) -> LogState:
        """The same with a run added or replaced; it becomes the last."""
        others = {known: found for known, found in self.runs.items() if known != run_id}
        return replace(self, runs={**others, run_id: deployments})

    def without_lines(self) -> LogState:
        """The same when the log that held its runs' lines is no longer there."""
        return replace(self, runs={}, gone=(*self.gone, *self.runs))


def read_state(log: Path) -> LogState | None:
    """The state beside a log, or None. Raises `ElkkitError` where it cannot be read."""
    path = _state_path(log)
    try:
        raw: Any = json.loads(path.read_bytes())
        if raw["version"] != _VERSION:
            raise ValueError(f"its version is {raw['version']}, this elkkit reads {_VERSION}")
        runs = {str(run): tuple(Deployment(**entry) for entry in found) for run, found in raw["runs"].items()}
        return LogState(int(raw["log"]), int(raw["size"]), runs, tuple(str(run) for run in raw["gone"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error("read the run's state", path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        hint = f"start a new log, or remove {path} and give a new --run-id"
        raise UsageError(
            f"cannot read the run's state {path}", why=f"{type(error).__name__}: {error}", hint=hint
        ) from None


def write_state(log: Path, state: LogState) -> None:
    """Replace the state beside a log in one step. Raises `ElkkitError` where it cannot be written."""
    path = _state_path(log)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    text = json.dumps({"version": _VERSION, **asdict(state)}, indent=1, ensure_ascii=False) + "\n"
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise from_os_error("write the run's state", path, error) from error


def _state_path(log: Path) -> Path:
    return log.with_name(log.name + STATE_ENDING)


class OwnedLog:
    """A log that only this process writes a run to, its end repaired."""

    def __init__(self, path: Path) -> None:
        """Create or open the log and take its lock.

        Raises `UsageError` where another process scores to it, and `ElkkitError` where it cannot be opened.
        """
        self.path = path
        self.repaired = 0  # bytes of a line that a crash had cut off
        try:
            with suppress(FileExistsError):  # a file in the place of the folder: opening says so better
                path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            hint = f"name a file in a folder that you may write to (see: ls -ld {path.parent})"
            raise from_os_error("write the log", path, error, hint=hint) from error
        # A device or a pipe keeps nothing to resume from: no lock, no state, no repair.
        self.keeps = stat.S_ISREG(os.fstat(self._fd).st_mode)
        if self.keeps:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._fd)
                if not isinstance(error, BlockingIOError):
                    raise from_os_error("lock the log", path, error) from error
                why = "another process is scoring to it"
                hint = "wait until it has ended, or give another --log and a new --run-id"
                raise UsageError(f"cannot score to {path}", why=why, hint=hint) from None
            try:
                self.repaired = self._repair()
            except OSError as error:
                os.close(self._fd)
                raise from_os_error("repair the log", path, error) from error

    @property
    def inode(self) -> int:
        """The file's number, which a rotated log does not keep."""
        return os.fstat(self._fd).st_ino

    @property
    def size(self) -> int:
        """The log's size in bytes."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _repair(self) -> int:
        """Cut a last line of ours that has no line feed: its score may be cut short too, so it is scored again.

        Somebody else's unfinished line stays; the metric logger marks it as cut off.
        """
        size = self.size
        if not size or os.pread(self._fd, 1, size - 1) == b"\n":
            return 0
        start = self._last_line(size)
        head = os.pread(self._fd, len(_OURS), start)
        if not _OURS.startswith(head[: len(_OURS)]):
            return 0
        os.ftruncate(self._fd, start)
        return size - start

    def _last_line(self, end: int) -> int:
        """Where the last line begins."""
        while end > 0:
            begin = max(end - _BLOCK, 0)
            found = os.pread(self._fd, end - begin, begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
        return 0

    def event_ids(self, run_id: str, contract: Contract) -> Iterator[str]:
        """The `event.id` of every whole score of a run that the log holds."""
        parser = Parser.of(contract)
        for line in self.lines():
            parsed = parser.parse(line)
            if parsed.outcome in (Outcome.SCORED, Outcome.NOT_FINITE) and parsed.fields.get("run.id") == run_id:
                yield str(parsed.fields.get("event.id"))

    def lines(self) -> Iterator[bytes]:
        """The log's lines without their line feeds. Raises `ElkkitError` where it cannot be read."""
        try:
            with self.path.open("rb") as file:
                for line in file:
                    yield line.rstrip(b"\r\n")
        except OSError as error:
            raise from_os_error("read the log", self.path, error) from error
