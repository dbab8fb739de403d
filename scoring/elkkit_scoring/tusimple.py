"""TuSimple's lane labels (JSON lines) and its benchmark: accuracy, false positives and false negatives.

A line is `{"raw_file": "clips/…/20.jpg", "lanes": [[x, …], …], "h_samples": [y, …]}`, x negative where a lane has no
point at that height; predictions add `run_time` in ms. The arithmetic is the official one, also where it is odd: a
point that neither side has counts as right, a fifth lane is forgiven, and a lane-free frame has accuracy 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elkkit.errors import UsageError, from_os_error
from elkkit_scoring.datasets import Frame
from elkkit_scoring.image import MAX_BYTES, Mask, decode_image
from elkkit_scoring.labels import (
    MAX_LANES,
    MAX_POINTS,
    coordinates,
    draw,
    is_dir,
    json_list,
    json_object,
    once,
    parse_json,
    read_bytes,
    refuse,
    relative_name,
    shown,
    text_lines,
)

TOLERANCE_PX = 20.0
"""How far sideways a point may be off, for an upright lane; a leaning one is allowed 1/cos of its angle more."""
MATCHED = 0.85
"""Share of right points from which a lane counts as found."""
SLOWEST_MS = 200.0
MASK_WIDTH = 5
"""Width of the lines in masks made from these labels, in pixels: the most common one of training masks."""
_ABSENT = -100.0

Xs = npt.NDArray[np.float64]
"""x of a lane at each height [K]; negative: no point there."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One line of a label or prediction file."""

    raw_file: str
    lanes: tuple[Xs, ...]
    heights: Xs | None  # y of each point [K]; predictions may lack them
    run_time: float  # ms; 0 where not given
    where: str  # FILE, line N


class Benched(NamedTuple):
    """What the benchmark says of a frame: shares from 0 to 1."""

    accuracy: float
    false_positive: float
    false_negative: float


def read_labels(path: Path, *, truth: bool) -> dict[str, Labelled]:
    """Lines of a file, or of the `*.json` of a folder, by `raw_file`. Raises `InputError` with file and line.

    ``truth``: `h_samples` are needed, and each lane has as many points.
    """
    found = [_labelled(line, where, truth=truth) for file in _files(path) for where, line in text_lines("labels", file)]
    if not found:
        raise refuse(str(path), "it holds no line", "give a file of JSON lines, one a frame")
    once([(one.raw_file, one.where) for one in found], "the frame")
    return {one.raw_file: one for one in found}


def bench(predicted: Sequence[Xs], truth: Sequence[Xs], heights: Xs, run_time: float = 0.0) -> Benched:
    """The benchmark's numbers of one frame; every lane has one x per height. ``run_time`` in ms."""
    if run_time > SLOWEST_MS or len(truth) + 2 < len(predicted):
        return Benched(0.0, 0.0, 1.0)
    guesses = np.array([np.where(lane >= 0, lane, _ABSENT) for lane in predicted]).reshape(-1, len(heights))
    best = []
    for lane in truth:
        near = np.abs(guesses - np.where(lane >= 0, lane, _ABSENT)) < tolerance(lane, heights)
        best.append(float((near.sum(axis=1) / len(heights)).max(initial=0.0)))
    matched = sum(share >= MATCHED for share in best)
    missed = len(truth) - matched
    total = sum(best)
    if len(truth) > 4:  # the worst lane is dropped, and with it one miss
        missed -= missed > 0
        total -= min(best)
    counted = max(min(len(truth), 4), 1)
    return Benched(total / counted, (len(predicted) - matched) / len(predicted) if predicted else 0.0, missed / counted)


def tolerance(lane: Xs, heights: Xs) -> float:
    """How far sideways a point of this lane may be off, in pixels: 20 over the cosine of the lane's mean angle."""
    there = lane >= 0
    xs, ys = lane[there], heights[there]
    if len(xs) < 2:
        return TOLERANCE_PX
    off = ys - ys.mean()
    spread = float(off @ off)
    slope = float(off @ (xs - xs.mean())) / spread if spread else 0.0
    return TOLERANCE_PX / math.cos(math.atan(slope))


