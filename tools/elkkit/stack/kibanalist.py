"""What a Kibana has, by kind: names and titles, without what the objects hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elkkit.errors import InputError
from elkkit.stack.kibana import MOST, Key, Kibana
from elkkit.stack.kibanaerrors import not_json


@dataclass(frozen=True, slots=True)
class Listed:
    """One object."""

    type: str
    id: str
    title: str
    """Its id where it has none."""
    origin: str | None = None
    """The id of which it is a copy, in another space."""

    @property
    def key(self) -> Key:
        """Type and id."""
        return self.type, self.id


def list_objects(kibana: Kibana, kind: str, *, space: str | None = None) -> list[Listed]:
    """Every object of a type in a space, in the order of their ids; none for a type that this Kibana does not have.

    Raises `InputError` for more than 10,000, which no Kibana lists.
    """
    what = f"list objects of the type {kind}"
    # one page: pages that are asked for one after the other may miss what is written meanwhile
    query = {"type": kind, "fields": _title_of(kind), "per_page": str(MOST)}
    answer = kibana.wire.send("GET", "/api/saved_objects/_find", what=what, query=query, space=space)
    if answer.status == 400:
        return []
    body = kibana.wire.checked(answer, what).body
    rows = body.get("saved_objects") if isinstance(body, Mapping) else None
    if not isinstance(body, Mapping) or not isinstance(rows, list):
        raise not_json(kibana.connection.url, answer.raw, answer.headers)
    if isinstance(total := body.get("total"), int) and total > len(rows):
        raise InputError(f"cannot {what}: there are too many", why=f"there are {total:,}, and Kibana lists {MOST:,}",
                         hint="name what you want: --dashboard ID")  # fmt: skip
    return sorted((_listed(row) for row in rows if isinstance(row, Mapping)), key=lambda one: one.id)


def _listed(row: Mapping[str, Any]) -> Listed:
    told = row.get("attributes")
    attributes: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    ident, origin = str(row.get("id")), row.get("originId")
    title = attributes.get(_title_of(row.get("type"))) or ident
    return Listed(str(row.get("type")), ident, str(title), origin if isinstance(origin, str) else None)


def _title_of(kind: object) -> str:
    return "name" if kind == "tag" else "title"
