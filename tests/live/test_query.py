"""A query finds the same events in files and in a real Elasticsearch to which they were shipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

import embedded_node
from elkkit.cli import app, query
from elkkit.contract import Contract, extend, load_contract
from elkkit.kql import parse, to_predicate, to_query
from elkkit.line.logger import metric_logger
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.stack.reading import field_types, read_events
from elkkit.usecases.query import Asked, Found, query_elastic
from elkkit.usecases.setup import setup
from elkkit.usecases.ship import ShipOptions, ship

pytestmark = pytest.mark.full

if not any(info.name == "query" for info in app.registered_commands):
    query.register(app)

# a plain line tells no time, so that shipping gives it one: nothing here asks for that of such a line
QUERIES = r"""

*
metrictype : IoU
metrictype : "Inference time" and metricscores >= 0.05
metrictype : (IoU or F1) and not model.name : lane-b
metrictype : I*
metrictype : *time
model.name : lane-* and model.version : 3
model.* : lane-a
metricscores > 0.7 and metricscores <= 0.8
metricscores : 0.5
metricraw : *
not metrictype : *
tags : _malformed_score
not tags : _malformed_score and not metrictype : *
message : timeout
message : "request timeout"
message : TIME*
message : IoU
timeout
"heavy rain"
lane-*
frame.conditions : night
frame.conditions : (night and "heavy rain")
frame.index : 7 or frame.index >= 18
frame.lane_free : true
not frame.lane_free : false
@timestamp : "2026-11-20"
@timestamp >= "2026-11-20||+1d" and @timestamp < "2026-11-21T12:00Z" and metrictype : F1
run.id : run-lane-a or service.name : nope
log.file.path : *lane-b.log
log.offset : 0
event.dataset : *
host.name : * and frame.index : 3
(model.name : lane-a or model.name : lane-b) and (metrictype : F1 or metricscores < 0.6)
error.message : plain
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_node.running(tmp_path_factory.mktemp("engine")) as engine:
        yield engine.url


@pytest.fixture(scope="module")
def elastic(node: str) -> Iterator[Elastic]:
    with connect(Connection(node)) as found:
        yield found


@pytest.fixture(scope="module")
def contract() -> Contract:
    return extend(load_contract(), dataset="query.live")


@pytest.fixture(scope="module")
def logs(elastic: Elastic, contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("logs")
    paths = []
    for number, model in enumerate(("lane-a", "lane-b"), 1):
        path = folder / f"{model}.log"
        options = {"model_name": model, "model_version": str(number + 2), "run_id": f"run-{model}"}
        with metric_logger(path, contract=contract, **options) as log:
            for i in range(20):
                facts: dict[str, Any] = {"frame_id": f"f-{i:03d}", "frame_index": i, "lane_free": i < 3}
                more = {"conditions": ["night", "heavy rain"] if i % 2 else ["day"]}
                log.log_metric("IoU", 0.5 + i / 50 if i >= 3 else float("nan"), **facts, **more)
                log.log_metric("F1", 0.6 + i / 100 * number, **facts, **more)
                log.log_metric("Inference time", 0.04 + i / 1000, **facts, **more)
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        for i, line in enumerate(lines):
            line["@timestamp"] = f"2026-11-{20 + i // 30}T{i % 24:02d}:00:00.000Z"
        time = {"@timestamp": "2026-11-20T23:59:59.999Z", "model.name": model}
        lines += [{**time, "message": "request timeout after 5 s"}, {**time, "message": "IoU : 0,5"}]
        path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines) + b"starting\nIoU : 0.5\nF1 : 0.8.1\n")
        paths.append(path)
    setup(elastic, contract)
    sent = ship(elastic, [str(path) for path in paths], contract, ShipOptions(everything=True))
    assert (sent.created, sent.errors) == (130, ())
    return paths


def run(contract: Contract, *arguments: object) -> Any:
    return CliRunner().invoke(app, ["query", *map(str, arguments)], env={"ELKKIT_DATASET": contract.dataset})


def events(done: Any) -> list[dict[str, Any]]:
    assert done.exit_code in (0, 1), done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)["data"]["events"]
    assert done.exit_code == (0 if found else 1)
    return found


def placed(found: list[dict[str, Any]]) -> dict[tuple[str, int], Any]:
    return {(event["file"], event["offset"]): (event["outcome"], event.get("message")) for event in found}


