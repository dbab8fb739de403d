"""`elkkit serve` as far as it goes without the server: what it refuses, and what it would start."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.errors import ServiceError, UsageError
from elkkit_scoring import service_local
from elkkit_scoring.service_local import Plan, Served, plan_for, require_server, serving
from scoring_graphs import red_finder, red_model


@pytest.fixture
def installed(monkeypatch):
    """The server is there; what runs in its place is a command of the test."""
    monkeypatch.setattr(service_local, "find_spec", lambda name: True)

    def run(code):
        monkeypatch.setattr(service_local, "_command", lambda plan, fd: [sys.executable, "-c", code, str(fd)])

    return run


ANSWERS = """
import http.server, os, signal, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(repr(dict(os.environ)).encode())
    def log_message(self, *a): pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
listener = socket.socket(fileno=int(sys.argv[1]))
server = http.server.HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
server.socket = listener
server.serve_forever()
"""


def test_the_missing_server_is_three_lines(monkeypatch):
    monkeypatch.setattr(service_local, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["serve", "lane-a"])
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 3
    assert "azureml-inference-server-http" in lines[1]
    assert "pip install 'elkkit[serve]'" in lines[2]


def test_the_extra_names_what_is_looked_for():
    import tomllib

    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8")
    extra = " ".join(tomllib.loads(text)["project"]["optional-dependencies"]["serve"])
    assert "azureml-inference-server-http" in extra
    assert "prometheus-client" in extra


def test_one_missing_package_is_named_alone(monkeypatch):
    monkeypatch.setattr(service_local, "find_spec", lambda name: None if name == "gunicorn" else util.find_spec("json"))
    with pytest.raises(UsageError) as caught:
        require_server()
    assert caught.value.why.startswith("gunicorn cannot be found")


def test_models_are_opened_before_anything_starts(tmp_path):
    paths, names = plan_for([str(red_model(tmp_path)), "lane-a"])
    assert names == ("red:1", "lane-a:1")
    assert all(path.is_absolute() and path.exists() for path in paths)


@pytest.mark.parametrize("how", ["no card", "twice", "colon", "unknown"])
def test_models_that_cannot_be_served(tmp_path, how):
    folder = tmp_path / ("a:b" if how == "colon" else "m")
    folder.mkdir()
    given = [str(red_finder(folder / "m.onnx") if how == "no card" else red_model(folder))]
    if how == "twice":
        shutil.copytree(folder, tmp_path / "copy")
        given.append(str(tmp_path / "copy" / "red.onnx"))
    if how == "unknown":
        given = ["lane-z"]
    with pytest.raises(UsageError) as caught:
        plan_for(given)
    assert caught.value.hint


def test_the_server_gets_its_settings_and_no_others(tmp_path, monkeypatch, installed):
    import urllib.request

    installed(ANSWERS)
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--bind 0.0.0.0:80")
    monkeypatch.setenv("AML_APP_INSIGHTS_ENABLED", "true")
    monkeypatch.chdir(tmp_path)
    plan = Plan((tmp_path / "a.onnx", tmp_path / "b.onnx"), ("a:1", "b:1"), 0, 3, 2, "s", "r", Path("scores.log"))
    with serving(plan) as served:
        with urllib.request.urlopen(served.url) as reply:
            env = eval(reply.read(), {})
        assert "GUNICORN_CMD_ARGS" not in env
        assert env["ELKKIT_MODEL"] == f"{tmp_path / 'a.onnx'}:{tmp_path / 'b.onnx'}"
        assert env["ELKKIT_SERVICE_LOG"] == str(tmp_path / "scores.log")
        wanted = {"AML_APP_INSIGHTS_ENABLED": "false", "WORKER_COUNT": "3", "ELKKIT_THREADS": "2",
                  "ELKKIT_SERVICE_NAME": "s", "ELKKIT_RUN_ID": "r"}  # fmt: skip
        assert {key: env[key] for key in wanted} == wanted
        assert env["ELKKIT_SERVE_PARENT"] == str(os.getpid())
        root, counts = Path(env["AML_APP_ROOT"]), Path(env["PROMETHEUS_MULTIPROC_DIR"])
        assert list(root.iterdir()) == []
        assert list(counts.iterdir()) == []
        assert root.parent.stat().st_mode & 0o077 == 0
    assert served.process.returncode == 0
    assert not root.exists()


def test_the_port_is_of_this_machine_only(installed):
    installed(ANSWERS)
    with serving(Plan((), (), 0)) as served:
        port = int(served.url.split(":")[2].split("/")[0])
        table = Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]
        local = [
            line.split()[1] for line in table if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
        ]
        assert local == [f"0100007F:{port:04X}"]


def test_a_server_that_ends_while_it_starts(installed):
    installed("raise SystemExit(3)")
    with pytest.raises(ServiceError, match="it ended with 3"), serving(Plan((), (), 0)):
        pytest.fail("it did not start")


def test_a_server_that_never_answers_is_ended(installed, monkeypatch, tmp_path):
    note = tmp_path / "pid"
    installed(f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    monkeypatch.setattr(service_local, "START_SECONDS", 3.0)
    with pytest.raises(ServiceError, match="no answer within 3 s"), serving(Plan((), (), 0)):
        pytest.fail("it did not start")
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_port_that_is_taken(installed):
    installed(ANSWERS)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with (
            pytest.raises(UsageError, match="another program listens there"),
            serving(Plan((), (), other.getsockname()[1])),
        ):
            pytest.fail("it started")


def test_a_log_that_cannot_be_written(installed, tmp_path):
    installed(ANSWERS)
    with pytest.raises(UsageError, match="cannot write the log"), serving(Plan((), (), 0, log=tmp_path)):
        pytest.fail("it started")


@pytest.mark.parametrize(("asked", "by_itself"), [(False, True), (True, False)])
def test_who_ended_it(asked, by_itself, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        served = Served("u", None, "r", Plan((), ()), process)
        if not asked:
            process.send_signal(signal.SIGKILL)
        assert served.wait(lambda: asked) is by_itself
    finally:
        process.kill()
        process.wait()


def test_a_server_whose_parent_is_gone_ends(tmp_path):
    """The settings of gunicorn, read in a process whose `elkkit serve` is another one."""
    root = Path(service_local.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(root), "ELKKIT_SERVE_PARENT": "1"}
    code = "import elkkit_scoring.service_gunicorn, time; time.sleep(30)"
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=60).returncode == -signal.SIGTERM
