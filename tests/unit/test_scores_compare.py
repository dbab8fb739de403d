"""Verdicts: which model is better, and what is said where that cannot be known."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from elkkit.contract import extend, load_contract
from elkkit.scores import Scores, Verdict, as_data, compare, leading, sentence, summary
from elkkit.scores.words import difference, number, pair_words, verdicts

CONTRACT = load_contract()


def table(scores: dict[str, dict[str, list[float]]], *, first_frame: dict[str, int] | None = None) -> Scores:
    """Scores by model and metric; the n-th score is of the n-th frame."""
    filled = Scores()
    for model, metrics in scores.items():
        name, _, version = model.partition(":")
        for metric, values in metrics.items():
            for i, value in enumerate(values):
                frame = f"f{i + (first_frame or {}).get(model, 0):05d}"
                filled.add({"model.name": name, "model.version": version, "metrictype": metric,
                            "metricscores": value, "frame.id": frame})  # fmt: skip
    return filled


def compared(scores, contract=CONTRACT, **how):
    return compare(table(scores, **how).columns(), contract)


def two(a, b, metric="IoU", contract=CONTRACT, **how):
    """The one pair of models a and b."""
    return compared({"a": {metric: list(a)}, "b": {metric: list(b)}}, contract, **how)[0].pairs[0]


def frames(n: int, shift: float, seed: int = 0, noise: float = 0.04) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    base = rng.normal(0.7, 0.15, n)
    return base + rng.normal(shift, noise, n), base + rng.normal(0, noise, n)


def test_every_number_is_that_of_numpy_and_scipy():
    rng = np.random.default_rng(3)
    scores = {m: {"IoU": (rng.random(50) + shift).tolist()} for m, shift in (("a:1", 0.3), ("b:1", 0.05), ("c:1", 0))}
    (one,) = compared(scores)
    values = [np.array(scores[m]["IoU"]) for m in ("a:1", "b:1", "c:1")]
    for model, x in zip(one.models, values, strict=True):
        assert (model.n, model.undefined) == (50, 0)
        assert model.description.mean == pytest.approx(x.mean())
        assert model.description.p05 == pytest.approx(np.quantile(x, 0.05))
    p = []
    for pair, (i, j) in zip(one.pairs, [(0, 1), (0, 2), (1, 2)], strict=True):
        d = values[i] - values[j]
        theirs = stats.bootstrap((d,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(20261122))
        assert pair.difference == pytest.approx(d.mean())
        interval, near = theirs.confidence_interval, 0.01 * theirs.standard_error
        assert (pair.ci_low, pair.ci_high) == pytest.approx((interval.low, interval.high), abs=near)
        assert pair.p == stats.wilcoxon(values[i], values[j]).pvalue
        p.append(pair.p)
    low, middle, high = sorted(p)
    by_hand = [3 * low, max(3 * low, 2 * middle), max(2 * middle, high)]
    assert sorted(q.p_adjusted for q in one.pairs) == pytest.approx(by_hand)
    assert [q.verdict for q in one.pairs] == ["better", "better", "no difference shown"]


@pytest.mark.parametrize(
    ("metric", "verdict"), [("IoU", "better"), ("Inference_time", "worse"), ("Lane_share", "different")]
)
def test_the_contract_says_which_direction_is_better(metric, verdict):
    high, low = frames(60, 0.1)
    assert two(high, low, metric).verdict == verdict
    opposite = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    assert two(low, high, metric).verdict == opposite


def test_a_metric_of_ones_own_gets_its_direction_from_the_settings():
    high, low = frames(60, 0.1)
    contract = extend(CONTRACT, metrics={"angular error": {"better": "lower", "unit": "deg"}})
    assert two(high, low, "angular error", contract).verdict is Verdict.WORSE
    assert two(high, low, "angular error").verdict is Verdict.DIFFERENT


def test_holm_is_over_the_pairs_of_one_metric_only():
    high, low = frames(60, 0.02, seed=5)
    alone = two(high, low)
    both = {"a": {"IoU": high, "F1": high}, "b": {"IoU": low, "F1": low}}
    assert alone.p_adjusted == alone.p
    assert compared(both)[0].pairs[0] == alone


def test_noise_shows_no_difference():
    pair = two(*frames(60, 0.0, seed=2))
    assert pair.verdict is Verdict.NOT_SHOWN
    assert pair.ci_low < 0 < pair.ci_high


def test_a_small_difference_is_seen_through_pairing():
    """The facts page's case: 60 frames, spread 0.15, noise 0.04, true difference 0.02; unpaired power is nil."""
    found = sum(two(*frames(60, 0.02 * 2**0.5, seed=s)).verdict is Verdict.BETTER for s in range(20))
    assert found >= 15