def check_against(predicted: Labelled, truth: Labelled) -> None:
    """Raise `InputError` where a prediction's lanes do not fit the heights of the truth."""
    assert truth.heights is not None
    number = len(truth.heights)
    for lane in predicted.lanes:
        if len(lane) != number:
            why = f"a lane has {len(lane)} points, but {truth.where} has {number} heights (h_samples)"
            raise refuse(predicted.where, why, "give one x per height, -2 where the lane has no point")
    if predicted.heights is not None and not np.array_equal(predicted.heights, truth.heights):
        why = f"its h_samples are others than in {truth.where}, so its x would be compared at the wrong heights"
        raise refuse(predicted.where, why, "predict at the heights of the labels")


def mask_of(labelled: Labelled, size: tuple[int, int], width: int = MASK_WIDTH) -> Mask:
    """The lanes of a frame as a mask, bool [H, W] of ``size`` (height, width)."""
    assert labelled.heights is not None
    heights = labelled.heights
    return draw((np.stack([x[x >= 0], heights[x >= 0]], axis=1) for x in labelled.lanes), size, width)


class TuSimpleData:
    """Frames that a TuSimple label file names, or the label files of a folder; images lie below that folder."""

    def __init__(self, path: Path) -> None:
        """Read the labels. Raises `ElkkitError`."""
        self._path = path
        self._folder = path if is_dir(path) else path.parent
        self._entries: list[Labelled] = list(read_labels(path, truth=True).values())

    @property
    def name(self) -> str:
        """The path."""
        return str(self._path)

    def __len__(self) -> int:
        return len(self._entries)

    def frame_id(self, index: int) -> str:
        """`raw_file` without its ending."""
        raw_file = self._entries[index].raw_file
        return raw_file.rpartition(".")[0] or raw_file

    def has_truth(self, index: int) -> bool:  # noqa: ARG002  (every line has lanes)
        """Always true."""
        return True

    def load(self, index: int) -> Frame:
        """Read the image and draw its lanes; the clip is the image's folder."""
        entry = self._entries[index]
        file = self._folder / entry.raw_file
        image = decode_image(read_bytes("image", file, MAX_BYTES, named_in=entry.where), str(file))
        truth = mask_of(entry, image.shape[:2])
        return Frame(self.frame_id(index), index, image, truth, clip=entry.raw_file.rpartition("/")[0] or None)


def _files(path: Path) -> list[Path]:
    if not is_dir(path):
        return [path]
    try:
        files = sorted(file for file in path.iterdir() if file.suffix == ".json")
    except OSError as error:
        raise from_os_error("read the labels", path, error) from error
    if not files:
        why = "the folder holds no *.json"
        raise UsageError(f"no labels in {path}", why=why, hint="name the label file, or its folder")
    return files


def _labelled(line: bytes, where: str, *, truth: bool) -> Labelled:
    record = json_object(parse_json(line, where), where)
    for key in ("raw_file", "lanes", "h_samples") if truth else ("raw_file", "lanes"):
        if key not in record:
            raise refuse(where, f"it lacks {key}", "each line is an object with raw_file, lanes and h_samples")
    raw_file = str(relative_name(record["raw_file"], where, "raw_file"))
    heights = None
    if record.get("h_samples") is not None or truth:
        heights = coordinates(json_list(record["h_samples"], where, "h_samples", MAX_POINTS), where, "h_samples")
        if not len(heights):
            raise refuse(where, "h_samples is empty")
    lanes = tuple(
        coordinates(json_list(lane, where, "a lane", MAX_POINTS), where, "a lane")
        for lane in json_list(record["lanes"], where, "lanes", MAX_LANES)
    )
    for lane in lanes if truth and heights is not None else ():
        if heights is not None and len(lane) != len(heights):
            raise refuse(where, f"a lane has {len(lane)} points, h_samples has {len(heights)}")
    return Labelled(raw_file, lanes, heights, _run_time(record, where), where)


def _run_time(record: Mapping[str, object], where: str) -> float:
    value = record.get("run_time", 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise refuse(where, f"run_time must be milliseconds, not {shown(value)}")
    return float(value)
