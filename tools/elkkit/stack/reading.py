"""Events read back from Elasticsearch: all of them or an error, with the numbers that were sent.

    with snapshot(elastic, contract.stream, "read the scores") as view:
        for event in view.events(query, fields):
            ...

What is read is the stream as it was at one moment, whatever is written meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from elkkit.contract import Contract
from elkkit.errors import InputError, ServiceError
from elkkit.line.fields import read_fields
from elkkit.line.identity import is_event_id
from elkkit.line.parser import Outcome, Parsed
from elkkit.stack.streams import Kind, Stream, find_stream

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic, Server

Query = dict[str, Any]
Answer = TypeVar("Answer")

PAGE = 5000
"""Documents a request; a server refuses more than 10,000."""
KEEP = "5m"
"""How long a server keeps a moment open for us between two requests."""
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before asking again a server that had too much to do."""
_CHECKED = "pit_id,timed_out,_shards.failed,_shards.failures.reason.reason"


# --- documents -------------------------------------------------------------------------------------------------------


def flatten(source: Mapping[str, Any]) -> dict[str, Any]:
    """A document's fields by dotted name, however its shipper nested them; lists stay lists."""
    found: dict[str, Any] = {}
    _flatten(source, "", found)
    return found


def _flatten(source: Mapping[str, Any], prefix: str, found: dict[str, Any]) -> None:
    for name, value in source.items():
        if isinstance(value, dict):  # what JSON gives
            _flatten(value, f"{prefix}{name}.", found)
        else:
            found[f"{prefix}{name}"] = value


def read_document(contract: Contract, source: Mapping[str, Any], identity: str | None = None) -> Parsed:
    """A document, nested or not, as the line that it was made from would be read.

    Any shipper may have written it: a value that does not fit its field is left out and tagged, as in a line, and a
    metric without one number is malformed. `identity` is the document's `_id`, for one without an `event.id`.
    """
    fields = read_fields(contract, source)
    if "event.id" not in fields and is_event_id(identity):
        fields["event.id"] = identity
    if isinstance(message := source.get("message"), str):
        fields["message"] = message
    name = source.get("metrictype")
    if name is not None:
        if isinstance(name, str):
            score, raw = _number(source.get("metricscores")), source.get("metricraw")
            if score is not None:
                return Parsed(Outcome.SCORED, {**fields, "metrictype": name, "metricscores": score})
            if isinstance(raw, str) and _is_undefined(raw):
                return Parsed(Outcome.NOT_FINITE, {**fields, "metrictype": name, "metricraw": raw})
        return Parsed(Outcome.MALFORMED, {"error.message": "the document has a metric without one score", **fields})
    malformed = contract.malformed_tag in fields.get("tags", ())
    return Parsed(Outcome.MALFORMED if malformed else Outcome.NOT_A_SCORE, fields)


