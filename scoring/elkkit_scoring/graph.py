"""Reading an ONNX file that may be hostile: nothing outside its folder is opened, nothing enormous is made.

Needs the package onnx, which scoring does not: ``pip install 'elkkit[models]'``.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elkkit.errors import InputError, from_os_error

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 2**31 - 1
"""Largest ONNX file: no protobuf message is larger."""
MAX_ELEMENTS = 2**28
"""Most elements of a tensor, stored or computed: 1 GiB as 32-bit floats. HybridNets' largest has 2.5 million."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a graph."""

    name: str
    kind: str  # float32, uint8, ...; "" where it is no tensor
    shape: tuple[int | None, ...] | None  # None: of any size, or of any number of dimensions

    @property
    def size(self) -> str:
        """The shape for people: `1x3x?x640`."""
        return "unknown" if self.shape is None else "x".join("?" if n is None else str(n) for n in self.shape)


def import_onnx() -> Any:
    """The package onnx. Raises `InputError` where it is not installed."""
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError as error:
        raise InputError(
            "the graph of a model cannot be read", why=str(error), hint="pip install 'elkkit[models]'"
        ) from None
    return onnx


def read_graph(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file, without the weights that it keeps in other files; their places are checked.

    Raises `InputError` for what is not ONNX, has a cycle, stores or computes a tensor of more than `MAX_ELEMENTS`, or
    refers to data outside its folder.
    """
    tool = import_onnx()
    data = _bytes(path)
    if not data:
        raise refused(path, "it is empty")
    try:
        model: onnx.ModelProto = tool.load_model_from_string(data)
    except Exception as error:  # protobuf's own exceptions differ between its versions
        raise refused(path, f"it is not ONNX: {_one_line(error)}") from None
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise refused(path, "it is not ONNX: it holds no graph with nodes and outputs")
    for tensor in tensors(model):
        if not 0 <= math.prod(tensor.dims) <= MAX_ELEMENTS or min(tensor.dims, default=0) < 0:
            why = f"the tensor {tensor.name or '(unnamed)'} is said to have {_by(tensor.dims)} elements"
            raise refused(path, f"{why}; at most {MAX_ELEMENTS} are read")
        if is_external(tensor):
            external_file(tensor, path)
    _check_order(model, path)
    _check_functions(model, path)
    try:
        tool.checker.check_model(path)  # by its path: external data are looked for beside it
    except Exception as error:  # the checker's errors and C++'s share no base class
        raise refused(path, _one_line(error)) from None
    _check_sizes(model, path)
    return model


def inputs_of(model: onnx.ModelProto) -> list[Port]:
    """What must be fed; old exports list their weights among the inputs too."""
    stored = {tensor.name for tensor in model.graph.initializer}
    stored |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [_port(value) for value in model.graph.input if value.name not in stored]


def outputs_of(model: onnx.ModelProto) -> list[Port]:
    """The graph's outputs in their order; shapes are inferred where the file does not say them."""
    inferred = {value.name: value for value in _inferred(model).graph.output}
    return [_port(inferred.get(value.name, value)) for value in model.graph.output]


def names_used(node: onnx.NodeProto) -> Iterator[str]:
    """Values that a node reads, also from inside the branches and bodies that it holds."""
    yield from (name for name in node.input if name)
    for graph in _graphs(node):
        for inner in graph.node:
            yield from names_used(inner)
        yield from (value.name for value in graph.output)  # a branch may just hand an outer value on


def functions_called(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, str]]:
    """Domain and type of every node, inner ones included; those of local functions are among them."""
    for node in nodes:
        yield node.domain, node.op_type
        for graph in _graphs(node):
            yield from functions_called(graph.node)


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: weights, constants, and those inside branches, bodies and functions."""
    yield from _tensors_in(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _tensors_of(node)
    for training in model.training_info:
        for graph in (training.initialization, training.algorithm):
            yield from _tensors_in(graph)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's data lie in another file."""
    return bool(tensor.data_location == 1 or tensor.external_data)  # 1: TensorProto.EXTERNAL


