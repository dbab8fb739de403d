"""`elkkit serve` for real: Azure ML's inference server under gunicorn on the loopback address."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from elkkit.contract import load_contract
from elkkit.line import Outcome, Parser, event_id
from scoring_graphs import card_for, red_finder, red_model, red_picture

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not all(find_spec(name) for name in ("azureml_inference_server_http", "prometheus_client")),
        reason="no inference server here",
    ),
]
MASK = np.zeros((36, 64), bool)
MASK[10:20, 5:50] = True
ROOT = Path(__file__).resolve().parents[2]


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", array)[1].tobytes()).decode()


PICTURE, TRUTH = encoded(red_picture(MASK)), encoded(MASK.astype(np.uint8) * 255)


class Server:
    """A started `elkkit serve`, and how to ask it."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        assert process.stdout is not None
        head = process.stdout.readline()
        assert head, (folder / "errors").read_text()
        self.data = json.loads(head)["data"]
        self.port = urlsplit(self.data["url"]).port
        self.lines: list[bytes] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(process.stdout), daemon=True)
        self._reader.start()

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def score(self, request: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        status, _, body = self.send("POST", "/score", json.dumps(request), sent)
        return status, json.loads(body)

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Samples as Prometheus' own parser reads them."""
        from prometheus_client.parser import text_string_to_metric_families

        status, headers, body = self.send("GET", "/metrics")
        assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return code

    @property
    def errors(self) -> str:
        return (self.folder / "errors").read_text()


@contextmanager
def serve(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(ROOT / "tools"), str(ROOT / "scoring")])
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "elkkit", "serve", "--json", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
        )
    try:
        yield Server(process, folder)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()


