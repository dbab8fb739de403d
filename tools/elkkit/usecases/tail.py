"""Follow logs, or a stream of Elasticsearch, and say of each new line what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elkkit.contract import Contract
from elkkit.kql import Node, event_moment, to_query
from elkkit.line.canary import CANARY, is_canary
from elkkit.line.parser import Outcome, Parsed, Parser
from elkkit.stack.growing import FollowedLine
from elkkit.stack.reading import Query, all_of, any_of, exists, field_types, no_canaries, none_of, read_document
from elkkit.usecases.parse import judge_strictly

if TYPE_CHECKING:
    from elkkit.stack.elastic import Server


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

    canaries: bool = False
    """Canaries too: the query is about them."""

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
        """Lines read, and of each outcome; canaries, which are of none, where there are any."""
        canaries = {CANARY: n} if (n := self.outcomes[CANARY]) else {}
        return {"read": self.outcomes.total(), **{str(o): self.outcomes[o] for o in Outcome}, **canaries}


def tail(
    lines: Iterable[FollowedLine | None], parser: Parser, wanted: Wanted, counts: TailCounts
) -> Iterator[dict[str, Any] | None]:
    """One record per line that is wanted: file, byte offset, outcome and fields; and None where `lines` has one."""
    for line in lines:
        if line is None:
            yield None
            continue
        parsed = judge_strictly(parser, line)
        if _is_shown(parser.contract, parsed, wanted, counts):
            yield {"file": line.file, "offset": line.offset, "outcome": parsed.outcome, **parsed.fields}


def tail_documents(
    sources: Iterable[Mapping[str, Any] | None], contract: Contract, wanted: Wanted, counts: TailCounts
) -> Iterator[dict[str, Any] | None]:
    """One record per document that is wanted, as `tail` gives them; file and offset where the document tells them."""
    for source in sources:
        if source is None:
            yield None
            continue
        parsed = read_document(contract, source)
        if _is_shown(contract, parsed, wanted, counts):
            names = {"file": "log.file.path", "offset": "log.offset"}
            place = {short: parsed.fields[name] for short, name in names.items() if name in parsed.fields}
            yield {**place, "outcome": parsed.outcome, **parsed.fields}


def _is_shown(contract: Contract, parsed: Parsed, wanted: Wanted, counts: TailCounts) -> bool:
    if is_canary(contract, parsed.fields):
        counts.outcomes[CANARY] += 1
        return wanted.canaries and wanted.passes(parsed)
    counts.outcomes[parsed.outcome] += 1
    if not wanted.passes(parsed):
        counts.filtered += 1
        return False
    if parsed.outcome is Outcome.NOT_A_SCORE and not wanted.text:
        counts.text_hidden += 1
        return False
    return True


def beginning(wanted: Wanted, query: Node | None, contract: Contract, server: Server) -> Query:
    """The documents among which the last ones are: those that pass `wanted`, of which `query` is what it matches."""
    score = exists("metrictype")
    limits = [to_query(query, field_types(contract, server))] if query is not None else []
    if not wanted.canaries:
        limits.append(no_canaries(contract))
    if not wanted.text:
        limits.append(any_of(score, {"term": {"tags": contract.malformed_tag}}))
    if wanted.since is not None:
        moment = {"range": {"@timestamp": {"gte": wanted.since, "format": "epoch_millis"}}}
        limits.append(any_of(moment, none_of(exists("@timestamp"))))
    if wanted.models:
        these = [_one_model(label) for label in sorted(wanted.models)]
        limits.append(any_of(*these, none_of(score, exists("model.name"))))
    if wanted.metrics:
        limits.append(any_of({"terms": {"metrictype": sorted(wanted.metrics)}}, none_of(score)))
    return all_of(*limits)


def _one_model(label: str) -> Query:
    """A name, or name and version: either may have a colon in it."""
    splits = [(label[:i], label[i + 1 :]) for i, letter in enumerate(label) if letter == ":"]
    exact = [all_of({"term": {"model.name": n}}, {"term": {"model.version": v}}) for n, v in splits]
    return any_of({"term": {"model.name": label}}, *exact)
