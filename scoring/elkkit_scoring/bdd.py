"""BDD100K's lane marks: masks whose bits are classes, the current JSON with `poly2d`, and the benchmark's F1.

A mask's value is category (bits 0 to 2), background (bit 3), style (bit 4), direction (bit 5). A pixel is lane where
bit 3 is 0, so 255 is background and 0 is a lane: a solid, parallel crosswalk. JSON is a list of frames, each with
`labels` of a `category` and `poly2d`; a lane comes as the two edges of its paint, drawn about 2 px wide.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from elkkit.errors import InputError, UsageError, from_os_error
from elkkit_scoring.datasets import Frame
from elkkit_scoring.image import MAX_BYTES, Image, Mask, decode_codes, decode_image
from elkkit_scoring.labels import (
    MAX_POINTS,
    Lane,
    coordinates,
    is_dir,
    json_list,
    json_object,
    once,
    parse_json,
    read_bytes,
    refuse,
    relative_name,
    shown,
    stroke,
)
from elkkit_scoring.metrics import f1_tolerant

CATEGORIES = (
    "crosswalk", "double other", "double white", "double yellow", "road curb", "single other", "single white",
    "single yellow",
)  # fmt: skip
STYLES = ("solid", "dashed")
DIRECTIONS = ("parallel", "vertical")
TASKS: Mapping[str, tuple[tuple[str, ...], int, int]] = {
    "direction": (DIRECTIONS, 5, 1),
    "style": (STYLES, 4, 1),
    "category": (CATEGORIES, 0, 3),
}
"""The benchmark's three tasks: names of the classes, the first bit, the number of bits."""
CLASSES = (*CATEGORIES, *STYLES, *DIRECTIONS)
BACKGROUND_BIT = 8
BACKGROUND = 255
RADII = (1, 2, 5)
"""Tolerances of the benchmark's F1, in pixels."""
SIZE = (720, 1280)
"""Height and width of every picture."""
LINE_WIDTH = 2
"""Width of the lines drawn for JSON labels, in pixels."""
MAX_JSON = 1 << 30
"""Largest JSON file that is read, in bytes."""
MAX_FRAMES = 1_000_000
MAX_LABELS = 10_000
_CURVE_STEPS = np.linspace(0, 1, 21)[1:, None]
_OLD = "this is an older form; elkkit reads the current one: a list of frames with labels, category and poly2d"


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of paint, as points [N, 2] and the value that its pixels get in a mask."""

    code: int
    points: Lane


@dataclass(frozen=True, slots=True)
class BddFrame:
    """A frame of a JSON file."""

    name: str
    conditions: tuple[str, ...]  # weather, scene, time of day, as far as known
    marks: tuple[Mark, ...]
    where: str  # FILE, frame N


class Labels(Protocol):
    """Lane marks by frame, from masks or from JSON."""

    def names(self) -> Collection[str]:
        """The frames: file names without their endings."""
        ...

    def codes(self, name: str, size: tuple[int, int] = SIZE) -> Image:
        """A frame's mask of coded values, uint8 [H, W]. Raises `InputError`."""
        ...

    def conditions(self, name: str) -> tuple[str, ...]:
        """What is known about a frame."""
        ...


class MaskLabels:
    """The PNG masks of a folder and the folders below."""

    def __init__(self, folder: Path) -> None:
        """List the masks. Raises `ElkkitError`."""
        self._files = files_below(folder, (".png",), "mask")

    def names(self) -> Collection[str]:
        """The masks' names without `.png`."""
        return self._files.keys()

    def codes(self, name: str, size: tuple[int, int] = SIZE) -> Image:  # noqa: ARG002  (a mask has its own)
        """Read a mask; values that BDD100K does not know are refused."""
        path = self._files[name]
        codes = decode_codes(read_bytes("mask", path, MAX_BYTES), str(path))
        values = np.flatnonzero(np.bincount(codes.ravel(), minlength=256))
        if strange := [int(value) for value in values if value >= 64 and value != BACKGROUND]:
            raise refuse(f"the mask {path}", f"it holds {strange[0]}; BDD100K's values are 0 to 63, and 255")
        if set(values) <= {0, BACKGROUND} and np.count_nonzero(codes == 0) > codes.size // 2:
            why = "read as BDD100K's, where 0 is lane and 255 is not, more than half of the picture would be lane"
            raise refuse(f"the mask {path}", why, "masks with lanes as 255 on 0: --format mask")
        return codes

    def conditions(self, name: str) -> tuple[str, ...]:  # noqa: ARG002  (masks know none)
        """None are known."""
        return ()


class JsonLabels:
    """The frames of a JSON file."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `InputError` that names the frame."""
        self._frames = {frame.name: frame for frame in read_frames(path)}

    def names(self) -> Collection[str]:
        """The frames' names without their endings."""
        return self._frames.keys()

    def codes(self, name: str, size: tuple[int, int] = SIZE) -> Image:
        """Draw a frame's marks; later ones lie over earlier ones."""
        canvas = np.full(size, BACKGROUND, np.uint8)
        for mark in self._frames[name].marks:
            stroke(canvas, mark.points, mark.code, LINE_WIDTH)
        return canvas

    def conditions(self, name: str) -> tuple[str, ...]:
        """Weather, scene and time of day."""
        return self._frames[name].conditions


