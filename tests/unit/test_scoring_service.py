"""The service around a score: what is counted, what is logged, and what a failure becomes."""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
import zlib
from collections import Counter
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from elkkit.contract import load_contract
from elkkit.errors import InputError, UsageError
from elkkit.line import Outcome, Parser
from elkkit_scoring import service, service_http
from elkkit_scoring.image import MAX_PIXELS
from elkkit_scoring.service_request import BadFieldError
from scoring_graphs import card_for, red_finder, red_model, red_picture

MASK = np.zeros((36, 64), bool)
MASK[10:20, 5:50] = True


def encoded(array):
    return base64.b64encode(cv2.imencode(".png", array)[1].tobytes()).decode()


PICTURE, TRUTH = encoded(red_picture(MASK)), encoded(MASK.astype(np.uint8) * 255)


class Counts:
    """Keeps what the service counts."""

    def __init__(self):
        self.requests, self.scores, self.lost, self.expected = Counter(), [], Counter(), []

    def expect(self, model, version):
        self.expected.append((model, version))

    def request(self, model, version, outcome):
        self.requests[model, version, outcome] += 1

    def scored(self, model, version, scores, *, seconds, lane_free):
        self.scores.append((model, version, dict(scores), seconds, lane_free))

    def unlogged(self, model, version):
        self.lost[model, version] += 1


@pytest.fixture
def counts(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "_service", None)
    monkeypatch.setenv("ELKKIT_MODEL", str(red_model(tmp_path)))
    found = Counts()
    monkeypatch.setattr(service, "open_metrics", lambda *, shared: found)
    service.init()
    return found


def ask(**request):
    return service.answer(json.dumps(request))


def complaint(capfd):
    """The one line on standard error; it is never taken for a score."""
    out, errors = capfd.readouterr()
    (line,) = errors.splitlines()
    assert Parser.of(load_contract()).parse(line.encode()).outcome is Outcome.NOT_A_SCORE
    assert out == ""
    return json.loads(line)


