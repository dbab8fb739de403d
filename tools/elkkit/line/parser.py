"""Reading a line: every line ends in exactly one outcome, and a score is either exact or not a score."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from elkkit.contract import Contract, load_contract
from elkkit.contract.model import ASCII_LOWER
from elkkit.errors import InputError
from elkkit.grok import grok_patterns, is_own_name, python_expression
from elkkit.line.fields import read_fields
from elkkit.line.strictjson import NotJSONError, loads

MAX_NESTING = 3
"""How often a message may itself be a JSON line: log drivers wrap lines, and wrap them again."""
_BROKEN_OBJECT = re.compile(r"\{[ \t]*\"")
_EDGE = " \t\r\ufeff"


class Outcome(StrEnum):
    """What a line turned out to be."""

    SCORED = "scored"
    NOT_FINITE = "not_finite"
    NOT_A_SCORE = "not_a_score"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Parsed:
    """One line, read."""

    outcome: Outcome
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The event's fields by dotted name; `message` is the text that was judged."""

    @property
    def score(self) -> float | None:
        """The score of a scored line."""
        return self.fields.get("metricscores")


class Parser:
    """Reads lines by one contract's patterns. Make it with `Parser.of`, which keeps the compiled patterns."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        grok = grok_patterns(contract)
        self._prefix, self._partial_prefix = (
            re.compile(python_expression(f"%{{{name}}}", grok.definitions))
            for name in ("ELKKIT_PREFIX", "ELKKIT_PARTIAL_PREFIX")
        )
        self._scores = [(j.own, self._content_pattern(j.pattern, grok.definitions)) for j in self._judges("scored")]
        self._bad = [(j.own, self._content_pattern(j.pattern, grok.definitions)) for j in self._judges("malformed")]
        self._colour = re.compile(contract.colour)
        self._spellings = contract.spellings()
        self._number = re.compile(python_expression("%{ELKKIT_NUMBER}", grok.definitions))
        self._written: dict[str, str] = {}

    @staticmethod
    @lru_cache(maxsize=8)
    def of(contract: Contract | None = None) -> Parser:
        """The parser of a contract (the shipped one if none is given)."""
        return Parser(contract or load_contract())

    def _judges(self, outcome: str) -> list[Any]:
        every = self.contract.own_metrics == "any"
        return [j for j in self.contract.judges if j.outcome == outcome and (every or not j.own)]

    @staticmethod
    def _content_pattern(pattern: str, definitions: Mapping[str, str]) -> re.Pattern[str]:
        """The pattern after its prefix, which is atomic and therefore matched once, for all patterns."""
        _, _, content = pattern.partition("PREFIX}")
        return re.compile(python_expression(content, definitions))

    # --- reading -----------------------------------------------------------------------------------------------------

    def parse(self, raw: bytes) -> Parsed:
        """Read one line's bytes, without its line feed. Never raises, whatever the bytes are."""
        if raw.startswith(b'{"'):
            try:
                return self._judge_object(loads(raw), {}, depth=0)
            except NotJSONError:
                pass
        text = raw.decode("utf-8", "replace")
        return self._text(text, {}, depth=0, valid="\ufffd" not in text or text.encode() == raw)

    def parse_text(self, text: str) -> Parsed:
        """Read one line of text, without its line feed."""
        return self._text(text, {}, depth=0)

    def cut_off(self, raw: bytes) -> Parsed:
        """Read the head of a line that is too long to keep: never a score, since its end is missing."""
        parsed = self.parse(raw)
        tags = [*parsed.fields.get("tags", ()), self.contract.long_line_tag]
        if parsed.outcome is Outcome.NOT_A_SCORE:
            return Parsed(parsed.outcome, {**parsed.fields, "tags": tags})
        return self._malformed(parsed.fields, "the line is too long to be read whole", tags)

    def unfinished(self, raw: bytes) -> Parsed:
        """Read a line that no line feed ends: a JSON object is whole by itself, but `0.8` may go on as `0.8312`."""
        parsed = self.parse(raw)
        whole = raw.rstrip(b" \t\r").endswith(b"}")
        if parsed.outcome not in (Outcome.SCORED, Outcome.NOT_FINITE) or whole:
            return parsed
        return self._malformed(parsed.fields, "no line feed ends the line, so its end may be missing")

    def _judge_object(self, value: Mapping[str, Any], outer: Mapping[str, Any], depth: int) -> Parsed:
        fields = {**outer, **read_fields(self.contract, value)}
        message = value.get("message")
        if isinstance(message, str):
            return self._text(message, fields, depth + 1)
        return Parsed(Outcome.NOT_A_SCORE, fields)

    def _text(self, text: str, fields: Mapping[str, Any], depth: int, valid: bool = True) -> Parsed:
        name, colon, number = text.partition(" : ")
        if colon and name in self.contract.metrics and self._number.fullmatch(number):  # what our own writer writes
            found = {"message": text, "metrictype": name, "metricscores": float(number)}
            return Parsed(Outcome.SCORED, {**fields, **found})
        content = self._colour.sub("", text) if "\x1b" in text else text
        end = self._end(self._prefix, content)
        if content.startswith("{", end) and depth < MAX_NESTING:
            judged = self._object(text, content[end:], fields, depth, valid)
            if judged is not None:
                return judged
        for own, pattern in self._scores:
            match = pattern.match(content, end)
            if match and (not own or is_own_name(match["metrictype"])):
                return self._scored(text, match, fields)
        whole, end = end, self._end(self._partial_prefix, content)
        if end != whole and content.startswith("{", end) and depth < MAX_NESTING:
            judged = self._object(text, content[end:], fields, depth, valid)
            if judged is not None:
                return judged
        for own, pattern in self._bad:
            match = pattern.match(content, end)
            if match and (not own or is_own_name(content[end:].partition(":")[0].rstrip(_EDGE))):
                kind = "an own metric" if own else "a known metric"
                return self._malformed({**fields, "message": text}, f"the value of {kind} is not one plain number")
        return Parsed(Outcome.NOT_A_SCORE, {**fields, "message": text})

    @staticmethod
    def _end(prefix: re.Pattern[str], content: str) -> int:
        match = prefix.match(content)
        return match.end() if match else 0

    def _object(self, text: str, content: str, fields: Mapping[str, Any], depth: int, valid: bool) -> Parsed | None:
        """Judge content that starts with a brace; None where that brace is ordinary text."""
        try:
            if not valid:
                raise NotJSONError("it is not UTF-8")
            return self._judge_object(loads(content.rstrip(_EDGE)), fields, depth)
        except NotJSONError as error:
            if not _BROKEN_OBJECT.match(content):
                return None
            return self._malformed({**fields, "message": text}, f"not one JSON object: {error}")

    def _scored(self, text: str, match: re.Match[str], fields: Mapping[str, Any]) -> Parsed:
        name = match["metrictype"]
        found: dict[str, Any] = {"message": text, "metrictype": self._spellings.get(name.translate(ASCII_LOWER), name)}
        number = match["metricscores"]
        if number is not None:
            found["metricscores"] = float(number)
            return Parsed(Outcome.SCORED, {**fields, **found})
        found["metricraw"] = match["metricraw"]
        return Parsed(Outcome.NOT_FINITE, {**fields, **found})

    def _malformed(self, fields: Mapping[str, Any], why: str, tags: list[str] | None = None) -> Parsed:
        kept = {k: v for k, v in fields.items() if k not in ("metrictype", "metricscores", "metricraw")}
        tags = [*(tags if tags is not None else fields.get("tags", ())), self.contract.malformed_tag]
        return Parsed(Outcome.MALFORMED, {**kept, "tags": tags, "error.message": why})

    # --- writing -----------------------------------------------------------------------------------------------------

    def is_number(self, text: str) -> bool:
        """Whether a text is a number by the line's grammar: finite, and the same to every engine."""
        return self._number.fullmatch(text) is not None

    def written_name(self, metric: str) -> str:
        """The name under which a metric is written, such that reading gives it back.

        Raises `InputError` for a name that is none, or that a host's prefix hides (`INFO loss`).
        """
        found = self._written.get(metric)
        if found is None:
            name = self._spellings.get(metric.translate(ASCII_LOWER), metric)
            parsed = self.parse_text(f"{name} : 0.5")
            if parsed.outcome is not Outcome.SCORED or parsed.fields["metrictype"] != name:
                why = "no parser would read this name back from a line"
                hint = "1 to 6 words of letters, digits and _-@./(), at most 64 characters, starting with a letter"
                raise InputError(f"the metric {metric!r:.80} cannot be logged", why=why, hint=hint)
            if len(self._written) < 10_000:  # names come from requests in a service
                self._written[metric] = name
            found = name
        return found
