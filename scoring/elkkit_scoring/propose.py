"""Propose a model card from an ONNX file: what the graph says, what known exports mean by it, and what must be asked.

Nothing is run. What a graph cannot say (how pictures are fitted, mean and std, what the licence is) is filled in only
for exports whose outputs' names give them away, and each value carries its reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elkkit.errors import InputError, UsageError
from elkkit_scoring.card import MAX_SIDE, Card, InputSpec, OutputSpec, check_card, check_value, plain, toml_value
from elkkit_scoring.graph import Port, inputs_of, outputs_of, read_graph, refused
from elkkit_scoring.model import file_digest

if TYPE_CHECKING:
    import onnx

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KEYS = (
    *(f.name for f in fields(Card) if f.name not in ("input", "output", "numbers")),
    *(f"input.{f.name}" for f in fields(InputSpec)),
    *(f"output.{f.name}" for f in fields(OutputSpec)),
)
"""Every key of a card, in its order."""
_LANE_WORDS = ("lane", "line")
_MASK_WORDS = ("seg", "mask")
_TO_PROBABILITY = ("Sigmoid", "Softmax", "HardSigmoid")
_PASSING = ("Identity", "Cast", "Resize", "Upsample", "Slice", "Transpose")


@dataclass(frozen=True, slots=True)
class Guess:
    """A proposed value of one key, or None with what is asked."""

    value: Any
    why: str
    example: Any = None  # for what is asked


@dataclass(frozen=True, slots=True)
class Proposal:
    """A card as far as it is known."""

    path: Path
    known_as: str | None  # HybridNets, YOLOP
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    guesses: Mapping[str, Guess]  # by key, all of `KEYS`
    faults: Sequence[str] = field(default=())  # what `elkkit score` would refuse about this graph

    @property
    def questions(self) -> dict[str, str]:
        """What cannot be known, by key."""
        return {key: guess.why for key, guess in self.guesses.items() if guess.value is None}

    def toml(self) -> str:
        """The card with a reason above each value; a key that must still be answered stands as a comment."""
        about = f", as {self.known_as} exports it" if self.known_as else ""
        lines = [_comment(f"Proposed for {self.path.name}{about}. Check each value against the training code.")]
        lines += [_comment(f"input {port.name}: {port.kind or 'no tensor'} {port.size}") for port in self.inputs]
        lines += [_comment(f"output {port.name}: {port.kind or 'no tensor'} {port.size}") for port in self.outputs]
        lines += [_comment(f"FAULT: {fault}") for fault in self.faults]
        table = ""
        for key, guess in self.guesses.items():
            above, _, name = key.rpartition(".")
            if above != table:
                table = above
                lines += ["", f"[{table}]"]
            if guess.value is None:
                lines.append(_comment(f"ASK {key}: {guess.why}"))
                lines.append(_comment(f"{name} = {toml_value(guess.example)}"))
            else:
                lines += [_comment(guess.why), f"{name} = {toml_value(guess.value)}"]
        return "\n".join(lines) + "\n"

    def card(self) -> Card:
        """The card, once nothing is left to ask. Raises `InputError`, naming the key that is missing or wrong."""
        raw: dict[str, Any] = {}
        for key, guess in self.guesses.items():
            above, _, name = key.rpartition(".")
            if guess.value is not None:
                value = list(guess.value) if isinstance(guess.value, tuple) else guess.value
                (raw.setdefault(above, {}) if above else raw)[name] = value
        return check_card(raw, self.path.with_suffix(".toml"))


def propose(path: Path, *, output: str | None = None, answers: Mapping[str, str] | None = None) -> Proposal:
    """Propose a card for the ONNX file at ``path``.

    ``output`` names the one that holds the lanes; ``answers`` are values for keys of the card, as TOML or plain text,
    and win over what is proposed. Raises `InputError` where the file cannot be used, `UsageError` for a wrong answer.
    """
    model = read_graph(path)
    inputs, outputs = inputs_of(model), outputs_of(model)
    names = {port.name for port in outputs}
    given = {key: _answer(key, text, path) for key, text in (answers or {}).items()}
    chosen = output or given.get("output.name")
    if chosen is not None and chosen not in names:
        why = f"its outputs are {', '.join(port.name for port in outputs)}"
        raise InputError(f"{path} has no output {chosen}", why=why, hint="name one of these")
    faults: list[str] = []
    if {"regression", "classification", "segmentation"} <= names:
        known = "HybridNets"
    elif {"drive_area_seg", "lane_line_seg"} <= names:
        known = "YOLOP"
    else:
        known = None
    guesses = {**_about(path, model), **_input(model, inputs, known, faults)}
    size = (given.get("input.height", guesses["input.height"].value),
            given.get("input.width", guesses["input.width"].value))  # fmt: skip
    guesses |= _output(model, outputs, size, known, chosen, faults)
    guesses |= {key: Guess(value, "given on the command line") for key, value in given.items()}
    return Proposal(path, known, inputs, outputs, {key: guesses[key] for key in KEYS}, faults)


def _answer(key: str, text: str, path: Path) -> Any:
    """One answer, checked for its type; text need not be quoted. Raises `UsageError`."""
    if key not in KEYS:
        raise UsageError(f"a card has no key {key}", why=f"its keys are {', '.join(KEYS)}", hint="--set KEY=VALUE")
    try:
        value = tomllib.loads(f"x = {text}")
        found = value["x"] if len(value) == 1 else text  # a line feed may smuggle in more
    except (ValueError, RecursionError):
        found = text
    try:
        return check_value(key, found, path)
    except InputError as error:
        try:
            return check_value(key, text, path)  # version=1 means the text "1"
        except InputError:
            raise UsageError(f"--set {key}={text} is no value for it", why=error.why,
                             hint="scoring/README.md explains the keys") from None  # fmt: skip


def _about(path: Path, model: onnx.ModelProto) -> dict[str, Guess]:
    notes = {entry.key.lower(): entry.value.strip() for entry in model.metadata_props}
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise refused(path, "its name is not UTF-8, so no card can name it", hint="rename the file") from None

    def noted(ask: str, example: str, *keys: str) -> Guess:
        key = next((key for key in keys if notes.get(key)), None)
        return Guess(None, ask, example) if key is None else Guess(notes[key], f"the file's own note {key!r}")

    version = noted("", "", "version", "model_version")
    if version.value is None and model.model_version > 0:
        version = Guess(str(model.model_version), "the file's model_version")
    elif version.value is None:
        version = Guess("1", "the file states none; count up when the weights change")
    description = noted("", "", "description")
    if description.value is None:
        text = " ".join(model.doc_string.split())[:200]
        made = " ".join(part for part in (model.producer_name, model.producer_version) if part)
        description = (
            Guess(text, "the file's own description")
            if text
            else Guess(f"Exported by {made or 'an unnamed program'}.", "for people; say what sets this model apart")
        )
    return {
        "name": Guess(path.stem, "the file's name; it stands in every log line"),
        "version": version,
        "file": Guess(path.name, "beside the card"),
        "sha256": Guess(file_digest(path), "of the file as it is now"),
        "description": description,
        "licence": noted("no graph holds it: that of the weights, which may differ from that of the code",
                         "MIT", "licence", "license"),
        "data": noted("no graph holds it: what the weights were trained on", "BDD100K, train split", "data", "dataset"),
    }  # fmt: skip


def _input(
    model: onnx.ModelProto, inputs: Sequence[Port], known: str | None, faults: list[str]
) -> dict[str, Guess]:  # fmt: skip
    port = inputs[0] if inputs else Port("", "", None)
    if len(inputs) != 1:
        faults.append(f"the graph has {len(inputs)} inputs; models of one input are scored")
    if inputs and port.kind != "float32":
        faults.append(f"the input takes {port.kind or 'no tensor'}; 32-bit floats are fed")
    shape = port.shape or ()
    layout, height, width = None, None, None
    if len(shape) == 4:
        if shape[0] not in (1, None):
            faults.append(f"the input takes {shape[0]} images at a time; one is fed")
        if shape[1] == 3 and shape[3] != 3:
            layout, height, width = "NCHW", shape[2], shape[3]
        elif shape[3] == 3 and shape[1] != 3:
            layout, height, width = "NHWC", shape[1], shape[2]
    if layout is None:
        faults.append(f"the input's shape {port.size} is not that of one colour image (1x3xHxW or 1xHxWx3)")
    if max(height or 1, width or 1) > MAX_SIDE:
        faults.append(f"a side of the input ({port.size}) is above {MAX_SIDE} pixels")
    open_size = "the graph takes any: the size that the model was trained at"
    why_shape = f"the shape of {port.name} is {port.size}"
    first = next((node for node in model.graph.node if port.name in node.input), None)
    inside = ""
    if first is not None and first.op_type in ("Sub", "Div", "Mul", "Add", "BatchNormalization"):
        inside = f" (the graph's own first step is {first.op_type}: a part of it may be inside)"
    guesses = {
        "input.name": Guess(port.name or None, "the graph's only input" if len(inputs) == 1 else "its first", "input"),
        "input.width": Guess(width, why_shape if width else open_size, 640),
        "input.height": Guess(height, why_shape if height else open_size, 384),
        "input.layout": Guess(layout, why_shape, "NCHW"),
    }
    if known:
        theirs = f"{known}' own" if known.endswith("s") else f"{known}'s own"
        sure = f"as {theirs} test code does"
        guesses |= {
            "input.channels": Guess("RGB", sure),
            "input.resize": Guess("letterbox", f"{sure}; some ports stretch instead"),
            "input.pad": Guess(114, sure),
            "input.mean": Guess(IMAGENET[0], f"{sure}: ImageNet's{inside}"),
            "input.std": Guess(IMAGENET[1], f"{sure}: ImageNet's{inside}"),
        }
    else:
        ask = "no graph holds it; look at the code that fed the model in training:"
        guesses |= {
            "input.channels": Guess(None, f"{ask} RGB or BGR", "RGB"),
            "input.resize": Guess(None, f"{ask} letterbox (bars, proportions kept) or stretch", "letterbox"),
            "input.pad": Guess(None, f"{ask} grey level of the bars, 0 to 255 (0 where stretched)", 114),
            "input.mean": Guess(None, f"{ask} of values divided by 255{inside}; ImageNet's for example", IMAGENET[0]),
            "input.std": Guess(None, f"{ask} of values divided by 255{inside}; ImageNet's for example", IMAGENET[1]),
        }
    return guesses


def _output(
    model: onnx.ModelProto,
    outputs: Sequence[Port],
    size: tuple[Any, Any],
    known: str | None,
    chosen: str | None,
    faults: list[str],
) -> dict[str, Guess]:
    port, why = _lane_output(outputs, size, known, chosen)
    if port is None and not any(_is_map(one, size) for one in outputs):
        faults.append(f"no output is a map of the input's size (1xCx{_side(size[0])}x{_side(size[1])} floats)")
    elif port is not None and not _is_map(port, size):
        faults.append(f"{port.name} is {port.kind or 'no tensor'} {port.size}, "
                      f"not 1xCx{_side(size[0])}x{_side(size[1])} floats")  # fmt: skip
    example = next((one.name for one in outputs if _is_map(one, size)), outputs[0].name)
    channels = port.shape[1] if port is not None and port.shape is not None and len(port.shape) == 4 else None
    last = _last_step(model, port.name) if port is not None else ""
    decoding, lane = _decoding(channels, last)
    ready = last in _TO_PROBABILITY
    smooth = known != "HybridNets"
    width_why = "no graph holds it: thickness of the lanes in the training masks; no IoU means anything without it"
    if known == "HybridNets":
        width_why += " (HybridNets' own data code draws 8 px wide)"
    return {
        "output.name": Guess(port.name if port else None, why, example),
        "output.decoding": decoding,
        "output.lane_class": lane,
        "output.threshold": Guess(0.5, "probability from which a pixel is lane; not used by multiclass"),
        "output.upsample": Guess(
            "logits" if smooth else "mask",
            "elkkit's choice: smooth edges" if smooth else "as HybridNets' own test code does: decide, then enlarge",
        ),
        "output.values": Guess(
            "probabilities" if ready else "logits",
            f"the graph's last step for it is {last}" if last else "logits are usual; no output is chosen yet",
        ),
        "output.line_width_px": Guess(None, width_why, 8),
        "output.line_width_at": Guess(None, "width and height of the image that this thickness refers to", (1280, 720)),
    }


def _lane_output(
    outputs: Sequence[Port], size: tuple[Any, Any], known: str | None, chosen: str | None
) -> tuple[Port | None, str]:
    """The output that holds the lanes, or None with what to ask."""
    by_name = {port.name: port for port in outputs}
    if chosen is not None:
        return by_name[chosen], "as asked for"
    if known == "HybridNets":
        return by_name["segmentation"], "HybridNets' name for it"
    if known == "YOLOP":
        return by_name["lane_line_seg"], "YOLOP's name for it; drive_area_seg is the road"
    maps = [port for port in outputs if _is_map(port, size)]
    if len(maps) == 1:
        return maps[0], "the only output that is a map of the input's size"
    for words in (_LANE_WORDS, _MASK_WORDS):
        named = [port for port in maps if any(word in port.name.lower() for word in words)]
        if len(named) == 1:
            return named[0], f"by its name, of {len(maps)} maps of the input's size"
    listed = ", ".join(port.name for port in maps or outputs)
    return None, f"which output holds the lanes: {listed}"


def _is_map(port: Port, size: tuple[Any, Any]) -> bool:
    if port.kind not in ("float32", "float16", "float64") or port.shape is None or len(port.shape) != 4:
        return False
    sides = zip(port.shape[2:], size, strict=True)
    return port.shape[0] in (1, None) and all(a is None or b is None or a == b for a, b in sides)


def _decoding(channels: int | None, last: str) -> tuple[Guess, Guess]:
    """Decoding and lane class by the number of channels and the graph's last step."""
    if channels is None:
        ask = "how many channels the output has is not known from the file"
        return Guess(None, ask, "binary"), Guess(None, ask, 0)
    where = "channel of the lane"
    if channels == 1:
        how = "probability" if last == "Sigmoid" else "logit >= 0"
        return Guess("binary", f"one channel: {how} tells lane"), Guess(0, f"{where}: there is one")
    if channels == 2:
        return Guess("multiclass", "two channels: the larger one wins"), Guess(1, f"{where}: 0 is background")
    if channels == 3 and last == "Sigmoid":
        ask = "three channels with a sigmoid each: multilabel (each on its own), or multiclass where the largest wins"
        return Guess(None, ask, "multilabel"), Guess(2, f"{where}: 0 background, 1 road, 2 lane is usual")
    if channels == 3:
        why = "three channels: the largest wins; a multilabel model has the same shape, then say so"
        return Guess("multiclass", why), Guess(2, f"{where}: 0 background, 1 road, 2 lane in HybridNets' exports")
    why = f"{channels} channels: multiclass (the largest wins) or multilabel (each on its own)"
    return Guess(None, why, "multiclass"), Guess(None, f"{where}, of {channels}, counted from 0", channels - 1)


