"""What a grok engine is asked, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from elkkit.errors import ElkkitError, ExitCode

LIMIT = 1.0
"""Seconds that one line may take, as in an ingest node: a pattern that backtracks for hours must not stop a test."""
_BRACKETS = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class Grok:
    """Patterns as a grok filter has them."""

    patterns: tuple[str, ...]
    """In order; the first that matches decides."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    """Named patterns beside those that every engine knows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine made of one text."""

    pattern: int | None = None
    """The number of the pattern that matched, from 0, where the engine tells."""
    fields: Mapping[str, Any] | None = None
    """By dotted name; None where nothing matched. A 32-bit number is the double nearest to its shortest decimal."""
    slow: bool = False
    """It gave up: matching took longer than the limit."""
    failed: str | None = None
    """Why it could not answer, in its own words."""


class NotAtHandError(ElkkitError):
    """An engine is not there, and why."""

    exit_code = ExitCode.UNREACHABLE
    code = "unreachable"


class RefusedError(ElkkitError):
    """An engine does not take a pattern; `why` has its own words."""

    exit_code = ExitCode.USAGE
    code = "usage"


class GrokEngine(Protocol):
    """An engine that reads texts, started; `close` it."""

    name: str
    version: str

    def read(self, texts: Sequence[str]) -> list[Answer]:
        """An answer for each text. Raises `NotAtHandError` where the engine has gone, `RefusedError`."""

    def close(self) -> None:
        """End it."""


def dotted(name: str) -> str:
    """A field's name as documents have it: `[a][b]` is `a.b`."""
    parts = _BRACKETS.findall(name)
    return ".".join(parts) if parts and "".join(f"[{p}]" for p in parts) == name else name


def flat(event: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """An event's fields by dotted name."""
    found: dict[str, Any] = {}
    for key, value in event.items():
        if isinstance(value, dict):
            found |= flat(value, f"{above}{key}.")
        else:
            found[f"{above}{dotted(key)}"] = value
    return found
