"""Reading hostile ONNX files, and `elkkit model inspect`: what the graph says, with reasons; the rest is asked for."""

from __future__ import annotations

import json
import os
import sys
import tomllib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.errors import InputError, UsageError
from elkkit_scoring.card import read_card
from elkkit_scoring.graph import read_graph
from elkkit_scoring.model import LaneModel
from elkkit_scoring.propose import KEYS, propose
from scoring_graphs import (
    HYBRIDNETS_INPUT,
    HYBRIDNETS_OUTPUT,
    YOLOP_INPUT,
    card_for,
    hybridnets,
    red_finder,
    red_picture,
    yolop,
)

ANSWERS = {"licence": "MIT", "data": "BDD100K", "output.line_width_px": "8", "output.line_width_at": "[1280, 720]"}
UNKNOWN = {
    "input.channels": "RGB", "input.resize": "stretch", "input.pad": "0", "input.mean": "[0, 0, 0]",
    "input.std": "[1, 1, 1]",
}  # fmt: skip


def inspect(*arguments, **options):
    return CliRunner().invoke(app, ["model", "inspect", *(str(part) for part in arguments)], **options)


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


def changed(path, change):
    """A red finder whose graph was changed by hand; nothing is checked."""
    red_finder(path)
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


# --- hostile files ---------------------------------------------------------------------------------------------------

NOT_ONNX = {
    "empty": (b"", "it is empty"),
    "text": (b"IoU : 0.83\n" * 100, "it is not ONNX"),
    "an empty message": (b"\x08\x08", "it holds no graph"),
    "random": (np.random.default_rng(1).bytes(4096), "it is not ONNX"),
    "deeply nested": (b"\x3a\xff\xff\xff\xff\x07" * 500, "it is not ONNX"),
}


@pytest.mark.parametrize("name", NOT_ONNX)
def test_what_is_not_onnx_is_refused(name, tmp_path):
    data, why = NOT_ONNX[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    refused(lambda: read_graph(path), f"cannot read the model {path}", why)


def test_what_is_no_file_is_refused(tmp_path, monkeypatch):
    refused(lambda: read_graph(tmp_path / "none.onnx"), "No such file")
    refused(lambda: read_graph(tmp_path), "Is a directory")
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: read_graph(tmp_path / "pipe"), "no plain file")  # and does not wait for a writer
    path = red_finder(tmp_path / "m.onnx")
    monkeypatch.setattr("elkkit_scoring.graph.MAX_BYTES", 100)
    refused(lambda: read_graph(path), "at most 100")


