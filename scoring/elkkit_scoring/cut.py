"""Keep only the branch of a graph that leads to one output, and show that its masks stay the same to the bit.

A model with heads for other tasks (HybridNets, YOLOP) computes them on every frame even where nobody asks for them:
onnxruntime prunes no output.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elkkit.errors import InputError, UsageError, from_os_error
from elkkit_scoring.card import Card, InputSpec, OutputSpec, read_card, write_card
from elkkit_scoring.graph import (
    external_file,
    functions_called,
    import_onnx,
    inputs_of,
    is_external,
    names_used,
    read_graph,
    refused,
    tensors,
)
from elkkit_scoring.image import Map, Mask, place
from elkkit_scoring.model import decision, file_digest, open_session
from elkkit_scoring.propose import propose

if TYPE_CHECKING:
    import onnx
    import onnxruntime

SEEDS = (1, 2, 3)
"""Of the random inputs on which masks are compared."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut, and what that saved."""

    source: Path
    out: Path
    card: Path | None  # written beside ``out`` where the source has one
    output: str
    removed: tuple[str, ...]  # outputs
    nodes: tuple[int, int]  # before, after
    size: tuple[int, int]  # bytes, with the weights in other files
    seconds: tuple[float, float]  # median of one run of the session
    runs: int
    inputs: int  # random inputs on which the masks were the same
    lane_px: int  # pixels found on them, of
    pixels: int
    difference: float  # largest, of the output's values; 0: those are the same to the bit too


def cut_model(
    source: Path,
    out: Path,
    *,
    output: str | None = None,
    runs: int = 10,
    force: bool = False,
    progress: Callable[[int], None] = lambda _done: None,
) -> Cut:
    """Write the branch of ``source`` that leads to ``output`` to ``out``.

    Without ``output``, the card beside the source says it, or the graph where it leaves no doubt. The masks of both
    graphs must be equal on random inputs; ``runs`` runs of each, in turns, give the medians. A card beside the source
    is written anew beside ``out``. Raises `InputError` where the file cannot be used, nothing can be cut, or the masks
    differ; then nothing is written.
    """
    onnx = import_onnx()
    model = read_graph(source)
    _check_target(source, out, force)
    card, spec_in, spec_out = _specs(source, output)
    smaller = branch(model, spec_out.name)
    removed = tuple(value.name for value in model.graph.output if value.name != spec_out.name)
    if not inputs_of(smaller):
        raise refused(source, f"{spec_out.name} does not depend on any input", hint=_name_output(source))
    if not removed and len(smaller.graph.node) == len(model.graph.node):
        why = f"all of it leads to {spec_out.name}, its only output"
        raise InputError(f"there is nothing to cut from {source}", why=why, hint="use it as it is")
    before = _stored(model, source)
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        try:
            onnx.load_external_data_for_model(smaller, str(source.absolute().parent))
            data = smaller.SerializeToString()
        except Exception as error:  # onnx's and protobuf's errors share no base class
            raise refused(source, " ".join(str(error).split())[:300]) from None
        try:
            beside.write_bytes(data)
            onnx.checker.check_model(beside)
            sessions = open_session(source, 0), open_session(beside, 0)
            found, difference = _compare(sessions, spec_in, spec_out, source)
            seconds = _measure(sessions, spec_in, spec_out, runs, progress)
            beside.replace(out)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error("write the model", out, error) from error
    written = _card_beside(card, out)
    return Cut(
        source=source, out=out, card=written, output=spec_out.name, removed=removed,
        nodes=(len(model.graph.node), len(smaller.graph.node)), size=(before, len(data)), seconds=seconds, runs=runs,
        inputs=len(SEEDS), lane_px=found, pixels=len(SEEDS) * spec_in.width * spec_in.height, difference=difference,
    )  # fmt: skip


