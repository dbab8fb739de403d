"""Names of fields and indices in visualizations: aggregations, input controls, TSVB, Vega, Timelion."""

from __future__ import annotations

import json
import re
from typing import Any

from elkkit.kibana.uses import Kind, Place, Places, Use, dicts, entries, name_at

_MEASURES = frozenset(
    {"avg", "sum", "min", "max", "median", "percentiles", "percentile", "percentile_ranks", "percentile_rank",
     "std_dev", "std_deviation", "variance", "sum_of_squares", "std_deviation_bands", "extended_stats", "stats",
     "histogram", "range", "average", "standard_deviation", "positive_rate", "geo_centroid_measure"}
)  # fmt: skip
_TIMES = frozenset({"date_histogram", "date_range"})
_SHOWS = frozenset({"top_hits", "top_hit"})
SCRIPT = "json"
"""What an aggregation adds to its request, as JSON in a text."""


def use_of(kind: object) -> Use:
    """What an aggregation of a kind, in the words of any editor, wants of its field."""
    if kind in _TIMES:
        return Use.TIMED
    if kind in _SHOWS:
        return Use.SHOWN
    return Use.MEASURED if kind in _MEASURES else Use.GROUPED


def visualization(state: dict[str, Any], path: str) -> Places:
    """What a `visState` names, or the `savedVis` of a dashboard's own panel; queries and filters stand elsewhere."""
    aggs = state.get("aggs") or (state.get("data") or {}).get("aggs") if _plain(state) else None
    inside = "aggs" if state.get("aggs") else "data.aggs"
    for i, agg in dicts(aggs):
        yield from _agg(agg, f"{path}.{inside}[{i}]")
    params = state.get("params")
    if not isinstance(params, dict):
        return
    kind, path = state.get("type"), f"{path}.params"
    for i, control in dicts(params.get("controls")):
        source = next((control[k] for k in ("indexPatternRefName", "indexPattern") if k in control), None)
        use = Use.MEASURED if control.get("type") == "range" else Use.GROUPED
        yield from name_at(f"{path}.controls[{i}]", use, control, "fieldName", source)
    if kind == "metrics":
        yield from _tsvb(params, path)
    elif kind == "timelion":
        yield Place(f"{path}.expression", Kind.OPAQUE, Use.SHOWN, params, "expression")
    elif kind == "vega":
        yield from _vega(params, path)


def _plain(state: dict[str, Any]) -> bool:
    return isinstance(state.get("data", {}), dict)


def _agg(agg: dict[str, Any], path: str) -> Places:
    """One aggregation, and those inside it: `orderAgg`, `customMetric`, `customBucket`."""
    params = agg.get("params")
    if not isinstance(params, dict):
        return
    path = f"{path}.params"
    yield from name_at(path, use_of(agg.get("type")), params, "field")
    yield from name_at(path, Use.SORTED, params, "sortField")
    for key in ("orderAgg", "customMetric", "customBucket"):
        if isinstance(params.get(key), dict):
            yield from _agg(params[key], f"{path}.{key}")
    if params.get(SCRIPT):
        yield Place(f"{path}.{SCRIPT}", Kind.OPAQUE, Use.GROUPED, params, SCRIPT)


# --- TSVB ------------------------------------------------------------------------------------------------------------


def _index(value: dict[str, Any], key: str, path: str) -> tuple[str | None, list[Place]]:
    """Of which data view the fields are: a name of a reference, an index pattern, an id; and where the text stands."""
    if isinstance(name := value.get(f"{key}_ref_name"), str):
        return name, []
    if isinstance(named := value.get(key), str) and named:
        return named, [Place(f"{path}.{key}", Kind.INDEX, Use.FILTERED, value, key, named)]
    return (str(named.get("id")), []) if isinstance(named, dict) else (None, [])


