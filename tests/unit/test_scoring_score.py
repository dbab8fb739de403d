"""The entry script: a request in, a JSON-safe answer out, one line per metric on standard output."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from elkkit.contract import load_contract
from elkkit.errors import ElkkitError, UsageError
from elkkit.line import Outcome, Parser, event_id
from elkkit_scoring import service
from elkkit_scoring.bundled import bundled_models
from elkkit_scoring.image import decode_mask
from elkkit_scoring.metrics import NEED_TRUTH, MetricName
from scoring_graphs import card_for, red_finder, red_model, red_picture

MASK = np.zeros((36, 64), bool)
MASK[10:20, 5:50] = True


def encoded(array, kind=".png"):
    return base64.b64encode(cv2.imencode(kind, array)[1].tobytes()).decode()


PICTURE, TRUTH = encoded(red_picture(MASK)), encoded(MASK.astype(np.uint8) * 255)


@pytest.fixture
def deployed(tmp_path, monkeypatch):
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path / "deployed"))
    monkeypatch.setenv("ELKKIT_SERVICE_NAME", "lane-detection-service-1")
    red_model(tmp_path / "deployed" / "one" / "1", "one")
    service.init()
    yield tmp_path / "deployed"
    service._service = None


def lines(capfd):
    found = [Parser.of(load_contract()).parse(line.encode()) for line in capfd.readouterr().out.splitlines()]
    assert all(parsed.outcome in (Outcome.SCORED, Outcome.NOT_FINITE) for parsed in found)
    return [parsed.fields for parsed in found]


def ask(**request):
    return service.run(json.dumps(request))


def test_a_request_is_scored_and_logged(deployed, capfd):
    answer = ask(image=PICTURE, mask=TRUTH, frame_id="f1", run_id="r1", request_id="q1")
    json.dumps(answer, allow_nan=False)
    assert list(answer["metrics"]) == [str(name) for name in MetricName]
    assert answer["metrics"]["IoU"] == 1
    assert (answer["request_id"], answer["run_id"], answer["frame_id"]) == ("q1", "r1", "f1")
    assert answer["model"]["name"] == "one"
    assert len(answer["model"]["sha256"]) == 64
    assert answer["line_width"] == "5 px at 1280x720"
    assert answer["logged"] is True
    assert np.array_equal(decode_mask(base64.b64decode(answer["mask"]), "x"), MASK)
    found = lines(capfd)
    assert [event["metrictype"] for event in found] == list(answer["metrics"])
    for event in found:
        assert event.get("metricscores") == answer["metrics"][event["metrictype"]]
        assert (event["http.request.id"], event["frame.id"], event["run.id"]) == ("q1", "f1", "r1")
        assert event["event.id"] == event_id(
            run_id="r1",
            service="lane-detection-service-1",
            model="one",
            version="1",
            subject="r:q1",
            metric=event["metrictype"],
        )


def test_without_mask_only_metrics_that_need_none(deployed, capfd):
    answer = ask(image=PICTURE)
    assert set(answer["metrics"]) == {str(name) for name in MetricName if name not in NEED_TRUTH}
    assert answer["lane_free"] is None
    assert len(answer["request_id"]) == 32
    found = lines(capfd)
    assert {event["http.request.id"] for event in found} == {answer["request_id"]}
    assert len({event["event.id"] for event in found}) == len(found)


def test_undefined_is_null_in_the_answer_and_nan_in_the_log(deployed, capfd):
    black = encoded(np.zeros((36, 64, 3), np.uint8))
    answer = ask(image=black, mask=encoded(np.zeros((36, 64), np.uint8)))
    assert answer["metrics"]["IoU"] is None
    assert answer["lane_free"] is True
    raw = {event["metrictype"]: event.get("metricraw") for event in lines(capfd)}
    assert {name for name, value in answer["metrics"].items() if value is None} == {n for n in raw if raw[n] == "nan"}


def test_lists_of_numbers_and_channel_order(deployed):
    for channels, picture in (("BGR", red_picture(MASK)), ("RGB", red_picture(MASK)[..., ::-1])):
        answer = ask(image=picture.tolist(), mask=MASK.astype(int).tolist(), channels=channels)
        assert answer["metrics"]["IoU"] == 1


def test_bytes_and_objects_are_requests_too(deployed):
    for raw in (json.dumps({"image": PICTURE}).encode(), {"image": PICTURE}):
        assert "metrics" in service.run(raw)


def test_several_models_are_chosen_by_name_or_version(deployed):
    other = deployed / "two"
    other.mkdir()
    card_for(red_finder(other / "b.onnx", gain=3.0), name="one", version="2")
    red_model(other, "two")
    service.init()
    assert ask(image=PICTURE, model="one:2")["model"]["version"] == "2"
    assert ask(image=PICTURE, model="two")["model"]["name"] == "two"
    for wanted, why in ((None, "several models"), ("one", "more than one"), ("three", "none of them")):
        error = ask(image=PICTURE, model=wanted)["error"]
        assert error["field"] == "model"
        assert why in error["why"]
        assert "one:1, one:2, two:1" in error["hint"]


BAD = {
    "nothing": ("", "body", "it is empty"),
    "not JSON": ("IoU : 0.5", "body", "it is not JSON"),
    "too deep": ("[" * 100_000, "body", "it is not JSON"),
    "not an object": ("[1]", "body", "it is list, not an object"),
    "no image": ("{}", "image", "it is missing"),
    "null image": ('{"image":null}', "image", "it is missing"),
    "not base64": ('{"image":"hello!"}', "image", "it is not base64"),
    "data URL": ('{"image":"data:image/png;base64,AAAA"}', "image", "it is not base64"),
    "not an image": ('{"image":"aGVsbG8="}', "image", "neither JPEG nor PNG"),
    "image a number": ('{"image":5}', "image", "not [H][W][3] whole numbers"),
    "ragged rows": ('{"image":[[[1,2,3]],[[1,2,3],[1,2,3]]]}', "image", "not [H][W][3]"),
    "floats": ('{"image":[[[0.5,0.5,0.5]]]}', "image", "not [H][W][3]"),
    "above 255": ('{"image":[[[1,2,256]]]}', "image", "not [H][W][3]"),
    "below 0": ('{"image":[[[1,2,-1]]]}', "image", "not [H][W][3]"),
    "beyond 64 bit": ('{"image":[[[1,2,99999999999999999999999]]]}', "image", "not [H][W][3]"),
    "four channels": ('{"image":[[[1,2,3,4]]]}', "image", "it has 4 channels"),
    "grey": ('{"image":[[1,2],[3,4]]}', "image", "not [H][W][3]"),
    "mask of another size": ({"mask": encoded(np.zeros((3, 5), np.uint8))}, "mask", "it is 5x3, the image 64x36"),
    "mask is a JPEG": ({"mask": encoded(np.zeros((36, 64), np.uint8), ".jpg")}, "mask", "not a PNG"),
    "mask of other values": ({"mask": [[7] * 64] * 36}, "mask", "it holds 7"),
    "mask a word": ({"mask": "no!"}, "mask", "it is not base64"),
    "unknown field": ({"images": "x"}, "images", "there is no such field"),
    "frame_id a number": ({"frame_id": 5}, "frame_id", "it is int, not text"),
    "frame_id endless": ({"frame_id": "x" * 2000}, "run_id, frame_id or request_id", "does not fit"),
    "frame_id a surrogate": ({"frame_id": "\ud800"}, "run_id, frame_id or request_id", "does not fit"),
    "channels": ({"channels": "GBR"}, "channels", "neither BGR nor RGB"),
    "no such model": ({"model": "two"}, "model", "none of them"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_gets_an_error_that_names_the_field(name, deployed, capfd):
    request, field, why = BAD[name]
    raw = json.dumps({"image": PICTURE, **request}) if isinstance(request, dict) else request
    answer = service.run(raw)
    json.dumps(answer)
    assert set(answer) == {"error", "request_id"}
    assert answer["error"]["field"] == field
    assert why in answer["error"]["why"]
    assert answer["error"]["hint"]
    assert capfd.readouterr().out == ""


def test_a_request_that_is_too_long(deployed, monkeypatch):
    monkeypatch.setattr(service, "MAX_BODY", 10)
    assert ask(image=PICTURE)["error"]["field"] == "body"


def test_a_log_that_cannot_be_written_does_not_cost_the_answer(deployed, monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Closed())
    answer = ask(image=PICTURE)
    assert answer["logged"] is False
    assert answer["metrics"]


def test_the_first_request_opens_the_models(tmp_path, monkeypatch):
    service._service = None
    monkeypatch.setenv("ELKKIT_MODEL", str(red_model(tmp_path)))
    try:
        assert service.run({"image": PICTURE})["model"]["name"] == "red"
    finally:
        service._service = None


def test_the_entry_script_works_where_it_is_not_a_module(deployed):
    """Azure's server runs the script's code without an entry in `sys.modules`."""
    path = Path(service.__file__).with_name("score.py")
    names = {"__name__": "main", "__file__": str(path)}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), names)
    names["init"]()
    assert names["run"](json.dumps({"image": PICTURE}))["metrics"]


def test_bundled_models_can_be_deployed_by_name(monkeypatch):
    monkeypatch.setenv("ELKKIT_MODEL", ":".join(bundled_models()))
    assert [path.stem for path in service.model_paths()] == list(bundled_models())


@pytest.mark.parametrize("how", ["unset", "empty folder", "no card", "twice", "threads"])
def test_what_cannot_be_deployed_says_so_when_it_starts(how, tmp_path, monkeypatch):
    monkeypatch.delenv("AZUREML_MODEL_DIR", raising=False)
    if how != "unset":
        monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    if how == "no card":
        red_finder(tmp_path / "m.onnx")
    if how in ("twice", "threads"):
        red_model(tmp_path)
    if how == "twice":
        shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    if how == "threads":
        monkeypatch.setenv("ELKKIT_THREADS", "many")
    with pytest.raises(UsageError) as caught:
        service.init()
    assert caught.value.hint
    assert isinstance(caught.value, ElkkitError)
    service._service = None
