"""The canary: no number counts it, it is appended as our writer appends, and each hop tells what became of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import elkkit
from elkkit.cli import app
from elkkit.contract import extend, load_contract
from elkkit.errors import ElkkitError, InputError, UnreachableError, UsageError
from elkkit.line import Outcome, Parser
from elkkit.line.canary import asks_for_canaries, is_canary
from elkkit.settings import load_settings
from elkkit.stack.monitoring import Counters
from elkkit.usecases import canary as pure
from elkkit.usecases.canary import RUN, Canary, Hop, Journey, follow, write
from elkkit.usecases.canary_counters import FilebeatStation, LogstashStation, NotAsked
from elkkit.usecases.canary_journey import Broken, chosen_log
from elkkit.usecases.canary_stores import differences, hits, looks_for
from fakes import shippers

CONTRACT = load_contract()
TAG = CONTRACT.canary_tag


def run(*arguments: object, **environment: str) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments], env=environment)


# --- nothing counts it -----------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "scores.log"
    for model, bias in (("lane-a", 0.0), ("lane-b", 0.1)):
        with elkkit.metric_logger(path, model_name=model, model_version="1", run_id=f"run-{model}") as logger:
            for frame in range(30):
                logger.log_metric("IoU", 0.5 + bias + frame / 1000, frame_id=f"f{frame:03}")
    return path


def absurd(path: Path) -> None:
    """Canaries that would ruin everything: of a real model, run, frame and metric, and one that is our own."""
    write(CONTRACT, str(path))
    tags = {"tags": [TAG]}
    for model in ("lane-a", "lane-b", "lane-c"):
        with elkkit.metric_logger(path, model_name=model, model_version="1", run_id="run-lane-a", extra=tags) as logger:
            logger.log_metric("IoU", 1e300, frame_id="f001", conditions=["night"])
            logger.log_metric("IoU", float("nan"), frame_id="f777")


def test_a_canary_is_read_as_a_score_with_a_tag(tmp_path):
    path = tmp_path / "a.log"
    path.touch()
    made = write(CONTRACT, str(path))
    parsed = Parser.of(CONTRACT).parse(path.read_bytes().rstrip(b"\n"))
    assert parsed.outcome is Outcome.SCORED, "so that it goes the road that scores go"
    assert is_canary(CONTRACT, parsed.fields)
    assert (parsed.fields["event.id"], parsed.score) == (made.id, made.score)
    assert "model.name" not in parsed.fields, "so that no panel by model shows it, whoever made it"
    assert not is_canary(CONTRACT, {"tags": ["canary", "_canary2"]})
    assert not is_canary(CONTRACT, {})


def test_where_only_listed_metrics_count_it_is_one_of_them(tmp_path):
    contract = extend(CONTRACT, own_metrics="listed")
    (tmp_path / "a.log").touch()
    made = write(contract, str(tmp_path / "a.log"))
    assert made.metric in contract.metrics
    assert Parser.of(contract).parse(made.line.rstrip(b"\n")).outcome is Outcome.SCORED


def test_compare_says_the_same_with_canaries(log):
    before = json.loads(run("compare", log, "--json").stdout)["data"]
    absurd(log)
    after = json.loads(run("compare", log, "--json").stdout)["data"]
    assert after["counts"].pop("canary") == 7
    assert after["counts"].pop("read") == before["counts"].pop("read") + 7
    assert after == before


def test_query_does_not_find_it_unless_asked_for_it(log):
    def found(kql: str) -> dict[str, Any]:
        return json.loads(run("query", kql, log, "--json").stdout)["data"]

    before = {kql: found(kql) for kql in ("*", "metrictype : IoU", "metricscores > 1", "tags : *", "not tags : x")}
    absurd(log)
    assert {kql: found(kql) for kql in before} == before
    assert len(found(f'tags : "{TAG}"')["events"]) == 7
    assert asks_for_canaries(CONTRACT, f"tags : {TAG}")
    assert not asks_for_canaries(CONTRACT, "tags : *")
    assert not asks_for_canaries(CONTRACT, None)


def test_tail_counts_it_apart(log):
    def rows(*more: str) -> list[str]:
        return run("tail", log, "--no-follow", "--lines", "all", "--json", *more).stdout.splitlines()

    before = rows(), rows("--all"), rows("--metric", "IoU")
    absurd(log)
    assert (rows(), rows("--all"), rows("--metric", "IoU")) == before
    assert len(rows("--query", f"tags : {TAG}")) == 7
    assert (
        "60 scored, 0 not finite, 0 not a score, 0 malformed, 7 canary"
        in run("tail", log, "--no-follow", "-n", "all").stderr
    )


def test_parse_says_what_it_is_and_counts_it_apart(log):
    absurd(log)
    done = run("parse", log)
    outcomes = [json.loads(row)["outcome"] for row in done.stdout.splitlines()]
    assert (outcomes.count("scored"), outcomes.count("canary"), len(outcomes)) == (60, 7, 67)
    assert done.stderr.strip() == "67 read, 60 scored, 0 not finite, 0 not a score, 0 malformed, 7 canary"


# --- writing ---------------------------------------------------------------------------------------------------------


def test_it_is_one_whole_line_at_the_end(log):
    before = log.read_bytes()
    made = write(CONTRACT, str(log))
    assert log.read_bytes() == before + made.line
    assert made.offset == len(before)
    assert made.line.endswith(b"\n")
    again = write(CONTRACT, str(log))
    assert again.id != made.id
    assert again.score != made.score


@pytest.mark.parametrize("content", [b"IoU : 0.5\nIoU : 0.", b"x"])
def test_a_line_without_its_end_is_left_alone(tmp_path, content):
    path = tmp_path / "a.log"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no line feed") as caught:
        write(CONTRACT, str(path))
    assert "echo >>" in str(caught.value.hint)
    assert path.read_bytes() == content


def test_no_log_is_made(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        write(CONTRACT, str(tmp_path / "none.log"))
    with pytest.raises(ElkkitError):
        write(CONTRACT, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_log_is_the_one_named_or_the_newest(tmp_path, log):
    import os

    settings = load_settings(environment={"ELKKIT_LOG_FILES": f"{tmp_path}/*.log*"})
    (tmp_path / "old.log").write_text("x\n")
    os.utime(tmp_path / "old.log", (1, 1))
    assert chosen_log([], settings) == str(log)
    assert chosen_log(["x"], settings) == "x"
    with pytest.raises(UsageError, match="one log"):
        chosen_log(["x", "y"], settings)
    with pytest.raises(UsageError, match="no log is named"):
        chosen_log([], load_settings(environment={}))


# --- following -------------------------------------------------------------------------------------------------------

CANARY = Canary("0" * 32, "Canary", 0.1 + 0.2, b"{}\n", "a.log", 0, "2026-11-22T10:00:00.000Z")


class At:
    """A station that has the canary from a moment on."""

    def __init__(self, name: str, at: float | None, *, names_event: bool = True) -> None:
        self.name = name
        self.names_event = names_event
        self.lost = False
        self.passed: float | None = None
        self._at = at

    def begin(self) -> None:
        pass

    def look(self, canary: Canary, now: float) -> None:
        if self._at is not None and now >= self._at:
            self.passed = now

    def tell(self, start: float, *, beyond: bool) -> Hop:
        if self.passed is not None:
            return Hop(self.name, "passed", self.passed - start, "")
        return Hop(self.name, "unsure" if beyond else "stopped", None, "")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def followed(*stations: Any, wait: float = 30.0) -> tuple[list[tuple[str, str]], float]:
    clock = Clock()
    hops = follow(CANARY, stations, wait=wait, start=100.0, clock=clock, pause=clock.pause)
    return [(h.name, h.state) for h in hops], clock.now - 100.0


def test_every_hop_says_when():
    found, took = followed(At("Filebeat", 101), At("Logstash", 102), At("Elasticsearch", 104))
    assert found == [("Filebeat", "passed"), ("Logstash", "passed"), ("Elasticsearch", "passed")]
    assert 4 <= took < 5


def test_it_stops_at_one_hop_and_reaches_none_after_it():
    found, took = followed(
        At("Filebeat", 101), At("Logstash", None), At("Elasticsearch", None), NotAsked("Kibana", "w")
    )
    assert found == [("Filebeat", "passed"), ("Logstash", "stopped"), ("Elasticsearch", "not reached"),
                     ("Kibana", "skipped")]  # fmt: skip
    assert 30 <= took < 31


def test_counters_that_did_not_move_stop_nothing_that_arrived():
    found, took = followed(At("Filebeat", None, names_event=False), At("Elasticsearch", 101))
    assert found == [("Filebeat", "unsure"), ("Elasticsearch", "passed")]
    assert took < 101 - 100 + pure.LATE + 1


def test_what_is_lost_is_not_waited_for():
    broken = Broken("Kibana", UnreachableError("it is not there", why="w", hint="h"))
    found, took = followed(At("Elasticsearch", 101), broken)
    assert found == [("Elasticsearch", "passed"), ("Kibana", "stopped")]
    assert took < 5
    assert followed(broken)[1] == 0.0


def test_the_json_of_a_journey():
    hops = (Hop("log", "passed", 0.0, ""), Hop("Filebeat", "passed", 1.0, ""),
            Hop("Logstash", "stopped", None, "t", "h"), Hop("Elasticsearch", "not reached", None, ""))  # fmt: skip
    found = Journey(CANARY, hops).as_dict()
    assert (found["arrived"], found["stopped_at"]) == (False, "Logstash")
    assert [h["since_previous"] for h in found["hops"]] == [0.0, 1.0, None, None]
    assert Journey(CANARY, hops[:2]).stopped_at is None


# --- Filebeat and Logstash -------------------------------------------------------------------------------------------


@pytest.fixture
def logstash() -> Iterator[shippers.FakeService]:
    with shippers.serving(shippers.logstash()) as service:
        yield service


@pytest.fixture
def filebeat() -> Iterator[shippers.FakeService]:
    with shippers.serving(shippers.filebeat()) as service:
        yield service


def counters(name: Any, url: str) -> Counters:
    flags = {"logstash_url": url, "filebeat_url": url}
    found = Counters.from_settings(name, load_settings(flags, environment={}))
    assert found is not None
    return found


def hop(station: Any, change: Callable[[], object], *, beyond: bool = False) -> Hop:
    station.begin()
    change()
    station.look(CANARY, 105.0)
    found: Hop = station.tell(100.0, beyond=beyond)
    return found


def beat(service: shippers.FakeService, **more: int) -> None:
    """Let some counters of a Filebeat rise."""
    stats = service.answers["/stats"]["libbeat"]
    for name, count in more.items():
        at = stats["pipeline"]["events"] if name == "published" else stats["output"]["events"]
        at[name] += count


def test_filebeat_by_its_counters(filebeat):
    def found(*, beyond: bool = False, **more: int) -> Hop:
        return hop(FilebeatStation(counters("Filebeat", filebeat.url)), lambda: beat(filebeat, **more), beyond=beyond)

    well = found(published=1, total=1, acked=1)
    assert (well.state, well.seconds) == ("passed", 5.0)
    assert "1 event" in well.text
    assert "do not say which" in found(published=3, total=3, acked=3).text
    held = found(published=1, total=1)
    assert (held.state, "none is acknowledged" in held.text) == ("passed", True)
    assert found(published=1, total=1, dropped=1).state == "stopped"
    unread = found()
    assert (unread.state, "read nothing" in unread.text) == ("stopped", True)
    assert "ELKKIT_LOG_FILES" in str(unread.hint)
    assert found(beyond=True).state == "unsure"


def test_a_filebeat_that_began_anew_counts_from_nothing(filebeat):
    station = FilebeatStation(counters("Filebeat", filebeat.url))

    def restart() -> None:
        beat(filebeat, published=-2, total=-2, acked=-2)

    assert hop(station, restart).state == "passed"


def flow(service: shippers.FakeService, *, taken: int = 0, filtered: int = 0, out: int = 0, **output: int) -> None:
    """Let some counters of a Logstash rise."""
    found = shippers.pipeline(service)
    found["events"]["in"] += taken
    found["events"]["filtered"] += filtered
    (row,) = found["plugins"]["outputs"]
    row["events"]["out"] += out
    for name, count in output.items():
        row["documents"][name] = row["documents"].get(name, 0) + count


def test_logstash_by_its_counters(logstash):
    def found(*, beyond: bool = False, **more: int) -> Hop:
        return hop(LogstashStation(counters("Logstash", logstash.url)), lambda: flow(logstash, **more), beyond=beyond)

    well = found(taken=1, filtered=1, out=1)
    assert (well.state, well.seconds) == ("passed", 5.0)
    nothing = found()
    assert (nothing.state, "nothing came in" in nothing.text) == ("stopped", True)
    assert "none through its filter" in found(taken=1).text
    assert "dropped" in found(taken=1, filtered=1).text
    waits = found(taken=1, filtered=1, retryable_failures=4)
    assert (waits.state, "does not take them" in waits.text) == ("stopped", True)
    refused = found(taken=1, filtered=1, out=1, non_retryable_failures=1)
    assert (refused.state, "refused 1 event" in refused.text) == ("stopped", True)
    assert found(beyond=True).state == "unsure"
    logstash.answers["/_node/stats/pipelines"]["pipelines"] = {}
    assert "no pipeline of elkkit's" in found_nothing(logstash).text


@pytest.mark.parametrize(
    "odd", [[], {"pipelines": 3}, {"pipelines": {"lane-eval": 3}}, {"pipelines": ["x"]}, b"<html>"]
)
def test_counters_of_no_known_form_are_told_and_not_raised(logstash, odd):
    logstash.answers["/_node/stats/pipelines"] = odd
    found = found_nothing(logstash)
    assert found.state == "stopped"
    assert found.hint


def found_nothing(service: shippers.FakeService) -> Hop:
    return hop(LogstashStation(counters("Logstash", service.url)), lambda: None)


def test_a_logstash_that_is_stopped_is_named():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = hop(LogstashStation(counters("Logstash", f"http://127.0.0.1:{port}")), lambda: None)
    assert found.state == "stopped"
    assert "not reachable" in found.text
    assert "Filebeat keeps the line" in str(found.hint)


# --- Elasticsearch ---------------------------------------------------------------------------------------------------


def test_a_document_is_what_was_written_or_not():
    well = {"metrictype": "Canary", "metricscores": 0.1 + 0.2, "tags": [TAG]}
    assert differences(well, CANARY, CONTRACT) == []
    assert differences({**well, "metricscores": 0.3}, CANARY, CONTRACT) == [
        "the score is 0.3 and was 0.30000000000000004"
    ]
    assert len(differences({"metrictype": "canary", "metricscores": "0.3"}, CANARY, CONTRACT)) == 3
    assert differences({**well, "tags": TAG}, CANARY, CONTRACT) == []


def test_totals_of_any_version():
    assert [hits({"hits": {"total": t}}) for t in (3, {"value": 2}, None)] == [3, 2, 0]
    assert hits({}) == 0
    assert "range" not in json.dumps(looks_for(CANARY))
    assert "range" in json.dumps(looks_for(CANARY, "@timestamp"))


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_stopped_logstash_is_where_the_canary_ends(log, filebeat):
    """No Elasticsearch, a Filebeat that reads it, a Logstash that is gone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{probe.getsockname()[1]}"
    rising = iter(range(10_000))
    real = filebeat.answers

    class Rising(dict):
        def get(self, key: str, default: object = None) -> Any:
            if key == "/stats" and next(rising) == 1:  # after the first look
                beat(filebeat, published=1, total=1)
            return super().get(key, default)

    filebeat.answers = Rising(real)
    done = run("doctor", "--canary", "--log", log, "--wait", 1, "--filebeat-url", filebeat.url, "--logstash-url", gone,
               COLUMNS="80")  # fmt: skip
    assert done.exit_code == 1, done.output
    rows = done.stdout.splitlines()
    assert max(map(len, rows[1:])) <= 80, "the first line holds a path"
    assert [r.split()[0] for r in rows if r[:1].strip()] == [
        "canary", "passed", "passed", "stopped", "skipped", "skipped", "stopped"]  # fmt: skip
    assert rows[-1] == "stopped at Logstash"
    assert "next: start Logstash" in done.stdout


def test_what_makes_no_sense_is_a_usage_error(log, tmp_path):
    before = log.read_bytes()
    for words in (["--canary", "--offline"], ["--canary", "--ship", "--log", str(log)], ["--ship"], ["--canary"],
                  ["--canary", "--log", str(log)], ["--canary", "--ship"]):  # fmt: skip
        done = run("doctor", *words)
        assert done.exit_code == 2, words
        assert "hint:" in done.stderr
    done = run("doctor", "--canary", "--log", str(log), "--es-url", "http://127.0.0.1:1")
    assert done.exit_code == 3
    assert log.read_bytes() == before, "nothing is written where nothing can be followed"


def test_the_run_of_canaries_is_theirs_alone():
    assert RUN == "elkkit-canary"
    _, _, event = pure.make(CONTRACT)
    assert event["run.id"] == event["service.name"] == RUN
