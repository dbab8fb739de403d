"""Reading a real Elasticsearch back: `compare --es` has the numbers of the files, and `tail --es` misses nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

import elkkit
import embedded_node
import opensearch_node
from elkkit.cli import app, runs
from elkkit.contract import Contract, extend, load_contract
from elkkit.errors import InputError
from elkkit.line.parser import Outcome, Parser
from elkkit.render.elasticsearch import Abilities, mappings_body
from elkkit.stack import removing
from elkkit.stack.arrivals import Arrivals
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.stack.files import read_lines
from elkkit.stack.reading import exists, read_events
from elkkit.stack.streams import Kind, find_stream
from elkkit.usecases.compare import compare_elastic, compare_files
from elkkit.usecases.setup import setup
from faulty_proxy import Fault, faulty_proxy

pytestmark = pytest.mark.full

MEANS = {"lane-a:3": 0.83, "lane-b:1": 0.80, "lane-c:10": 0.70}
DEADLINE = 60.0

if not any(group.name == "runs" for group in app.registered_groups):
    runs.register(app)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_node.running(tmp_path_factory.mktemp("engine")) as engine:
        yield engine.url


@pytest.fixture
def elastic(node: str) -> Iterator[Elastic]:
    with connect(Connection(node)) as found:
        yield found


@pytest.fixture
def contract(elastic: Elastic, request: pytest.FixtureRequest) -> Contract:
    """With a dataset, and so a stream, of each test's own."""
    made = extend(load_contract(), dataset=f"t{abs(hash(request.node.nodeid)) % 10**12}")
    setup(elastic, made)
    return made


def nested(fields: dict[str, Any]) -> dict[str, Any]:
    """As Logstash and the ingest pipeline write a document."""
    root: dict[str, Any] = {}
    for name, value in fields.items():
        at = root
        *groups, last = [name] if name.startswith("@") else name.split(".")
        for group in groups:
            at = at.setdefault(group, {})
        at[last] = value
    return root


def documents(*files: Path, contract: Contract) -> list[dict[str, Any]]:
    """What a shipper makes of the lines, text too."""
    found = []
    for file in files:
        for line in read_lines(file):
            parsed = Parser.of(contract).parse(line.data)
            place = {"log.file.path": str(file), "log.offset": line.offset, "event.dataset": contract.dataset}
            found.append({"@timestamp": "2026-11-22T10:00:00.000Z", **parsed.fields, **place})
    return found


def store(elastic: Elastic, stream: str, found: list[dict[str, Any]], form: Any = dict) -> None:
    """Documents into a stream's newest index, dotted or nested."""
    operations: list[bytes] = []
    for fields in found:
        identity = {"_id": fields["event.id"]} if "event.id" in fields else {}
        operations += [orjson.dumps({"create": identity}), orjson.dumps(form(fields))]
    for start in range(0, len(operations), 10_000):
        answer = elastic.client.bulk(index=stream, operations=operations[start : start + 10_000], refresh=True)
        assert not answer["errors"], answer


def roll_over(elastic: Elastic, stream: str) -> None:
    elastic.client.indices.rollover(alias=stream)


def write_log(path: Path, model: str, mean: float, contract: Contract, *, frames: int = 40, run: str = "") -> Path:
    name, _, version = model.partition(":")
    noise, base = np.random.default_rng(sum(model.encode())), np.random.default_rng(1).normal(0, 0.1, frames)
    options = {"model_name": name, "model_version": version, "service_name": f"svc-{name}"}
    with elkkit.metric_logger(path, contract=contract, run_id=run or f"run-{name}", run_name="night", **options) as log:
        for i in range(frames):
            facts: dict[str, Any] = {"frame_id": f"scene-{i:04d}", "frame_index": i, "lane_free": i < 4}
            more = {"clip": f"clip-{i // 10}", "conditions": ["night", "rain"] if i % 2 else ["day"]}
            for metric in ("IoU", "F1", "Truth_px", "loss"):
                score = mean + base[i] + noise.normal(0, 0.02)
                score = 500.0 + i if metric == "Truth_px" else score if i >= 4 else float("nan")
                log.log_metric(metric, score, **facts, **more)
    return path


@pytest.fixture
def logs(tmp_path: Path, contract: Contract) -> list[Path]:
    return [write_log(tmp_path / f"{m[:6]}.log", m, mean, contract) for m, mean in MEANS.items()]


