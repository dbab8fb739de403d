"""Reading Elasticsearch back, against a client that answers what a server answered: pages, parts, gaps, outages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import ApiError, NotFoundError
from elasticsearch import ConnectionError as NotReachable

from elkkit.contract import load_contract
from elkkit.errors import InputError, NotAllowedError, ServiceError, UnreachableError
from elkkit.stack import arrivals, reading
from elkkit.stack.arrivals import Arrivals, Numbers
from elkkit.stack.elastic import Connection, Elastic, Server
from elkkit.stack.reading import flatten, patiently, read_document, read_events, snapshot

CONTRACT = load_contract()
ID = "0a46c03b90b5b8b6ae31d4b74b34c00e"
SERVER = Server("http://es:9200", (8, 19), "8.19.9", "test", bare=True)


def _meta(status: int) -> ApiResponseMeta:
    headers = HttpHeaders({"x-elastic-product": "Elasticsearch"})
    return ApiResponseMeta(status, "1.1", headers, 0.0, NodeConfig("http", "es", 9200))


def answered(status: int, kind: str = "x", why: str = "because") -> ApiError:
    error = NotFoundError if status == 404 else ApiError
    return error(kind, _meta(status), {"error": {"type": kind, "reason": why}})


def response(body: Any) -> ObjectApiResponse[Any]:
    return ObjectApiResponse(body, _meta(200))


def elastic_with(client: Any) -> Elastic:
    return Elastic(client, SERVER, Connection(SERVER.url), embedded=False)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(reading.time, "sleep", slept.append)
    return slept


# --- documents --------------------------------------------------------------------------------------------------------


def test_flatten_gives_dotted_names_and_keeps_lists() -> None:
    nested = {"model": {"name": "a"}, "frame": {"conditions": ["night", "rain"]}, "log": {"file": {"path": "/x"}}}
    dotted = {"model.name": "a", "frame.conditions": ["night", "rain"], "log.file.path": "/x"}
    assert flatten(nested) == flatten(dotted) == dotted
    assert flatten({"log.file": {"path": "/x"}, "run.id": "r"}) == {"log.file.path": "/x", "run.id": "r"}
    assert flatten({}) == {}


@pytest.mark.parametrize(
    ("source", "outcome", "score"),
    [
        ({"metrictype": "IoU", "metricscores": -0.0}, "scored", "-0x0.0p+0"),
        ({"metrictype": "IoU", "metricscores": 3}, "scored", "0x1.8000000000000p+1"),
        ({"metrictype": "IoU", "metricscores": "0.5"}, "scored", "0x1.0000000000000p-1"),
        ({"metrictype": "IoU", "metricraw": "nan"}, "not_finite", None),
        ({"metrictype": "IoU", "metricraw": "x"}, "malformed", None),
        ({"metrictype": "IoU", "metricscores": [0.1, 0.2]}, "malformed", None),
        ({"metrictype": "IoU", "metricscores": True}, "malformed", None),
        ({"metrictype": ["IoU"], "metricscores": 0.1}, "malformed", None),
        ({"metrictype": "IoU"}, "malformed", None),
        ({"tags": ["_malformed_score"], "error": {"message": "no"}}, "malformed", None),
        ({"tags": "_malformed_score"}, "malformed", None),
        ({"message": "starting"}, "not_a_score", None),
        ({}, "not_a_score", None),
    ],
)
def test_what_a_document_is(source: dict[str, Any], outcome: str, score: str | None) -> None:
    parsed = read_document(CONTRACT, source)
    assert parsed.outcome == outcome
    assert (None if parsed.score is None else parsed.score.hex()) == score


def test_any_shippers_document_has_the_types_of_a_line() -> None:
    source = {"message": "IoU : 1", "metrictype": "IoU", "metricscores": 1, "model": {"name": "a", "version": 3},
              "event": {"id": "not an id"}, "frame.index": "x", "agent": {"name": "filebeat"}}  # fmt: skip
    fields = read_document(CONTRACT, source, ID).fields
    assert fields == {
        "message": "IoU : 1", "metrictype": "IoU", "metricscores": 1.0, "model.name": "a", "model.version": "3",
        "event.id": ID, "tags": ["_invalid_event_id", "_invalid_field"],
    }  # fmt: skip
    assert "event.id" not in read_document(CONTRACT, {"message": "x"}, "Xk1_fromTheServer").fields


# --- a snapshot -------------------------------------------------------------------------------------------------------


class Pages:
    """A client with documents behind a point in time that changes its name with each answer."""

    def __init__(self, count: int, fail_at: int | None = None, error: Exception | None = None, **answer: Any) -> None:
        self.count, self.fail_at, self.error, self.answer = count, fail_at, error, answer
        self.asked: list[dict[str, Any]] = []
        self.closed: list[str] = []

    def open_point_in_time(self, **_: Any) -> dict[str, str]:
        return {"id": "pit-0"}

    def close_point_in_time(self, *, id: str) -> None:  # noqa: A002
        self.closed.append(id)

    def search(self, **body: Any) -> ObjectApiResponse[Any]:
        self.asked.append(body)
        assert body["pit"]["id"] == f"pit-{len(self.asked) - 1}"
        assert body["allow_partial_search_results"] is False
        if self.error is not None and len(self.asked) == self.fail_at:
            raise self.error
        start = 0 if body["search_after"] is None else body["search_after"][0] + 1
        numbers = range(start, min(self.count, start + body["size"]))
        hits = [{"_id": f"{n:032x}", "_source": {"metricscores": n}, "sort": [n]} for n in numbers]
        whole = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": hits} if hits else {}}
        return response({"pit_id": f"pit-{len(self.asked)}", **whole, **self.answer})


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (1, 1), (6, 3), (7, 3)])
def test_every_document_once_page_by_page(count: int, requests: int) -> None:
    client = Pages(count)
    events = list(read_events(elastic_with(client), "s", {"match_all": {}}, ["metricscores"], page=3))
    assert events == [{"metricscores": n, "event.id": f"{n:032x}"} for n in range(count)]
    assert len(client.asked) == requests
    assert client.asked[0]["source"] == ["metricscores", "event.id"]
    assert client.closed == [f"pit-{requests}"]


def test_the_moment_is_given_back_where_reading_ends_early() -> None:
    client = Pages(10)
    events = read_events(elastic_with(client), "s", {}, [], page=3)
    next(events)
    events.close()
    assert client.closed == ["pit-1"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"timed_out": True}, "it took too long"),
        ({"_shards": {"failed": 1, "failures": [{"reason": {"reason": "disk is gone"}}]}}, "disk is gone"),
        ({"_shards": {"failed": 1}}, "a shard did not answer"),
    ],
)
def test_a_part_of_an_answer_is_an_error(answer: dict[str, Any], why: str) -> None:
    client = Pages(10, **answer)
    with pytest.raises(ServiceError, match=f"cannot read the events: http://es:9200 gave only a part of it: {why}"):
        list(read_events(elastic_with(client), "s", {}, []))
    assert client.closed == ["pit-1"]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (NotReachable("refused"), UnreachableError),
        (answered(403), NotAllowedError),
        (answered(404, "search_context_missing_exception"), ServiceError),
    ],
)
def test_an_error_on_the_way_is_told_in_our_words(error: Exception, wanted: type[Exception]) -> None:
    client = Pages(10, fail_at=2, error=error)
    with pytest.raises(wanted, match="cannot read the events"):
        list(read_events(elastic_with(client), "s", {}, [], page=3))
    assert client.closed == ["pit-1"]


def test_a_busy_server_is_asked_again_and_not_for_ever(no_waits: list[float]) -> None:
    answers = [answered(429), answered(429), "done"]

    def call() -> str:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    assert patiently(call) == "done"
    assert no_waits == [0.5, 1.0]
    answers[:] = [answered(429)] * 6
    with pytest.raises(ApiError):
        patiently(call)
    answers[:] = [answered(500), "never"]
    with pytest.raises(ApiError):
        patiently(call)


def test_groups_go_on_until_the_server_names_no_key() -> None:
    asked = []

    def search(**body: Any) -> ObjectApiResponse[Any]:
        composite = body["aggregations"]["groups"]["composite"]
        asked.append(composite.get("after"))
        page: dict[str, Any] = {"buckets": [{"key": {"run.id": str(len(asked))}}], "after_key": {"run.id": len(asked)}}
        found = {"groups": page} if len(asked) < 3 else {"groups": {"buckets": []}}
        return response({"timed_out": False, "_shards": {"failed": 0}, "aggregations": found})

    client = SimpleNamespace(
        search=search, open_point_in_time=lambda **_: {"id": "p"}, close_point_in_time=lambda **_: None
    )
    with snapshot(elastic_with(client), "s", "read") as view:
        assert [g["key"]["run.id"] for g in view.groups({}, ["run.id"])] == ["1", "2"]
    assert asked == [None, {"run.id": 1}, {"run.id": 2}]


# --- sequence numbers -------------------------------------------------------------------------------------------------


def test_a_number_counts_once_in_whatever_order_it_comes() -> None:
    numbers = Numbers()
    assert [numbers.take(n, 0) for n in (0, 1, 5, 3, 5, 1, 4, 2, 3, 7, 6, 9)] == [
        True, True, True, True, False, False, True, True, False, True, True, True]  # fmt: skip
    assert [(g.low, g.high) for g in numbers.gaps] == [(8, 8)]
    assert numbers.highest == 9
    ranges = [clause["range"]["_seq_no"] for clause in numbers.query()["bool"]["should"]]
    assert ranges == [{"gt": 9}, {"gte": 8, "lte": 8}]


def test_gaps_are_forgotten_by_age_and_number() -> None:
    numbers = Numbers()
    for now, number in enumerate((1, 3, 5)):
        numbers.take(number, now)
    numbers.forget(before=1)
    assert [g.low for g in numbers.gaps] == [2, 4]
    assert not numbers.take(0, 9)  # it is over
    for number in range(7, 3000, 2):
        numbers.take(number, 10)
    numbers.forget(before=1)
    assert len(numbers.query()["bool"]["should"]) <= 1000
    assert numbers.gaps[-1].high == numbers.highest - 1


# --- following --------------------------------------------------------------------------------------------------------


class Shard:
    """A stream's server: documents by index and number, of which only some are visible yet."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[int, str]] = {"s-000001": {}}
        self.uuids = {"s-000001": "u1"}
        self.down: Exception | None = None
        self.indices = SimpleNamespace(
            resolve_index=self.resolve, get_alias=self.get_alias, get_settings=self.get_settings
        )

    def write(self, *numbers: int, index: str = "s-000001") -> None:
        self.stored[index].update((n, f"{index[-1]}:{n}") for n in numbers)

    def roll_over(self, name: str, uuid: str) -> None:
        self.stored[name], self.uuids[name] = {}, uuid

    def _up(self) -> None:
        if self.down is not None:
            raise self.down

    def resolve(self, **_: Any) -> dict[str, Any]:
        self._up()
        if not self.stored:
            raise answered(404)
        return {"aliases": [{"name": "s", "indices": list(self.stored)}]}

    def get_alias(self, **_: Any) -> dict[str, Any]:
        newest = max(self.stored)
        return {i: {"aliases": {"s": {"is_write_index": i == newest}}} for i in self.stored}

    def get_settings(self, *, index: str, **_: Any) -> dict[str, Any]:
        settings = {"index.uuid": self.uuids[index], "index.number_of_shards": "1"}
        return {index: {"settings": settings}}

    def open_point_in_time(self, **_: Any) -> dict[str, str]:
        self._up()
        return {"id": "pit"}

    def close_point_in_time(self, **_: Any) -> None:
        return None

    def search(self, **body: Any) -> ObjectApiResponse[Any]:
        self._up()
        if "pit" in body:  # the beginning, by time: here that is the order of numbers
            every = [(i, n, m) for i, held in self.stored.items() for n, m in sorted(held.items())]
            ascending = body["sort"][0]["@timestamp"]["order"] == "asc"
            every = every if ascending else every[::-1]
            hits = [{"_index": i, "_seq_no": n, "_source": {"message": m}, "sort": [0, n]} for i, n, m in every]
            return response({"hits": {"hits": hits[: body["size"]]}})
        held = self.stored[body["index"]]
        numbers = sorted(n for n in held if _fits(n, body["query"]))
        if body["sort"][0]["_seq_no"] == "desc":
            numbers.reverse()
        if body["search_after"]:
            numbers = [n for n in numbers if n > body["search_after"][0]]
        hits = [{"_source": {"message": held[n]}, "sort": [n]} for n in numbers[: body["size"]]]
        return response({"hits": {"hits": hits}} if hits else {})


