"""`elkkit doctor` against real services: an embedded Elasticsearch always, a real Filebeat and Logstash where named."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import elkkit
import embedded_node
import opensearch_node
import shippers
from elkkit.assets import asset
from elkkit.cli import app
from elkkit.contract import Contract, extend, load_contract
from elkkit.line import Parser
from elkkit.line.document import document
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.usecases.canary import RUN
from elkkit.usecases.setup import setup
from elkkit.usecases.ship import ship
from fakes.kibana import FakeKibana, Reply

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
TAG = load_contract().canary_tag


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_node.running(tmp_path_factory.mktemp("engine")) as engine:
        yield engine.url


@pytest.fixture
def elastic(node: str) -> Iterator[Elastic]:
    with connect(Connection(node)) as found:
        yield found


@pytest.fixture
def contract(request: pytest.FixtureRequest) -> Contract:
    """With a dataset, and so a stream, of each test's own."""
    return extend(load_contract(), dataset=f"d{abs(hash(request.node.nodeid)) % 10**12}")


def run(*arguments: object, contract: Contract, code: int = 0, **environment: str) -> Any:
    done = CliRunner().invoke(
        app, [*map(str, arguments), "--json"], env={"ELKKIT_DATASET": contract.dataset} | environment
    )
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)["data"]


def checks(found: Any) -> dict[str, str]:
    return {c["name"]: c["state"] for c in found["checks"]}


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_a_server_before_and_after_its_setup(node, elastic, contract):
    before = checks(run("doctor", "--es-url", node, contract=contract, code=1))
    assert before["Elasticsearch"] == "ok"
    assert (before["Elasticsearch templates"], before["Elasticsearch stream"]) == ("fail", "fail")
    assert not elastic.client.indices.exists(index=contract.stream), "it makes nothing"
    setup(elastic, contract)
    after = checks(run("doctor", "--es-url", node, contract=contract))
    assert {n: s for n, s in after.items() if n.startswith("Elasticsearch") and s not in ("ok", "skip")} == {
        "Elasticsearch events": "warn"}  # fmt: skip
    assert after["Elasticsearch ILM"] == "skip"
    assert after["Elasticsearch disk"] in ("ok", "skip")


def test_what_the_events_say(node, elastic, contract, tmp_path):
    setup(elastic, contract)
    log = tmp_path / "a.log"
    log.write_text("IoU : 0.5\nIoU : 0,5\n" + json.dumps({"message": "IoU : 0.5", "run.name": "x" * 2000}) + "\n")
    ship(elastic, [str(log)], contract)
    elastic.client.indices.refresh(index=contract.stream)
    found = checks(run("doctor", "--es-url", node, contract=contract))
    assert (found["Elasticsearch malformed"], found["Elasticsearch ignored"]) == ("warn", "warn")
    assert found["Elasticsearch events"] == "ok"


def test_a_disk_that_ran_full_is_named(node, elastic, contract):
    setup(elastic, contract)
    block = {"index.blocks.read_only_allow_delete": True}
    elastic.client.indices.put_settings(index=contract.stream, settings=block)
    assert checks(run("doctor", "--es-url", node, contract=contract, code=1))["Elasticsearch disk"] == "fail"
    elastic.client.indices.put_settings(index=contract.stream, settings=dict.fromkeys(block))


# --- nothing counts a canary -----------------------------------------------------------------------------------------


def send(elastic: Elastic, contract: Contract, lines: list[dict[str, Any]]) -> None:
    rows: Any = []
    for number, line in enumerate(lines):
        parsed = Parser.of(contract).parse(json.dumps(line).encode())
        other = f"{number:032x}"
        _, operation = document(parsed, shipper={}, dataset=contract.dataset, other_id=lambda i=other: i,
                                read_at=lambda: "2026-11-22T10:00:00.000Z")  # fmt: skip
        rows += operation.split(b"\n")
    assert not elastic.client.bulk(index=contract.stream, operations=rows, refresh=True).body["errors"]


