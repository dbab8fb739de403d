"""Meaning to Elasticsearch's query language, as Kibana 8.3 makes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from elkkit.kql.ast import (
    And,
    Exists,
    Is,
    MatchAll,
    Nested,
    Node,
    Not,
    Or,
    Range,
    Value,
    Wildcard,
    matching_fields,
    nested_error,
)
from elkkit.kql.parser import parse

_QUERY_STRING_SPECIAL = re.compile(r'[-+=&|><!(){}\[\]^"~*?:\\/]')


def to_query(query: str | Node, fields: Mapping[str, str] | None = None, time_zone: str = "UTC") -> dict[str, Any]:
    """Elasticsearch's query for a text or its meaning.

    `fields` gives each field's Elasticsearch type; without them a pattern of names is sent as it is, and no field is
    taken for a date. `time_zone`, a name or an offset, is that of dates that tell none. Raises `KqlError`, also for a
    group of a nested field, since no field here is one.
    """
    node = parse(query) if isinstance(query, str) else query
    return _query(node, fields or {}, time_zone)


def _query(node: Node, fields: Mapping[str, str], time_zone: str) -> dict[str, Any]:
    if isinstance(node, MatchAll):
        return {"match_all": {}}
    if isinstance(node, And):
        return {"bool": {"filter": [_query(part, fields, time_zone) for part in node.parts]}}
    if isinstance(node, Or):
        return _any([_query(part, fields, time_zone) for part in node.parts])
    if isinstance(node, Not):
        return {"bool": {"must_not": _query(node.part, fields, time_zone)}}
    if isinstance(node, Nested):
        raise nested_error(node)
    if node.field is None:
        return _anywhere(node)
    names = matching_fields(node.field, fields)
    return _any([_one(node, name, fields.get(name), time_zone) for name in names])


def _any(queries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"should": queries, "minimum_should_match": 1}}


def _one(node: Is | Range | Exists, name: str, kind: str | None, time_zone: str) -> dict[str, Any]:
    """The query of one field."""
    if isinstance(node, Exists):
        return {"exists": {"field": name}}
    zone = {"time_zone": time_zone} if kind == "date" else {}
    if isinstance(node, Range):
        return {"range": {name: {node.operator: _plain(node.value), **zone}}}
    if isinstance(node.value, Wildcard):
        return {"query_string": {"fields": [name], "query": _query_string(node.value)}}
    if zone:  # a date is a span of time: a day, or a millisecond
        return {"range": {name: {"gte": node.value, "lte": node.value, **zone}}}
    return {"match_phrase" if node.quoted else "match": {name: node.value}}


def _anywhere(node: Is) -> dict[str, Any]:
    """The query of a value that may be in any field."""
    if isinstance(node.value, Wildcard):
        return {"query_string": {"query": _query_string(node.value)}}
    kind = "phrase" if node.quoted else "best_fields"
    return {"multi_match": {"type": kind, "query": node.value, "lenient": True}}


def _plain(value: Value) -> str | bool | None:
    return str(value) if isinstance(value, Wildcard) else value


def _query_string(pattern: Wildcard) -> str:
    """A pattern in which only the stars have a meaning."""
    return "*".join(_QUERY_STRING_SPECIAL.sub(r"\\\g<0>", part) for part in pattern.parts)
