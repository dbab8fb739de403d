"""Numbers out of scores, checked against numpy, scipy and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from elkkit.scores import statistics as ours

finite = st.floats(allow_nan=False, allow_infinity=False)


def sample(n: int, rows: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=(rows, n)) - 0.8


def test_a_description_is_what_numpy_says():
    values = np.random.default_rng(1).random(173)
    d = ours.describe(values)
    assert d.mean == pytest.approx(values.mean(), rel=1e-14)
    assert d.median == np.median(values)
    assert [d.p05, d.p95] == pytest.approx(np.quantile(values, [0.05, 0.95]).tolist(), rel=1e-14)


def test_nothing_has_no_description():
    assert ours.describe(np.empty(0)) is None


def test_one_score_is_its_own_description():
    assert ours.describe(np.array([0.3])) == ours.Description(0.3, 0.3, 0.3, 0.3)


@given(st.lists(finite, min_size=1, max_size=30))
def test_a_description_of_any_doubles_lies_between_them(values):
    d = ours.describe(np.array(values))
    for number in (d.mean, d.median, d.p05, d.p95):
        assert min(values) <= number <= max(values)
    assert d.p05 <= d.median <= d.p95


@given(st.lists(finite, min_size=1, max_size=30), st.randoms())
def test_a_description_does_not_depend_on_the_order(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert ours.describe(np.array(values)) == ours.describe(np.array(shuffled))


@pytest.mark.parametrize("n", [6, 110, 1001])
def test_intervals_are_those_of_scipy(n):
    method, resamples = ("BCa", 9999) if n <= 1000 else ("percentile", 1999)
    samples = np.round(sample(n, rows=3) * 1024) / 1024  # exact sums: BCa counts ties, and rounding would break them
    low, high = ours.mean_intervals(samples)
    for row, values in enumerate(samples):
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=resamples, method=method, batch=max(1, 250_000 // n),
            rng=np.random.default_rng(ours.SEED),
        ).confidence_interval  # fmt: skip
        assert (low[row], high[row]) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_an_interval_does_not_depend_on_what_shares_its_draws():
    samples = sample(40, rows=ours._COLUMNS + 3)
    together = ours.mean_intervals(samples)
    for row in (0, ours._COLUMNS - 1, ours._COLUMNS + 2):
        alone = ours.mean_intervals(samples[row : row + 1])
        assert (together[0][row], together[1][row]) == (alone[0][0], alone[1][0])


def test_equal_differences_have_an_interval_without_width():
    samples = np.array([[0.25] * 8, [0.0] * 8, [0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.4]])
    low, high = ours.mean_intervals(samples)
    assert (low[0], high[0], low[1], high[1]) == (0.25, 0.25, 0.0, 0.0)
    assert 0.1 < low[2] < 0.25 < high[2] < 0.4


def test_an_interval_holds_the_mean_that_it_should():
    """Coverage of the mean of skewed samples; the full calibration is another suite's."""
    truth = 1 - 0.8
    low, high = np.array([ours.mean_intervals(sample(60, seed=s)) for s in range(300)])[:, :, 0].T
    covered = ((low <= truth) & (truth <= high)).mean()
    assert 0.90 <= covered <= 0.985


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-9e307, 9e307), min_size=6, max_size=12))
def test_intervals_of_any_doubles_are_finite_and_inside_the_sample(values):
    low, high = ours.mean_intervals(np.array([values]))
    assert min(values) <= low[0] <= high[0] <= max(values)


@pytest.mark.parametrize("unit", [2.0**-990, 2.0**990, 5e-324])
def test_intervals_scale_with_the_unit(unit):
    samples = np.array([[1.0, 2.0, 5.0, 3.0, -4.0, 7.0, 1.0]])
    low, high = ours.mean_intervals(samples)
    scaled = np.ravel(ours.mean_intervals(samples * unit)) / unit
    rounding = 0.51 if unit == 5e-324 else 0  # there is no number between its multiples
    assert scaled.tolist() == pytest.approx([low[0], high[0]], rel=1e-9, abs=rounding)


@pytest.mark.parametrize("n", [6, 12, 30, 80])
def test_the_rank_test_is_that_of_scipy(n):
    values = sample(n)[0]
    test = ours.rank_test(values)
    assert test.p == stats.wilcoxon(values).pvalue
    plus = stats.wilcoxon(values, alternative="greater").statistic
    assert test.direction == np.sign(plus - n * (n + 1) / 4)


def test_zeros_do_not_count_as_evidence():
    """3 differences of 100 frames: exact, p = 2/2^3, where the normal law would say 0.1."""
    test = ours.rank_test(np.array([0.0] * 97 + [0.1, 0.2, 0.3]))
    assert test.p == pytest.approx(0.25)
    assert test.direction == 1


def test_no_difference_at_all_has_p_1():
    assert ours.rank_test(np.zeros(20)) == ours.RankTest(1.0, 0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=60))
def test_the_rank_test_of_ties_is_a_probability_and_symmetric(values):
    one, other = ours.rank_test(np.array(values)), ours.rank_test(-np.array(values))
    assert 0 < one.p <= 1
    assert one.p == pytest.approx(other.p)
    assert one.direction == -other.direction


def test_holm_on_a_worked_example():
    """p = 0.01, 0.04, 0.03, 0.005 (Wikipedia, Holm-Bonferroni method): 0.005 and 0.01 are rejected at 0.05."""
    assert ours.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_one_and_of_none():
    assert ours.holm([0.04]) == [0.04]
    assert ours.holm([]) == []
    assert ours.holm([0.7, 0.6]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_none_and_bonferroni_and_keeps_the_order(p_values):
    adjusted = ours.holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, p * len(p_values)) or q == pytest.approx(p)
    by_p = sorted(zip(p_values, adjusted, strict=True))
    assert [q for _, q in by_p] == sorted(adjusted)
