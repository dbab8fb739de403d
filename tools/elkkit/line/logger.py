"""`metric_logger`: write one line per metric, for any model, from any scoring script."""

from __future__ import annotations

import errno
import logging
import os
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self, TextIO

from pythonjsonlogger.orjson import OrjsonFormatter

from elkkit.contract import Contract, load_contract
from elkkit.errors import InputError, StorageError, from_os_error
from elkkit.line.event import Score, field_value, make_event

LOGGER_NAME = "elkkit.metrics"
CUT_OFF = b" (cut off)\n"
"""Ends a line that a crash left unfinished, so that no parser takes its head for a score."""


class MetricLogger:
    """Writes metrics of one model as log lines; safe to use from several threads and processes.

    Each line is one write to a file opened for appending, so lines of several writers do not mix.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | TextIO | None = None,
        *,
        model_name: str | None = None,
        model_version: str | int | None = None,
        service_name: str | None = None,
        run_id: str | None = None,
        run_name: str | None = None,
        plain: bool = False,
        contract: Contract | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.contract = contract or load_contract()
        self.plain = plain
        self.run_id = run_id or os.environ.get("ELKKIT_RUN_ID") or uuid.uuid4().hex
        self._formatter = OrjsonFormatter([])  # an empty list: the line holds the event and nothing else
        self._lock = Lock()
        given = {
            "model.name": model_name,
            "model.version": model_version,
            "service.name": service_name,
            "run.id": self.run_id,
            "run.name": run_name,
            "log.level": "info",
            "log.logger": LOGGER_NAME,
            **(extra or {}),
        }
        self._fixed = {k: field_value(self.contract, k, v) for k, v in given.items() if v is not None}
        self._stream: TextIO | None = None
        self._fd = -1
        if target is None or not isinstance(target, str | os.PathLike):
            self._stream = target or sys.stdout
        else:
            self.path = Path(target)
            self._fd = _open_log(self.path)

    def log_metric(
        self,
        metric: str,
        score: Score,
        *,
        frame_id: str | None = None,
        frame_index: int | None = None,
        lane_free: bool | None = None,
        clip: str | None = None,
        conditions: Sequence[str] | None = None,
        request_id: str | None = None,
        timestamp: datetime | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Write one score (a number; None or NaN for undefined) and return the event that was written.

        Name the frame, so that models can be compared on it. Without `frame_id` and `request_id` a request id is
        minted. Further fields of the contract are given with `_` for the first dot (`model_backbone=…`) or as
        `**{"model.backbone": …}`. Raises `InputError` for what a line cannot hold and `StorageError` when the log
        cannot be written; then nothing of the line stays in the log.
        """
        if frame_id is None and request_id is None:
            request_id = uuid.uuid4().hex
        given = {
            **self._fixed,
            "frame.id": frame_id,
            "frame.index": frame_index,
            "frame.lane_free": lane_free,
            "frame.clip": clip,
            "frame.conditions": list(conditions) if conditions else None,
            "http.request.id": request_id,
            **{self._field(k): v for k, v in fields.items()},
        }
        event = make_event(self.contract, metric, score, timestamp=timestamp, fields=given)
        self._write(self._line(event))
        return event

    def _field(self, name: str) -> str:
        return name if name in self.contract.fields else name.replace("_", ".", 1)

    def _line(self, event: dict[str, Any]) -> bytes:
        if self.plain:
            return f"{event['message']}\n".encode()
        record = logging.LogRecord(LOGGER_NAME, logging.INFO, "", 0, event, None, None)
        return self._formatter.format(record).encode() + b"\n"

    def _write(self, line: bytes) -> None:
        with self._lock:
            if self._stream is not None:
                self._stream.write(line.decode())
                self._stream.flush()
                return
            if self._fd < 0:
                raise InputError("the metric log is closed", hint="open a new one with elkkit.metric_logger(…)")
            _write_whole(self._fd, line, self.path)

    def close(self) -> None:
        """Close the log file. Everything written is with the operating system already."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _open_log(path: Path) -> int:
    hint = f"name a file in a folder that you may write to (see: ls -ld {path.parent})"
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise from_os_error("write the log", path, error, hint=hint) from error
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            _write_whole(fd, CUT_OFF, path)
    except OSError as error:
        os.close(fd)
        raise from_os_error("read the log", path, error) from error
    except StorageError:
        os.close(fd)
        raise
    return fd


def _write_whole(fd: int, line: bytes, path: Path) -> None:
    """Write a line in one call; where the disk takes only a part of it, take that part back."""
    written = 0
    try:
        written = os.write(fd, line)
        if written < len(line):
            written += os.write(fd, line[written:])
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if written:
            with suppress(OSError):
                size = os.fstat(fd).st_size
                if os.pread(fd, written, size - written) == line[:written]:  # nobody has written after us
                    os.ftruncate(fd, size - written)
        raise from_os_error("write the log", path, error) from error


def metric_logger(target: str | os.PathLike[str] | TextIO | None = None, **options: Any) -> MetricLogger:
    """A logger that writes one line per metric to a file (or standard output).

    Options: `model_name`, `model_version`, `service_name`, `run_id`, `run_name`, `plain`, `contract`, `extra`.
    Your own metrics and dataset from `elkkit.toml` are known when no contract is given.
    """
    if options.get("contract") is None:
        from elkkit.settings import load_settings

        options["contract"] = load_settings().contract()
    return MetricLogger(target, **options)
