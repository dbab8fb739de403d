"""Random draws that are the same on every machine and with every numpy.

numpy keeps the *raw* 64-bit stream of a bit generator stable for good (NEP 19), but not what ``Generator``'s methods
make of it. So every draw here is made from raw words with plain arithmetic, and nothing calls ``sin``, ``exp`` or
``pow``, whose last bit differs between processors.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class Dice:
    """A stream of draws that is a pure function of its key."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([part & 0xFFFFFFFFFFFFFFFF for part in key]))

    def _word(self) -> int:
        return int(self._bits.random_raw())

    def unit(self) -> float:
        """One number in [0, 1) with 53 random bits."""
        return (self._word() >> 11) * (1.0 / (1 << 53))

    def uniform(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """One integer from low to high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[self.whole(0, len(choices) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order (Fisher-Yates)."""
        deck = list(items)
        for last in range(len(deck) - 1, 0, -1):
            other = self.whole(0, last)
            deck[last], deck[other] = deck[other], deck[last]
        return deck

    def bytes(self, *shape: int) -> Bytes:
        """Random bytes 0..255 as an array of this shape."""
        count = int(np.prod(shape))
        words: Any = self._bits.random_raw((count + 7) // 8)
        return np.asarray(words, dtype="<u8").view(np.uint8)[:count].reshape(shape)

    def units(self, count: int) -> Floats:
        """``count`` numbers in [0, 1) with 24 random bits, float32."""
        words: Any = self._bits.random_raw(count)
        return (np.asarray(words, dtype=np.uint64) >> np.uint64(40)).astype(np.float32) * np.float32(1.0 / (1 << 24))


def value_noise(dice: Dice, height: int, width: int, cells_high: int, cells_wide: int) -> Floats:
    """Smooth noise in [0, 1]: a random grid of cells, interpolated linearly to height x width (float32)."""
    grid = dice.bytes(cells_high + 1, cells_wide + 1).astype(np.float32) * np.float32(1 / 255)
    tall = _stretch(grid, height, cells_high)
    return np.ascontiguousarray(_stretch(tall.T, width, cells_wide).T)


def _stretch(grid: Floats, size: int, cells: int) -> Floats:
    """Interpolate the first axis of a (cells+1)-row grid to ``size`` rows."""
    numerator = np.arange(size, dtype=np.int64) * cells
    lower = numerator // size
    weight = ((numerator % size).astype(np.float32) / np.float32(size))[:, None]
    first: Floats = grid[lower]
    return first + (grid[lower + 1] - first) * weight
