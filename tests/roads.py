"""What the Logstash filter and the ingest pipeline make of a line, in a form that compares with Python's parser."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from elkkit.contract import load_contract
from elkkit.line.parser import Outcome, Parsed
from lines import generated_line

CONTRACT = load_contract()
_OWN_CLOCK = frozenset({"@timestamp"})
"""Set by the road where the line has none, so it is compared where the line sets it."""
_ROAD_SETS = frozenset({"event.dataset", "host.name", "host.hostname", "error.message"})


def flat(event: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """An event's fields by dotted name."""
    found: dict[str, Any] = {}
    for key, value in event.items():
        if isinstance(value, dict):
            found |= flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def outcome_of(fields: Mapping[str, Any]) -> Outcome:
    """The outcome that an event of a road shows."""
    if CONTRACT.malformed_tag in fields.get("tags", ()) and "metrictype" not in fields:
        return Outcome.MALFORMED
    if "metrictype" not in fields:
        return Outcome.NOT_A_SCORE
    return Outcome.SCORED if "metricscores" in fields else Outcome.NOT_FINITE


def _comparable(fields: dict[str, Any]) -> dict[str, Any]:
    """Scores as their bits, so that the sign of zero counts; moments in milliseconds, since roads write them in UTC."""
    result = dict(fields)
    if "metricscores" in fields:
        result["metricscores"] = struct.pack(">d", fields["metricscores"]).hex()
    if "@timestamp" in fields:
        result["@timestamp"] = int(datetime.fromisoformat(fields["@timestamp"]).timestamp() * 1000)
    return result


def seen(event: Mapping[str, Any], parsed: Parsed) -> tuple[Outcome, dict[str, Any]]:
    """Outcome and comparable fields of an event that a road made (ordinary text is compared by its outcome)."""
    fields = {k: v for k, v in flat(event).items() if k not in _ROAD_SETS and v != []}
    if "@timestamp" not in parsed.fields:
        fields.pop("@timestamp", None)
    outcome = outcome_of(fields)
    return outcome, {} if outcome is Outcome.NOT_A_SCORE else _comparable(fields)


def wanted(parsed: Parsed) -> tuple[Outcome, dict[str, Any]]:
    """The same of Python's parser."""
    fields = {k: v for k, v in parsed.fields.items() if k not in _ROAD_SETS and v != []}
    return parsed.outcome, {} if parsed.outcome is Outcome.NOT_A_SCORE else _comparable(fields)


def expected(entry: Mapping[str, Any]) -> Parsed:
    """One line of an expected file of the golden cases."""
    return Parsed(Outcome(entry["outcome"]), {k: v for k, v in entry.items() if k != "outcome"})


# --- JSON lines ------------------------------------------------------------------------------------------------------

_TEXTS = ["a", "", "x" * 40, "night shift", "精度", "\u00e9", "\\", '"', "\t", "\U0001f6a6"]
_TEXTS += ["%{message}", "${HOME}", "{{x}}", "0a46c03b90b5b8b6ae31d4b74b34c00e", "0A46C03B90B5B8B6AE31D4B74B34C00E"]
_VALUES: list[Any] = [None, True, False, "true", [], {}, ["a"], [1, "b", None], {"x": {"y": 1}}]
_VALUES += [0, -0.0, 1, 42, 3.0, 1.5, 1e16, 1e-5, 123456.75, 1e300, 2**63, -(2**63), 2**70]
_VALUES += [
    "2026-11-22T10:00:00.123Z",
    "2026-11-22T10:00:00+01:00",
    "2026-11-22 10:00",
    "yesterday",
    "2026-13-22T10:00:00Z",
]
_PREFIXES = ["2026-11-22T10:00:00.123456789Z stdout F ", "INFO:root:", " ", "\ufeff", "\x1b[32m", "x "]
_KEYS = [*CONTRACT.fields, "msg", "model", "event", "frame", "a.b", "host", "log", "@metadata", "_id", "elkkit_work"]
_BREAKS = ["}", ",", " trailing", "}{", "\r", " ", "]", "NaN", "//x", '"', "\\", "\x00", "\ufeff"]


def _nested(fields: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Some of the dotted keys as nested objects."""
    result: dict[str, Any] = {}
    for name, value in fields.items():
        group, _, last = name.partition(".")
        if last and rng.random() < 0.5 and isinstance(result.get(group, {}), dict):
            result.setdefault(group, {})[last] = value
        else:
            result[name] = value
    return result


def generated_json_line(rng: random.Random, depth: int = 0) -> str:
    """A line that is a JSON object, or nearly one."""
    message: Any = generated_line(rng)
    if depth < 3 and rng.random() < 0.15:
        message = generated_json_line(rng, depth + 1)
    if rng.random() < 0.05:
        message = rng.choice(_VALUES)
    fields: dict[str, Any] = {"message": message} if rng.random() < 0.97 else {}
    for name in rng.sample(_KEYS, rng.randrange(6)):
        if name == "message":
            continue
        fields[name] = rng.choice(_TEXTS) if rng.random() < 0.5 else copy.deepcopy(rng.choice(_VALUES))
    items = list(_nested(fields, rng).items())
    rng.shuffle(items)
    text = json.dumps(dict(items), ensure_ascii=rng.random() < 0.5, separators=rng.choice([(",", ":"), (", ", ": ")]))
    if rng.random() < 0.1:
        at = rng.choice([len(text), len(text) - 1, rng.randrange(len(text))])
        text = text[:at] + rng.choice(_BREAKS) + text[at + rng.randrange(2) :]
    if rng.random() < 0.05:
        text = text[: rng.randrange(1, len(text))]
    if rng.random() < 0.1:
        text = rng.choice(_PREFIXES) + text
    return text.replace("\n", " ")


HOSTILE = {
    "deep": f'{{"message":"IoU : 0.5","x":{"[" * 900}{"]" * 900}}}',
    "too deep": f'{{"message":"IoU : 0.5","x":{"[" * 5000}{"]" * 5000}}}',
    "long text": f'{{"message":"IoU : 0.5","x":"{"a" * 1_500_000}"}}',
    "long message": f'{{"message":"{"a" * 1_500_000} : 0.5"}}',
    "escapes": '{"message":"IoU : 0.5","x":"' + "\\n" * 300_000 + '"}',
    "many keys": '{"message":"IoU : 0.5",' + ",".join(f'"k{i}":{i}' for i in range(100_000)) + "}",
    "digits": f'{{"message":"IoU : 0.5","frame.index":{"9" * 1_000_000}}}',
    "braces": "{ {" * 300_000,
    "quoted braces": '{"' * 300_000,
    "blanks": f"IoU{' ' * 300_000}x",
    "stamps": "2026-11-22 10:00:00 " * 20_000,
    "brackets": "[a] " * 100_000,
    "parentheses": "INFO " + "(a)" * 100_000,
    "escape codes": "\x1b[" * 200_000,
    "blanks in an object": '{"a":1' + " " * 300_000 + "é",
    "blanks behind an object": '{"message":"IoU : 0.5"} ' + " " * 300_000,
}
"""Lines that make a careless expression or reader take minutes, or run out of stack."""
