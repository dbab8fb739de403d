"""Turn the contract's patterns into grok definitions, and the same into Python's regular expressions.

Both come from one text, so the engines can differ only in how they read it. Two things are written differently for
Python: named groups, and letters. Python's `re` has no `\\p{L}`; its `\\w` takes a few characters more, which the
parser sorts out by looking at the name itself (`is_own_name`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from elkkit.contract.model import Contract

_INCLUDE = re.compile(r"%\{(?P<name>\w+)(?::(?P<field>\w+)(?::\w+)?)?\}")
_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_PYTHON_LETTERS = {"ELKKIT_LETTER": r"[^\W\d_]", "ELKKIT_NAMECHAR": r"[\w\-@./()]"}
_NAME_MARKS = frozenset("0123456789_-@./()")


@dataclass(frozen=True)
class GrokPatterns:
    """What a grok engine needs: definitions by name, and the patterns in order."""

    definitions: Mapping[str, str]
    matches: tuple[str, ...]
    """Patterns of lines that are a score, finite or not."""
    malformed: tuple[str, ...]
    """Patterns of lines that look like a score and are none."""


def _any_case(word: str) -> str:
    """Match ASCII letters in any case: `(?i)` folds ſ and K too, and differently in each engine."""

    def char(c: str) -> str:
        if c.isascii() and c.isalpha():
            return f"[{c.upper()}{c.lower()}]"
        return c if c in " _" or c.isdigit() else re.escape(c)

    return "".join(char(c) for c in word)


def _alternatives(words: list[str]) -> str:
    return f"(?:{'|'.join(sorted(words, key=lambda w: (-len(w), w)))})"


def _literal(pattern: str) -> str:
    """Write the characters themselves: Elasticsearch's grok has no `\\uHHHH`, and Logstash no `\\x{HHHH}`."""
    return _UNICODE_ESCAPE.sub(lambda m: chr(int(m[1], 16)), pattern)


def grok_patterns(contract: Contract) -> GrokPatterns:
    """The contract's patterns with the known metrics and level words filled in."""
    known = [_any_case(s) for m in contract.metrics.values() for s in m.spellings]
    definitions = {
        "ELKKIT_KNOWN": _alternatives(known),
        "ELKKIT_LEVEL_WORD": _alternatives(list(contract.levels)),
        "ELKKIT_LEVEL_ANY_CASE": _alternatives([_any_case(w) for w in contract.levels]),
        **{name: _literal(pattern) for name, pattern in contract.patterns.items()},
    }
    judges = [j for j in contract.judges if not j.own or contract.own_metrics == "any"]
    return GrokPatterns(
        definitions=definitions,
        matches=tuple(j.pattern for j in judges if j.outcome == "scored"),
        malformed=tuple(j.pattern for j in judges if j.outcome == "malformed"),
    )


def python_expression(pattern: str, definitions: Mapping[str, str]) -> str:
    """Expand a grok pattern into an expression for Python's `re`."""
    local = {**definitions, **_PYTHON_LETTERS}

    def include(match: re.Match[str]) -> str:
        inner = _INCLUDE.sub(include, local[match["name"]])
        return f"(?P<{match['field']}>{inner})" if match["field"] else f"(?:{inner})"

    return _INCLUDE.sub(include, pattern).replace(r"\z", r"\Z")


def is_own_name(name: str) -> bool:
    """Whether all of a name's characters are letters (Unicode category L), ASCII digits or the marks allowed."""
    return name.isascii() or all(c == " " or c in _NAME_MARKS or c.isalpha() for c in name)
