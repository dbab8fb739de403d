"""The contract's fields out of a JSON object that somebody else may have written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from elkkit.contract import Contract, Field
from elkkit.line.identity import is_event_id

_JUDGED = frozenset({"message", "metrictype", "metricscores", "metricraw"})
"""Fields that the message decides, whatever the object says."""
_MAX_DEPTH = 8
TEXT_TYPES = frozenset({"keyword", "constant_keyword", "match_only_text"})
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
)


@lru_cache(maxsize=8)
def _plain_text(contract: Contract) -> frozenset[str]:
    """Fields that take any text as it is: most of a line."""
    return frozenset(
        n for n, f in contract.fields.items() if f.type in TEXT_TYPES and n not in {*_JUDGED, "event.id", "tags"}
    )


def read_fields(contract: Contract, value: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by dotted name, in the object's order; nested and dotted keys mean the same.

    A value that does not fit its field's type is left out and tagged; a key that the contract does not have is
    ignored.
    """
    found: dict[str, Any] = {}
    wrong: set[str] = set()
    plain = _plain_text(contract)
    for key, item in value.items():
        if key in plain and type(item) is str:
            found[key] = item
        elif type(item) is dict:
            for name, inner in _flat(item, f"{key}.", 1):
                _read(contract, name, inner, found, wrong)
        else:
            _read(contract, key, item, found, wrong)
    if wrong:
        found["tags"] = [*found.get("tags", ()), *sorted(wrong)]
    return found


def _read(contract: Contract, name: str, item: Any, found: dict[str, Any], wrong: set[str]) -> None:
    field = contract.fields.get(name)
    if field is None or name in _JUDGED or item is None:
        return
    if name == "event.id" and not is_event_id(item):
        wrong.add(contract.invalid_id_tag)
        return
    fitted = _fit(field, item)
    if fitted is None:
        wrong.add(contract.invalid_field_tag)
    else:
        found[name] = fitted


def _flat(value: Mapping[str, Any], above: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and depth < _MAX_DEPTH:
            yield from _flat(item, f"{above}{key}.", depth + 1)
        else:
            yield f"{above}{key}", item


def _fit(field: Field, value: Any) -> Any:
    """The value in its field's type, or None."""
    if isinstance(value, list):
        items = [fit_value(field.type, item) for item in value]
        return items if field.many and None not in items else None
    one = fit_value(field.type, value)
    return [one] if field.name == "tags" and one is not None else one


def fit_value(kind: str, value: Any) -> Any:
    """One value in a field type (`keyword`, `long`, `double` …), or None where it does not fit."""
    if kind == "boolean":
        return {"true": True, "false": False}.get(value) if isinstance(value, str) else _only(value, bool)
    if kind == "long":
        whole = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        return value if whole else None
    if kind == "double":
        return _finite(value)
    if kind == "date":
        return value if isinstance(value, str) and _is_moment(value) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return _only(value, str)


def _finite(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond every double
        return None


def _is_moment(text: str) -> bool:
    """Whether a text is a moment that Elasticsearch takes: the form, and a day that there is."""
    if not _MOMENT.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _only(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else None
