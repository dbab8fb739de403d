"""The model card: a TOML file beside the ONNX file that says how to feed the model, how to read it, and what it is
worth.

Every choice that ports of one model get differently wrong (letterbox or stretch, padding, mean, channel order,
decoding) is a field here and has no default.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from elkkit.errors import InputError, from_os_error
from elkkit_scoring.image import Resize

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR"]
Decoding = Literal["binary", "multiclass", "multilabel"]
Upsample = Literal["logits", "mask"]
NUMBERS_MARK = "# --- measured by `python -m elkkit_scoring.measure`; not written by hand ---"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a picture becomes the model's input."""

    name: str
    width: int
    height: int
    layout: Layout
    channels: Channels
    resize: Resize
    pad: int  # grey level of the bars, 0..255
    mean: tuple[float, float, float]  # of values divided by 255, in the order of ``channels``
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """How the model's output becomes a mask.

    ``decoding`` takes HybridNets' words: ``binary`` is one channel of logits, ``multiclass`` takes the largest of
    several, ``multilabel`` has independent logits per class. A pixel is lane where the probability of ``lane_class``
    is at least ``threshold`` (binary, multilabel), or where no other class is larger (multiclass).
    """

    name: str
    decoding: Decoding
    lane_class: int
    threshold: float  # probability; not used by multiclass
    upsample: Upsample  # enlarge the logits, then decide (smooth edges), or decide, then enlarge the mask
    line_width_px: int  # thickness of the lanes in the training masks, in pixels of an image of line_width_at
    line_width_at: tuple[int, int]  # width, height


@dataclass(frozen=True, slots=True)
class Card:
    """One model, described."""

    name: str
    version: str
    file: str  # of the ONNX file, beside the card
    sha256: str  # of that file
    description: str
    licence: str
    data: str  # what it was trained on
    input: InputSpec
    output: OutputSpec
    numbers: Mapping[str, Any] = field(default_factory=dict)


def read_card(path: Path) -> Card:
    """Read and check a card. Raises `InputError`, naming the key that is missing or wrong."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise from_os_error("read the model card", path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"cannot read the model card {path}", why=why, hint=f"mend {path}") from None
    card: Card = _build(Card, raw, "", path)
    if not _SHA256.fullmatch(card.sha256):
        raise _wrong(
            path, "sha256", "it must be 64 hex digits in lower case", hint=f"sha256sum {path.parent / card.file}"
        )
    if Path(card.file).name != card.file or not card.file:
        raise _wrong(path, "file", "it must be the name of a file beside the card")
    if not card.name or not card.version:
        raise _wrong(path, "name" if not card.name else "version", "it must not be empty")
    for key in ("width", "height"):
        if not 1 <= getattr(card.input, key) <= 8192:
            raise _wrong(path, f"input.{key}", "it must be between 1 and 8192")
    if not 0 <= card.input.pad <= 255:
        raise _wrong(path, "input.pad", "it must be between 0 and 255")
    if min(card.input.std) <= 0:
        raise _wrong(path, "input.std", "each must be above 0")
    if not 0 < card.output.threshold < 1:
        raise _wrong(path, "output.threshold", "it must be between 0 and 1, both excluded")
    if card.output.lane_class < 0 or (card.output.decoding == "binary" and card.output.lane_class):
        raise _wrong(path, "output.lane_class", "it must be a channel of the output (0 where decoding is binary)")
    return card


def _build(kind: type[Any], raw: Mapping[str, Any], above: str, path: Path) -> Any:
    """Make a dataclass of a TOML table, checking every key and type."""
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(raw) - known):
        raise _wrong(path, above + unknown[0], f"a card has no such key; there are {', '.join(sorted(known))}")
    values = {}
    for spec in fields(kind):
        key = above + spec.name
        if spec.name not in raw:
            if spec.name == "numbers":
                continue
            raise _wrong(path, key, "it is missing")
        values[spec.name] = _typed(hints[spec.name], raw[spec.name], key, path)
    return kind(**values)


def _typed(hint: Any, value: Any, key: str, path: Path) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise _wrong(path, key, f"{value!r} is none of {', '.join(get_args(hint))}")
        return value
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, list) or len(value) != len(kinds):
            raise _wrong(path, key, f"it must be a list of {len(kinds)} numbers")
        return tuple(_typed(kind, item, key, path) for kind, item in zip(kinds, value, strict=True))
    if hint in (InputSpec, OutputSpec):
        if not isinstance(value, dict):
            raise _wrong(path, key, "it must be a table")
        return _build(hint, value, f"{key}.", path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = {str: "text", int: "a whole number", float: "a number"}.get(hint)
    if expected and (not isinstance(value, hint) or isinstance(value, bool)):
        raise _wrong(path, key, f"{value!r} is not {expected}")
    if expected is None and not isinstance(value, dict):
        raise _wrong(path, key, "it must be a table")
    return value


def _wrong(path: Path, key: str, why: str, *, hint: str | None = None) -> InputError:
    return InputError(f"cannot use the model card {path}: {key}", why=why, hint=hint or f"mend {key} in {path}")


def write_card(card: Card, path: Path) -> None:
    """Write a card, numbers last under a mark. Raises `ElkkitError` where the file cannot be written."""
    lines = [f"# Model card of {card.name}. Keys are described in scoring/README.md.", ""]
    tables: list[tuple[str, Any]] = []
    for spec in fields(card):
        value = getattr(card, spec.name)
        if spec.name == "numbers":
            continue
        if isinstance(value, InputSpec | OutputSpec):
            tables.append((spec.name, value))
        else:
            lines.append(f"{spec.name} = {_toml(value)}")
    for name, table in tables:
        lines += ["", f"[{name}]", *(f"{s.name} = {_toml(getattr(table, s.name))}" for s in fields(table))]
    if card.numbers:
        lines += ["", NUMBERS_MARK, *_numbers("numbers", card.numbers)]
    try:
        path.write_text("\n".join(lines) + "\n", "utf-8")
    except OSError as error:
        raise from_os_error("write the model card", path, error) from error


def _numbers(name: str, table: Mapping[str, Any]) -> list[str]:
    """A nested table as TOML: plain values first, then its tables."""
    lines = [f"[{name}]", *(f"{key} = {_toml(v)}" for key, v in table.items() if not isinstance(v, Mapping))]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", *_numbers(f"{name}.{key}", value)]
    return lines


def _toml(value: Any) -> str:
    """A scalar or a list as TOML; JSON's strings are TOML's."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)  # 'nan' and 'inf' are TOML too
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False)