def _tsvb(params: dict[str, Any], path: str) -> Places:
    source, found = _index(params, "index_pattern", path)
    yield from found
    _, default = _index(params, "default_index_pattern", path)
    yield from default
    for key, use in (("time_field", Use.TIMED), ("default_timefield", Use.TIMED), ("pivot_id", Use.GROUPED)):
        yield from name_at(path, use, params, key, source)
    if isinstance(params.get("filter"), str):
        yield Place(f"{path}.filter", Kind.OPAQUE, Use.FILTERED, params, "filter", source)
    for i, series in dicts(params.get("series")):
        where, own = f"{path}.series[{i}]", source
        theirs, found = _index(series, "series_index_pattern", where)
        yield from found
        if series.get("override_index_pattern"):
            own = theirs or source
            yield from name_at(where, Use.TIMED, series, "series_time_field", own)
        yield from name_at(where, Use.GROUPED, series, "terms_field", own)
        if isinstance(series.get("filter"), str) and series["filter"]:
            yield Place(f"{where}.filter", Kind.OPAQUE, Use.FILTERED, series, "filter", own)
        yield from _metrics(series, where, own)
    for i, note in dicts(params.get("annotations")):
        where = f"{path}.annotations[{i}]"
        own, found = _index(note, "index_pattern", where)
        yield from found
        yield from name_at(where, Use.TIMED, note, "time_field", own)
        if isinstance(note.get("fields"), str) and note["fields"]:
            yield Place(f"{where}.fields", Kind.NAMES, Use.SHOWN, note, "fields", own)
        for key in ("template", "query_string"):
            if isinstance(note.get(key), str):
                yield Place(f"{where}.{key}", Kind.OPAQUE, Use.SHOWN, note, key, own)


def _metrics(series: dict[str, Any], path: str, source: str | None) -> Places:
    """Measures of a series; a calculation's `field` is another measure's id, maybe with `[95.0]` behind it."""
    metrics = [metric for _, metric in dicts(series.get("metrics"))]
    ids = {metric.get("id") for metric in metrics}
    for i, metric in dicts(series.get("metrics")):
        where = f"{path}.metrics[{i}]"
        field = metric.get("field")
        if isinstance(field, str) and re.sub(r"\[[\d.]+\]$", "", field) not in ids:
            yield from name_at(where, use_of(metric.get("type")), metric, "field", source)
        yield from name_at(where, Use.SORTED, metric, "order_by", source)
        for key in ("numerator", "denominator"):
            if isinstance(metric.get(key), str):
                yield Place(f"{where}.{key}", Kind.OPAQUE, Use.FILTERED, metric, key, source)


# --- Vega ------------------------------------------------------------------------------------------------------------


def _vega(params: dict[str, Any], path: str) -> Places:
    """A specification that has been read as JSON (see `read_vega`); as a text it is opaque."""
    spec = params.get("spec")
    if not isinstance(spec, dict):
        yield Place(f"{path}.spec", Kind.OPAQUE, Use.SHOWN, params, "spec")
        return
    yield from _urls(spec, f"{path}.spec")


def _urls(value: Any, path: str) -> Places:
    from elkkit.kibana.places_queries import dsl

    for i, each in enumerate(value if isinstance(value, list) else ()):
        yield from _urls(each, f"{path}[{i}]")
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        where = f"{path}.{key}"
        if key != "url" or not isinstance(inner, dict):
            yield from _urls(inner, where)
            continue
        index = inner.get("index")
        source = index if isinstance(index, str) else None
        if source:
            yield Place(f"{where}.index", Kind.INDEX, Use.FILTERED, inner, "index", source)
        yield from name_at(where, Use.TIMED, inner, "%timefield%", source)
        body = inner.get("body")
        if isinstance(body, dict):
            found = [*dsl(body.get("query"), f"{where}.body.query"), *_es_aggs(body.get("aggs"), f"{where}.body.aggs")]
            for place in found:
                yield Place(place.path, place.kind, place.use, place.holder, place.key, source)


def _es_aggs(aggs: Any, path: str) -> Places:
    """Aggregations of Elasticsearch: the field of each, and those inside."""
    from elkkit.kibana.places_queries import dsl

    for name, agg in entries(aggs):
        for kind, body in entries(agg):
            where = f"{path}.{name}.{kind}"
            if kind in ("aggs", "aggregations"):
                yield from _es_aggs(body, where)
            elif kind == "filter":
                yield from dsl(body, where)
            else:
                yield from name_at(where, use_of(kind), body, "field")
                if "script" in body:
                    yield Place(f"{where}.script", Kind.OPAQUE, Use.MEASURED, body, "script")


def read_vega(params: object) -> str | None:
    """Put what a Vega panel's text holds in its place; the text, or None where it is no JSON (Hjson is not read)."""
    if not isinstance(params, dict) or not isinstance(text := params.get("spec"), str):
        return None
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(spec, dict):
        return None
    params["spec"] = spec
    return text
