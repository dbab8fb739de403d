"""What `elkkit doctor` says of one thing: fine, worth a look, wrong, or not looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from elkkit.errors import ElkkitError


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """It works, and will not for long or not as people expect."""
    FAIL = "fail"
    SKIP = "skip"
    """It was not looked at."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer."""

    name: str
    state: State
    text: str
    """What was found, one sentence without a full stop."""
    hint: str | None = None
    """The next command, for what is not fine."""

    def as_dict(self) -> dict[str, str | None]:
        """For JSON."""
        return {"name": self.name, "state": str(self.state), "text": self.text, "hint": self.hint}


def ok(name: str, text: str) -> Check:
    """It is as it should be."""
    return Check(name, State.OK, text)


def warn(name: str, text: str, hint: str) -> Check:
    """It works, and is worth a look."""
    return Check(name, State.WARN, text, hint)


def fail(name: str, text: str, hint: str) -> Check:
    """It is wrong."""
    return Check(name, State.FAIL, text, hint)


def skip(name: str, why: str, hint: str | None = None) -> Check:
    """It was not looked at."""
    return Check(name, State.SKIP, why, hint)


def failed(name: str, error: ElkkitError) -> Check:
    """What an error says."""
    return Check(name, State.FAIL, str(error), error.hint)


def counts(checks: Iterable[Check]) -> dict[str, int]:
    """How many there are of each state."""
    found = dict.fromkeys((str(s) for s in State), 0)
    for check in checks:
        found[str(check.state)] += 1
    return found