def _fits(number: int, query: dict[str, Any]) -> bool:
    if "match_all" in query:
        return True
    ranges = [clause["range"]["_seq_no"] for clause in query["bool"]["should"]]
    return any(r.get("gt", -2) < number and r.get("gte", 0) <= number <= r.get("lte", 10**9) for r in ranges)


class Following:
    """Arrivals on a fake server, one round at a time."""

    def __init__(self, server: Shard, **options: Any) -> None:
        self.notes: list[str] = []
        options = {"last": 0, "beginning": {}, "interval": 0.0, "notice": self.notes.append, **options}
        self.arrivals = Arrivals(elastic_with(server), "s", ["message"], **options)
        self.documents = self.arrivals.documents()

    def round(self) -> list[str]:
        return [source["message"] for source in iter(lambda: next(self.documents), None) if source is not None]


def test_what_becomes_visible_late_is_not_missed() -> None:
    server = Shard()
    server.write(0, 1, 4)  # 2 and 3 are on their way as we begin
    follow = Following(server)
    assert follow.round() == []
    server.write(2, 7)
    assert follow.round() == ["1:2", "1:7"]
    server.write(3, 5, 6, 8)
    assert follow.round() == ["1:3", "1:5", "1:6", "1:8"]
    assert follow.round() == []


