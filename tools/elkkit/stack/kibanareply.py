"""What Kibana replies to an import, an export and a deletion, read with care: HTTP 200 is not success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from elkkit.stack.kibanaerrors import reason

Key = tuple[str, str]
"""Type and id of a saved object."""
STOPPERS = frozenset({"conflict", "ambiguous_conflict", "missing_references"})
"""Errors of one object that keep every other object from being written too."""


@dataclass(frozen=True, slots=True)
class Written:
    """An object that was written, or would have been."""

    type: str
    id: str
    title: str | None = None
    destination: str | None = None
    """The id that it has on the server, where that is another."""
    overwrote: bool = False
    copied: bool = False

    @property
    def key(self) -> Key:
        """What it is called on the server."""
        return self.type, self.destination or self.id


@dataclass(frozen=True, slots=True)
class Problem:
    """An object that was not written."""

    type: str
    id: str
    kind: str
    """conflict, ambiguous_conflict, missing_references, unsupported_type or unknown."""
    why: str
    """For people, in the server's words where it has some."""
    title: str | None = None
    destination: str | None = None
    """The id of the object that is in the way, where that is another."""
    candidates: tuple[str, ...] = ()
    """The ids of the objects of which one may be meant."""
    missing: tuple[Key, ...] = ()
    """The references that lead nowhere."""


@dataclass(frozen=True, slots=True)
class ImportReply:
    """What an import did."""

    success: bool
    count: int
    """Objects that were written, or would have been."""
    objects: tuple[Written, ...] = ()
    """Those; they were written unless `written` is "nothing"."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def written(self) -> Literal["nothing", "part", "all"]:
        """What of the file is on the server now."""
        if any(p.kind in STOPPERS for p in self.problems):
            return "nothing"
        if not self.problems:
            return "all"
        return "part" if self.objects else "nothing"

    @property
    def destinations(self) -> dict[Key, str]:
        """The new ids of the objects that have one."""
        return {(w.type, w.id): w.destination for w in self.objects if w.destination}


@dataclass(frozen=True, slots=True)
class Retry:
    """What to do with one object in `resolve`; objects that are not named are left out."""

    type: str
    id: str
    overwrite: bool = False
    destination: str | None = None
    replace: Sequence[tuple[str, str, str]] = ()
    """References: type, id in the file, id to use instead."""
    copy: bool = False
    ignore_missing: bool = False

    def sent(self) -> dict[str, Any]:
        """As Kibana wants it."""
        told: dict[str, Any] = {"type": self.type, "id": self.id, "overwrite": self.overwrite}
        if self.destination is not None:
            told["destinationId"] = self.destination
        if self.replace:
            told["replaceReferences"] = [{"type": t, "from": a, "to": b} for t, a, b in self.replace]
        if self.copy:
            told["createNewCopy"] = True
        if self.ignore_missing:
            told["ignoreMissingReferences"] = True
        return told


@dataclass(frozen=True, slots=True)
class Export:
    """What an export holds."""

    objects: tuple[dict[str, Any], ...] = ()
    """References before what refers to them."""
    missing: tuple[Key, ...] = ()
    """Objects that were asked for and are not there."""
    missing_references: tuple[Key, ...] = ()


@dataclass(slots=True)
class Deleted:
    """What a deletion did."""

    done: list[Key] = field(default_factory=list)
    missing: list[Key] = field(default_factory=list)
    failed: dict[Key, str] = field(default_factory=dict)


def read_import(body: object) -> ImportReply | None:
    """An import's reply; None where the body is none."""
    if not isinstance(body, Mapping) or not isinstance(body.get("success"), bool):
        return None
    problems = tuple(_problem(e) for e in _rows(body, "errors"))
    objects = tuple(_written(r) for r in _rows(body, "successResults"))
    warnings = tuple(str(w.get("message") or w.get("type") or w) for w in _rows(body, "warnings"))
    count = body.get("successCount")
    return ImportReply(body["success"] and not problems, count if isinstance(count, int) else len(objects),
                       objects, problems, warnings)  # fmt: skip


def _rows(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = body.get(name)
    return [r for r in found if isinstance(r, Mapping)] if isinstance(found, list) else []


def _title(row: Mapping[str, Any]) -> str | None:
    meta = row.get("meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return str(title) if title is not None else None


def _written(row: Mapping[str, Any]) -> Written:
    return Written(str(row.get("type")), str(row.get("id")), _title(row), _text(row.get("destinationId")),
                   bool(row.get("overwrite")), bool(row.get("createNewCopy")))  # fmt: skip


def _problem(row: Mapping[str, Any]) -> Problem:
    told = row.get("error")
    error: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    kind = str(error.get("type", "unknown"))
    candidates = tuple(str(d.get("id")) for d in _rows(error, "destinations"))
    missing = tuple((str(r.get("type")), str(r.get("id"))) for r in _rows(error, "references"))
    destination = _text(error.get("destinationId"))
    if kind == "conflict":
        why = f"{destination} is there already, with the same origin" if destination else "it is there already"
    elif kind == "ambiguous_conflict":
        why = f"any of {', '.join(candidates)} may be meant"
    elif kind == "missing_references":
        why = f"it refers to what is not there: {', '.join(f'{t} {i}' for t, i in missing)}"
    elif kind == "unsupported_type":
        why = f"this Kibana has no objects of the type {row.get('type')}"
    else:
        why = _unknown(error)
    return Problem(str(row.get("type")), str(row.get("id")), kind, why, _title(row), destination, candidates, missing)


def _unknown(error: Mapping[str, Any]) -> str:
    """The message of an `unknown` error: top-level on 7.10 and 8.3, deep inside for schema errors of 8.12."""
    return reason(error).removesuffix(": Bad Request") or "the server gives no reason"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
