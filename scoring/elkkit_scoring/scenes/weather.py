"""Light and weather: turns surfaces into what a camera records by day, at dusk, at night, in the dry and in rain."""

import numpy as np

from elkkit_scoring.scenes.camera import HEIGHT, WIDTH, Ground
from elkkit_scoring.scenes.dice import Bytes, Dice, Floats, value_noise
from elkkit_scoring.scenes.layout import Layout
from elkkit_scoring.scenes.paint import Canvas

_columns = np.arange(WIDTH, dtype=np.float32) + np.float32(0.5)


def expose(canvas: Canvas, layout: Layout, ground: Ground, dice: Dice) -> Bytes:
    """Light the surfaces, add rain, glare and sensor noise, and return the picture: uint8 [H, W, 3] BGR."""
    if layout.time == "night":
        _lamps(canvas, layout, ground, dice)
    light = {"day": _daylight, "dusk": _dusk, "night": _night}[layout.time](layout, ground, dice)
    picture = canvas.surface * light
    if layout.rain:
        _wet(picture, canvas, layout, ground, dice)
    picture += canvas.glow
    if layout.rain:
        _rain(picture, layout, dice)
    if dice.chance(0.3 if layout.rain else 0.12):
        picture = _soften(picture)
    return _record(picture, layout, dice)


def _daylight(layout: Layout, ground: Ground, dice: Dice) -> Floats:
    """Sun with shadows of trees across the road, or an even overcast."""
    light = np.full((HEIGHT, WIDTH, 1), dice.uniform(0.72, 1.12), np.float32)
    if not layout.rain and dice.chance(0.35):
        depth = ground.depth.astype(np.float32)[:, None]
        blotches = value_noise(dice, HEIGHT, WIDTH, 18, 20)[ground.top :]
        for _ in range(dice.whole(1, 4)):
            near, long = dice.uniform(3, 35), dice.uniform(1.5, 9)
            along = np.clip(np.float32(long) - np.abs(depth - np.float32(near)), 0, 1)
            shadow = np.clip((blotches - np.float32(dice.uniform(0.2, 0.6))) * 9, 0, 1) * along
            light[ground.top :, :, 0] *= 1 - shadow * np.float32(dice.uniform(0.2, 0.5))
    return light


def _dusk(layout: Layout, ground: Ground, dice: Dice) -> Floats:
    """Dim warm light: the sky still bright, the ground falling into darkness."""
    light = np.empty((HEIGHT, WIDTH, 3), np.float32)
    ground_level, sky_level = dice.uniform(0.24, 0.48), dice.uniform(0.5, 0.85)
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None]
    upper = np.clip((np.float32(layout.horizon) - rows) / np.float32(60) + 1, 0, 1)
    level = np.float32(ground_level) + upper * np.float32(sky_level - ground_level)
    warm = dice.uniform(0.0, 0.16)
    for channel, tint in enumerate((1 - warm, 1.0, 1 + warm / 2)):
        light[:, :, channel] = level * np.float32(tint)
    return light + np.float32(0.3) * _headlights(ground, dice)


def _night(layout: Layout, ground: Ground, dice: Dice) -> Floats:
    """The own headlights and, in towns, pools of street light; the rest nearly black."""
    light = np.full((HEIGHT, WIDTH, 3), dice.uniform(0.02, 0.10), np.float32)
    light += _headlights(ground, dice) * np.float32(dice.uniform(0.4, 0.95))
    if layout.skyline > 0.45:
        along = ground.depth + layout.travelled
        place = along / 28.0 - np.floor(along / 28.0) - 0.5
        pools = (0.30 / (1 + 30 * place * place) + 0.04).astype(np.float32)[:, None, None]
        light[ground.top :] += pools * np.array((0.55, 0.85, 1.0), np.float32) * np.float32(dice.uniform(0.3, 1.0))
    return light


def _headlights(ground: Ground, dice: Dice) -> Floats:
    """Light of the own headlights on the ground: fades with distance and to the sides; float32 [H, W, 1]."""
    reach, spread = dice.uniform(14, 34), dice.uniform(2.2, 4.5)
    depth = ground.depth.astype(np.float32)[:, None]
    across = (_columns - ground.centre.astype(np.float32)[:, None]) / ground.scale.astype(np.float32)[:, None]
    far = 1 / (1 + (depth / np.float32(reach)) * (depth / np.float32(reach)))
    side = across / (np.float32(spread) * (np.float32(0.6) + depth * np.float32(0.04)))
    light = np.zeros((HEIGHT, WIDTH, 1), np.float32)
    light[ground.top :, :, 0] = far / (1 + side * side)
    return light


