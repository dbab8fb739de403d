"""`elkkit model cut`: the branch that finds lanes, its masks equal to the bit; nothing is written where not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.errors import UsageError
from elkkit_scoring import cut as cutting
from elkkit_scoring.card import read_card
from elkkit_scoring.cut import branch, cut_model
from elkkit_scoring.graph import read_graph
from elkkit_scoring.model import LaneModel, file_digest
from scoring_graphs import (
    HYBRIDNETS_INPUT,
    HYBRIDNETS_OUTPUT,
    PLAIN_OUTPUT,
    YOLOP_INPUT,
    YOLOP_OUTPUT,
    card_for,
    hybridnets,
    red_finder,
    red_picture,
    yolop,
)


def refused(call, *parts):
    with pytest.raises(UsageError) as caught:
        call()
    error = caught.value
    text = f"{error.message} | {error.why} | {error.hint}"
    assert error.message
    assert error.why
    assert error.hint
    for part in parts:
        assert part in text, text


def files(folder):
    return sorted(path.name for path in folder.iterdir())


EXPORTS = {
    "HybridNets": (hybridnets, HYBRIDNETS_INPUT, HYBRIDNETS_OUTPUT, {"regression", "classification"}),
    "HybridNets, lane only": (
        lambda path: hybridnets(path, channels=1),
        HYBRIDNETS_INPUT,
        replace(HYBRIDNETS_OUTPUT, decoding="binary", lane_class=0),
        {"regression", "classification"},
    ),
    "YOLOP": (yolop, YOLOP_INPUT, YOLOP_OUTPUT, {"det_out", "drive_area_seg"}),
}


@pytest.mark.parametrize("with_card", [True, False])
@pytest.mark.parametrize("name", EXPORTS)
def test_the_branch_finds_the_same_lanes_in_a_smaller_file(name, with_card, tmp_path):
    make, into, out, removed = EXPORTS[name]
    path = make(tmp_path / "whole.onnx")
    card = card_for(path, input_spec=into, output_spec=out, numbers={"all": {"iou_mean": 0.5}})
    if not with_card:
        card.rename(tmp_path / "kept")
    small = tmp_path / "lanes.onnx"
    done = cut_model(path, small, runs=2)
    assert set(done.removed) == removed
    assert done.difference == 0
    assert 0 < done.lane_px < done.pixels == 3 * into.width * into.height
    assert done.size == (path.stat().st_size, small.stat().st_size)
    assert done.size[1] < done.size[0] / 10
    assert min(done.seconds) > 0
    graph = read_graph(small).graph
    assert [value.name for value in graph.output] == [out.name]
    assert (len(onnx.load(path).graph.node), len(graph.node)) == done.nodes
    assert not [tensor.name for tensor in graph.initializer if "det" in tensor.name or "regression" in tensor.name]
    expected = ["lanes.onnx", "lanes.toml", "whole.onnx", "whole.toml"] if with_card else [
        "kept", "lanes.onnx", "whole.onnx"]  # fmt: skip
    assert files(tmp_path) == expected
    if not with_card:
        assert done.card is None
        (tmp_path / "kept").rename(card)
        card_for(small, input_spec=into, output_spec=out)
    else:
        old, new = read_card(card), read_card(tmp_path / "lanes.toml")
        assert new == replace(old, file="lanes.onnx", sha256=file_digest(small))
    mask = np.random.default_rng(3).random((90, 160)) < 0.2
    picture = red_picture(np.kron(mask, np.ones((8, 8))) > 0)
    masks = [LaneModel.load(one).predict(picture).mask for one in (path, small)]
    assert masks[0].any()
    assert np.array_equal(*masks)


def test_another_output_may_be_kept(tmp_path):
    path = yolop(tmp_path / "y.onnx")
    card_for(path, input_spec=YOLOP_INPUT, output_spec=YOLOP_OUTPUT)
    done = cut_model(path, tmp_path / "road.onnx", output="drive_area_seg", runs=1)
    assert (done.output, done.card) == ("drive_area_seg", None)  # the card describes the lanes
    assert done.removed == ("det_out", "lane_line_seg")


def test_external_weights_come_into_the_smaller_file(tmp_path):
    path = yolop(tmp_path / "y.onnx")
    plain = cut_model(path, tmp_path / "plain.onnx", runs=1)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if ".w" in tensor.name:  # shapes and scales must lie in the graph
            set_external_data(tensor, "y.data")
    onnx.save(model, path)
    assert (tmp_path / "y.data").stat().st_size > path.stat().st_size
    done = cut_model(path, tmp_path / "lanes.onnx", runs=1)
    assert done.size[0] == path.stat().st_size + (tmp_path / "y.data").stat().st_size
    assert done.size[1] == pytest.approx(plain.size[1], abs=200)
    (tmp_path / "y.data").unlink()
    card_for(tmp_path / "lanes.onnx", input_spec=YOLOP_INPUT, output_spec=YOLOP_OUTPUT)
    assert LaneModel.load(tmp_path / "lanes.onnx").predict(red_picture(np.ones((64, 64), bool))).lane_share == 1


def constant(name, value):
    return numpy_helper.from_array(np.array(value, np.float32), name)


def rich_graph():
    """A graph whose lanes need an outer value inside a branch, a function that calls another, and sparse weights."""
    maps = [1, 1, 8, 8]

    def body(node):
        value = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
        return helper.make_graph([node], "b", [], [value])

    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function("own", "twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], opsets),
        helper.make_function("own", "four", ["x"], ["y"], [
            helper.make_node("twice", ["x"], ["h"], domain="own"),
            helper.make_node("twice", ["h"], ["y"], domain="own"),
        ], opsets),
        helper.make_function("own", "unused", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], opsets),
    ]  # fmt: skip
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("sparse", TensorProto.FLOAT, [2], [0.5, -0.25]),
        helper.make_tensor("places", TensorProto.INT64, [2], [3, 10]), [1, 1, 8, 8],
    )  # fmt: skip
    other = helper.make_sparse_tensor(
        helper.make_tensor("other", TensorProto.FLOAT, [1], [0.5]),
        helper.make_tensor("there", TensorProto.INT64, [1], [3]), [1, 1, 8, 8],
    )  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["grey", "three"], ["outer"]),
        helper.make_node(
            "If", ["yes"], ["chosen"],
            then_branch=body(helper.make_node("Add", ["outer", "shift"], ["t"])),
            else_branch=body(helper.make_node("Sub", ["grey", "shift"], ["t"])),
        ),
        helper.make_node("four", ["chosen"], ["more"], domain="own"),
        helper.make_node("Add", ["more", "sparse"], ["lanes"]),
        helper.make_node("unused", ["outer"], ["o"], domain="own"),
        helper.make_node("Add", ["o", "other"], ["p"]),
        helper.make_node("ReduceMean", ["p"], ["score"], keepdims=0),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "rich", [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, []),
         helper.make_tensor_value_info("lanes", TensorProto.FLOAT, maps)],
        [constant("three", 3), constant("shift", 0.125), constant("idle", 1),
         helper.make_tensor("yes", TensorProto.BOOL, [], [True])],
        sparse_initializer=[sparse, other],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)
    model.metadata_props.add(key="license", value="MIT")
    return model


def test_branches_functions_and_sparse_weights_keep_what_they_need(tmp_path):
    path = tmp_path / "rich.onnx"
    path.write_bytes(rich_graph().SerializeToString())
    small = branch(read_graph(path), "lanes")
    assert [node.op_type for node in small.graph.node] == ["ReduceMean", "Mul", "If", "four", "Add"]
    assert {tensor.name for tensor in small.graph.initializer} == {"three", "shift", "yes"}
    assert [tensor.values.name for tensor in small.graph.sparse_initializer] == ["sparse"]
    assert [function.name for function in small.functions] == ["twice", "four"]
    assert small.metadata_props[0].value == "MIT"
    done = cut_model(path, tmp_path / "small.onnx", runs=1)
    assert done.removed == ("score",)
    assert 0 < done.lane_px < done.pixels


def test_a_branch_that_finds_other_lanes_is_not_written(tmp_path, monkeypatch):
    path = hybridnets(tmp_path / "h.onnx")

    def shifted(model, output):
        small = branch(model, output)
        (at,) = [i for i, tensor in enumerate(small.graph.initializer) if tensor.name == "head.b"]
        array = numpy_helper.to_array(small.graph.initializer[at]).copy()
        array[2] += np.float32(1e-3)
        small.graph.initializer[at].CopyFrom(numpy_helper.from_array(array, "head.b"))
        return small

    monkeypatch.setattr(cutting, "branch", shifted)
    refused(lambda: cut_model(path, tmp_path / "lanes.onnx", runs=1), "gives other masks", "pixels differ")
    assert files(tmp_path) == ["h.onnx"]


def test_nothing_is_left_of_a_cut_that_was_interrupted(tmp_path, monkeypatch):
    path = hybridnets(tmp_path / "h.onnx")

    def interrupt(_done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_model(path, tmp_path / "lanes.onnx", runs=3, progress=interrupt)
    assert files(tmp_path) == ["h.onnx"]


def test_a_model_of_one_branch_is_left_as_it_is(tmp_path):
    path = red_finder(tmp_path / "m.onnx")
    refused(lambda: cut_model(path, tmp_path / "x.onnx"), "nothing to cut", "its only output", "use it as it is")
    assert files(tmp_path) == ["m.onnx"]


def test_what_is_there_is_not_overwritten_unasked(tmp_path):
    path = hybridnets(tmp_path / "h.onnx")
    out = tmp_path / "lanes.onnx"
    out.write_bytes(b"mine")
    (tmp_path / "link.onnx").symlink_to(path)
    refused(lambda: cut_model(path, out), "lanes.onnx is there already", "--force")
    refused(lambda: cut_model(path, path, force=True), "is the model itself")
    refused(lambda: cut_model(path, tmp_path / "link.onnx", force=True), "is the model itself")
    refused(lambda: cut_model(path, tmp_path / "lanes.toml"), ".toml is the card's")
    refused(lambda: cut_model(path, tmp_path / "h.bin", force=True), "would have the card of")
    refused(lambda: cut_model(path, tmp_path / "none" / "x.onnx"), "cannot write the model", "No such file")
    assert out.read_bytes() == b"mine"
    (tmp_path / "other.toml").write_text("x")
    refused(lambda: cut_model(path, tmp_path / "other.onnx"), "other.toml is there already")
    cut_model(path, out, runs=1, force=True)
    assert out.read_bytes() != b"mine"


def test_what_cannot_be_told_is_asked_for(tmp_path):
    open_size = red_finder(tmp_path / "a.onnx", size=("h", "w"), extra_outputs=True)
    refused(lambda: cut_model(open_size, tmp_path / "x.onnx"), "input.width", "describe the model")
    path = hybridnets(tmp_path / "h.onnx")
    refused(lambda: cut_model(path, tmp_path / "x.onnx", output="none"), "has no output none", "segmentation")
    refused(lambda: cut_model(path, tmp_path / "x.onnx", output="regression"), "output.decoding")
    card_for(open_size)  # says the size
    assert cut_model(open_size, tmp_path / "x.onnx", runs=1).removed == ("det_out",)


def test_a_card_of_another_file_is_not_used(tmp_path):
    path = red_finder(tmp_path / "m.onnx", extra_outputs=True)
    card_for(path)
    red_finder(path, extra_outputs=True, gain=3.0)
    refused(lambda: cut_model(path, tmp_path / "x.onnx"), "does not describe", "sha256")


def test_a_card_that_does_not_fit_the_graph(tmp_path):
    path = red_finder(tmp_path / "m.onnx", extra_outputs=True)
    card_for(path, output_spec=replace(PLAIN_OUTPUT, name="det_out"))
    refused(lambda: cut_model(path, tmp_path / "x.onnx"), "det_out has the shape 1x1x1x1")
    card_for(path, output_spec=replace(PLAIN_OUTPUT, decoding="multilabel", lane_class=2))
    refused(lambda: cut_model(path, tmp_path / "x.onnx"), "has 1 channels")
    assert files(tmp_path) == ["m.onnx", "m.toml"]


def test_the_command_says_what_was_saved(tmp_path):
    path = hybridnets(tmp_path / "h.onnx")
    card_for(path, input_spec=HYBRIDNETS_INPUT, output_spec=HYBRIDNETS_OUTPUT)
    arguments = ["model", "cut", str(path), "--out", str(tmp_path / "lanes.onnx"), "--runs", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert f"{path.stat().st_size:,} -> {(tmp_path / 'lanes.onnx').stat().st_size:,} bytes (-" in words
    assert "removed regression, classification; 63 of 66 nodes" in words
    assert "equal to the bit on 3 random inputs" in words
    assert "of 2 each" in words
    assert done.stderr == ""
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert [line.partition(":")[0] for line in again.stderr.splitlines()] == ["error", "why", "hint"]
    data = json.loads(CliRunner().invoke(app, [*arguments, "--force", "--json"]).stdout)["data"]
    assert data["removed"] == ["regression", "classification"]
    assert (data["nodes_before"], data["nodes_after"]) == (66, 3)
    assert data["size_after"] < data["size_before"]
    assert data["card"] == str(tmp_path / "lanes.toml")
    assert data["difference"] == 0
