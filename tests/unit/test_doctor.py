"""`elkkit doctor`: each check when all is well and when it is not, and the command as a whole."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.contract import extend, load_contract
from elkkit.errors import ConfigError, NotAllowedError, ServiceError, UnreachableError
from elkkit.kibana.plan import Step
from elkkit.kibana.uses import FieldInfo
from elkkit.settings import load_settings
from elkkit.stack.kibanafields import FieldList
from elkkit.stack.monitoring import Counters, number
from elkkit.stack.shapes import Difference
from elkkit.stack.streams import Kind, Stream
from elkkit.usecases import doctor_elastic, doctor_kibana, doctor_local, doctor_shippers
from elkkit.usecases.doctor import examine
from elkkit.usecases.findings import Check, State, counts
from elkkit.usecases.setup import Rollover, SetUp, SetupResult
from elkkit.usecases.setup_checks import Check as SimulatedCheck
from elkkit.usecases.setup_checks import Verdict
from fakes import elasticsearch as fake_elasticsearch
from fakes import shippers
from fakes.kibana import FakeKibana, Health

CONTRACT = load_contract()
HOUR = 3600.0


def run(*arguments: object, **environment: str) -> Any:
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)], env=environment)


def states(checks: list[Check]) -> dict[str, State]:
    return {c.name: c.state for c in checks}


def one(checks: list[Check], name: str) -> Check:
    (found,) = [c for c in checks if c.name == name]
    return found


# --- without services ------------------------------------------------------------------------------------------------


def test_everything_local_is_well_and_services_are_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = run("--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)["data"]
    by_name = {c["name"]: c["state"] for c in data["checks"]}
    assert by_name == {
        "settings": "ok", "contract": "ok", "assets": "ok", "a test line": "ok", "models": "ok", "log files": "skip",
        "Elasticsearch": "skip", "Logstash": "skip", "Filebeat": "skip", "Kibana": "skip",
    }  # fmt: skip
    assert data["counts"] == {"ok": 5, "warn": 0, "fail": 0, "skip": 5}
    assert sorted(tmp_path.rglob("*")) == before, "it changes nothing"


def test_one_line_a_check_in_80_columns_and_a_hint_below():
    done = run(COLUMNS="80")
    rows = done.stdout.splitlines()
    assert max(map(len, rows)) <= 80
    assert any(r.startswith("ok    contract") for r in rows)
    place = next(i for i, r in enumerate(rows) if r.startswith("skip  Kibana"))
    assert rows[place + 1].strip() == "hint: --kibana-url URL"
    assert done.stderr.strip() == "5 ok, 5 skip"


def test_offline_asks_nobody(tmp_path):
    with shippers.serving(shippers.logstash()) as service:
        done = run("--offline", "--json", "--logstash-url", service.url, "--es-url", "http://127.0.0.1:1")
        assert service.asked == []
    rows = json.loads(done.stdout)["data"]["checks"]
    assert [c["text"] for c in rows if c["name"] in ("Elasticsearch", "Logstash")] == ["not asked: --offline"] * 2
    assert done.exit_code == 0


def test_origins_name_where_settings_come_from_and_no_secret(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elkkit.toml").write_text('namespace = "team"\n')
    settings = load_settings({"timeout": 3.0}, environment={"ELKKIT_API_KEY": "s3cret"})
    text = doctor_local.origins(settings).text
    assert "timeout from --timeout" in text
    assert "api_key from ELKKIT_API_KEY" in text
    assert str(tmp_path / "elkkit.toml") in text
    assert "s3cret" not in text
    assert "s3cret" not in run("--json", "--offline", ELKKIT_API_KEY="s3cret").output


def test_a_wrong_contract_fails_and_the_rest_is_still_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elkkit.toml").write_text('[metrics.IoU_2]\nbetter = "sideways"\n')
    found = list(examine(load_settings(), offline=True).checks)
    check = one(found, "contract")
    assert check.state is State.FAIL
    assert "sideways" in check.text
    assert check.hint
    assert states(found)["a test line"] is State.OK


def test_a_dataset_of_ones_own_is_worth_a_look():
    found = doctor_local.consistency(extend(CONTRACT, dataset="pose.eval"))
    assert [c.state for c in found] == [State.OK, State.WARN]
    assert "pose.eval" in found[1].text


def test_assets_that_are_missing_or_changed_fail(tmp_path, monkeypatch):
    from elkkit.render import generate_all

    for name, text in generate_all(CONTRACT).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(doctor_local, "assets_root", lambda: tmp_path)
    assert states(doctor_local.assets()) == {"assets": State.OK}
    path = tmp_path / "filebeat" / "filebeat.yml"
    path.write_text(path.read_text() + "# mine\n")
    (check,) = doctor_local.assets()
    assert (check.state, "filebeat/filebeat.yml" in check.text) == (State.FAIL, True)
    path.unlink()
    (check,) = doctor_local.assets()
    assert check.state is State.FAIL
    assert "1 of" in check.text
    assert "missing" in check.text


def test_a_line_that_comes_out_changed_fails(monkeypatch):
    from elkkit.line import Parsed, Parser

    assert doctor_local.a_line(CONTRACT).state is State.OK
    real = Parser.parse

    def rounded(self, raw):
        parsed = real(self, raw)
        return Parsed(parsed.outcome, {**parsed.fields, "metricscores": round(parsed.fields["metricscores"], 3)})

    monkeypatch.setattr(Parser, "parse", rounded)
    check = doctor_local.a_line(CONTRACT)
    assert check.state is State.FAIL
    assert "0.30000000000000004" in check.text


def test_models_that_do_not_load_fail(monkeypatch, tmp_path):
    from elkkit_scoring import bundled

    assert doctor_local.models()[0].state is State.OK
    (tmp_path / "lane-x.toml").write_text("nonsense")
    (tmp_path / "lane-x.onnx").write_bytes(b"nonsense")
    monkeypatch.setattr(bundled, "models_folder", lambda: tmp_path)
    (check,) = doctor_local.models()
    assert check.state is State.FAIL
    assert check.hint


def test_without_what_scoring_needs_models_are_skipped(monkeypatch):
    monkeypatch.setattr(doctor_local, "find_spec", lambda name: None if name == "onnxruntime" else object())
    (check,) = doctor_local.models()
    assert (check.state, "onnxruntime" in check.text) == (State.SKIP, True)


# --- log files -------------------------------------------------------------------------------------------------------


def logs(*files: Path, age: float = HOUR, pattern: str | None = None) -> list[Check]:
    return doctor_local.log_files([str(f) for f in files], pattern, now=lambda: time.time() + age)


def test_a_last_line_without_its_end_is_noticed(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("IoU : 0.5\nIoU : 0.6")
    (check,) = logs(path)
    assert check.state is State.FAIL
    assert "no line feed" in check.text
    assert f"echo >> {path}" in str(check.hint)
    (check,) = logs(path, age=1.0)
    assert check.state is State.WARN, "it may be being written just now"
    path.write_text("IoU : 0.5\nIoU : 0.6\n")
    assert [c.state for c in logs(path)] == [State.OK]


def test_logs_come_from_the_setting_that_filebeat_reads(tmp_path):
    for name, text in (("a.log", "x\n"), ("b.log", "y"), ("c.log.gz", "z")):
        (tmp_path / name).write_text(text)
    found = logs(pattern=str(tmp_path / "*.log*"))
    assert [c.state for c in found] == [State.OK, State.FAIL]
    assert "1 of 2" in found[0].text
    assert str(tmp_path / "b.log") in found[1].text
    done = run("--json", "--offline", ELKKIT_LOG_FILES=str(tmp_path / "*.log*"))
    assert done.exit_code == 0, "the line was written a moment ago"
    assert "warn" in [c["state"] for c in json.loads(done.stdout)["data"]["checks"] if c["name"] == "log files"]
    assert logs(pattern=str(tmp_path / "none*"))[0].state is State.FAIL
    assert logs()[0].state is State.SKIP


def test_logs_that_cannot_be_read_fail(tmp_path):
    (tmp_path / "empty.log").touch()
    assert logs(tmp_path / "empty.log")[0].state is State.WARN
    (check,) = logs(tmp_path / "none.log")
    assert (check.state, "No such file" in check.text) == (State.FAIL, True)
    assert logs(tmp_path)[0].state is State.FAIL
    assert run("--offline", "--log", tmp_path / "none.log").exit_code == 1


def test_a_hostile_file_name_reaches_no_terminal(tmp_path):
    path = tmp_path / "a\x1b[31m.log"
    path.write_text("x")
    os.utime(path, (0, 0))
    done = run("--offline", "--log", path)
    assert done.exit_code == 1
    assert "\x1b" not in done.output


def test_many_logs_are_not_many_lines(tmp_path):
    for number_ in range(60):
        (tmp_path / f"{number_}.log").write_text("x")
    found = logs(pattern=str(tmp_path / "*.log"))
    assert len(found) == doctor_local.MOST_LOGS + 1
    assert "40 more" in found[-1].text


# --- Logstash --------------------------------------------------------------------------------------------------------


def logstash(change=lambda _service: None) -> list[Check]:
    service = shippers.logstash()
    change(service)
    return doctor_shippers.logstash(service.answers["/"], service.answers["/_node/stats/pipelines"])


def test_a_logstash_that_is_well():
    assert set(states(logstash()).values()) == {State.OK}
    assert one(logstash(), "Logstash pipeline").text == "lane-eval runs: 12 events in, 12 out"


LOGSTASH_FAULTS = [
    ("Logstash", State.FAIL, lambda s: s.answers["/"].pop("version")),
    ("Logstash", State.WARN, lambda s: s.answers["/"].update(status="yellow")),
    ("Logstash pipeline", State.FAIL,
     lambda s: s.answers["/_node/stats/pipelines"].update(pipelines={"main": {"events": {}}})),
    ("Logstash pipeline", State.FAIL, lambda s: shippers.pipeline(s)["reloads"].update(
        failures=1, last_error={"message": "Expected one of #, input"})),
    ("Logstash output", State.FAIL, lambda s: shippers.pipeline(s)["plugins"]["outputs"][0]["documents"].update(
        non_retryable_failures=4)),
    ("Logstash output", State.WARN, lambda s: shippers.pipeline(s)["plugins"]["outputs"][0]["bulk_requests"].update(
        failures=9)),
    ("Logstash filter", State.WARN, lambda s: shippers.pipeline(s)["plugins"]["filters"][0].update(failures=3)),
    ("Logstash queue", State.WARN, lambda s: shippers.pipeline(s)["queue"].update(type="memory")),
    ("Logstash queue", State.WARN, lambda s: shippers.pipeline(s)["queue"].update(queue_size_in_bytes=1_000_000_000)),
    ("Logstash dead letters", State.WARN, lambda s: shippers.pipeline(s).pop("dead_letter_queue")),
    ("Logstash dead letters", State.FAIL, lambda s: shippers.pipeline(s)["dead_letter_queue"].update(
        queue_size_in_bytes=5000)),
    ("Logstash dead letters", State.FAIL, lambda s: shippers.pipeline(s)["dead_letter_queue"].update(
        dropped_events=1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "state", "change"), LOGSTASH_FAULTS)
def test_what_can_be_wrong_with_logstash(name, state, change):
    check = one(logstash(change), name)
    assert check.state is state
    assert check.hint


def test_a_pipeline_of_another_name_is_known_by_its_filters():
    def rename(service):
        rows = service.answers["/_node/stats/pipelines"]["pipelines"]
        rows["mine"] = rows.pop("lane-eval")
        rows[".monitoring-logstash"] = {"events": {}}

    assert "mine runs" in one(logstash(rename), "Logstash pipeline").text


# --- Filebeat --------------------------------------------------------------------------------------------------------


def filebeat(change=lambda _service: None) -> list[Check]:
    service = shippers.filebeat()
    change(service)
    return doctor_shippers.filebeat(service.answers["/"], service.answers["/stats"])


def in_stats(service: shippers.FakeService, *path: str, **values: object) -> None:
    at = service.answers["/stats"]
    for part in path:
        at = at[part]
    at.update(values)


EVENTS = ("libbeat", "output", "events")
PIPELINE = ("libbeat", "pipeline", "events")
FILEBEAT_FAULTS = [
    ("Filebeat", State.FAIL, lambda s: s.answers["/"].update(beat="metricbeat")),
    ("Filebeat files", State.WARN, lambda s: in_stats(s, "filebeat", "filestream", scan_errors=2)),
    ("Filebeat files", State.WARN, lambda s: (in_stats(s, "filebeat", "harvester", running=0, started=0),
                                              in_stats(s, "filebeat", "events", added=0))),
    ("Filebeat output", State.FAIL, lambda s: in_stats(s, *EVENTS, dropped=7)),
    ("Filebeat output", State.FAIL, lambda s: (in_stats(s, *EVENTS, acked=0), in_stats(s, *PIPELINE, active=3))),
    ("Filebeat output", State.WARN, lambda s: in_stats(s, *PIPELINE, active=50_000)),
    ("Filebeat output", State.WARN, lambda s: (in_stats(s, *EVENTS, failed=5), in_stats(s, *PIPELINE, active=3))),
]  # fmt: skip


def test_a_filebeat_that_is_well():
    assert set(states(filebeat()).values()) == {State.OK}
    assert one(filebeat(), "Filebeat output").text == "3 sent, 3 acknowledged by logstash, 0 on their way"
    closed = filebeat(lambda s: in_stats(s, "filebeat", "harvester", running=0))
    assert one(closed, "Filebeat files").state is State.OK


@pytest.mark.parametrize(("name", "state", "change"), FILEBEAT_FAULTS)
def test_what_can_be_wrong_with_filebeat(name, state, change):
    check = one(filebeat(change), name)
    assert check.state is state
    assert check.hint


def test_counters_are_numbers_whatever_is_there():
    assert number({"a": {"b": 3}}, "a", "b") == 3
    assert [number({"a": v}, "a") for v in ("3", None, True, [], {})] == [0] * 5
    assert number({"a": 3}, "a", "b") == 0


# --- how the two are asked -------------------------------------------------------------------------------------------


def counters(url: str, **more: Any) -> Counters:
    found = Counters.from_settings("Logstash", load_settings({"logstash_url": url, **more}, environment={}))
    assert found is not None
    return found


def test_elasticsearchs_credentials_are_not_told_to_others():
    with shippers.serving(shippers.logstash()) as service:
        counters(service.url, api_key="s3cret").get("/")
        counters(service.url.replace("//", "//u:p@")).get("/")
        assert [a for _, a in service.asked] == [None, "Basic dTpw"]


def test_what_does_not_answer_as_it_should_is_an_error_with_a_hint(unused_port):
    with pytest.raises(UnreachableError) as caught:
        counters(f"http://127.0.0.1:{unused_port}").get("/")
    assert "is Logstash running?" in str(caught.value.hint)
    with shippers.serving(shippers.logstash()) as service:
        service.answers["/"] = b"<html>"
        with pytest.raises(ServiceError, match="no JSON object"):
            counters(service.url).get("/")
        service.status = 401
        with pytest.raises(NotAllowedError):
            counters(service.url).get("/")
        service.status = 500
        with pytest.raises(ServiceError, match="it answers 500"):
            counters(service.url).get("/")
    with pytest.raises(ConfigError, match="Logstash"):
        counters("localhost:9600")


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def silent():
    """A port that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(32)
        kept = []

        def take() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def test_dead_services_are_asked_side_by_side():
    with silent() as url:
        flags = {f"{n}_url": url for n in ("es", "logstash", "filebeat", "kibana")}
        found = examine(load_settings({**flags, "timeout": 1.0}, environment={})).checks
    wrong = {c.name: c for c in found if c.state is State.FAIL and c.name != "assets"}
    assert set(wrong) == {"Elasticsearch", "Logstash", "Filebeat", "Kibana"}
    assert all(c.hint for c in wrong.values())


