"""CULane's lane files (`.lines.txt`) and its F1: lanes 30 px wide, IoU above 0.5, matched one to one.

A file holds one lane a line, `x y x y …`, and lies beside its image. As the official tool does it, a lane of three or
more points becomes a natural cubic spline over its chord length, 50 steps a segment; one of two is a straight line;
one of fewer counts as a lane that is like no other. The picture is 1640x590.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.optimize import linear_sum_assignment

from elkkit.errors import UsageError, from_os_error
from elkkit_scoring.datasets import Frame
from elkkit_scoring.image import MAX_BYTES, decode_image
from elkkit_scoring.labels import (
    MAX_LANES,
    MAX_POINTS,
    Lane,
    coordinates,
    draw,
    is_dir,
    is_file,
    once,
    read_bytes,
    refuse,
    relative_name,
    shown,
    text_lines,
    without_repeats,
)

SIZE = (590, 1640)
"""Height and width of every picture."""
LANE_WIDTH = 30
"""Width of a lane in the comparison, in pixels."""
IOU = 0.5
"""A pair of lanes is a match above this."""
MASK_WIDTH = 16
"""Width of the lines in masks made from these labels, in pixels: that of the data set's own masks."""
ENDING = ".lines.txt"
IMAGE_ENDING = ".jpg"
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Matches:
    """Lanes of a frame, or of many: found, made up, missed. Adding two pools them."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
        )

    @property
    def precision(self) -> float:
        """Found of predicted; nan where nothing was predicted (the official tool prints -1)."""
        predicted = self.true_positive + self.false_positive
        return self.true_positive / predicted if predicted else math.nan

    @property
    def recall(self) -> float:
        """Found of labelled; nan where nothing is labelled (the official tool prints -1)."""
        truth = self.true_positive + self.false_negative
        return self.true_positive / truth if truth else math.nan

    @property
    def f1(self) -> float:
        """2PR/(P+R) from the counts: 0 where lanes are missed or made up and none found; nan without any lane."""
        lanes = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / lanes if lanes else math.nan


def read_lanes(path: Path) -> list[Lane]:
    """The lanes of a file; an empty file has none. Raises `InputError` with file and line."""
    lanes = []
    for where, line in text_lines("lanes", path):
        words = line.split()
        if len(words) > 2 * MAX_POINTS:
            raise refuse(where, f"the lane has {len(words) // 2:,} points; at most {MAX_POINTS:,} are read")
        if len(words) % 2:
            raise refuse(where, f"a lane is x y x y …, but there are {len(words)} numbers")
        lanes.append(coordinates((_number(word, where) for word in words), where, "the lane").reshape(-1, 2))
        if len(lanes) > MAX_LANES:
            raise refuse(where, f"the frame has more than {MAX_LANES} lanes")
    return lanes


def read_list(path: Path) -> list[str]:
    """Frames of a list file, as the paths of their images without a leading `/`. Raises `InputError`."""
    found = []
    for where, line in text_lines("list", path):
        try:
            word = line.decode().split()[0]  # masks and flags may follow
        except UnicodeDecodeError:
            raise refuse(where, "it is not UTF-8") from None
        found.append((str(relative_name(word.removeprefix("/"), where, "the image")), where))
    if not found:
        raise refuse(str(path), "the list is empty", "give a list with one image a line")
    once(found, "the image")
    return [name for name, _ in found]


def lanes_name(image: str) -> str:
    """The lane file of an image: `a/b.jpg` has `a/b.lines.txt`."""
    return str(PurePosixPath(image).with_suffix("")) + ENDING


def curve(lane: Lane) -> Lane:
    """The lane as the official tool draws it: points on a natural cubic spline, or as they are if at most two."""
    points = without_repeats(lane.astype(np.float32).astype(np.float64))
    if len(points) <= 2:
        return points
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    steps = np.arange(_STEPS) / _STEPS
    at = (along[:-1, None] + lengths[:, None] * steps).ravel()
    spline = CubicSpline(along, points, bc_type="natural")
    return np.concatenate([spline(at), points[-1:]])


def ious(first: Sequence[Lane], second: Sequence[Lane], width: int = LANE_WIDTH) -> npt.NDArray[np.float64]:
    """IoU of each lane with each, [len(first), len(second)]; 0 for a lane that draws nothing."""
    drawn = [[draw([curve(lane)], SIZE, width) for lane in lanes] for lanes in (first, second)]
    sizes = [[int(np.count_nonzero(mask)) for mask in masks] for masks in drawn]
    found = np.zeros((len(first), len(second)))
    for row, one in enumerate(drawn[0]):
        for column, other in enumerate(drawn[1]):
            if sizes[0][row] and sizes[1][column]:
                both = int(np.count_nonzero(one & other))
                found[row, column] = both / (sizes[0][row] + sizes[1][column] - both)
    return found


def match(predicted: Sequence[Lane], truth: Sequence[Lane], iou: float = IOU, width: int = LANE_WIDTH) -> Matches:
    """Match the lanes of one frame so that the sum of IoU is largest; pairs above ``iou`` are found.

    The official tool's matching takes sums within 0.01 for equal, so between near ties it may find another.
    """
    found = 0
    if predicted and truth:
        overlaps = ious(truth, predicted, width)
        found = int((overlaps[linear_sum_assignment(overlaps, maximize=True)] > iou).sum())
    return Matches(found, len(predicted) - found, len(truth) - found)


class CuLaneData:
    """Frames of a folder that have a `.lines.txt`, or those that a list file of CULane names.

    The images of a list lie below the folder that holds its folder `list`, or else beside it.
    """

    def __init__(self, path: Path) -> None:
        """Find the frames. Raises `ElkkitError`."""
        self._path = path
        if is_dir(path):
            self._folder = path
            self._images = [name.removesuffix(ENDING) + IMAGE_ENDING for name in find_lanes(path)]
        else:
            inside = [parent.parent for parent in path.absolute().parents if parent.name == "list"]
            self._folder = inside[0] if inside else path.parent
            self._images = read_list(path)

    @property
    def name(self) -> str:
        """The path."""
        return str(self._path)

    def __len__(self) -> int:
        return len(self._images)

    def frame_id(self, index: int) -> str:
        """The image's path in the data, without its ending."""
        return lanes_name(self._images[index]).removesuffix(ENDING)

    def has_truth(self, index: int) -> bool:
        """Whether the lane file is there."""
        return is_file(self._folder / lanes_name(self._images[index]))

    def load(self, index: int) -> Frame:
        """Read the image and draw its lanes; the clip is the image's folder."""
        name = self._images[index]
        file = self._folder / name
        image = decode_image(read_bytes("image", file, MAX_BYTES, named_in=self.name), str(file))
        truth = None
        if self.has_truth(index):
            lanes = read_lanes(self._folder / lanes_name(name))
            truth = draw((curve(lane) for lane in lanes), image.shape[:2], MASK_WIDTH)
        return Frame(self.frame_id(index), index, image, truth, clip=name.rpartition("/")[0] or None)


def find_lanes(folder: Path) -> list[str]:
    """The `.lines.txt` below a folder, as paths in it, sorted. Raises `ElkkitError` where there is none."""
    try:
        next(folder.iterdir(), None)  # says what is wrong with a folder, which rglob does not
        found = sorted(file.relative_to(folder).as_posix() for file in folder.rglob(f"*{ENDING}"))
    except OSError as error:
        raise from_os_error("read the lanes", folder, error) from error
    if not found:
        why = f"no file below it ends in {ENDING}"
        raise UsageError(f"no lanes in {folder}", why=why, hint="give CULane's folder, or one of a prediction")
    for name in found:
        relative_name(name, str(folder), "a file's name")
    return found


def _number(word: bytes, where: str) -> float:
    try:
        if b"_" in word:
            raise ValueError
        return float(word)
    except ValueError:
        raise refuse(where, f"the lane must hold numbers, not {shown(word.decode('utf-8', 'replace'))}") from None
