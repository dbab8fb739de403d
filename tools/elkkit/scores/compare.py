"""Which model is better, by how much, how sure: models described and paired frame by frame.

A verdict needs two witnesses that must agree: the 95 % bootstrap interval of the mean paired difference excludes 0, and
Wilcoxon's signed-rank test, adjusted by Holm, has p < 0.05 in the same direction.

The family that Holm adjusts over is *all pairs of one metric*. Each metric is a question of its own; the metrics of a
frame are computed from the same mask and say nearly the same, so that adjusting over them too would only cost power,
and a verdict must not change because somebody logs one more metric. Whoever reads many metrics and reports the one
that came out well is therefore not protected: choose the metric first. Intervals are not adjusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

import numpy as np

from elkkit.contract import Contract, Metric
from elkkit.scores.statistics import (
    MIN_PAIRS,
    SIGNIFICANCE,
    Description,
    describe,
    holm,
    mean_intervals,
    mean_of,
    rank_test,
)
from elkkit.scores.table import Floats, Ints, Model, ScoreColumns


class Verdict(StrEnum):
    """What a comparison of a with b says about a."""

    BETTER = "better"
    WORSE = "worse"
    DIFFERENT = "different"
    """Only of metrics without a direction."""
    NOT_SHOWN = "no difference shown"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True)
class ModelScores:
    """One model's scores of one metric."""

    model: Model
    n: int
    """Defined scores."""
    undefined: int
    """Scores that are not finite: counted, and in no mean."""
    without_frame: int
    """Of all these, scores of lines that name no frame."""
    description: Description | None
    """None where no score is defined."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models on the frames where both have a defined score. Differences are a minus b, in the metric's unit."""

    a: Model
    b: Model
    n: int
    """Frames with both scores defined."""
    missing_a: int
    """Frames of b that a has no line for."""
    missing_b: int
    undefined: int
    """Frames of both on which at least one score is undefined."""
    verdict: Verdict
    why: str | None = None
    """Why not comparable, or why no difference is shown where that is not plain from the numbers."""
    difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """Everything about one metric."""

    metric: Metric
    models: tuple[ModelScores, ...]
    pairs: tuple[Pair, ...]


@dataclass(slots=True)
class _Job:
    """A pair on its way: what is known before anything is tested."""

    pair: Pair
    frames: Ints
    differences: Floats

    @property
    def testable(self) -> bool:
        """There is something to compare."""
        return self.pair.verdict is not Verdict.NOT_COMPARABLE


def compare(columns: ScoreColumns, contract: Contract) -> tuple[MetricComparison, ...]:
    """Compare all models in all metrics of a table: the contract's metrics in its order, then others by name."""
    known = {name: i for i, name in enumerate(contract.metrics)}
    names = sorted(columns.metrics, key=lambda n: (known.get(n, len(known)), n))
    jobs = [[_pair_up(columns, a, b, name) for a, b in combinations(columns.models, 2)] for name in names]
    intervals = iter(_intervals([job for of_metric in jobs for job in of_metric if job.testable]))
    compared = []
    for name, of_metric in zip(names, jobs, strict=True):
        metric = contract.metric(name)
        _decide(metric, [job for job in of_metric if job.testable], intervals)
        models = tuple(_describe_model(columns, model, name) for model in columns.models)
        compared.append(MetricComparison(metric, models, tuple(job.pair for job in of_metric)))
    return tuple(compared)


def _decide(metric: Metric, family: Sequence[_Job], intervals: Iterator[tuple[float, float]]) -> None:
    """Complete the pairs of one metric that can be tested; `intervals` yields the bounds of each."""
    tests = [rank_test(job.differences) for job in family]
    adjusted = holm([test.p for test in tests])
    for job, test, p_adjusted in zip(family, tests, adjusted, strict=True):
        low, high = next(intervals)
        mean = mean_of(job.differences)
        verdict, why = _judge(metric, job.differences, mean, (low, high), p_adjusted, test.direction)
        job.pair = replace(
            job.pair, verdict=verdict, why=why,
            difference=mean, ci_low=low, ci_high=high, p=test.p, p_adjusted=p_adjusted,
        )  # fmt: skip


def _describe_model(columns: ScoreColumns, model: Model, metric: str) -> ModelScores:
    column = columns.of(model, metric)
    defined = column.scores[np.isfinite(column.scores)]
    loose = len(column.frames) - len(column.framed.frames)
    return ModelScores(model, len(defined), len(column.scores) - len(defined), loose, describe(defined))