def test_no_number_from_elasticsearch_changes(node, elastic, contract, tmp_path):
    setup(elastic, contract)
    for model in ("lane-a", "lane-b"):
        path = tmp_path / f"{model}.log"
        with elkkit.metric_logger(path, model_name=model, run_id="r1", run_name="one", contract=contract) as logger:
            for frame in range(40):
                logger.log_metric("IoU", 0.5 + frame / 100, frame_id=f"f{frame}")
        ship(elastic, [str(path)], contract)
    elastic.client.indices.refresh(index=contract.stream)
    asked = (
        ["compare", "--es"],
        ["compare", "--es", "--query", "metricscores >= 0"],
        ["compare", "--es", "--metric", "IoU", "--run", "r1"],
        ["query", "--es", "*"],
        ["query", "--es", "not tags : x", "--fields", "metricscores"],
        ["runs", "list"],
        ["runs", "show", "r1"],
        ["status"],
    )

    def answers() -> list[Any]:
        found = [run(*words, "--es-url", node, contract=contract) for words in asked]
        tail = CliRunner().invoke(app, ["tail", "--es", "--es-url", node, "--no-follow", "--json", "--lines", "20"],
                                  env={"ELKKIT_DATASET": contract.dataset})  # fmt: skip
        for each in found:
            each.pop("data", None)  # bytes on the disk
        return [*found, tail.stdout]

    before = answers()
    absurd = {"run.id": "r1", "run.name": "one", "model.name": "lane-a", "tags": [TAG], "frame.id": "f1"}
    send(elastic, contract, [
        {"message": "IoU : 1e300", **absurd},
        {"message": "IoU : nan", **absurd, "frame.id": "f99"},
        {"message": "IoU : 0,5", **absurd},
        {"message": "Other : 7", **absurd, "model.name": "lane-c"},
        {"message": "IoU : 3", "tags": [TAG]},
        {"message": "IoU : 3", "tags": [TAG], "run.id": RUN},
        {"message": "IoU : 3", "tags": [TAG], "@timestamp": "2999-01-01T00:00:00.000Z"},
    ])  # fmt: skip
    after = answers()
    for words, one, other in zip([*asked, ["tail"]], before, after, strict=True):
        assert one == other, words
    shown = run("query", "--es", f'tags : "{TAG}"', "--es-url", node, contract=contract)
    assert len(shown["events"]) == 7, "they are there, for who asks for them"


def test_canaries_can_be_removed(node, elastic, contract):
    setup(elastic, contract)
    assert run("doctor", "--canary", "--ship", "--es-url", node, contract=contract)["arrived"]
    assert run("runs", "list", "--es-url", node, contract=contract)["runs"] == []
    deleted = run("runs", "delete", RUN, "--yes", "--es-url", node, contract=contract)
    assert deleted["deleted"] == 1


# --- the canary ------------------------------------------------------------------------------------------------------


def test_a_canary_that_is_shipped(node, elastic, contract):
    setup(elastic, contract)
    found = run("doctor", "--canary", "--ship", "--es-url", node, contract=contract)
    assert [(h["name"], h["state"]) for h in found["hops"]] == [
        ("ship", "passed"), ("Elasticsearch", "passed"), ("search", "passed"), ("Kibana", "skipped")]  # fmt: skip
    stored = elastic.client.get(index=contract.stream, id=found["canary"]["event.id"])["_source"]
    assert stored["metricscores"] == found["canary"]["score"]


def test_without_a_stream_it_stops_at_elasticsearch(node, elastic, contract, tmp_path):
    log = tmp_path / "a.log"
    log.touch()
    words = ("doctor", "--canary", "--log", log, "--wait", 1, "--es-url", node)
    found = run(*words, contract=contract, code=1)
    assert found["stopped_at"] == "Elasticsearch"
    assert "there is no stream" in next(h["text"] for h in found["hops"] if h["state"] == "stopped")
    setup(elastic, contract)
    found = run(*words, contract=contract, code=1)
    assert "no event of its id" in next(h["text"] for h in found["hops"] if h["state"] == "stopped")


def test_a_canary_that_was_changed_on_the_way(node, elastic, contract, tmp_path):
    """A shipper of somebody else's that rounds the score, and one that makes an id of its own."""
    from elkkit.usecases.canary import write
    from elkkit.usecases.canary_stores import ElasticStation

    setup(elastic, contract)
    log = tmp_path / "a.log"
    log.touch()
    for change, said in (({"metricscores": 0.5}, "arrived changed"), ({}, "another id")):
        made = write(contract, str(log))
        event = {**json.loads(made.line), "metrictype": made.metric, "metricscores": made.score, **change}
        identity = made.id if change else "of-its-own"
        elastic.client.create(index=contract.stream, id=identity, document=event, refresh=True)
        station = ElasticStation(elastic, contract)
        station.look(made, 1.0)
        hop = station.tell(0.0, beyond=False)
        assert (hop.state, said in hop.text) == ("stopped", True)


class Through(FakeKibana):
    """A Kibana that passes questions on, as its console does."""

    elastic: Elastic
    passes = True

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        if not target.startswith("/api/console/proxy"):
            return super().answer(method, target, headers, body)
        if not self.passes:
            return Reply(404, b'{"statusCode":404,"error":"Not Found","message":"Not Found"}')
        from urllib.parse import parse_qs, urlsplit

        assert "kbn-xsrf" in headers
        path = parse_qs(urlsplit(target).query)["path"][0]
        told = self.elastic.client.perform_request("POST", path, body=json.loads(body), headers={
            "accept": "application/json", "content-type": "application/json"})  # fmt: skip
        return Reply(200, json.dumps(told.body).encode(), {"Content-Type": "application/json"})