def run(*args: object, node: str, contract: Contract) -> Any:
    """A command against the engine."""
    environment = {"ELKKIT_DATASET": contract.dataset}
    return CliRunner().invoke(app, [*map(str, args), "--es-url", node], env=environment)


def data_of(result: Any) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["data"]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_every_double_comes_back_bit_for_bit(elastic: Elastic, contract: Contract) -> None:
    rng = random.Random(7)
    scores = [-0.0, 0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 0.1 + 0.2, 1 / 3, 9.5e-05, 9.999999999999999e307]
    scores += [2.0**53 + 2, 1e22, 1e23, 123456789012345678.0, *(rng.uniform(-1, 1) for _ in range(300))]
    scores += [float(f"{rng.random():.16e}") * 10.0 ** rng.randint(-307, 300) for _ in range(300)]
    for half, form in ((0, dict), (1, nested)):
        found = [
            {"@timestamp": "2026-11-22T10:00:00Z", "metrictype": "x", "metricscores": s, "event.id": f"{i:032x}",
             "model.name": "a"}
            for i, s in enumerate(scores) if i % 2 == half
        ]  # fmt: skip
        store(elastic, contract.stream, found, form)
        roll_over(elastic, contract.stream)
    events = list(read_events(elastic, contract.stream, exists("metrictype"), ["metricscores", "model.name"], page=50))
    assert all(event["model.name"] == "a" for event in events)
    came = {int(event["event.id"], 16): float(event["metricscores"]).hex() for event in events}
    assert came == {i: score.hex() for i, score in enumerate(scores)}
    assert len(events) == len(scores)


@pytest.mark.parametrize("form", [dict, nested])
def test_comparing_gives_the_numbers_of_the_files(
    node: str, elastic: Elastic, contract: Contract, logs: list[Path], form: Any
) -> None:
    logs[1].write_bytes(logs[1].read_bytes() + b"IoU : 0,83\nstarting\n")
    found = documents(*logs, contract=contract)
    random.Random(3).shuffle(found)
    store(elastic, contract.stream, found[:300], form)
    roll_over(elastic, contract.stream)
    store(elastic, contract.stream, found[200:], form)  # a hundred are in both
    twice = sum("event.id" in fields for fields in found[200:300])
    assert twice > 90
    scores = [fields for fields in [*found[:300], *found[200:]] if "metrictype" in fields]
    malformed = sum("tags" in fields for fields in [*found[:300], *found[200:]])
    choices: list[list[str]] = [
        [],
        ["--metric", "iou", "--metric", "loss"],
        ["--run", "run-lane-a", "--run", "run-lane-c"],
        ["--run", "night", "--metric", "F1"],
        ["--query", "frame.conditions : rain and not model.name : lane-b"],
        ["--query", "metricscores > 0.75 or frame.lane_free : true"],
    ]
    for options in choices:
        stored = data_of(run("compare", "--json", *options, node=node, contract=contract))
        read = CliRunner().invoke(app, ["compare", "--json", *options, *map(str, logs)],
                                  env={"ELKKIT_DATASET": contract.dataset})  # fmt: skip
        from_files = data_of(read)
        assert stored["metrics"] == from_files["metrics"], options
        assert stored["summary"] == from_files["summary"]
        assert (stored["models"], stored["frames"]) == (from_files["models"], from_files["frames"])
        assert stored["source"] == {"kind": "elasticsearch", "url": node, "stream": contract.stream}
        assert (from_files["source"], stored["files"]) == ({"kind": "files"}, [])
        counts = stored["counts"]
        assert counts["left_out"] == len(scores) - counts["read"]
        assert bool(counts["left_out"]) == bool(options)
        if not options:
            raws = sum("metricraw" in fields for fields in scores)
            assert counts == {
                "read": len(scores), "scored": len(scores) - raws, "not_finite": raws, "malformed": malformed,
                "already_seen": twice, "left_out": 0,
            }  # fmt: skip


def test_plain_lines_are_named_by_their_file(elastic: Elastic, contract: Contract, tmp_path: Path) -> None:
    for name, offset in (("a", 0.0), ("b", 0.2)):
        (tmp_path / f"{name}.log").write_text("".join(f"IoU : {0.5 + i / 100 + offset}\n" for i in range(30)))
    (tmp_path / "b.log.1").write_text("IoU : 0.25\n")
    files = sorted(tmp_path.glob("*.log*"))
    store(elastic, contract.stream, documents(*files, contract=contract), nested)
    stored, read = compare_elastic(elastic, contract), compare_files([str(f) for f in files], contract)
    assert [m.label for m in stored.models] == ["a", "b"]
    assert (stored.metrics, stored.models) == (read.metrics, read.models)


