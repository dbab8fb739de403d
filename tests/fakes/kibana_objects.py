"""An object of a fake Kibana, and what is done with lists of them."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fakes.kibana_rules import Object


@dataclass
class Saved:
    """One object, as it is kept."""

    type: str
    id: str
    space: str
    attributes: Object
    references: list[Object]
    stamp: str | None
    origin: str | None
    number: int
    created: str
    updated: str


def not_found(kind: str, ident: str) -> str:
    return f"Saved object [{kind}/{ident}] not found"


def four_oh_four(message: str) -> Object:
    return {"statusCode": 404, "error": "Not Found", "message": message}


def matches(pattern: str, text: str) -> bool:
    return any(fnmatch.fnmatch(word, pattern.lower()) for word in re.findall(r"\w+", text.lower()))


def repeated(keys: Iterable[tuple[Any, Any]]) -> list[str]:
    seen, twice = set(), {}
    for key in keys:
        if key in seen:
            twice[f"{key[0]}:{key[1]}"] = None
        seen.add(key)
    return list(twice)


def replaced(sent: Object, retry: Object) -> Object:
    """An object with the references that its retry wants."""
    swaps = {(r["type"], r["from"]): r["to"] for r in retry.get("replaceReferences", [])}
    refs = [{**r, "id": swaps.get((r["type"], r["id"]), r["id"])} for r in sent.get("references", [])]
    return {**sent, "references": refs}


def references_first(found: list[Saved]) -> list[Saved]:
    """Each object after those that it refers to."""
    by_key, done = {(s.type, s.id): s for s in found}, {}

    def visit(saved: Saved, path: tuple[Any, ...]) -> None:
        key = (saved.type, saved.id)
        if key in done or key in path:
            return
        for ref in saved.references:
            if (next_one := by_key.get((ref["type"], ref["id"]))) is not None:
                visit(next_one, (*path, key))
        done[key] = saved

    for saved in found:
        visit(saved, ())
    return list(done.values())


def in_javascript(line: str, error: json.JSONDecodeError) -> str:
    """What the JSON parser of a browser says of a line."""
    position = 0 if line.startswith("\ufeff") else error.pos
    if position >= len(line.rstrip()):
        return "Unexpected end of JSON input"
    if error.msg.startswith("Expecting property name"):
        position = len(line) - len(line[error.pos :].lstrip())
        if position >= len(line):
            return "Unexpected end of JSON input"
    return f"Unexpected token {line[position]} in JSON at position {position}"