def branch(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """A copy of a model with one of its outputs and only what that needs. Raises `InputError` for no such output.

    Values that branches and loop bodies read from outside, local functions, sparse weights and quantisation notes
    stay with what uses them.
    """
    onnx = import_onnx()
    graph = model.graph
    if output not in {value.name for value in graph.output}:
        listed = ", ".join(value.name for value in graph.output)
        raise InputError(f"the model has no output {output}", why=f"its outputs are {listed}", hint="--output NAME")
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    used, kept, wanted = {output}, set(), [output]
    while wanted:
        index = makers.get(wanted.pop())
        if index is None or index in kept:
            continue
        kept.add(index)
        names = set(names_used(graph.node[index]))
        used |= names | set(graph.node[index].output)
        wanted.extend(names)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    small = result.graph
    _keep(small.node, [node for index, node in enumerate(graph.node) if index in kept])
    _keep(small.output, [value for value in graph.output if value.name == output])
    _keep(small.input, [value for value in graph.input if value.name in used])
    _keep(small.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    _keep(small.sparse_initializer, [t for t in graph.sparse_initializer if t.values.name in used])
    _keep(small.value_info, [value for value in graph.value_info if value.name in used and value.name != output])
    _keep(small.quantization_annotation, [n for n in graph.quantization_annotation if n.tensor_name in used])
    _keep(result.functions, _functions(model, small))
    del result.training_info[:]
    return result  # type: ignore[no-any-return]


def _keep(field: object, items: Sequence[object]) -> None:
    """Replace a repeated field of a message."""
    del field[:]  # type: ignore[attr-defined]
    field.extend(items)  # type: ignore[attr-defined]


def _functions(model: onnx.ModelProto, graph: onnx.GraphProto) -> list[onnx.FunctionProto]:
    """The local functions that a graph calls, be it through others, in the model's order."""
    known = {(function.domain, function.name): function for function in model.functions}
    called: set[tuple[str, str]] = set()
    wanted = list(functions_called(graph.node))
    while wanted:
        key = wanted.pop()
        if key in known and key not in called:
            called.add(key)
            wanted.extend(functions_called(known[key].node))
    return [function for key, function in known.items() if key in called]


def _specs(source: Path, output: str | None) -> tuple[Card | None, InputSpec, OutputSpec]:
    """Card (if there is one), and the parts of it that a comparison needs; proposed ones where there is none."""
    beside = source.with_suffix(".toml")
    card = read_card(beside) if beside.exists() else None
    if card is not None and card.file == source.name and output in (None, card.output.name):
        if (digest := file_digest(source)) != card.sha256:
            why = f"the file's sha256 is {digest}, the card says {card.sha256}"
            raise InputError(f"the card {beside} does not describe {source}", why=why,
                             hint="write that sha256 in the card, or name the branch with --output")  # fmt: skip
        return card, card.input, card.output
    proposal = propose(source, output=output)
    needed = ("input.name", "input.width", "input.height", "input.layout", "output.name", "output.decoding",
              "output.lane_class")  # fmt: skip
    for key in needed:
        if proposal.guesses[key].value is None:
            hint = _name_output(source) if key == "output.name" else f"describe the model in {beside} first"
            raise InputError(f"cannot tell what to keep of {source}: {key}", why=proposal.guesses[key].why, hint=hint)
    known = {key: guess.value for key, guess in proposal.guesses.items()}
    into = InputSpec(
        known["input.name"], known["input.width"], known["input.height"], known["input.layout"], "RGB", "stretch", 0,
        (0.0, 0.0, 0.0), (1.0, 1.0, 1.0),
    )  # fmt: skip
    out = OutputSpec(
        known["output.name"], known["output.decoding"], known["output.lane_class"], 0.5, "mask", 1, (1, 1),
        known["output.values"] or "logits",
    )  # fmt: skip
    return None, into, out


def _name_output(source: Path) -> str:
    import shlex

    return f"elkkit model inspect {shlex.quote(str(source))}  lists the outputs; name one with --output"


def _check_target(source: Path, out: Path, force: bool) -> None:
    if out.suffix == ".toml":
        raise UsageError(f"{out} is no name for a model", why=".toml is the card's", hint="--out NAME.onnx")
    if out.exists() and out.samefile(source):
        raise UsageError(f"{out} is the model itself", why="it would be lost", hint="--out ANOTHER.onnx")
    if out.absolute().with_suffix(".toml") == source.absolute().with_suffix(".toml"):
        raise UsageError(f"{out} would have the card of {source}", why="cards go by the name before the dot",
                         hint="--out ANOTHER.onnx")  # fmt: skip
    taken = next((path for path in (out, out.with_suffix(".toml")) if path.exists()), None)
    if taken and not force:
        raise UsageError(f"{taken} is there already", why="it would be overwritten", hint="--force overwrites it")


def _random(spec: InputSpec, seed: int) -> Map:
    shape = (1, 3, spec.height, spec.width) if spec.layout == "NCHW" else (1, spec.height, spec.width, 3)
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


Sessions = tuple["onnxruntime.InferenceSession", "onnxruntime.InferenceSession"]


def _run(session: onnxruntime.InferenceSession, into: InputSpec, out: OutputSpec, blob: Map, source: Path) -> Map:
    try:
        result: Map = np.asarray(session.run([out.name], {into.name: blob})[0])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise refused(source, " ".join(str(error).split())[:300]) from None
    if result.ndim != 4 or result.shape[0] != 1 or result.shape[2:] != (into.height, into.width):
        size = "x".join(map(str, result.shape))
        why = f"{out.name} has the shape {size}, which is no map of {into.width}x{into.height} pixels"
        raise refused(source, why, hint=_name_output(source))
    if out.lane_class >= result.shape[1]:
        raise refused(source, f"{out.name} has {result.shape[1]} channels, the lane should be in {out.lane_class}")
    return np.asarray(result[0], np.float32)


def _compare(sessions: Sessions, into: InputSpec, out: OutputSpec, source: Path) -> tuple[int, float]:
    """Lane pixels found, and the largest difference of the output's values. Raises `InputError` where masks differ."""
    decide = decision(out)
    whole = place((into.height, into.width), (into.height, into.width), "stretch")
    found, difference = 0, 0.0
    for seed in SEEDS:
        blob = _random(into, seed)
        values = [_run(session, into, out, blob, source) for session in sessions]
        masks: list[Mask] = [decide(value, whole)[0] for value in values]
        if not np.array_equal(masks[0], masks[1]):
            count = int(np.count_nonzero(masks[0] != masks[1]))
            why = f"{count} of {masks[0].size} pixels differ on the random input of seed {seed}"
            raise InputError(f"the branch of {source} gives other masks than the whole", why=why,
                             hint="use the model as it is; nothing was written")  # fmt: skip
        found += int(np.count_nonzero(masks[0]))
        if values[0].tobytes() != values[1].tobytes():
            difference = max(difference, float(np.nanmax(np.abs(values[0] - values[1]))))
    return found, difference


def _measure(
    sessions: Sessions, into: InputSpec, out: OutputSpec, runs: int, progress: Callable[[int], None]
) -> tuple[float, float]:
    """Median seconds of a run before and after, taken in turns so that a busy machine slows both."""
    blob = _random(into, 0)
    taken: tuple[list[float], list[float]] = ([], [])
    for done in range(runs):
        for session, seconds in zip(sessions, taken, strict=True):
            started = time.perf_counter()
            session.run([out.name], {into.name: blob})
            seconds.append(time.perf_counter() - started)
        progress(done + 1)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _stored(model: onnx.ModelProto, path: Path) -> int:
    others = {external_file(tensor, path) for tensor in tensors(model) if is_external(tensor)}
    return path.stat().st_size + sum(other.stat().st_size for other in others)


def _card_beside(card: Card | None, out: Path) -> Path | None:
    """The source's card for the smaller file: what it says of the mask holds for both."""
    if card is None:
        return None
    path = out.with_suffix(".toml")
    write_card(replace(card, file=out.name, sha256=file_digest(out)), path)
    return path
