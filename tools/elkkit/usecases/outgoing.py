"""Lines on their way to Elasticsearch: read from files that are each read once, and made documents."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ElkkitError
from elkkit.line.document import document
from elkkit.line.event import timestamp_text
from elkkit.line.identity import LineIds
from elkkit.line.parser import Outcome, Parsed
from elkkit.line.strictjson import NotJSONError, loads
from elkkit.stack.conflicts import Document
from elkkit.stack.files import STDIN, readable
from elkkit.stack.follow import Follower
from elkkit.stack.growing import FollowedLine

_OPEN = 100
"""Files that are read at once: a process may open about a thousand."""


def each_once(files: Sequence[str], notice: Callable[[str], None]) -> list[str]:
    """The files without those that are another's second name; what is wrong with one is told by who reads it."""
    seen: dict[object, str] = {}
    for name in files:
        key: object = name
        with suppress(OSError):
            if name != STDIN:
                found = Path(name).stat()
                key = (found.st_dev, found.st_ino)
        if key in seen:
            notice(f"{shown_name(name)} is {shown_name(seen[key])}, and is read once")
        else:
            seen[key] = name
    return list(seen.values())


def read(
    files: Sequence[str],
    *,
    follow: bool,
    stop: Callable[[Callable[[], None]], None],
    notice: Callable[[str], None],
    failed: list[ElkkitError],
) -> Generator[FollowedLine | None]:
    """The lines of all files, and None after each round; what ended before its end goes to `failed`.

    `stop` is given what ends the reading.
    """
    size = len(files) if follow else _OPEN
    for start in range(0, len(files), size):
        with Follower(files[start : start + size], last=None, following=follow, notice=notice) as follower:
            stop(follower.stop)
            try:
                yield from follower.lines()
            finally:
                failed += follower.failed


def is_whole(parsed: Parsed, data: bytes) -> bool:
    """Whether a line without a line feed can be no longer than it is: one JSON object."""
    if parsed.outcome in (Outcome.SCORED, Outcome.NOT_FINITE):
        return True
    try:
        return isinstance(loads(data.strip(b" \t\r")), dict)
    except NotJSONError:
        return False


def shown_name(name: str) -> str:
    """A file's name as text, also where its bytes are none."""
    return "standard input" if name == STDIN else readable(name)


class Maker:
    """Makes documents of lines."""

    def __init__(self, contract: Contract) -> None:
        self._dataset = contract.dataset
        self._host = socket.gethostname()
        self._paths: dict[str, str | None] = {STDIN: None}
        self._ids = LineIds()

    def saw(self, line: FollowedLine) -> None:
        """Every line that was read, in order."""
        self._ids.read(line.device, line.inode, line.generation, line.data)

    def document(self, parsed: Parsed, line: FollowedLine) -> Document:
        """The document of the line that was seen last."""
        if line.file not in self._paths:
            self._paths[line.file] = shown_name(str(Path(line.file).absolute()))
        path = self._paths[line.file]
        shipper: dict[str, Any] = {"host.name": self._host}
        if path is not None:
            shipper = {"log.file.path": path, "log.offset": line.offset, "host.name": self._host}
        other_id = partial(self._ids.id, line.offset)
        identity, operation = document(
            parsed, shipper=shipper, dataset=self._dataset, other_id=other_id, read_at=timestamp_text
        )
        return Document(identity, operation, line.file, line.offset)