def _last_step(model: onnx.ModelProto, name: str) -> str:
    """Type of the node that makes a value, behind those that change no logit into a probability or back."""
    makers = {made: node for node in model.graph.node for made in node.output}
    node = makers.get(name)
    while node is not None and node.op_type in _PASSING:
        behind = makers.get(node.input[0])
        if behind is None or behind.op_type not in (*_TO_PROBABILITY, *_PASSING):
            break
        node = behind
    return node.op_type if node is not None else ""


def _side(side: Any) -> str:
    return "?" if side is None else str(side)


def _comment(text: str) -> str:
    """Text from a hostile file as one comment: a line feed in a name must not end it."""
    return f"# {plain(text)}"


def as_data(proposal: Proposal) -> dict[str, Any]:
    """The proposal for `--json`."""

    def ports(found: Sequence[Port]) -> list[dict[str, Any]]:
        return [{"name": p.name, "type": p.kind, "shape": None if p.shape is None else list(p.shape)} for p in found]

    return {
        "file": str(proposal.path),
        "known_as": proposal.known_as,
        "inputs": ports(proposal.inputs),
        "outputs": ports(proposal.outputs),
        "card": {key: guess.value for key, guess in proposal.guesses.items() if guess.value is not None},
        "reasons": {key: guess.why for key, guess in proposal.guesses.items() if guess.value is not None},
        "questions": proposal.questions,
        "faults": list(proposal.faults),
    }
