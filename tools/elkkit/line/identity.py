"""`event.id`: the same score has the same id wherever and however often it is read, so it counts once."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict

import orjson

_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_MOST_FILES = 4096


def subject(*, frame_id: str | None = None, request_id: str | None = None) -> str | None:
    """What was scored: a request of a service if there is one, else a frame of a batch run."""
    if request_id is not None:
        return f"r:{request_id}"
    return f"f:{frame_id}" if frame_id is not None else None


def event_id(
    *,
    run_id: str | None,
    service: str | None,
    model: str | None,
    version: str | None,
    subject: str,
    metric: str,
) -> str:
    """First 32 hex digits of SHA-256 of the compact JSON array of what identifies a score."""
    key = orjson.dumps([1, run_id, service, model, version, subject, metric])
    return hashlib.sha256(key).hexdigest()[:32]


def is_event_id(value: object) -> bool:
    """Whether a value read from a line can be trusted as a document id."""
    return isinstance(value, str) and _EVENT_ID.fullmatch(value) is not None


def line_id(device: int, inode: int, generation: int, offset: int, content: str) -> str:
    """The id of a line that carries none: where it is, and everything that the file holds up to its end.

    `generation` is how often the file was seen truncated, `offset` the line's first byte, and `content` the SHA-256 in
    hexadecimal of the file's bytes up to and with this line. The place tells equal lines of one file apart, the
    content tells a file that was written anew from the same file read again. A copy of the file has other ids.
    """
    key = orjson.dumps([2, device, inode, generation, offset, content])
    return hashlib.sha256(key).hexdigest()[:32]


class LineIds:
    """Ids for the lines of files that are read from their start, several at a time; tell it of every line in order."""

    def __init__(self) -> None:
        self._contents: OrderedDict[tuple[int, int, int], hashlib._Hash] = OrderedDict()
        self._file = (-1, -1, -1)
        self._content = hashlib.sha256()

    def read(self, device: int, inode: int, generation: int, data: bytes) -> None:
        """A line was read, `data` without its line feed."""
        file = (device, inode, generation)
        if file != self._file:
            known = self._contents.pop(file) if file in self._contents else hashlib.sha256()
            self._file, self._content = file, known
            self._contents[file] = self._content
            if len(self._contents) > _MOST_FILES:
                self._contents.popitem(last=False)
        self._content.update(data)
        self._content.update(b"\n")

    def id(self, offset: int) -> str:
        """The id of the line that was read last; `offset` is of its first byte."""
        return line_id(*self._file, offset, self._content.hexdigest())