def test_an_answer_that_nobody_foresaw_hides_no_other_check():
    with shippers.serving(shippers.logstash()) as service, shippers.serving(shippers.filebeat()) as other:
        service.answers["/_node/stats/pipelines"]["pipelines"]["lane-eval"] = {"plugins": 3, "events": None}
        flags = {"logstash_url": service.url, "filebeat_url": other.url}
        found = list(examine(load_settings(flags, environment={})).checks)
    assert one(found, "Logstash").state is State.FAIL
    assert one(found, "Filebeat output").state is State.OK


# --- Elasticsearch ---------------------------------------------------------------------------------------------------


def result(**more: Any) -> SetupResult:
    stream = Stream(CONTRACT.stream, Kind.DATA_STREAM, ("i-1",))
    objects = (SetUp("component template", "lane-eval@mappings", "unchanged"),
               SetUp(Kind.DATA_STREAM, CONTRACT.stream, "unchanged"))  # fmt: skip
    given: dict[str, Any] = {"server": {}, "stream": stream, "objects": objects, "left_out": (),
                             "rollover": Rollover(), "dry_run": True}  # fmt: skip
    return SetupResult(**given | more)


def test_templates_that_are_not_ours_fail():
    assert set(states(list(doctor_elastic.setup_checks(result()))).values()) == {State.OK}
    changed = (SetUp("component template", "lane-eval@mappings", "changed", (Difference("a", "b", "c"),)),
               SetUp(Kind.DATA_STREAM, CONTRACT.stream, "created"))  # fmt: skip
    found = list(doctor_elastic.setup_checks(result(objects=changed)))
    assert states(found) == {"Elasticsearch templates": State.FAIL, "Elasticsearch stream": State.FAIL}
    assert "lane-eval@mappings is not as elkkit's" in found[0].text
    refused = result(refused=(ConfigError("there is another", why="w", hint="h"),))
    assert states(list(doctor_elastic.setup_checks(refused))) == {"Elasticsearch templates": State.FAIL}
    older = result(rollover=Rollover((Difference("a", "b", "c"),)))
    assert states(list(doctor_elastic.setup_checks(older)))["Elasticsearch stream"] is State.WARN


