"""A saved object with the JSON that its texts hold read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elkkit.kibana.problems import Problem

JSON_FIELDS: Mapping[str, type] = {
    "visState": dict,
    "uiStateJSON": dict,
    "panelsJSON": list,
    "optionsJSON": dict,
    "kibanaSavedObjectMeta.searchSourceJSON": dict,
    "controlGroupInput.panelsJSON": dict,
    "controlGroupInput.ignoreParentSettingsJSON": dict,
    "fields": list,
    "fieldFormatMap": dict,
    "fieldAttrs": dict,
    "runtimeFieldMap": dict,
    "sourceFilters": list,
    "typeMeta": dict,
}
"""Attributes that hold JSON as a text, and what it is."""
OF_DATA_VIEWS = frozenset({"fields", "fieldFormatMap", "fieldAttrs", "runtimeFieldMap", "sourceFilters", "typeMeta"})
"""Those of them that only a data view has."""
_DEEPEST = 100
_NEEDED = {
    "visualization": ("visState",),
    "search": ("kibanaSavedObjectMeta.searchSourceJSON",),
    "dashboard": ("panelsJSON",),
}


@dataclass(frozen=True, slots=True)
class Found:
    """One object: as it stands, and with its JSON texts read."""

    type: str
    id: str
    raw: Mapping[str, Any]
    attributes: Mapping[str, Any]
    """With values in place of JSON texts; a text that is not JSON is left out."""
    references: tuple[Mapping[str, str], ...]

    @property
    def name(self) -> str:
        """`type:id`."""
        return f"{self.type}:{self.id}"

    def at(self, path: str) -> Any:
        """What stands at a path of attributes; None where there is nothing."""
        value: Any = self.attributes
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value


def decode(item: Mapping[str, Any], problems: list[Problem]) -> Found:
    """Read the JSON texts of an object whose outer shape is right; what cannot be read is added to `problems`."""
    attributes = _copy(item["attributes"])
    found = Found(item["type"], item["id"], item, attributes, tuple(item.get("references", [])))
    for path, kind in JSON_FIELDS.items():
        if path in OF_DATA_VIEWS and found.type != "index-pattern":
            continue
        *above, last = path.split(".")
        at: Any = attributes
        for key in above:
            at = at.get(key) if isinstance(at, dict) else None
        needed = path in _NEEDED.get(found.type, ())
        if not isinstance(at, dict) or last not in at:
            if needed:
                problems.append(Problem(found.name, f"attributes.{path}", "it is missing"))
            continue
        at[last] = value = _read(at[last], kind, found.name, f"attributes.{path}", problems)
        if value is None:
            del at[last]
    return found


def too_deep(value: Any) -> bool:
    """Nested deeper than anything that a Kibana writes; what walks through it would not come back."""
    level = [value]
    for _ in range(_DEEPEST):
        rows = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, (dict, list)))
        level = [inner for row in rows for inner in row]
        if not level:
            return False
    return True


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _read(value: object, kind: type, name: str, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, str):
        problems.append(Problem(name, path, "it is not a text with JSON in it"))
        return None
    try:
        read = json.loads(value)
    except (ValueError, RecursionError) as error:
        problems.append(Problem(name, path, f"it is not JSON: {error}"))
        return None
    if too_deep(read):
        problems.append(Problem(name, path, "it is nested too deeply"))
        return None
    if not isinstance(read, kind):
        problems.append(Problem(name, path, f"it holds {type(read).__name__} where {kind.__name__} belongs"))
        return None
    return read