def test_one_id_with_two_scores_in_two_indices(elastic: Elastic, contract: Contract, logs: list[Path]) -> None:
    found = documents(logs[0], contract=contract)
    store(elastic, contract.stream, found)
    roll_over(elastic, contract.stream)
    store(elastic, contract.stream, [{**found[40], "metricscores": 0.123}])
    with pytest.raises(InputError, match="one event id has two different scores") as caught:
        compare_elastic(elastic, contract)
    assert "--query" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        (["--run", "run-lane-x"], "there is no run 'run-lane-x'", "did you mean run-lane-"),
        (["--metric", "Truth_pix"], "there is no metric 'Truth_pix'", "did you mean Truth_px?"),
        (["--query", "frame.id : nope"], "none of the 480 scores in logs-", "leave out --query"),
        (["--namespace", "nope"], "there is no stream logs-", "elkkit setup, then elkkit ship FILES"),
    ],
)
def test_what_is_not_there(
    node: str, elastic: Elastic, contract: Contract, logs: list[Path], options: list[str], error: str, hint: str
) -> None:
    store(elastic, contract.stream, documents(*logs, contract=contract))
    done = run("compare", *options, node=node, contract=contract)
    lines = done.stderr.splitlines()
    assert (done.exit_code, done.stdout, [line.split(":")[0] for line in lines]) == (2, "", ["error", "why", "hint"])
    assert error in "\n".join(lines)
    assert lines[2].startswith(f"hint: {hint}")


def test_an_empty_stream(node: str, contract: Contract) -> None:
    done = run("compare", node=node, contract=contract)
    assert (done.exit_code, "is empty" in done.stderr, "elkkit ship FILES" in done.stderr) == (2, True, True)
    done = run("runs", "list", node=node, contract=contract)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "holds no run; elkkit ship FILES" in done.stderr


# --- tail -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [dict, nested])
def test_rows_are_those_of_the_files(
    node: str, elastic: Elastic, contract: Contract, tmp_path: Path, form: Any
) -> None:
    log = tmp_path / "a.log"
    lines = [
        {"@timestamp": f"2026-11-22T10:00:{i:02d}.000Z", "message": text, "model.name": "lane-a", "frame.index": i}
        for i, text in enumerate(["IoU : 0.83", "Recall : nan", "IoU : 0,83", "starting", "loss : 1e-5", "IoU : -0.0"])
    ]
    log.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    found = documents(log, contract=contract)
    store(elastic, contract.stream, found[::-1], form)
    for options in (["--all"], [], ["--metric", "iou"], ["--query", "frame.index >= 2"], ["--model", "lane-b"],
                    ["-n", "2"], ["--since", "2026-11-22T10:00:02Z"], ["--fields", "message,frame.index"]):  # fmt: skip
        stored = run("tail", "--no-follow", *options, node=node, contract=contract)
        read = CliRunner().invoke(app, ["tail", "--no-follow", *options, str(log)])
        assert (stored.exit_code, stored.stdout) == (0, read.stdout), options
    stored = run("tail", "--no-follow", "--json", "--all", node=node, contract=contract)
    read = CliRunner().invoke(app, ["tail", "--no-follow", "--json", "--all", str(log)])
    records = [json.loads(line) for line in stored.stdout.splitlines()]
    for record in records:
        assert {record.pop("log.file.path"), record.pop("event.dataset")} == {str(log), contract.dataset}
        assert record.pop("log.offset") == record["offset"]
    assert records == [json.loads(line) for line in read.stdout.splitlines()]
    assert [r["outcome"] for r in records] == [str(o) for o in (Outcome.SCORED, Outcome.NOT_FINITE, Outcome.MALFORMED,
            Outcome.NOT_A_SCORE, Outcome.SCORED, Outcome.SCORED)]  # fmt: skip