def test_a_bad_score_that_would_be_stored_fails():
    name = "a bad score is refused"
    well = SimulatedCheck(name, Verdict.OK)
    found = states(list(doctor_elastic.setup_checks(result(checks=(well,)))))
    assert found["Elasticsearch bad scores"] is State.OK
    wrong = (well, SimulatedCheck(name, Verdict.FAIL, "it is of the type text", "elkkit setup --rollover"))
    check = one(list(doctor_elastic.setup_checks(result(checks=wrong))), "Elasticsearch bad scores")
    assert (check.state, check.hint) == (State.FAIL, "elkkit setup --rollover")


@pytest.mark.parametrize(
    ("has", "state"),
    [
        ({"read": True, "view_index_metadata": True, "create_doc": True}, State.OK),
        ({"read": True, "view_index_metadata": True, "create_doc": False}, State.WARN),
        ({"read": False, "view_index_metadata": True, "create_doc": True}, State.FAIL),
        ({}, State.FAIL),
    ],
)
def test_privileges(has, state):
    assert doctor_elastic.privileges(has, "anna", CONTRACT).state is state


@pytest.mark.parametrize(
    ("indices", "state"),
    [
        ({"i": {"managed": True, "phase": "hot", "step": "check"}}, State.OK),
        ({"i": {"managed": True, "phase": "hot", "action": "rollover", "step": "ERROR",
                "step_info": {"reason": "no write index"}}}, State.FAIL),
        ({"i": {"managed": False}}, State.WARN),
        ({}, State.SKIP),
    ],
)  # fmt: skip
def test_lifecycle(indices, state):
    assert doctor_elastic.lifecycle(indices).state is state