def test_the_same_events_from_files_and_from_elasticsearch(node: str, contract: Contract, logs: list[Path]) -> None:
    sizes = set()
    for text in QUERIES.splitlines()[1:]:
        of_files = events(run(contract, text, *logs, "--json"))
        stored = events(run(contract, text, "--es-url", node, "--json"))
        assert len(placed(stored)) == len(stored), text
        assert placed(stored) == placed(of_files), text
        ids = {event["event.id"] for event in of_files if "event.id" in event}
        assert ids <= {event["event.id"] for event in stored}, text
        sizes.add(len(stored))
    assert len(sizes) > 15
    assert max(sizes) == 130


def test_limits_order_and_rows(node: str, contract: Contract, logs: list[Path]) -> None:
    days = ["--since", "2026-11-21T00:00Z", "--until", "2026-11-21T05:00Z"]
    text = "frame.index : *"
    of_files = events(run(contract, text, *logs, *days, "--json"))
    stored = events(run(contract, text, "--es-url", node, *days, "--json"))
    assert placed(stored) == placed(of_files)
    order = [(event["@timestamp"], event["event.id"]) for event in stored]
    assert order == sorted(order)
    first = events(run(contract, text, "--es-url", node, *days, "--limit", "5", "--json"))
    assert first == stored[:5]
    columns = ["--fields", "message,frame.index,model.name"]
    stored_rows = run(contract, "frame.index : 7", "--es-url", node, *columns).stdout.splitlines()
    rows = run(contract, "frame.index : 7", *logs, *columns).stdout.splitlines()
    assert sorted(row.split() for row in stored_rows) == sorted(row.split() for row in rows)  # columns grow as they go
    assert len(rows) == 6


def test_page_by_page_nothing_is_lost(elastic: Elastic, contract: Contract, logs: list[Path]) -> None:
    found = Found()
    whole = list(query_elastic(elastic, contract, Asked(parse("*")), found))
    assert (found.read, found.matched) == (130, 130)
    assert list(query_elastic(elastic, contract, Asked(parse("*")), Found(), page=7)) == whole


def test_documents_without_id_or_time_have_their_place(elastic: Elastic) -> None:
    made = extend(load_contract(), dataset="query.foreign")
    setup(elastic, made)
    for i in range(20):
        fields = {"message": f"IoU : 0.{i + 10}", "metrictype": "IoU", "metricscores": i / 100}
        time = {"@timestamp": "2026-11-20T00:00:00Z"} if i % 2 else {"@timestamp": "2026-11-19T00:00:00Z"}
        elastic.client.index(index=made.stream, document={**fields, **time}, refresh=i == 19, op_type="create")
    whole = list(query_elastic(elastic, made, Asked(parse("metrictype : *")), Found()))
    paged = list(query_elastic(elastic, made, Asked(parse("metrictype : *")), Found(), page=3))
    assert len(whole) == len(paged) == 20
    assert [event["@timestamp"] for event in paged] == sorted(event["@timestamp"] for event in paged)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "-05:00"])
def test_dates_of_a_time_zone_are_those_of_the_server(elastic: Elastic, zone: str) -> None:
    made = extend(load_contract(), dataset=f"query.zone{len(zone)}")
    setup(elastic, made)
    start = datetime(2026, 3, 27, tzinfo=UTC)  # summer time begins in Berlin on the 29th at one o'clock UTC
    times = [f"{start + i * timedelta(minutes=30):%Y-%m-%dT%H:%M:%S.000Z}" for i in range(200)]
    operations: list[dict[str, Any]] = []
    for time in times:
        operations += [{"create": {}}, {"@timestamp": time, "message": "x"}]
    assert not elastic.client.bulk(index=made.stream, operations=operations, refresh=True)["errors"]
    types = field_types(made, elastic.server)
    for value in ("2026-03-28", "2026-03-29", "2026-03-29T03:00", "2026-03-29T10:00Z", "2026-03-29||+12h",
                  "2026-03-28T12:00||+1d", "2026-03-28||+1d/d", "2026-03-29T12:00||/d", "2026-03-30||-1w/w", "2026-03",
                  "1774760400000"):  # fmt: skip
        for operator in (":", "<", "<=", ">", ">="):
            text = f'@timestamp {operator} "{value}"'
            stored = read_events(elastic, made.stream, to_query(text, types, zone), ["@timestamp"])
            matches = to_predicate(text, made, time_zone=zone)
            found = sorted(event["@timestamp"] for event in stored)
            assert found == [time for time in times if matches({"@timestamp": time})], text


def test_nothing_there(node: str, contract: Contract, logs: list[Path]) -> None:
    done = run(contract, "frame.id : nope", "--es-url", node)
    assert (done.exit_code, done.stdout) == (1, "")
    done = run(contract, "*", "--es-url", node, "--namespace", "nope")
    assert (done.exit_code, [line.split(":")[0] for line in done.stderr.splitlines()]) == (2, ["error", "why", "hint"])
