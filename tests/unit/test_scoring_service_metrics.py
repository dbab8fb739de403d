"""What Prometheus reads: right in one process and in several, and for hostile folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elkkit.errors import StorageError
from elkkit_scoring import service_metrics
from elkkit_scoring.service_metrics import NoMetrics, PrometheusMetrics, open_metrics, private_folder, server_key

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def prometheus():
    return pytest.importorskip("prometheus_client", reason="no prometheus-client here")


def samples(text):
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (one.name, *(one.labels[key] for key in sorted(one.labels))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def count_here(metrics):
    metrics.expect("lane-a", "1")
    metrics.request("lane-a", "1", "scored")
    metrics.request("", "", "refused")
    metrics.scored("lane-a", "1", {"IoU": 0.25, "F1": float("nan")}, seconds=0.03, lane_free=True)
    metrics.scored("lane-a", "1", {"IoU": 0.5, "F1": 0.75}, seconds=0.5, lane_free=False)
    metrics.scored("lane-a", "1", {"Brightness": 0.5}, seconds=0.5, lane_free=None)
    metrics.unlogged("lane-a", "1")


EXPECTED = {
    ("elkkit_requests_total", "lane-a", "scored", "1"): 1,
    ("elkkit_requests_total", "", "refused", ""): 1,
    ("elkkit_inference_seconds_count", "lane-a", "1"): 3,
    ("elkkit_inference_seconds_sum", "lane-a", "1"): 1.03,
    ("elkkit_inference_seconds_bucket", "0.02", "lane-a", "1"): 0,
    ("elkkit_inference_seconds_bucket", "0.04", "lane-a", "1"): 1,
    ("elkkit_inference_seconds_bucket", "+Inf", "lane-a", "1"): 3,
    ("elkkit_metric", "IoU", "lane-a", "1"): 0.5,
    ("elkkit_metric", "F1", "lane-a", "1"): 0.75,
    ("elkkit_undefined_total", "F1", "lane-a", "1"): 1,
    ("elkkit_frames_without_lane_total", "lane-a", "1"): 1,
    ("elkkit_unlogged_total", "lane-a", "1"): 1,
}


def test_one_process(prometheus, monkeypatch):
    monkeypatch.delenv(service_metrics.MULTIPROCESS, raising=False)
    metrics = PrometheusMetrics()
    count_here(metrics)
    text, kind = metrics.text()
    assert kind.startswith("text/plain")
    found = samples(text.decode())
    assert {key: found.get(key) for key in EXPECTED} == EXPECTED
    assert "# EOF" in metrics.text("application/openmetrics-text; version=1.0.0")[0].decode()


def test_what_is_deployed_begins_at_zero(prometheus, monkeypatch):
    monkeypatch.delenv(service_metrics.MULTIPROCESS, raising=False)
    metrics = PrometheusMetrics()
    metrics.expect("m", "1")
    found = samples(metrics.text()[0].decode())
    for outcome in ("scored", "refused", "failed"):
        assert found["elkkit_requests_total", "m", outcome, "1"] == 0
    assert found["elkkit_inference_seconds_count", "m", "1"] == 0


def test_a_score_that_is_undefined_leaves_the_last_defined_one(prometheus, monkeypatch):
    monkeypatch.delenv(service_metrics.MULTIPROCESS, raising=False)
    metrics = PrometheusMetrics()
    for value in (0.5, float("nan")):
        metrics.scored("m", "1", {"IoU": value}, seconds=0, lane_free=None)
    found = samples(metrics.text()[0].decode())
    assert found["elkkit_metric", "IoU", "m", "1"] == 0.5
    assert found["elkkit_undefined_total", "IoU", "m", "1"] == 1


# One parent, as gunicorn's master is, and workers that each import, count and end; the last one is asked.
PARENT = """
import subprocess, sys
for _ in range(3):
    print(subprocess.run([sys.executable, "-c", sys.argv[1]], check=True, capture_output=True, text=True).stdout)
"""
WORKER = """
from elkkit_scoring.service_metrics import open_metrics
metrics = open_metrics(shared={shared})
metrics.request("m", "1", "scored")
metrics.scored("m", "1", {{"IoU": 0.5}}, seconds=0.1, lane_free=None)
print(metrics.text()[0].decode())
"""


@pytest.mark.parametrize(("shared", "counted"), [(True, [1, 2, 3]), (False, [1, 1, 1])])
def test_processes_of_one_server_count_together(prometheus, tmp_path, shared, counted):
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": f"{ROOT / 'tools'}{os.pathsep}{ROOT / 'scoring'}"}
    env.pop(service_metrics.MULTIPROCESS, None)
    found = []
    for _ in range(2):  # another server, in the same temporary folder, begins anew
        done = subprocess.run(
            [sys.executable, "-c", PARENT, WORKER.format(shared=shared)],
            env=env, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        line = 'elkkit_requests_total{model="m",outcome="scored",version="1"} '
        found.append([float(each.removeprefix(line)) for each in done.stdout.splitlines() if each.startswith(line)])
    assert found == [counted, counted]


def test_without_the_client_nothing_is_counted_and_nothing_fails(monkeypatch):
    monkeypatch.setattr(service_metrics, "find_spec", lambda name: None)
    metrics = open_metrics(shared=True)
    assert isinstance(metrics, NoMetrics)
    assert service_metrics.MULTIPROCESS not in os.environ
    count_here(metrics)


def test_a_folder_that_is_gone_costs_numbers_and_says_so(prometheus, tmp_path, monkeypatch):
    monkeypatch.setenv(service_metrics.MULTIPROCESS, str(tmp_path / "gone"))
    with pytest.raises(StorageError) as caught:
        PrometheusMetrics().text()
    assert "gone" in caught.value.message


def test_the_folder_is_this_users_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(service_metrics.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = private_folder("a")
    assert private_folder("a") == folder  # another worker was first
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["open to others", "a link", "a file", "no place"])
def test_a_folder_that_somebody_prepared_is_not_used(tmp_path, monkeypatch, how):
    monkeypatch.setattr(service_metrics.tempfile, "gettempdir", lambda: str(tmp_path))
    if how == "open to others":
        (tmp_path / "a").mkdir()
        (tmp_path / "a").chmod(0o777)
    elif how == "a link":
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "a").symlink_to(tmp_path / "real")
    elif how == "a file":
        (tmp_path / "a").touch(mode=0o600)
    name = "a/b/c" if how == "no place" else "a"
    with pytest.raises(StorageError, match="folder") as caught:
        private_folder(name)
    assert service_metrics.MULTIPROCESS in caught.value.hint


def test_the_key_is_of_the_parent_and_its_start():
    code = "from elkkit_scoring.service_metrics import server_key; print(server_key())"
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'tools'}{os.pathsep}{ROOT / 'scoring'}"}
    keys = [subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout for _ in "ab"]
    assert keys[0] == keys[1]
    pid, _, started = keys[0].strip().partition("-")
    assert (int(pid), started.isdecimal()) == (os.getpid(), True)
    assert server_key() != keys[0].strip()
