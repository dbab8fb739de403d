"""The model card: a TOML file beside the ONNX file that says how to feed the model, how to read it, and what it is
worth.

Every choice that ports of one model get differently wrong (letterbox or stretch, padding, mean, channel order,
decoding) is a field here and has no default. The one default is ``output.values``: logits, as most exports give them.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import date, time
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from elkkit.errors import InputError, from_os_error
from elkkit_scoring.image import Resize

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR"]
Decoding = Literal["binary", "multiclass", "multilabel"]
Upsample = Literal["logits", "mask"]
Values = Literal["logits", "probabilities"]
NUMBERS_MARK = "# --- measured by `python -m elkkit_scoring.measure`; not written by hand ---"
MAX_BYTES = 1024 * 1024
"""Largest card that is read; a real one has some kilobytes."""
MAX_SIDE = 8192
"""Largest width or height of a model's input, in pixels."""
LEAST_STD = 1e-6
"""Below it, inputs leave the range of 32-bit floats."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# What ends a line, steers a terminal or reorders text; TOML forbids a part of it
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_WORDS = ("name", "version", "licence", "data")


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
    is at least ``threshold`` (binary, multilabel), or where no other class is as large (multiclass).
    """

    name: str
    decoding: Decoding
    lane_class: int
    threshold: float  # probability; not used by multiclass
    upsample: Upsample  # enlarge the logits, then decide (smooth edges), or decide, then enlarge the mask
    line_width_px: int  # thickness of the lanes in the training masks, in pixels of an image of line_width_at
    line_width_at: tuple[int, int]  # width, height
    values: Values = "logits"  # YOLOP's graph ends in a sigmoid: its output holds probabilities, 0..1


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
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise from_os_error("read the model card", path, error) from error
    if len(data) > MAX_BYTES:
        raise _unreadable(path, f"it has more than {MAX_BYTES} bytes")
    try:
        raw = tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise _unreadable(path, "its lists or tables are nested too deeply") from None
    except ValueError as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise _unreadable(path, " ".join(str(error).split())) from None
    return check_card(raw, path)


def check_card(raw: Mapping[str, Any], path: Path) -> Card:
    """Make a card of what a TOML file at ``path`` holds. Raises `InputError`, naming the key at fault."""
    card: Card = _build(Card, raw, "", path)
    for key in _WORDS:
        if not getattr(card, key).strip():
            raise _wrong(path, key, "it must not be empty")
    for key in ("name", "version"):  # they stand in every log line
        if _CONTROL.search(getattr(card, key)):
            raise _wrong(path, key, "it must be one line without control characters")
    if not _SHA256.fullmatch(card.sha256):
        raise _wrong(
            path, "sha256", "it must be 64 hex digits in lower case", hint=f"sha256sum {path.parent / card.file}"
        )
    if Path(card.file).name != card.file or not card.file or "\0" in card.file:
        raise _wrong(path, "file", "it must be the name of a file beside the card")
    _check_input(card.input, path)
    _check_output(card.output, path)
    return card


def _check_input(spec: InputSpec, path: Path) -> None:
    for key in ("width", "height"):
        if not 1 <= getattr(spec, key) <= MAX_SIDE:
            raise _wrong(path, f"input.{key}", f"it must be between 1 and {MAX_SIDE}")
    if not spec.name:
        raise _wrong(path, "input.name", "it must not be empty")
    if not 0 <= spec.pad <= 255:
        raise _wrong(path, "input.pad", "it must be between 0 and 255")
    for key in ("mean", "std"):
        if not all(math.isfinite(part) for part in getattr(spec, key)):
            raise _wrong(path, f"input.{key}", "each must be a finite number")
    if min(spec.std) < LEAST_STD:
        raise _wrong(path, "input.std", f"each must be above 0, at least {LEAST_STD}")
    # A mean of 123.7 is one of values 0..255: with values of 0..1, every picture would look black to the model.
    if not all(-1 <= part <= 1 for part in spec.mean) or max(spec.std) > 1:
        key = "std" if max(spec.std) > 1 else "mean"
        raise _wrong(path, f"input.{key}", "it is of values divided by 255, so at most 1")