def test_the_last_ones_are_those_that_are_asked_for(node: str, elastic: Elastic, contract: Contract) -> None:
    found = [
        {"@timestamp": f"2026-11-22T10:{i // 60:02d}:{i % 60:02d}Z", "message": "x", "model.name": f"m:{i % 3}",
         "metrictype": "IoU" if i % 50 == 0 else "F1", "metricscores": float(i)}
        for i in range(2500)
    ]  # fmt: skip
    random.Random(1).shuffle(found)
    store(elastic, contract.stream, found)
    for options, wanted in (
        (["--metric", "iou", "-n", "3"], [2350, 2400, 2450]),
        (["--model", "m:1", "-n", "2"], [2494, 2497]),
        (["-n", "1500"], range(1000, 2500)),
        (["-n", "all"], range(2500)),
    ):
        done = run("tail", "--no-follow", "--json", *options, node=node, contract=contract)
        assert [json.loads(line)["metricscores"] for line in done.stdout.splitlines()] == list(wanted), options


def test_a_document_without_a_time_is_older_than_all_others(elastic: Elastic, node: str) -> None:
    made = extend(load_contract(), dataset="timeless")
    template = mappings_body(made, Abilities(bare=True))["template"]
    elastic.client.indices.create(index=f"{made.stream}-000001", aliases={made.stream: {}}, **template)
    store(elastic, made.stream, [score(1), {"metrictype": "IoU", "metricscores": 0}, score(2)])
    for lines, wanted in (("all", [0, 1, 2]), ("2", [1, 2]), ("3", [0, 1, 2])):
        done = run("tail", "--no-follow", "--json", "-n", lines, node=node, contract=made)
        assert [json.loads(line)["metricscores"] for line in done.stdout.splitlines()] == wanted
    done = run("tail", "--no-follow", "--json", "--since", "2026-11-22T10:00:01Z", node=node, contract=made)
    assert [json.loads(line)["metricscores"] for line in done.stdout.splitlines()] == [0]


class Tail:
    """A real `elkkit tail --es` whose output is a file."""

    def __init__(self, folder: Path, contract: Contract, url: str, *args: str) -> None:
        self.out, self.err = folder / "out", folder / "err"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ELKKIT_")}
        environment = {**kept, "PYTHONPATH": str(Path(elkkit.__file__).parents[1]), "ELKKIT_DATASET": contract.dataset}
        command = [sys.executable, "-m", "elkkit", "tail", "--es-url", url, "--json", *args]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=err, stdin=subprocess.DEVNULL)

    def scores(self) -> list[float]:
        *lines, _ = self.out.read_bytes().split(b"\n")
        return [json.loads(line)["metricscores"] for line in lines]

    def until(self, count: int) -> list[float]:
        end = time.monotonic() + DEADLINE
        while len(self.scores()) < count:
            assert time.monotonic() < end, (self.scores(), self.err.read_text())
            assert self.process.poll() is None, self.err.read_text()
            time.sleep(0.05)
        return self.scores()

    def until_told(self, text: str) -> None:
        end = time.monotonic() + DEADLINE
        while text not in self.err.read_text():
            assert time.monotonic() < end, self.err.read_text()
            time.sleep(0.05)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE)


def score(number: int, moment: str = "2026-11-22T10:00:00Z") -> dict[str, Any]:
    return {"@timestamp": moment, "metrictype": "IoU", "metricscores": float(number), "message": f"IoU : {number}"}


def test_following_through_old_dates_rollover_and_outage(
    elastic: Elastic, node: str, contract: Contract, tmp_path: Path
) -> None:
    store(elastic, contract.stream, [score(i, f"2026-11-22T10:00:{i:02d}Z") for i in range(20)])
    with faulty_proxy(node, only="/") as proxy:
        tail = Tail(tmp_path, contract, proxy.url, "-n", "2")
        try:
            assert tail.until(2) == [18, 19]
            store(elastic, contract.stream, [score(20, "2001-01-01T00:00:00Z")])
            assert tail.until(3)[2:] == [20]
            roll_over(elastic, contract.stream)
            store(elastic, contract.stream, [score(i) for i in range(21, 3000)])
            assert tail.until(2982)[3:] == list(range(21, 3000))
            proxy.always(Fault.RESET)
            tail.until_told("waiting until it answers")
            store(elastic, contract.stream, [score(3000)])
            roll_over(elastic, contract.stream)
            store(elastic, contract.stream, [score(3001)])
            proxy.always(Fault.UNAVAILABLE)
            time.sleep(1.5)
            proxy.never()
            assert tail.until(2984)[2982:] == [3000, 3001]
            tail.until_told("it answers again")
        finally:
            code = tail.end()
    assert code == 130
    told = tail.err.read_text().splitlines()
    assert len(told) == 4, told  # the outage, its end, the counts, interrupted
    assert told[2].startswith("2,984 read, 2,984 scored")