def test_kibana_finds_it_or_says_why_not(node, elastic, contract):
    setup(elastic, contract)
    with Through("8.12.2") as kibana:
        kibana.elastic = elastic
        words = ("doctor", "--canary", "--ship", "--wait", 3, "--es-url", node, "--kibana-url", kibana.url)
        found = run(*words, contract=contract, code=1)
        assert (found["stopped_at"], found["hops"][-1]["hint"]) == ("Kibana", "elkkit import-dashboards")
        run("import-dashboards", "--kibana-url", kibana.url, contract=contract)
        found = run(*words, contract=contract)
        assert "asked through Kibana" in found["hops"][-1]["text"]
        kibana.passes = False
        found = run(*words, contract=contract)
        assert "asked of Elasticsearch" in found["hops"][-1]["text"]
        (view,) = [saved for (kind, _), saved in kibana.store.kept.items() if kind == "index-pattern"]
        view.attributes["title"] = "logs-elsewhere-*"
        assert run(*words, contract=contract, code=1)["stopped_at"] == "Kibana"


# --- the whole road --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(1200)
def test_the_whole_road_and_each_part_of_it_stopped(tmp_path):
    """Real Filebeat, real Logstash, a real store; then Logstash is stopped, then Filebeat."""
    shippers.logstash(), shippers.filebeat()
    contract = load_contract()
    logs = tmp_path / "logs"
    logs.mkdir()
    log = logs / "scores.log"
    log.write_text("IoU : 0.5\n")
    beats, api, stats = (shippers.free_port() for _ in range(3))
    with opensearch_node.running(tmp_path / "store") as store, opensearch_node.elasticsearch_front(store) as url:
        opensearch_node.install(store, contract)
        variables = {"ELKKIT_ELASTICSEARCH_URL": url, "ELKKIT_BEATS_PORT": str(beats),
                     "LOGSTASH_PIPELINE": str(asset("logstash", "pipeline-laptop")),
                     "ELKKIT_LOG_FILES": str(tmp_path / "none" / "*.log")}  # fmt: skip
        command = [*shippers.logstash_command(tmp_path / "logstash"), "--api.http.port", str(api)]
        sent = {"ELKKIT_LOGSTASH": f"127.0.0.1:{beats}", "ELKKIT_LOG_FILES": str(logs / "*.log*")}
        (tmp_path / "beat").mkdir()
        words = [*shippers.filebeat_command("filebeat.yml", tmp_path / "beat"), "-E", "http.enabled=true", "-E",
                 f"http.port={stats}"]  # fmt: skip
        with ExitStack() as stack:
            logstash = _answering(stack, command, variables, f"http://127.0.0.1:{api}", tmp_path)
            out = tmp_path / "beat.log"
            beat = stack.enter_context(shippers.running(words, out, sent))
            shippers.wait_for(lambda: store.stored(contract.stream, 1), beat, out)
            flags = ["--es-url", url, "--logstash-url", f"http://127.0.0.1:{api}", "--filebeat-url",
                     f"http://127.0.0.1:{stats}"]  # fmt: skip
            found = checks(run("doctor", *flags, "--log", log, contract=contract))
            of_shippers = {n: s for n, s in found.items() if n.startswith(("Logstash", "Filebeat"))}
            assert set(of_shippers.values()) == {"ok"}, of_shippers
            journey = run("doctor", "--canary", "--wait", 60, "--log", log, *flags, contract=contract)
            assert [(h["name"], h["state"]) for h in journey["hops"]] == [
                ("log", "passed"), ("Filebeat", "passed"), ("Logstash", "passed"), ("Elasticsearch", "passed"),
                ("search", "passed"), ("Kibana", "skipped")]  # fmt: skip
            _stop(logstash)
            journey = run("doctor", "--canary", "--wait", 20, "--log", log, *flags, contract=contract, code=1)
            assert journey["stopped_at"] == "Logstash", journey
            _stop(beat)
            journey = run("doctor", "--canary", "--wait", 2, "--log", log, *flags, contract=contract, code=1)
            assert journey["stopped_at"] == "Filebeat", journey


def _answering(stack: ExitStack, command: Any, variables: Any, api: str, folder: Path) -> Any:
    """A Logstash whose API answers: about every other start of the 8.3.3 at hand answers 500 to all, to the end."""
    for attempt in range(6):
        out = folder / f"logstash-{attempt}.log"
        process = stack.enter_context(shippers.running(command, out, variables))
        shippers.wait_for(lambda o=out: "Pipelines running" in o.read_text(errors="replace"), process, out)
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(api, timeout=30):
            return process
        _stop(process)
    pytest.fail("no start of Logstash gave an API that answers")


def _stop(process: Any) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(60)
