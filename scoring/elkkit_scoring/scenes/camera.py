"""Where the road is in the picture: a pinhole camera above a curved, hilly strip of ground."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elkkit_scoring.scenes.layout import Layout

HEIGHT = 360
WIDTH = 640
NEAREST = 2.0  # metres
FARTHEST = 160.0
LINE_PIXELS = 4
"""Thickness of a lane in the mask, across the line, in pixels of a 640x360 scene (8 px at 1280x720)."""
LINE_REACH = 75.0
"""Lanes are marked in the mask up to this distance in metres; beyond it they melt into one another."""

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """The visible road, row by row from ``top`` to the bottom of the picture (arrays of length HEIGHT - top)."""

    top: int
    depth: Rows  # metres ahead
    centre: Rows  # column of the ego lane's centre
    scale: Rows  # pixels per metre

    def column(self, offset: float) -> Rows:
        """The column, per row, of a line ``offset`` metres right of the ego lane's centre."""
        return self.centre + offset * self.scale

    def row_at(self, distance: float) -> int:
        """The picture row of the ground ``distance`` metres ahead (HEIGHT where it is below the picture)."""
        # depth falls from top to bottom, so search the reversed array.
        return HEIGHT - int(np.searchsorted(self.depth[::-1], distance))


def project(layout: Layout) -> Ground:
    """Project the road of a layout: solve row = horizon + f (height - elevation) / depth for the depth of each row."""
    inverse = np.linspace(1 / NEAREST, 1 / FARTHEST, 512)
    depth = 1 / inverse
    beyond = np.maximum(depth - 12.0, 0.0)
    elevation = layout.hill * beyond * beyond
    rows = layout.horizon + layout.focal * (layout.camera_height - elevation) * inverse
    # Behind the crest of a hill the ground comes down again in the picture: it is hidden.
    crest = int(np.argmin(rows)) + 1
    rows, inverse = rows[:crest], inverse[:crest]
    top = max(int(np.ceil(rows[-1])), 40)
    wanted = np.arange(top, HEIGHT) + 0.5
    inverse_at = _steady(np.interp(wanted, rows[::-1], inverse[::-1]), 1 << 24)
    at = 1 / inverse_at
    sideways = layout.curvature * at * at / 2 - layout.sway
    scale = layout.focal * inverse_at
    return Ground(top, at, _steady(layout.vanishing + sideways * scale, 4096), _steady(scale, 4096))


def lane_spans(ground: Ground, offset: float, thickness: float) -> npt.NDArray[np.int64]:
    """First and one-past-last column of a line of constant thickness, per row: int64 [rows, 2], clipped to the picture.

    The thickness is measured across the line, so a nearly level line covers many columns per row.
    """
    column = ground.column(offset)
    slope = np.gradient(column)
    half = thickness / 2 * np.sqrt(1 + slope * slope)
    low, high = np.ceil(column - half - 0.5), np.ceil(column + half - 0.5)
    spans: npt.NDArray[np.int64] = np.clip(np.stack([low, high], axis=1), 0, WIDTH).astype(np.int64)
    return spans


def _steady(values: Rows, steps: int) -> Rows:
    """Round to a binary grid, so that a last bit that differs between processors cannot move a pixel."""
    return np.asarray(np.round(values * steps) / steps)
