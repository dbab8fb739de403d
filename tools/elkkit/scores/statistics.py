"""Numbers out of scores: description, bootstrap interval, rank test, correction for several pairs.

The interval and the test are scipy's. All arrays are of float64; scores are in their metric's unit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from elkkit.scores.table import Floats, Ints

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
MIN_PAIRS = 6
"""Of 5 pairs the most extreme has p = 2/2^5 = 0.0625, so that nothing could ever be shown."""
BCA_UP_TO = 1_000
"""Above so many pairs the corrections of BCa are far below the interval's width, and its jackknife is quadratic."""
RESAMPLES = 9_999
RESAMPLES_ABOVE = 1_999
"""Above `BCA_UP_TO`, where the interval's own noise is small and each resample is long."""
SEED = 20_261_122
_BATCH_DRAWS = 250_000
"""Draws held in memory at once, in four arrays of 8 bytes each: what fits a processor's cache is fastest."""
_COLUMNS = 64
"""Samples that share the draws of one bootstrap; what is held is this times the number of resamples."""


@dataclass(frozen=True, slots=True)
class Description:
    """Scores of one model in a metric's unit; percentiles by linear interpolation."""

    mean: float
    median: float
    p05: float
    p95: float


def describe(values: Floats) -> Description | None:
    """Describe finite scores; None where there are none."""
    if not len(values):
        return None
    values = np.sort(values)  # so that the order of lines does not reach the last digit
    scaled, exponent = _scaled(values)
    numbers = np.ldexp([scaled.mean(), *np.quantile(scaled, (0.5, 0.05, 0.95))], exponent)
    inside = np.clip(numbers, values[0], values[-1])  # where rounding has left the range, as for equal values
    return Description(*inside.tolist())


def mean_of(values: Floats) -> float:
    """Mean of finite values; finite whatever they are, since it lies between them."""
    scaled, exponent = _scaled(values)
    return float(np.ldexp(scaled.mean(), exponent))


def mean_intervals(samples: Floats) -> tuple[Floats, Floats]:
    """Bounds of the bootstrap interval of the mean of each row of `samples` (rows x pairs, at least 2 pairs).

    `scipy.stats.bootstrap` with a fixed seed: BCa up to 1,000 pairs, percentile above. The rows share their draws, and
    each has the interval that it would have alone. A row of equal values has it as both bounds.
    """
    low, high = samples.min(axis=1), samples.max(axis=1)
    varied = np.flatnonzero(low < high)
    for start in range(0, len(varied), _COLUMNS):
        some = varied[start : start + _COLUMNS]
        scaled = [_scaled(samples[row]) for row in some]
        bounds = _bootstrap(np.stack([values for values, _ in scaled]))
        exponents = np.array([exponent for _, exponent in scaled])
        low[some], high[some] = np.ldexp(bounds[0], exponents), np.ldexp(bounds[1], exponents)
    return low, high


def _bootstrap(samples: Floats) -> tuple[Floats, Floats]:
    from scipy.stats import bootstrap

    rows, n = samples.shape

    def means(drawn: Ints, axis: int) -> Floats:
        """Means of all rows at once: how often each pair was drawn, times its value.

        Draws of the same pairs in another order have exactly the same mean, so that BCa counts them as ties.
        """
        drawn, single = np.atleast_2d(drawn), drawn.ndim == 1
        count = len(drawn)
        places = drawn + np.arange(0, count * n, n)[:, None]
        weights = np.bincount(places.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)
        # not `@`: a product of matrices rounds by its shape, and its threads stall where the cores are busy
        sums: list[Floats] = [np.einsum("ij,j->i", weights, row) for row in samples]
        means_of: Floats = np.stack(sums) / drawn.shape[axis]
        return means_of[:, 0] if single else means_of

    method: Literal["BCa", "percentile"] = "BCa" if n <= BCA_UP_TO else "percentile"
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a degenerate row is mended below
        result = bootstrap(
            (np.arange(n),),
            means,
            n_resamples=RESAMPLES if n <= BCA_UP_TO else RESAMPLES_ABOVE,
            batch=max(1, _BATCH_DRAWS // n),
            vectorized=True,
            confidence_level=CONFIDENCE,
            method=method,
            rng=np.random.default_rng(SEED),
        )
    low, high = np.array(result.confidence_interval.low), np.array(result.confidence_interval.high)
    for row in np.flatnonzero(~(np.isfinite(low) & np.isfinite(high))):
        tail = (1 - CONFIDENCE) / 2
        low[row], high[row] = np.quantile(result.bootstrap_distribution[row], (tail, 1 - tail))
    return low.reshape(rows), high.reshape(rows)


@dataclass(frozen=True, slots=True)
class RankTest:
    """Wilcoxon's signed-rank test of paired differences."""

    p: float
    """Two-sided; 1 where all differences are zero."""
    direction: int
    """Sign of the larger rank sum: 1 where positive differences outweigh the negative ones."""


def rank_test(differences: Floats) -> RankTest:
    """`scipy.stats.wilcoxon` without the zeros, as Wilcoxon did: exact for few pairs, else by the normal law."""
    from scipy.stats import rankdata, wilcoxon

    some = differences[differences != 0]
    if not len(some):
        return RankTest(1.0, 0)
    ranks = rankdata(np.abs(some))
    balance = float((ranks * np.sign(some)).sum())
    return RankTest(min(1.0, float(wilcoxon(some).pvalue)), int(np.sign(balance)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values of one family by Holm (1979), so that one false finding in the family has at most their level."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def _scaled(values: Floats) -> tuple[Floats, int]:
    """Values divided by a power of two, which is exact, so that no sum, square or cube of them leaves the range."""
    exponent = int(np.frexp(np.abs(values).max())[1])
    return np.ldexp(values, -exponent), exponent