def test_interval_and_ranks_must_agree():
    """One outlier drags the mean, the ranks see the other frames: nothing is claimed."""
    d = [0.01] * 40 + [-3.0]
    pair = two([0.5 + x + i / 1e6 for i, x in enumerate(d)], [0.5] * 41)
    assert pair.p_adjusted < 0.05
    assert pair.difference < 0
    assert pair.verdict is Verdict.NOT_SHOWN
    assert "rank" in pair.why


def test_one_lucky_frame_is_not_better():
    """p < 0.05 is impossible here, whatever the interval says."""
    pair = two([0.9] * 5 + [0.5] * 10, [0.5] * 15)
    assert pair.ci_low > 0
    assert pair.p == 2 / 2**5
    assert pair.verdict is Verdict.NOT_SHOWN
    assert "interval alone" in pair.why


def test_models_that_are_the_same():
    pair = two([0.1 * i for i in range(9)], [0.1 * i for i in range(9)])
    assert (pair.verdict, pair.n, pair.difference, pair.ci_low, pair.ci_high, pair.p, pair.p_adjusted) == (
        Verdict.NOT_SHOWN, 9, 0.0, 0.0, 0.0, 1.0, 1.0)  # fmt: skip
    assert sentence(CONTRACT.metric("IoU"), pair) == (
        "IoU: no difference shown between a and b: the scores are equal on all 9 frames"
    )


def test_a_constant_difference_is_a_difference():
    pair = two([0.75] * 8, [0.5] * 8)
    assert (pair.verdict, pair.ci_low, pair.ci_high) == (Verdict.BETTER, 0.25, 0.25)


@pytest.mark.parametrize("n", [1, 5])
def test_too_few_frames_is_said(n):
    pair = two(range(n), [0.0] * n)
    assert pair.verdict is Verdict.NOT_COMPARABLE
    assert pair.why == f"too few frames: {n} frame{'s' * (n > 1)} with both scores, and it takes 6"
    assert pair.difference is None
    assert pair.p_adjusted is None


def test_six_frames_are_enough_for_one_pair():
    assert two([1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [0.0] * 6).verdict is Verdict.BETTER


def test_undefined_scores_are_counted_and_in_no_mean():
    nan, inf = float("nan"), float("inf")
    a, b = [0.5, nan, 0.7, inf] + [0.6] * 6, [0.4, 0.4, nan, 0.4] + [0.5] * 6
    (one,) = compared({"a": {"IoU": a}, "b": {"IoU": b}})
    assert [(m.n, m.undefined) for m in one.models] == [(8, 2), (9, 1)]
    assert one.models[0].description.mean == pytest.approx(np.mean([0.5, 0.7] + [0.6] * 6))
    assert (one.pairs[0].n, one.pairs[0].undefined) == (7, 3)
    assert one.pairs[0].difference == pytest.approx(0.1)


def test_all_undefined():
    nan = float("nan")
    (one,) = compared({"a": {"IoU": [nan] * 9}, "b": {"IoU": [0.5] * 9}})
    assert one.models[0].description is None
    assert one.pairs[0].verdict is Verdict.NOT_COMPARABLE
    assert one.pairs[0].why == "no frame has both scores defined (9 in common)"


def test_partners_that_are_missing_are_counted():
    pair = two([0.5] * 10, [0.5] * 12, first_frame={"a": 0, "b": 3})
    assert (pair.n, pair.missing_a, pair.missing_b) == (7, 5, 3)


def test_no_frame_in_common():
    pair = two([0.5] * 10, [0.5] * 10, first_frame={"a": 0, "b": 10})
    assert (pair.verdict, pair.why) == (Verdict.NOT_COMPARABLE, "they have no frame in common")


def test_lines_that_name_no_frame():
    scores = table({"a": {"IoU": [0.5] * 9}})
    for _ in range(9):
        scores.add({"model.name": "b", "metrictype": "IoU", "metricscores": 0.4})
    (one,) = compare(scores.columns(), CONTRACT)
    assert one.models[1].without_frame == 9
    assert one.models[1].description.mean == pytest.approx(0.4)
    assert one.pairs[0].why == "the lines of b name no frame"


def test_a_metric_that_one_model_lacks():
    f1 = compared({"a": {"IoU": [0.5] * 9, "F1": [0.5] * 9}, "b": {"IoU": [0.5] * 9}})[1]
    assert f1.models[1].n == 0
    assert f1.pairs[0].why == "b has no score of it"


def test_scores_too_far_apart_for_a_number():
    pair = two([9e307] * 8, [-9.5e307] * 8)
    assert pair.verdict is Verdict.NOT_COMPARABLE
    assert "64-bit" in pair.why


def test_what_cannot_be_compared_is_in_no_family():
    high, low = frames(60, 0.1)
    (one,) = compared({"a": {"IoU": high}, "b": {"IoU": low}, "c": {"IoU": [0.5] * 3}})
    assert [p.verdict for p in one.pairs] == ["better", "not comparable", "not comparable"]
    assert one.pairs[0].p_adjusted == one.pairs[0].p


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=14, max_size=30))
def test_swapping_two_models_flips_the_sign(scores):
    a, b = zip(*scores, strict=True)
    one, other = two(a, b), two(b, a)
    assert one.difference == pytest.approx(-other.difference, abs=1e-15)
    assert one.p == pytest.approx(other.p)
    assert (one.ci_low, one.ci_high) == pytest.approx((-other.ci_high, -other.ci_low), abs=1e-12)
    flipped = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    if min(abs(one.ci_low), abs(one.ci_high)) > 1e-12:
        assert other.verdict is flipped.get(one.verdict, one.verdict)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), min_size=14, max_size=30), st.integers(-512, 512))
