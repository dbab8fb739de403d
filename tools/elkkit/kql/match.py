"""Ask one event here what Elasticsearch would answer for it on elkkit's mappings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from operator import ge, gt, le, lt
from typing import Any, TypeAlias

from elkkit.contract import Contract
from elkkit.kql.ast import (
    And,
    Exists,
    Is,
    MatchAll,
    Nested,
    Node,
    Not,
    Or,
    Range,
    Wildcard,
    matching_fields,
    nested_error,
    split_words,
)
from elkkit.kql.dates import event_moment, span
from elkkit.kql.dates import time_zone as zone_of
from elkkit.kql.errors import KqlError
from elkkit.kql.parser import parse

Event: TypeAlias = Mapping[str, Any]
Matcher: TypeAlias = Callable[[Event], bool]
Test: TypeAlias = Callable[[Any], bool]
"""Whether one value of a field, never None and never a list, is what was asked for."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_COMPARE = {"gt": gt, "gte": ge, "lt": lt, "lte": le}
_TEXT = frozenset({"match_only_text", "text"})
_KEYWORD = frozenset({"keyword", "constant_keyword"})
_TYPE_NAMES = {"double": "a number", "long": "a number", "date": "a date", "boolean": "true or false"}


def to_predicate(
    query: str | Node,
    fields: Contract | Mapping[str, str],
    *,
    time_zone: str = "UTC",
    now: datetime | None = None,
) -> Matcher:
    """A function that says whether an event, its fields by dotted name, is what a text or its meaning asks for.

    As on a server with these fields (a contract's, or each one's Elasticsearch type): text of keywords is compared as
    it is, `message` by its words, numbers as numbers, dates as moments; of a list any element may match; a field that
    is absent or unknown matches nothing, except that `event.dataset` is the same in every event of a contract. `now`
    of date math is the moment of this call; `time_zone`, a name or an offset, is that of dates that tell none.
    Raises `KqlError` where Elasticsearch would refuse the query, such as a word for a number. A pattern of several
    field names, and a value without a field, pass over the fields that cannot have such a value.
    """
    node = parse(query) if isinstance(query, str) else query
    return _Build(fields, now or datetime.now(UTC), zone_of(time_zone)).node(node)


class _Build:
    """Turns a query into closures, so that what depends on the query alone is done once."""

    def __init__(self, fields: Contract | Mapping[str, str], now: datetime, zone: tzinfo) -> None:
        self._constants: dict[str, str] = {}
        if isinstance(fields, Contract):
            self._types: Mapping[str, str] = {name: field.type for name, field in fields.fields.items()}
            # the mapping holds such a field's value, so that every event has it
            if self._types.get("event.dataset") == "constant_keyword":
                self._constants["event.dataset"] = fields.dataset
        else:
            self._types = fields
        self._now = now
        self._zone = zone

    def node(self, node: Node) -> Matcher:
        if isinstance(node, MatchAll):
            return lambda _event: True
        if isinstance(node, And):
            every = [self.node(part) for part in node.parts]
            return lambda event: all(part(event) for part in every)
        if isinstance(node, Or):
            return _any([self.node(part) for part in node.parts])
        if isinstance(node, Not):
            inner = self.node(node.part)
            return lambda event: not inner(event)
        if isinstance(node, Nested):
            raise nested_error(node)
        return self._leaf(node)

    def _leaf(self, node: Is | Range | Exists) -> Matcher:
        if node.field is None:
            if isinstance(node.value, Wildcard) and node.value.is_all:
                return lambda _event: True
            return _any(self._fields(node, list(self._types), lenient=True))
        names = matching_fields(node.field, self._types)
        return _any(self._fields(node, names, lenient=len(names) > 1))

    def _fields(self, node: Is | Range | Exists, names: Iterable[str], *, lenient: bool) -> list[Matcher]:
        made: list[Matcher] = []
        for name in names:
            kind = self._types.get(name)
            if isinstance(node, Exists):
                made.append(self._read(name, lambda _value: True) if kind else _any_below(f"{name}."))
            elif kind is not None:
                try:
                    made.append(self._read(name, self._test(name, kind, node)))
                except KqlError:
                    if not lenient:
                        raise
        return made

    def _read(self, name: str, test: Test) -> Matcher:
        constant = self._constants.get(name)

        def read(event: Event) -> bool:
            value = event.get(name, constant)
            if isinstance(value, list | tuple):
                return any(item is not None and test(item) for item in value)
            return value is not None and test(value)

        return read

    def _test(self, name: str, kind: str, node: Is | Range) -> Test:
        value = node.value
        if value is None:
            raise _cannot(name, "null is no value", f"to find events without it: not {name} : *")
        if isinstance(value, Wildcard) and isinstance(node, Is):
            return _pattern(name, kind, value)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if kind == "date":
            return self._date(name, text, node)
        if kind in ("double", "long"):
            return _number(name, kind, text, node)
        if kind == "boolean":
            return _boolean(name, text, node)
        if isinstance(node, Range):
            compare = _COMPARE[node.operator]
            if kind in _TEXT:  # a range is over the words that the text was split into
                return lambda item: any(compare(_bytes(word), _bytes(text)) for word in words(str(item)))
            return lambda item: compare(_bytes(str(item)), _bytes(text))
        return _text(kind, text, quoted=node.quoted)

    def _date(self, name: str, text: str, node: Is | Range) -> Test:
        found = span(text, self._now, self._zone)
        if found is None:
            raise _cannot(name, f"{text!r:.80} is no date", f'{name} > "2026-11-22T10:00:00Z", or {name} > now-15m')
        low, high = found

        def inside(moment: int) -> bool:
            return low <= moment <= high

        tests: dict[str, Callable[[int], bool]] = {
            "gt": lambda moment: moment > high,
            "gte": lambda moment: moment >= low,
            "lt": lambda moment: moment < low,
            "lte": lambda moment: moment <= high,
        }
        test = tests[node.operator] if isinstance(node, Range) else inside

        def read(item: Any) -> bool:
            moment = event_moment(item)
            return moment is not None and test(moment)

        return read