def _pair_up(columns: ScoreColumns, a: Model, b: Model, metric: str) -> _Job:
    """Find the frames that both models have, and what of them can be compared."""
    all_a, all_b = columns.of(a, metric), columns.of(b, metric)
    of_a, of_b = all_a.framed, all_b.framed
    frames, in_a, in_b = np.intersect1d(of_a.frames, of_b.frames, assume_unique=True, return_indices=True)
    score_a, score_b = of_a.scores[in_a], of_b.scores[in_b]
    defined = np.isfinite(score_a) & np.isfinite(score_b)
    with np.errstate(over="ignore"):
        differences = score_a[defined] - score_b[defined]
    pair = Pair(
        a, b,
        n=len(differences),
        missing_a=len(of_b.frames) - len(frames),
        missing_b=len(of_a.frames) - len(frames),
        undefined=len(frames) - len(differences),
        verdict=Verdict.NOT_SHOWN,
    )  # fmt: skip
    why = None
    if absent := [m.spoken for m, c in ((a, all_a), (b, all_b)) if not len(c.scores)]:
        why = f"{' and '.join(absent)} {'have' if len(absent) > 1 else 'has'} no score of it"
    elif nameless := [m.spoken for m, c in ((a, of_a), (b, of_b)) if not len(c.frames)]:
        why = f"the lines of {' and '.join(nameless)} name no frame"
    elif not len(frames):
        why = "they have no frame in common"
    elif not len(differences):
        why = f"no frame has both scores defined ({len(frames):,} in common)"
    elif len(differences) < MIN_PAIRS:
        count = f"{len(differences)} frame{'s' if len(differences) > 1 else ''}"
        why = f"too few frames: {count} with both scores, and it takes {MIN_PAIRS}"
    elif not np.isfinite(differences).all():
        why = "their difference is larger than a 64-bit number holds"
    if why is not None:
        pair = replace(pair, verdict=Verdict.NOT_COMPARABLE, why=why)
    return _Job(pair, frames[defined], differences)


def _intervals(jobs: Sequence[_Job]) -> list[tuple[float, float]]:
    """The bootstrap interval of each; pairs on the same frames, of whatever metric, share their draws."""
    shared: dict[bytes, list[int]] = {}
    for i, job in enumerate(jobs):
        shared.setdefault(hashlib.blake2b(job.frames.tobytes()).digest(), []).append(i)
    found: dict[int, tuple[float, float]] = {}
    for members in shared.values():
        low, high = mean_intervals(np.stack([jobs[i].differences for i in members]))
        found.update(zip(members, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    return [found[i] for i in range(len(jobs))]


def _judge(
    metric: Metric, differences: Floats, mean: float, interval: tuple[float, float], p_adjusted: float, direction: int
) -> tuple[Verdict, str | None]:
    low, high = interval
    if not differences.any():
        return Verdict.NOT_SHOWN, f"the scores are equal on all {len(differences):,} frames"
    excluded, unlikely = low > 0 or high < 0, p_adjusted < SIGNIFICANCE
    if not excluded and not unlikely:
        return Verdict.NOT_SHOWN, None
    if not excluded:
        return Verdict.NOT_SHOWN, "the rank test alone sees one: the interval of the mean includes 0"
    if not unlikely:
        return Verdict.NOT_SHOWN, "the interval alone excludes 0: the rank test does not agree"
    if (mean > 0) != (direction > 0):
        return Verdict.NOT_SHOWN, "mean and ranks point in opposite directions"
    if metric.better == "none":
        return Verdict.DIFFERENT, None
    return (Verdict.BETTER if (mean > 0) == (metric.better == "higher") else Verdict.WORSE), None


def leading(compared: Sequence[MetricComparison]) -> list[MetricComparison]:
    """The metrics that a person looks at first.

    Those with a direction, without pixel counts, and of several times only the first; where no metric has a direction,
    the first eight.
    """
    first: list[MetricComparison] = []
    timed = False
    for one in compared:
        if one.metric.better == "none" or one.metric.unit == "px" or (one.metric.unit == "s" and timed):
            continue
        timed = timed or one.metric.unit == "s"
        first.append(one)
    return first or list(compared[:8])
