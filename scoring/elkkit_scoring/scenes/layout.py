"""What is in a scene, before a pixel is drawn: weather, camera, road, lines, cars. Pure functions of (seed, index).

Four successive scenes are one *clip*: the same road, camera and weather, a little further on. Conditions are dealt
from a shuffled deck of ten clips, so that even 120 scenes hold every condition in its proper share: 50 % day, 20 %
dusk, 30 % night; 30 % rain; 10 % without lane markings.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from elkkit_scoring.scenes.dice import Dice

CLIP_LENGTH = 4
_DECK = 10
_TIMES: tuple["Time", ...] = ("day",) * 5 + ("dusk",) * 2 + ("night",) * 3
_DRY = (True,) * 7 + (False,) * 3
_MARKED = (True,) * 9 + (False,)

Time = Literal["day", "dusk", "night"]
Colour = tuple[int, int, int]
"""Blue, green, red, each 0..255."""

_CAR_PAINTS: tuple[Colour, ...] = (
    (30, 28, 27), (70, 68, 66), (200, 200, 198), (225, 226, 228), (120, 120, 122), (40, 35, 120), (110, 70, 40),
    (60, 80, 70),
)  # fmt: skip
_VERGES: tuple[Colour, ...] = ((48, 92, 74), (52, 78, 66), (70, 96, 108), (92, 112, 128), (118, 122, 126))


@dataclass(frozen=True)
class Line:
    """One painted line: where it is across the road and what it looks like."""

    offset: float  # metres to the right of the ego lane's centre
    dashed: bool
    yellow: bool
    half_width: float  # metres
    paint: float  # 0 worn away .. 1 fresh
    dash: float  # metres painted
    gap: float  # metres not painted
    phase: float  # metres, where the first dash begins


@dataclass(frozen=True)
class Car:
    """One vehicle on the road ahead."""

    distance: float  # metres
    offset: float  # metres to the right of the ego lane's centre
    width: float
    height: float
    paint: Colour
    oncoming: bool


@dataclass(frozen=True)
class Layout:
    """Everything the renderer needs to know about one scene."""

    time: Time
    rain: bool
    lane_free: bool
    focal: float  # pixels
    camera_height: float  # metres
    horizon: float  # row of the vanishing point of a flat road
    vanishing: float  # column of it
    sway: float  # metres the camera is right of the ego lane's centre
    curvature: float  # 1/m
    hill: float  # 1/m, curvature of the vertical profile; > 0 climbs
    left: float  # metres, edge of the tarmac
    right: float
    shoulder: float  # metres of tarmac beyond the outer lines
    lines: tuple[Line, ...]
    cars: tuple[Car, ...]
    asphalt: Colour
    verge: Colour
    concrete: bool
    barriers: tuple[tuple[float, float], ...]  # (offset, height) in metres
    skyline: float  # 0 open country .. 1 built up
    travelled: float  # metres along the clip
    hood: int  # rows of the own bonnet at the bottom


def clip_name(seed: int, index: int) -> str:
    """The clip that a scene belongs to, e.g. ``clip-7-0003``."""
    return f"clip-{seed}-{index // CLIP_LENGTH:04d}"


def plan(seed: int, index: int, *, times: tuple[Time, ...] | None = None) -> Layout:
    """Decide what scene ``index`` of ``seed`` shows.

    ``times`` restricts the times of day (training on day scenes only); the other decisions keep their draws.
    """
    clip, step = divmod(index, CLIP_LENGTH)
    time, rain, lane_free = _weather(seed, clip)
    if times is not None and time not in times:
        time = Dice(seed, clip, 5).pick(times)
    road = Dice(seed, clip, 1)
    frame = Dice(seed, index, 2)

    focal = road.uniform(520, 800)
    camera_height = road.uniform(1.2, 1.9)
    horizon = road.uniform(112, 172) + frame.uniform(-3, 3)
    curvature = 0.0 if road.chance(0.45) else road.uniform(0.0006, 0.0042) * road.pick((-1, 1))
    hill = 0.0 if road.chance(0.55) else road.uniform(0.0002, 0.0009) * road.pick((-1, 1))
    lane_width = road.uniform(3.0, 3.8)
    lanes_left, lanes_right = road.pick(((0, 0), (1, 0), (0, 1), (1, 1), (1, 1), (1, 0), (2, 1), (1, 2)))
    shoulder = road.uniform(0.2, 1.0) if road.chance(0.55) else road.uniform(1.0, 3.0)
    lines = _lines(road, lane_width, lanes_left, lanes_right)
    left, right = lines[0].offset - shoulder, lines[-1].offset + shoulder
    concrete = road.chance(0.4)
    grey = road.whole(122, 168) if concrete else road.whole(58, 112)
    tint = road.whole(-6, 8)
    sides = [side for side in (left - road.uniform(0.1, 1.5), right + road.uniform(0.1, 1.5)) if road.chance(0.33)]
    barriers = tuple((side, road.uniform(0.6, 1.3)) for side in sides)
    centres = [(a.offset + b.offset) / 2 for a, b in pairwise(lines)]
    two_way = len(centres) > 1 and road.chance(0.4)
    return Layout(
        time=time,
        rain=rain,
        lane_free=lane_free,
        focal=focal,
        camera_height=camera_height,
        horizon=horizon,
        vanishing=320 + road.uniform(-50, 50) + frame.uniform(-8, 8),
        sway=road.uniform(-0.45, 0.45) + frame.uniform(-0.2, 0.2),
        curvature=curvature * frame.uniform(0.85, 1.15),
        hill=hill,
        left=left,
        right=right,
        shoulder=shoulder,
        lines=lines,
        cars=_cars(frame, centres, two_way),
        asphalt=(grey + tint, grey, grey - tint // 2),
        verge=road.pick(_VERGES),
        concrete=concrete,
        barriers=barriers,
        skyline=road.unit(),
        travelled=step * road.uniform(7.0, 22.0) + road.uniform(0, 50),
        hood=road.whole(8, 34) if road.chance(0.2) else 0,
    )


def _weather(seed: int, clip: int) -> tuple[Time, bool, bool]:
    """Time of day, rain and lane-free of one clip, from three decks shuffled apart."""
    block, place = divmod(clip, _DECK)
    deck = Dice(seed, block, 0)
    times, dry, marked = deck.shuffled(_TIMES), deck.shuffled(_DRY), deck.shuffled(_MARKED)
    return times[place], not dry[place], not marked[place]


def _lines(dice: Dice, lane_width: float, lanes_left: int, lanes_right: int) -> tuple[Line, ...]:
    """The painted lines from left to right; outer ones mostly solid, inner ones mostly dashed."""
    dash, gap = dice.pick(((3.0, 9.0), (3.0, 6.0), (6.0, 12.0), (2.0, 4.0), (4.0, 8.0)))
    phase = dice.uniform(0, dash + gap)
    half_width = dice.uniform(0.05, 0.11)
    fresh = dice.uniform(0.35, 1.0)
    first, last = -lanes_left, lanes_right + 1
    yellow_left = dice.chance(0.35)
    lines = []
    for number in range(first, last + 1):
        outer = number in (first, last)
        lines.append(
            Line(
                offset=(number - 0.5) * lane_width,
                dashed=dice.chance(0.15 if outer else 0.8),
                yellow=yellow_left and number == first,
                half_width=half_width * dice.uniform(0.9, 1.2),
                paint=fresh * dice.uniform(0.7, 1.0),
                dash=dash,
                gap=gap,
                phase=phase,
            )
        )
    return tuple(lines)


def _cars(dice: Dice, centres: list[float], two_way: bool) -> tuple[Car, ...]:
    """Cars and lorries in the lanes, furthest first; none in about a quarter of the scenes."""
    cars = []
    for _ in range(dice.pick((0, 0, 1, 1, 2, 3, 4, 6))):
        lane = dice.whole(0, len(centres) - 1)
        lorry = dice.chance(0.18)
        # Squaring draws more cars near by than far away, as a driver sees them.
        distance = 9.0 + 70.0 * dice.unit() * dice.unit() + (0.0 if abs(centres[lane]) > 1 else 6.0)
        cars.append(
            Car(
                distance=distance,
                offset=centres[lane] + dice.uniform(-0.4, 0.4),
                width=dice.uniform(2.2, 2.6) if lorry else dice.uniform(1.6, 2.0),
                height=dice.uniform(2.4, 3.6) if lorry else dice.uniform(1.3, 1.8),
                paint=dice.pick(_CAR_PAINTS),
                oncoming=two_way and lane == 0,
            )
        )
    return tuple(sorted(cars, key=lambda car: -car.distance))