DISK = "cluster.routing.allocation.disk"
DEFAULTS = {f"{DISK}.watermark.low": "85%", f"{DISK}.watermark.high": "90%", f"{DISK}.watermark.flood_stage": "95%"}
GB = 1 << 30


def disk(free: int, total: int = 100, **more: str) -> Check:
    node = {"name": "n1", "fs": {"total": {"total_in_bytes": total * GB, "available_in_bytes": free * GB}}}
    well = {"name": "n2", "fs": {"total": {"total_in_bytes": total * GB, "available_in_bytes": total * GB}}}
    settings = {**DEFAULTS, **{f"{DISK}.{k.replace('__', '.')}": v for k, v in more.items()}}
    return doctor_elastic.disk(settings, {"a": well, "b": node})


def test_disk_watermarks():
    assert [disk(f).state for f in (50, 14, 9, 4)] == [State.OK, State.WARN, State.FAIL, State.FAIL]
    assert "n1 has 4% free" in disk(4).text
    assert "flood stage" in disk(4).text
    assert disk(9, watermark__high="5gb").state is State.WARN
    assert disk(4, threshold_enabled="false").state is State.SKIP
    assert disk(500, 10_000).state is State.FAIL
    headroom = {f"watermark__{m}__max_headroom": v for m, v in
                (("low", "200GB"), ("high", "150gb"), ("flood_stage", "100gb"))}  # fmt: skip
    assert disk(500, 10_000, **headroom).state is State.OK
    assert disk(14, watermark__low="0.85").state is State.WARN
    assert doctor_elastic.disk({}, {}).state is State.SKIP


