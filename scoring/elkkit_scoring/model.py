"""A lane model: card, ONNX session, and what it says about one image."""

from __future__ import annotations

import hashlib
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from elkkit.errors import InputError, from_os_error
from elkkit_scoring.card import Card, OutputSpec, read_card
from elkkit_scoring.image import Image, Map, Mask, Placement, brightness, into_input, normalised, out_of_input, place

_ANY_LEAD = np.nextafter(np.float32(0), np.float32(1))
_GRAPH_HINT = "see what the graph offers: elkkit model inspect {}"
_NAN_HINT = "check the weights and the card's input.mean and input.std"


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall time of the three parts of one prediction."""

    preprocess: float  # decoded image to the model's input
    inference: float  # inside the session
    postprocess: float  # the model's output to the mask in the image's size


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about one image."""

    mask: Mask  # bool, the image's size
    predicted_px: int
    lane_share: float  # of the image's pixels
    mean_probability: float  # of lane over the predicted pixels; nan where none is predicted
    brightness: float  # of the image, 0..1
    seconds: Seconds


class LaneModel:
    """An ONNX lane model, ready to predict. Predictions of one model may run in several threads."""

    def __init__(self, card: Card, path: Path, *, threads: int = 0) -> None:
        """Open the graph at ``path`` as ``card`` describes it, and run it once so that the first frame is not slow.

        ``threads`` are those of one prediction; 0 leaves it to onnxruntime (one per core). Raises `InputError` where
        the file is not ONNX, is not the one that the card describes, or has other inputs or outputs.
        """
        self.card = card
        self.path = path
        self.digest = file_digest(path)
        if self.digest != card.sha256:
            raise InputError(
                f"the card of {card.name} does not describe {path}",
                why=f"the file's sha256 is {self.digest}, the card says {card.sha256}",
                hint=f"check that {path} is whole; if it was exported anew, write that sha256 in its card",
            )
        self._session = open_session(path, threads)
        self._check_graph()
        self._decide = decision(card.output)
        self._warm_up()

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> LaneModel:
        """Open a model by its ONNX file or its card; the two lie beside each other. Raises `InputError`."""
        card_path = path if path.suffix == ".toml" else path.with_suffix(".toml")
        if card_path != path and not path.is_file():
            error = (
                FileNotFoundError(2, "No such file or directory")
                if not path.exists()
                else IsADirectoryError(21, "Is a directory")
            )
            raise from_os_error(
                "read the model", path, error, hint="give an .onnx file, its card, or a bundled model: lane-a"
            )
        if card_path != path and not card_path.exists():
            raise InputError(
                f"the model {path} has no card",
                why=f"there is no {card_path}",
                hint=f"elkkit model inspect {shlex.quote(str(path))}  proposes one; scoring/README.md lists the keys",
            )
        card = read_card(card_path)
        model = card_path.parent / card.file if card_path == path else path
        return cls(card, model, threads=threads)

    @property
    def line_width(self) -> str:
        """Thickness of the lanes that the model was trained on, for people: `4 px at 640x360`."""
        width, height = self.card.output.line_width_at
        return f"{self.card.output.line_width_px} px at {width}x{height}"

    def predict(self, image: Image) -> Prediction:
        """Find the lanes in an image, uint8 [H, W, 3] BGR of any size."""
        started = time.perf_counter()
        placement = self._place(image)
        blob = self._input(image, placement)
        prepared = time.perf_counter()
        logits = self._run(blob)
        inferred = time.perf_counter()
        mask, probability = self._decide(logits, placement)
        finished = time.perf_counter()
        predicted = int(np.count_nonzero(mask))
        return Prediction(
            mask=mask,
            predicted_px=predicted,
            lane_share=predicted / mask.size,
            mean_probability=probability(mask) if predicted else math.nan,
            brightness=brightness(image),
            seconds=Seconds(prepared - started, inferred - prepared, finished - inferred),
        )

    def _place(self, image: Image) -> Placement:
        spec = self.card.input
        return place((image.shape[0], image.shape[1]), (spec.height, spec.width), spec.resize)

    def _input(self, image: Image, placement: Placement) -> Map:
        spec = self.card.input
        inside = into_input(image, placement, spec.pad)
        return normalised(inside, spec.mean, spec.std, rgb=spec.channels == "RGB", channels_first=spec.layout == "NCHW")

    def _run(self, blob: Map) -> Map:
        """Logits [C, h, w] of one input."""
        spec = self.card
        output: Any = self._session.run([spec.output.name], {spec.input.name: blob})[0]
        values = np.asarray(output[0], dtype=np.float32)
        if np.isnan(values.min()):  # the smallest of values with a NaN is NaN
            why = f"{spec.output.name} holds NaN; no threshold can tell such a pixel from background"
            raise InputError(f"the model {spec.name} gave no usable result", why=why, hint=_NAN_HINT)
        return values

    def _check_graph(self) -> None:
        """The graph has the card's input and output, with its sizes."""
        spec = self.card.input
        inputs = {node.name: node for node in self._session.get_inputs()}
        outputs = [node.name for node in self._session.get_outputs()]
        if spec.name not in inputs:
            raise self._disagree("input.name", f"the graph's inputs are {', '.join(inputs)}, the card says {spec.name}")
        if len(inputs) > 1:
            raise self._disagree("input.name", f"the graph needs more than one input: {', '.join(inputs)}")
        if self.card.output.name not in outputs:
            why = f"the graph's outputs are {', '.join(outputs)}, the card says {self.card.output.name}"
            raise self._disagree("output.name", why)
        node = inputs[spec.name]
        if node.type != "tensor(float)":
            raise self._disagree("input", f"the graph takes {node.type}; only 32-bit floats are fed")
        size = (spec.height, spec.width)
        wanted = (1, 3, *size) if spec.layout == "NCHW" else (1, *size, 3)
        fits = len(node.shape) == 4 and all(
            not isinstance(a, int) or a == b for a, b in zip(node.shape, wanted, strict=True)
        )
        if not fits:
            why = f"the graph takes {_shape(node.shape)}, the card says {_shape(wanted)} ({spec.layout})"
            raise self._disagree("input.width, input.height or input.layout", why)

    def _warm_up(self) -> None:
        """Run once: the first run allocates and is several times slower; it also shows the output's true shape."""
        spec, output = self.card.input, self.card.output
        grey = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
        blob = self._input(grey, self._place(grey))
        try:
            result: Any = self._session.run([output.name], {spec.name: blob})[0]
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise self._disagree("input", _one_line(error)) from None
        shape: tuple[Any, ...] = getattr(result, "shape", ())
        channels = shape[1] if len(shape) == 4 else 0
        lanes = {"binary": channels == 1, "multiclass": channels > 1, "multilabel": channels >= 1}[output.decoding]
        if len(shape) != 4 or shape[0] != 1 or shape[2:] != (spec.height, spec.width) or not lanes:
            wanted = f"{output.decoding} logits of {spec.width}x{spec.height} pixels"
            why = f"{output.name} has the shape {_shape(shape)}, which are not {wanted}"
            raise self._disagree("output.decoding", why)
        if output.lane_class >= channels:
            raise self._disagree("output.lane_class", f"{output.name} has {channels} channels, counted from 0")
        if output.values == "probabilities" and not (result.min() >= 0 and result.max() <= 1):
            why = f"{output.name} holds {result.min():.3g} to {result.max():.3g}, so no probabilities"
            raise self._disagree("output.values", why)

    def _disagree(self, key: str, why: str) -> InputError:
        return InputError(
            f"the card of {self.card.name} and the graph {self.path} disagree on {key}",
            why=why,
            hint=_GRAPH_HINT.format(shlex.quote(str(self.path))),
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits. Raises `ElkkitError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise from_os_error("read the model", path, error) from error


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU; ``threads`` 0: one per core. Raises `InputError` where the file cannot be loaded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters arrives as an exception
    # Threads that spin between frames take the cores that decoding and pre-processing need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        hint = f"export it again, or see what is wrong: elkkit model inspect {shlex.quote(str(path))}"
        raise InputError(f"cannot load the model {path}", why=_one_line(error), hint=hint) from None


Decide = Callable[[Map, Placement], tuple[Mask, Callable[[Mask], float]]]
"""Logits and placement to the mask, and a function that gives the mean probability over the mask."""


def decision(spec: OutputSpec) -> Decide:
    """How the values of an output become a mask and a mean probability."""
    lane, smooth = spec.lane_class, spec.upsample == "logits"
    ready = spec.values == "probabilities"
    # Comparing logits with the threshold's logit spares a sigmoid per pixel. Of several classes the lane must lead by
    # something, however little: an argmax gives a tie to the class that comes first.
    if spec.decoding == "multiclass":
        least = float(_ANY_LEAD)
    else:
        least = spec.threshold if ready else math.log(spec.threshold / (1 - spec.threshold))

    def decide(values: Map, placement: Placement) -> tuple[Mask, Callable[[Mask], float]]:
        lead = values[lane]
        if spec.decoding == "multiclass":
            others = np.delete(values, lane, axis=0).max(axis=0)
            lead = lead - others
        if smooth:
            mask: Any = out_of_input(lead, placement, smooth=True) >= least
        else:
            mask = out_of_input(lead >= least, placement, smooth=False)

        def probability(where: Mask) -> float:
            if spec.decoding == "multiclass":
                # A sigmoid per class (YOLOP) does not add up to 1.
                share = _share(values, lane) if ready else _softmax(values, lane)
            else:
                share = values[lane] if ready else _sigmoid(values[lane])
            return float(np.mean(out_of_input(share, placement, smooth=smooth)[where], dtype=np.float64))

        return mask, probability

    return decide


def _sigmoid(logits: Map) -> Map:
    # exp of a large positive number overflows; its tanh form does not.
    return np.asarray(np.float32(0.5) + np.float32(0.5) * np.tanh(logits * np.float32(0.5)))


def _softmax(logits: Map, channel: int) -> Map:
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers[channel] / powers.sum(axis=0))


def _share(probabilities: Map, channel: int) -> Map:
    total = probabilities.sum(axis=0)
    return np.asarray(probabilities[channel] / np.where(total > 0, total, np.float32(1)))


def _shape(shape: Any) -> str:
    return "x".join(str(part) for part in shape)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
