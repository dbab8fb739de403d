"""Cards and models: contracts of real exports decode to the right mask; what does not fit is said in three lines."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from onnx import TensorProto

from elkkit.errors import InputError, UsageError
from elkkit_scoring.card import read_card, write_card
from elkkit_scoring.model import LaneModel
from scoring_graphs import (
    HEIGHT,
    HYBRIDNETS_INPUT,
    HYBRIDNETS_OUTPUT,
    PLAIN_INPUT,
    PLAIN_OUTPUT,
    WIDTH,
    YOLOP_INPUT,
    YOLOP_OUTPUT,
    card_for,
    hybridnets,
    red_finder,
    red_model,
    red_picture,
    yolop,
)

MASK = np.zeros((2 * HEIGHT, 2 * WIDTH), bool)
MASK[10:40, 20:60] = True
MASK[50:60, 100:128] = True


def refused(call, *parts):
    with pytest.raises(UsageError) as caught:
        call()
    error = caught.value
    text = f"{error.message} | {error.why} | {error.hint}"
    assert error.message
    assert error.why
    assert error.hint
    assert "\n" not in text
    for part in parts:
        assert part in text, text
    return error


# --- decoding ------------------------------------------------------------------------------------------------------

CONTRACTS = {
    "HybridNets binary": ({}, {}, {}),
    "HybridNets multiclass": ({"channels": 3, "lane": 2}, {}, {"decoding": "multiclass", "lane_class": 2}),
    "HybridNets multilabel": ({"channels": 3, "lane": 2}, {}, {"decoding": "multilabel", "lane_class": 2}),
    "YOLOP": (
        {"channels": 2, "lane": 1, "input_name": "images", "output_name": "lane_line_seg", "extra_outputs": True},
        {"name": "images"},
        {"name": "lane_line_seg", "decoding": "multiclass", "lane_class": 1},
    ),
    "dynamic size": ({"size": ("h", "w")}, {}, {}),
    "NHWC": ({"layout": "NHWC"}, {"layout": "NHWC"}, {}),
    "stretched": ({}, {"resize": "stretch"}, {}),
    "normalised": ({}, {"mean": (0.0, 0.3, 0.2), "std": (1.0, 0.2, 0.3)}, {}),
    "logits enlarged": ({}, {}, {"upsample": "logits"}),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_each_contract_gives_the_mask_back(name, tmp_path):
    graph, into, out = CONTRACTS[name]
    path = red_finder(tmp_path / "m.onnx", **graph)
    card_for(path, input_spec=replace(PLAIN_INPUT, **into), output_spec=replace(PLAIN_OUTPUT, **out))
    found = LaneModel.load(path).predict(red_picture(MASK))
    if out.get("upsample") == "logits":  # edges are interpolated: a pixel may tip
        assert (found.mask != MASK).mean() < 0.02
    else:
        assert np.array_equal(found.mask, MASK)
    assert found.mask.dtype == np.bool_
    assert found.predicted_px == found.mask.sum()
    assert found.lane_share == found.mask.mean()
    assert 0.9 < found.mean_probability <= 1
    assert min(found.seconds.preprocess, found.seconds.inference, found.seconds.postprocess) > 0


HYBRIDNETS = {
    "multiclass": (3, {}),
    "multilabel": (3, {"decoding": "multilabel"}),
    "lane only": (1, {"decoding": "binary", "lane_class": 0}),
}


@pytest.mark.parametrize("name", HYBRIDNETS)
def test_an_export_of_hybridnets_loads_unchanged(name, tmp_path):
    channels, out = HYBRIDNETS[name]
    path = hybridnets(tmp_path / "h.onnx", channels=channels)
    card_for(path, input_spec=HYBRIDNETS_INPUT, output_spec=replace(HYBRIDNETS_OUTPUT, **out))
    mask = np.zeros((720, 1280), bool)
    mask[:, 160:240] = mask[:, 800:1000] = True  # borders between cells: enlarging by 4 moves no straight edge
    model = LaneModel.load(path)
    found = model.predict(red_picture(mask))
    assert np.array_equal(found.mask, mask)
    assert 0.7 < found.mean_probability <= 1
    assert not model.predict(red_picture(~np.ones((480, 641), bool))).mask.any()


def test_an_export_of_yolop_loads_unchanged_and_its_probabilities_are_no_logits(tmp_path):
    path = yolop(tmp_path / "y.onnx")
    card_for(path, input_spec=YOLOP_INPUT, output_spec=YOLOP_OUTPUT)
    mask = np.kron(np.random.default_rng(8).random((180, 320)) < 0.1, np.ones((4, 4))) > 0
    found = LaneModel.load(path).predict(red_picture(mask))
    assert np.array_equal(found.mask, mask)
    lane = 1 / (1 + math.exp(-10))  # its other class is at logit 0, so 0.5
    assert found.mean_probability == pytest.approx(lane / (lane + 0.5), abs=1e-5)


def test_probabilities_are_compared_with_the_threshold_as_they_are(tmp_path):
    path = yolop(tmp_path / "y.onnx")
    spec = replace(YOLOP_OUTPUT, decoding="multilabel")
    picture = np.full((640, 640, 3), 140, np.uint8)  # red 0.549: probability 0.727
    expected = 1 / (1 + math.exp(-20 * (140 / 255 - 0.5)))
    for threshold, share in ((0.72, 1.0), (0.74, 0.0)):
        card_for(path, input_spec=YOLOP_INPUT, output_spec=replace(spec, threshold=threshold))
        found = LaneModel.load(path).predict(picture)
        assert found.lane_share == share
        assert not share or found.mean_probability == pytest.approx(expected, abs=1e-5)


def test_logits_are_no_probabilities(tmp_path):
    path = red_finder(tmp_path / "m.onnx")
    card_for(path, output_spec=replace(PLAIN_OUTPUT, values="probabilities"))
    refused(lambda: LaneModel.load(path), "disagree on output.values", "so no probabilities")


def test_a_result_with_nan_is_an_error_and_not_background(tmp_path):
    path = red_finder(tmp_path / "m.onnx", gain=math.nan)
    card_for(path)
    model = LaneModel.load(path)
    refused(lambda: model.predict(red_picture(MASK)), "gave no usable result", "segmentation holds NaN")


def test_bgr_models_get_bgr(tmp_path):
    path = red_finder(tmp_path / "m.onnx")
    card_for(path, input_spec=replace(PLAIN_INPUT, channels="BGR"))
    blue = red_picture(MASK)[..., ::-1]
    assert np.array_equal(LaneModel.load(path).predict(np.ascontiguousarray(blue)).mask, MASK)


def test_the_threshold_is_a_probability_and_includes_its_value(tmp_path):
    path = red_finder(tmp_path / "m.onnx", gain=0.0)  # every logit is 0, every probability 0.5
    for threshold, share in ((0.5, 1.0), (0.51, 0.0)):
        card_for(path, output_spec=replace(PLAIN_OUTPUT, threshold=threshold))
        found = LaneModel.load(path).predict(red_picture(MASK))
        assert found.lane_share == share
        assert found.mean_probability == 0.5 if share else math.isnan(found.mean_probability)


def test_a_tie_of_classes_is_not_lane(tmp_path):
    path = red_finder(tmp_path / "m.onnx", channels=3, lane=2, gain=0.0)
    card_for(path, output_spec=replace(PLAIN_OUTPUT, decoding="multiclass", lane_class=2))
    assert LaneModel.load(path).predict(red_picture(MASK)).predicted_px == 0


def test_mean_probability_is_that_of_the_softmax(tmp_path):
    path = red_finder(tmp_path / "m.onnx", channels=3, lane=2, gain=4.0)
    card_for(path, output_spec=replace(PLAIN_OUTPUT, decoding="multiclass", lane_class=2))
    found = LaneModel.load(path).predict(red_picture(np.ones_like(MASK)))
    assert found.mean_probability == pytest.approx(math.exp(2) / (math.exp(2) + 2), abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (37, 53)])
def test_frames_of_any_shape(shape, tmp_path):
    found = LaneModel.load(red_model(tmp_path)).predict(red_picture(np.ones(shape, bool)))
    assert found.mask.shape == shape


# --- card and graph agree ------------------------------------------------------------------------------------------


def test_a_card_survives_writing(tmp_path):
    path = card_for(red_finder(tmp_path / "m.onnx"))
    numbers = {"all": {"frames": 3, "iou": math.inf}, "at night": {"a.b": 1.5, "when": date(2026, 11, 22), "x": [{}]}}
    card = replace(
        read_card(path),
        description='say "hi" \\ ü \x7f\x1b[31m\u202e',
        numbers=numbers,
        output=replace(PLAIN_OUTPUT, values="probabilities"),
    )
    write_card(card, path)
    assert read_card(path) == card
    assert "\x1b" not in path.read_text("utf-8")
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith(".")] == []


def card_text(tmp_path):
    path = card_for(red_finder(tmp_path / "m.onnx"))
    return path, path.read_text("utf-8")


@pytest.mark.parametrize(
    "key", ["name", "version", "file", "sha256", "licence", "data", "description", "width", "mean", "decoding", "pad"]
)
def test_a_card_that_lacks_a_field_names_it(key, tmp_path):
    path, text = card_text(tmp_path)
    lines = text.splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{key} = "))
    path.write_text("".join(lines[:first] + lines[first + 1 :]), "utf-8")
    refused(lambda: LaneModel.load(tmp_path / "m.onnx"), key, "it is missing", str(path))


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("width = 64", "width = 0", ["input.width", "between 1 and"]),
        ("width = 64", "width = true", ["input.width", "not a whole number"]),
        ("width = 64", 'width = "64"', ["input.width", "not a whole number"]),
        ("pad = 0", "pad = 256", ["input.pad"]),
        ('layout = "NCHW"', 'layout = "CHW"', ["input.layout", "'CHW' is none of NCHW, NHWC"]),
        ('resize = "letterbox"', 'resize = "crop"', ["input.resize", "letterbox, stretch"]),
        ("std = [1.0, 1.0, 1.0]", "std = [1.0, 0.0, 1.0]", ["input.std"]),
        ("std = [1.0, 1.0, 1.0]", "std = [1.0]", ["input.std", "a list of 3 numbers"]),
        ("std = [1.0, 1.0, 1.0]", "std = [nan, 1.0, 1.0]", ["input.std", "finite"]),
        ("std = [1.0, 1.0, 1.0]", "std = [58.4, 57.1, 57.4]", ["input.std", "divided by 255"]),
        ("std = [1.0, 1.0, 1.0]", "std = [1e-30, 1.0, 1.0]", ["input.std", "above 0"]),
        ("mean = [0.0, 0.0, 0.0]", "mean = [inf, 0.0, 0.0]", ["input.mean", "finite"]),
        ("mean = [0.0, 0.0, 0.0]", "mean = [123.7, 116.3, 103.5]", ["input.mean", "divided by 255"]),
        ("mean = [0.0, 0.0, 0.0]", "mean = [0x" + "f" * 9000 + ", 0, 0]", ["input.mean", "too large"]),
        ("width = 64", "width = " + "9" * 5000, ["cannot read the model card", "digits"]),
        ("width = 64", "width = 64 # " + "x" * 1024 * 1024, ["cannot read the model card", "bytes"]),
        ("width = 64", "width = " + "[" * 5000, ["cannot read the model card", "nested too deeply"]),
        ('layout = "NCHW"', "layout = [0x" + "f" * 9000 + "]", ["input.layout", "a very large number is none of"]),
        ("line_width_px = 5", "line_width_px = 0", ["output.line_width_px", "at least 1"]),
        ("line_width_px = 5", "line_width_px = 5000", ["output.line_width_px", "longer side"]),
        ("line_width_at = [1280, 720]", "line_width_at = [1280, 0]", ["output.line_width_at"]),
        ("line_width_at = [1280, 720]", "line_width_at = [1280.5, 720]", ["output.line_width_at", "whole number"]),
        ('licence = "Apache-2.0"', 'licence = " "', ["licence", "must not be empty"]),
        ('data = "none"', 'data = ""', ["data", "must not be empty"]),
        ('version = "1"', 'version = "1\\n2"', ["version", "one line"]),
        ('upsample = "mask"', 'upsample = "mask"\nvalues = "odds"', ["output.values", "logits, probabilities"]),
        ("threshold = 0.5", "threshold = 1.0", ["output.threshold"]),
        ("threshold = 0.5", "threshold = nan", ["output.threshold"]),
        ("lane_class = 0", "lane_class = 1", ["output.lane_class"]),
        ('sha256 = "', 'sha256 = "x', ["sha256", "64 hex digits", "sha256sum"]),
        ('file = "m.onnx"', 'file = "../m.onnx"', ["file", "beside the card"]),
        ("[input]", "[input]\ncolour = 1", ["input.colour", "no such key"]),
        ("[input]", "[input", ["cannot read the model card"]),
        ("[input]", "[[input]]", ["input", "it must be a table"]),
        ('version = "1"', "version = 1", ["version", "not text"]),
        ('version = "1"', 'version = ""', ["version", "must not be empty"]),
    ],
)
def test_a_wrong_card_names_the_key(old, new, parts, tmp_path):
    path, text = card_text(tmp_path)
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    refused(lambda: LaneModel.load(path), str(path), *parts)


def test_a_card_that_is_not_text_or_not_there(tmp_path):
    path, _ = card_text(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    refused(lambda: LaneModel.load(path), "cannot read the model card")
    path.unlink()
    refused(lambda: LaneModel.load(path), "cannot read the model card", "No such file")
    refused(lambda: LaneModel.load(tmp_path / "m.onnx"), "has no card", "m.toml")
    path.mkdir()
    refused(lambda: LaneModel.load(tmp_path / "m.onnx"), "cannot read the model card")


def test_a_model_that_is_not_there_or_a_folder(tmp_path):
    refused(lambda: LaneModel.load(tmp_path / "none.onnx"), "cannot read the model", "No such file")
    refused(lambda: LaneModel.load(tmp_path), "cannot read the model", "directory")


@pytest.mark.parametrize("content", [b"", b"IoU : 0.83\n" * 100, b"\x08\x08\x12\x00" * 40])
def test_a_file_that_is_not_onnx(content, tmp_path, capfd):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    card_for(path)
    refused(lambda: LaneModel.load(path), f"cannot load the model {path}")
    assert capfd.readouterr().err == ""


def test_a_model_whose_fault_has_no_text_prints_nothing(tmp_path, capfd):
    path = red_finder(tmp_path / "m.onnx")
    # onnxruntime's message quotes the name, cannot be decoded, and its Python part would print and try again
    path.write_bytes(path.read_bytes().replace(b"bias", b"b\xd0as", 1))
    card_for(path)
    refused(lambda: LaneModel.load(path), "cannot load the model")
    assert capfd.readouterr() == ("", "")


def test_a_truncated_model(tmp_path):
    path = red_finder(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    card_for(path)
    refused(lambda: LaneModel.load(path), "cannot load the model")


def test_a_model_that_changed_since_its_card_was_written(tmp_path):
    path = red_model(tmp_path)
    red_finder(path, gain=3.0)
    refused(lambda: LaneModel.load(path), "does not describe", "sha256")


@pytest.mark.parametrize(
    ("graph", "into", "out", "parts"),
    [
        ({}, {"name": "images"}, {}, ["input.name", "the graph's inputs are input, the card says images"]),
        ({}, {}, {"name": "lanes"}, ["output.name", "outputs are segmentation, the card says lanes"]),
        ({}, {"width": 65}, {}, ["the graph takes 1x3x36x64, the card says 1x3x36x65"]),
        ({}, {"layout": "NHWC"}, {}, ["input.layout"]),
        ({"layout": "NHWC"}, {}, {}, ["input.layout"]),
        ({"kind": TensorProto.FLOAT16}, {}, {}, ["tensor(float16)"]),
        ({"channels": 3, "lane": 2}, {}, {}, ["output.decoding", "1x3x36x64", "binary"]),
        ({}, {}, {"decoding": "multiclass", "lane_class": 2}, ["output.decoding", "multiclass"]),
        (
            {"channels": 2, "lane": 1},
            {},
            {"decoding": "multiclass", "lane_class": 2},
            ["output.lane_class", "has 2 channels"],
        ),
        ({"extra_outputs": True}, {}, {"name": "det_out"}, ["output.decoding", "det_out has the shape"]),
    ],
)
def test_card_and_graph_that_disagree(graph, into, out, parts, tmp_path):
    path = red_finder(tmp_path / "m.onnx", **graph)
    card_for(path, input_spec=replace(PLAIN_INPUT, **into), output_spec=replace(PLAIN_OUTPUT, **out))
    error = refused(lambda: LaneModel.load(path), "disagree", *parts)
    assert isinstance(error, InputError)


def test_several_threads_give_the_same_mask(tmp_path):
    from elkkit_scoring import scenes

    picture = scenes.generate(3).image
    path = red_model(tmp_path)
    masks = [LaneModel.load(path, threads=threads).predict(picture).mask for threads in (1, 2)]
    assert np.array_equal(*masks)
