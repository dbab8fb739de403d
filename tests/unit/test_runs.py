"""`elkkit runs`, against a server that answers what a real one answered; the real one is in tests/live."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import ApiError
from typer.testing import CliRunner

from elkkit.cli import app, runs
from elkkit.contract import load_contract
from elkkit.errors import ServiceError, UnreachableError
from elkkit.stack import reading, removing
from elkkit.stack.elastic import Connection, Elastic, Server
from elkkit.stack.removing import remove
from elkkit.stack.streams import Kind, Stream

CONTRACT = load_contract()
HOUR = "2026-11-22T10:00:00.000Z"

if not any(group.name == "runs" for group in app.registered_groups):
    runs.register(app)


def _response(body: Any) -> ObjectApiResponse[Any]:
    meta = ApiResponseMeta(200, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "es", 9200))
    return ObjectApiResponse(body, meta)


class Documents:
    """A client over documents that understands the queries and aggregations of `elkkit runs`."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self.documents = {str(i): d for i, d in enumerate(documents)}
        self.refuse: list[int] = []
        """How the next bulk requests answer for their first document."""
        self.queries: list[dict[str, Any]] = []
        self.by_query: list[dict[str, Any]] = []
        """Answers of delete by query."""
        self.indices = self

    def refresh(self, **_: Any) -> None:
        return None

    def close(self) -> None:
        return None

    def open_point_in_time(self, **_: Any) -> dict[str, str]:
        return {"id": "pit"}

    def close_point_in_time(self, **_: Any) -> None:
        return None

    def matching(self, query: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {i: d for i, d in self.documents.items() if _matches(d, query)}

    def search(self, **body: Any) -> ObjectApiResponse[Any]:
        found = self.matching(body["query"])
        whole: dict[str, Any] = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": {"value": len(found)}}}
        if "aggregations" in body:
            every = list(found.values())
            whole["aggregations"] = {n: _aggregate(a, every) for n, a in body["aggregations"].items()}
        elif body["size"]:
            after = int(body["search_after"][0]) if body["search_after"] else -1
            ids = [i for i in found if int(i) > after][: body["size"]]
            whole["hits"]["hits"] = [{"_index": "s-000001", "_id": i, "sort": [int(i)]} for i in ids]
        return _response(whole)

    def bulk(self, *, operations: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        items = []
        for at, operation in enumerate(operations):
            identity = operation["delete"]["_id"]
            status = self.refuse.pop(0) if at == 0 and self.refuse else 200 if identity in self.documents else 404
            if status == 200:
                del self.documents[identity]
            error = {"error": {"type": "x", "reason": "the queue is full"}} if status not in (200, 404) else {}
            items.append({"delete": {"status": status, **error}})
        return {"items": items}

    def delete_by_query(self, **body: Any) -> ObjectApiResponse[Any]:
        self.queries.append(body)
        return _response(self.by_query.pop(0))


def _matches(document: dict[str, Any], query: dict[str, Any]) -> bool:
    (kind, asked), *_ = query.items()
    if kind == "exists":
        return asked["field"] in document
    if kind == "match_all":
        return True
    if kind in ("term", "terms"):
        ((field, value),) = asked.items()
        return document.get(field) in (value if kind == "terms" else [value])
    tests = [[_matches(document, q) for q in asked.get(part, ())] for part in ("filter", "should", "must_not")]
    return all(tests[0]) and (any(tests[1]) or not tests[1]) and not any(tests[2])


def _aggregate(asked: dict[str, Any], documents: list[dict[str, Any]]) -> dict[str, Any]:
    inner = asked.get("aggregations", {})
    (kind, what), *_ = asked.items()
    values = [d[what["field"]] for d in documents if d.get(what.get("field")) is not None] if "field" in what else []
    if kind == "filter":
        return {"doc_count": sum(_matches(d, what) for d in documents)}
    if kind == "cardinality":
        return {"value": len(set(values))}
    if kind == "avg":
        return {"value": sum(values) / len(values) if values else None}
    if kind in ("min", "max"):
        chosen = {"min": min, "max": max}[kind](values, default=None)
        return {"value": None if chosen is None else 1.0, **({"value_as_string": chosen} if chosen else {})}
    if kind == "terms":
        groups = {v: [d for d in documents if d.get(what["field"]) == v] for v in dict.fromkeys(values)}
        return {"buckets": [{"key": v, **_bucket(inner, g)} for v, g in groups.items()]}
    fields = [next(iter(source)) for source in what["sources"]]
    keyed: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for document in documents:
        keyed.setdefault(tuple(document.get(f) for f in fields), []).append(document)
    ordered = sorted(keyed, key=lambda key: [("" if k is None else str(k)) for k in key])
    after = [k for k in ordered if "after" not in what or ordered.index(k) > what["after"]["at"]]
    page = after[: what["size"]]
    buckets = [{"key": dict(zip(fields, key, strict=True)), **_bucket(inner, keyed[key])} for key in page]
    return {"buckets": buckets, **({"after_key": {"at": ordered.index(page[-1])}} if page else {})}


def _bucket(inner: dict[str, Any], documents: list[dict[str, Any]]) -> dict[str, Any]:
    return {"doc_count": len(documents), **{n: _aggregate(a, documents) for n, a in inner.items()}}


def event(run: str, model: str, frame: int, score: float | None, **more: Any) -> dict[str, Any]:
    value = {"metricraw": "nan"} if score is None else {"metricscores": score}
    name, _, version = model.partition(":")
    known = {"model.version": version} if version else {}
    about = {"@timestamp": HOUR, "run.id": run, "model.name": name, "metrictype": "IoU", "frame.id": f"f{frame}"}
    return {**about, **known, **value, **more}


def connected(client: Documents, *, bare: bool = True) -> Elastic:
    server = Server("http://es:9200", (8, 19), "8.19.9", "test", bare=bare)
    return Elastic(client, server, Connection(server.url), embedded=False)  # type: ignore[arg-type]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Documents:
    stored = [event("r1", "lane-a:3", i, 0.25 * i, **{"run.name": "night shift"}) for i in range(3)]
    stored += [event("r1", "lane-b", i, None, **{"run.name": "night shift"}) for i in range(2)]
    stored += [event("r2", "lane-a:3", 0, 0.5, **{"@timestamp": "2026-11-23T10:00:00.000Z", "run.name": "day"})]
    stored += [event("r3", "x\x1b[2J", 0, 0.5, **{"@timestamp": "2026-11-21T10:00:00.000Z", "run.name": "day"})]
    stored += [{"@timestamp": HOUR, "message": "IoU : 1", "metrictype": "IoU", "metricscores": 1.0}]
    made = Documents(stored)

    @contextmanager
    def open_elastic(settings: Any, **_: Any) -> Any:
        yield connected(made)

    monkeypatch.setattr("elkkit.usecases.engine.open_elastic", open_elastic)
    monkeypatch.setattr(reading, "find_stream", lambda _e, name: Stream(name, Kind.ALIAS, ("s-000001",)))
    monkeypatch.setattr(reading.time, "sleep", lambda _seconds: None)
    return made


def run(*args: str, stdin: str = "") -> Any:
    return CliRunner().invoke(app, ["runs", *args], input=stdin)


def data_of(*args: str) -> Any:
    done = run(*args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["data"]


def error_of(*args: str) -> list[str]:
    done = run(*args)
    lines = done.stderr.splitlines()
    assert (done.exit_code, [line.split(":")[0] for line in lines[-3:]]) == (2, ["error", "why", "hint"])
    return lines[-3:]


# --- list and show ----------------------------------------------------------------------------------------------------


def test_the_newest_run_comes_first(client: Documents) -> None:
    found = data_of("list")
    parts = ("id", "models", "frames", "documents", "scored", "undefined")
    assert [tuple(r[part] for part in parts) for r in found["runs"]] == [
        ("r2", ["lane-a:3"], 1, 1, 1, 0), ("r1", ["lane-a:3", "lane-b"], 3, 5, 3, 2), ("r3", ["x\x1b[2J"], 1, 1, 1, 0),
    ]  # fmt: skip
    assert found["documents_without_run"] == 1
    people = run("list")
    assert people.stdout.splitlines()[3:5] == [
        "r1           lane-a:3       3       3       2  2026-11-22 10:00",
        "night shift  lane-b                            2026-11-22 10:00",
    ]
    assert "note: 1 document without a run.id" in people.stderr
    assert "\x1b" not in people.stdout


def test_many_frames_are_said_to_be_approximate(client: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elkkit.usecases.runs.EXACT_UP_TO", 2)
    assert [r["frames_approximate"] for r in data_of("list")["runs"]] == [False, True, False]
    assert "     ~3 " in run("list").stdout


@pytest.mark.parametrize("name", ["r1", "night shift"])
def test_one_run_by_id_or_name(client: Documents, name: str) -> None:
    found = data_of("show", name)
    assert found["run"]["id"] == "r1"
    assert found["metrics"] == [
        {"model": "lane-a:3", "metric": "IoU", "n": 3, "undefined": 0, "mean": 0.25},
        {"model": "lane-b", "metric": "IoU", "n": 0, "undefined": 2, "mean": None},
    ]
    assert "IoU     lane-b    0       2       -" in run("show", name).stdout


def test_what_is_not_there(client: Documents) -> None:
    assert error_of("show", "nigth shift") == [
        "error: there is no run 'nigth shift'", "why: no document is of a run of that id or name",
        "hint: did you mean night shift?",
    ]  # fmt: skip
    assert error_of("show", "zzzzzz")[2] == "hint: elkkit runs list"
    assert error_of("delete", "day", "--yes") == [
        "error: 2 runs are named 'day'", "why: their ids are r2, r3", "hint: elkkit runs delete r3",
    ]  # fmt: skip
    client.documents = {}
    assert error_of("show", "r1")[1] == "why: no document names a run"


def test_an_id_is_meant_before_a_name(client: Documents) -> None:
    client.documents["99"] = event("day", "m", 0, 1.0)
    assert data_of("show", "day")["run"]["documents"] == 1


# --- delete -----------------------------------------------------------------------------------------------------------


def test_nothing_is_deleted_unasked(client: Documents) -> None:
    before = dict(client.documents)
    error = error_of("delete", "r1", "r2", "r1")
    assert error[0] == "error: 6 documents would be deleted, and nobody can be asked"
    assert error[2] == "hint: --yes deletes them, --dry-run shows them"
    dry = run("delete", "r1", "--dry-run")
    assert "5 documents in logs-lane.eval-default at http://es:9200 would be" in dry.stdout
    assert client.documents == before


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 8), ("\n", 1, 8), ("y\n", 0, 3), ("", 130, 8)])
def test_a_person_is_asked(
    client: Documents, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    monkeypatch.setattr("elkkit.cli.runs._is_terminal", lambda: True)
    done = run("delete", "r1", stdin=answer)
    assert (done.exit_code, len(client.documents)) == (code, left)
    assert "r1 (night shift)  lane-a:3          3" in done.stderr
    assert "Delete them for good? [y/N]" in done.output
    assert ("5 documents deleted" in done.stdout) == (code == 0)
    assert ("nothing was deleted" in done.stderr) == (code == 1)
    assert "Traceback" not in done.output


def test_only_the_runs_that_were_named_go(client: Documents) -> None:
    found = data_of("delete", "night shift", "r3", "--yes")
    assert (found["documents"], found["deleted"], found["left"]) == (6, 6, 0)
    assert [d.get("run.id") for d in client.documents.values()] == ["r2", None]


def test_a_busy_server_is_asked_again(client: Documents) -> None:
    client.refuse = [429, 429]
    assert data_of("delete", "r1", "--yes")["deleted"] == 5
    client.refuse = [429] * 9
    with pytest.raises(UnreachableError, match="too much to do: the queue is full"):
        remove(connected(client), "s", {"term": {"run.id": "r2"}})
    client.refuse = [403]
    with pytest.raises(ServiceError, match="refuses one: the queue is full"):
        remove(connected(client), "s", {"term": {"run.id": "r2"}})


def test_what_is_written_meanwhile_is_told(client: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk = client.bulk

    def writing(**request: Any) -> Any:
        client.documents[f"{1000 + len(client.queries)}"] = event("r1", "m", 0, 1.0)
        client.queries.append({})
        return bulk(**request)

    monkeypatch.setattr(client, "bulk", writing)
    done = run("delete", "r1", "--yes", "--json")
    result = json.loads(done.stdout)
    assert (done.exit_code, result["status"], result["data"]["left"]) == (1, "partial", 1)
    assert "stop what writes the run" in result["errors"][0]["hint"]


def test_delete_by_query_where_it_is(client: Documents) -> None:
    client.documents = {}
    client.by_query = [{"deleted": 19_990, "total": 20_000}, {"deleted": 7, "total": 7}]
    told: list[int] = []
    query = {"terms": {"run.id": ["r"]}}
    assert remove(connected(client, bare=False), "s", query, progress=told.append) == (19_997, 0)
    assert told == [19_990, 19_997]
    assert client.queries[0] == {
        "index": "s", "query": query, "max_docs": 20_000, "conflicts": "proceed", "refresh": True,
    }  # fmt: skip
    client.by_query = [{"deleted": 0, "total": 1, "failures": [{"cause": {"reason": "read-only"}}]}]
    with pytest.raises(ServiceError, match="refuses one: read-only"):
        remove(connected(client, bare=False), "s", query)


def test_not_allowed(client: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = ApiResponseMeta(403, "1.1", HttpHeaders({"x-elastic-product": "Elasticsearch"}), 0.0,
                           NodeConfig("http", "es", 9200))  # fmt: skip

    def refuse(**_: Any) -> Any:
        raise ApiError("security_exception", meta, {"error": {"reason": "action [bulk] is unauthorized"}})

    monkeypatch.setattr(client, "bulk", refuse)
    done = run("delete", "r1", "--yes")
    assert (done.exit_code, len(client.documents)) == (4, 8)
    assert done.stderr.splitlines()[0] == "error: cannot delete the documents: http://es:9200 does not allow it"


@pytest.mark.parametrize("words", [["list"], ["show"], ["delete"]])
def test_help(words: list[str]) -> None:
    text = run(*words, "--help").stdout
    assert f"elkkit runs {words[0]}" in text
    assert "Examples:" in text
    assert max(map(len, text.splitlines())) <= 80


def test_pages_of_documents_to_delete(client: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removing, "_PAGE", 2)
    assert data_of("delete", "r1", "--yes")["deleted"] == 5
