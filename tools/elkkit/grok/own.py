"""A user's own grok pattern: read from a text or a file, and which of its fields is the score."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elkkit.errors import ConfigError

_DEFINITION = re.compile(r"([A-Z][A-Z0-9_]*)[ \t]+(?![ \t:])(\S.*)")
_CAPTURE = re.compile(r"%\{(?P<pattern>\w+):(?P<field>[^:{}]+)(?::(?P<type>\w+))?\}|\(\?<(?P<group>[A-Za-z_]\w*)>")
_NUMBERS = frozenset({"NUMBER", "BASE10NUM", "BASE16FLOAT", "INT", "NONNEGINT", "POSINT"})
_TYPES = frozenset({"int", "integer", "long", "float", "double"})
_SCORE, _NAME = "metricscores", "metrictype"


@dataclass(frozen=True, slots=True)
class OwnPattern:
    """Patterns that a user wants to have tested."""

    patterns: tuple[str, ...]
    definitions: Mapping[str, str]
    score: str
    """The field that holds the number, by its dotted name."""
    name: str | None
    """The field that holds the metric's name; None where names are not compared."""


def read_patterns(texts: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Patterns and definitions of lines as in a file of patterns.

    A line `NAME pattern`, whose name has capitals, digits and `_` only, is a definition, as in a `patterns_dir` of
    Logstash; `#` starts a comment; every other line is a pattern.
    """
    patterns, definitions = [], {}
    for line in texts:
        text = line.strip("\r\n")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if found := _DEFINITION.fullmatch(text.strip()):
            definitions[found[1]] = found[2]
        else:
            patterns.append(text)
    return tuple(patterns), definitions


def own_pattern(
    patterns: Sequence[str], definitions: Mapping[str, str], *, score: str | None = None, name: str | None = None
) -> OwnPattern:
    """Find out which fields are the score and the name; `score` and `name` say it instead.

    Raises `ConfigError` where that is not clear.
    """
    if not patterns:
        raise ConfigError("there is no pattern to test", why="nothing but definitions and comments",
                          hint="--pattern '%{WORD:metrictype} : %{NUMBER:metricscores:float}'")  # fmt: skip
    fields = _captures([*patterns, *definitions.values()])
    found = _dotted(score) if score else _the_score(fields)
    if found not in fields:
        known = ", ".join(fields) or "none"
        raise ConfigError(f"no pattern captures the field {found}", why=f"captured: {known}",
                          hint="name one of them: --score FIELD")  # fmt: skip
    chosen = _dotted(name) if name else _NAME if _NAME in fields else None
    if chosen is not None and chosen not in fields:
        raise ConfigError(f"no pattern captures the field {chosen}", why=f"captured: {', '.join(fields)}",
                          hint="name one of them: --name FIELD")  # fmt: skip
    return OwnPattern(tuple(patterns), dict(definitions), found, chosen)


def _captures(texts: Sequence[str]) -> dict[str, bool]:
    """Fields in their order, and whether each is captured as a number."""
    fields: dict[str, bool] = {}
    for text in texts:
        for match in _CAPTURE.finditer(text):
            name = _dotted(match["field"] or match["group"])
            number = match["type"] in _TYPES if match["type"] else match["pattern"] in _NUMBERS
            fields[name] = fields.get(name, False) or number
    return fields


def _the_score(fields: Mapping[str, bool]) -> str:
    if _SCORE in fields:
        return _SCORE
    numbers = [name for name, number in fields.items() if number]
    if len(numbers) != 1:
        why = f"{len(numbers)} fields are numbers: {', '.join(numbers)}" if numbers else "no field is a number"
        raise ConfigError("it is not clear which field of the pattern is the score", why=why, hint="--score FIELD")
    return numbers[0]


def _dotted(name: str) -> str:
    parts = re.findall(r"\[([^\[\]]+)\]", name)
    return ".".join(parts) if parts else name
