"""Follow a stream of Elasticsearch: every document once, whatever its date, through rollovers and outages.

    for source in Arrivals(elastic, contract.stream, fields, last=10, beginning=query).documents():
        if source is None:  # a round is over: a good moment to flush
            ...

Documents are told apart by `_seq_no`, which a shard counts up with each write. Times would miss what is sent late. A
number can become visible after a higher one; such gaps are asked for again until they are `WINDOW` seconds old.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from elkkit.errors import ElkkitError, ServiceError, UnreachableError
from elkkit.stack.follow import pause
from elkkit.stack.reading import Query, check_whole, patiently, snapshot, there
from elkkit.stack.streams import Kind, Stream, find_stream

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

INTERVAL = 1.0
"""Seconds between two looks."""
WINDOW = 30.0
"""Seconds for which a missing number is waited for, and an index that has been rolled over is still looked at."""
_PAGE = 1000
_RECENT = 10_000
"""How many of the latest numbers are checked for gaps at the start."""
_MOST_GAPS = 500
"""A deleted document leaves a gap for ever, and a query has room for some 1,000; the latest are looked at."""
_WHAT = "read the stream"
_KEPT = "timed_out,_shards.failed,_shards.failures.reason.reason,hits.hits._source,hits.hits.sort"
_SETTINGS = ("index.uuid", "index.number_of_shards")


@dataclass(slots=True)
class _Gap:
    low: int
    high: int
    since: float


@dataclass(slots=True)
class Numbers:
    """Which sequence numbers of one shard were seen: all up to the highest, but for the gaps."""

    highest: int = -1
    gaps: list[_Gap] = field(default_factory=list)
    """In ascending order."""

    def take(self, number: int, now: float) -> bool:
        """Note a number; False where it was seen before."""
        if number > self.highest:
            if number > self.highest + 1:
                self.gaps.append(_Gap(self.highest + 1, number - 1, now))
            self.highest = number
            return True
        for i in reversed(range(len(self.gaps))):
            gap = self.gaps[i]
            if number > gap.high:
                return False
            if number >= gap.low:
                rest = (_Gap(gap.low, number - 1, gap.since), _Gap(number + 1, gap.high, gap.since))
                self.gaps[i : i + 1] = [g for g in rest if g.low <= g.high]
                return True
        return False

    def forget(self, before: float) -> None:
        """Wait no longer for what was missed before that moment, nor for more than a query can hold."""
        self.gaps = [gap for gap in self.gaps if gap.since >= before][-_MOST_GAPS:]

    def query(self) -> Query:
        """The documents that were not seen."""
        ranges: list[Query] = [{"range": {"_seq_no": {"gt": self.highest}}}]
        ranges += [{"range": {"_seq_no": {"gte": g.low, "lte": g.high}}} for g in self.gaps]
        return {"bool": {"should": ranges, "minimum_should_match": 1}}


@dataclass(slots=True)
class _Index:
    """An index that is looked at."""

    name: str
    uuid: str
    shards: list[Numbers]
    writable: float
    """When it was last the one that is written to."""


class Arrivals:
    """The documents of a stream as they come. Make one, and go through `documents`."""

    def __init__(
        self,
        elastic: Elastic,
        stream: str,
        fields: Sequence[str],
        *,
        last: int | None = 10,
        beginning: Query,
        following: bool = True,
        interval: float = INTERVAL,
        window: float = WINDOW,
        notice: Callable[[str], None] = lambda _text: None,
        output: int | None = None,
    ) -> None:
        """`fields`: what is wanted of each document's source.

        `last`: begin with so many documents, the latest by `@timestamp` that fit `beginning`; None for all that fit.
        What comes later is given whole. `notice` is told of outages. `output`: a descriptor; when its reader hangs up,
        following ends. `interval` and `window` are in seconds.
        """
        self.hung_up = False
        """The reader of `output` is gone."""
        self._elastic = elastic
        self._stream = stream
        self._fields = list(fields)
        self._last = last
        self._beginning = beginning
        self._following = following
        self._interval = interval
        self._window = window
        self._notice = notice
        self._output = output
        self._indices: dict[str, _Index] = {}
        self._newest: str | None = None
        self._trouble: str | None = None
        self._stopping = False
        self._asking = False

    def documents(self) -> Iterator[dict[str, Any] | None]:
        """Each document's source, and None after each round.

        Raises `InputError` where the stream is not there at the start, and what `Elastic.asking` raises; while
        following only what waiting cannot mend. Ends after `stop`, and when the output has hung up.
        """
        try:
            self._asking = True
            there(self._elastic, self._stream, _WHAT)
            if self._following:
                self._look_for_indices(starting=True)
            for hit in self._first():
                self._asking = False
                yield hit.get("_source", {})
                self._asking = True
            self._asking = False
            yield None
            while self._following and not self._ending():
                self._wait(self._interval)
                if not self._ending():
                    yield from self._round()
                    yield None
        except KeyboardInterrupt:
            if not self._stopping:
                raise

    def stop(self) -> None:
        """End soon, also where an answer is waited for. May be called from a signal handler."""
        self._stopping = True
        if self._asking:
            raise KeyboardInterrupt

    def _ending(self) -> bool:  # a signal may set it at any moment
        return self._stopping

    # --- the beginning -----------------------------------------------------------------------------------------------

    def _first(self) -> Iterator[dict[str, Any]]:
        """The last documents, oldest first."""
        if self._last == 0:
            return
        with snapshot(self._elastic, self._stream, _WHAT) as view:
            order = "asc" if self._last is None else "desc"
            # a document without a time is older than all others
            sort: list[Query] = [{"@timestamp": {"order": order, "missing": 0}}, {"_seq_no": order}]
            page = min(self._last or _PAGE, _PAGE)
            found = view.hits(self._beginning, self._fields, page=page, sort=sort, keep="_index,_source,_seq_no")
            if self._last is None:
                for hit in found:
                    self._take(hit)
                    yield hit
                return
            hits = list(islice(found, self._last))
        for hit in reversed(hits):
            self._take(hit)
            yield hit

    def _take(self, hit: dict[str, Any]) -> None:
        """Note that a document was given, so that it does not come again where it arrived as we began."""
        index = next((i for i in self._indices.values() if i.name == hit["_index"]), None)
        if index is not None and len(index.shards) == 1:  # which of several shards it is of, a hit does not say
            index.shards[0].take(hit["_seq_no"], time.monotonic())

    # --- following ---------------------------------------------------------------------------------------------------

    def _round(self) -> Iterator[dict[str, Any]]:
        """What is new in every index, or a note that nothing answers."""
        try:
            self._asking = True
            self._look_for_indices()
            for index in list(self._indices.values()):
                for shard, numbers in enumerate(index.shards):
                    yield from self._news(index, shard, numbers)
            self._asking = False
        except (UnreachableError, ServiceError) as error:
            self._asking = False
            if not _passes(error):
                raise
            self._tell(f"{error.why or error.message}; waiting until it answers")
            return
        if self._newest is not None:
            self._tell(None)

    def _news(self, index: _Index, shard: int, numbers: Numbers) -> Iterator[dict[str, Any]]:
        query, after = numbers.query(), None
        while True:
            hits = self._search(index.name, shard, query=query, fields=self._fields, size=_PAGE, order="asc",
                                after=after)  # fmt: skip
            now = time.monotonic()
            self._asking = False
            yield from [hit.get("_source", {}) for hit in hits if numbers.take(hit["sort"][0], now)]
            self._asking = True
            if len(hits) < _PAGE:
                break
            after = hits[-1]["sort"]
        numbers.forget(now - self._window)

    def _search(
        self,
        index: str,
        shard: int,
        *,
        query: Query,
        fields: list[str] | None,
        size: int,
        order: str,
        after: Any = None,
    ) -> list[dict[str, Any]]:
        """Documents of one shard by their number."""
        with self._elastic.asking(_WHAT):
            answer = patiently(
                lambda: (
                    self._elastic.client.search(
                        index=index,
                        preference=f"_shards:{shard}",
                        query=query,
                        source=False if fields is None else {"includes": fields},
                        size=size,
                        sort=[{"_seq_no": order}],
                        search_after=after,
                        track_total_hits=False,
                        allow_partial_search_results=False,
                        filter_path=_KEPT,
                    ).body
                )
            )
        check_whole(answer, _WHAT, self._elastic.server.url)
        found: list[dict[str, Any]] = answer.get("hits", {}).get("hits", [])
        return found

    # --- which indices -----------------------------------------------------------------------------------------------

    def _look_for_indices(self, *, starting: bool = False) -> None:
        """Take up what the stream has rolled over to, and let go of what is no longer written to."""
        with self._elastic.asking(_WHAT):
            stream = find_stream(self._elastic, self._stream)
        now = time.monotonic()
        if stream.kind is Kind.ABSENT:
            self._indices, self._newest = {}, None
            self._tell(f"{self._stream} is gone; waiting until it is there again")
            return
        for name in stream.indices[-2:] if starting else self._new_ones(stream):
            self._take_up(name, now, starting=starting)
        self._newest = stream.write_index
        for uuid, index in list(self._indices.items()):
            if index.name == self._newest:
                index.writable = now
            elif index.name not in stream.indices or now - index.writable > self._window:
                del self._indices[uuid]

    def _new_ones(self, stream: Stream) -> tuple[str, ...]:
        """The indices after the one that was written to: an older one that is new was copied from it by the server."""
        if self._newest in stream.indices:
            return stream.indices[stream.indices.index(self._newest) :]
        return stream.indices[-1:]

    def _take_up(self, name: str, now: float, *, starting: bool) -> None:
        with self._elastic.asking(_WHAT):
            told = self._elastic.client.indices.get_settings(index=name, name=list(_SETTINGS), flat_settings=True)
        settings = told[name]["settings"]
        uuid, count = (settings[key] for key in _SETTINGS)
        if uuid not in self._indices:
            self._indices = {u: i for u, i in self._indices.items() if i.name != name}  # that one was deleted
            index = self._indices[uuid] = _Index(name, uuid, [Numbers() for _ in range(int(count))], now)
            if starting:
                for shard, numbers in enumerate(index.shards):
                    self._start(name, shard, numbers, now)

    def _start(self, name: str, shard: int, numbers: Numbers, now: float) -> None:
        """Take what is there as seen, but for gaps among the latest: writes that are on their way."""
        hits = self._search(name, shard, query={"match_all": {}}, fields=None, size=_RECENT, order="desc")
        seen = [hit["sort"][0] for hit in reversed(hits)]
        if seen:
            numbers.highest = seen[0] - 1
        for number in seen:
            numbers.take(number, now)

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _tell(self, trouble: str | None) -> None:
        """Say what has changed."""
        if trouble is None and self._trouble is not None:
            self._notice("it answers again")
        elif trouble is not None and self._trouble is None:
            self._notice(trouble)
        self._trouble = trouble

    def _wait(self, seconds: float) -> None:
        if pause(seconds, (), self._output):
            self.hung_up = self._stopping = True


def _passes(error: ElkkitError) -> bool:
    """Waiting may mend it: nothing answers, the server is in trouble, or an index has just been deleted."""
    status = getattr(error.__cause__, "status_code", None)
    return isinstance(error, UnreachableError) or status == 404 or (status is not None and status >= 500)