def test_more_than_a_page_comes_at_once() -> None:
    server = Shard()
    follow = Following(server)
    follow.round()
    server.write(*range(2500))
    assert follow.round() == [f"1:{n}" for n in range(2500)]


def test_gaps_end_with_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(arrivals.time, "monotonic", lambda: clock[0])
    server = Shard()
    server.write(0, 2, 4)
    follow = Following(server, window=30)
    follow.round()
    clock[0] = 29
    server.write(1)
    assert follow.round() == ["1:1"]
    clock[0] = 31
    assert follow.round() == []  # looks once more, then no longer
    server.write(3)
    assert follow.round() == []


def test_rollover_and_late_writes_to_the_index_before() -> None:
    server = Shard()
    server.write(0)
    follow = Following(server)
    follow.round()
    server.roll_over("s-000002", "u2")
    server.write(0, index="s-000002")
    server.write(1)
    assert follow.round() == ["1:1", "2:0"]
    server.write(2)
    assert follow.round() == ["1:2"]


def test_an_older_index_that_the_server_made_of_another_is_not_news() -> None:
    server = Shard()
    server.roll_over("s-000002", "u2")
    follow = Following(server)
    follow.round()
    server.roll_over("s-000000-shrunk", "u9")
    server.write(0, 1, 2, index="s-000000-shrunk")
    server.write(0, index="s-000002")
    assert follow.round() == ["2:0"]


