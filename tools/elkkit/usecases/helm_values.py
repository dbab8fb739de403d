"""Helm values for one's own cluster: options checked by a schema, rendered, and read back before anybody has them."""

from __future__ import annotations

import difflib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from elkkit.assets import asset
from elkkit.contract import Contract
from elkkit.contract.extend import extend
from elkkit.errors import InputError, InternalError, UsageError, from_os_error
from elkkit.render.helm_options import Kind, Option, Scalar, Size, defaults_of, kinds_with, options_of
from elkkit.words import close_to, did_you_mean

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

Action: TypeAlias = Literal["new", "changed", "unchanged", "differs"]
TYPES = "types.json"
_SHOWN = 60
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class ValuesFile:
    """The values of one chart, and what became of its file."""

    chart: str
    text: str
    path: Path | None = None
    action: Action | None = None
    """`differs`: another text is there, which was kept."""
    difference: str = ""
    """A unified diff from what was there."""


@dataclass(frozen=True, slots=True)
class HelmValues:
    """All values of one kind and size."""

    kind: Kind
    size: Size
    options: Mapping[str, Scalar | None]
    """Those in force, defaults included; None: not set, and without a default of its own."""
    files: tuple[ValuesFile, ...]

    @property
    def refused(self) -> tuple[ValuesFile, ...]:
        """Files that differ; because of them nothing was written."""
        return tuple(f for f in self.files if f.action == "differs")

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the text only where it went into no file."""
        files = [
            {"chart": f.chart, "text": f.text}
            if f.path is None
            else {"chart": f.chart, "path": str(f.path), "action": f.action}
            for f in self.files
        ]
        return {"kind": self.kind, "size": self.size, "options": dict(self.options), "files": files}


# --- options ---------------------------------------------------------------------------------------------------------


def read_options(kind: Kind, given: Sequence[str]) -> dict[str, Scalar]:
    """`KEY=VALUE` texts as values of their types; of a key that comes twice the last. Raises `UsageError`."""
    known = options_of(kind)
    found: dict[str, Scalar] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, not {_short(text)}", why="there is no = in it", hint=_keys(kind))
        if key not in known:
            raise _unknown(kind, key, known)
        found[key] = _typed(kind, known[key], value)
    return found


def describe(option: Option) -> str:
    """What an option may be, in words."""
    return str(_types()["$defs"][option.type]["description"])


def _typed(kind: Kind, option: Option, text: str) -> Scalar:
    definition = _types()["$defs"][option.type]
    value: Scalar | None = text
    if definition.get("type") == "integer":
        value = int(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else None
    elif definition.get("type") == "boolean":
        value = {"true": True, "false": False}.get(text)
    # `$` in a pattern lets a line feed pass that ends the text
    if value is None or _CONTROL.search(text) or not _validator(TYPES, option.type).is_valid(value):
        raise UsageError(f"{option.name} cannot be {_short(text)}", why=f"it is {describe(option)}", hint=_keys(kind))
    return value


def _unknown(kind: Kind, key: str, known: Mapping[str, Option]) -> UsageError:
    if others := kinds_with(key):
        why = f"only {' and '.join(others)} has it"
    elif close := close_to(key[:100], known):
        why = did_you_mean(close)
    else:
        why = f"there are {', '.join(known)}"
    return UsageError(f"{kind} has no key {_short(key)}", why=why, hint=_keys(kind))


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _keys(kind: Kind) -> str:
    return f"elkkit render helm-values --kind {kind} --keys  shows every key with its default"


# --- schemas ---------------------------------------------------------------------------------------------------------


@cache
def _types() -> dict[str, Any]:
    return _schema(TYPES)


@cache
def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(asset("helm-values", "schemas", name).read_text("utf-8"))
    return schema


@cache
def _validator(name: str, definition: str | None = None) -> Draft202012Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    files = {n: Resource.from_contents(_schema(n)) for n in (TYPES, name)}
    reference = {"$ref": name if definition is None else f"{name}#/$defs/{definition}"}
    return Draft202012Validator(reference, registry=Registry().with_resources(files.items()))


def faults(chart: str, text: str) -> list[str]:
    """What a chart's values have against elkkit's schema of them, each with its place; not YAML at all counts too."""
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    found = _validator(f"{chart}.json").iter_errors(values)
    return [f"{'.'.join(map(str, e.absolute_path)) or 'the whole'}: {e.message[:200]}" for e in found]


# --- rendering -------------------------------------------------------------------------------------------------------


def render_values(contract: Contract, kind: Kind, size: Size, given: Mapping[str, Scalar]) -> HelmValues:
    """Values of every chart of a kind, with the contract's metrics and fields in them.

    Raises `UsageError` where options do not go together, `ConfigError` for a stream that Elasticsearch would refuse.
    """
    from elkkit import __version__
    from elkkit.render.helm import values

    dataset, namespace = (None if (name := given.get(f"stream.{part}")) is None else str(name)
                          for part in ("dataset", "namespace"))  # fmt: skip
    if dataset or namespace:
        contract = extend(contract, dataset=dataset, namespace=namespace, origin="--set")
    note = f"Written by elkkit {__version__}: elkkit render helm-values --kind {kind} --size {size}"
    note += "".join(f" --set {_quoted(name, value)}" for name, value in given.items())
    texts = values(contract, kind, size, given, note=note)
    for chart, text in texts.items():
        if wrong := faults(chart, text):
            raise InternalError(f"the values of {chart} are not what they should be", why="; ".join(wrong[:3]),
                                hint="report the command line that you gave")  # fmt: skip
    in_force = defaults_of(kind, size) | dict(given)
    if "stream.dataset" in in_force:
        in_force |= {"stream.dataset": contract.dataset, "stream.namespace": contract.namespace}
    return HelmValues(kind, size, in_force, tuple(ValuesFile(chart, text) for chart, text in texts.items()))


def _quoted(name: str, value: Scalar) -> str:
    import shlex

    return shlex.quote(f"{name}={str(value).lower() if isinstance(value, bool) else value}")


# --- files -----------------------------------------------------------------------------------------------------------


def write_values(rendered: HelmValues, folder: Path, *, overwrite: bool = False, dry_run: bool = False) -> HelmValues:
    """Put each chart's values into a folder, as `CHART.yaml`; the folder is made.

    Where a file has another text nothing is written, unless `overwrite`: see `HelmValues.refused`. No file is ever
    half-written. Raises `InputError` or `StorageError` for what the disk refuses.
    """
    files = tuple(_compared(folder / f"{f.chart}.yaml", f, overwrite=overwrite) for f in rendered.files)
    done = HelmValues(rendered.kind, rendered.size, rendered.options, files)
    if not dry_run and not done.refused:
        for one in files:
            if one.path is not None and one.action != "unchanged":
                _put(one.path, one.text)
    return done


def _compared(path: Path, file: ValuesFile, *, overwrite: bool) -> ValuesFile:
    try:
        there = path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ValuesFile(file.chart, file.text, path, "new")
    except ValueError as error:  # a NUL in the name
        raise InputError(f"cannot write {path}", why=str(error), hint="check the path") from None
    except OSError as error:
        raise from_os_error("read", path, error) from error
    if there == file.text:
        return ValuesFile(file.chart, file.text, path, "unchanged")
    lines = difflib.unified_diff(
        there.splitlines(keepends=True), file.text.splitlines(keepends=True), f"a/{path.name}", f"b/{path.name}"
    )
    return ValuesFile(file.chart, file.text, path, "changed" if overwrite else "differs", "".join(lines))


def _put(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error("write", path, error) from error
