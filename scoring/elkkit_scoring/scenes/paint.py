"""The picture of a scene: surfaces first (what colour things are), then light, then what the weather does to it.

Arrays are float32, BGR, 0..255, until the last step. The renderer never looks at the mask: a lane that cannot be seen
in the picture is still a lane in the truth, as in hand-labelled data.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elkkit_scoring.scenes.camera import HEIGHT, WIDTH, Ground
from elkkit_scoring.scenes.dice import Dice, Floats, value_noise
from elkkit_scoring.scenes.layout import Car, Colour, Layout

_columns = np.arange(WIDTH, dtype=np.float32) + np.float32(0.5)
_rows = np.arange(HEIGHT, dtype=np.float32)[:, None]


@dataclass
class Canvas:
    """The picture in the making."""

    surface: Floats  # [H, W, 3] colour of what is seen
    glow: Floats  # [H, W, 3] light that sources send into the lens
    lamps: list[tuple[int, int, float, Colour]]  # row, column, size in px, colour: sources that shine at night


def surfaces(layout: Layout, ground: Ground, dice: Dice) -> Canvas:
    """Sky, skyline, verge, road, markings, barriers and cars, as a camera would see them in even light."""
    noise = value_noise(dice, HEIGHT, WIDTH, 24, 42)
    fine = dice.bytes(HEIGHT, WIDTH).astype(np.float32) * np.float32(1 / 255) - np.float32(0.5)
    canvas = Canvas(np.empty((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH, 3), np.float32), [])
    _sky(canvas, layout, ground, dice, noise)
    _skyline(canvas, layout, ground, dice, noise, fine)
    _road(canvas, layout, ground, dice, noise, fine)
    for offset, height in layout.barriers:
        _barrier(canvas, layout, ground, offset, height, dice)
    for car in layout.cars:
        _car(canvas, ground, layout, car)
    if layout.hood:
        _hood(canvas, layout.hood, dice, noise)
    return canvas


def _sky(canvas: Canvas, layout: Layout, ground: Ground, dice: Dice, noise: Floats) -> None:
    """A gradient from zenith to horizon with clouds; overcast when it rains."""
    blue = np.array(dice.pick(((236, 206, 166), (228, 214, 196), (206, 190, 176), (240, 232, 226))), np.float32)
    if layout.rain:
        blue = np.array((188, 184, 180), np.float32)
    low = np.array((238, 232, 226), np.float32) if layout.time != "dusk" else np.array((150, 190, 240), np.float32)
    rows = ground.top + 2
    blend = np.clip(_rows[:rows] / np.float32(layout.horizon), 0, 1)[:, :, None]
    clouds = (noise[:rows] - np.float32(0.5)) * np.float32(dice.uniform(5, 50))
    np.add(blue + (low - blue) * blend, clouds[:, :, None], out=canvas.surface[:rows])


def _skyline(canvas: Canvas, layout: Layout, ground: Ground, dice: Dice, noise: Floats, fine: Floats) -> None:
    """Hills far away, then trees or houses nearer to the sides; everything below the horizon becomes verge."""
    x = np.arange(WIDTH)
    base = ground.top + 2
    for far, colour in (
        (True, (110, 104, 92)),
        (False, dice.pick(((38, 56, 44), (52, 66, 58), (70, 74, 84), (44, 50, 60)))),
    ):
        steps = dice.units(33) - np.float32(0.5)
        walk = np.interp(x, np.linspace(0, WIDTH, 33), np.cumsum(steps.astype(np.float64)))
        away = np.abs(x - layout.vanishing) / WIDTH
        if far:
            rise = 14 + 12 * walk
        else:
            jagged = np.repeat(dice.units(WIDTH // 8), 8).astype(np.float64) * 16
            rise = (10 + 190 * layout.skyline * away + 22 * walk + jagged) * np.minimum(1.0, away * 5)
        first = max(base - max(int(rise.max()), 0) - 1, 0)
        inside = _rows[first:base] >= (base - rise)[None, :].astype(np.float32)
        shade = np.float32(0.75) + noise[first:base] * np.float32(0.5)
        if not far:
            shade += fine[first:base] * np.float32(0.5)
        _lay(canvas.surface[first:base], inside, colour, shade)
    shade = np.float32(0.7) + noise[base:] * np.float32(0.6) + fine[base:] * np.float32(0.3)
    np.multiply(shade[:, :, None], np.array(layout.verge, np.float32), out=canvas.surface[base:])


def _lay(part: Floats, where: npt.NDArray[np.bool_], colour: Colour, shade: Floats) -> None:
    """Colour some pixels of a part of the picture, each darker or lighter by its shade."""
    for channel, level in enumerate(colour):
        np.copyto(part[:, :, channel], shade * np.float32(level), where=where)


def _road(canvas: Canvas, layout: Layout, ground: Ground, dice: Dice, noise: Floats, fine: Floats) -> None:
    """Tarmac or concrete with tracks, seams, joints and repairs; then the painted lines."""
    top = ground.top
    scale = ground.scale.astype(np.float32)[:, None]
    depth = ground.depth.astype(np.float32)[:, None]
    across = (_columns - ground.centre.astype(np.float32)[:, None]) / scale  # metres right of the ego lane's centre
    shade = np.float32(1.0) + (noise[top:] - np.float32(0.5)) * np.float32(dice.uniform(0.05, 0.35))
    shade += fine[top:] * np.float32(dice.uniform(0.04, 0.25))
    # Tyres polish two tracks and drip oil between them.
    lane = layout.lines[-1].offset - layout.lines[-2].offset
    beside = np.abs(across / np.float32(lane) - np.round(across / np.float32(lane)))
    shade -= np.clip(np.float32(0.22) - beside, 0, 1) * np.float32(dice.uniform(-0.2, 0.9))
    along = depth + np.float32(layout.travelled)
    if layout.concrete:
        shift = np.float32(dice.uniform(-0.5, 0.5))
        for line in layout.lines:
            if dice.chance(0.6):
                shade -= _stripe(ground, line.offset + float(shift), 0.03) * np.float32(dice.uniform(0.2, 0.55))
        slab = along / np.float32(5.0)
        joint = (slab - np.floor(slab)) * np.float32(5.0) < np.maximum(np.float32(0.06), depth * np.float32(0.004))
        shade -= joint * (depth < 30) * np.float32(dice.uniform(0.0, 0.22))
    for _ in range(dice.whole(0, 4)):  # repairs, cracks filled with tar, old marks
        near, wide, long = dice.uniform(5, 40), dice.uniform(0.1, 2.2), dice.uniform(0.5, 12)
        centre, tone = dice.uniform(layout.left, layout.right), dice.uniform(-0.3, 0.14)
        shade += (
            (np.abs(across - np.float32(centre)) < wide / 2) & (np.abs(depth - np.float32(near)) < long / 2)
        ) * np.float32(tone)
    on_road = (across > np.float32(layout.left)) & (across < np.float32(layout.right))
    _lay(canvas.surface[top:], on_road, layout.asphalt, shade)
    if not layout.lane_free:
        _markings(canvas, layout, ground, dice, fine)
    _kerbs(canvas, layout, ground, dice)


def _markings(canvas: Canvas, layout: Layout, ground: Ground, dice: Dice, fine: Floats) -> None:
    """Paint the lines, worn a little at random; some roads have reflectors in the gaps."""
    along = ground.depth + layout.travelled
    for line in layout.lines:
        cover = _stripe(ground, line.offset, line.half_width) * np.float32(line.paint)
        if line.dashed:
            period = line.dash + line.gap
            place = (along + line.phase) - np.floor((along + line.phase) / period) * period
            cover = cover * (place < line.dash).astype(np.float32)[:, None]
        cover = cover * (np.float32(0.85) + fine[ground.top :] * np.float32(0.3))
        _blend(canvas, ground, (70, 190, 225) if line.yellow else (228, 232, 234), np.clip(cover, 0, 1))
    if dice.chance(0.12):  # an arrow's shaft or a word's strokes on the own lane: paint that is not a lane line
        start = dice.uniform(8, 25)
        for offset in dice.pick(((0.0,), (-0.5, 0.5), (-0.7, 0.0, 0.7))):
            cover = _stripe(ground, offset, 0.09) * np.float32(0.8)
            cover = cover * (np.abs(ground.depth - start) < 1.6).astype(np.float32)[:, None]
            _blend(canvas, ground, (225, 225, 225), cover)


def _kerbs(canvas: Canvas, layout: Layout, ground: Ground, dice: Dice) -> None:
    """A lighter or darker rim where the tarmac ends."""
    for offset in (layout.left, layout.right):
        if dice.chance(0.5):
            tone = dice.pick((40, 60, 150, 165))
            cover = _stripe(ground, offset, dice.uniform(0.05, 0.2)) * np.float32(0.7)
            _blend(canvas, ground, (tone, tone, tone), cover)


def _stripe(ground: Ground, offset: float, half_width: float) -> Floats:
    """How much of each pixel a stripe on the ground covers: float32 [rows, W] in 0..1."""
    column = ground.column(offset).astype(np.float32)[:, None]
    half = (ground.scale * half_width).astype(np.float32)[:, None]
    cover: Floats = np.clip(half + np.float32(0.5) - np.abs(_columns - column), 0, np.minimum(np.float32(1), half * 2))
    return cover


def _blend(canvas: Canvas, ground: Ground, colour: Colour, cover: Floats) -> None:
    """Lay a colour over the ground, as thick as ``cover`` (0..1) says; touches only the covered pixels."""
    rows, columns = np.nonzero(cover)
    part = canvas.surface[ground.top :]
    under = part[rows, columns]
    part[rows, columns] = under + (np.array(colour, np.float32) - under) * cover[rows, columns][:, None]


def _barrier(canvas: Canvas, layout: Layout, ground: Ground, offset: float, height: float, dice: Dice) -> None:
    """A wall or guard rail along the road: between its foot and its top, column by column."""
    foot = ground.column(offset)
    rows = np.arange(ground.top, HEIGHT, dtype=np.float64)
    # Towards the bottom the foot moves outwards; where a bend folds it back, only the outward part is kept.
    outward = -foot if offset < layout.sway else foot
    rising = outward >= np.maximum.accumulate(outward)
    feet, at_rows, tall = outward[rising], rows[rising], (ground.scale * height)[rising]
    if len(feet) < 8:
        return
    columns = np.arange(WIDTH) if offset >= layout.sway else -np.arange(WIDTH)
    inside = (columns >= feet[0]) & (columns <= feet[-1] + 60)
    low = np.interp(columns, feet, at_rows).astype(np.float32)
    high = low - np.interp(columns, feet, tall).astype(np.float32)
    wall = (_rows < low[None, :]) & (_rows >= high[None, :]) & inside[None, :]
    colour = dice.pick(((150, 160, 166), (118, 142, 160), (170, 172, 172), (96, 100, 104)))
    place = (_rows - high[None, :]) / np.maximum(low - high, 1)[None, :]
    shade: Floats = np.float32(1.05) - place * np.float32(dice.uniform(0.1, 0.6))
    if dice.chance(0.5):  # a rail: see-through below
        wall = wall & (place < 0.45)
    _lay(canvas.surface, wall, colour, shade)


def _car(canvas: Canvas, ground: Ground, layout: Layout, car: Car) -> None:
    """The back (or front) of a vehicle: shadow, body, window, wheels, lights, plate."""
    row = ground.row_at(car.distance)
    if row >= HEIGHT or row <= ground.top:
        return
    scale = layout.focal / car.distance
    centre = float(ground.column(car.offset)[row - ground.top])
    half, tall = car.width / 2 * scale, car.height * scale
    if half < 2:
        return

    def box(left: float, up: float, right: float, down: float, colour: Colour, strength: float = 1.0) -> None:
        """Fill a part of the car; coordinates in halves of its width and parts of its height."""
        x0, x1 = (min(max(int(centre + part * half), 0), WIDTH) for part in (left, right))
        y0, y1 = (min(max(int(row - part * tall), 0), HEIGHT) for part in (up, down))
        part = canvas.surface[y0:y1, x0:x1]
        part += (np.array(colour, np.float32) - part) * np.float32(strength)

    dark: Colour = (22, 20, 20)
    glass: Colour = (64, 58, 52)
    shade: Colour = (car.paint[0] * 3 // 4, car.paint[1] * 3 // 4, car.paint[2] * 3 // 4)
    box(-1.15, 0.06, 1.15, -0.08, dark, 0.75)
    box(-0.95, 0.25, -0.6, 0.0, dark)
    box(0.6, 0.25, 0.95, 0.0, dark)
    box(-1.0, 0.62, 1.0, 0.14, car.paint)
    box(-1.0, 0.3, 1.0, 0.14, shade)
    if car.height > 2:  # a lorry is a box
        box(-1.0, 1.0, 1.0, 0.3, car.paint)
        box(-0.9, 0.92, 0.9, 0.34, shade)
    else:
        box(-0.84, 1.0, 0.84, 0.6, car.paint)
        box(-0.74, 0.94, 0.74, 0.62, glass)
    box(-0.3, 0.42, 0.3, 0.32, (190, 195, 195))
    lamp: Colour = (235, 245, 250) if car.oncoming else (40, 40, 190)
    for side in (-1, 1):
        edges = sorted((side * 0.98, side * 0.72))
        box(edges[0], 0.56, edges[1], 0.44, lamp)
        column = int(centre + side * 0.85 * half)
        canvas.lamps.append((int(row - 0.5 * tall), column, max(half * (0.5 if car.oncoming else 0.2), 1.0), lamp))


def _hood(canvas: Canvas, rows: int, dice: Dice, noise: Floats) -> None:
    """The own bonnet at the bottom, arched, with a dull reflection."""
    arch = ((_columns - WIDTH / 2) / (WIDTH / 2)) ** 2 * np.float32(rows * 0.5)
    inside = _rows >= (HEIGHT - rows + arch)[None, :]
    paint = np.float32(dice.uniform(14, 60)) + noise * np.float32(50)
    np.copyto(canvas.surface, np.repeat(paint[:, :, None], 3, axis=2), where=inside[:, :, None])


def hood_mask(rows: int) -> npt.NDArray[np.bool_]:
    """The pixels that the own bonnet hides: bool [H, W]."""
    arch = ((_columns - WIDTH / 2) / (WIDTH / 2)) ** 2 * np.float32(rows * 0.5)
    hidden: npt.NDArray[np.bool_] = _rows >= (HEIGHT - rows + arch)[None, :]
    return hidden & (rows > 0)
