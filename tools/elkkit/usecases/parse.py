"""Read log lines and say of each what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from elkkit.errors import ElkkitError
from elkkit.line.canary import CANARY, is_canary
from elkkit.line.parser import Outcome, Parsed, Parser
from elkkit.stack.files import read_lines


@dataclass
class ParseCounts:
    """What was read so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    unterminated: list[str] = field(default_factory=list)
    """Files whose last line has no line feed: it may have been cut off."""
    failed: list[ElkkitError] = field(default_factory=list)
    """Files that could not be read, or not to their end."""

    def as_dict(self) -> dict[str, int]:
        """Lines read, and of each outcome; canaries, which are of none, where there are any."""
        canaries = {CANARY: n} if (n := self.outcomes[CANARY]) else {}
        return {"read": self.outcomes.total(), **{str(o): self.outcomes[o] for o in Outcome}, **canaries}


class _Line(Protocol):
    @property
    def data(self) -> bytes: ...

    @property
    def ended(self) -> bool: ...

    @property
    def cut(self) -> bool: ...


def judge(parser: Parser, line: _Line) -> Parsed:
    """What one line is; a last line without a line feed as if it were whole."""
    return parser.cut_off(line.data) if line.cut else parser.parse(line.data)


def judge_strictly(parser: Parser, line: _Line) -> Parsed:
    """What one line is; never a score where its end may be missing, since `0.8312` begins with `0.8`."""
    return judge(parser, line) if line.ended or line.cut else parser.unfinished(line.data)


def parse_files(files: Sequence[str], parser: Parser, counts: ParseCounts) -> Iterator[dict[str, Any]]:
    """One record per line of each file: its number, outcome and fields. A file that fails does not stop the rest."""
    for name in files:
        line = None
        try:
            for line in read_lines(name):
                parsed = judge(parser, line)
                outcome = CANARY if is_canary(parser.contract, parsed.fields) else str(parsed.outcome)
                counts.outcomes[outcome] += 1
                where = {"file": name} if len(files) > 1 else {}
                yield {**where, "line": line.number, "outcome": outcome, **parsed.fields}
        except ElkkitError as error:
            counts.failed.append(error)
        if line is not None and not line.ended:
            counts.unterminated.append(name)