def open_labels(path: Path) -> Labels:
    """Masks of a folder, or a JSON file. Raises `ElkkitError`."""
    return MaskLabels(path) if is_dir(path) else JsonLabels(path)


def lanes_of(codes: Image) -> Mask:
    """Where a coded mask shows a lane: bit 3 is 0."""
    return np.asarray((codes & BACKGROUND_BIT) == 0)


def class_mask(codes: Image, task: str, value: int) -> Mask:
    """Where a coded mask shows one class of a task."""
    _, first, bits = TASKS[task]
    return np.asarray(((codes >> first) & ((1 << bits) - 1)) == value) & lanes_of(codes)


def without(codes: Image, classes: Iterable[str]) -> Image:
    """A coded mask in which the pixels of some classes are background. Raises `UsageError` for an unknown class."""
    kept = codes
    for name in classes:
        task = next((task for task, (names, _, _) in TASKS.items() if name in names), None)
        if task is None:
            why = f"BDD100K has no class {shown(name)}; it has {', '.join(CLASSES)}"
            raise UsageError("cannot leave out a class", why=why, hint='for example --leave-out "road curb"')
        gone = class_mask(codes, task, TASKS[task][0].index(name))
        kept = np.where(gone, np.uint8(BACKGROUND), kept)
    return kept


def benchmark(predicted: Image, truth: Image) -> dict[str, tuple[float, ...]]:
    """F1 of each class (`style/dashed`, …) at each of `RADII` for two coded masks; 1 where neither has the class."""
    found = {}
    for task, (names, _, _) in TASKS.items():
        for value, name in enumerate(names):
            masks = class_mask(predicted, task, value), class_mask(truth, task, value)
            scores = (f1_tolerant(*masks, radius) for radius in RADII)
            found[f"{task}/{name}"] = tuple(1.0 if math.isnan(score) else score for score in scores)
    return found


def averages(frames: Sequence[Mapping[str, tuple[float, ...]]]) -> dict[str, tuple[float, ...]]:
    """The benchmark's table: mean of all frames by class, mean of the classes by task, mean of the tasks."""
    table = {name: _mean([frame[name] for frame in frames]) for name in frames[0]} if frames else {}
    tasks = {task: _mean([table[f"{task}/{name}"] for name in TASKS[task][0]]) for task in TASKS if table}
    return {**({"average": _mean(list(tasks.values()))} if tasks else {}), **tasks, **table}


def read_frames(path: Path) -> list[BddFrame]:
    """Frames of a JSON file. Raises `InputError` that names the file and the frame."""
    content = parse_json(read_bytes("labels", path, MAX_JSON), str(path))
    if isinstance(content, dict) and "frames" in content and "name" not in content:
        content = content["frames"]  # Scalabel's form with a configuration beside the frames
    if isinstance(content, dict):
        raise refuse(str(path), "it is one object, not a list of frames", _OLD)
    entries = json_list(content, str(path), "the file", MAX_FRAMES)
    if not entries:
        raise refuse(str(path), "it holds no frame", "give a list of frames")
    frames = [_frame(entry, f"{path}, frame {number}") for number, entry in enumerate(entries, 1)]
    once([(frame.name, frame.where) for frame in frames], "the frame")
    return frames


class BddData:
    """Pictures and lane marks of BDD100K, paired by their names.

    Pictures lie in `images/…` (as in the download) or in the folder itself; marks are the masks below
    `labels/lane/masks` or `masks`, or else the one JSON file in `labels/lane/polygons` or in the folder itself.
    """

    def __init__(self, folder: Path) -> None:
        """Find pictures and labels. Raises `ElkkitError`."""
        self._folder = folder
        pictures = folder / "images" if is_dir(folder / "images") else folder
        self._images = files_below(pictures, (".jpg", ".jpeg"), "picture", deep=pictures != folder)
        self._labels = _find_labels(folder)
        self._names = sorted(self._images)
        if not set(self._names) & set(self._labels.names()):
            why = "no label belongs to any of the pictures"
            raise UsageError(f"cannot use the data {folder}", why=why, hint="a.jpg belongs to a.png or to name: a.jpg")

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._folder)

    def __len__(self) -> int:
        return len(self._names)

    def frame_id(self, index: int) -> str:
        """The picture's name without its ending."""
        return self._names[index]

    def has_truth(self, index: int) -> bool:
        """Whether the frame has labels."""
        return self._names[index] in self._labels.names()

    def load(self, index: int) -> Frame:
        """Read a picture and its lane marks, whatever their class."""
        name = self._names[index]
        file = self._images[name]
        image = decode_image(read_bytes("image", file, MAX_BYTES), str(file))
        if not self.has_truth(index):
            return Frame(name, index, image, None)
        truth = lanes_of(self._labels.codes(name, image.shape[:2]))
        if truth.shape != image.shape[:2]:
            why = f"it is {truth.shape[1]}x{truth.shape[0]}, the image {image.shape[1]}x{image.shape[0]}"
            raise InputError(f"cannot use the mask of {file}", why=why, hint="give it a mask of its own size")
        return Frame(name, index, image, truth, conditions=self._labels.conditions(name))


