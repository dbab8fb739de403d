"""Mask metrics: equal to scikit-learn where it defines them, nan where the denominator is zero."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from sklearn import metrics as judge

from elkkit.contract import load_contract
from elkkit.errors import UsageError
from elkkit_scoring import metrics
from elkkit_scoring.metrics import Counts, MetricName, count, f1_tolerant, false_alarm_rate, pooled, ratios

EXACT = {"abs": 1e-12, "rel": 0}
SHAPE = (9, 13)
EMPTY, FULL = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
SOME = EMPTY.copy()
SOME[4, 2:7] = True


def undefined(values):
    return {str(name) for name, value in values.items() if math.isnan(value)}


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_scikit_learn_on_random_masks(seed):
    dice = np.random.default_rng(seed)
    truth, predicted = (dice.random((37, 53)) < dice.choice([0.02, 0.3, 0.9]) for _ in range(2))
    found = ratios(count(predicted, truth))
    flat = truth.ravel(), predicted.ravel()
    assert found == {
        MetricName.IOU: pytest.approx(judge.jaccard_score(*flat), **EXACT),
        MetricName.ACCURACY: pytest.approx(judge.accuracy_score(*flat), **EXACT),
        MetricName.BALANCED_ACCURACY: pytest.approx(judge.balanced_accuracy_score(*flat), **EXACT),
        MetricName.PRECISION: pytest.approx(judge.precision_score(*flat), **EXACT),
        MetricName.RECALL: pytest.approx(judge.recall_score(*flat), **EXACT),
        MetricName.F1: pytest.approx(judge.f1_score(*flat), **EXACT),
    }


def test_both_empty_is_undefined_and_not_zero_or_one():
    assert undefined(metrics.against_truth(EMPTY, EMPTY)) == {
        "IoU", "Precision", "Recall", "F1", "F1_tolerant", "Balanced_accuracy",
    }  # fmt: skip
    assert ratios(count(EMPTY, EMPTY))[MetricName.ACCURACY] == 1


def test_lane_free_frame_with_a_false_alarm():
    found = metrics.against_truth(SOME, EMPTY)
    assert undefined(found) == {"Recall", "Balanced_accuracy"}
    assert found[MetricName.IOU] == found[MetricName.PRECISION] == found[MetricName.F1] == 0
    assert found[MetricName.F1_TOLERANT] == 0


def test_lanes_missed_altogether():
    found = metrics.against_truth(EMPTY, SOME)
    assert undefined(found) == {"Precision"}
    assert found[MetricName.IOU] == found[MetricName.RECALL] == found[MetricName.F1] == 0
    assert found[MetricName.BALANCED_ACCURACY] == 0.5
    assert found[MetricName.F1_TOLERANT] == 0


def test_a_frame_that_is_all_lane_has_no_background_to_recall():
    assert undefined(ratios(count(FULL, FULL))) == {"Balanced_accuracy"}


def test_where_scikit_learn_warns_of_zero_division_the_value_is_undefined():
    for predicted in (EMPTY, SOME):
        for truth in (EMPTY, SOME):
            flat = truth.ravel(), predicted.ravel()
            found = ratios(count(predicted, truth))
            for name, reference in (
                (MetricName.PRECISION, judge.precision_score),
                (MetricName.RECALL, judge.recall_score),
                (MetricName.F1, judge.f1_score),
                (MetricName.IOU, judge.jaccard_score),
            ):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    expected = reference(*flat)
                if caught:
                    assert math.isnan(found[name]), name
                else:
                    assert found[name] == pytest.approx(expected, **EXACT), name


def test_a_sideways_shift_costs_a_thin_line_its_iou_but_not_the_tolerant_f1():
    truth, shifted = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    truth[:, 20:28], shifted[:, 22:30] = True, True
    assert ratios(count(shifted, truth))[MetricName.IOU] == pytest.approx((8 - 2) / (8 + 2))
    assert f1_tolerant(shifted, truth, 2) == 1
    assert f1_tolerant(shifted, truth, 1) < 1


def test_the_tolerance_is_a_disk():
    truth, predicted = np.zeros((21, 21), bool), np.zeros((21, 21), bool)
    truth[10, 10] = True
    predicted[13, 14] = True  # 5 px away: 3 down, 4 right
    assert f1_tolerant(predicted, truth, 5) == 1
    predicted[13, 14], predicted[14, 14] = False, True  # 5.66 px away, though within a square of 5
    assert f1_tolerant(predicted, truth, 5) == 0


@pytest.mark.parametrize("seed", range(10))
def test_tolerant_f1_without_tolerance_is_f1(seed):
    dice = np.random.default_rng(seed)
    truth, predicted = dice.random((2, 30, 30)) < 0.2
    assert f1_tolerant(predicted, truth, 0) == pytest.approx(ratios(count(predicted, truth))[MetricName.F1], abs=1e-12)


def test_tolerant_f1_by_brute_force():
    dice = np.random.default_rng(5)
    truth, predicted = dice.random((2, 25, 31)) < 0.03

    def near(points, others):
        return sum(min((r - a) ** 2 + (c - b) ** 2 for a, b in others) <= 25 for r, c in points) / len(points)

    precision = near(np.argwhere(predicted), np.argwhere(truth))
    recall = near(np.argwhere(truth), np.argwhere(predicted))
    assert f1_tolerant(predicted, truth) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)


def test_masks_of_two_sizes_are_refused_with_both_sizes():
    with pytest.raises(UsageError) as caught:
        count(np.zeros((3, 4), bool), np.zeros((5, 6), bool))
    assert caught.value.why == "the mask is 6x5, the image 4x3"


def test_pooling_sums_pixels_and_false_alarms_are_a_rate_of_lane_free_frames():
    one, other, alarm, quiet = Counts(5, 10, 10, 100), Counts(0, 0, 30, 100), Counts(0, 3, 0, 100), Counts(0, 0, 0, 100)
    assert pooled([one, other])[MetricName.IOU] == 5 / 45
    assert pooled([one, other])[MetricName.PRECISION] == 0.5
    assert false_alarm_rate([one, alarm, quiet]) == 0.5
    assert false_alarm_rate([one, alarm, quiet], more_than=3) == 0
    assert math.isnan(false_alarm_rate([one]))
    assert undefined(pooled([])) == {str(name) for name in pooled([])}


@pytest.mark.parametrize("seed", range(8))
def test_pooled_is_scikit_learn_over_all_pixels_of_all_frames(seed):
    dice = np.random.default_rng(seed)
    sizes = [(20, 30), (5, 7), (11, 3)]
    frames = [(dice.random(size) < dice.choice([0, 0.1, 0.7]), dice.random(size) < 0.2) for size in sizes]
    found = pooled(count(predicted, truth) for predicted, truth in frames)
    flat = [np.concatenate([frame[side].ravel() for frame in frames]) for side in (1, 0)]
    for name, reference in (
        (MetricName.IOU, judge.jaccard_score),
        (MetricName.RECALL, judge.recall_score),
        (MetricName.F1, judge.f1_score),
        (MetricName.ACCURACY, judge.accuracy_score),
        (MetricName.BALANCED_ACCURACY, judge.balanced_accuracy_score),
    ):
        assert found[name] == pytest.approx(reference(*flat), **EXACT), name


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_tolerant_f1_by_another_librarys_dilation(radius):
    dice = np.random.default_rng(radius)
    truth, predicted = dice.random((2, 60, 80)) < 0.02
    reach = np.arange(-radius, radius + 1)
    disk = reach[:, None] ** 2 + reach**2 <= radius**2
    precision = (predicted & binary_dilation(truth, disk)).sum() / predicted.sum()
    recall = (truth & binary_dilation(predicted, disk)).sum() / truth.sum()
    expected = 2 * precision * recall / (precision + recall)
    assert f1_tolerant(predicted, truth, radius) == pytest.approx(expected, **EXACT)


def test_mean_counts_what_it_leaves_out():
    assert metrics.mean_of_defined([0.2, math.nan, 0.4]) == (pytest.approx(0.3), 2, 1)
    mean, defined, left_out = metrics.mean_of_defined([math.nan])
    assert math.isnan(mean)
    assert (defined, left_out) == (0, 1)


def test_every_metric_that_scoring_writes_is_in_the_contract_and_the_other_way_round():
    contract = load_contract()
    assert [str(name) for name in MetricName] == list(contract.metrics)
    units = {str(name): contract.metrics[name].unit for name in MetricName}
    assert {name for name, unit in units.items() if unit == "s"} == {
        "Inference_time", "Preprocess_time", "Postprocess_time",
    }  # fmt: skip
    assert {name for name, unit in units.items() if unit == "px"} == {"True_positive_px", "Predicted_px", "Truth_px"}
    assert {unit for name, unit in units.items()} == {"ratio", "s", "px"}
    assert metrics.tolerance() == contract.metrics["F1_tolerant"].tolerance_px == 5
