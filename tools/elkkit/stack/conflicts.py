"""What a stream holds already under the ids that are to be sent, and whether it is the same."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from elkkit.line.document import fields_of
from elkkit.stack.streams import Stream, find_stream

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

_COMPARED = ("metrictype", "metricscores", "metricraw", "message")
_NOT_ALLOWED = (401, 403)
_MOST_HITS = 10_000
"""What a server gives at once; an id may be in several older indices."""


class Document(NamedTuple):
    """One document to be created."""

    id: str
    operation: bytes
    """Its two lines of a bulk request."""
    file: str
    offset: int
    """Of the line's first byte in that file."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another score is stored under the same id."""

    document: Document
    stored: str
    """What is stored: a score as text, or the text of a line that is none."""
    given: str
    """The same of the line."""


def compare(document: Document, stored: Mapping[str, Any]) -> Conflict | None:
    """None where a stored event says what the document says. Scores are compared bit by bit: -0.0 is not 0.0."""
    given = fields_of(document.operation)
    names = ("metrictype", "metricraw") if "metrictype" in given else ("metrictype", "metricraw", "message")
    same = all(given.get(name) == stored.get(name) for name in names)
    if same and _bits(given.get("metricscores")) == _bits(stored.get("metricscores")):
        return None
    return Conflict(document, _shown(stored), _shown(given))


def _bits(score: Any) -> bytes | None:
    """A score's 64 bits; other roads may have written a whole number, or its text."""
    if score is None:
        return None
    try:
        return struct.pack(">d", float(score))
    except (TypeError, ValueError, OverflowError):
        return repr(score).encode()


def _shown(fields: Mapping[str, Any]) -> str:
    name = fields.get("metrictype")
    if name is None:
        return str(fields.get("message", ""))[:200]
    score = fields.get("metricscores")
    return f"{name} : {fields.get('metricraw') if score is None else score}"[:200]


class Present:
    """What a stream holds already; several threads may ask. The client's errors pass through."""

    def __init__(self, elastic: Elastic, stream: Stream | None, notice: Callable[[str], None]) -> None:
        """`stream` is None where the credentials may not see what stands behind the name."""
        self._elastic = elastic
        self._notice = notice
        self._stream = stream
        self._refreshed: set[str] = set()
        self._told: set[str] = set()
        self._lock = Lock()

    def in_older(self, documents: Sequence[Document], *, again: bool) -> dict[str, Mapping[str, Any]]:
        """What indices that take no new documents hold under these ids.

        An id is unique in one index only, so behind a rollover the newest one would create it a second time. `again`:
        a sending failed, so something may have been written since these indices were last refreshed.
        """
        older = self._older()
        if not older:
            return {}
        try:
            self._refresh(older, again=again)
            ids = list({d.id for d in documents})
            found = self._elastic.client.search(
                index=",".join(older), query={"ids": {"values": ids}}, size=_MOST_HITS, source_includes=_COMPARED,
                ignore_unavailable=True, allow_partial_search_results=False,
                filter_path="hits.hits._id,hits.hits._source",
            )  # fmt: skip
        except Exception as error:
            if getattr(error, "status_code", 0) != 403:
                raise
            self._tell_once("these credentials may not read the stream's older indices: what they hold may count twice")
            return {}
        return {hit["_id"]: hit.get("_source", {}) for hit in found.get("hits", {}).get("hits", ())}

    def _older(self) -> tuple[str, ...]:
        """Asked for each chunk anew: two small requests, beside a large one that would create what is there already."""
        if self._stream is None:
            return ()
        stream = find_stream(self._elastic, self._stream.name)
        return stream.older  # none where the stream is gone, which the sending itself tells

    def _refresh(self, older: Iterable[str], *, again: bool) -> None:
        """Let a search see what was written to an index before it became an old one."""
        with self._lock:
            new = [index for index in older if again or index not in self._refreshed]
            if not new:
                return
            try:
                self._elastic.client.indices.refresh(index=",".join(new), ignore_unavailable=True)
            except Exception as error:
                if getattr(error, "status_code", 0) != 403:
                    raise
            self._refreshed.update(new)

    def stored(self, index: str, ids: Sequence[str]) -> dict[str, Mapping[str, Any]] | None:
        """What an index holds under these ids, by id; None where the credentials may not read it."""
        wanted = list(dict.fromkeys(ids))
        try:
            told = self._elastic.client.mget(
                index=index, ids=wanted, source_includes=_COMPARED, filter_path="docs._id,docs.found,docs._source"
            )  # fmt: skip
        except Exception as error:
            if getattr(error, "status_code", 0) not in _NOT_ALLOWED:
                raise
            return None
        return {d["_id"]: d.get("_source", {}) for d in told.get("docs", ()) if d.get("found")}

    def _tell_once(self, text: str) -> None:
        with self._lock:
            told = text in self._told
            self._told.add(text)
        if not told:
            self._notice(text)