def external_file(tensor: onnx.TensorProto, path: Path) -> Path:
    """The file beside the model at ``path`` that holds the tensor's data.

    Raises `InputError` where it lies outside the model's folder, be it by a link, is no file, or is too short.
    """
    said: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    place = said.get("location", "")
    about = f"the data of {tensor.name or 'a tensor'} are said to be in {place or 'no file'}"
    if not place or "\0" in place:
        raise refused(path, about)
    folder = path.absolute().parent
    file = folder / place
    try:
        inside = file.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
        found = file.lstat()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        why = getattr(error, "strerror", None) or str(error)
        raise refused(path, f"{about}: {why}", hint="put the file back beside the model") from None
    if Path(place).is_absolute() or ".." in Path(place).parts or not inside:
        raise refused(path, f"{about}, outside the model's folder", hint=_TRUST)
    if not stat.S_ISREG(found.st_mode):
        raise refused(path, f"{about}, which is a link or no plain file", hint=_TRUST)
    try:
        offset, length = int(said.get("offset") or 0), int(said.get("length") or 0)
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > found.st_size:
        raise refused(path, f"{about}, in bytes that this file does not have")
    return file


_TRUST = "do not use this file unless you trust where it is from; export the model again into one file"


def refused(path: Path, why: str, *, hint: str | None = None) -> InputError:
    """The error for a model file that cannot be used."""
    return InputError(f"cannot read the model {path}", why=why, hint=hint or "export the model again to .onnx")


def _bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(21, "Is a directory")
        if not stat.S_ISREG(found.st_mode):
            raise refused(path, "it is no plain file")
        if found.st_size > MAX_BYTES:
            raise refused(path, f"it has {found.st_size} bytes; an ONNX file has at most {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise from_os_error("read the model", path, error, hint="give an .onnx file") from error


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors_in(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of(node)


def _tensors_of(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                       *attribute.sparse_tensors):  # fmt: skip
            yield from (sparse.values, sparse.indices)
    for graph in _graphs(node):
        yield from _tensors_in(graph)


def _check_order(model: onnx.ModelProto, path: Path) -> None:
    """No value of the graph depends on itself."""
    nodes = model.graph.node
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    readers: list[list[int]] = [[] for _ in nodes]
    waits = [0] * len(nodes)
    for index, node in enumerate(nodes):
        for maker in {makers[name] for name in names_used(node) if name in makers}:
            readers[maker].append(index)
            waits[index] += 1
    ready = [index for index, count in enumerate(waits) if not count]
    while ready:
        for reader in readers[ready.pop()]:
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    stuck = {index for index, count in enumerate(waits) if count}
    if not stuck:
        return
    # What only waits for a cycle is none of its nodes: drop what nobody stuck reads, until nothing more falls away.
    while ends := {index for index in stuck if not stuck.intersection(readers[index])}:
        stuck -= ends
    on_it = [nodes[index] for index in sorted(stuck)[:3]]
    names = ", ".join(node.output[0] if node.output else node.op_type for node in on_it)
    raise refused(path, f"its graph has a cycle: {names} would need their own results")


def _check_functions(model: onnx.ModelProto, path: Path) -> None:
    """No local function calls itself, be it through others: whoever unfolds them would never end."""
    known = {(function.domain, function.name): function for function in model.functions}
    calls = {key: {call for call in functions_called(f.node) if call in known} for key, f in known.items()}
    while leaves := [key for key, called in calls.items() if not called]:
        for leaf in leaves:
            del calls[leaf]
        for called in calls.values():
            called.difference_update(leaves)
    if calls:
        raise refused(path, f"its function {next(iter(calls))[1]} calls itself")


def _check_sizes(model: onnx.ModelProto, path: Path) -> None:
    """What the graph computes stays bearable, as far as its shapes are known before it runs."""
    graph = _inferred(model).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        port = _port(value)
        known = [n for n in port.shape or () if n is not None]
        if math.prod(known) > MAX_ELEMENTS:
            why = f"{port.name} would have {port.size} elements; at most {MAX_ELEMENTS} are computed"
            raise refused(path, why)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes of what it computes; as it is, where nothing can be inferred."""
    onnx = import_onnx()
    try:
        return onnx.shape_inference.infer_shapes(model)  # type: ignore[no-any-return]
    except Exception:  # custom operators, or more than a protobuf message holds: what the file says is all we know
        return model


def _port(value: onnx.ValueInfoProto) -> Port:
    onnx = import_onnx()
    if not value.type.HasField("tensor_type"):
        return Port(value.name, "", None)
    tensor = value.type.tensor_type
    try:
        kind = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, ValueError):
        kind = ""
    if not tensor.HasField("shape"):
        return Port(value.name, kind, None)
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim)
    return Port(value.name, kind, shape)


def _by(dims: Iterable[int]) -> str:
    return "x".join(map(str, dims)) or "1"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
