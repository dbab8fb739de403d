"""`elkkit evaluate`: each benchmark's numbers from files, the envelope, the exit codes, three-line errors."""

from __future__ import annotations

import json
import math
import os

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.errors import UsageError
from elkkit_scoring.evaluate import evaluate
from scoring_graphs import red_model, red_picture


def run(*arguments, command="evaluate", **options):
    return CliRunner().invoke(app, [command, *(str(part) for part in arguments)], **options)


def numbers(*arguments, code=0):
    done = run(*arguments, "--json")
    assert done.exit_code == code, done.stderr
    result = json.loads(done.stdout)
    assert "NaN" not in done.stdout
    return result["data"]


def refused(*arguments, **options):
    done = run(*arguments, **options)
    assert done.exit_code == 2, done.stdout
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    error, why, hint = [text for text in done.stderr.splitlines() if not text.startswith("warning")]
    assert (error[:7], why[:5], hint[:6]) == ("error: ", "why: ", "hint: ")
    as_json = run(*arguments, "--json", **options)
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["errors"]
    return f"{error}\n{why}\n{hint}"


def put(folder, **masks):
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        cv2.imwrite(str(folder / f"{name}.png"), mask)
    return folder


def columns(*filled):
    mask = np.zeros((10, 20), np.uint8)
    mask[:, list(filled)] = 255
    return mask


EMPTY = columns()


@pytest.fixture
def masks(tmp_path):
    """Half right; lane-free and quiet; lane-free with a false alarm."""
    truth = put(tmp_path / "gt", a=columns(5, 6), b=EMPTY, c=EMPTY)
    guess = put(tmp_path / "pred", a=columns(6, 7), b=EMPTY, c=columns(1))
    return guess, truth


def test_masks(masks):
    found = numbers(*masks, "--format", "mask", "-v")
    assert found["numbers"]["IoU"] == {"pooled": 10 / 40, "mean": (1 / 3 + 0) / 2, "defined": 2}
    assert found["numbers"]["Precision"] == {"pooled": 10 / 30, "mean": 0.25, "defined": 2}
    assert found["numbers"]["Recall"] == {"pooled": 0.5, "mean": 0.5, "defined": 1}
    assert found["numbers"]["F1_tolerant"] == {"pooled": None, "mean": 0.5, "defined": 2}
    assert found["summary"] == {"lane_free_frames": 2, "false_alarm_rate": 0.5}
    assert (found["frames"], found["settings"]) == (3, {"tolerance_px": 5})
    by_frame = {row["frame_id"]: row for row in found["per_frame"]}
    assert by_frame["b"]["IoU"] is None
    assert by_frame["b"]["Accuracy"] == 1
    assert (by_frame["a"]["True_positive_px"], by_frame["a"]["Predicted_px"], by_frame["a"]["Truth_px"]) == (10, 20, 20)
    tight = numbers(*masks, "--format", "mask", "--tolerance", "0")
    assert tight["numbers"]["F1_tolerant"]["mean"] == 0.25
    assert "per_frame" not in tight


def test_masks_of_all_frames_empty_are_undefined_and_not_zero(tmp_path):
    put(tmp_path / "x", a=EMPTY)
    found = numbers(tmp_path / "x", tmp_path / "x", "--format", "mask")
    assert found["numbers"]["IoU"] == {"pooled": None, "mean": None, "defined": 0}
    assert found["numbers"]["Accuracy"] == {"pooled": 1, "mean": 1, "defined": 1}


def test_masks_beside_their_images(tmp_path):
    truth = put(tmp_path / "gt", **{"a": np.full((10, 20, 3), 9, np.uint8), "a-lanes": columns(3)})
    guess = put(tmp_path / "pred", a=columns(3))
    assert numbers(guess, truth, "--format", "mask")["numbers"]["IoU"]["pooled"] == 1