def test_a_stream_that_was_deleted_and_made_again() -> None:
    server = Shard()
    server.write(0, 1)
    follow = Following(server)
    follow.round()
    server.stored["s-000001"] = {0: "again:0"}
    server.uuids["s-000001"] = "u2"
    assert follow.round() == ["again:0"]
    server.stored.clear()
    assert follow.round() == []
    assert follow.notes == ["s is gone; waiting until it is there again"]
    server.roll_over("s-000001", "u3")
    server.write(0)
    assert follow.round() == ["1:0"]
    assert follow.notes[1:] == ["it answers again"]


@pytest.mark.parametrize("error", [NotReachable("Connection refused"), answered(503), answered(500)])
def test_an_outage_is_told_once_and_survived(error: Exception) -> None:
    server = Shard()
    server.write(0)
    follow = Following(server)
    follow.round()
    server.down = error
    assert follow.round() == follow.round() == []
    server.write(1)
    server.down = None
    assert follow.round() == ["1:1"]
    assert len(follow.notes) == 2
    assert follow.notes[0].endswith("; waiting until it answers")
    assert follow.notes[1] == "it answers again"


@pytest.mark.parametrize(("error", "wanted"), [(answered(401), NotAllowedError), (answered(400), ServiceError)])
def test_what_waiting_cannot_mend_ends_it(error: Exception, wanted: type[Exception]) -> None:
    server = Shard()
    follow = Following(server)
    follow.round()
    server.down = error
    with pytest.raises(wanted, match="cannot read the stream"):
        follow.round()


def test_an_outage_at_the_start_is_an_error() -> None:
    server = Shard()
    server.down = NotReachable("Connection refused")
    with pytest.raises(UnreachableError):
        Following(server).round()


def test_no_stream() -> None:
    server = Shard()
    server.stored.clear()
    with pytest.raises(InputError, match="there is no stream s") as caught:
        Following(server).round()
    assert caught.value.hint == "elkkit setup, then elkkit ship FILES"


@pytest.mark.parametrize(("last", "first"), [(0, []), (2, ["1:2", "1:3"]), (None, ["1:0", "1:1", "1:2", "1:3"])])
def test_the_beginning_and_what_arrives_meanwhile(last: int | None, first: list[str]) -> None:
    server = Shard()
    server.write(0, 1, 2)
    follow = Following(server, last=last)
    opened = server.open_point_in_time

    def open_point_in_time(**options: Any) -> dict[str, str]:
        server.write(3)  # after it was seen how far the shard is, before the moment that is read
        return opened(**options)

    server.open_point_in_time = open_point_in_time  # type: ignore[method-assign]
    assert follow.round() == first
    assert follow.round() == ([] if "1:3" in first else ["1:3"] if last != 0 else [])
    server.write(4)
    assert follow.round() == ["1:4"]


def test_not_following_ends() -> None:
    server = Shard()
    server.write(0)
    follow = Following(server, last=10, following=False)
    assert follow.round() == ["1:0"]
    assert list(follow.documents) == []


def test_stop_ends_also_while_an_answer_is_waited_for() -> None:
    server = Shard()
    follow = Following(server)
    follow.round()
    follow.arrivals.stop()  # while the consumer has the word
    assert list(follow.documents) == []
    follow = Following(server)
    follow.round()
    server.resolve = lambda **_: follow.arrivals.stop()  # type: ignore[method-assign]
    server.indices.resolve_index = lambda **_: follow.arrivals.stop()
    assert list(follow.documents) == []
