"""The wheel in a clean environment, run from another folder: what a user installs is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    home = tmp_path_factory.mktemp("clean")
    run("-m", "venv", home / "venv")
    python = home / "venv" / "bin" / "python"
    run("-m", "pip", "install", "--require-hashes", "-r", ROOT / "requirements.lock", python=python)
    run("-m", "pip", "install", "--no-deps", wheel, python=python)
    return home


def run(*arguments, python=sys.executable, **options):
    quiet = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, env=quiet, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def elkkit(installed, *arguments):
    return run(*arguments, python=installed / "venv" / "bin" / "elkkit", cwd=installed)


def test_the_wheel_carries_the_stack_and_the_models_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "elkkit/contract/contract.toml",
        "elkkit/py.typed",
        "elkkit/_assets/logstash/pipeline/lane-eval.conf",
        "elkkit/_assets/filebeat/filebeat.yml",
        "elkkit/_assets/helm-values/eck/small/eck-stack.yaml",
        "elkkit/_assets/helm-values/schemas/types.json",
        "elkkit/render/templates/helm/eck/eck-stack.yaml.j2",
        "elkkit_scoring/_models/lane-a.onnx",
        "elkkit_scoring/_models/lane-a.toml",
    ):
        assert wanted in names
    assert not [n for n in names if "/cases/" in n or n.startswith("tests") or n.endswith("train.py")]


def test_it_runs_from_another_folder(installed):
    assert elkkit(installed, "--version").stdout.startswith("elkkit ")
    (installed / "x.log").write_text("IoU : 0.83\n")
    assert json.loads(elkkit(installed, "parse", "x.log").stdout)["metricscores"] == 0.83
    script = "from elkkit.assets import asset; print(asset('logstash', 'pipeline', 'lane-eval.conf').is_file())"
    assert run("-c", script, python=installed / "venv" / "bin" / "python", cwd=installed).stdout == "True\n"


def test_the_demo_runs_from_the_wheel(installed):
    done = elkkit(installed, "demo", "--frames", "24", "--json")
    data = json.loads(done.stdout)["data"]
    assert data["lines_written"] == data["lines_parsed"] > 1000
    assert {m["metric"] for m in data["metrics"]} >= {"IoU", "Inference_time"}
