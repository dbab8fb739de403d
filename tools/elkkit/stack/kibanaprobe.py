"""Questions to a Kibana about an import that is not carried out, and about who uses an object."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elkkit.errors import ServiceError
from elkkit.stack.kibana import Key, Kibana, Problem
from elkkit.stack.kibanaerrors import not_json

_USERS = ("dashboard", "visualization", "lens", "search", "map")


def probe(kibana: Kibana, lines: Iterable[bytes], *, space: str | None = None) -> tuple[Problem, ...]:
    """What an import would meet with: conflicts, types and data views that are not there. Nothing is written.

    One object is sent along that refers to a data view which cannot exist, and so keeps all others from being written.
    Stamps are not looked at by a server before it writes: see `elkkit.kibana.validate`.
    """
    name = f"elkkit-probe-{uuid.uuid4()}"
    sentinel = {
        "type": "search",
        "id": name,
        "attributes": {"title": name},
        "references": [{"type": "index-pattern", "id": name, "name": "index"}],
    }
    reply = kibana.import_objects([*lines, json.dumps(sentinel).encode()], space=space)
    if reply.written != "nothing":
        ids = ", ".join(f"{w.type} {w.key[1]}" for w in reply.objects)
        raise ServiceError("Kibana wrote what it was only asked about", why=f"it has now: {ids}",
                           hint="remove that in Kibana, and report this with its version")  # fmt: skip
    return tuple(p for p in reply.problems if p.id != name)


@dataclass(frozen=True, slots=True)
class User:
    """An object that refers to another."""

    type: str
    id: str
    title: str


def users_of(kibana: Kibana, key: Key, *, space: str | None = None) -> list[User]:
    """What refers to an object in that space: up to 1,000."""
    what = f'find out who uses {key[0]} "{key[1]}"'
    asked = {"has_reference": json.dumps({"type": key[0], "id": key[1]}), "per_page": "1000"}

    def find(kinds: Sequence[str]) -> list[User] | None:
        answer = kibana.wire.send("GET", "/api/saved_objects/_find", what=what, query={"type": kinds, **asked},
                                  space=space)  # fmt: skip
        if answer.status == 400:
            return None
        body = kibana.wire.checked(answer, what).body
        rows = body.get("saved_objects") if isinstance(body, Mapping) else None
        if not isinstance(rows, list):
            raise not_json(kibana.connection.url, answer.raw, answer.headers)
        return [_user(row) for row in rows]

    if (found := find(_USERS)) is not None:
        return found
    return [user for kind in _USERS for user in find([kind]) or ()]  # a type that is not known there


def _user(row: Mapping[str, Any]) -> User:
    attributes = row.get("attributes")
    title = attributes.get("title") if isinstance(attributes, Mapping) else None
    return User(str(row.get("type")), str(row.get("id")), str(title or row.get("id")))
