"""The batch runner: one line per metric per frame per model, and the same set of events whatever dies in between."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from elkkit.contract import load_contract
from elkkit.errors import InputError, StorageError, UsageError
from elkkit.line import Outcome, Parser, event_id
from elkkit_scoring import batch
from elkkit_scoring.batch import log_paths, score
from elkkit_scoring.datasets import open_data
from elkkit_scoring.metrics import NEED_TRUTH, MetricName
from elkkit_scoring.model import LaneModel
from scoring_graphs import card_for, red_finder, red_model, red_picture

ROOT = Path(__file__).parents[2]
DATA = "scenes:3"
EVERY = len(MetricName)


@pytest.fixture
def models(tmp_path):
    return [LaneModel.load(red_model(tmp_path / "models", name)) for name in ("one", "two")]


def events(*paths):
    """Every line of some logs, parsed; all of them are scores."""
    parser = Parser.of(load_contract())
    found = []
    for path in paths:
        data = Path(path).read_bytes()
        assert data.endswith(b"\n") or not data
        for line in data.splitlines():
            parsed = parser.parse(line)
            assert parsed.outcome in (Outcome.SCORED, Outcome.NOT_FINITE), line
            found.append(parsed.fields)
    return found


def ids(*paths):
    found = [event["event.id"] for event in events(*paths)]
    assert len(found) == len(set(found)), "an event is there twice"
    return set(found)


def test_one_line_per_metric_per_frame_per_model_in_a_log_per_service(models, tmp_path):
    seen = []
    result = score(models, open_data(DATA), tmp_path / "out", run_name="n", progress=lambda *done: seen.append(done))
    assert result.logs == tuple(tmp_path / "out" / f"lane-detection-service-{n}.log" for n in (1, 2))
    assert result.lines_written == 2 * 3 * EVERY
    assert (result.skipped_existing, result.failed_frames, result.resumed, result.frames) == (0, (), False, 3)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for number, (log, model) in enumerate(zip(result.logs, models, strict=True), start=1):
        found = events(log)
        assert [event["metrictype"] for event in found] == [str(name) for name in MetricName] * 3
        for event in found:
            frame = open_data(DATA).load(event["frame.index"])
            assert event["service.name"] == f"lane-detection-service-{number}"
            assert (event["model.name"], event["model.version"]) == (model.card.name, "1")
            assert (event["run.id"], event["run.name"]) == (result.run_id, "n")
            assert (event["frame.id"], event["frame.clip"]) == (frame.frame_id, frame.clip)
            assert event["frame.lane_free"] == frame.lane_free
            assert event["frame.conditions"] == list(frame.conditions)
            assert event["event.id"] == event_id(
                run_id=result.run_id,
                service=event["service.name"],
                model=model.card.name,
                version="1",
                subject=f"f:{frame.frame_id}",
                metric=event["metrictype"],
            )


def test_every_field_of_a_line_is_in_the_contract(models, tmp_path):
    score(models[:1], open_data(DATA), tmp_path / "x.log")
    for line in (tmp_path / "x.log").read_text().splitlines():
        assert set(json.loads(line)) <= set(load_contract().fields)


def test_scores_are_the_same_again_times_aside(models, tmp_path):
    tables = []
    for name in ("a.log", "b.log"):
        score(models, open_data(DATA), tmp_path / name)
        tables.append(
            {
                (e["model.name"], e["frame.id"], e["metrictype"]): e.get("metricscores", e.get("metricraw"))
                for e in events(tmp_path / name)
                if not e["metrictype"].endswith("_time")
            }
        )
    assert tables[0] == tables[1]


def test_where_logs_go(tmp_path):
    services = ["s-1", "s-2"]
    assert log_paths(tmp_path, services) == [tmp_path / "s-1.log", tmp_path / "s-2.log"]
    assert log_paths(tmp_path / "new", services)[0] == tmp_path / "new" / "s-1.log"
    assert log_paths(tmp_path / "all.log", services) == [tmp_path / "all.log"] * 2
    assert log_paths(Path("/dev/null"), services) == [Path("/dev/null")] * 2


def test_frames_without_truth_get_the_metrics_that_need_none(models, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), red_picture(np.ones((36, 64), bool)))
    result = score(models[:1], open_data(str(folder)), tmp_path / "x.log")
    found = events(tmp_path / "x.log")
    assert {event["metrictype"] for event in found} == {str(n) for n in MetricName if n not in NEED_TRUTH}
    assert result.lines_written == len(found) == EVERY - len(NEED_TRUTH)
    assert all("frame.lane_free" not in event for event in found)


def test_lane_free_frames_are_logged_as_not_finite_where_undefined(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), np.zeros((36, 64, 3), np.uint8))
    cv2.imwrite(str(folder / "a-lanes.png"), np.zeros((36, 64), np.uint8))
    score([LaneModel.load(red_model(tmp_path))], open_data(str(folder)), tmp_path / "x.log")
    raw = {event["metrictype"]: event.get("metricraw") for event in events(tmp_path / "x.log")}
    assert {name for name, text in raw.items() if text == "nan"} == {
        "IoU", "Balanced_accuracy", "Precision", "Recall", "F1", "F1_tolerant", "Mean_probability",
    }  # fmt: skip


# --- going on ------------------------------------------------------------------------------------------------------


def test_a_second_time_writes_nothing(models, tmp_path):
    first = score(models, open_data(DATA), tmp_path / "out")
    before = [log.read_bytes() for log in first.logs]
    again = score(models, open_data(DATA), tmp_path / "out")
    assert (again.lines_written, again.skipped_existing) == (0, first.lines_written)
    assert (again.run_id, again.resumed) == (first.run_id, True)
    assert [log.read_bytes() for log in first.logs] == before


def test_more_frames_and_more_models_join_the_run(models, tmp_path):
    first = score(models[:1], open_data("scenes:2"), tmp_path / "out")
    more = score(models, open_data(DATA), tmp_path / "out")
    assert more.run_id == first.run_id
    assert more.skipped_existing == 2 * EVERY
    assert len(ids(*more.logs)) == 2 * 3 * EVERY


@pytest.mark.parametrize("cut", [1, 2, 20, 300, 700, 5000, 20000])
def test_a_log_that_was_cut_anywhere_is_completed(cut, models, tmp_path):
    log = tmp_path / "x.log"
    whole = score(models, open_data(DATA), log)
    expected = ids(log)
    os.truncate(log, log.stat().st_size - cut)
    # As after a kill: the state was written before the first line, and not at the end.
    state = log.with_name("x.log.run.json")
    state.write_text(json.dumps({**json.loads(state.read_text()), "size": 0}))
    again = score(models, open_data(DATA), log)
    assert again.run_id == whole.run_id
    assert again.resumed
    assert ids(log) == expected
    assert again.lines_written + again.skipped_existing == whole.lines_written
    repaired = sum(model.repaired_bytes for model in again.models)
    assert repaired > 0


def test_a_whole_line_without_its_line_feed_is_not_trusted(models, tmp_path):
    log = tmp_path / "x.log"
    score(models[:1], open_data(DATA), log)
    expected = ids(log)
    os.truncate(log, log.stat().st_size - 1)
    state = log.with_name("x.log.run.json")
    state.write_text(json.dumps({**json.loads(state.read_text()), "size": 0}))
    again = score(models[:1], open_data(DATA), log)
    assert again.lines_written == 1
    assert ids(log) == expected


def test_a_damaged_line_in_the_middle_is_scored_again(models, tmp_path):
    log = tmp_path / "x.log"
    score(models[:1], open_data(DATA), log)
    expected = ids(log)
    lines = log.read_bytes().splitlines(keepends=True)
    damaged = lines[7].replace(b" : ", b" : 0,", 1)
    log.write_bytes(b"".join([*lines[:7], damaged, *lines[8:]]))
    again = score(models[:1], open_data(DATA), log)
    assert again.lines_written == 1
    kept = log.read_bytes().splitlines(keepends=True)
    assert kept[7] == damaged  # nothing is rewritten
    log.write_bytes(b"".join(kept[:7] + kept[8:]))
    assert ids(log) == expected


def test_somebody_elses_unfinished_line_is_kept_and_marked(models, tmp_path):
    log = tmp_path / "x.log"
    log.write_bytes(b"IoU : 0.5\nhello, IoU : 0.8")
    score(models[:1], open_data("scenes:1"), log)
    assert log.read_bytes().startswith(b"IoU : 0.5\nhello, IoU : 0.8 (cut off)\n")


def test_a_changed_model_does_not_go_on_with_the_run(models, tmp_path):
    log = tmp_path / "out"
    first = score(models, open_data(DATA), log)
    changed = red_finder(models[0].path, gain=3.0)
    card_for(changed, name="one")
    again = [LaneModel.load(changed), models[1]]
    before = [path.read_bytes() for path in first.logs]
    with pytest.raises(UsageError) as caught:
        score(again, open_data(DATA), log)
    assert caught.value.message == f"cannot go on with run {first.run_id}"
    assert "one version 1 has changed" in caught.value.why
    assert "--run-id" in caught.value.hint
    assert [path.read_bytes() for path in first.logs] == before
    other = score(again, open_data(DATA), log, run_id="second")
    assert other.lines_written == first.lines_written
    assert {event["run.id"] for event in events(*other.logs)} == {first.run_id, "second"}
    back = score(models, open_data(DATA), log, run_id=first.run_id)  # with the model as it was
    assert (back.lines_written, back.skipped_existing) == (0, first.lines_written)


def test_a_run_of_which_only_the_lines_are_left_does_not_go_on(models, tmp_path):
    log = tmp_path / "x.log"
    first = score(models, open_data(DATA), log)
    log.with_name("x.log.run.json").unlink()
    with pytest.raises(UsageError, match="nothing says which models"):
        score(models, open_data(DATA), log, run_id=first.run_id)
    assert score(models, open_data(DATA), log).run_id != first.run_id


def test_a_run_whose_id_merely_occurs_in_the_log_is_a_new_one(models, tmp_path):
    log = tmp_path / "x.log"
    first = score(models, open_data(DATA), log, run_id="first")
    second = score(models, open_data(DATA), log, run_id="f")
    assert (second.lines_written, second.resumed) == (first.lines_written, False)


@pytest.mark.parametrize("how", ["removed", "emptied", "rotated"])
def test_a_log_that_was_rotated_starts_a_new_run(how, models, tmp_path):
    log = tmp_path / "x.log"
    first = score(models, open_data(DATA), log)
    if how == "emptied":
        os.truncate(log, 0)
    else:
        log.rename(tmp_path / "x.log.1") if how == "rotated" else log.unlink()
    with pytest.raises(UsageError, match="rotated, cut or replaced"):
        score(models, open_data(DATA), log, run_id=first.run_id)
    again = score(models, open_data(DATA), log)
    assert again.run_id != first.run_id
    assert again.lines_written == first.lines_written
    with pytest.raises(UsageError, match="rotated, cut or replaced"):
        score(models, open_data(DATA), log, run_id=first.run_id)


def test_a_state_that_cannot_be_read(models, tmp_path):
    log = tmp_path / "x.log"
    for text in (
        "{",
        "[]",
        '{"version":2}',
        '{"version":1}',
        '{"version":1,"log":0,"size":0,"gone":[],"runs":{"r":[1]}}',
    ):
        log.with_name("x.log.run.json").write_text(text)
        with pytest.raises(UsageError, match="cannot read the run's state"):
            score(models, open_data(DATA), log)


def test_two_runs_do_not_write_at_once(models, tmp_path):
    log = tmp_path / "x.log"
    with open(log, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError) as caught:
            score(models, open_data(DATA), log)
    assert caught.value.why == "another process is scoring to it"
    assert score(models, open_data(DATA), log).lines_written


def test_models_and_services_that_do_not_pair(models, tmp_path):
    with pytest.raises(UsageError, match="no model"):
        score([], open_data(DATA), tmp_path / "x.log")
    with pytest.raises(UsageError, match="two models are one version 1"):
        score([models[0], models[0]], open_data(DATA), tmp_path / "x.log")
    for services in (["a"], ["a", "a"]):
        with pytest.raises(UsageError, match="do not pair"):
            score(models, open_data(DATA), tmp_path / "x.log", services=services)
    for bad in ("", "../a", ".."):
        with pytest.raises(UsageError, match="service name"):
            score(models[:1], open_data(DATA), tmp_path / "x.log", services=[bad])


# --- what can go wrong with frames ------------------------------------------------------------------------------------


def test_a_bad_frame_is_named_and_the_others_are_scored(models, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    picture = red_picture(np.eye(36, 64, dtype=bool))
    for name in "abc":
        cv2.imwrite(str(folder / f"{name}.png"), picture)
        cv2.imwrite(str(folder / f"{name}-lanes.png"), np.zeros((36, 64), np.uint8))
    (folder / "a.png").write_bytes(b"not an image")
    cv2.imwrite(str(folder / "b-lanes.png"), np.zeros((10, 10), np.uint8))
    result = score(models, open_data(str(folder)), tmp_path / "out")
    assert [failed.frame_id for failed in result.failed_frames] == ["a", "b"]
    assert "neither JPEG nor PNG" in result.failed_frames[0].error.why
    assert result.failed_frames[1].error.why == "it is 10x10, the image 64x36"
    assert {event["frame.id"] for event in events(*result.logs)} == {"c"}
    cv2.imwrite(str(folder / "a.png"), picture)
    cv2.imwrite(str(folder / "b-lanes.png"), np.zeros((36, 64), np.uint8))
    mended = score(models, open_data(str(folder)), tmp_path / "out")
    assert (mended.failed_frames, mended.lines_written, mended.skipped_existing) == ((), 4 * EVERY, 2 * EVERY)


# --- what can go wrong with the log -----------------------------------------------------------------------------------


def test_a_full_disk(models):
    with pytest.raises(StorageError) as caught:
        score(models, open_data(DATA), Path("/dev/full"))
    assert "No space left" in caught.value.why
    assert caught.value.hint
    assert not Path("/dev/full.run.json").exists()


def test_a_disk_that_fills_up_in_the_middle_of_a_line_leaves_whole_lines_to_go_on_from(models, tmp_path):
    log = tmp_path / "x.log"
    complete = score(models, open_data(DATA), tmp_path / "whole.log", run_id="r")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_007, hard))
    try:
        with pytest.raises(StorageError) as caught:
            score(models, open_data(DATA), log, run_id="r")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(log) in caught.value.message
    assert "same command" in caught.value.hint
    assert 0 < len(ids(log)) < complete.lines_written
    again = score(models, open_data(DATA), log, run_id="r")
    assert again.resumed
    assert ids(log) == ids(tmp_path / "whole.log")


def test_a_log_that_cannot_be_opened(models, tmp_path):
    (tmp_path / "file").write_text("x")
    for log in (tmp_path / "file" / "x.log", Path("/proc/none/x.log")):
        with pytest.raises((InputError, StorageError)) as caught:
            score(models, open_data(DATA), log)
        assert caught.value.why
        assert caught.value.hint
    (tmp_path / "x.log.run.json").mkdir()
    with pytest.raises(InputError, match="state"):
        score(models, open_data(DATA), tmp_path / "x.log")


# --- kill -9 ----------------------------------------------------------------------------------------------------------

RUN = """
import sys
from pathlib import Path
from elkkit_scoring.batch import score
from elkkit_scoring.datasets import open_data
from elkkit_scoring.model import LaneModel
models = [LaneModel.load(Path(path), threads=1) for path in sys.argv[3:]]
print("ready", flush=True)
score(models, open_data("scenes:12"), Path(sys.argv[1]), run_id=sys.argv[2] or None)
"""


def start(log, run_id, models):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tools'}{os.pathsep}{ROOT / 'scoring'}"}
    command = [sys.executable, "-c", RUN, str(log), run_id, *(str(model.path) for model in models)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


@pytest.mark.parametrize("run_id", ["", "chosen"])
def test_killed_at_any_moment_and_started_again_gives_the_same_events_once(run_id, models, tmp_path):
    dice = np.random.default_rng(len(run_id))
    out = tmp_path / "out"
    killed = 0
    for _ in range(12):
        process = start(out, run_id, models)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(float(dice.uniform(0.0, 0.12)))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if killed >= 4:
            break
    assert killed >= 2
    last = score(models, open_data("scenes:12"), out, run_id=run_id or None)
    assert last.resumed or not last.skipped_existing
    found = events(*last.logs)
    assert {event["run.id"] for event in found} == {last.run_id}
    expected = score(models, open_data("scenes:12"), tmp_path / "whole", run_id=last.run_id)
    assert ids(*last.logs) == ids(*expected.logs)
    assert len(found) == 2 * 12 * EVERY


def test_the_service_names_are_those_of_the_design():
    assert batch.SERVICE == "lane-detection-service"
