"""Writing a line: strict, exact, one physical line, and the id that makes it count once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import elkkit
from elkkit.contract import extend, load_contract
from elkkit.errors import InputError, StorageError
from elkkit.line import MetricLogger, Outcome, Parser, event_id, make_event, score_text, subject

CONTRACT = load_contract()
PARSER = Parser.of()
MOMENT = datetime(2026, 11, 22, 10, 0, 0, 123_999, tzinfo=UTC)


@given(st.floats(allow_nan=False, allow_infinity=False, max_value=9.9e307, min_value=-9.9e307))
def test_every_double_survives_write_and_parse_bit_for_bit(value):
    if abs(value) >= 1e308:
        return
    out = io.StringIO()
    MetricLogger(out, contract=CONTRACT).log_metric("IoU", value, frame_id="f")
    parsed = PARSER.parse(out.getvalue().rstrip("\n").encode())
    assert struct.pack(">d", parsed.fields["metricscores"]) == struct.pack(">d", value)


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.8312, "0.8312"),
        (1e-05, "1e-05"),
        (-0.0, "-0.0"),
        (12345, "12345"),
        (2**60, str(2**60)),
        (None, "nan"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.5), "0.5"),
        (np.int64(7), "7"),
        (5e-324, "5e-324"),
    ],
)
def test_score_text(score, text):
    assert score_text(score, CONTRACT) == text


@pytest.mark.parametrize("score", [True, "0.5", [0.5], 2**53 + 1, 1e308, 10**400, np.zeros(2), object()])
def test_what_is_no_exact_number_is_refused(score):
    with pytest.raises(InputError):
        score_text(score, CONTRACT)


def test_the_line_form():
    out = io.StringIO()
    log = MetricLogger(out, model_name="lane-a", model_version=3, service_name="s-1", run_id="r", contract=CONTRACT)
    log.log_metric("Inference time", np.float64(0.25), frame_id="f1", frame_index=0, lane_free=False,
                   clip="c", conditions=("night", "rain"), timestamp=MOMENT)  # fmt: skip
    key = b'[1,"r","s-1","lane-a","3","f:f1","Inference_time"]'
    assert out.getvalue() == (
        '{"@timestamp":"2026-11-22T10:00:00.123Z","message":"Inference_time : 0.25",'
        f'"event.id":"{hashlib.sha256(key).hexdigest()[:32]}",'
        '"model.name":"lane-a","model.version":"3","service.name":"s-1","run.id":"r","frame.id":"f1","frame.index":0,'
        '"frame.lane_free":false,"frame.clip":"c","frame.conditions":["night","rain"],'
        '"event.dataset":"lane.eval","log.level":"info","log.logger":"elkkit.metrics"}\n'
    )


def test_every_written_field_is_in_the_contract_and_read_back():
    out = io.StringIO()
    event = MetricLogger(out, model_name="a\n\x1b[31m", run_id="r").log_metric("IoU", 0.5, frame_id='f"{%}')
    assert out.getvalue().count("\n") == 1
    fields = PARSER.parse(out.getvalue().rstrip("\n").encode()).fields
    assert set(event) <= set(CONTRACT.fields)
    assert fields == {**event, "metrictype": "IoU", "metricscores": 0.5}


def test_plain_form():
    out = io.StringIO()
    MetricLogger(out, plain=True).log_metric("IoU", 0.5)
    assert out.getvalue() == "IoU : 0.5\n"


def test_identity():
    ids = {"run_id": "r", "service": None, "model": "m", "version": "1", "metric": "IoU"}
    one = event_id(**ids, subject="f:1")
    assert one == hashlib.sha256(b'[1,"r",null,"m","1","f:1","IoU"]').hexdigest()[:32]
    assert one != event_id(**ids, subject="r:1")
    assert subject(frame_id="1", request_id="2") == "r:2"
    assert subject(frame_id="1") == "f:1"
    assert subject() is None


def test_without_frame_or_request_a_request_id_is_minted():
    log = MetricLogger(io.StringIO())
    first, second = log.log_metric("IoU", 0.5), log.log_metric("IoU", 0.5)
    assert first["http.request.id"] != second["http.request.id"]
    assert first["event.id"] != second["event.id"]


@pytest.mark.parametrize("name", ["", "1x", "a" * 65, "a:b", "epoch 3 loss", "INFO loss", "x\ny", "a  b", "ß½"])
def test_names_that_no_parser_reads_back_are_refused(name):
    with pytest.raises(InputError, match="cannot be logged"):
        MetricLogger(io.StringIO()).log_metric(name, 0.5)


@pytest.mark.parametrize(
    "fields", [{"frame.index": "x"}, {"nonsense": 1}, {"frame.lane_free": 1}, {"model.name": ""}, {"run.id": "\ud800"}]
)
def test_fields_that_do_not_fit_are_refused(fields):
    with pytest.raises(InputError):
        make_event(CONTRACT, "IoU", 0.5, fields=fields)


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("double", 0.5, True), ("double", 7, True), ("double", 10**400, False), ("double", 2**53 + 1, False),
        ("double", float("nan"), False), ("double", True, False),
        ("date", "2026-11-22T10:00:00Z", True), ("date", "yesterday", False), ("date", MOMENT, True),
        ("long", 2**63, False), ("boolean", "true", False), ("keyword", 3, True), ("keyword", 0.5, False),
        ("keyword", [None], False),
    ],
)  # fmt: skip
def test_a_teams_own_field_is_written_only_as_it_is_read_back(kind, value, fits):
    contract = extend(CONTRACT, fields={"model.own": {"type": kind, "many": True}})
    if not fits:
        with pytest.raises(InputError, match=r"model\.own cannot be logged"):
            make_event(contract, "IoU", 0.5, fields={"model.own": value})
        return
    event = make_event(contract, "IoU", 0.5, fields={"model.own": value})
    assert Parser.of(contract).parse(json.dumps(event).encode()).fields["model.own"] == event["model.own"]


def test_an_integer_too_long_to_print_is_refused_all_the_same():
    with pytest.raises(InputError, match="of type int"):
        score_text(10**5000, CONTRACT)
    with pytest.raises(InputError) as caught:
        make_event(CONTRACT, "IoU", 0.5, fields={"frame.index": 10**5000})
    assert caught.value.why == "of type int does not fit the type long"


def test_public_face(monkeypatch, tmp_path):
    assert sorted(elkkit.__all__) == elkkit.__all__
    assert all(getattr(elkkit, name) is not None for name in elkkit.__all__)
    (tmp_path / "elkkit.toml").write_text(
        'dataset = "pose.eval"\n[metrics.PCK]\nbetter = "higher"\naliases = ["pck5"]\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELKKIT_RUN_ID", "from-env")
    with elkkit.metric_logger("scores.log", model_name="pose") as log:
        log.log_metric("PCK5", 0.9, frame_id="1")
    event = json.loads((tmp_path / "scores.log").read_text())
    assert (event["message"], event["event.dataset"], event["run.id"]) == ("PCK : 0.9", "pose.eval", "from-env")


def test_a_line_that_a_crash_cut_off_is_closed_and_never_a_score(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(b"IoU : 0.5\nIoU : 0.8")
    with MetricLogger(path, plain=True) as log:
        log.log_metric("IoU", 0.25)
    outcomes = [PARSER.parse(line).outcome for line in path.read_bytes().splitlines()]
    assert outcomes == [Outcome.SCORED, Outcome.MALFORMED, Outcome.SCORED]


def test_full_disk_says_so():
    with pytest.raises(StorageError) as caught:
        MetricLogger("/dev/full").log_metric("IoU", 0.5)
    assert (caught.value.why, bool(caught.value.hint)) == ("No space left on device", True)


def test_a_disk_that_fills_up_leaves_whole_lines_only(tmp_path):
    """A real limit on the file's size: the write that goes over it is taken back."""
    script = """
import resource, signal, sys
from elkkit.line import MetricLogger
from elkkit.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = MetricLogger(sys.argv[1], run_id="r")
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
for i in range(1000):
    try:
        log.log_metric("IoU", 0.5, frame_id=str(i))
    except StorageError as error:
        print(i, error.why)
        break
"""
    path = tmp_path / "x.log"
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True, env=_paths()
    )
    written, _, why = done.stdout.partition(" ")
    lines = path.read_bytes().split(b"\n")
    assert why.strip() == os.strerror(27)  # EFBIG
    assert lines[-1] == b""
    assert len(lines) - 1 == int(written) > 5
    assert all(PARSER.parse(line).outcome is Outcome.SCORED for line in lines[:-1])


def _paths() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_many_writers_do_not_mix_lines(tmp_path):
    path = tmp_path / "x.log"
    script = (
        "import sys; from elkkit.line import MetricLogger\n"
        "log = MetricLogger(sys.argv[1], model_name=sys.argv[2] * 200)\n"
        "for i in range(500): log.log_metric('IoU', 0.5, frame_id=str(i))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, path, name], env=_paths()) for name in "ab"]
    with MetricLogger(path, model_name="t") as log:

        def work():
            for i in range(500):
                log.log_metric("IoU", 0.5, frame_id=str(i))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [run.wait() for run in runs] == [0, 0]
    lines = path.read_bytes().splitlines()
    assert len(lines) == 2500
    assert all(PARSER.parse(line).outcome is Outcome.SCORED for line in lines)


def test_errors_of_the_log_file(tmp_path):
    with pytest.raises(InputError, match="cannot write the log"):
        MetricLogger(tmp_path)
    with pytest.raises(InputError, match="cannot write the log"):
        MetricLogger(tmp_path / "no" / "x.log")
    log = MetricLogger(tmp_path / "x.log")
    log.close()
    with pytest.raises(InputError, match="closed"):
        log.log_metric("IoU", 0.5)
