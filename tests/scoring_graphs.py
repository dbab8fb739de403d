"""Small ONNX graphs with the contracts of real exports, and cards for them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from elkkit_scoring.card import Card, InputSpec, OutputSpec, write_card

WIDTH, HEIGHT = 64, 36
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