def files_below(folder: Path, endings: tuple[str, ...], what: str, *, deep: bool = True) -> dict[str, Path]:
    """Files of a folder (and of those below) by name without ending. Raises `ElkkitError` where there is none."""
    try:
        next(folder.iterdir(), None)  # says what is wrong with a folder, which rglob does not
        found = sorted(f for f in (folder.rglob("*") if deep else folder.iterdir()) if f.suffix.lower() in endings)
    except OSError as error:
        raise from_os_error(f"read the {what}s", folder, error, hint="give a folder") from error
    if not found:
        raise UsageError(f"no {what} in {folder}", why=f"no file ends in {' or '.join(endings)}", hint="check the path")
    for file in found:
        relative_name(file.name, str(folder), "a file's name")
    once([(file.stem, str(file)) for file in found], f"the {what}")
    return {file.stem: file for file in found}


def _find_labels(folder: Path) -> Labels:
    for masks in (folder / "labels" / "lane" / "masks", folder / "masks"):
        if is_dir(masks):
            return MaskLabels(masks)
    for place in (folder / "labels" / "lane" / "polygons", folder):
        found = sorted(place.glob("*.json"))
        if len(found) > 1:
            why = f"{place} has more than one JSON file: {found[0].name} and {found[1].name}"
            raise UsageError(f"cannot use the data {folder}", why=why, hint="keep one of them there")
        if found:
            return JsonLabels(found[0])
    why = "there is neither labels/lane/masks nor masks nor a JSON file"
    raise UsageError(f"no labels in {folder}", why=why, hint="put the masks or the JSON there, or use --format folder")


def _frame(entry: object, where: str) -> BddFrame:
    record = json_object(entry, where)
    if "objects" in record or isinstance(record.get("frames"), list):
        raise refuse(where, "it has objects, not labels", _OLD)
    name = relative_name(record.get("name"), where, "name")
    where = f"{where} ({name})"
    attributes = json_object(record.get("attributes") or {}, where)
    known = (attributes.get(key) for key in ("weather", "scene", "timeofday"))
    words = tuple(word for word in known if isinstance(word, str) and word.isprintable() and 0 < len(word) <= 64)
    labels = json_list(record.get("labels") or [], where, "labels", MAX_LABELS)
    marks = [mark for label in labels for mark in _marks(json_object(label, where), where)]
    return BddFrame(name.stem, tuple(word for word in words if word != "undefined"), tuple(marks), where)


def _marks(label: dict[str, Any], where: str) -> list[Mark]:
    category = label.get("category")
    if category == "lane":
        raise refuse(where, "the category is lane, with its kind among the attributes", _OLD)
    if category not in CATEGORIES:
        if not isinstance(category, str):
            raise refuse(where, f"category must be text, not {shown(category)}")
        return []  # of another task, such as drivable areas
    attributes = json_object(label.get("attributes") or {}, where)
    code = CATEGORIES.index(category)
    for key, names, bit in (("laneStyle", STYLES, 4), ("laneDirection", DIRECTIONS, 5)):
        word = attributes.get(key, names[0])
        if word not in names:
            raise refuse(where, f"{key} must be {' or '.join(names)}, not {shown(word)}")
        code |= names.index(word) << bit
    lines = json_list(label.get("poly2d") or [], where, "poly2d", MAX_LABELS)
    return [Mark(code, _points(line, where)) for line in lines]


def _points(line: object, where: str) -> Lane:
    """A line with its curves cut into short pieces."""
    if isinstance(line, list):
        raise refuse(where, "poly2d holds lists of points, not objects with vertices and types", _OLD)
    record = json_object(line, where)
    vertices = json_list(record.get("vertices"), where, "vertices", MAX_POINTS)
    pairs = [json_list(vertex, where, "a vertex", 2) for vertex in vertices]
    if any(len(pair) != 2 for pair in pairs):
        raise refuse(where, "a vertex must be [x, y]")
    points = coordinates((number for pair in pairs for number in pair), where, "vertices").reshape(-1, 2)
    types = record.get("types")
    if not isinstance(types, str) or len(types) != len(points) or set(types) - {"L", "C"}:
        raise refuse(where, f"types must be one L or C for each of {len(points)} vertices, not {shown(types)}")
    found = [points[:1]]
    at = 1
    while at < len(points):
        if types[at] == "L":
            found.append(points[at : at + 1])
            at += 1
            continue
        if types[at : at + 3] != "CCC":
            raise refuse(where, f"a curve has three C, its two control points and its end; types is {shown(types)}")
        found.append(_bezier(points[at - 1 : at + 3]))
        at += 3
    if record.get("closed") is True:
        found.append(points[:1])
    return np.concatenate(found)


def _bezier(corners: Lane) -> Lane:
    t = _CURVE_STEPS
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return np.asarray(sum(weight * corner for weight, corner in zip(weights, corners, strict=True)))


def _mean(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(math.fsum(column) / len(rows) for column in zip(*rows, strict=True))
