"""What differs between two meanings of an object, in words: panels by their ids and titles, not by line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST = 60
_ABSENT = object()
_TEXTS = {"panelsJSON": "panel", "kibanaSavedObjectMeta": "source", "controlGroupInput": "controls"}
"""Attributes by names that people know."""


@dataclass(frozen=True, slots=True)
class Change:
    """One value that is not the same; None where there is nothing on that side."""

    path: str
    """For people: `panel 3: gridData.w`."""
    before: str | None
    """JSON."""
    after: str | None

    @property
    def text(self) -> str:
        """For people, in one line, long values cut."""
        if self.before is None:
            return f"{self.path}: + {_cut(self.after)}"
        if self.after is None:
            return f"{self.path}: - {_cut(self.before)}"
        return f"{self.path}: {_cut(self.before)} -> {_cut(self.after)}"

    def as_dict(self) -> dict[str, str | None]:
        """For JSON."""
        return {"path": self.path, "before": self.before, "after": self.after}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs between two results of `meaning`, in the order of their names."""
    return tuple(_changes(before, after, ""))


def _changes(before: Any, after: Any, path: str) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, list) and isinstance(after, list):
        before, after = _numbered(before, after)
        if before == after:  # the same members, by their ids
            yield Change(f"{path}: order", _json(list(before)), _json(list(after)))
            return
    if not isinstance(before, dict) or not isinstance(after, dict):
        yield Change(path, _json(before), _json(after))
        return
    for key in sorted({*before, *after}):
        yield from _changes(before.get(key, _ABSENT), after.get(key, _ABSENT), _below(path, key))


def _below(path: str, key: str) -> str:
    if not path:
        return _TEXTS.get(key, key)
    if path == "panel":
        return f"panel {key}:"
    return f"{path} {key}" if path.endswith(":") else f"{path}.{key}"


def _numbered(*lists: list[Any]) -> tuple[dict[str, Any], ...]:
    """Lists as objects: by the `id` of their members where all have one, else by position."""
    named = all(isinstance(m, dict) and isinstance(m.get("id"), str) for rows in lists for m in rows)
    if named and all(len({m["id"] for m in rows}) == len(rows) for rows in lists):
        return tuple({m["id"]: m for m in rows} for rows in lists)
    return tuple({str(i): m for i, m in enumerate(rows)} for rows in lists)


def _json(value: object) -> str | None:
    return None if value is _ABSENT else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _cut(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