def test_health_of_the_stream():
    def state(status: str, nodes: int) -> State:
        return doctor_elastic.state_of_stream({"status": status, "number_of_nodes": nodes}).state

    assert [state("green", 3), state("yellow", 1)] == [State.OK] * 2
    assert [state("yellow", 3), state("red", 1)] == [State.WARN, State.FAIL]


def test_events():
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)

    def told(ignored: int = 0, malformed: int = 0, newest: float | None = None) -> dict[str, State]:
        answer = {"ignored": {"doc_count": ignored}, "malformed": {"doc_count": malformed}, "newest": {"value": newest}}
        return states(list(doctor_elastic.events(0 if newest is None else 10, answer, CONTRACT, now)))

    moment = now.timestamp() * 1000
    assert told() == {"Elasticsearch events": State.WARN}
    assert told(newest=moment) == {"Elasticsearch events": State.OK, "Elasticsearch ignored": State.OK}
    assert told(1, 1, moment)["Elasticsearch ignored"] is State.WARN
    assert told(1, 1, moment)["Elasticsearch malformed"] is State.WARN


def test_an_elasticsearch_that_lacks_everything():
    fake = fake_elasticsearch.Fake()
    with fake_elasticsearch.serving(fake):
        before = fake.snapshot()
        done = run("--json", "--es-url", fake.url)
        assert fake.snapshot() == before
        assert [w for w in fake.written if not w.startswith("POST")] == [], "nothing is put"
    assert done.exit_code == 1
    rows = {c["name"]: c for c in json.loads(done.stdout)["data"]["checks"]}
    assert rows["Elasticsearch"]["state"] == "ok"
    assert rows["Elasticsearch templates"]["state"] == "fail"
    assert rows["Elasticsearch stream"]["hint"] == "elkkit setup"


