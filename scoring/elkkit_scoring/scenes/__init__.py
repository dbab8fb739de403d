"""Synthetic road scenes with exact truth: an endless, seeded supply of frames for demos, tests and training.

``generate(index, seed=…)`` is a pure function: the same arguments give the same pixels on any machine. The truth
follows the habit of hand-labelled lane sets (TuSimple): every painted line of the carriageway is one unbroken line of
constant thickness, also between its dashes and behind a car.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elkkit_scoring.scenes.camera import HEIGHT, LINE_PIXELS, LINE_REACH, WIDTH, Ground, lane_spans, project
from elkkit_scoring.scenes.dice import Bytes, Dice
from elkkit_scoring.scenes.layout import CLIP_LENGTH, Layout, Time, clip_name, plan
from elkkit_scoring.scenes.paint import hood_mask, surfaces
from elkkit_scoring.scenes.weather import expose

DEFAULT_SEED = 7
"""The seed of ``scenes:N``: held-out scenes. Training uses other seeds (see ``scoring/models/train.py``)."""

CONDITIONS = ("day", "dusk", "night", "rain", "dry", "curve", "hill", "dashed", "solid", "occluded", "lane_free")
"""Every word that ``Scene.conditions`` can hold."""

__all__ = [
    "CLIP_LENGTH", "CONDITIONS", "DEFAULT_SEED", "HEIGHT", "LINE_PIXELS", "WIDTH", "Layout", "Scene", "Time",
    "generate", "generate_from", "plan",
]  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """One synthetic frame with its truth."""

    frame_id: str  # e.g. scene-7-000042: seed and index
    index: int
    clip: str  # four successive scenes share a road; resample by clip where frames must be independent
    image: Bytes  # uint8 [360, 640, 3], BGR
    mask: npt.NDArray[np.bool_]  # bool [360, 640], lane pixels
    conditions: tuple[str, ...]
    lane_free: bool


def frame_id(seed: int, index: int) -> str:
    """The id of a scene, e.g. ``scene-7-000042``."""
    return f"scene-{seed}-{index:06d}"


def generate(index: int, *, seed: int = DEFAULT_SEED) -> Scene:
    """Scene ``index`` of ``seed``; raises ``ValueError`` for a negative index or seed."""
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed must not be negative, got index={index}, seed={seed}")
    return generate_from(plan(seed, index), index, seed=seed)


def generate_from(layout: Layout, index: int, *, seed: int) -> Scene:
    """Render a layout (perhaps changed after ``plan``) as scene ``index`` of ``seed``."""
    dice = Dice(seed, index, 3)
    ground = project(layout)
    canvas = surfaces(layout, ground, dice)
    image = expose(canvas, layout, ground, dice)
    mask = _truth(layout, ground)
    return Scene(
        frame_id=frame_id(seed, index),
        index=index,
        clip=clip_name(seed, index),
        image=image,
        mask=mask,
        conditions=_conditions(layout, ground, mask),
        lane_free=not mask.any(),
    )


def _truth(layout: Layout, ground: Ground) -> npt.NDArray[np.bool_]:
    """The lane mask, bool [H, W]."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    if layout.lane_free:
        return mask
    first = max(ground.row_at(LINE_REACH), ground.top)
    for line in layout.lines:
        for row, (low, high) in enumerate(
            lane_spans(ground, line.offset, LINE_PIXELS)[first - ground.top :], start=first
        ):
            mask[row, low:high] = True
    if layout.hood:
        mask &= ~hood_mask(layout.hood)
    return mask


def _conditions(layout: Layout, ground: Ground, mask: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    """The words that describe the scene, in the order of ``CONDITIONS``."""
    words = {layout.time, "rain" if layout.rain else "dry"}
    if layout.curvature:
        words.add("curve")
    if layout.hill:
        words.add("hill")
    if not mask.any():
        words.add("lane_free")
    else:
        words |= {"dashed" if line.dashed else "solid" for line in layout.lines}
        if _occluded_share(layout, ground, mask) > 0.04:
            words.add("occluded")
    return tuple(word for word in CONDITIONS if word in words)


def _occluded_share(layout: Layout, ground: Ground, mask: npt.NDArray[np.bool_]) -> float:
    """The part of the lane pixels that lies behind a car."""
    hidden = np.zeros_like(mask)
    for car in layout.cars:
        row = ground.row_at(car.distance)
        if ground.top < row < HEIGHT:
            scale = layout.focal / car.distance
            centre = ground.column(car.offset)[row - ground.top]
            left, right = (int(np.clip(centre + side * car.width / 2 * scale, 0, WIDTH)) for side in (-1, 1))
            hidden[max(int(row - car.height * scale), 0) : row, left:right] = True
    return int(np.count_nonzero(hidden & mask)) / max(int(np.count_nonzero(mask)), 1)
