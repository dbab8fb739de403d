"""What a comparison says, in sentences and in numbers that people read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from elkkit.contract import Metric
from elkkit.scores.compare import MetricComparison, Pair, Verdict
from elkkit.scores.table import Model

_LONGEST_NUMBER = 12
_LONGEST_NAME = 40
_WIDTH_DIGITS = 2
"""Of an interval's width, so that its bounds can be told apart."""
_MOST_DECIMALS = 7
_MOST_SENTENCES = 6


def name(model: Model) -> str:
    """A model's name for people; of a very long one, both ends."""
    text = model.spoken
    return text if len(text) <= _LONGEST_NAME else f"{text[:24]}…{text[-15:]}"


def number(metric: Metric, value: float) -> str:
    """A score in the metric's own format; in two digits where that would show a zero that it is not."""
    text = _formatted(metric, value)
    return f"{value:.2g}" if value and not _digits(text) else text


def difference(metric: Metric, pair: Pair) -> tuple[str, str, str]:
    """Difference and bounds of a pair that was compared, in as many decimals as the interval's width needs.

    Differences may be much smaller than the scores that the metric's format is made for.
    """
    assert pair.difference is not None
    assert pair.ci_low is not None
    assert pair.ci_high is not None
    numbers = pair.difference, pair.ci_low, pair.ci_high
    width = pair.ci_high - pair.ci_low or abs(pair.difference)
    if width and len(_digits(_formatted(metric, width))) < _WIDTH_DIGITS:
        decimals = _WIDTH_DIGITS - 1 - math.floor(math.log10(width))
        texts = [f"{v + 0.0:.{decimals}f}" if 0 < decimals <= _MOST_DECIMALS else f"{v:.2g}" for v in numbers]
    else:
        texts = [_formatted(metric, v) for v in numbers]
    return texts[0], texts[1], texts[2]


def _formatted(metric: Metric, value: float) -> str:
    value += 0.0  # no "-0.0000"
    try:
        text = format(value, metric.format)
    except (ValueError, OverflowError):
        text = format(value, "g")
    return text if len(text) <= _LONGEST_NUMBER else f"{value:.4g}"


def _digits(text: str) -> str:
    """The digits that say something: those of 0.0120 are 120."""
    return "".join(c for c in text.partition("e")[0] if c.isdigit()).lstrip("0")


def with_unit(metric: Metric, text: str) -> str:
    """A number with its unit; a ratio has none."""
    return text if metric.unit in ("", "ratio") else f"{text} {metric.unit}"