def fussy(folder: Path) -> Path:
    """A model whose output is NaN wherever the picture is red."""
    import onnx
    from onnx import helper

    path = red_finder(folder / "fussy.onnx")
    graph = onnx.load(path).graph
    graph.node[-1].output[0] = "logits"
    graph.node.append(helper.make_node("Neg", ["logits"], ["negative"]))
    graph.node.append(helper.make_node("Sqrt", ["negative"], ["segmentation"]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    card_for(path, name="fussy")
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    models = [red_model(folder, "one"), red_model(folder, "two"), fussy(folder)]
    # a file of this name in the current folder is gunicorn's settings for anybody else
    (folder / "gunicorn.conf.py").write_text("raise SystemExit('read')\n")
    arguments = (*map(str, models), "--workers", "3", "--log", "scores.log", "--service", "lane-detection-service-1")
    with serve(folder, *arguments, env={"ELKKIT_MAX_BODY": "300000"}) as started:
        yield started


def test_a_request_over_http(server: Server):
    status, answer = server.score({"image": PICTURE, "mask": TRUTH, "model": "one", "request_id": "q1"})
    assert status == 200
    assert answer["metrics"]["IoU"] == 1
    assert answer["model"]["name"] == "one"
    assert (answer["request_id"], answer["run_id"]) == ("q1", server.data["run_id"])
    assert answer["logged"] is True


def test_the_callers_id_and_the_servers_id_are_in_header_answer_and_line(server: Server):
    body = json.dumps({"image": PICTURE, "model": "two"})
    for given in ({"x-request-id": "from-azure"}, {}):
        _, headers, data = server.send("POST", "/score", body, {"Content-Type": "application/json", **given})
        found = json.loads(data)["request_id"]
        assert headers["x-request-id"] == found
        assert given.get("x-request-id", found) == found


BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in (
            (b"IHDR", (9000).to_bytes(4, "big") * 2 + b"\x01\x00\x00\x00\x00"),
            (b"IDAT", zlib.compress(bytes(9000 * (1 + 9000 // 8)), 9)),
            (b"IEND", b""),
        )
    )
)  # fmt: skip
JSON = {"Content-Type": "application/json"}
REFUSED = {
    "empty": (b"", JSON, "body"),
    "not UTF-8": (b'{"image": "\xff"}', JSON, "body"),
    "too long": (json.dumps({"image": "A" * 400_000}), JSON, "body"),
    "much too long": (b"x" * 5_000_000, JSON, "body"),
    "too long in chunks": (iter([b"x" * 100_000] * 5), JSON, "body"),
    "a form": (b"image=1", {"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type"),
    "a picture": (b"\xff\xd8\xff", {"Content-Type": "image/jpeg"}, "Content-Type"),
    "compressed": (zlib.compress(b"{}"), {**JSON, "Content-Encoding": "deflate"}, "Content-Encoding"),
    "no image": (b'{"model":"one"}', JSON, "image"),
    "no model": (json.dumps({"image": PICTURE}), JSON, "model"),
    "a bomb": (json.dumps({"model": "one", "image": base64.b64encode(BOMB).decode()}), JSON, "image"),
    "mask of another size": (
        json.dumps({"model": "one", "image": PICTURE, "mask": encoded(np.zeros((3, 5), np.uint8))}), JSON, "mask",
    ),
    "NaN logits": (json.dumps({"model": "fussy", "image": PICTURE}), JSON, "image"),
    "half a character": (b'{"image":"x","model":"\\ud800"}', JSON, "model"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_400_names_its_field_and_is_logged_and_counted(server: Server, name: str):
    body, headers, field = REFUSED[name]
    before = server.metrics()
    status, got, data = server.send("POST", "/score", body, headers)
    error = json.loads(data)["error"]
    assert (status, got["content-type"], error["field"]) == (400, "application/json", field)
    assert error["why"]
    assert error["hint"]
    assert error["why"] != "it is empty" or name == "empty"
    (line,) = [line for line in server.errors.splitlines() if json.loads(data)["request_id"] in line and line[0] == "{"]
    logged = json.loads(line)
    assert (logged["message"], logged["http.response.status_code"]) == ("request refused", 400)
    assert Parser.of(load_contract()).parse(line.encode()).outcome is Outcome.NOT_A_SCORE
    after = server.metrics()
    changed = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
    ((_, labels),) = [key for key in changed if key[0] == "elkkit_requests_total"]
    model = "fussy" if name == "NaN logits" else "one" if '"one"' in str(body) else ""
    assert dict(labels) == {"model": model, "version": "1" if model else "", "outcome": "refused"}
    assert not [key for key in changed if not key[0].startswith("elkkit_requests")]


def test_other_methods(server: Server):
    status, headers, data = server.send("GET", "/score?image=1")
    assert (status, headers["allow"], json.loads(data)["error"]["field"]) == (405, "POST", "method")
    assert server.send("OPTIONS", "/score")[0] == 200
    assert server.send("GET", "/")[2] == b"Healthy"


def test_metrics_are_right_with_several_workers(server: Server):
    before = server.metrics()

    def ask(index: int) -> str:
        status, answer = server.score({"image": PICTURE, "mask": TRUTH, "model": ("one", "two")[index % 2]})
        assert status == 200
        return answer["request_id"]

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(ask, range(60)))
    assert len(set(ids)) == 60
    after = server.metrics()
    for model in ("one", "two"):
        labels = {("model", model), ("version", "1")}
        for name, more in (
            ("elkkit_requests_total", {("outcome", "scored")}),
            ("elkkit_inference_seconds_count", set()),
        ):
            key = (name, frozenset(labels | more))
            assert after[key] - before.get(key, 0) == 30
        assert after["elkkit_metric", frozenset(labels | {("metric", "IoU")})] == 1
        assert after["elkkit_inference_seconds_bucket", frozenset(labels | {("le", "+Inf")})] >= 30
    workers = {line.split("[")[1].split("]")[0] for line in server.errors.splitlines() if "POST /score 200" in line}
    assert len(workers) > 1  # else this showed nothing


def test_undefined_scores_and_lane_free_frames_are_counted(server: Server):
    black = encoded(np.zeros((36, 64, 3), np.uint8))
    labels = {("model", "two"), ("version", "1")}
    before = server.metrics()
    assert server.score({"image": black, "mask": encoded(np.zeros((36, 64), np.uint8)), "model": "two"})[0] == 200
    after = server.metrics()
    for key in (
        ("elkkit_undefined_total", frozenset(labels | {("metric", "IoU")})),
        ("elkkit_frames_without_lane_total", frozenset(labels)),
    ):
        assert after[key] - before.get(key, 0) == 1


def test_one_line_a_metric_on_standard_output_and_in_the_file(tmp_path: Path):
    model = red_model(tmp_path, "red")
    with serve(
        tmp_path, str(model), "--workers", "2", "--log", "scores.log", "--run-id", "r1", "--service", "s"
    ) as server:
        sent = {f"q{i}": server.score({"image": PICTURE, "mask": TRUTH, "request_id": f"q{i}"})[1] for i in range(20)}
        assert server.score({"image": PICTURE, "mask": TRUTH, "request_id": "q0"})[0] == 200  # sent again
        assert server.end(signal.SIGINT) == 0
    parser = Parser.of(load_contract())
    filed = (tmp_path / "scores.log").read_bytes().splitlines()
    assert Counter(filed) == Counter(line.rstrip(b"\n") for line in server.lines)
    fields = [parser.parse(line) for line in filed]
    assert {one.outcome for one in fields} == {Outcome.SCORED}
    assert len(fields) == 21 * 16
    assert len({one.fields["event.id"] for one in fields}) == 20 * 16
    for one in fields:
        event, metric = one.fields, one.fields["metrictype"]
        request = event["http.request.id"]
        what = {"run_id": "r1", "service": "s", "model": "red", "version": "1", "subject": f"r:{request}"}
        assert event["event.id"] == event_id(**what, metric=metric)
        if request != "q0" or "time" not in metric:
            assert event["metricscores"] == sent[request]["metrics"][metric]
    assert "azmlinfsrv" in server.errors
    assert "Traceback" not in server.errors


def test_workers_that_die_take_no_counts_with_them(tmp_path: Path):
    with serve(tmp_path, str(red_model(tmp_path, "red")), "--workers", "2") as server:
        key = ("elkkit_requests_total", frozenset({("model", "red"), ("version", "1"), ("outcome", "scored")}))
        for _ in range(10):
            server.score({"image": PICTURE})
        assert server.metrics()[key] == 10
        workers = {int(part.split("pid ")[1].split()[0]) for part in server.errors.splitlines() if "ready for" in part}
        os.kill(min(workers), signal.SIGKILL)
        for _ in range(10):
            assert server.score({"image": PICTURE})[0] == 200
        assert server.metrics()[key] == 20
        assert server.end() == 0


def test_a_killed_command_leaves_no_server_behind(tmp_path: Path):
    with serve(tmp_path, str(red_model(tmp_path, "red")), env={"TMPDIR": str(tmp_path)}) as server:
        server.process.kill()
        server.process.wait(timeout=10)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", server.port)):
                    return
            time.sleep(0.1)
        pytest.fail("the port still answers")


def test_the_entry_script_under_the_plain_server_counts_over_all_workers(tmp_path: Path):
    """As a container runs it: nothing is set but what Azure ML sets."""
    red_model(tmp_path / "model" / "1", "red")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **{k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"},
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tools"), str(ROOT / "scoring")]),
        "AML_APP_ROOT": str(tmp_path),
        "AZUREML_ENTRY_SCRIPT": str(ROOT / "scoring/elkkit_scoring/score.py"),
        "AZUREML_MODEL_DIR": str(tmp_path / "model"),
        "TMPDIR": str(tmp_path),
        "WORKER_COUNT": "3",
    }
    entry = "azureml_inference_server_http.server.entry:app"
    with (tmp_path / "out").open("wb") as out, (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{port}", "-w", "3", entry],
            stdout=out, stderr=errors, env=env, cwd=tmp_path,
        )  # fmt: skip
    try:
        server = Server.__new__(Server)
        server.port = port
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if server.send("GET", "/")[0] == 200:
                    break
            except OSError:
                time.sleep(0.2)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: server.score({"image": PICTURE}), range(30)))
        assert {status for status, _ in answers} == {200}
        assert len({answer["run_id"] for _, answer in answers}) == 1  # all workers are in one run
        labels = frozenset({("model", "red"), ("version", "1"), ("outcome", "scored")})
        assert [server.metrics()["elkkit_requests_total", labels] for _ in range(6)] == [30] * 6
        assert server.score({"image": 5})[0] == 400
    finally:
        process.terminate()
        process.wait(timeout=60)
    lines = (tmp_path / "out").read_bytes().splitlines()
    scored = [line for line in lines if Parser.of(load_contract()).parse(line).outcome is Outcome.SCORED]
    assert len(scored) == 30 * len(answers[0][1]["metrics"])
    assert {line for line in lines if line not in scored} == {b"Initializing logger"}  # said before settings are read
    assert "azmlinfsrv" in (tmp_path / "errors").read_text()


def test_a_port_that_is_taken(tmp_path: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        path = os.pathsep.join([str(ROOT / "tools"), str(ROOT / "scoring")])
        done = subprocess.run(
            [sys.executable, "-m", "elkkit", "serve", "lane-a", "--port", port],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert "another program listens there" in done.stderr
    assert "--port 0" in done.stderr
