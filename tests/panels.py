"""Panels as the searches that Kibana would send: a classic visualization's aggregations, a Lens panel's columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from elkkit.contract import Contract
from elkkit.kql import parse, to_query

SIMPLE = {"avg", "min", "max", "median", "cardinality", "average", "unique_count"}
NAMES = {"average": "avg", "unique_count": "cardinality"}


def query_of(text: str, contract: Contract) -> dict[str, Any]:
    return to_query(parse(text), {f.name: f.bare_type for f in contract.fields.values()})


def metric(kind: str, field: str | None, percents: list[float]) -> dict[str, Any] | None:
    """One measure; None for a count, which every bucket has."""
    if kind == "count":
        return None
    if kind in ("percentile", "percentiles", "median"):
        return {"percentiles": {"field": field, "percents": percents or [50]}}
    return {NAMES.get(kind, kind): {"field": field}}


def terms(field: str, size: int, order: tuple[str, str]) -> dict[str, Any]:
    return {"terms": {"field": field, "size": size, "order": {order[0]: order[1]}}}


def filters(parts: list[dict[str, Any]], contract: Contract) -> dict[str, Any]:
    return {"filters": {"filters": {p["label"]: query_of(p["input"]["query"], contract) for p in parts}}}


def histogram(interval: str) -> dict[str, Any]:
    fixed = {"auto": "1s", "m": "1m"}.get(interval, interval)
    return {"date_histogram": {"field": "@timestamp", "fixed_interval": fixed, "min_doc_count": 1}}


def steps(field: str) -> dict[str, Any]:
    return {"histogram": {"field": field, "interval": 10, "min_doc_count": 1}}


def nest(groups: list[dict[str, Any]], measures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Groups inside each other, the measures in each, since an outer group may be ordered by one."""
    if not groups:
        return measures
    return {**measures, "group": {**groups[0], "aggs": nest(groups[1:], measures)}}


def classic(item: Mapping[str, Any], contract: Contract) -> dict[str, Any] | None:
    """The search of a visualization; None for one that asks nothing."""
    state = json.loads(item["attributes"]["visState"])
    if not state["aggs"]:
        return None
    measures: dict[str, dict[str, Any]] = {}
    groups = []
    counts = set()
    for agg in state["aggs"]:
        params = agg["params"]
        if agg["schema"] == "metric":
            found = metric(agg["type"], params.get("field"), params.get("percents", []))
            if found:
                measures[agg["id"]] = found
            else:
                counts.add(agg["id"])
        elif agg["type"] == "terms":
            by = "_count" if params["orderBy"] in counts else params["orderBy"]
            groups.append(terms(params["field"], params["size"], (by, params["order"])))
        elif agg["type"] == "filters":
            groups.append(filters(params["filters"], contract))
        elif agg["type"] == "histogram":
            groups.append(steps(params["field"]))
        else:
            assert agg["type"] == "date_histogram"
            groups.append(histogram(params["interval"]))
    source = json.loads(item["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    return search(source["query"]["query"], groups, measures, contract)


def lens(item: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """The search of a Lens panel of one layer."""
    state = item["attributes"]["state"]
    (layer,) = state["datasourceStates"]["indexpattern"]["layers"].values()
    measures: dict[str, dict[str, Any]] = {}
    groups = []
    columns = layer["columns"]
    for name in layer["columnOrder"]:
        column = columns[name]
        kind, params = column["operationType"], column.get("params", {})
        if kind == "terms":
            by = params["orderBy"]
            key = "_key"
            if by["type"] == "column":
                key = "_count" if columns[by["columnId"]]["operationType"] == "count" else by["columnId"]
            groups.append(terms(column["sourceField"], params["size"], (key, params["orderDirection"])))
        elif kind == "filters":
            groups.append(filters(params["filters"], contract))
        elif kind == "date_histogram":
            groups.append(histogram(params["interval"]))
        elif kind == "range":
            groups.append(steps(column["sourceField"]))
        elif kind in ("formula", "math"):
            assert set(column["references"]) <= set(columns)
        elif "filter" in column:
            assert kind == "count"
            measures[name] = {"filter": query_of(column["filter"]["query"], contract)}
        elif found := metric(kind, column["sourceField"], [params["percentile"]] if "percentile" in params else []):
            measures[name] = found
    return search(state["query"]["query"], groups, measures, contract)


def discover(item: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """The search of a saved search: its fields, in its order."""
    source = json.loads(item["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    return {
        "query": query_of(source["query"]["query"], contract),
        "sort": [{field: order} for field, order in item["attributes"]["sort"]],
        "fields": list(item["attributes"]["columns"]),
        "size": 50,
    }


def search(
    text: str, groups: list[dict[str, Any]], measures: dict[str, dict[str, Any]], contract: Contract
) -> dict[str, Any]:
    body: dict[str, Any] = {"size": 0, "track_total_hits": True, "query": query_of(text, contract)}
    aggs = nest(groups, measures)
    return body | ({"aggs": aggs} if aggs else {})


def numbers(aggregations: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float | None]]:
    """Every number of an answer with its path, in the innermost groups."""
    group = aggregations.get("group")
    if group is not None:
        buckets = group["buckets"]
        named = buckets.items() if isinstance(buckets, dict) else ((str(b["key"]), b) for b in buckets)
        for key, bucket in named:
            yield f"{path}/{key}/count", bucket["doc_count"]
            if bucket["doc_count"]:
                yield from numbers(bucket, f"{path}/{key}")
        return
    for name, value in aggregations.items():
        if isinstance(value, dict) and "values" in value:
            yield from ((f"{path}/{name}.{p}", v) for p, v in value["values"].items())
        elif isinstance(value, dict) and "doc_count" in value:
            yield f"{path}/{name}/count", value["doc_count"]
        elif isinstance(value, dict) and "value" in value:
            yield f"{path}/{name}", value["value"]