def test_an_elasticsearch_that_says_no():
    fake = fake_elasticsearch.Fake()
    with fake_elasticsearch.serving(fake):
        import re

        fake.forbidden = re.compile(r"_ilm|_index_template|_component_template")
        done = run("--json", "--es-url", fake.url)
    rows = {c["name"]: c for c in json.loads(done.stdout)["data"]["checks"]}
    assert done.exit_code == 1
    assert "unauthorized" in rows["Elasticsearch templates"]["text"]


# --- Kibana ----------------------------------------------------------------------------------------------------------


def steps(*actions: str) -> list[Step]:
    return [Step("dashboard", str(i), f"d{i}", action) for i, action in enumerate(actions)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("actions", "state"),
    [
        (["unchanged", "unchanged"], State.OK),
        (["create", "create"], State.FAIL),
        (["create", "unchanged"], State.FAIL),
        (["drifted", "unchanged"], State.WARN),
        (["update", "unchanged"], State.WARN),
    ],
)
def test_objects(actions, state):
    assert doctor_kibana.objects(steps(*actions)).state is state


def test_fields_that_kibana_sees():
    well = {"metricscores": FieldInfo("double", True, True), "metrictype": FieldInfo("keyword", True, True)}

    def state(fields: dict[str, FieldInfo] | None, why: str | None = None) -> State:
        return doctor_kibana.data_view(FieldList(fields, why), "logs-*").state

    assert state(well) is State.OK
    assert state(None, "403") is State.SKIP
    assert state({}) is State.FAIL
    assert state({"x": well["metrictype"]}) is State.FAIL
    assert state({**well, "metricscores": FieldInfo("text", True, False)}) is State.FAIL
    assert state({**well, "metrictype": FieldInfo("text", True, False)}) is State.FAIL


def test_a_kibana_before_and_after_an_import():
    with FakeKibana("8.12.2") as fake:
        rows = {c.name: c for c in _kibana(fake)}
        assert rows["Kibana"].state is State.OK
        assert rows["Kibana objects"].state is State.FAIL
        imported = CliRunner().invoke(app, ["import-dashboards", "--kibana-url", fake.url])
        assert imported.exit_code == 0, imported.output
        fake.asked.clear()
        assert {c.name: c for c in _kibana(fake)}["Kibana objects"].state is State.OK
        assert not [path for _, path in fake.asked if "_import" in path], "nothing is imported, not even on trial"
        fake.health = Health.STARTING
        assert {c.name: c for c in _kibana(fake)}["Kibana"].state is State.FAIL


def _kibana(fake: FakeKibana) -> list[Check]:
    found = examine(load_settings({"kibana_url": fake.url}, environment={})).checks
    return [c for c in found if c.name.startswith("Kibana")]


def test_counts_have_every_state():
    assert counts([]) == {"ok": 0, "warn": 0, "fail": 0, "skip": 0}
