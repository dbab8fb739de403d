"""The fields of an index pattern, as a Kibana lists them for its data views, or as an Elasticsearch has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from elkkit.errors import NotAllowedError
from elkkit.kibana.spec import META
from elkkit.kibana.uses import FieldInfo
from elkkit.stack.kibanaerrors import not_json, reason

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic
    from elkkit.stack.kibana import Kibana
    from elkkit.stack.kibanawire import Answer

_OLD = "/api/index_patterns/_fields_for_wildcard"
"""Up to Kibana 8.8, and OpenSearch Dashboards."""
_NEW = "/internal/data_views/_fields_for_wildcard"
_NEWEST = "/internal/data_views/fields"
_INTERNAL = {"elastic-api-version": "1", "x-elastic-internal-origin": "kibana"}
_MOVED = (8, 9, 0)
_NUMBERS = frozenset({"byte", "short", "integer", "long", "unsigned_long", "half_float", "float", "double",
                      "scaled_float"})  # fmt: skip
_GROUPS = frozenset({"object", "nested", "unmapped"})


@dataclass(frozen=True, slots=True)
class FieldList:
    """The fields of the indices that a pattern means."""

    fields: dict[str, FieldInfo] | None
    """By name; none where no index matches; None where the server does not tell."""
    why: str | None = None
    """Why there are none, or None."""


def fields_of(kibana: Kibana, pattern: str, space: str | None = None) -> FieldList:
    """What a Kibana lists. Raises what a `Wire` raises, but not for a list that these credentials may not see."""
    if "," in pattern:  # 8.3 lists every field of the server where none of several names means an index
        parts = [part.strip() for part in pattern.split(",") if part.strip()]
        there = [part for part in parts if not part.startswith("-") and fields_of(kibana, part, space).fields != {}]
        if not there:
            return _nothing(pattern)
        pattern = ",".join([*there, *(part for part in parts if part.startswith("-"))])
    what = f"read the fields of {pattern}"
    query = {"pattern": pattern, "meta_fields": json.dumps(sorted(META))}
    server = kibana.server
    old = server.product != "Kibana" or server.version < _MOVED
    answer: Answer | None = None
    for path in (_OLD, _NEW) if old else (_NEW, _NEWEST, _OLD):
        answer = kibana.wire.send("GET", path, what=what, query=query, space=space,
                                  headers={} if path == _OLD else _INTERNAL)  # fmt: skip
        if answer.status != 404 or _no_index(answer.body):
            break
    assert answer is not None
    if answer.status == 404 and _no_index(answer.body):
        return _nothing(pattern)
    if answer.status in (400, 403, 404):
        return FieldList(None, reason(answer.body) or f"it answers {answer.status}")
    body = kibana.wire.checked(answer, what).body
    rows = body.get("fields") if isinstance(body, Mapping) else None
    if not isinstance(rows, list):
        raise not_json(kibana.connection.url, answer.raw, answer.headers)
    found = dict(_listed(row) for row in rows if isinstance(row, Mapping) and isinstance(row.get("name"), str))
    return FieldList(found) if found else _nothing(pattern)


def fields_in(elastic: Elastic, pattern: str) -> FieldList:
    """What an Elasticsearch has. Raises `UnreachableError` and the like, but not for what is not allowed."""
    try:
        with elastic.asking(f"read the fields of {pattern}"):
            # the client's own method sends the fields in a body, which servers before 8.5 do not read
            told = elastic.client.perform_request(
                "GET", f"/{quote(pattern, safe=',*-')}/_field_caps", headers={"accept": "application/json"},
                params={"fields": "*", "allow_no_indices": "true", "ignore_unavailable": "true"},
            ).body  # fmt: skip
    except NotAllowedError as error:
        return FieldList(None, error.why or error.message)
    found = {}
    for name, kinds in told["fields"].items():
        rows = [kind for each, kind in kinds.items() if each not in _GROUPS]
        if rows:
            found[name] = FieldInfo(_type(kind["type"] for kind in rows), all(kind["searchable"] for kind in rows),
                                    all(kind["aggregatable"] for kind in rows))  # fmt: skip
    return FieldList(found) if told["indices"] else _nothing(pattern)


def _nothing(pattern: str) -> FieldList:
    return FieldList({}, f"no index matches {pattern}")


def _no_index(body: Any) -> bool:
    told = body.get("attributes") if isinstance(body, Mapping) else None
    return isinstance(told, Mapping) and told.get("code") == "no_matching_indices"


def _listed(row: Mapping[str, Any]) -> tuple[str, FieldInfo]:
    """One field of Kibana's list: `esTypes` are Elasticsearch's, `type` is Kibana's family of them."""
    kinds = row.get("esTypes")
    named = [str(kind) for kind in kinds] if isinstance(kinds, list) and kinds else [str(row.get("type"))]
    kind = "conflict" if row.get("type") == "conflict" else _type(named)
    return row["name"], FieldInfo(kind, row.get("searchable") is True, row.get("aggregatable") is True)


def _type(kinds: Iterable[str]) -> str:
    """The one type, any of several kinds of number, else `conflict`."""
    found = sorted(set(kinds))
    return found[0] if len(found) == 1 or set(found) <= _NUMBERS else "conflict"
