"""`elkkit compare`: from log files to a verdict, for people and as JSON, and what it says of bad input."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.contract import load_contract
from elkkit.line import metric_logger
from elkkit.usecases.compare import compare_files, model_names

CONTRACT = load_contract()
MEANS = {"lane-a:3": 0.83, "lane-b:1": 0.80, "lane-c:1": 0.70}


def write_log(path: Path, model: str, mean: float, *, run: str = "", metrics=("IoU", "F1", "Truth_px"), **more):
    """A log of one model: the same 40 frames for each, of which the lane-free ones are undefined."""
    n = 40
    name, _, version = model.partition(":")
    noise = np.random.default_rng(sum(model.encode()))
    base = np.random.default_rng(1).normal(0, 0.1, n)
    options = {"model_name": name, "model_version": version or None, "run_id": run or f"run-{name}", **more}
    with metric_logger(path, contract=CONTRACT, **options) as log:
        for i in range(n):
            for metric in metrics:
                score = mean + base[i] + noise.normal(0, 0.02)
                score = 500.0 + i if metric == "Truth_px" else score if i >= 4 else float("nan")
                log.log_metric(metric, score, frame_id=f"scene-{i:04d}", frame_index=i, lane_free=i < 4)
    return path


@pytest.fixture
def logs(tmp_path):
    return [str(write_log(tmp_path / f"service-{i}.log", m, x)) for i, (m, x) in enumerate(MEANS.items(), 1)]


def run(*args, stdin: bytes | None = None):
    return CliRunner().invoke(app, ["compare", *map(str, args)], input=stdin)


def data_of(*args, stdin: bytes | None = None):
    result = run("--json", *args, stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["data"]


def error_of(*args, stdin: bytes | None = None):
    """The error as JSON, once it is known to be three lines for people too."""
    people = run(*args, stdin=stdin)
    assert people.exit_code == 2
    assert people.stdout == ""
    assert [line.partition(":")[0] for line in people.stderr.splitlines()][-3:] == ["error", "why", "hint"]
    assert "Traceback" not in people.stderr
    result = run("--json", *args, stdin=stdin)
    envelope = json.loads(result.stdout)
    assert (result.exit_code, envelope["exit_code"], envelope["status"]) == (2, 2, "error")
    return envelope["errors"][0]


def test_the_envelope_and_its_numbers(logs):
    result = run("--json", *logs)
    envelope = json.loads(result.stdout)
    assert {k: envelope[k] for k in ("elkkit_result_version", "command", "status", "exit_code", "errors")} == {
        "elkkit_result_version": 1, "command": "compare", "status": "success", "exit_code": 0, "errors": [],
    }  # fmt: skip
    data = envelope["data"]
    assert [m["metric"] for m in data["metrics"]] == ["IoU", "F1", "Truth_px"]
    iou = data["metrics"][0]
    assert (iou["unit"], iou["better"]) == ("ratio", "higher")
    assert [(m["model"], m["version"], m["n"], m["undefined"]) for m in iou["models"]] == [
        ("lane-a", "3", 36, 4), ("lane-b", "1", 36, 4), ("lane-c", "1", 36, 4)]  # fmt: skip
    assert all(m["p05"] < m["median"] < m["p95"] for m in iou["models"])
    assert [(p["a"], p["b"], p["n"], p["verdict"]) for p in iou["pairs"]] == [
        ("lane-a:3", "lane-b:1", 36, "better"), ("lane-a:3", "lane-c:1", 36, "better"),
        ("lane-b:1", "lane-c:1", 36, "better")]  # fmt: skip
    first = iou["pairs"][0]
    assert first["ci_low"] < first["difference"] < first["ci_high"]
    assert first["difference"] == pytest.approx(iou["models"][0]["mean"] - iou["models"][1]["mean"])
    assert first["p"] <= first["p_adjusted"] < 0.05
    assert (first["a_model"], first["a_version"], first["frames_undefined"]) == ("lane-a", "3", 4)
    assert first["frames_missing"] == {"a": 0, "b": 0}
    assert first["sentence"] in data["summary"]
    assert data["counts"] == {
        "read": 360, "scored": 336, "not_finite": 24, "not_a_score": 0, "malformed": 0, "cut_off": 0,
        "already_seen": 0, "left_out": 0,
    }  # fmt: skip
    assert data["files"] == logs
    assert data["frames"] == 40
    assert data["models"][0] == {"label": "lane-a:3", "model": "lane-a", "version": "3", "runs": ["run-lane-a"]}
    assert "Holm" in data["method"]["adjustment"]


def test_the_same_input_gives_the_same_output(logs):
    assert run("--json", *logs).stdout == run("--json", *logs).stdout
    assert data_of(*reversed(logs))["metrics"] == data_of(*logs)["metrics"]


def test_people_read_the_verdict_first_at_80_columns(logs):
    result = run(*logs)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("IoU: lane-a 3 is better than lane-b 1 by 0.0")
    assert all(len(line) <= 80 for line in lines)
    text = " ".join(result.stdout.split())
    assert "(95 % interval 0.0" in text
    assert "36 frames, p < 0.001)" in text
    assert "F1: lane-a 3 is better than lane-b 1 by" in text
    assert "1 more metric: --all, or --metric NAME." in text
    assert "Truth_px" not in text
    assert any(line.split()[:4] == ["lane-a", "3", "36", "4"] for line in lines)
    assert "360 lines read, 336 scored, 24 not finite" in result.stderr


def test_all_metrics_are_shown_on_demand(logs):
    text = run("--all", *logs).stdout
    assert "Truth_px (px, no direction)" in text
    assert "more metric" not in text


def test_only_the_metrics_that_were_asked_for(logs):
    assert [m["metric"] for m in data_of("--metric", "f1", *logs)["metrics"]] == ["F1"]
    assert data_of("--metric", "f1", *logs)["counts"]["left_out"] == 240
    text = run("--metric", "Truth px", "--metric", "IoU", *logs).stdout
    assert "IoU (ratio, higher is better)" in text
    assert "Truth_px (px, no direction)" in text
    assert "F1" not in text


def test_a_metric_limits_numbers_and_changes_none(logs):
    assert data_of("--metric", "F1", *logs)["metrics"] == data_of(*logs)["metrics"][1:2]


def test_a_metric_that_is_not_there(logs):
    assert "did you mean IoU?" in error_of("--metric", "IuO", *logs)["hint"]
    assert error_of("--metric", "zzzzzz", *logs)["hint"] == "choose from IoU, F1, Truth_px"
    assert error_of("--metric", "Recall", *logs)["code"] == "input"


def test_one_model_gets_its_table_and_a_sentence(logs):
    result = run(logs[0])
    assert result.exit_code == 0
    assert result.stdout.startswith("There is only one model: lane-a 3.")
    assert ["IoU", "36", "4"] in [line.split()[:3] for line in result.stdout.splitlines()]
    assert data_of(logs[0])["metrics"][0]["pairs"] == []


# --- which file, which model, which run ------------------------------------------------------------------------------


def test_reading_a_line_twice_changes_nothing(logs, tmp_path):
    copy = tmp_path / "copy.log.gz"
    copy.write_bytes(gzip.compress(Path(logs[0]).read_bytes()))
    data = data_of(*logs, copy)
    assert data["counts"]["already_seen"] == 120
    assert data["metrics"] == data_of(*logs)["metrics"]
    assert "120 already seen" in run(*logs, copy).stderr


def test_the_same_file_twice_is_read_once(logs, tmp_path):
    (tmp_path / "link.log").symlink_to(logs[0])
    result = run(*logs, tmp_path / "link.log", logs[0])
    assert "360 lines read" in result.stderr
    assert result.stderr.count("and was read once") == 2


def test_one_id_with_two_scores_is_refused_by_name(logs, tmp_path):
    lines = Path(logs[0]).read_text().splitlines()
    event = json.loads(lines[-3])
    (tmp_path / "edited.log").write_text(json.dumps({**event, "message": "IoU : 0.999"}) + "\n")
    error = error_of(*logs, tmp_path / "edited.log")
    assert event["event.id"] in error["message"]
    assert "0.999" in error["message"]


def test_two_runs_of_a_model_must_be_chosen_from(logs, tmp_path):
    again = write_log(tmp_path / "again.log", "lane-a:3", 0.6, run="second try", run_name="evening")
    error = error_of(*logs, again)
    assert "run-lane-a" in error["message"]
    assert "--run 'second try' --run run-lane-b --run run-lane-c" in error["hint"]
    chosen = ["--run", "second try", "--run", "run-lane-b", "--run", "run-lane-c"]
    pairs = data_of(*chosen, *logs, again)["metrics"][0]["pairs"]
    assert [p["verdict"] for p in pairs] == ["worse", "worse", "better"]
    data = data_of("--run", "evening", "--run", "run-lane-c", *logs, again)
    assert [m["runs"] for m in data["models"]] == [["second try"], ["run-lane-c"]]
    assert data["counts"]["left_out"] == 240


def test_a_run_that_is_not_there(logs):
    hint = error_of("--run", "run-lane", *logs)["hint"]
    assert hint.startswith("did you mean ")
    assert all(name in hint for name in ("run-lane-a", "run-lane-b", "run-lane-c"))


def test_plain_lines_are_named_after_their_file(tmp_path):
    for name, score in (("lane-a", 0.8), ("lane-b", 0.7)):
        (tmp_path / f"{name}.log").write_text(f"IoU : {score}\n" * 9)
    (tmp_path / "lane-a.log.1.gz").write_bytes(gzip.compress(b"IoU : 0.5\n"))
    data = data_of(*sorted(tmp_path.iterdir()))
    iou = data["metrics"][0]
    assert [(m["model"], m["version"], m["n"], m["without_frame"]) for m in iou["models"]] == [
        ("lane-a", "", 10, 10), ("lane-b", "", 9, 9)]  # fmt: skip
    assert iou["pairs"][0]["verdict"] == "not comparable"
    assert iou["pairs"][0]["why"] == "the lines of lane-a and lane-b name no frame"
    assert run(*sorted(tmp_path.iterdir())).stdout.startswith(
        "IoU: lane-a and lane-b are not comparable: the lines of lane-a and lane-b name"
    )


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["/x/a.log", "/x/a.log.1", "/x/a.log.2.gz", "/x/a.log-20260102"], ["a", "a", "a", "a"]),
        (["/x/a.log", "/y/a.log"], ["x/a.log", "y/a.log"]),
        (["/p/x/a.log", "/q/x/a.log"], ["/p/x/a.log", "/q/x/a.log"]),
        (["/x/a.log", "/x/a.jsonl"], ["a.log", "a.jsonl"]),
        (["/x/model.v2", "/x/model.v3"], ["model.v2", "model.v3"]),
        (["-", "/x/scores"], ["stdin", "scores"]),
        ([b"/x/\xff.log".decode("utf-8", "surrogateescape")], ["\\xff"]),
    ],
)
def test_names_of_plain_logs(files, names):
    assert list(model_names(files).values()) == names


def test_standard_input(logs):
    text = b"".join(Path(f).read_bytes() for f in logs)
    data = data_of("-", stdin=text)
    assert data["metrics"] == data_of(*logs)["metrics"]
    assert data["files"] == ["-"]


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_plain_line_that_may_be_cut_off_is_no_score(tmp_path):
    (tmp_path / "a.log").write_text("IoU : 0.5\nIoU : 0.8")
    result = run("--json", tmp_path / "a.log")
    data = json.loads(result.stdout)["data"]
    assert data["metrics"][0]["models"][0]["n"] == 1
    assert (data["counts"]["scored"], data["counts"]["cut_off"]) == (1, 1)
    assert "may be cut off" in data["notes"][0]
    assert "may be cut off" in result.stderr


def test_a_json_line_without_line_feed_is_judged_by_itself(logs):
    path = Path(logs[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert data_of(logs[0])["counts"]["scored"] == 112
    path.write_bytes(whole[:-9])
    counts = data_of(logs[0])["counts"]
    assert (counts["scored"], counts["cut_off"], counts["malformed"]) == (111, 1, 0)


def test_what_is_no_score_is_counted_and_malformed_lines_are_a_warning(logs):
    with open(logs[1], "a") as log:
        log.write("service started\nIoU : 0,83\nIoU : 0,84\n")
    result = run("-q", *logs)
    assert f"warning: 2 lines look like scores and are none (elkkit parse {logs[1]} shows why)" in result.stderr
    assert "note" not in result.stderr
    counts = data_of(*logs)["counts"]
    assert (counts["malformed"], counts["not_a_score"], counts["scored"]) == (2, 1, 336)


def test_a_missing_file(tmp_path, logs):
    error = error_of(*logs, tmp_path / "gone.log")
    assert error["message"] == f"cannot read {tmp_path / 'gone.log'}: No such file or directory"


def test_a_folder(tmp_path):
    assert f"{tmp_path}/*.log" in error_of(tmp_path)["hint"]


def test_a_file_name_that_is_none(logs):
    assert "null" in error_of("a\0b")["message"]


def test_an_unreadable_file_is_noticed_before_reading(logs, monkeypatch):
    refused = logs[2]
    monkeypatch.setattr(os, "access", lambda path, mode: path != refused)
    monkeypatch.setattr("elkkit.usecases.compare.read_lines", lambda path: pytest.fail("a file was read"))
    assert error_of(*logs)["message"] == f"cannot read {refused}: Permission denied"


def test_an_empty_log(tmp_path):
    (tmp_path / "a.log").touch()
    assert error_of(tmp_path / "a.log")["message"] == f"no score to compare: {tmp_path / 'a.log'} is empty"


def test_a_log_without_a_score(tmp_path):
    (tmp_path / "a.log").write_text("hello\nIoU : 0,83\nIoU : \n")
    error = error_of(tmp_path / "a.log")
    assert "of 3 lines none is a score: 2 malformed, 1 not a score" in error["message"]
    assert error["hint"].startswith("elkkit parse ")


def test_a_damaged_gzip_file(tmp_path, logs):
    path = tmp_path / "a.log.gz"
    path.write_bytes(gzip.compress(Path(logs[0]).read_bytes())[:-20])
    assert "cannot read all of" in error_of(path)["message"]


def test_nothing_left_after_choosing(logs, tmp_path):
    other = write_log(tmp_path / "other.log", "lane-d:1", 0.5, metrics=["Recall"], run="only-recall")
    assert "nothing to compare" in error_of("--metric", "IoU", "--run", "only-recall", *logs, other)["message"]


def test_neither_files_nor_elasticsearch():
    error = error_of()
    assert error["message"] == "there is nothing to compare: neither files nor --es were given"
    assert error["hint"] == "elkkit compare FILES, or elkkit compare --es"


@pytest.mark.parametrize("option", [["--es"], ["--es-url", "http://localhost:9"]])
def test_files_and_elasticsearch(logs, option):
    error = error_of(*option, *logs)
    assert error["message"].startswith("files and --es exclude each other")


def test_an_address_in_the_settings_alone_is_not_asked(logs, monkeypatch):
    monkeypatch.setenv("ELKKIT_ES_URL", "http://localhost:9")
    assert data_of(*logs)["source"] == {"kind": "files"}


def test_the_address_as_an_option_asks_elasticsearch():
    result = run("--es-url", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "http://127.0.0.1:9 is not reachable" in result.stderr


# --- only what matches a query ----------------------------------------------------------------------------------------


def test_only_scores_that_match(logs):
    data = data_of("--query", "frame.index >= 20 and not model.name : lane-c", *logs)
    assert [m["label"] for m in data["models"]] == ["lane-a:3", "lane-b:1"]
    assert {(m["n"], m["undefined"]) for one in data["metrics"] for m in one["models"]} == {(20, 0)}
    assert (data["frames"], data["counts"]["scored"], data["counts"]["left_out"]) == (20, 336, 240)
    both = data_of("--query", "frame.index >= 20", "--metric", "IoU", *logs)
    assert both["counts"]["left_out"] == 300


def test_a_query_that_nothing_matches(logs):
    error = error_of("--query", "model.name : lane-z", *logs)
    assert error["message"] == ("no score to compare: none of the 360 scores in these files matches the query")
    assert error["hint"] == "leave out --query"


def test_a_query_that_cannot_be_asked(logs):
    assert "not KQL" in error_of("--query", "model.name : (", *logs)["message"]
    assert "it is a number" in error_of("--query", "metricscores > x", *logs)["message"]
    assert (
        "note: modelname is none of the contract's fields; did you mean model.name?"
        in run("--query", "not modelname : x", *logs).stderr
    )


def test_names_cannot_reach_the_terminal_or_break_the_table(tmp_path):
    evil = "\x1b[2J[red]evil\u202e" + "x" * 300
    files = [write_log(tmp_path / f"{i}.log", m, x) for i, (m, x) in enumerate([(evil, 0.8), ("b", 0.7)])]
    result = run("--color", "always", *files)
    assert result.exit_code == 0
    assert "\x1b[2J" not in result.stdout
    assert "\u202e" not in result.stdout
    assert "\\x1b[2J[red]evil" in result.stdout
    assert data_of(*files)["metrics"][0]["models"][0]["model"] == evil


def test_a_file_name_that_is_no_utf8(tmp_path):
    name = os.fsdecode(b"\xff.log")
    (tmp_path / name).write_text("IoU : 0.5\n")
    data = data_of(tmp_path / name)
    assert data["models"][0]["model"] == "\\xff"


def test_metrics_of_ones_own_get_direction_and_format_from_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("elkkit.toml").write_text('[metrics."angular error"]\nunit = "deg"\nbetter = "lower"\nformat = ".1f"\n')
    for name, mean in (("a", 4.0), ("b", 9.0)):
        write_log(tmp_path / f"{name}.log", name, mean, metrics=["angular error"])
    result = run("a.log", "b.log")
    assert result.stdout.startswith("angular error: a is better than b by 5.009 deg (95 % interval ")


def test_progress_is_told(logs):
    told = []
    text = b"".join(Path(f).read_bytes() for f in logs)
    big = Path(logs[0]).with_name("big.log")
    big.write_bytes(text * 60)
    result = compare_files([str(big)], CONTRACT, progress=told.append)
    assert told == [10_000, 20_000]
    assert result.counts["already_seen"] == 360 * 59


def python(*args):
    """Another process with the same search path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60, env=env)


def test_the_command_line_starts_without_numpy():
    code = "import sys, elkkit.cli.compare; sys.exit('numpy' in sys.modules or 'scipy' in sys.modules)"
    assert python("-c", code).returncode == 0


def test_nothing_but_the_answer_reaches_the_terminal(logs):
    """As a user runs it: warnings of libraries would show on standard error."""
    done = python("-W", "always", "-m", "elkkit", "compare", "-q", *logs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("IoU: lane-a 3 is better than lane-b 1")