def test_a_constant_moves_the_difference_by_itself(scores, constant):
    a, b = (np.array(x) / 1024 for x in zip(*scores, strict=True))  # exact in binary, so that sums are
    one, moved = two(a, b), two(a + constant / 1024, b)
    by = constant / 1024
    assert moved.difference == pytest.approx(one.difference + by, abs=1e-12)
    assert (moved.ci_low, moved.ci_high) == pytest.approx((one.ci_low + by, one.ci_high + by), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(24)))
def test_the_order_of_events_changes_nothing(order):
    high, low = frames(12, 0.1)
    events = [
        {"model.name": m, "metrictype": "IoU", "metricscores": float(v), "frame.id": f"f{i}"}
        for m, values in (("a", high), ("b", low)) for i, v in enumerate(values)
    ]  # fmt: skip
    ordered, shuffled = Scores(), Scores()
    for i, j in enumerate(order):
        ordered.add(events[i])
        shuffled.add(events[j])
    assert as_data(compare(shuffled.columns(), CONTRACT)) == as_data(compare(ordered.columns(), CONTRACT))


def test_metrics_come_in_the_order_of_the_contract():
    names = ["zeta", "Brightness", "Inference_time", "IoU", "alpha"]
    assert [c.metric.name for c in compared({"a": {n: [1.0] for n in names}})] == [
        "IoU", "Inference_time", "Brightness", "alpha", "zeta"]  # fmt: skip


def test_people_see_qualities_and_the_first_time():
    every = compared({"a": {n: [1.0] for n in CONTRACT.metrics}})
    assert [c.metric.name for c in leading(every)] == [
        "IoU", "Accuracy", "Balanced_accuracy", "Precision", "Recall", "F1", "F1_tolerant", "Inference_time",
    ]  # fmt: skip
    own = compared({"a": {f"own{i}": [1.0] for i in range(9)}})
    assert len(leading(own)) == 8


# --- words -----------------------------------------------------------------------------------------------------------


def test_the_better_model_is_named_first_with_a_positive_number():
    high, low = frames(110, 0.14)
    for a, b in ((high, low), (low, high)):
        pair = two(a, b)
        better, worse = ("a", "b") if a is high else ("b", "a")
        start, end = sorted((abs(pair.ci_low), abs(pair.ci_high)))
        assert sentence(CONTRACT.metric("IoU"), pair) == (
            f"IoU: {better} is better than {worse} by {abs(pair.difference):.4f} "
            f"(95 % interval {start:.4f} to {end:.4f}, 110 frames, p < 0.001)"
        )


