"""Follow logs and say of each new line what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from elkkit.kql.dates import event_moment
from elkkit.line.parser import Outcome, Parsed, Parser
from elkkit.stack.growing import FollowedLine
from elkkit.usecases.parse import judge_strictly


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are shown; the others are counted."""

    text: bool = False
    """Ordinary log text too."""
    models: frozenset[str] = frozenset()
    """Names, or name:version; empty means every model."""
    metrics: frozenset[str] = frozenset()
    """Canonical names; empty means every metric."""
    query: Callable[[Mapping[str, Any]], bool] | None = None
    """What the fields of every line shown must match, text and malformed lines too."""
    since: int | None = None
    """Milliseconds since 1970; lines of an earlier @timestamp are left out, those that tell no time are not."""

    def passes(self, parsed: Parsed) -> bool:
        """The filters let the line through. Text and malformed lines that name no model or metric pass those two."""
        if self.since is not None:
            moment = event_moment(parsed.fields.get("@timestamp"))
            if moment is not None and moment < self.since:
                return False
        score = parsed.outcome in (Outcome.SCORED, Outcome.NOT_FINITE)
        model, metric = parsed.fields.get("model.name"), parsed.fields.get("metrictype")
        if self.models and (model is not None or score):
            version = parsed.fields.get("model.version")
            if model not in self.models and f"{model}:{version}" not in self.models:
                return False
        if self.metrics and (metric is not None or score) and metric not in self.metrics:
            return False
        return self.query is None or self.query(parsed.fields)


@dataclass
class TailCounts:
    """What was read so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    text_hidden: int = 0
    """Lines of ordinary text that the filters let through and that were not shown."""
    filtered: int = 0
    """Lines that the filters left out."""

    def as_dict(self) -> dict[str, int]:
        """Lines read, and of each outcome."""
        return {"read": self.outcomes.total(), **{str(o): self.outcomes[o] for o in Outcome}}


def tail(
    lines: Iterable[FollowedLine | None], parser: Parser, wanted: Wanted, counts: TailCounts
) -> Iterator[dict[str, Any] | None]:
    """One record per line that is wanted: file, byte offset, outcome and fields; and None where `lines` has one."""
    for line in lines:
        if line is None:
            yield None
            continue
        parsed = judge_strictly(parser, line)
        counts.outcomes[parsed.outcome] += 1
        if not wanted.passes(parsed):
            counts.filtered += 1
        elif parsed.outcome is Outcome.NOT_A_SCORE and not wanted.text:
            counts.text_hidden += 1
        else:
            yield {"file": line.file, "offset": line.offset, "outcome": parsed.outcome, **parsed.fields}