def _check_output(spec: OutputSpec, path: Path) -> None:
    if not spec.name:
        raise _wrong(path, "output.name", "it must not be empty")
    if not 0 < spec.threshold < 1:
        raise _wrong(path, "output.threshold", "it must be between 0 and 1, both excluded")
    if spec.lane_class < 0 or (spec.decoding == "binary" and spec.lane_class):
        raise _wrong(path, "output.lane_class", "it must be a channel of the output (0 where decoding is binary)")
    if min(spec.line_width_at) < 1:
        raise _wrong(path, "output.line_width_at", "it must be a width and a height of at least 1")
    if not 1 <= spec.line_width_px <= max(spec.line_width_at):
        raise _wrong(path, "output.line_width_px", "it must be at least 1 and no more than the image's longer side")


def check_value(key: str, value: object, path: Path) -> Any:
    """One value as the card's key (``input.width``) has it. Raises `InputError` for another type."""
    above, _, name = key.rpartition(".")
    kind = {"": Card, "input": InputSpec, "output": OutputSpec}[above]
    return _typed(get_type_hints(kind)[name], value, key, path)


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
            if spec.default is not MISSING or spec.default_factory is not MISSING:
                continue
            raise _wrong(path, key, "it is missing")
        values[spec.name] = _typed(hints[spec.name], raw[spec.name], key, path)
    return kind(**values)


def _typed(hint: Any, value: Any, key: str, path: Path) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise _wrong(path, key, f"{_shown(value)} is none of {', '.join(get_args(hint))}")
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
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _wrong(path, key, "the number is too large")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = {str: "text", int: "a whole number", float: "a number"}.get(hint)
    if expected and (not isinstance(value, hint) or isinstance(value, bool)):
        raise _wrong(path, key, f"{_shown(value)} is not {expected}")
    if expected is None and not isinstance(value, dict):
        raise _wrong(path, key, "it must be a table")
    return value


def _shown(value: object) -> str:
    """A value as an error shows it; a number of thousands of digits has no text."""
    try:
        text = repr(value)
    except ValueError:
        return "a very large number"
    return text if len(text) <= 80 else f"{text[:80]}…"


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(f"cannot read the model card {path}", why=why, hint=f"mend {path}")


def _wrong(path: Path, key: str, why: str, *, hint: str | None = None) -> InputError:
    return InputError(f"cannot use the model card {path}: {key}", why=why, hint=hint or f"mend {key} in {path}")


def write_card(card: Card, path: Path) -> None:
    """Write a card in one step, numbers last under a mark. Raises `ElkkitError` where the file cannot be written."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            beside.write_text(card_text(card), "utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error("write the model card", path, error) from error


def card_text(card: Card) -> str:
    """A card as TOML."""
    lines = [f"# Model card of {plain(card.name)}. Keys are described in scoring/README.md.", ""]
    tables: list[tuple[str, Any]] = []
    for spec in fields(card):
        value = getattr(card, spec.name)
        if spec.name == "numbers":
            continue
        if isinstance(value, InputSpec | OutputSpec):
            tables.append((spec.name, value))
        else:
            lines.append(f"{spec.name} = {toml_value(value)}")
    for name, table in tables:
        lines += ["", f"[{name}]"]
        for spec in fields(table):
            if getattr(table, spec.name) != spec.default:
                lines.append(f"{spec.name} = {toml_value(getattr(table, spec.name))}")
    if card.numbers:
        lines += ["", NUMBERS_MARK, *_numbers("numbers", card.numbers)]
    return "\n".join(lines) + "\n"


def _numbers(name: str, table: Mapping[str, Any]) -> list[str]:
    """A nested table as TOML: plain values first, then its tables."""
    lines = [f"[{name}]"]
    lines += [f"{_key(key)} = {toml_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", *_numbers(f"{name}.{_key(key)}", value)]
    return lines


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else toml_value(key)


def toml_value(value: object) -> str:
    """A scalar, a list or a date as TOML."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {toml_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, float):
        return repr(value)  # 'nan' and 'inf' are TOML too
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    # JSON's strings are TOML's, but for control characters that JSON leaves as they are.
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def plain(text: str) -> str:
    """Text of one line, as a comment may hold it: control characters are shown by their codes."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
