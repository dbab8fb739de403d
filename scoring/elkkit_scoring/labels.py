"""What all readers of label files share: bounded reading, checked numbers and names, errors that name file and line.

Label files come from archives of strangers. Nothing in them becomes a path outside the data's folder, and no number
reaches a curve or a canvas before it is known to be finite and near a picture.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import orjson

from elkkit.errors import InputError, from_os_error
from elkkit_scoring.image import Mask

Lane = npt.NDArray[np.float64]
"""One lane as points [N, 2]: x and y in pixels of the image, x to the right and y down."""

MAX_LINE = 1 << 20
"""Longest line of a text file, in bytes; a frame of TuSimple has about 2,000."""
MAX_TEXT = 256 << 20
"""Largest text file that is read line by line, in bytes; TuSimple's largest has 6 million."""
MAX_LANES = 100
"""Most lanes of a frame; the data sets label at most a few dozen."""
MAX_POINTS = 10_000
"""Most points of a lane."""
FARTHEST = 100_000.0
"""How far from the origin a point may lie, in pixels: lanes may leave the picture, but not by much."""
MAX_NAME = 512
_SHOWN = 60


def refuse(where: str, why: str, hint: str = "correct the file, or take it out") -> InputError:
    """The error for a place in a label file; ``where`` is the file, with its line or frame."""
    return InputError(f"cannot use {where}", why=why, hint=hint)


def shown(value: object) -> str:
    """A value from a file, short enough for an error."""
    text = repr(value) if not isinstance(value, (list, dict)) else type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def is_dir(path: Path) -> bool:
    """Whether it is a folder; False too where that cannot be told, so that reading it says why."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def is_file(path: Path) -> bool:
    """The same for a file."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def number_of(number: int, what: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def read_bytes(what: str, path: Path, limit: int, *, named_in: str = "") -> bytes:
    """A regular file of at most ``limit`` bytes. Raises `InputError`; ``named_in`` says which label file asked."""
    target = f"{path} (named in {named_in})" if named_in else str(path)
    try:
        status = os.stat(path)  # noqa: PTH116 - before opening it: to open a pipe would block
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise InputError(f"cannot read the {what} {target}", why=f"it is {kind}", hint="name a file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise from_os_error(f"read the {what}", target, error, hint="check the path") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"cannot read the {what} {target}", why=str(error), hint="check the name") from None
    if len(data) > limit:
        why = f"it has {status.st_size} bytes; at most {limit} are read"
        raise InputError(f"cannot read the {what} {target}", why=why, hint="split it")
    return data


def text_lines(what: str, path: Path) -> Iterator[tuple[str, bytes]]:
    """Lines of a file with their place (`FILE, line 3`), without those that are blank. Raises `InputError`."""
    for number, line in enumerate(read_bytes(what, path, MAX_TEXT).split(b"\n"), 1):
        if len(line) > MAX_LINE:
            raise refuse(f"{path}, line {number}", f"the line has {len(line)} bytes; at most {MAX_LINE} are read")
        if line.strip():
            yield f"{path}, line {number}", line


def parse_json(data: bytes, where: str) -> Any:
    """Strict JSON. Raises `InputError` with the parser's words; NaN and Infinity are not JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise refuse(where, f"it is not JSON: {error}") from None


def json_object(value: object, where: str) -> dict[str, Any]:
    """A JSON object. Raises `InputError`."""
    if not isinstance(value, dict):
        raise refuse(where, f"there must be an object, not {_kind(value)}")
    return value


def json_list(value: object, where: str, what: str, most: int) -> list[Any]:
    """A list of bearable length. Raises `InputError`."""
    if not isinstance(value, list):
        raise refuse(where, f"{what} must be a list, not {_kind(value)}")
    if len(value) > most:
        raise refuse(where, f"{what} has {len(value):,} entries; at most {most:,} are read")
    return value


def coordinates(values: Iterable[object], where: str, what: str) -> npt.NDArray[np.float64]:
    """Numbers [N] that can be coordinates in pixels. Raises `InputError` for anything else."""
    found = list(values)
    for value in found:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise refuse(where, f"{what} must hold numbers, not {shown(value)}")
        if not math.isfinite(value) or abs(value) > FARTHEST:
            raise refuse(where, f"{what} holds {shown(value)}; pixels lie between -{FARTHEST:,.0f} and {FARTHEST:,.0f}")
    return np.array(found, np.float64)


def relative_name(value: object, where: str, what: str) -> PurePosixPath:
    """A file's name inside the data's folder. Raises `InputError` for a name that leads out of it."""
    if not isinstance(value, str):
        raise refuse(where, f"{what} must be text, not {_kind(value)}")
    name = PurePosixPath(value)
    if not value.strip() or name == PurePosixPath("."):
        raise refuse(where, f"{what} is empty")
    if len(value) > MAX_NAME or not value.isprintable() or "\\" in value:
        raise refuse(where, f"{what} is no file's name: {shown(value)}")
    if name.is_absolute() or ".." in name.parts:
        raise refuse(where, f"{what} leads out of the data's folder: {shown(value)}")
    return name


def draw(lanes: Iterable[Lane], size: tuple[int, int], width: int) -> Mask:
    """Lanes as a mask, bool [H, W]: lines ``width`` pixels wide through the points, rounded to whole pixels."""
    canvas = np.zeros(size, np.uint8)
    for lane in lanes:
        stroke(canvas, lane, 1, width)
    return canvas.view(np.bool_)


def stroke(canvas: npt.NDArray[np.uint8], lane: Lane, value: int, width: int) -> None:
    """Draw one lane into a canvas [H, W]; a lane of fewer than two points leaves no trace."""
    if len(lane) >= 2:
        points = np.rint(lane.astype(np.float32)).astype(np.int32)
        cv2.polylines(canvas, [points.reshape(-1, 1, 2)], False, value, width)


def without_repeats(lane: Lane) -> Lane:
    """The lane without points that repeat the one before them."""
    if len(lane) < 2:
        return lane
    moved = np.ones(len(lane), np.bool_)
    moved[1:] = (np.diff(lane, axis=0) != 0).any(axis=1)
    return lane[moved]


def once(names: Sequence[tuple[str, str]], what: str) -> None:
    """Raise `InputError` where one of the (name, place) pairs repeats a name, with both places."""
    first: dict[str, str] = {}
    for name, where in names:
        if name in first:
            raise refuse(where, f"{what} {shown(name)} is there twice, first in {first[name]}", "keep one of them")
        first[name] = where


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
