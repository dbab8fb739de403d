"""`elkkit score`: the envelope, the exit codes, three-line errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit_scoring.metrics import MetricName
from scoring_graphs import red_finder, red_model, red_picture

ROOT = Path(__file__).parents[2]


def run(*arguments, **options):
    return CliRunner().invoke(app, ["score", *(str(part) for part in arguments)], **options)


@pytest.fixture
def model(tmp_path):
    return red_model(tmp_path / "models")


def frames(folder, *names):
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), red_picture(np.eye(36, 64, dtype=bool)))
        cv2.imwrite(str(folder / f"{name}-lanes.png"), np.eye(36, 64, dtype=np.uint8) * 255)
    return folder


def three_lines(done, code=2):
    assert done.exit_code == code
    shown = [line for line in done.stderr.splitlines() if not line.startswith("next:")]
    start = next(i for i, line in enumerate(shown) if line.startswith("error: "))
    error, why, hint = shown[start : start + 3]
    assert why.startswith("why: ")
    assert hint.startswith("hint: ")
    assert "Traceback" not in done.stderr
    return f"{error}\n{why}\n{hint}"


def test_it_scores_and_says_what_it_did(model, tmp_path):
    done = run("--model", model, "--data", "scenes:2", "--log", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "red" in done.stdout
    assert "lane-detection-service-1" in done.stdout
    assert f"{2 * len(MetricName)} lines written" in done.stderr
    log = tmp_path / "out" / "lane-detection-service-1.log"
    assert len(log.read_text().splitlines()) == 2 * len(MetricName)


def test_json_is_one_envelope(model, tmp_path):
    log = tmp_path / "x.log"
    arguments = ("--json", "-m", model, "-d", "scenes:2", "-l", log, "--run-id", "r1", "--service", "s")
    first, again = (json.loads(run(*arguments).stdout) for _ in range(2))
    assert (first["command"], first["status"], first["exit_code"], first["errors"]) == ("score", "success", 0, [])
    data = first["data"]
    assert (data["run_id"], data["frames"], data["logs"]) == ("r1", 2, [str(log)])
    assert data["models"][0]["service"] == "s"
    assert data["lines_written"] == again["data"]["skipped_existing"] == 2 * len(MetricName)
    assert again["data"]["lines_written"] == 0
    assert again["data"]["resumed"] is True


def test_the_run_id_comes_from_the_environment(model, tmp_path, monkeypatch):
    monkeypatch.setenv("ELKKIT_RUN_ID", "from-environment")
    done = run("--json", "-m", model, "-d", "scenes:1", "-l", tmp_path / "x.log")
    assert json.loads(done.stdout)["data"]["run_id"] == "from-environment"


def test_a_bad_frame_is_shown_and_the_others_are_scored(model, tmp_path):
    folder = frames(tmp_path / "frames", "a", "b")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    text = three_lines(run("-m", model, "-d", folder, "-l", tmp_path / "x.log"))
    assert str(folder / "a.png") in text
    done = json.loads(run("--json", "-m", model, "-d", folder, "-l", tmp_path / "x.log").stdout)
    assert (done["status"], done["exit_code"]) == ("partial", 2)
    assert done["data"]["failed_frames"][0]["frame_id"] == "a"
    assert len(done["errors"]) == 1


def test_a_mask_of_another_size_is_shown_with_both(model, tmp_path):
    folder = frames(tmp_path / "frames", "a")
    cv2.imwrite(str(folder / "a-lanes.png"), np.zeros((5, 5), np.uint8))
    text = three_lines(run("-m", model, "-d", folder, "-l", tmp_path / "x.log"))
    assert "it is 5x5, the image 64x36" in text
    done = json.loads(run("--json", "-m", model, "-d", folder, "-l", tmp_path / "x.log").stdout)
    assert done["status"] == "error"


def test_many_bad_frames_are_counted(model, tmp_path):
    folder = frames(tmp_path / "frames")
    for number in range(14):
        (folder / f"{number:02}.png").write_bytes(b"no")
    done = run("-m", model, "-d", folder, "-l", tmp_path / "x.log")
    assert done.stderr.count("error: ") == 10
    assert "14 frames could not be scored" in done.stderr


def test_what_cannot_be_used_is_said_in_three_lines(model, tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    bad.with_suffix(".toml").write_text((model.with_suffix(".toml")).read_text())
    lone = red_finder(tmp_path / "lone.onnx")
    log = tmp_path / "x.log"
    for arguments, part in (
        (["-m", bad, "-d", "scenes:1", "-l", log], str(bad)),
        (["-m", lone, "-d", "scenes:1", "-l", log], "has no card"),
        (["-m", tmp_path / "none.onnx", "-d", "scenes:1", "-l", log], "No such file"),
        (["-m", "lane-z", "-d", "scenes:1", "-l", log], "lane-a"),
        (["-m", model, "-d", tmp_path / "none", "-l", log], "No such file"),
        (["-m", model, "-d", "scenes:none", "-l", log], "scenes:none"),
        (["-m", model, "-d", "scenes:1", "-l", model / "x.log"], "Not a directory"),
        (["-m", model, "-d", "scenes:1", "-l", "-"], "/dev/stdout"),
        (["-m", model, "-d", "scenes:1", "-l", "/dev/full"], "No space left on device"),
        (["-m", model, "-m", model, "-d", "scenes:1", "-l", log], "two models are red"),
        (["-d", "scenes:1", "-l", log], "--model"),
    ):
        assert part in three_lines(run(*arguments))
    assert not log.exists() or log.read_bytes() == b""


def test_help_has_a_sentence_and_examples():
    done = run("--help")
    assert done.exit_code == 0
    assert "Score frames with models" in done.stdout
    assert "elkkit score --model lane-a" in done.stdout


def test_neither_the_command_line_nor_the_package_loads_anything_heavy():
    code = (
        "import sys, elkkit.cli, elkkit_scoring\n"
        "heavy = {'numpy', 'cv2', 'onnxruntime', 'elkkit_scoring.model'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tools'}{os.pathsep}{ROOT / 'scoring'}"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