def external(folder, place, **more):
    """A model in a folder of its own whose weights are said to be in another file; beside the folder lies a secret."""
    folder.mkdir(exist_ok=True)
    (folder.parent / "secret").write_bytes(bytes(1000))
    (folder / "w.bin").write_bytes(np.array([20, 0, 0], np.float32).tobytes())
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "inner").symlink_to(folder / "w.bin")
    (folder / "round").symlink_to(folder / "round")

    def change(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": place, **more}.items():
            tensor.external_data.add(key=key, value=value)

    return changed(folder / "m.onnx", change)


OUTSIDE = {
    "a folder above": ("../secret", {}, "outside the model's folder"),
    "a folder above, by a detour": ("x/../../secret", {}, "No such file"),
    "above and back": ("../models/w.bin", {}, "outside the model's folder"),
    "absolute": ("/etc/passwd", {}, "outside the model's folder"),
    "a device": ("/dev/zero", {}, "outside the model's folder"),
    "a link to outside": ("link", {}, "outside the model's folder"),
    "a link inside": ("inner", {}, "a link or no plain file"),
    "links in a circle": ("round", {}, "round"),
    "the folder": (".", {}, "no plain file"),
    "nothing": ("", {}, "in no file"),
    "not there": ("none.bin", {}, "No such file"),
    "a NUL": ("w\0.bin", {}, "are said to be in"),
    "more than there is": ("w.bin", {"length": "13"}, "in bytes that this file does not have"),
    "after the end": ("w.bin", {"offset": "8", "length": "12"}, "does not have"),
    "before the start": ("w.bin", {"offset": "-4"}, "does not have"),
    "no number": ("w.bin", {"offset": "1e3"}, "does not have"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_external_data_outside_the_folder_are_not_touched(name, tmp_path):
    place, more, why = OUTSIDE[name]
    path = external(tmp_path / "models", place, **more)
    refused(lambda: read_graph(path), f"cannot read the model {path}", "weights", why)


def test_external_data_in_the_folder_are_fine(tmp_path, monkeypatch):
    path = external(tmp_path / "models", "w.bin", offset="0", length="12")
    assert propose(path).guesses["output.name"].value == "segmentation"
    monkeypatch.chdir(path.parent)
    assert read_graph(path.relative_to(path.parent)).graph.name == "red"


@pytest.mark.parametrize("name", ["a folder above", "absolute", "a device", "a link to outside", "the folder"])
def test_scoring_does_not_read_weights_outside_the_folder_either(name, tmp_path, capfd):
    path = external(tmp_path / "models", OUTSIDE[name][0])
    card_for(path)
    refused(lambda: LaneModel.load(path), f"cannot load the model {path}")
    assert capfd.readouterr() == ("", "")


def cycle(model):
    model.graph.node[0].input[0] = "a"
    model.graph.node.append(helper.make_node("Add", ["input", "b"], ["a"]))
    model.graph.node.append(helper.make_node("Relu", ["a"], ["b"]))


def itself(model):
    model.graph.node[0].input[0] = "segmentation"


def cycle_through_a_branch(model):
    def body():
        node = helper.make_node("Identity", ["late"], ["inner"])
        return helper.make_graph([node], "b", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)])

    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    model.graph.node.append(helper.make_node("If", ["yes"], ["x"], then_branch=body(), else_branch=body()))
    model.graph.node.append(helper.make_node("Relu", ["x"], ["late"]))


def functions_that_call_each_other(model):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for name, other in (("f", "g"), ("g", "f")):
        node = helper.make_node(other, ["x"], ["y"], domain="own")
        model.functions.append(helper.make_function("own", name, ["x"], ["y"], [node], opsets))
    model.opset_import.append(opsets[1])
    model.graph.node.append(helper.make_node("f", ["segmentation"], ["more"], domain="own"))


def enormous(model):
    model.graph.initializer[0].dims[0] = 1 << 50


def overflowing(model):
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([1 << 32, 1 << 32])  # 0 in 64 bits


def negative(model):
    model.graph.initializer[0].dims[:2] = [-1, -3]


def enormous_in_a_branch(model):
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    tensor.dims[0] = 1 << 40
    inner = helper.make_node("Constant", [], ["c"], value=tensor)
    body = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)])
    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    model.graph.node.append(helper.make_node("If", ["yes"], ["x"], then_branch=body, else_branch=body))


def computed_enormous(model):
    model.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [2], [1 << 20, 1 << 20]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["bomb"]))


def input_enormous(model):
    for side in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[side].dim_value = 1 << 20
        model.graph.output[0].type.tensor_type.shape.dim[side].dim_value = 1 << 20


def cut_weights(model):
    model.graph.initializer[0].ClearField("float_data")


def made_twice(model):
    model.graph.node.append(helper.make_node("Relu", ["input"], ["segmentation"]))


GRAPHS = {
    cycle: "a cycle: a, b would need",
    itself: "a cycle: segmentation would need",
    cycle_through_a_branch: "a cycle: x, late would need",
    functions_that_call_each_other: "its function f calls itself",
    enormous: "1125899906842624x3x1x1 elements",
    overflowing: "4294967296x4294967296 elements",
    negative: "-1x-3x1x1 elements",
    enormous_in_a_branch: "1099511627776 elements",
    computed_enormous: "bomb would have 1048576x1048576 elements",
    input_enormous: "input would have 1x3x1048576x1048576 elements",
    cut_weights: "weights",
    made_twice: "segmentation",
}


@pytest.mark.parametrize("change", GRAPHS)
def test_hostile_graphs_are_refused(change, tmp_path):
    path = changed(tmp_path / "m.onnx", change)
    refused(lambda: propose(path), f"cannot read the model {path}", GRAPHS[change])


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_never_crash(seed, tmp_path):
    dice = np.random.default_rng(seed)
    data = bytearray(red_finder(tmp_path / "m.onnx", layout="NHWC", extra_outputs=True).read_bytes())
    path = tmp_path / "x.onnx"
    for _ in range(10):
        broken = data.copy()
        for _ in range(dice.integers(1, 8)):
            broken[dice.integers(0, len(data))] = dice.integers(0, 256)
        path.write_bytes(broken)
        try:
            tomllib.loads(propose(path).toml())
        except InputError:
            continue