def square_bomb(side):
    """A PNG of one bit a pixel: a few kilobytes that unpack to side * side pixels."""
    parts = (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (
        b"IDAT", zlib.compress(bytes(side * (1 + side // 8)), 9)), (b"IEND", b"")  # fmt: skip
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_a_scored_request_is_counted_with_its_scores(counts):
    done = ask(image=PICTURE, mask=TRUTH)
    assert done.status == 200
    assert counts.expected == [("red", "1")]
    assert counts.requests == {("red", "1", "scored"): 1}
    ((model, version, scores, seconds, lane_free),) = counts.scores
    assert (model, version, lane_free) == ("red", "1", False)
    assert scores == done.body["metrics"]
    assert seconds == done.body["seconds"]["inference"] > 0


def test_a_decompression_bomb_is_refused_before_it_is_decoded(counts, monkeypatch):
    side = 8 * (int(MAX_PIXELS**0.5) // 8 + 1)
    bomb = square_bomb(side)
    assert len(bomb) < 20_000
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    for request, field in (({"image": bomb}, "image"), ({"image": None, "mask": bomb}, "mask")):
        sent = {k: base64.b64encode(v).decode() if v else [[[0, 0, 9]]] for k, v in request.items()}
        done = ask(**sent)
        assert (done.status, done.body["error"]["field"]) == (400, field)
        assert f"{side}x{side} pixels" in done.body["error"]["why"]


def test_a_small_bomb_is_decoded_so_the_test_above_means_something(counts):
    assert ask(image=base64.b64encode(square_bomb(64)).decode()).status == 200


def test_what_is_refused_is_counted_and_logged_whatever_it_says(counts, capfd):
    done = service.answer('{"IoU : 0.99\\n":1}', request_id="from-header")
    assert (done.status, done.body["error"]["field"]) == (400, "IoU : 0.99\n")
    assert done.body["request_id"] == "from-header"
    line = complaint(capfd)
    assert (line["http.request.id"], line["http.response.status_code"]) == ("from-header", 400)
    assert (line["log.level"], line["message"]) == ("warning", "request refused")
    assert "error.stack_trace" not in line
    assert counts.requests == {("", "", "refused"): 1}


def test_a_request_that_names_a_model_is_counted_for_it(counts):
    assert ask(model="red:1").body["error"]["field"] == "image"
    assert ask(model="other", image=PICTURE).body["error"]["field"] == "model"
    assert counts.requests == {("red", "1", "refused"): 1, ("", "", "refused"): 1}


def test_an_id_in_the_request_comes_before_the_headers(counts):
    assert service.answer(json.dumps({"image": PICTURE, "request_id": "a"}), request_id="b").body["request_id"] == "a"
    assert service.answer(json.dumps({"image": PICTURE}), request_id="b").body["request_id"] == "b"


def test_half_a_character_in_an_id_can_be_answered_and_logged(counts, capfd):
    done = service.answer('{"image":"!","request_id":"\\ud800"}')
    json.dumps(done.body).encode()
    assert done.body["error"]["field"] == "image"
    assert complaint(capfd)["http.request.id"] == "\\ud800"


def test_a_failure_of_ours_is_500_with_a_line_and_is_counted(counts, monkeypatch, capfd):
    def broken(*_):
        raise MemoryError("IoU : 0.9")

    monkeypatch.setattr(service, "scores_of", broken)
    done = ask(image=PICTURE, request_id="q")
    assert (done.status, done.body["request_id"], done.body["error"]["field"]) == (500, "q", None)
    assert "0.9" not in json.dumps(done.body)  # what went wrong inside is for the log
    line = complaint(capfd)
    assert (line["error.type"], line["error.message"], line["http.request.id"]) == ("MemoryError", "IoU : 0.9", "q")
    assert "scores_of" in line["error.stack_trace"]
    assert counts.requests == {("red", "1", "failed"): 1}


def test_the_servers_clock_ends_a_request_and_it_is_counted(counts, monkeypatch, capfd):
    def late(*_args, **_fields):
        raise TimeoutError

    monkeypatch.setattr(service.MetricLogger, "log_metric", late)
    with pytest.raises(TimeoutError):
        ask(image=PICTURE)
    assert complaint(capfd)["error.type"] == "TimeoutError"
    assert counts.requests == {("red", "1", "failed"): 1}


def test_nobody_to_tell_costs_no_answer(counts, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert ask(image="!").status == 400


def nan_for_red(folder):
    """A graph whose output is the square root of minus the logit: not a number where a red finder sees red."""
    path = red_finder(folder / "fussy.onnx")
    graph = onnx.load(path).graph
    graph.node[-1].output[0] = "logits"
    graph.node.append(helper.make_node("Neg", ["logits"], ["negative"]))
    graph.node.append(helper.make_node("Sqrt", ["negative"], ["segmentation"]))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def test_logits_that_are_no_numbers_are_refused_not_taken_for_background(tmp_path, counts, monkeypatch, capfd):
    path = nan_for_red(tmp_path)
    card_for(path)
    monkeypatch.setenv("ELKKIT_MODEL", str(path))
    service.init()
    black = encoded(np.zeros((36, 64, 3), np.uint8))
    assert ask(image=black).status == 200
    capfd.readouterr()
    done = ask(image=PICTURE)
    assert (done.status, done.body["error"]["field"]) == (400, "image")
    assert "NaN" in done.body["error"]["why"]
    assert complaint(capfd)["message"] == "request refused"
    assert counts.requests["fussy", "1", "refused"] == 1
    assert len(counts.scores) == 1


def test_a_model_that_gives_no_numbers_at_all_is_not_deployed(tmp_path, counts, monkeypatch):
    path = nan_for_red(tmp_path)
    graph = onnx.load(path)
    graph.graph.initializer[1].CopyFrom(helper.make_tensor("bias", 1, [1], [1.0]))
    path.write_bytes(graph.SerializeToString())
    card_for(path)
    monkeypatch.setenv("ELKKIT_MODEL", str(path))
    with pytest.raises(InputError, match=r"NaN|numbers"):
        service.init()


def test_lines_go_to_a_file_too(tmp_path, counts, monkeypatch, capfd):
    monkeypatch.setenv("ELKKIT_SERVICE_LOG", str(tmp_path / "scores.log"))
    service.init()
    ask(image=PICTURE, mask=TRUTH, run_id="mine")
    out = capfd.readouterr().out
    assert (tmp_path / "scores.log").read_text() == out
    assert {json.loads(line)["run.id"] for line in out.splitlines()} == {"mine"}


def test_a_log_that_cannot_be_written_is_counted_and_told(counts, monkeypatch, capfd):
    class Closed:
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    done = ask(image=PICTURE)
    monkeypatch.undo()
    assert (done.status, done.body["logged"]) == (200, False)
    assert counts.lost == {("red", "1"): 1}
    assert complaint(capfd)["message"] == "metrics not logged"


@pytest.mark.parametrize(("name", "value"), [("ELKKIT_MAX_BODY", "1 MB"), ("ELKKIT_MAX_BODY", "-1"),
                                             ("ELKKIT_THREADS", "٣")])  # fmt: skip
def test_limits_that_are_no_numbers(counts, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name} is wrong"):
        service.init()


def test_the_longest_body_can_be_set(counts, monkeypatch):
    monkeypatch.setenv("ELKKIT_MAX_BODY", "20")
    service.init()
    assert ask(image=PICTURE).body["error"]["field"] == "body"
    assert service.answer(b" " * 20).body["error"]["why"].startswith("it is not JSON")
    assert "20 are read" in service.answer(b" " * 21).body["error"]["why"]


@pytest.mark.parametrize(("workers", "threads"), [(None, 0), ("1", 0), ("4", 2), ("100", 1), ("many", 0)])
def test_workers_share_the_cores(monkeypatch, workers, threads):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("WORKER_COUNT", raising=False)
    if workers:
        monkeypatch.setenv("WORKER_COUNT", workers)
    assert service._threads() == threads
    monkeypatch.setenv("ELKKIT_THREADS", "3")
    assert service._threads() == 3


def test_the_workers_of_one_server_are_in_one_run(monkeypatch):
    assert service._run_id() != service._run_id()
    monkeypatch.setitem(sys.modules, "azureml_inference_server_http.server", ModuleType("server"))
    first = service._run_id()
    assert service._run_id() == first
    monkeypatch.setattr(service, "server_key", lambda: "another")
    assert len(service._run_id()) == 32
    assert service._run_id() != first


class Stream(io.BytesIO):
    """A body that knows how much of it was read."""

    read_bytes = 0

    def read(self, size=-1):
        part = super().read(size)
        self.read_bytes += len(part)
        return part


def sent(body, *, length="right", kind="application/json", method="POST", **headers):
    """What the script sees of Flask's request."""
    return SimpleNamespace(
        method=method,
        stream=Stream(body),
        content_length=len(body) if length == "right" else length,
        mimetype=kind,
        headers={"x-request-id": "from-header", **headers},
    )


@pytest.fixture
def flask(monkeypatch):
    """Azure's response class, as far as it is used."""

    class Response(SimpleNamespace):
        def __init__(self, message, status_code, response_headers=None, json_str=False):
            super().__init__(body=message, status=status_code, headers=response_headers or {}, json=json_str)

    api = ModuleType("azureml_inference_server_http.api.aml_response")
    api.AMLResponse = Response
    for name in ("azureml_inference_server_http", "azureml_inference_server_http.api", api.__name__):
        monkeypatch.setitem(sys.modules, name, api)


def test_over_http_a_score_is_a_dict_and_an_error_a_response(counts, flask):
    good = service_http.respond(sent(json.dumps({"image": PICTURE}).encode()))
    assert (type(good), good["request_id"]) == (dict, "from-header")
    bad = service_http.respond(sent(b"{}"))
    assert (bad.status, bad.json, bad.body["error"]["field"]) == (400, True, "image")
    assert bad.body["request_id"] == "from-header"


@pytest.mark.parametrize(
    ("request_of", "status", "field"),
    [
        (lambda: sent(b"{}", kind="text/plain"), 400, "Content-Type"),
        (lambda: sent(b"{}", kind="multipart/form-data"), 400, "Content-Type"),
        (lambda: sent(b"{}", **{"Content-Encoding": "gzip"}), 400, "Content-Encoding"),
        (lambda: sent(b"{}", kind=""), 400, "image"),
        (lambda: sent(b"{}", kind="application/vnd.lane+json"), 400, "image"),
        (lambda: sent(b"", method="GET"), 405, "method"),
        (lambda: sent(b"", method="PUT"), 405, "method"),
    ],
)
def test_headers_and_methods(counts, flask, request_of, status, field):
    done = service_http.respond(request_of())
    assert (done.status, done.body["error"]["field"]) == (status, field)
    assert counts.requests.total() == 1
    assert done.headers == ({"Allow": "POST"} if status == 405 else {})


def test_options_are_no_request_for_a_score(counts, flask):
    assert service_http.respond(sent(b"", method="OPTIONS")).status == 200
    assert not counts.requests


@pytest.mark.parametrize("length", ["right", None])
def test_a_long_body_is_refused_kept_nowhere_and_read_away(counts, flask, monkeypatch, length):
    monkeypatch.setattr(service, "MAX_BODY", 100_000)
    monkeypatch.setattr(service_http, "READ_AWAY", 1_000_000)
    for size, read in ((100_001, 100_001), (500_000, 500_000)):
        request = sent(b"x" * size, length=size if length else None)
        done = service_http.respond(request)
        assert (done.status, done.body["error"]["field"]) == (400, "body")
        assert f"it has {size} bytes" in done.body["error"]["why"]
        assert request.stream.read_bytes == read
    endless = sent(b"x" * 3_000_000, length=None)
    assert service_http.respond(endless).status == 400
    assert endless.stream.read_bytes < 1_100_000
    assert service_http.respond(sent(b" " * 100_000)).body["error"]["why"].startswith("it is not JSON")


def test_a_client_that_goes_away_is_counted(counts, flask):
    request = sent(b"{}")
    request.stream.read = lambda _size: (_ for _ in ()).throw(ConnectionResetError(104, "reset"))
    done = service_http.respond(request)
    assert (done.status, done.body["error"]["field"]) == (400, "body")
    assert "ConnectionResetError" in done.body["error"]["why"]
    assert counts.requests == {("", "", "refused"): 1}


def test_the_servers_clock_is_not_a_client_that_went_away(counts, flask):
    request = sent(b"{}")
    request.stream.read = lambda _size: (_ for _ in ()).throw(TimeoutError())
    with pytest.raises(TimeoutError):
        service_http.respond(request)
    assert counts.requests == {("", "", "failed"): 1}


def test_errors_name_their_field():
    assert BadFieldError("mask", "why", "hint").field == "mask"
