"""The contract's judging patterns as Logstash and Elasticsearch take them: which one matched is seen by its capture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from elkkit.contract import Contract, Field
from elkkit.errors import InternalError
from elkkit.grok import grok_patterns

JUDGED = ("message", "metrictype", "metricscores", "metricraw")
"""Fields that the message's text decides, whatever a JSON line says."""
PARSED = JUDGED[1:]
ANYTHING = r"\A"
"""The last pattern: it takes ordinary text, so that a failure is only ever a real one, such as a time-out."""
_INCLUDE = re.compile(r"%\{(\w+)\}")


@dataclass(frozen=True)
class EnginePatterns:
    """What a grok filter or processor is given."""

    definitions: Mapping[str, str]
    judges: tuple[str, ...]
    """In this order; the first that matches decides."""
    object: str
    """Text that starts with a brace behind whatever a host puts in front."""
    object_definitions: Mapping[str, str]
    """What that one includes."""


def engine_patterns(contract: Contract, capture: Callable[[str], str], number_type: str) -> EnginePatterns:
    """The patterns for one engine.

    `capture` names the working field of `known` (a name that is still to be made canonical), `bad_known`, `bad_own`
    and `object`; `number_type` is the engine's word for a 64-bit number.
    """
    grok = grok_patterns(contract)
    known, own = "%{ELKKIT_KNOWN:metrictype}", ":metrictype}"
    judges = []
    for pattern in grok.matches:
        if own not in pattern:
            raise InternalError(f"a judging pattern names no metric: {pattern}")
        pattern = pattern.replace(known, f"%{{ELKKIT_KNOWN:{capture('known')}}}")
        judges.append(pattern.replace(":metricscores:double}", f":metricscores:{number_type}}}"))
    for pattern in grok.malformed:
        marked = pattern.replace("%{ELKKIT_KNOWN}", f"%{{ELKKIT_KNOWN:{capture('bad_known')}}}")
        marked = marked.replace("%{ELKKIT_OWN}", f"%{{ELKKIT_OWN:{capture('bad_own')}}}")
        if marked == pattern:
            raise InternalError(f"a pattern of malformed lines names no metric: {pattern}")
        judges.append(marked)
    definitions = {**grok.definitions, "ELKKIT_OBJECT": r"\{(?m:.*)"}
    object_pattern = rf"\A%{{ELKKIT_PARTIAL_PREFIX}}%{{ELKKIT_OBJECT:{capture('object')}}}"
    return EnginePatterns(
        definitions=_used(judges, definitions),
        judges=(*judges, ANYTHING),
        object=object_pattern,
        object_definitions=_used([object_pattern], definitions),
    )


def expanded(contract: Contract, pattern: str) -> str:
    """A pattern with everything that it includes put in."""
    definitions = grok_patterns(contract).definitions

    def include(match: re.Match[str]) -> str:
        return f"(?:{_INCLUDE.sub(include, definitions[match[1]])})"

    return _INCLUDE.sub(include, pattern)


def line_fields(contract: Contract) -> list[Field]:
    """The fields that a JSON line can set."""
    return [f for f in contract.fields.values() if f.name not in JUDGED]


def shipper_fields(contract: Contract) -> list[str]:
    """Fields whose value from the shipper wins over the line's, so that a line cannot say that it is from elsewhere."""
    return [f.name for f in line_fields(contract) if f.source == "shipper" and f.name not in ("tags", "error.message")]


def _used(patterns: list[str], definitions: Mapping[str, str]) -> dict[str, str]:
    """The definitions that the patterns include, directly or not."""
    names: set[str] = set()
    todo = list(patterns)
    while todo:
        for name in re.findall(r"%\{(\w+)", todo.pop()):
            if name not in names:
                names.add(name)
                todo.append(definitions[name])
    return {n: p for n, p in definitions.items() if n in names}
