"""Mask metrics from counts. A metric whose denominator is zero is undefined (nan), never 0 and never 1.

Definitions (also in the contract, and the same as scikit-learn's where it has them and they are defined; P predicted,
T truth): IoU |P∩T| / |P∪T|, Precision |P∩T| / |P|, Recall |P∩T| / |T|, F1 2|P∩T| / (|P|+|T|), Accuracy right pixels /
all pixels, Balanced_accuracy mean of the recalls of lane and background. F1_tolerant counts a pixel as right within a
disk around the other mask, as BDD100K's lane evaluation does (there P = R = 1 for two empty masks; here that is
undefined).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import cv2
import numpy as np

from elkkit.contract import load_contract
from elkkit.errors import InputError
from elkkit_scoring.image import Mask

NAN = math.nan


class MetricName(StrEnum):
    """The contract's metrics that scoring writes; a test holds them against the contract."""

    IOU = "IoU"
    ACCURACY = "Accuracy"
    BALANCED_ACCURACY = "Balanced_accuracy"
    PRECISION = "Precision"
    RECALL = "Recall"
    F1 = "F1"
    F1_TOLERANT = "F1_tolerant"
    INFERENCE_TIME = "Inference_time"
    PREPROCESS_TIME = "Preprocess_time"
    POSTPROCESS_TIME = "Postprocess_time"
    TRUE_POSITIVE_PX = "True_positive_px"
    PREDICTED_PX = "Predicted_px"
    TRUTH_PX = "Truth_px"
    LANE_SHARE = "Lane_share"
    MEAN_PROBABILITY = "Mean_probability"
    BRIGHTNESS = "Brightness"


NEED_TRUTH = (
    MetricName.IOU,
    MetricName.ACCURACY,
    MetricName.BALANCED_ACCURACY,
    MetricName.PRECISION,
    MetricName.RECALL,
    MetricName.F1,
    MetricName.F1_TOLERANT,
    MetricName.TRUE_POSITIVE_PX,
    MetricName.TRUTH_PX,
)
"""Metrics of a frame that has ground truth; the others need none."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The record behind every ratio, in pixels; adding two pools them."""

    true_positive: int
    predicted: int
    truth: int
    pixels: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.true_positive + other.true_positive,
            self.predicted + other.predicted,
            self.truth + other.truth,
            self.pixels + other.pixels,
        )

    @property
    def true_negative(self) -> int:
        """Background pixels that both masks call background."""
        return self.pixels - self.predicted - self.truth + self.true_positive


def count(predicted: Mask, truth: Mask) -> Counts:
    """Count two bool masks [H, W]. Raises `InputError`, naming both sizes, where they differ."""
    if predicted.shape != truth.shape:
        sizes = [f"{mask.shape[1]}x{mask.shape[0]}" for mask in (truth, predicted)]
        why = f"the mask is {sizes[0]}, the image {sizes[1]}"
        raise InputError("the mask does not fit the image", why=why, hint="give a mask of the image's size")
    return Counts(
        int(np.count_nonzero(predicted & truth)),
        int(np.count_nonzero(predicted)),
        int(np.count_nonzero(truth)),
        predicted.size,
    )


def ratios(counts: Counts) -> dict[MetricName, float]:
    """Every ratio that the counts alone decide; nan where the denominator is zero."""
    both, predicted, truth, pixels = counts.true_positive, counts.predicted, counts.truth, counts.pixels
    background = pixels - truth
    return {
        MetricName.IOU: _over(both, predicted + truth - both),
        MetricName.ACCURACY: _over(both + counts.true_negative, pixels),
        MetricName.BALANCED_ACCURACY: (_over(both, truth) + _over(counts.true_negative, background)) / 2,
        MetricName.PRECISION: _over(both, predicted),
        MetricName.RECALL: _over(both, truth),
        MetricName.F1: _over(2 * both, predicted + truth),
    }


def f1_tolerant(predicted: Mask, truth: Mask, radius: int | None = None) -> float:
    """F1 with a tolerance of ``radius`` pixels of the image (the contract's when left out); nan where both are empty.

    Precision is the share of predicted pixels within a disk of that radius around the truth, recall the share of the
    truth's pixels within such a disk around the prediction; 0 where only one mask is empty, as for F1.
    """
    radius = tolerance() if radius is None else radius
    n_predicted, n_truth = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    if not n_predicted or not n_truth:
        return NAN if n_predicted == n_truth else 0.0
    precision = np.count_nonzero(predicted & _widened(truth, radius)) / n_predicted
    recall = np.count_nonzero(truth & _widened(predicted, radius)) / n_truth
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@cache
def tolerance() -> int:
    """The contract's tolerance of F1_tolerant, in pixels of the image."""
    return load_contract().metrics[MetricName.F1_TOLERANT].tolerance_px or 0


def against_truth(predicted: Mask, truth: Mask) -> dict[MetricName, float | int]:
    """All metrics of `NEED_TRUTH` for one frame. Raises `InputError` where the sizes differ."""
    counts = count(predicted, truth)
    return {
        **ratios(counts),
        MetricName.F1_TOLERANT: f1_tolerant(predicted, truth),
        MetricName.TRUE_POSITIVE_PX: counts.true_positive,
        MetricName.TRUTH_PX: counts.truth,
    }


def pooled(frames: Iterable[Counts]) -> dict[MetricName, float]:
    """Ratios of the summed counts (micro average): every pixel weighs the same, whichever frame it is in."""
    return ratios(sum(frames, Counts(0, 0, 0, 0)))


def mean_of_defined(values: Iterable[float]) -> tuple[float, int, int]:
    """Mean over the defined values (macro average), how many those are, and how many are undefined."""
    every = list(values)
    defined = [value for value in every if not math.isnan(value)]
    return (math.fsum(defined) / len(defined) if defined else NAN), len(defined), len(every) - len(defined)


def false_alarm_rate(frames: Iterable[Counts], *, more_than: int = 0) -> float:
    """Share of lane-free frames with more than so many predicted pixels; nan where no frame is lane-free."""
    alarms = [counts.predicted > more_than for counts in frames if not counts.truth]
    return _over(sum(alarms), len(alarms))


def _over(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else NAN


def _widened(mask: Mask, radius: int) -> Mask:
    reach = np.arange(-radius, radius + 1)
    disk = (reach[:, None] ** 2 + reach[None, :] ** 2 <= radius * radius).astype(np.uint8)
    return np.asarray(cv2.dilate(mask.view(np.uint8), disk)).view(np.bool_)
