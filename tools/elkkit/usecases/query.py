"""Find the events that a KQL query asks for, in logs or in a stream of Elasticsearch: the same ones in both."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elkkit.contract import Contract
from elkkit.errors import ElkkitError
from elkkit.kql import Node, event_moment, to_predicate, to_query
from elkkit.line.canary import is_canary
from elkkit.line.parser import Parser
from elkkit.stack.files import STDIN, read_lines
from elkkit.stack.reading import (
    PAGE,
    Query,
    all_of,
    any_of,
    exists,
    field_types,
    no_canaries,
    none_of,
    read_document,
    snapshot,
    there,
)
from elkkit.usecases.outgoing import each_once, shown_name
from elkkit.usecases.parse import judge_strictly

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

_WHAT = "read the events"
# by moment, those without one first; where moments are equal, by the id that is also the document's
_ORDER: tuple[Query, ...] = (
    {"@timestamp": {"order": "asc", "missing": 0}},
    {"event.id": {"order": "asc", "missing": "_first", "unmapped_type": "keyword"}},
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for."""

    query: Node
    since: int | None = None
    """Milliseconds since 1970: events of an earlier `@timestamp` are left out, those that tell none are not."""
    until: int | None = None
    """Likewise those of a later one."""
    limit: int | None = None
    """Events after which the search ends; None for all."""
    canaries: bool = False
    """Canaries too: the query is about them."""


@dataclass(slots=True)
class Found:
    """What was read so far, and how much of it was asked for."""

    read: int = 0
    """Lines; or the documents of the stream."""
    matched: int = 0
    failed: list[ElkkitError] = field(default_factory=list)
    """Files that could not be read, or not to their end."""

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return {"read": self.read, "matched": self.matched}


def query_files(
    files: Sequence[str],
    contract: Contract,
    asked: Asked,
    found: Found,
    notice: Callable[[str], None] = lambda _text: None,
) -> Iterator[dict[str, Any]]:
    """A record for each line that matches: file, byte offset, outcome and fields; file after file.

    A line is asked as the event that `elkkit ship` makes of it: with its file's path and host, malformed or text as
    it may be. A file that fails does not stop the rest; its error goes to `found`. `notice` is told what a person
    should know. Raises `KqlError` for a query that cannot be asked.
    """
    matches = to_predicate(asked.query, contract)
    return islice(_in_files(each_once(files, notice), contract, asked, matches, found), asked.limit)


def _in_files(
    files: Sequence[str], contract: Contract, asked: Asked, matches: Callable[[Mapping[str, Any]], bool], found: Found
) -> Iterator[dict[str, Any]]:
    parser, host = Parser.of(contract), socket.gethostname()
    for name in files:
        shipper = {"host.name": host, "event.dataset": contract.dataset}
        if name != STDIN:
            shipper["log.file.path"] = shown_name(str(Path(name).absolute()))
        try:
            for line in read_lines(name):
                parsed = judge_strictly(parser, line)
                if not asked.canaries and is_canary(contract, parsed.fields):
                    continue
                found.read += 1
                place = {"log.offset": line.offset} if name != STDIN else {}
                if _in_time(parsed.fields, asked) and matches({**parsed.fields, **shipper, **place}):
                    found.matched += 1
                    yield {"file": name, "offset": line.offset, "outcome": parsed.outcome, **parsed.fields}
        except ElkkitError as error:
            found.failed.append(error)


def _in_time(fields: Mapping[str, Any], asked: Asked) -> bool:
    if asked.since is None and asked.until is None:
        return True
    moment = event_moment(fields.get("@timestamp"))
    if moment is None:
        return True
    return (asked.since is None or moment >= asked.since) and (asked.until is None or moment <= asked.until)


def query_elastic(
    elastic: Elastic, contract: Contract, asked: Asked, found: Found, *, page: int = PAGE
) -> Generator[dict[str, Any]]:
    """A record for each document that matches, as `query_files` gives them; by `@timestamp`, then by id.

    File and offset are there where the document tells them. Raises `InputError` where the stream is not there,
    `KqlError`, and what `Elastic.asking` raises.
    """
    there(elastic, contract.stream, _WHAT)
    query = stored_query(asked, field_types(contract, elastic.server))
    ours: Query = {"match_all": {}} if asked.canaries else no_canaries(contract)
    with snapshot(elastic, contract.stream, _WHAT) as view:
        found.read = view.count(ours)
        page = min(page, asked.limit or page)
        hits = view.hits(all_of(query, ours), list(contract.fields), page=page, sort=_ORDER, keep="_id,_source")
        for hit in islice(hits, asked.limit):
            parsed = read_document(contract, hit.get("_source", {}), hit["_id"])
            names = {"file": "log.file.path", "offset": "log.offset"}
            place = {short: parsed.fields[name] for short, name in names.items() if name in parsed.fields}
            found.matched += 1
            yield {**place, "outcome": parsed.outcome, **parsed.fields}


def stored_query(asked: Asked, types: Mapping[str, str]) -> Query:
    """What Elasticsearch is asked; `types` are those of its fields. Raises `KqlError`."""
    query = to_query(asked.query, types)
    bounds = {name: bound for name, bound in (("gte", asked.since), ("lte", asked.until)) if bound is not None}
    if not bounds:
        return query
    moment: Query = {"range": {"@timestamp": {**bounds, "format": "epoch_millis"}}}
    return all_of(query, any_of(moment, none_of(exists("@timestamp"))))