def _lamps(canvas: Canvas, layout: Layout, ground: Ground, dice: Dice) -> None:
    """Halos of car lights, street lamps and windows in the dark."""
    for row, column, size, colour in canvas.lamps:
        white = colour[0] > 100
        _halo(
            canvas.glow,
            row,
            column,
            size * (2.2 if white else 1.6),
            np.array(colour, np.float32) * (1.3 if white else 1.0),
        )
    for _ in range(int(layout.skyline * 14)):
        row = int(layout.horizon - dice.unit() * 110)
        warm = np.array(dice.pick(((120, 190, 240), (200, 225, 235), (110, 230, 140), (60, 70, 230))), np.float32)
        _halo(canvas.glow, row, dice.whole(0, WIDTH - 1), dice.uniform(0.8, 3.0), warm)
    for _ in range(dice.pick((0, 0, 1, 2))):  # oncoming traffic beyond the barrier
        depth_row = ground.top + dice.whole(1, 30)
        row = min(depth_row, HEIGHT - 1)
        column = int(ground.column(layout.left - dice.uniform(1, 6))[row - ground.top])
        _halo(canvas.glow, row - 4, column, dice.uniform(3, 9), np.array((235, 245, 250), np.float32))


def _halo(glow: Floats, row: int, column: int, size: float, colour: Floats) -> None:
    """Add a round glow that falls off with the square of the distance, cut at eight times its size."""
    reach = int(size * 8) + 2
    y0, y1, x0, x1 = (
        max(row - reach, 0),
        min(row + reach + 1, HEIGHT),
        max(column - reach, 0),
        min(column + reach + 1, WIDTH),
    )
    if y0 >= y1 or x0 >= x1:
        return
    dy = (np.arange(y0, y1, dtype=np.float32) - row)[:, None] / np.float32(size)
    dx = (np.arange(x0, x1, dtype=np.float32) - column)[None, :] / np.float32(size)
    strength = np.maximum(1 / (1 + dy * dy + dx * dx) - np.float32(1 / 65), 0)
    glow[y0:y1, x0:x1] += colour * strength[:, :, None]


def _wet(picture: Floats, canvas: Canvas, layout: Layout, ground: Ground, dice: Dice) -> None:
    """A wet road mirrors the sky and drags lights down as streaks."""
    top, rows = ground.top, HEIGHT - ground.top
    mirror = picture[max(top - rows, 0) : top][::-1]
    sheen = np.float32(dice.uniform(0.12, 0.38))
    wet = picture[top : top + len(mirror)]
    patches = value_noise(dice, HEIGHT, WIDTH, 8, 12)[top : top + len(mirror), :, None]
    wet += (mirror - wet) * (sheen * np.clip(patches * 2 - np.float32(0.4), 0, 1))
    if layout.time != "day":
        for row, column, size, colour in canvas.lamps:
            if 0 <= column < WIDTH and row < HEIGHT - 2:
                x0, x1 = max(int(column - size), 0), min(int(column + size) + 1, WIDTH)
                fade = np.linspace(0.22, 0.0, HEIGHT - row, dtype=np.float32)[:, None, None]
                picture[row:, x0:x1] += np.array(colour, np.float32) * fade


def _rain(picture: Floats, layout: Layout, dice: Dice) -> None:
    """Mist that grey-washes the distance, and short slanted streaks."""
    mist = np.float32(dice.uniform(0.05, 0.3))
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None, None]
    veil = mist / (1 + np.maximum(rows - np.float32(layout.horizon), 0) / np.float32(60))
    grey = np.float32({"day": 178, "dusk": 70, "night": 18}[layout.time])
    picture += (grey - picture) * veil
    count, length = dice.whole(60, 260), dice.whole(5, 13)
    slant = dice.uniform(-0.35, 0.35)
    start_rows = (dice.units(count) * (HEIGHT - length)).astype(np.int64)
    start_columns = (dice.units(count) * WIDTH).astype(np.int64)
    bright = np.float32({"day": 38, "dusk": 26, "night": 22}[layout.time])
    for step in range(length):
        columns = np.clip(start_columns + int(step * slant), 0, WIDTH - 1)
        picture[start_rows + step, columns] += bright


def _soften(picture: Floats) -> Floats:
    """A 3x3 box blur: drops on the windscreen, a lens out of focus."""
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    soft: Floats = (across[:-2] + across[1:-1] + across[2:]) * np.float32(1 / 9)
    return soft


def _record(picture: Floats, layout: Layout, dice: Dice) -> Bytes:
    """White balance, sensor noise (stronger in the dark) and rounding to bytes."""
    balance = np.array([dice.uniform(0.95, 1.05) for _ in range(3)], np.float32)
    sigma = {"day": dice.uniform(1, 5), "dusk": dice.uniform(2, 7), "night": dice.uniform(3, 9)}[layout.time]
    # The sum of two bytes has a standard deviation of 104 and a mean of 255.
    noise = dice.bytes(HEIGHT, WIDTH).astype(np.float32) + dice.bytes(HEIGHT, WIDTH)
    noise = (noise - np.float32(255)) * np.float32(sigma / 104) + np.float32(0.5)
    picture = picture * balance
    picture += noise[:, :, None]
    return np.asarray(np.clip(picture, 0, 255, out=picture).astype(np.uint8))