def test_names_from_a_file_steer_no_terminal_and_end_no_comment(tmp_path):
    nasty = 'x\n[output]\nname = "y"\x1b[31m\u202e\x9b\x7f"'
    path = red_finder(tmp_path / "m.onnx", output_name=nasty, input_name=f"{nasty}in")
    for options in ([], ["--json"], ["--output", "none"]):
        done = inspect(path, *options)
        shown = done.output
        assert done.exit_code == (2 if "none" in options else 0)
        assert not set("\x1b\u202e\x9b\x7f") & set(shown)
    found = tomllib.loads(propose(path).toml())
    assert found["output"]["name"] == nasty
    assert found["input"]["name"] == f"{nasty}in"
    assert found["output"]["decoding"] == "binary"


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    path = red_finder(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused(lambda: propose(path), "pip install 'elkkit[models]'")


# --- proposals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_card_for_an_export_of_hybridnets(channels, tmp_path):
    path = hybridnets(tmp_path / "h.onnx", channels=channels)
    found = propose(path)
    assert found.known_as == "HybridNets"
    assert set(found.questions) == set(ANSWERS)
    assert not found.faults
    (tmp_path / "h.toml").write_text(propose(path, answers=ANSWERS).toml(), "utf-8")
    card = read_card(tmp_path / "h.toml")
    assert card.input == HYBRIDNETS_INPUT
    expected = {"decoding": "multiclass", "lane_class": 2} if channels == 3 else {"decoding": "binary", "lane_class": 0}
    assert {key: getattr(card.output, key) for key in expected} == expected
    assert (card.output.upsample, card.output.values) == (HYBRIDNETS_OUTPUT.upsample, "logits")
    mask = np.zeros((720, 1280), bool)
    mask[:, 160:240] = True
    assert np.array_equal(LaneModel.load(path).predict(red_picture(mask)).mask, mask)


def test_a_card_for_an_export_of_yolop(tmp_path):
    path = yolop(tmp_path / "y.onnx")
    found = propose(path, answers=ANSWERS)
    assert found.known_as == "YOLOP"
    assert not found.questions
    card = found.card()
    assert card.input == YOLOP_INPUT
    output = (card.output.name, card.output.decoding, card.output.lane_class, card.output.values)
    assert output == ("lane_line_seg", "multiclass", 1, "probabilities")
    (tmp_path / "y.toml").write_text(found.toml(), "utf-8")
    mask = np.zeros((720, 1280), bool)
    mask[:, 160:240] = True
    assert (LaneModel.load(path).predict(red_picture(mask)).mask == mask).mean() > 0.99  # logits are enlarged


def test_of_an_unknown_model_everything_that_no_graph_holds_is_asked(tmp_path):
    path = red_finder(tmp_path / "mine.onnx")
    found = propose(path)
    assert found.known_as is None
    assert set(found.questions) == {*ANSWERS, *UNKNOWN}
    assert list(found.guesses) == list(KEYS)
    text = found.toml()
    for key in found.questions:
        assert f"# ASK {key}: " in text
    raw = tomllib.loads(text)
    assert raw["input"] == {"name": "input", "width": 64, "height": 36, "layout": "NCHW"}
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    refused(lambda: LaneModel.load(path), "it is missing")
    card = propose(path, answers={**ANSWERS, **UNKNOWN}).card()
    assert (card.input.resize, card.input.std) == ("stretch", (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("graph", "expected", "asked"),
    [
        ({"channels": 2, "lane": 1}, {"output.decoding": "multiclass", "output.lane_class": 1}, ()),
        ({"channels": 3, "lane": 2}, {"output.decoding": "multiclass", "output.lane_class": 2}, ()),
        ({"channels": 5, "lane": 2}, {}, ("output.decoding", "output.lane_class")),
        ({"layout": "NHWC"}, {"input.layout": "NHWC", "input.height": 36, "input.width": 64}, ()),
        ({"size": ("h", "w")}, {"output.name": "segmentation"}, ("input.width", "input.height")),
        ({"extra_outputs": True}, {"output.name": "segmentation"}, ()),
    ],
)
def test_what_the_shapes_say(graph, expected, asked, tmp_path):
    found = propose(red_finder(tmp_path / "m.onnx", **graph))
    assert {key: found.guesses[key].value for key in expected} == expected
    assert set(asked) <= set(found.questions)
    assert not found.faults


def two_maps(path, *names, last="Relu", channels=1):
    def change(model):
        model.graph.node[0].output[0] = "inner"
        del model.graph.output[:]
        for name in names:
            model.graph.node.append(helper.make_node(last, ["inner"], [name]))
            shape = [1, channels, 36, 64]
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    red_finder(path, channels=channels)
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_of_several_maps_the_lanes_are_known_by_name_or_asked_for(tmp_path):
    path = two_maps(tmp_path / "a.onnx", "road", "LaneLogits")
    assert propose(path).guesses["output.name"].value == "LaneLogits"
    assert propose(path, output="road").guesses["output.name"].value == "road"
    assert propose(path, answers={"output.name": "road"}).guesses["output.name"].value == "road"
    refused(lambda: propose(path, output="sky"), "has no output sky", "road, LaneLogits")
    asked = propose(two_maps(tmp_path / "b.onnx", "p", "q")).questions
    assert asked["output.name"] == "which output holds the lanes: p, q"


def test_a_sigmoid_at_the_end_is_seen(tmp_path):
    one = propose(two_maps(tmp_path / "a.onnx", "seg", last="Sigmoid"))
    assert one.guesses["output.values"].value == "probabilities"
    three = propose(two_maps(tmp_path / "b.onnx", "seg", last="Sigmoid", channels=3))
    assert three.guesses["output.values"].value == "probabilities"
    assert "multilabel" in three.questions["output.decoding"]


def test_what_score_would_refuse_is_told(tmp_path):
    path = red_finder(tmp_path / "m.onnx", kind=TensorProto.FLOAT16)
    done = inspect(path)
    assert done.exit_code == 1
    assert "elkkit score would refuse this graph: the input takes float16" in done.stderr
    assert "# FAULT: the input takes float16" in done.stdout
    (fault,) = propose(hybridnets(tmp_path / "h.onnx"), output="regression").faults
    assert fault == "regression is float32 1x46035x4, not 1xCx384x640 floats"


def test_notes_in_the_file_answer_what_no_graph_holds(tmp_path):
    def note(model):
        for key, value in {"license": "AGPL-3.0", "dataset": "ours", "version": "8.1"}.items():
            model.metadata_props.add(key=key, value=value)
        model.doc_string = "Lanes\nat night."

    found = propose(changed(tmp_path / "m.onnx", note))
    keys = ("licence", "data", "version", "description")
    assert [found.guesses[key].value for key in keys] == ["AGPL-3.0", "ours", "8.1", "Lanes at night."]
    assert "license" in found.guesses["licence"].why


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_card_and_counts_what_is_left(tmp_path):
    path = hybridnets(tmp_path / "h.onnx")
    done = inspect(path)
    assert done.exit_code == 0
    assert tomllib.loads(done.stdout)["output"]["name"] == "segmentation"
    assert done.stderr.startswith("4 keys are left to answer")
    answers = [part for key, value in ANSWERS.items() for part in ("--set", f"{key}={value}")]
    whole = inspect(path, *answers)
    assert (whole.exit_code, whole.stderr) == (0, "")
    (tmp_path / "h.toml").write_text(whole.stdout, "utf-8")
    assert LaneModel.load(path).card.licence == "MIT"


def test_the_command_as_json(tmp_path):
    done = inspect(yolop(tmp_path / "y.onnx"), "--json")
    data = json.loads(done.stdout)["data"]
    assert data["known_as"] == "YOLOP"
    assert data["outputs"][2] == {"name": "lane_line_seg", "type": "float32", "shape": [1, 2, 640, 640]}
    assert data["card"]["input.mean"] == [0.485, 0.456, 0.406]
    assert set(data["questions"]) == set(ANSWERS)
    assert set(data["reasons"]) == set(data["card"])


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ("licence", "must be KEY=VALUE"),
        ("colour=red", "a card has no key colour"),
        ("input.pad=grey", "'grey' is not a whole number"),
        ("input.resize=crop", "none of letterbox, stretch"),
        ("input.mean=[1]", "a list of 3 numbers"),
        ("output.name=none", "has no output none"),
    ],
)
def test_a_wrong_answer_is_three_lines(answer, part, tmp_path):
    done = inspect(red_finder(tmp_path / "m.onnx"), "--set", answer)
    assert done.exit_code == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "why", "hint"]
    assert part in done.stderr


def test_an_answer_that_makes_the_card_wrong_is_found(tmp_path):
    answers = {**ANSWERS, **UNKNOWN, "input.std": "[0, 1, 1]"}
    done = inspect(red_finder(tmp_path / "m.onnx"), *(p for k, v in answers.items() for p in ("--set", f"{k}={v}")))
    assert done.exit_code == 2
    assert "input.std" in done.stderr