def p_text(p: float) -> str:
    """A p value as it is usually printed: `< 0.001`, else three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def sentence(metric: Metric, pair: Pair, *, short: bool = False) -> str:
    """One pair in one metric, the better model first: `IoU: lane-a 1 is better than lane-c 1 by 0.142 (95 % …)`."""
    a, b = (name(m) if short else m.spoken for m in (pair.a, pair.b))
    what = f"{metric.name}: "
    if pair.verdict is Verdict.NOT_COMPARABLE:
        return f"{what}{a} and {b} are not comparable: {pair.why}"
    assert pair.p_adjusted is not None
    p = p_text(pair.p_adjusted)
    sure = f"{pair.n:,} frames, p {p if p.startswith('<') else f'= {p}'}"
    if pair.verdict is Verdict.NOT_SHOWN:
        if not (pair.difference or pair.ci_low or pair.ci_high):
            return f"{what}no difference shown between {a} and {b}: {pair.why}"
        by, low, high = difference(metric, pair)
        because = f"; {pair.why}" if pair.why else ""
        numbers = f"{a} minus {b}: {with_unit(metric, by)}, 95 % interval {low} to {high}, {sure}{because}"
        return f"{what}no difference shown between {a} and {b} ({numbers})"
    if not is_a_first(pair):
        a, b = b, a
    how = "higher" if pair.verdict is Verdict.DIFFERENT else "better"
    by, low, high = difference(metric, _positive(pair))
    return f"{what}{a} is {how} than {b} by {with_unit(metric, by)} (95 % interval {low} to {high}, {sure})"


def is_a_first(pair: Pair) -> bool:
    """Whether a is the better of two models that differ; the higher, in a metric without a direction."""
    higher = pair.difference is not None and pair.difference > 0
    return pair.verdict is Verdict.BETTER or (pair.verdict is Verdict.DIFFERENT and higher)


def _positive(pair: Pair) -> Pair:
    """The same difference, as the larger minus the smaller."""
    assert pair.difference is not None
    assert pair.ci_low is not None
    assert pair.ci_high is not None
    if pair.difference > 0:
        return pair
    return replace(pair, difference=-pair.difference, ci_low=-pair.ci_high, ci_high=-pair.ci_low)


def pair_words(pair: Pair) -> str:
    """A pair with its verdict, a first as in its difference: `lane-a 1 better than lane-c 1`."""
    a, b = name(pair.a), name(pair.b)
    missing = pair.missing_a + pair.missing_b
    partners = f"; {missing:,} frames without partner" if missing and pair.n else ""
    if pair.verdict in (Verdict.BETTER, Verdict.WORSE):
        return f"{a} {pair.verdict} than {b}{partners}"
    why = f": {pair.why}" if pair.verdict is Verdict.NOT_COMPARABLE else ""
    return f"{a} and {b}: {pair.verdict}{why}{partners}"


def verdicts(one: MetricComparison) -> str:
    """All pairs of a metric without numbers: `lane-a 1 is better than lane-b 1 and lane-c 1`."""
    over: dict[tuple[Model, str], list[Model]] = {}
    open_pairs, refused = [], []
    for pair in one.pairs:
        if pair.verdict is Verdict.NOT_COMPARABLE:
            refused.append(pair)
        elif pair.verdict is Verdict.NOT_SHOWN:
            open_pairs.append(pair)
        else:
            how = "higher" if pair.verdict is Verdict.DIFFERENT else "better"
            first, second = (pair.a, pair.b) if is_a_first(pair) else (pair.b, pair.a)
            over.setdefault((first, how), []).append(second)
    said = [f"{name(m)} is {how} than {listed(map(name, others))}" for (m, how), others in over.items()]
    if len(open_pairs) == len(one.pairs) > 1:
        said.append("no difference shown between any two")
    elif open_pairs:
        said.append("no difference shown between " + listed((f"{name(p.a)} and {name(p.b)}" for p in open_pairs), "or"))
    reasons: dict[str | None, list[Pair]] = {}
    for pair in refused:
        reasons.setdefault(pair.why, []).append(pair)
    for why, pairs in reasons.items():
        both = listed((f"{name(p.a)} and {name(p.b)}" for p in pairs), "or")
        said.append(f"{both} are not comparable: {why}")
    return "; ".join(said)


def summary(shown: Sequence[MetricComparison], models: Sequence[Model]) -> list[str]:
    """The answer in sentences: the first metric (all, where they are few) in numbers, of others who beats whom."""
    if len(models) < 2:
        only = f"only one model: {listed(name(m) for m in models)}"
        return [f"There is {only}. Name the log of another one to compare it with."]
    first = shown[0]
    if len(shown) * len(first.pairs) <= _MOST_SENTENCES:
        return [sentence(one.metric, pair, short=True) for one in shown for pair in one.pairs]
    said = [sentence(first.metric, pair, short=True) for pair in first.pairs[:_MOST_SENTENCES]]
    if len(first.pairs) > _MOST_SENTENCES:
        said.append(f"{first.metric.name}: and {len(first.pairs) - _MOST_SENTENCES:,} more pairs")
    alike: dict[str, list[str]] = {}
    for one in shown[1:]:
        alike.setdefault(verdicts(one), []).append(one.metric.name)
    return said + [f"{listed(metrics)}: {text}" for text, metrics in alike.items()]


def listed(items: Iterable[Any], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = [str(i) for i in items]
    return f" {last} ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else ""