def test_writers_at_once_and_a_follower_that_misses_nothing(
    elastic: Elastic, node: str, contract: Contract, tmp_path: Path
) -> None:
    """Four writers whose requests overlap; how numbers out of order are met is in tests/unit/test_reading.py."""
    writer = """
import sys, threading
from elasticsearch import Elasticsearch
client = Elasticsearch(sys.argv[1])
def write(part):
    for chunk in range(40):
        operations = []
        for i in range(50):
            n = part * 10_000 + chunk * 50 + i
            event = {"@timestamp": "2026-11-22T10:00:00Z", "metrictype": "IoU", "metricscores": n}
            operations += [{"create": {}}, event]
        assert not client.bulk(index=sys.argv[2], operations=operations, refresh=chunk % 7 == part)["errors"]
threads = [threading.Thread(target=write, args=(p,)) for p in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    tail = Tail(tmp_path, contract, node, "-n", "0")
    try:
        time.sleep(2)  # it has begun; what comes before that is not to be shown
        subprocess.run([sys.executable, "-c", writer, node, contract.stream], check=True, timeout=DEADLINE)
        store(elastic, contract.stream, [score(-1)])
        tail.until(8001)
        time.sleep(2.5)
        scores = tail.scores()
    finally:
        assert tail.end() == 130
    assert sorted(scores) == [-1.0, *sorted(p * 10_000.0 + n for p in range(4) for n in range(2000))]


def test_a_reader_that_goes_away_ends_it(node: str, contract: Contract) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ELKKIT_")}
    environment = {**kept, "PYTHONPATH": str(Path(elkkit.__file__).parents[1]), "ELKKIT_DATASET": contract.dataset}
    command = f'"{sys.executable}" -m elkkit tail --es-url {node} | sleep 2; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout == "0\n", done.stderr


# --- runs -------------------------------------------------------------------------------------------------------------


def test_runs_are_listed_shown_and_deleted(
    node: str, elastic: Elastic, contract: Contract, logs: list[Path], tmp_path: Path
) -> None:
    again = write_log(tmp_path / "again.log", "lane-a:4", 0.9, contract, run="run-lane-a", frames=50)
    found = documents(*logs, again, contract=contract)
    for i, fields in enumerate(found):
        fields["@timestamp"] = f"2026-11-{1 + i * 20 // len(found):02d}T10:00:00.000Z"
    store(elastic, contract.stream, found[:400], nested)
    roll_over(elastic, contract.stream)
    store(elastic, contract.stream, found[400:])
    store(elastic, contract.stream, [score(1)])

    listed = data_of(run("runs", "list", "--json", node=node, contract=contract))
    assert [r["id"] for r in listed["runs"]] == ["run-lane-a", "run-lane-c", "run-lane-b"]  # the newest first
    assert listed["documents_without_run"] == 1
    first = listed["runs"][0]
    assert first == {
        "id": "run-lane-a", "name": "night", "names": ["night"], "models": ["lane-a:3", "lane-a:4"], "frames": 50,
        "frames_approximate": False, "documents": 360, "scored": 336, "undefined": 24,
        "first": "2026-11-01T10:00:00.000Z", "last": "2026-11-20T10:00:00.000Z",
    }  # fmt: skip
    text = run("runs", "list", node=node, contract=contract).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "2026-11-20 10:00" in text

    shown = data_of(run("runs", "show", "run-lane-b", "--json", node=node, contract=contract))
    compared = compare_files([str(logs[1])], contract)
    for metric in compared.metrics:
        (one,) = metric.models
        (of_run,) = [m for m in shown["metrics"] if m["metric"] == metric.metric.name]
        assert (of_run["n"], of_run["undefined"]) == (one.n, one.undefined)
        assert one.description is not None
        assert of_run["mean"] == pytest.approx(one.description.mean, rel=1e-12)
    assert (shown["clips"], shown["conditions"]) == (4, {"day": 20, "night": 20, "rain": 20})
    assert (shown["services"], shown["files"]) == ({"svc-lane-b": 160}, {str(logs[1]): 160})
    people = run("runs", "show", "run-lane-a", node=node, contract=contract)
    assert people.exit_code == 0
    assert max(map(len, people.stdout.splitlines())) <= 80

    several = run("runs", "delete", "night", node=node, contract=contract)
    assert several.exit_code == 2
    assert "3 runs are named 'night'" in several.stderr
    assert "run-lane-a, run-lane-b, run-lane-c" in several.stderr
    unknown = run("runs", "show", "run-lane-q", node=node, contract=contract)
    assert "did you mean run-lane-" in unknown.stderr

    dry = data_of(run("runs", "delete", "run-lane-a", "--dry-run", "--json", node=node, contract=contract))
    assert dry["runs"] == [
        {"id": "run-lane-a", "name": "night", "documents": 360, "models": {"lane-a:3": 160, "lane-a:4": 200}}
    ]
    assert (dry["documents"], dry["deleted"]) == (360, None)
    for options in ([], ["--json"]):
        refused = run("runs", "delete", "run-lane-a", *options, node=node, contract=contract)
        assert refused.exit_code == 2
        assert "--yes deletes them, --dry-run shows them" in refused.output
    done = data_of(run("runs", "delete", "run-lane-a", "run-lane-b", "--yes", "--json", node=node, contract=contract))
    assert (done["deleted"], done["left"]) == (520, 0)
    left = data_of(run("runs", "list", "--json", node=node, contract=contract))
    assert [r["id"] for r in left["runs"]] == ["run-lane-c"]
    assert left["documents_without_run"] == 1


def test_more_runs_than_a_page(elastic: Elastic, node: str, contract: Contract) -> None:
    found = [{**score(i), "run.id": f"r{i:04d}", "run.name": f"n{i % 2}"} for i in range(1250)]
    store(elastic, contract.stream, found)
    listed = data_of(run("runs", "list", "--json", node=node, contract=contract))
    assert sorted(r["id"] for r in listed["runs"]) == [f"r{i:04d}" for i in range(1250)]
    several = run("runs", "show", "n1", node=node, contract=contract)
    assert "625 runs are named 'n1'" in several.stderr
    assert "and 620 more" in several.stderr


def test_deleting_survives_a_busy_server(elastic: Elastic, node: str, contract: Contract) -> None:
    store(elastic, contract.stream, [{**score(i), "run.id": "r", "model.name": "a"} for i in range(5000)])
    with faulty_proxy(node, only="/_bulk") as proxy:
        proxy.next([Fault.BUSY, None, Fault.BUSY])
        done = data_of(run("runs", "delete", "r", "--yes", "--json", node=proxy.url, contract=contract))
        assert proxy.done[Fault.BUSY] == 2
    assert (done["deleted"], done["left"]) == (5000, 0)


# --- data streams, on the engine that has them ------------------------------------------------------------------------


def test_a_data_stream_is_followed_through_rollover_and_deleted_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = load_contract()
    reindex = ("reindex-client", "org.opensearch.index.reindex.ReindexModulePlugin", "")  # it deletes by query
    monkeypatch.setitem(opensearch_node._MODULES, "reindex", reindex)
    with opensearch_node.running(tmp_path) as opensearch:
        opensearch_node.install(opensearch, contract)
        with opensearch_node.elasticsearch_front(opensearch) as url, connect(Connection(url)) as elastic:
            opensearch.call("PUT", f"/_data_stream/{contract.stream}")
            follow = Arrivals(
                elastic, contract.stream, ["metricscores"], last=0, beginning={}, interval=0.1
            ).documents()
            assert next(follow) is None
            wanted = []
            for part in range(3):
                found = [{**score(i), "run.id": f"r{i % 2}"} for i in range(part * 100, part * 100 + 100)]
                store(elastic, contract.stream, found)
                wanted += [float(i) for i in range(part * 100, part * 100 + 100)]
                opensearch.call("POST", f"/{contract.stream}/_rollover")
            came: list[float] = []
            while len(came) < 300:
                source = next(follow)
                came += [source["metricscores"]] if source else []
            assert came == wanted
            assert find_stream(elastic, contract.stream).kind is Kind.DATA_STREAM
            deleted = sum(removing._by_query(elastic, contract.stream, {"term": {"run.id": "r1"}}))
            assert deleted == 150
            assert opensearch.stored(contract.stream, 150) == 150