def _number(value: Any) -> float | None:
    """The number that Elasticsearch stored, which takes one as text too."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
            return number if math.isfinite(number) else None
    return None


def _is_undefined(text: str) -> bool:
    """Whether a text names a number that is not finite."""
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


# --- queries ---------------------------------------------------------------------------------------------------------


def field_types(contract: Contract, server: Server) -> dict[str, str]:
    """The type of every field as this server has it."""
    return {f.name: f.bare_type if server.bare else f.type for f in contract.fields.values()}


def exists(field: str) -> Query:
    """Documents that have the field."""
    return {"exists": {"field": field}}


def any_of(*queries: Query) -> Query:
    """Documents that fit one of the queries."""
    return {"bool": {"should": list(queries), "minimum_should_match": 1}}


def all_of(*queries: Query) -> Query:
    """Documents that fit all of the queries."""
    return {"bool": {"filter": list(queries)}}


def none_of(*queries: Query) -> Query:
    """Documents that fit none of the queries."""
    return {"bool": {"must_not": list(queries)}}


def no_canaries(contract: Contract) -> Query:
    """Documents that are no canaries."""
    return none_of({"term": {"tags": contract.canary_tag}})


def of_runs(runs: Sequence[str]) -> Query:
    """Documents of runs by id or name."""
    return any_of({"terms": {"run.id": list(runs)}}, {"terms": {"run.name": list(runs)}})


def there(elastic: Elastic, name: str, what: str) -> Stream:
    """The stream behind a name. `what` is a verb phrase. Raises `InputError` where the server has none."""
    with elastic.asking(what):
        stream = find_stream(elastic, name)
    if stream.kind is Kind.ABSENT:
        raise InputError(f"cannot {what}: there is no stream {name}", why=f"{elastic.where} has none of that name",
                         hint="elkkit setup, then elkkit ship FILES")  # fmt: skip
    return stream


# --- reading ---------------------------------------------------------------------------------------------------------


def patiently(call: Callable[[], Answer]) -> Answer:
    """What a call returns; it is made again while the server has too much to do (429), for some 15 seconds."""
    from elasticsearch import ApiError

    for wait in WAITS:
        try:
            return call()
        except ApiError as error:
            if error.status_code != 429:
                raise
        time.sleep(wait)
    return call()


def check_whole(answer: Mapping[str, Any], what: str, url: str) -> None:
    """Raise `ServiceError` unless the answer is about all that was asked."""
    shards = answer.get("_shards", {})
    if not answer.get("timed_out") and not shards.get("failed"):
        return
    reasons = [f["reason"]["reason"] for f in shards.get("failures", ()) if f.get("reason", {}).get("reason")]
    why = reasons[0] if reasons else "it took too long" if answer.get("timed_out") else "a shard did not answer"
    raise ServiceError(f"cannot {what}: {url} gave only a part of it", why=why, hint="try again later; elkkit status")


class Snapshot:
    """A stream as it was at one moment. Its methods raise `ElkkitError` where not all could be read."""

    def __init__(self, elastic: Elastic, pit: str, what: str) -> None:
        self._elastic = elastic
        self._what = what
        self.pit = pit
        """The server's name of the moment, which may change with every answer."""

    def search(self, *, filter_path: str = "hits,aggregations", **body: Any) -> Mapping[str, Any]:
        """One request; a part of an answer is an error."""
        client = self._elastic.client
        with self._elastic.asking(self._what):
            answer: dict[str, Any] = patiently(
                lambda: (
                    client.search(
                        pit={"id": self.pit, "keep_alive": KEEP},
                        allow_partial_search_results=False,
                        filter_path=f"{_CHECKED},{filter_path}",
                        **body,
                    ).body
                )
            )
        self.pit = answer.get("pit_id", self.pit)
        check_whole(answer, self._what, self._elastic.server.url)
        return answer

    def hits(
        self,
        query: Query,
        fields: Sequence[str] | bool,
        *,
        page: int = PAGE,
        sort: Sequence[Query] = ({"_shard_doc": "asc"},),
        keep: str = "_index,_id,_source",
    ) -> Iterator[dict[str, Any]]:
        """Every document that fits, page by page, by default in no order; `keep` names the parts of a hit."""
        path = ",".join(f"hits.hits.{part}" for part in [*keep.split(","), "sort"])
        after: list[Any] | None = None
        while True:
            hits = self.search(
                filter_path=path, query=query, source=fields, size=page, sort=list(sort), search_after=after,
                track_total_hits=False, seq_no_primary_term="_seq_no" in keep,
            ).get("hits", {}).get("hits", ())  # fmt: skip
            yield from hits
            if len(hits) < page:
                return
            after = hits[-1]["sort"]

    def events(self, query: Query, fields: Sequence[str], *, page: int = PAGE) -> Iterator[dict[str, Any]]:
        """The fields that were asked for, by dotted name, of every document that fits, and its `event.id`.

        A document without one has that of its `_id` where that can be one.
        """
        for hit in self.hits(query, [*fields, "event.id"], page=page, keep="_id,_source"):
            event = flatten(hit.get("_source", {}))
            if "event.id" not in event and is_event_id(hit["_id"]):
                event["event.id"] = hit["_id"]
            yield event

    def count(self, query: Query) -> int:
        """How many documents fit."""
        found = self.search(filter_path="hits.total", query=query, size=0, track_total_hits=True)
        return int(found["hits"]["total"]["value"])

    def aggregate(self, query: Query, aggregations: Query) -> Mapping[str, Any]:
        """Aggregations over the documents that fit."""
        found = self.search(
            filter_path="aggregations", query=query, size=0, track_total_hits=False, aggregations=aggregations
        )
        return dict(found.get("aggregations", {}))

    def groups(
        self, query: Query, fields: Sequence[str], aggregations: Query | None = None, *, page: int = 1000
    ) -> Iterator[dict[str, Any]]:
        """Every combination of values of the fields, None where one is absent: `key`, `doc_count`, aggregations."""
        sources = [{f: {"terms": {"field": f, "missing_bucket": True}}} for f in fields]
        composite: dict[str, Any] = {"size": page, "sources": sources}
        while True:
            asked: Query = {"groups": {"composite": composite, "aggregations": aggregations or {}}}
            found = self.aggregate(query, asked).get("groups", {})
            yield from found.get("buckets", ())
            if "after_key" not in found:
                return
            composite = {**composite, "after": found["after_key"]}


@contextmanager
def snapshot(elastic: Elastic, stream: str, what: str) -> Iterator[Snapshot]:
    """The stream as it is now, until the block ends; `what` is a verb phrase such as "read the scores"."""
    from elasticsearch import ApiError, TransportError

    with elastic.asking(what):
        opened = patiently(lambda: elastic.client.open_point_in_time(index=stream, keep_alive=KEEP))
    view = Snapshot(elastic, opened["id"], what)
    try:
        yield view
    finally:
        with suppress(ApiError, TransportError):  # it ends by itself; what went wrong before is what matters
            elastic.client.close_point_in_time(id=view.pit)


def read_events(
    elastic: Elastic, stream: str, query: Query, fields: Sequence[str], page: int = PAGE
) -> Iterator[dict[str, Any]]:
    """Every document of a stream that fits: its fields by dotted name and its `event.id`, in no order.

    All that were there at one moment, or an `ElkkitError`; memory holds `page` documents.
    """
    with snapshot(elastic, stream, "read the events") as view:
        yield from view.events(query, fields, page=page)
