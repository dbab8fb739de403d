"""Small ONNX graphs with the contracts of real exports, and cards for them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from elkkit_scoring.card import Card, InputSpec, OutputSpec, write_card

WIDTH, HEIGHT = 64, 36
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN_INPUT = InputSpec("input", WIDTH, HEIGHT, "NCHW", "RGB", "letterbox", 0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
PLAIN_OUTPUT = OutputSpec("segmentation", "binary", 0, 0.5, "mask", 5, (1280, 720))


def red_finder(
    path: Path,
    *,
    channels: int = 1,
    lane: int = 0,
    input_name: str = "input",
    output_name: str = "segmentation",
    layout: str = "NCHW",
    size: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    extra_outputs: bool = False,
    kind: int = TensorProto.FLOAT,
    gain: float = 20.0,
) -> Path:
    """A graph whose lane logit is ``gain * (red - 0.5)`` for inputs of 0..1; the other channels' logits are 0."""
    weights = np.zeros((channels, 3, 1, 1), np.float32)
    weights[lane, 0] = gain
    bias = np.zeros(channels, np.float32)
    bias[lane] = -gain / 2
    shape = [1, 3, *size] if layout == "NCHW" else [1, *size, 3]
    nodes, source = [], input_name
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [source], ["first"], perm=[0, 3, 1, 2]))
        source = "first"
    if kind != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [source], ["cast"], to=TensorProto.FLOAT))
        source = "cast"
    nodes.append(helper.make_node("Conv", [source, "weights", "bias"], [output_name]))
    outputs = [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [1, channels, *size])]
    if extra_outputs:  # as YOLOP's detection head stands before its segmentation heads
        nodes.append(helper.make_node("ReduceMean", [source], ["det_out"], keepdims=1))
        outputs.insert(0, helper.make_tensor_value_info("det_out", TensorProto.FLOAT, [1, 1, 1, 1]))
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info(input_name, kind, shape)],
        outputs,
        [
            helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
            helper.make_tensor("bias", TensorProto.FLOAT, bias.shape, bias),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def hybridnets(path: Path, *, channels: int = 3, hidden: int = 32) -> Path:
    """A graph with the contract of a HybridNets export at 640x384: 46,035 anchors, three outputs in its order.

    ``channels`` 1 is the lane-only variant. The lane's logit is positive where the picture is red; the map is computed
    at a quarter of the size and enlarged, as the real head does. ``hidden`` is the width of the detection branch.
    """
    gain = np.float32(20)
    lane = channels - 1
    mean, std = (np.array(part, np.float32) for part in IMAGENET)
    weights = np.zeros((channels, 3, 1, 1), np.float32)
    weights[lane, 0] = gain * std[0]
    bias = np.zeros(channels, np.float32)
    bias[lane] = gain * (mean[0] - 0.5)
    stored = {"head.w": weights, "head.b": bias}
    stored |= {"scales": np.array([1, 1, 4, 4], np.float32), "roi": np.zeros(0, np.float32)}
    nodes = [
        helper.make_node("AveragePool", ["input"], ["quarter"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["quarter", "head.w", "head.b"], ["small"]),
        helper.make_node(
            "Resize", ["small", "roi", "scales"], ["segmentation"], mode="linear",
            coordinate_transformation_mode="pytorch_half_pixel",
        ),
    ]  # fmt: skip
    dice = np.random.default_rng(5)
    for name, per_anchor in (("regression", 4), ("classification", 1)):
        parts = []
        for stride in (8, 16, 32, 64, 128):
            _detection(nodes, stored, dice, f"{name}{stride}", "quarter", stride // 4, hidden, 9, per_anchor)
            parts.append(f"{name}{stride}")
        last = [name] if name == "regression" else ["scores"]
        nodes.append(helper.make_node("Concat", parts, last, axis=1))
    nodes.append(helper.make_node("Sigmoid", ["scores"], ["classification"]))
    shapes = {
        "regression": [1, 46035, 4],
        "classification": [1, 46035, 1],
        "segmentation": [1, channels, 384, 640],
    }
    return _write(path, nodes, stored, ("input", [1, 3, 384, 640]), shapes, opset=11)


def yolop(path: Path, *, hidden: int = 32) -> Path:
    """A graph with the contract of a YOLOP export at 640x640: both maps are probabilities of two classes."""
    gain = np.float32(20)
    mean, std = (np.array(part, np.float32) for part in IMAGENET)
    stored = {"scales": np.array([1, 1, 2, 2], np.float32), "roi": np.zeros(0, np.float32)}
    nodes = [helper.make_node("AveragePool", ["images"], ["half"], kernel_shape=[2, 2], strides=[2, 2])]
    dice = np.random.default_rng(6)
    parts = []
    for stride in (8, 16, 32):
        _detection(nodes, stored, dice, f"det{stride}", "half", stride // 2, hidden, 3, 6)
        parts.append(f"det{stride}")
    nodes.append(helper.make_node("Concat", parts, ["det_out"], axis=1))
    for name, colour in (("drive_area_seg", 1), ("lane_line_seg", 0)):  # the road is green
        weights = np.zeros((2, 3, 1, 1), np.float32)
        weights[1, colour] = gain * std[colour]
        stored |= {f"{name}.w": weights, f"{name}.b": np.array([0, gain * (mean[colour] - 0.5)], np.float32)}
        nodes += [
            helper.make_node("Conv", ["half", f"{name}.w", f"{name}.b"], [f"{name}.small"]),
            helper.make_node(
                "Resize", [f"{name}.small", "roi", "scales"], [f"{name}.logits"], mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            ),
            helper.make_node("Sigmoid", [f"{name}.logits"], [name]),
        ]  # fmt: skip
    maps = [1, 2, 640, 640]
    shapes = {"det_out": [1, 25200, 6], "drive_area_seg": maps, "lane_line_seg": maps}
    return _write(path, nodes, stored, ("images", [1, 3, 640, 640]), shapes, opset=12)


def _detection(nodes, stored, dice, name, source, factor, hidden, anchors, per_anchor) -> None:
    """One level of a detection head: [1, h * w * anchors, per_anchor], from a map pooled by ``factor``."""
    stored |= {
        f"{name}.w1": dice.standard_normal((hidden, 3, 3, 3)).astype(np.float32),
        f"{name}.w2": dice.standard_normal((anchors * per_anchor, hidden, 3, 3)).astype(np.float32),
        f"{name}.shape": np.array([1, -1, per_anchor], np.int64),
    }
    nodes += [
        helper.make_node("AveragePool", [source], [f"{name}.p"], kernel_shape=[factor] * 2, strides=[factor] * 2),
        helper.make_node("Conv", [f"{name}.p", f"{name}.w1"], [f"{name}.c1"], pads=[1] * 4),
        helper.make_node("Relu", [f"{name}.c1"], [f"{name}.r"]),
        helper.make_node("Conv", [f"{name}.r", f"{name}.w2"], [f"{name}.c2"], pads=[1] * 4),
        helper.make_node("Transpose", [f"{name}.c2"], [f"{name}.t"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"{name}.t", f"{name}.shape"], [name]),
    ]


def _write(path, nodes, stored, entry, shapes, *, opset) -> Path:
    """Write a graph of float outputs, its nodes in an order in which they can run."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(entry[0], TensorProto.FLOAT, entry[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


HYBRIDNETS_INPUT = InputSpec("input", 640, 384, "NCHW", "RGB", "letterbox", 114, *IMAGENET)
HYBRIDNETS_OUTPUT = OutputSpec("segmentation", "multiclass", 2, 0.5, "mask", 8, (1280, 720))
YOLOP_INPUT = InputSpec("images", 640, 640, "NCHW", "RGB", "letterbox", 114, *IMAGENET)
YOLOP_OUTPUT = OutputSpec("lane_line_seg", "multiclass", 1, 0.5, "mask", 8, (1280, 720), "probabilities")


def card_for(
    path: Path,
    *,
    name: str | None = None,
    version: str = "1",
    input_spec: InputSpec = PLAIN_INPUT,
    output_spec: OutputSpec = PLAIN_OUTPUT,
    **changes: object,
) -> Path:
    """Write a card beside a graph and return the card's path."""
    card = Card(
        name=name or path.stem,
        version=version,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        description="finds red",
        licence="Apache-2.0",
        data="none",
        input=input_spec,
        output=output_spec,
    )
    write_card(replace(card, **changes), path.with_suffix(".toml"))
    return path.with_suffix(".toml")


def red_model(folder: Path, name: str = "red", **options: object) -> Path:
    """A red-finding model with its card; returns the ONNX file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = red_finder(folder / f"{name}.onnx", **options)
    card_for(path, name=name)
    return path


def red_picture(mask: np.ndarray) -> np.ndarray:
    """A BGR picture that is red where the mask is set, for which a red finder predicts the mask."""
    picture = np.zeros((*mask.shape, 3), np.uint8)
    picture[..., 2] = mask * np.uint8(255)
    return picture
