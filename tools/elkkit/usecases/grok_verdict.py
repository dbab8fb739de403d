"""What an engine read of a line, and how that compares with the contract's reading."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from elkkit.contract.model import ASCII_LOWER
from elkkit.grok import grok_patterns
from elkkit.grok.own import OwnPattern
from elkkit.line.parser import Outcome, Parsed, Parser
from elkkit.stack.grokengine import Answer


class Verdict(StrEnum):
    """How an engine's reading compares with the contract's."""

    SAME = "same"
    NUMBER = "number changed"
    LOST = "line lost"
    MADE_UP = "number made up"
    NAME = "name changed"
    OUTCOME = "outcome changed"
    SLOW = "too slow"
    FAILED = "failed"
    NOT_ASKED = "not asked"

    @property
    def differs(self) -> bool:
        """It counts as a difference."""
        return self not in (Verdict.SAME, Verdict.NOT_ASKED)


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of a line."""

    outcome: str
    """An outcome of the contract; of an own pattern `matched` or `no match`; else empty."""
    name: str | None = None
    score: float | None = None
    raw: str | None = None
    """The text that stands where the number should be."""
    why: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        parts = {"outcome": self.outcome, "metric": self.name, "score": self.score, "raw": self.raw, "why": self.why}
        return {k: v for k, v in parts.items() if v is not None and v != ""}

    def shown(self) -> str:
        """For people: `IoU 0.8312`, `malformed`."""
        value = repr(self.score) if self.score is not None else self.raw
        if value is None:
            return self.outcome.replace("_", " ")
        return f"{self.name} {value}" if self.name is not None else value


def of_contract(parsed: Parsed) -> Reading:
    """What the contract makes of a line."""
    if parsed.outcome in (Outcome.SCORED, Outcome.NOT_FINITE):
        return Reading(parsed.outcome, parsed.fields["metrictype"], parsed.score, parsed.fields.get("metricraw"))
    return Reading(parsed.outcome, why=parsed.fields.get("error.message"))


def compared(
    parser: Parser, own: OwnPattern | None, parsed: Parsed, answer: Answer | None, *, from_library: bool
) -> tuple[Reading, Verdict]:
    """An engine's reading of a line, and how it compares; `own` is the user's pattern, where that was asked."""
    if answer is None:
        return Reading(""), Verdict.NOT_ASKED
    if answer.slow:
        return Reading("", why="matching took too long"), Verdict.SLOW
    if answer.failed is not None:
        return Reading("", why=answer.failed), Verdict.FAILED
    if own is not None:
        return _own_compared(parser, own, of_contract(parsed), answer.fields)
    reading = _library_reading(parser, answer) if from_library else _event_reading(parser, answer.fields or {})
    return reading, _same_contract(of_contract(parsed), reading)


def _library_reading(parser: Parser, answer: Answer) -> Reading:
    good = len(grok_patterns(parser.contract).matches)
    if answer.pattern is None:
        return Reading(Outcome.NOT_A_SCORE)
    if answer.pattern >= good:
        return Reading(Outcome.MALFORMED)
    return _event_reading(parser, answer.fields or {})


def _event_reading(parser: Parser, fields: dict[str, Any] | Any) -> Reading:
    name = fields.get("metrictype")
    if not isinstance(name, str):
        tags = fields.get("tags") or ()
        return Reading(Outcome.MALFORMED if parser.contract.malformed_tag in tags else Outcome.NOT_A_SCORE)
    score = fields.get("metricscores")
    if isinstance(score, int | float) and not isinstance(score, bool):
        return Reading(Outcome.SCORED, _canonical(parser, name), float(score))
    return Reading(Outcome.NOT_FINITE, _canonical(parser, name), raw=str(fields.get("metricraw", score)))


def _same_contract(ours: Reading, theirs: Reading) -> Verdict:
    if ours.outcome != theirs.outcome:
        return Verdict.OUTCOME
    if ours.name != theirs.name:
        return Verdict.NAME
    return Verdict.SAME if _bits(ours.score) == _bits(theirs.score) and ours.raw == theirs.raw else Verdict.NUMBER


def _own_compared(
    parser: Parser, own: OwnPattern, ours: Reading, fields: dict[str, Any] | Any
) -> tuple[Reading, Verdict]:
    if fields is None:
        lost = ours.outcome in (Outcome.SCORED, Outcome.NOT_FINITE)
        return Reading("no match"), Verdict.LOST if lost else Verdict.SAME
    name = fields.get(own.name) if own.name else None
    name = name if name is None else str(name)
    value = fields.get(own.score)
    score = _number(value)
    reading = Reading("matched", name, score, None if score is not None or value is None else str(value))
    if ours.outcome != Outcome.SCORED:
        return reading, Verdict.MADE_UP if score is not None and math.isfinite(score) else Verdict.SAME
    if value is None:
        return reading, Verdict.LOST
    if score is None or _bits(score) != _bits(ours.score):
        return reading, Verdict.NUMBER
    if own.name and (name is None or _canonical(parser, name) != ours.name):
        return reading, Verdict.NAME
    return reading, Verdict.SAME


def _number(value: Any) -> float | None:
    """A captured value as the number that a mapping of 64-bit numbers would store; text is read as it reads text."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    if not text.isascii() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _canonical(parser: Parser, name: str) -> str:
    return parser.contract.spellings().get(name.translate(ASCII_LOWER), name)


def _bits(score: float | None) -> bytes | None:
    return None if score is None else struct.pack(">d", score)
