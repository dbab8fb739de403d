"""A comparison as plain data, in the shape that the command's JSON has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from elkkit.scores.compare import MetricComparison, ModelScores, Pair
from elkkit.scores.words import sentence


def as_data(compared: Iterable[MetricComparison]) -> list[dict[str, Any]]:
    """`data.metrics` of the command's JSON: numbers in the metric's unit, null where there is none."""
    return [
        {
            "metric": one.metric.name,
            "unit": one.metric.unit,
            "better": one.metric.better,
            "models": [_model_data(m) for m in one.models],
            "pairs": [{**_pair_data(p), "sentence": sentence(one.metric, p)} for p in one.pairs],
        }
        for one in compared
    ]


def _model_data(scores: ModelScores) -> dict[str, Any]:
    described = scores.description
    return {
        "model": scores.model.name,
        "version": scores.model.version,
        "n": scores.n,
        "undefined": scores.undefined,
        "without_frame": scores.without_frame,
        **{name: getattr(described, name, None) for name in ("mean", "median", "p05", "p95")},
    }


def _pair_data(pair: Pair) -> dict[str, Any]:
    return {
        "a": pair.a.label,
        "b": pair.b.label,
        "a_model": pair.a.name,
        "a_version": pair.a.version,
        "b_model": pair.b.name,
        "b_version": pair.b.version,
        "n": pair.n,
        "difference": pair.difference,
        "ci_low": pair.ci_low,
        "ci_high": pair.ci_high,
        "p": pair.p,
        "p_adjusted": pair.p_adjusted,
        "verdict": pair.verdict,
        "why": pair.why,
        "frames_missing": {"a": pair.missing_a, "b": pair.missing_b},
        "frames_undefined": pair.undefined,
    }