def test_undefined_is_none_for_whoever_uses_it_from_python(masks):
    found = evaluate(*masks, "mask")
    assert math.isnan(found.frames["b"]["IoU"])
    data = found.as_dict(per_frame=True)
    json.dumps(data, allow_nan=False)
    assert data["per_frame"][1] == {
        "frame_id": "b", "IoU": None, "Accuracy": 1, "Balanced_accuracy": None, "Precision": None, "Recall": None,
        "F1": None, "F1_tolerant": None, "True_positive_px": 0, "Predicted_px": 0, "Truth_px": 0,
    }  # fmt: skip
    with pytest.raises(UsageError, match="'kitti' is none of mask, bdd, tusimple, culane"):
        evaluate(*masks, "kitti")


@pytest.mark.parametrize("verbose", [(), ("-v",)])
def test_tables_fit_80_columns(masks, tmp_path, verbose):
    done = run(*masks, "--format", "mask", *verbose, env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert "3 frames compared" in done.stderr
    assert "IoU" in done.stdout
    assert "0.2500" in done.stdout
    assert "false alarm rate: 0.5000" in done.stdout
    assert ("True_positive_px" in done.stdout) == bool(verbose)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout


def test_missing_and_extra_predictions(masks):
    guess, truth = masks
    (guess / "b.png").unlink()
    put(guess, d=EMPTY)
    told = refused(guess, truth, "--format", "mask")
    assert "1 of 3 labelled frames have none: b" in told
    assert "--allow-missing" in told
    done = run(guess, truth, "--format", "mask", "--allow-missing")
    assert done.exit_code == 0
    assert "1 frame without prediction" in done.stderr
    assert "1 prediction without a label" in done.stderr
    found = numbers(guess, truth, "--format", "mask", "--allow-missing")
    assert found["missing_predictions"] == ["b"]
    assert found["summary"]["false_alarm_rate"] == 0.5
    for name in "ac":
        (guess / f"{name}.png").unlink()
    assert "3 of 3" in refused(guess, truth, "--format", "mask", "--allow-missing")


def test_masks_that_cannot_be_used(masks, tmp_path):
    guess, truth = masks
    put(guess, a=columns(1)[:5])
    assert "it is 20x5, the label" in refused(guess, truth, "--format", "mask")
    put(guess, a=columns(1) // 2)
    assert "the values 0, 127" in refused(guess, truth, "--format", "mask")
    (guess / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "a.png" in refused(guess, truth, "--format", "mask")
    assert "No such file" in refused(tmp_path / "none", truth, "--format", "mask")
    assert "not a folder" in refused(truth / "a.png", truth, "--format", "mask")


def test_bdd_masks_and_json(tmp_path):
    white, back = np.uint8(6), np.uint8(255)
    truth = np.full((720, 1280), back)
    truth[100:102, 200:400] = white
    guess = np.full((720, 1280), back)
    guess[102:104, 200:400] = white
    put(tmp_path / "gt", a=truth)
    put(tmp_path / "pred", a=guess)
    found = numbers(tmp_path / "pred", tmp_path / "gt", "--format", "bdd")
    row = found["numbers"]["category/single white"]
    assert (row["F1_pix1"], row["F1_pix2"], row["F1_pix5"]) == (0.5, 1, 1)
    # one class of eight, one style of two, one direction of two are half right at 1 px
    expected = ((7 + 0.5) / 8 + (1 + 0.5) / 2 + (1 + 0.5) / 2) / 3
    assert found["numbers"]["average"]["F1_pix1"] == pytest.approx(expected)
    assert found["summary"]["IoU_pooled"] == 0
    left = numbers(tmp_path / "pred", tmp_path / "gt", "--format", "bdd", "--leave-out", "single white")
    assert left["numbers"]["average"] == {"F1_pix1": 1, "F1_pix2": 1, "F1_pix5": 1}
    assert left["summary"]["IoU_pooled"] is None

    poly = [{"vertices": [[200, 100], [399, 100]], "types": "LL", "closed": False}]
    attributes = {"laneStyle": "solid", "laneDirection": "parallel"}
    labels = [{"category": "single white", "attributes": attributes, "poly2d": poly}]
    (tmp_path / "gt.json").write_text(json.dumps([{"name": "a.jpg", "labels": labels}]))
    found = numbers(tmp_path / "gt", tmp_path / "gt.json", "--format", "bdd")
    assert found["numbers"]["average"]["F1_pix2"] == 1
    assert found["summary"]["IoU_pooled"] > 0.5
    assert "no class 'kerb'" in refused(
        tmp_path / "gt", tmp_path / "gt", "--format", "bdd", "--leave-out", "kerb"
    )  # fmt: skip


def label(name, *xs, **more):
    return {"raw_file": name, "lanes": [[x] * 10 for x in xs], "h_samples": list(range(300, 400, 10)), **more}


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_tusimple(tmp_path):
    truth = write(tmp_path / "gt.json", label("a.jpg", 100, 300), label("b.jpg", 100), label("c.jpg"))
    guess = write(
        tmp_path / "pred.json",
        label("b.jpg", 119, run_time=20),
        label("a.jpg", 100, 500, 900, run_time=20),
        label("c.jpg", run_time=20),
    )
    found = numbers(guess, truth, "--format", "tusimple", "-v")
    assert found["numbers"]["all"] == {
        "Accuracy": pytest.approx((0.5 + 1 + 0) / 3), "FP": pytest.approx((2 / 3) / 3), "FN": pytest.approx(0.5 / 3),
    }  # fmt: skip
    assert found["summary"] == {"slow_frames": 0, "lane_free_frames": 1}
    assert found["per_frame"][0] == {"frame_id": "a.jpg", "Accuracy": 0.5, "FP": 2 / 3, "FN": 0.5}

    write(guess, label("b.jpg", 119, run_time=300))
    done = run(guess, truth, "--format", "tusimple", "--allow-missing", env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert "1 frame slower than 200 ms" in done.stderr
    assert "2 of 3" in refused(guess, truth, "--format", "tusimple")
    write(guess, label("d.jpg", 1))
    assert "have no frame d.jpg" in refused(guess, truth, "--format", "tusimple")
    write(guess, label("a.jpg"), {**label("b.jpg"), "lanes": [[1, 2]]}, label("c.jpg"))
    told = refused(guess, truth, "--format", "tusimple")
    assert f"{guess}, line 2" in told
    assert f"{truth}, line 2" in told


def lanes(folder, **files):
    for name, xs in files.items():
        path = folder / "drive" / f"{name}.lines.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(" ".join(f"{x} {590 - 10 * k}" for k in range(30)) + "\n" for x in xs))
    return folder


def test_culane(tmp_path):
    truth = lanes(tmp_path / "gt", a=[400, 800], b=[600], cross=[])
    guess = lanes(tmp_path / "pred", a=[402, 900], b=[600], cross=[100])
    normal, cross = tmp_path / "normal.txt", tmp_path / "cross.txt"
    normal.write_text("/drive/a.jpg\n/drive/b.jpg\n")
    cross.write_text("/drive/cross.jpg\n")
    found = numbers(guess, truth, "--format", "culane", "--list", normal, "--list", cross, "-v")
    assert found["numbers"]["normal"] == {
        "frames": 2, "TP": 2, "FP": 1, "FN": 1, "Precision": 2 / 3, "Recall": 2 / 3, "F1": 2 / 3,
    }  # fmt: skip
    assert found["numbers"]["cross"] == {
        "frames": 1, "TP": 0, "FP": 1, "FN": 0, "Precision": 0, "Recall": None, "F1": 0,
    }  # fmt: skip
    assert found["numbers"]["all"]["TP"] == 2
    assert found["numbers"]["all"]["FP"] == 2
    assert [row["frame_id"] for row in found["per_frame"]] == ["drive/a", "drive/b", "drive/cross"]
    assert numbers(guess, truth, "--format", "culane")["numbers"] == {"all": found["numbers"]["all"]}
    assert list(numbers(guess, truth, "--format", "culane", "--list", normal)["numbers"]) == ["normal"]
    assert found["settings"] == {"iou": 0.5, "lane_width_px": 30, "size": [1640, 590]}
    strict = numbers(guess, truth, "--format", "culane", "--iou", "0.95")
    assert strict["numbers"]["all"]["TP"] == 1
    done = run(guess, truth, "--format", "culane", "-v", env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_culane_files_that_cannot_be_used(tmp_path):
    truth, guess = lanes(tmp_path / "gt", a=[400], b=[500]), lanes(tmp_path / "pred", a=[400])
    assert "1 of 2 labelled frames have none: drive/b.lines.txt" in refused(guess, truth, "--format", "culane")
    assert numbers(guess, truth, "--format", "culane", "--allow-missing")["numbers"]["all"]["FN"] == 1
    listed = tmp_path / "x.txt"
    listed.write_text("/drive/a.jpg\n/drive/none.jpg\n")
    assert "none.lines.txt" in refused(guess, truth, "--format", "culane", "--list", listed, "--allow-missing")
    listed.write_text("/drive/a.jpg\n/../../etc/passwd.jpg\n")
    assert f"{listed}, line 2" in refused(guess, truth, "--format", "culane", "--list", listed)
    lanes(guess, b=[math.nan])
    told = refused(guess, truth, "--format", "culane")
    assert f"{guess}/drive/b.lines.txt, line 1" in told
    assert "the lane holds nan" in told
    (guess / "drive" / "b.lines.txt").write_text("800 590\n")
    done = run(guess, truth, "--format", "culane")
    assert done.exit_code == 0
    assert "1 lane of a single point" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--format", "tusimple", "--iou", "0.5"), "--iou with --format tusimple"),
        (("--format", "mask", "--list", "x"), "--list with --format mask"),
        (("--format", "mask", "--leave-out", "x"), "--leave-out with --format mask"),
        (("--format", "bdd", "--tolerance", "2"), "--tolerance with --format bdd"),
        (("--format", "culane", "--iou", "1"), "1.0 is not from 0 to below 1"),
        (("--format", "culane", "--iou", "nan"), "nan is not from 0 to below 1"),
        (("--format", "mask", "--tolerance", "-1"), "-1 is not from 0 to 200"),
        (("--format", "kitti"), "'mask', 'bdd', 'tusimple', 'culane'"),
        ((), "--format"),
    ],
)
def test_options_that_make_no_sense(masks, arguments, why):
    assert why in refused(*masks, *arguments)


@pytest.mark.parametrize("kind", ["mask", "bdd", "tusimple", "culane"])
def test_paths_that_the_system_refuses(tmp_path, kind):
    path = tmp_path / ("a" * 300)
    assert "File name too long" in refused(path, path, "--format", kind)
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file" / "x", tmp_path / "file" / "x", "--format", kind)
    refused(tmp_path, tmp_path, "--format", kind)
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", tmp_path / "pipe", "--format", kind)


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path):
    path = tmp_path / "\x1b[2Jx"
    assert "\x1b" not in refused(path, path, "--format", "mask")
    truth = lanes(tmp_path / "gt", **{"\x1b[2J": [1]})
    assert "\x1b" not in refused(truth, truth, "--format", "culane")


def test_score_reads_the_data_sets(tmp_path):
    model = red_model(tmp_path / "models")
    (tmp_path / "data" / "clips").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "data" / "clips" / "a.png"), red_picture(np.eye(36, 64, dtype=bool)))
    diagonal = {"raw_file": "clips/a.png", "lanes": [list(range(36))], "h_samples": list(range(36))}
    labels = write(tmp_path / "data" / "l.json", diagonal, {**diagonal, "raw_file": "clips/gone.png"})
    done = run("-m", model, "-d", labels, "--format", "tusimple", "-l", tmp_path / "x.log", "--json", command="score")
    assert done.exit_code == 2
    result = json.loads(done.stdout)
    assert result["status"] == "partial"
    assert [one["frame_id"] for one in result["data"]["failed_frames"]] == ["clips/gone"]
    assert f"{labels}, line 2" in result["data"]["failed_frames"][0]["why"]
    events = [json.loads(text) for text in (tmp_path / "x.log").read_text().splitlines()]
    assert {event["frame.id"] for event in events} == {"clips/a"}
    assert {event["frame.clip"] for event in events} == {"clips"}
    scores = dict(event["message"].split(" : ") for event in events)
    assert float(scores["Precision"]) == 1  # the lane is one pixel wide, the label five
    assert 0.1 < float(scores["Recall"]) < 0.5
    wrong = run("-m", model, "-d", labels, "--format", "kitti", "-l", tmp_path / "x.log", command="score")
    assert wrong.exit_code == 2
    assert "'folder', 'bdd', 'tusimple', 'culane'" in wrong.stderr