def _any(parts: list[Matcher]) -> Matcher:
    if len(parts) == 1:
        return parts[0]
    return lambda event: any(part(event) for part in parts)


def _any_below(prefix: str) -> Matcher:
    """An object exists where a field in it does."""
    return lambda event: any(name.startswith(prefix) and value not in (None, []) for name, value in event.items())


def _number(name: str, kind: str, text: str, node: Is | Range) -> Test:
    bound = _as_number(text)
    if bound is None:
        raise _cannot(name, f"it is {_TYPE_NAMES[kind]} ({kind}), and {text!r:.80} is none", f"{name} > 0.5")
    if kind == "double":
        bound = float(bound)
    elif not -(2**63) <= bound < 2**63:
        raise _cannot(name, f"{text:.80} is out of the range of a {kind}", f"{name} > 0")
    compare = _COMPARE[node.operator] if isinstance(node, Range) else None

    def test(item: Any) -> bool:
        number = _as_number(item) if isinstance(item, str) else item
        if not isinstance(number, int | float) or isinstance(number, bool):
            return False
        return number == bound if compare is None else compare(number, bound)

    return test


@lru_cache(maxsize=256)
def _as_number(text: str) -> int | float | None:
    """A number, a whole one exactly; the server takes one that is too large as infinite."""
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else None


def _boolean(name: str, text: str, node: Is | Range) -> Test:
    if text not in ("true", "false"):
        raise _cannot(name, f"it is true or false, and {text!r:.80} is neither", f"{name} : true")
    compare = _COMPARE[node.operator] if isinstance(node, Range) else None
    bound = text == "true"
    return lambda item: isinstance(item, bool) and (item == bound if compare is None else compare(item, bound))


def _text(kind: str, text: str, *, quoted: bool) -> Test:
    if kind not in _TEXT:
        return lambda item: str(item) == text
    wanted = words(text)
    if quoted:
        return lambda item: _has_phrase(words(str(item)), wanted)
    any_of = frozenset(wanted)
    return lambda item: not any_of.isdisjoint(words(str(item)))


def _pattern(name: str, kind: str, pattern: Wildcard) -> Test:
    """A pattern is several clauses where it holds space, and any of them may match."""
    if kind not in _TEXT | _KEYWORD:
        why = f"{str(pattern)!r:.80} is a pattern, and only text has such"
        raise _cannot(name, why, f"{name} : * finds events that have the field")
    tests: list[Test] = []
    for clause in split_words(pattern):
        if isinstance(clause, str):
            tests.append(_text(kind, clause, quoted=False))
        elif clause.is_all:
            return lambda _item: True
        elif kind in _TEXT:
            tests.append(_word_pattern(Wildcard(tuple(part.lower() for part in clause.parts))))
        else:
            tests.append(_whole_pattern(clause))
    return lambda item: any(test(item) for test in tests)


def _word_pattern(pattern: Wildcard) -> Test:
    return lambda item: any(map(pattern.matches, words(str(item))))


def _whole_pattern(pattern: Wildcard) -> Test:
    return lambda item: pattern.matches(str(item))


def _cannot(name: str, why: str, example: str) -> KqlError:
    return KqlError(f"the query cannot be asked of {name}", why=why, hint=f"for example: {example}")


# --- words ------------------------------------------------------------------------------------------------------------

_ALONE = "\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(
    rf"[{_ALONE}]|[^\W{_ALONE}]+(?:(?:(?<=\d)[.,;'’](?=\d)|(?<=[^\W\d_])[.:'’·](?=[^\W\d_]))[^\W{_ALONE}]+)*"
)


def words(text: str) -> list[str]:
    """The words of a text in lower case, closely enough to what Elasticsearch's standard analyzer finds.

    Runs of letters, digits and underscores; a dot, comma or apostrophe between digits (`0.83`) and a dot, colon or
    apostrophe between letters (`lane.net`) join them; every ideograph and hiragana letter is a word of its own.
    Other scripts' finer rules, and the analyzer's limit of 255 letters a word, are left out.
    """
    return [word.lower() for word in _WORD.findall(text) if word.strip("_")]


def _has_phrase(found: list[str], wanted: list[str]) -> bool:
    """All wanted words stand in a row."""
    size = len(wanted)
    return bool(wanted) and any(found[i : i + size] == wanted for i in range(len(found) - size + 1))


def _bytes(text: str) -> bytes:
    """Text in the order that Elasticsearch has it."""
    return text.encode("utf-8", "surrogatepass")