def test_a_time_is_better_where_it_is_lower_and_has_its_unit():
    pair = two([0.02 + i / 1e5 for i in range(10)], [0.01] * 10, "Inference_time")
    said = sentence(CONTRACT.metric("Inference_time"), pair)
    assert said.startswith("Inference_time: b is better than a by 0.010045 s (95 % interval ")
    assert said.endswith("10 frames, p = 0.002)")


def test_a_difference_too_small_for_the_format_keeps_its_digits():
    pair = two([0.01 + 1e-6 + i / 1e9 for i in range(10)], [0.01] * 10, "Inference_time")
    assert " by 1e-06 s " in sentence(CONTRACT.metric("Inference_time"), pair)


def test_numbers_have_the_decimals_that_the_interval_needs():
    pair = two(*frames(60, 0.0, seed=2))
    iou, time, px = (CONTRACT.metric(m) for m in ("IoU", "Inference_time", "Predicted_px"))

    def shown(metric, *numbers):
        return difference(metric, replace(pair, difference=numbers[0], ci_low=numbers[1], ci_high=numbers[2]))

    assert shown(iou, 8.8e-06, -0.0059, 0.0058) == ("0.0000", "-0.0059", "0.0058")
    assert shown(time, 0.000321, 0.000218, 0.000419) == ("0.00032", "0.00022", "0.00042")
    assert shown(px, 5.31, 4.2, 6.4) == ("5.3", "4.2", "6.4")
    assert shown(px, 512.31, 410.2, 617.4) == ("512", "410", "617")
    assert shown(iou, 1e300, -1e300, 2e300) == ("1e+300", "-1e+300", "2e+300")
    assert number(px, 0.03) == "0.03"
    assert number(iou, -1e-9) == "-1e-09"
    assert number(iou, -0.0) == "0.0000"


def test_no_difference_says_which_is_subtracted():
    pair = two(*frames(60, 0.0, seed=2))
    said = sentence(CONTRACT.metric("IoU"), pair)
    minus = f"(a minus b: {pair.difference:.4f}, 95 % interval -"
    assert said.startswith(f"IoU: no difference shown between a and b {minus}")
    assert "p = " in said


def test_the_summary_tells_the_first_metric_in_numbers_and_groups_the_others():
    high, low = frames(60, 0.1)
    scores = {"a": high, "b": low, "c": low}
    every = compared({m: dict.fromkeys(("IoU", "Accuracy", "F1", "Inference_time"), v) for m, v in scores.items()})
    said = summary(every, [m.model for m in every[0].models])
    assert [s.partition(" (")[0].partition(" by ")[0] for s in said] == [
        "IoU: a is better than b",
        "IoU: a is better than c",
        "IoU: no difference shown between b and c: the scores are equal on all 60 frames",
        "Accuracy and F1: a is better than b and c; no difference shown between b and c",
        "Inference_time: b is better than a; c is better than a; no difference shown between b and c",
    ]


def test_a_pair_says_how_many_frames_had_no_partner():
    high, low = frames(60, 0.1)
    (one,) = compared({"a": {"IoU": low[:50]}, "b": {"IoU": high}})
    assert pair_words(one.pairs[0]) == "a worse than b; 10 frames without partner"


def test_verdicts_without_any_difference_are_short():
    (one,) = compared({m: {"IoU": [0.5] * 9} for m in "abc"})
    assert verdicts(one) == "no difference shown between any two"
    (one,) = compared({m: {"IoU": [0.5] * 3} for m in "ab"})
    assert verdicts(one) == "a and b are not comparable: too few frames: 3 frames with both scores, and it takes 6"


def test_one_model_gets_a_sentence():
    (one,) = compared({"a:3": {"IoU": [0.5] * 9}})
    assert summary([one], [m.model for m in one.models]) == [
        "There is only one model: a 3. Name the log of another one to compare it with."
    ]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=14))
def test_no_data_hold_a_number_that_is_none(scores):
    """NaN and infinities go in; none comes out, in any shape of result."""
    import orjson

    a, b = zip(*scores, strict=True)
    every = compared({"a": {"IoU": list(a)}, "b": {"IoU": list(b)}})
    data = as_data(every)
    values = [v for one in data for part in one["models"] + one["pairs"] for v in part.values()]
    assert all(np.isfinite(v) for v in values if isinstance(v, float))
    assert orjson.loads(orjson.dumps(data)) == data
    assert "nan" not in " ".join(summary(every, [m.model for m in every[0].models]))
    assert asdict(every[0].pairs[0])["n"] <= len(scores)
