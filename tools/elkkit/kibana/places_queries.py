"""Names of fields in queries and filters, wherever an object holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elkkit.kibana.uses import Kind, Place, Places, Use, dicts, name_at

_BY_FIELD = frozenset(
    {"match", "match_phrase", "match_phrase_prefix", "match_bool_prefix", "term", "terms", "terms_set", "prefix",
     "wildcard", "regexp", "fuzzy", "range", "geo_bounding_box", "geo_distance", "geo_shape", "geo_polygon"}
)  # fmt: skip
_OPTIONS = frozenset({"boost", "_name", "ignore_unmapped", "validation_method", "distance", "distance_type", "type"})
_GROUPS = frozenset({"must", "filter", "should", "must_not", "queries", "query", "positive", "negative"})
_AROUND = frozenset({"bool", "constant_score", "dis_max", "boosting", "function_score", "nested", "has_child"})
_IN_TEXT = frozenset({"query_string", "simple_query_string", "multi_match"})
_WITHOUT = frozenset({"match_all", "match_none", "ids"})


def queries(value: Any, path: str) -> Places:
    """Every query (`{language, query}`) and every filter below, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("query"), str) and isinstance(value.get("language"), str):
            kind = Kind.KQL if value["language"] == "kuery" else Kind.OPAQUE
            yield Place(f"{path}.query", kind, Use.FILTERED, value, "query")
        for key, inner in value.items():
            if key in ("filter", "filters"):
                for i, each in dicts(inner):
                    if is_filter(each):
                        yield from of_filter(each, f"{path}.{key}[{i}]")
            yield from queries(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from queries(inner, f"{path}[{i}]")


def filters(value: Any) -> Iterator[dict[str, Any]]:
    """Every filter of Kibana below; those within a combined filter are part of it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            found = [each for _, each in dicts(inner) if key in ("filter", "filters") and is_filter(each)]
            yield from found
            if not found:
                yield from filters(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from filters(inner)


def is_filter(value: dict[str, Any]) -> bool:
    """The object is a filter as Kibana's filter bar makes it."""
    return isinstance(value.get("meta"), dict) and "input" not in value


def of_filter(value: dict[str, Any], path: str) -> Places:
    """One filter: what it says of itself, and what it asks."""
    meta = value["meta"]
    source = next((meta[k] for k in ("indexRefName", "index") if isinstance(meta.get(k), str)), None)
    places: list[Place] = []
    if meta.get("type") not in ("custom", "combined", "query_string", "spatial_filter"):
        places += name_at(f"{path}.meta", Use.FILTERED, meta, "key")
    if meta.get("type") == "combined" or meta.get("relation"):
        for i, part in dicts(meta.get("params")):
            if is_filter(part):
                places += of_filter(part, f"{path}.meta.params[{i}]")
    elif isinstance(meta.get("field"), str):
        places += name_at(f"{path}.meta", Use.FILTERED, meta, "field")
    asked = {k: v for k, v in value.items() if k not in ("meta", "$state", "query")}
    places += dsl(asked, path, value)
    if isinstance(value.get("query"), dict):
        places += dsl(value["query"], f"{path}.query")
    for place in places:
        yield Place(place.path, place.kind, place.use, place.holder, place.key, place.source or source)


def dsl(query: Any, path: str, holder: dict[str, Any] | None = None) -> Places:
    """A query of Elasticsearch; what is not known here is opaque. `holder` is what the clauses stand in."""
    for i, each in dicts(query):
        yield from dsl(each, f"{path}[{i}]")
    if not isinstance(query, dict):
        return
    holder = query if holder is None else holder
    for kind, body in query.items():
        where = f"{path}.{kind}"
        if kind in _BY_FIELD and isinstance(body, dict):
            for name in [n for n in body if n not in _OPTIONS]:
                yield Place(f"{where}.{name}", Kind.KEY, Use.FILTERED, body, name)
        elif kind == "exists":
            yield from name_at(where, Use.FILTERED, body, "field")
        elif kind in _IN_TEXT and isinstance(body, dict):
            yield Place(f"{where}.query", Kind.OPAQUE, Use.FILTERED, body, "query")
            for key in ("fields", "default_field"):
                yield from name_at(where, Use.FILTERED, body, key)
        elif kind in _AROUND and isinstance(body, dict):
            yield from name_at(where, Use.FILTERED, body, "path")
            for key in [k for k in body if k in _GROUPS]:
                yield from dsl(body[key], f"{where}.{key}")
            odd = {k for k in body if k not in _GROUPS} & {"functions", "script_score", "random_score"}
            yield from (Place(f"{where}.{k}", Kind.OPAQUE, Use.FILTERED, body, k) for k in sorted(odd))
        elif kind not in _WITHOUT:
            yield Place(where, Kind.OPAQUE, Use.FILTERED, holder, kind)
