"""Follow logs and say of each new line what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from elkkit.line.parser import Outcome, Parsed, Parser
from elkkit.stack.growing import FollowedLine


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are shown; the others are counted."""

    text: bool = False
    """Ordinary log text too."""
    models: frozenset[str] = frozenset()
    """Names, or name:version; empty means every model."""
    metrics: frozenset[str] = frozenset()
    """Canonical names; empty means every metric."""

    def includes(self, parsed: Parsed) -> bool:
        """The line is to be shown. Text and malformed lines that name no model or metric pass those filters."""
        score = parsed.outcome in (Outcome.SCORED, Outcome.NOT_FINITE)
        if parsed.outcome is Outcome.NOT_A_SCORE and not self.text:
            return False
        model, metric = parsed.fields.get("model.name"), parsed.fields.get("metrictype")
        if self.models and (model is not None or score):
            version = parsed.fields.get("model.version")
            if model not in self.models and f"{model}:{version}" not in self.models:
                return False
        return not (self.metrics and (metric is not None or score) and metric not in self.metrics)


@dataclass
class TailCounts:
    """What was read so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    text_hidden: int = 0
    """Lines of ordinary text that were not shown."""
    filtered: int = 0
    """Lines of other models or metrics that were not shown."""

    def as_dict(self) -> dict[str, int]:
        """Lines read, and of each outcome."""
        return {"read": self.outcomes.total(), **{str(o): self.outcomes[o] for o in Outcome}}


def judge_followed(parser: Parser, line: FollowedLine) -> Parsed:
    """What a line is; never a score where its end may be missing, since `0.8312` begins with `0.8`."""
    if line.cut:
        return parser.cut_off(line.data)
    return parser.parse(line.data) if line.ended else parser.unfinished(line.data)


def tail(
    lines: Iterable[FollowedLine | None], parser: Parser, wanted: Wanted, counts: TailCounts
) -> Iterator[dict[str, Any] | None]:
    """One record per line that is wanted: file, byte offset, outcome and fields; and None where `lines` has one."""
    for line in lines:
        if line is None:
            yield None
            continue
        parsed = judge_followed(parser, line)
        counts.outcomes[parsed.outcome] += 1
        if wanted.includes(parsed):
            yield {"file": line.file, "offset": line.offset, "outcome": parsed.outcome, **parsed.fields}
        elif parsed.outcome is Outcome.NOT_A_SCORE and not wanted.text:
            counts.text_hidden += 1
        else:
            counts.filtered += 1
