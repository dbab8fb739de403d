"""Objects for another index pattern: everything that names it or its fields changes, and nothing else does."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elkkit.contract import load_contract
from elkkit.errors import InputError
from elkkit.kibana import bundle, formula, known_fields, validate
from elkkit.kibana.fields_used import empty_panels, fields_used
from elkkit.kibana.retarget import retarget
from elkkit.kibana.spec import META

CONTRACT = load_contract()
BUNDLES = {target: bundle(CONTRACT, target) for target in ("classic", "lens")}
FIELDS = sorted(known_fields(CONTRACT) - META)
OLD = f"logs-{CONTRACT.dataset}-*"
VIEW = {"type": "index-pattern", "id": "dv", "attributes": {"title": "old-*", "timeFieldName": "t"}, "references": []}
SOURCE = "kibanaSavedObjectMeta"


def text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def item(kind: str, attributes: dict[str, Any], *links: tuple[str, str], ident: str = "x") -> dict[str, Any]:
    references = [{"name": name, "type": "index-pattern", "id": target} for name, target in links]
    return {"type": kind, "id": ident, "attributes": {"title": "T", **attributes}, "references": references}


def moved(one: dict[str, Any], fields: dict[str, str], **options: Any) -> tuple[dict[str, Any], list[str]]:
    """One object beside its data view, retargeted; the data view is `dv`, with `old-*` and the time field `t`."""
    before = copy.deepcopy(one)
    objects, problems = retarget([VIEW, one], fields=fields, **{"index_pattern": "new-*", **options})
    assert one == before, "what was given has changed"
    return objects[1], [str(p) for p in problems]


def state(objects: dict[str, Any], key: str = "visState") -> Any:
    return json.loads(objects["attributes"][key])


def visualization(kind: str, params: dict[str, Any], aggs: list[Any] | None = None, **source: Any) -> dict[str, Any]:
    asked = {"query": {"language": "kuery", "query": ""}, "filter": [], "indexRefName": "i", **source}
    attributes = {
        "visState": text({"type": kind, "params": params, "aggs": aggs or []}),
        SOURCE: {"searchSourceJSON": text(asked)},
    }
    return item("visualization", attributes, ("i", "dv"))


# --- our own bundles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", BUNDLES)
def test_nothing_asked_nothing_changed(target):
    before = copy.deepcopy(BUNDLES[target])
    same, problems = retarget(BUNDLES[target], index_pattern=OLD, fields={"metrictype": "metrictype"})
    assert (same, problems) == (BUNDLES[target], [])
    assert before == BUNDLES[target]


@pytest.mark.parametrize("target", BUNDLES)
def test_every_name_changes_and_nothing_is_left(target):
    mapping = {name: f"moved.{i}" for i, name in enumerate(FIELDS) if name != "@timestamp"}
    objects, problems = retarget(
        BUNDLES[target], index_pattern="logstash-*", data_view_id="mine", time_field="when", fields=mapping
    )
    assert problems == []
    names = {"when", *mapping.values()} | META
    assert validate(objects, fields=names) == []
    assert validate(BUNDLES[target], fields=known_fields(CONTRACT)) == []
    for old, new in zip(BUNDLES[target], objects, strict=True):
        theirs = {"@timestamp": "when"} | mapping
        assert fields_used(new) == {theirs.get(name, name): uses for name, uses in fields_used(old).items()}
    written = json.dumps([_without_words(o) for o in objects])
    assert OLD not in written
    assert 'lane-eval"' not in written.replace('"type": "dashboard"', "")
    for name in ("metrictype", "metricscores", "model.name", "@timestamp", "run.id"):
        assert not re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", written), name


def _without_words(value: Any) -> Any:
    """An object without titles and labels, and with its JSON texts read."""
    words = ("title", "description", "label", "name", "customDescription", "customLabel", "markdown", "labels")
    if isinstance(value, dict):
        return {k: _without_words(v) for k, v in value.items() if k not in words}
    if isinstance(value, list):
        return [_without_words(v) for v in value]
    if isinstance(value, str) and value[:1] in "{[" and value[1:2]:
        try:
            return _without_words(json.loads(value))
        except ValueError:
            return value
    return value


@pytest.mark.parametrize("target", BUNDLES)
def test_there_and_back_is_the_same(target):
    """Renaming all fields around in a circle, and back."""
    there = dict(zip(FIELDS, [*FIELDS[1:], FIELDS[0]], strict=True))
    objects, problems = retarget(BUNDLES[target], index_pattern="logstash-*", fields=there)
    assert problems == []
    back, problems = retarget(objects, index_pattern=OLD, fields={new: old for old, new in there.items()})
    assert problems == []
    for mine, theirs in zip(BUNDLES[target], back, strict=True):
        if mine["type"] == "index-pattern":
            theirs["attributes"]["name"] = mine["attributes"]["name"]
        assert _sorted(theirs) == _sorted(mine)


def _sorted(value: Any) -> str:
    return json.dumps(_read(value), sort_keys=True)


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _read(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_read(v) for v in value]
    if isinstance(value, str) and value[:1] in "{[" and value[1:2]:
        try:
            return _read(json.loads(value))
        except ValueError:
            return value
    return value


def test_what_does_not_change_stays_to_the_byte():
    one = visualization("pie", {"b": 1, "a": [1, 2.50]}, [{"id": "1", "params": {"field": "kept"}}])
    one["attributes"]["visState"] = one["attributes"]["visState"].replace('"b":1', '"b" : 1e0')
    new, problems = moved(one, {"f": "g"}, index_pattern=None)
    assert (new, problems) == (one, [])


# --- kinds of objects ------------------------------------------------------------------------------------------------


def test_a_data_view():
    attributes = {
        "title": "old-*", "name": "mine", "timeFieldName": "t",
        "sourceFilters": text([{"value": "f"}, {"value": "f*"}]),
        "fieldFormatMap": text({"f": {"id": "number"}, "kept": {"id": "bytes"}, "own": {"id": "url"}}),
        "fieldAttrs": text({"f": {"count": 1}, "k": {"customLabel": "K"}, "h": {"count": 2}}),
        "runtimeFieldMap": text({"own": {"type": "long", "script": {"source": "emit(doc['f'].value)"}}}),
        "fields": text([{"name": "f", "type": "string"}, {"name": "s", "scripted": True}]),
    }  # fmt: skip
    view = {"type": "index-pattern", "id": "dv", "attributes": attributes, "references": []}
    objects, problems = retarget(
        [view], index_pattern="new-*", data_view_id="other", time_field="u",
        fields={"f": "g", "own": "x", "k": "k.keyword", "h": "f"},
    )  # fmt: skip
    new = objects[0]["attributes"]
    assert objects[0]["id"] == "other"
    assert (new["title"], new["name"], new["timeFieldName"]) == ("new-*", "mine (new-*)", "u")
    assert list(json.loads(new["fieldFormatMap"])) == ["g", "kept", "own"]
    assert json.loads(new["fieldAttrs"]) == {
        "g": {"count": 1}, "k": {"customLabel": "K"}, "k.keyword": {"customLabel": "K"}, "f": {"count": 2}
    }  # fmt: skip
    assert json.loads(new["sourceFilters"]) == [{"value": "g"}, {"value": "f*"}]
    assert json.loads(new["fields"]) == [{"name": "s", "scripted": True}]
    assert [p.path for p in problems] == ["attributes.runtimeFieldMap.own.script"]


def test_a_name_that_is_taken_keeps_its_own():
    attributes = {"title": "old-*", "fieldAttrs": text({"a": {"customLabel": "A"}, "b": {"customLabel": "B"}})}
    view = {"type": "index-pattern", "id": "dv", "attributes": attributes, "references": []}
    taken, _ = retarget([view], fields={"a": "b"})
    assert json.loads(taken[0]["attributes"]["fieldAttrs"]) == {"b": {"customLabel": "B"}}
    swapped, _ = retarget([view], fields={"a": "b", "b": "a"})
    assert json.loads(swapped[0]["attributes"]["fieldAttrs"]) == {"b": {"customLabel": "A"}, "a": {"customLabel": "B"}}


def test_a_saved_search_and_its_filters():
    phrase = {"meta": {"key": "f", "type": "phrase", "index": "dv", "params": {"query": "f"}, "value": "f"},
              "query": {"match_phrase": {"f": "f"}}}  # fmt: skip
    filters = [
        phrase,
        {"meta": {"key": "f", "type": "exists", "indexRefName": "i"}, "exists": {"field": "f"}},
        {"meta": {"key": "f", "type": "range"}, "range": {"f": {"gte": 1}}},
        {"meta": {"key": "f", "type": "phrases", "params": ["f"]},
         "query": {"bool": {"should": [{"match_phrase": {"f": "f"}}, {"match_phrase": {"g": "f"}}]}}},
        {"meta": {"type": "combined", "relation": "AND", "params": [phrase]}},
        {"meta": {"type": "custom", "key": "query"}, "query": {"bool": {
            "must_not": [{"terms": {"f": ["f"], "boost": 1}}], "filter": {"nested": {"path": "p", "query": {
                "wildcard": {"f": {"value": "f*"}}}}}}}},
        {"meta": {"type": "custom"}, "query": {"script": {"script": {"source": "doc['f'].value > 1"}}}},
        {"meta": {"key": "f", "index": "elsewhere"}, "query": {"match_phrase": {"f": "f"}}},
        {"meta": {"type": "custom"}, "query": {"query_string": {"query": "f:1", "fields": ["f", "h"]}}},
    ]  # fmt: skip
    source = {"query": {"language": "kuery", "query": "f : f and not (g > 1)"}, "filter": filters, "indexRefName": "i"}
    attributes = {"columns": ["f", "g", "k"], "sort": [["f", "desc"], ["k", "asc"]],
                  "grid": {"columns": {"f": {"width": 9}, "k": {"width": 1}}},
                  SOURCE: {"searchSourceJSON": text(source)}}  # fmt: skip
    new, problems = moved(item("search", attributes, ("i", "dv")), {"f": "g", "g": "f", "k": "k.keyword"},
                          data_view_id="other")  # fmt: skip
    assert new["attributes"]["columns"] == ["g", "f", "k"]
    assert new["attributes"]["sort"] == [["g", "desc"], ["k.keyword", "asc"]]
    assert new["attributes"]["grid"]["columns"] == {"g": {"width": 9}, "k": {"width": 1}}
    assert new["references"] == [{"name": "i", "type": "index-pattern", "id": "other"}]
    asked = json.loads(new["attributes"][SOURCE]["searchSourceJSON"])
    assert asked["query"]["query"] == "g : f and not (f > 1)"
    theirs = {"meta": {**phrase["meta"], "key": "g", "index": "other"}, "query": {"match_phrase": {"g": "f"}}}
    assert asked["filter"][:6] == [
        theirs,
        {"meta": {"key": "g", "type": "exists", "indexRefName": "i"}, "exists": {"field": "g"}},
        {"meta": {"key": "g", "type": "range"}, "range": {"g": {"gte": 1}}},
        {"meta": {"key": "g", "type": "phrases", "params": ["f"]},
         "query": {"bool": {"should": [{"match_phrase": {"g": "f"}}, {"match_phrase": {"f": "f"}}]}}},
        {"meta": {"type": "combined", "relation": "AND", "params": [theirs]}},
        {"meta": {"type": "custom", "key": "query"}, "query": {"bool": {
            "must_not": [{"terms": {"g": ["f"], "boost": 1}}], "filter": {"nested": {"path": "p", "query": {
                "wildcard": {"g": {"value": "f*"}}}}}}}},
    ]  # fmt: skip
    assert asked["filter"][6:8] == filters[6:8], "neither a script nor another data view's filter is touched"
    assert asked["filter"][8]["query"]["query_string"] == {"query": "f:1", "fields": ["g", "h"]}
    assert [p.split(": ")[1].split("JSON.")[1] for p in problems] == [
        "filter[6].query.script", "filter[8].query.query_string.query"
    ]  # fmt: skip


def test_lucene_is_told_and_kql_that_cannot_be_renamed_too():
    for query, told in (
        ({"language": "lucene", "query": "f:1"}, "it names f"),
        ({"language": "lucene", "query": "other:1 OR xf:2 OR f.x:3"}, ""),
        ({"language": "kuery", "query": "f* : 1"}, "the query asks for f*"),
        ({"language": "kuery", "query": "f : ("}, "it is not KQL"),
    ):
        one = item("query", {"query": query})
        new, problems = moved(one, {"f": "g"})
        assert new == one
        assert bool(told) == bool(problems)
        assert all(told in p for p in problems)


def test_aggregations():
    aggs = [
        {"id": "1", "type": "top_hits", "params": {"field": "k", "sortField": "k"}},
        {"id": "2", "type": "terms", "params": {"field": "f", "orderBy": "custom",
                                                "orderAgg": {"type": "avg", "params": {"field": "g"}}}},
        {"id": "3", "type": "max_bucket", "params": {"customBucket": {"type": "terms", "params": {"field": "f"}},
                                                     "customMetric": {"type": "sum", "params": {"field": "g"}}}},
        {"id": "4", "type": "filters", "params": {"filters": [{"input": {"language": "kuery", "query": "f : 1"}}]}},
        {"id": "5", "type": "avg", "params": {"field": "g", "json": '{"missing": 0, "script": "doc.f"}'}},
    ]  # fmt: skip
    new, problems = moved(visualization("table", {}, aggs), {"f": "g", "g": "f", "k": "k.keyword"})
    found = [agg["params"] for agg in state(new)["aggs"]]
    assert found[0] == {"field": "k", "sortField": "k.keyword"}
    assert (found[1]["field"], found[1]["orderAgg"]["params"]["field"]) == ("g", "f")
    assert [found[2][key]["params"]["field"] for key in ("customBucket", "customMetric")] == ["g", "f"]
    assert found[3]["filters"][0]["input"]["query"] == "g : 1"
    assert found[4]["field"] == "f"
    assert len(problems) == 1
    assert "params.json: it names f" in problems[0] or "params.json: it names f, g" in problems[0]


def test_tsvb():
    metrics = [{"id": "m", "type": "avg", "field": "f"}, {"id": "n", "type": "derivative", "field": "m"},
               {"id": "p", "type": "percentile", "field": "f"}, {"id": "q", "type": "math", "field": "p[95.0]"},
               {"id": "r", "type": "filter_ratio", "numerator": {"language": "kuery", "query": "f:1"},
                "denominator": "f:2"}]  # fmt: skip
    series = [
        {"metrics": metrics, "terms_field": "f", "filter": {"language": "kuery", "query": "f : 1"},
         "split_filters": [{"filter": {"language": "kuery", "query": "f : 2"}}], "series_index_pattern": "old-*"},
        {"metrics": [{"id": "z", "type": "avg", "field": "f"}], "terms_field": ["f", "h"], "override_index_pattern": 1,
         "series_index_pattern": "elsewhere-*", "series_time_field": "t"},
    ]  # fmt: skip
    notes = [{"index_pattern": "old-*", "fields": "f, h", "time_field": "t", "template": "{{f}}",
              "query_string": {"language": "kuery", "query": "f : 3"}}]  # fmt: skip
    params = {"index_pattern": "old-*", "default_index_pattern": "old-*", "time_field": "t", "pivot_id": "f",
              "series": series, "annotations": notes}  # fmt: skip
    one = visualization("metrics", params)
    one["references"] = []
    new, problems = moved(one, {"f": "g", "m": "wrong", "p": "wrong"}, time_field="u")
    found = state(new)["params"]
    assert (found["index_pattern"], found["default_index_pattern"]) == ("new-*", "new-*")
    assert (found["time_field"], found["pivot_id"]) == ("u", "g")
    first, second = found["series"]
    assert [m.get("field") for m in first["metrics"]] == ["g", "m", "g", "p[95.0]", None]
    assert (first["terms_field"], first["filter"]["query"], first["series_index_pattern"]) == ("g", "g : 1", "new-*")
    assert first["split_filters"][0]["filter"]["query"] == "g : 2"
    assert first["metrics"][4]["numerator"]["query"] == "g:1"
    assert second == series[1], "another index's fields stay"
    assert found["annotations"][0]["fields"] == "g, h"
    assert found["annotations"][0]["query_string"]["query"] == "g : 3"
    assert sorted(p.split(": ")[1].rpartition(".")[2] for p in problems) == [
        "denominator",
        "field",  # the measure's id is spelled as a field: one warning too many beats one too few
        "template",
    ]


def test_tsvb_of_a_data_view_by_reference_or_id():
    params = {
        "index_pattern_ref_name": "metrics_0",
        "series": [{"metrics": [{"id": "m", "type": "avg", "field": "f"}]}],
    }
    one = visualization("metrics", params)
    one["references"] = [{"name": "metrics_0", "type": "index-pattern", "id": "dv"}]
    assert state(moved(one, {"f": "g"})[0])["params"]["series"][0]["metrics"][0]["field"] == "g"
    one["references"][0]["id"] = "elsewhere"
    assert moved(one, {"f": "g"})[0] == one
    by_id = visualization("metrics", {**params, "index_pattern_ref_name": None, "index_pattern": {"id": "dv"}})
    new, _ = moved(by_id, {"f": "g"}, data_view_id="other")
    assert state(new)["params"]["index_pattern"] == {"id": "other"}
    assert state(new)["params"]["series"][0]["metrics"][0]["field"] == "g"


def test_input_controls():
    controls = [{"fieldName": "f", "type": "list", "indexPatternRefName": "control_0_index_pattern"},
                {"fieldName": "f", "type": "range", "indexPatternRefName": "control_1_index_pattern"}]  # fmt: skip
    one = visualization("input_control_vis", {"controls": controls})
    one["references"] = [{"name": f"control_{i}_index_pattern", "type": "index-pattern", "id": target}
                         for i, target in enumerate(("dv", "elsewhere"))]  # fmt: skip
    new, problems = moved(one, {"f": "g"})
    assert [c["fieldName"] for c in state(new)["params"]["controls"]] == ["g", "f"]
    assert problems == []


def test_vega_is_read_where_it_is_json():
    url = {"%context%": True, "%timefield%": "t", "index": "old-*", "body": {
        "query": {"bool": {"filter": [{"term": {"f": 1}}]}},
        "aggs": {"f": {"terms": {"field": "f"}, "aggs": {"x": {"avg": {"field": "f"}}}},
                 "y": {"filter": {"exists": {"field": "f"}}},
                 "z": {"sum": {"script": "doc['f'].value"}}}}}  # fmt: skip
    spec = {"$schema": "v", "data": [{"name": "f", "url": url}, {"url": {**url, "index": "elsewhere-*"}}]}
    new, problems = moved(visualization("vega", {"spec": json.dumps(spec)}), {"f": "g"}, time_field="u")
    read = json.loads(state(new)["params"]["spec"])
    found = read["data"][0]["url"]
    assert (found["index"], found["%timefield%"], read["data"][0]["name"]) == ("new-*", "u", "f")
    assert found["body"]["query"] == {"bool": {"filter": [{"term": {"g": 1}}]}}
    assert found["body"]["aggs"]["f"] == {"terms": {"field": "g"}, "aggs": {"x": {"avg": {"field": "g"}}}}
    assert found["body"]["aggs"]["y"] == {"filter": {"exists": {"field": "g"}}}
    assert read["data"][1] == spec["data"][1]
    assert len(problems) == 1
    assert "script: it names f" in problems[0]
    hjson = visualization("vega", {"spec": "{ // hjson\n url: {index: old-*} }"})
    same, problems = moved(hjson, {"f": "g"})
    assert same == hjson
    assert len(problems) == 1
    assert "it names old-*" in problems[0]


def test_timelion_is_told():
    one = visualization("timelion", {"expression": ".es(index=old-*, metric=avg:f)"})
    new, problems = moved(one, {"f": "g"})
    assert new == one
    told = "it names f, old-*, and is not read here: change it by hand"
    assert problems == [f"visualization:x: attributes.visState.params.expression: {told}"]


LENS_LINK = "indexpattern-datasource-layer-"


def lens_attributes(source: str = "formBased") -> dict[str, Any]:
    columns = {
        "a": {"operationType": "terms", "sourceField": "f", "label": "f", "params": {
            "secondaryFields": ["h", "f"], "orderAgg": {"operationType": "average", "sourceField": "g"}}},
        "b": {"operationType": "last_value", "sourceField": "g", "params": {"sortField": "t"},
              "filter": {"language": "kuery", "query": "f : f"}},
        "c": {"operationType": "count", "sourceField": "___records___"},
        "d": {"operationType": "filters", "params": {"filters": [{"input": {"language": "kuery", "query": "f:1"}}]}},
        "e": {"operationType": "formula", "params": {"formula": "sum(f) / count(kql='f : 1')"}},
        "m": {"operationType": "math", "params": {"tinymathAst": {
            "type": "function", "name": "divide", "args": ["e0", "e1"], "text": "sum(f) / count(kql='f : 1')",
            "location": {"min": 0, "max": 27}}}},
    }  # fmt: skip
    other = {"z": {"operationType": "terms", "sourceField": "f"}}
    notes = [
        {
            "layerType": "annotations",
            "annotations": [
                {
                    "timeField": "t",
                    "textField": "f",
                    "extraFields": ["f"],
                    "filter": {"language": "kuery", "query": "f:1"},
                }
            ],
        }
    ]
    return {"visualizationType": "lnsXY", "state": {
        "datasourceStates": {source: {"layers": {"one": {"columns": columns}, "two": {"columns": other}}}},
        "visualization": {"layers": notes}, "query": {"language": "kuery", "query": "f : 2"},
        "filters": [{"meta": {"key": "f", "type": "exists"}, "query": {"exists": {"field": "f"}}}]}}  # fmt: skip


def check_lens(new: dict[str, Any], source: str) -> None:
    layers = new["state"]["datasourceStates"][source]["layers"]
    one = layers["one"]["columns"]
    assert (one["a"]["sourceField"], one["a"]["params"]["secondaryFields"]) == ("long name", ["h", "long name"])
    assert one["a"]["params"]["orderAgg"]["sourceField"] == "f"
    assert one["a"]["label"] == "f"
    assert (one["b"]["sourceField"], one["b"]["params"]["sortField"]) == ("f", "u")
    assert one["b"]["filter"]["query"] == '"long name" : f'
    assert one["c"]["sourceField"] == "___records___"
    assert one["d"]["params"]["filters"][0]["input"]["query"] == '"long name":1'
    assert one["e"]["params"]["formula"] == 'sum("long name") / count(kql=\'"long name" : 1\')'
    tree = one["m"]["params"]["tinymathAst"]
    assert tree["text"] == one["e"]["params"]["formula"]
    assert tree["location"] == {"min": 0, "max": len(tree["text"])}
    assert layers["two"]["columns"]["z"]["sourceField"] == "f", "the other layer looks at another data view"
    note = new["state"]["visualization"]["layers"][0]["annotations"][0]
    assert (note["timeField"], note["textField"], note["extraFields"]) == ("u", "long name", ["long name"])
    assert new["state"]["query"]["query"] == '"long name" : 2'
    assert new["state"]["filters"][0] == {
        "meta": {"key": "long name", "type": "exists"}, "query": {"exists": {"field": "long name"}}
    }  # fmt: skip


@pytest.mark.parametrize("source", ["formBased", "indexpattern"])
def test_lens(source):
    one = item("lens", lens_attributes(source), (f"{LENS_LINK}one", "dv"), (f"{LENS_LINK}two", "elsewhere"))
    new, problems = moved(one, {"f": "long name", "g": "f"}, time_field="u", data_view_id="other")
    assert problems == []
    check_lens(new["attributes"], source)
    assert [link["id"] for link in new["references"]] == ["other", "elsewhere"]


def test_data_views_that_a_lens_panel_brings():
    views = {"h1": {"id": "h1", "title": "old-*", "timeFieldName": "t", "fieldAttrs": {"f": {}}},
             "h2": {"id": "h2", "title": "elsewhere-*", "timeFieldName": "t"}}  # fmt: skip
    attributes = lens_attributes()
    attributes["state"] |= {"adHocDataViews": views, "internalReferences": [
        {"type": "index-pattern", "id": "h1", "name": f"{LENS_LINK}one"},
        {"type": "index-pattern", "id": "h2", "name": f"{LENS_LINK}two"}]}  # fmt: skip
    new, problems = moved(item("lens", attributes), {"f": "long name", "g": "f"}, time_field="u")
    check_lens(new["attributes"], "formBased")
    found = new["attributes"]["state"]["adHocDataViews"]
    assert found["h1"] == {"id": "h1", "title": "new-*", "timeFieldName": "u", "fieldAttrs": {"long name": {}}}
    assert found["h2"] == views["h2"]
    assert problems == []


def test_text_based_layers_are_told():
    state = {"datasourceStates": {"textBased": {"layers": {"l": {"query": {"esql": "FROM old-* | STATS AVG(f)"}}}}}}
    one = item("lens", {"visualizationType": "lnsXY", "state": {**state, "visualization": {}}})
    new, problems = moved(one, {"f": "g"})
    assert new == one
    assert len(problems) == 1
    assert "it names f, old-*" in problems[0]


def test_a_dashboard_with_panels_and_controls_of_its_own():
    by_value = {**lens_attributes(), "references": [{"type": "index-pattern", "id": "dv", "name": f"{LENS_LINK}one"}]}
    spec = {"$schema": "v", "data": {"url": {"index": "old-*"}}}
    saved = {"type": "table", "params": {}, "data": {
        "aggs": [{"id": "1", "type": "terms", "params": {"field": "f"}}],
        "searchSource": {"query": {"language": "kuery", "query": "f : 1"}, "filter": []}}}  # fmt: skip
    panels = [
        {"panelIndex": "1", "type": "lens", "embeddableConfig": {"attributes": by_value}},
        {"panelIndex": "2", "type": "visualization", "embeddableConfig": {"savedVis": saved}},
        {"panelIndex": "3", "type": "search", "panelRefName": "panel_3",
         "embeddableConfig": {"columns": ["f"], "sort": [["f", "asc"]]}},
        {"panelIndex": "4", "type": "visualization", "embeddableConfig": {
            "savedVis": {"type": "vega", "params": {"spec": json.dumps(spec)}, "data": {}}}},
    ]  # fmt: skip
    controls = {"c1": {"type": "optionsListControl", "explicitInput": {"id": "c1", "fieldName": "f"}},
                "c2": {"type": "rangeSliderControl", "explicitInput": {"id": "c2", "fieldName": "f"}}}  # fmt: skip
    attributes = {
        "panelsJSON": text(panels),
        "controlGroupInput": {"panelsJSON": text(controls)},
        SOURCE: {"searchSourceJSON": text({"query": {"language": "kuery", "query": "f : 1"}, "filter": []})},
    }
    one = item("dashboard", attributes, (f"1:{LENS_LINK}one", "dv"), (f"1:{LENS_LINK}two", "elsewhere"),
               ("controlGroup_c1:optionsListDataView", "dv"),
               ("controlGroup_c2:rangeSliderDataView", "elsewhere"))  # fmt: skip
    new, problems = moved(one, {"f": "long name", "g": "f"}, time_field="u", data_view_id="other")
    assert problems == []
    first, second, third, fourth = (p["embeddableConfig"] for p in state(new, "panelsJSON"))
    check_lens(first["attributes"], "formBased")
    assert first["attributes"]["references"][0]["id"] == "other"
    assert second["savedVis"]["data"]["aggs"][0]["params"]["field"] == "long name"
    assert second["savedVis"]["data"]["searchSource"]["query"]["query"] == '"long name" : 1'
    assert third == {"columns": ["long name"], "sort": [["long name", "asc"]]}
    assert json.loads(fourth["savedVis"]["params"]["spec"])["data"]["url"]["index"] == "new-*"
    found = json.loads(new["attributes"]["controlGroupInput"]["panelsJSON"])
    assert [c["explicitInput"]["fieldName"] for c in found.values()] == ["long name", "f"]
    assert [r["id"] for r in new["references"]] == ["other", "elsewhere", "other", "elsewhere"]


def test_objects_of_other_data_views_stay():
    source = {"searchSourceJSON": text({"query": {"language": "kuery", "query": "f:1"}})}
    one = item("search", {"columns": ["f"], SOURCE: source}, ("i", "elsewhere"))
    assert moved(one, {"f": "g"}, data_view_id="other") == (one, [])


def test_unknown_types_and_places_are_told():
    layers = item("map", {"layerListJSON": text([{"sourceDescriptor": {"field": "f"}}])}, ("i", "dv"))
    new, problems = moved(layers, {"f": "g"}, data_view_id="other")
    assert new["attributes"] == layers["attributes"]
    assert new["references"][0]["id"] == "other"
    assert [p.split(": ")[1] for p in problems] == ["attributes.layerListJSON"]
    _, problems = moved(visualization("future", {"breakdown": {"field_name": "f", "title": "f"}}), {"f": "g"})
    assert [p.split(": ")[1] for p in problems] == ["attributes.visState.params.breakdown.field_name"]


# --- what cannot be done ---------------------------------------------------------------------------------------------


def test_several_data_views_are_refused_unless_one_is_named():
    other = {**VIEW, "id": "second"}
    search = item("search", {"columns": ["f"]}, ("i", "second"))
    with pytest.raises(InputError, match="not clear"):
        retarget([VIEW, other], index_pattern="new-*")
    objects, _ = retarget([VIEW, other, search], index_pattern="new-*", fields={"f": "g"}, data_view="second")
    assert [o["attributes"].get("title") for o in objects] == ["old-*", "new-*", "T"]
    assert objects[2]["attributes"]["columns"] == ["g"]
    with pytest.raises(InputError, match="not clear"):
        retarget([search, item("search", {}, ("i", "dv"))], data_view_id="new")


def test_an_index_pattern_in_a_text_is_told_where_the_data_view_is_not_there():
    params = {"index_pattern": "old-*", "series": [{"metrics": [{"id": "m", "type": "avg", "field": "f"}]}]}
    one = {**visualization("metrics", params), "references": []}
    objects, problems = retarget([one], fields={"f": "g"})
    assert objects == [one]
    assert [p.path for p in problems] == ["attributes.visState.params.index_pattern"]


def test_without_the_data_view_only_what_refers_to_it_changes():
    objects, problems = retarget([item("search", {"columns": ["f"]}, ("i", "dv"))], index_pattern="new-*",
                                 data_view_id="other", fields={"f": "g"})  # fmt: skip
    assert objects[0]["references"][0]["id"] == "other"
    assert objects[0]["attributes"]["columns"] == ["g"]
    assert [p.message for p in problems] == [
        "its index pattern cannot be changed: the data view is not among the objects"
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["", " ", "a b", "a/b", 'a"b', "a\x1b[0m*", "<a>", "a|b"])
def test_what_is_no_index_pattern_is_refused(pattern):
    with pytest.raises(InputError):
        retarget([VIEW], index_pattern=pattern)


@pytest.mark.parametrize("fields", [{"": "a"}, {"a": ""}, {"a": "b\n"}, {"a": "\x1b[2J"}])
def test_what_is_no_name_is_refused(fields):
    with pytest.raises(InputError):
        retarget([VIEW], fields=fields)


_KEYS = [
    "query", "language", "filter", "filters", "meta", "key", "params", "field", "aggs", "type", "state", "layers",
    "datasourceStates", "formBased", "columns", "sort", "series", "metrics", "visState", "panelsJSON", "data",
    "controlGroupInput", "kibanaSavedObjectMeta", "grid", "controls", "searchSourceJSON", "embeddableConfig",
    "attributes", "spec", "savedVis", "references", "adHocDataViews", "internalReferences", "visualization",
    "annotations", "url", "timeFieldName", "fieldAttrs", "runtimeFieldMap", "tinymathAst", "args", "orderAgg",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["f", "old-*", "", "x", '{"a":1}', "[]", "{"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            _KEYS
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(["lens", "visualization", "dashboard", "search", "query", "index-pattern", "map"]), JSON, JSON)
def test_no_shape_makes_it_raise(kind, attributes, inside):
    given_ = attributes if isinstance(attributes, dict) else {"state": attributes}
    given_ = {**given_, "visState": json.dumps(inside), "panelsJSON": json.dumps([inside]), "title": "T"}
    one = {"type": kind, "id": "x", "attributes": given_, "references": []}
    before = copy.deepcopy(one)
    objects, _ = retarget([one], data_view_id="n", fields={"f": "g"}, data_view="dv")
    assert one == before
    assert objects[0]["type"] == kind
    fields_used(one)
    empty_panels([one], {})


def test_an_object_that_is_nested_too_deeply_is_told():
    deep: Any = {}
    for _ in range(3000):
        deep = {"state": deep}
    one = {"type": "lens", "id": "x", "attributes": {"title": "T", "state": deep}, "references": []}
    objects, problems = retarget([one], fields={"f": "g"}, data_view="dv")
    assert objects[0]["attributes"] is one["attributes"]
    assert [p.message for p in problems] == ["it is nested too deeply to be changed"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("average(f)", "average(g.h)"),
        ("f(f) - f + 1.5 * 'f' / \"f\"", "f(g.h) - g.h + 1.5 * 'g.h' / \"g.h\""),
        ("f-x + x.f", "f-x + x.f"),
        ("count(kql='f : \\'f\\' or f:1')", "count(kql='g.h : \\'f\\' or g.h:1')"),
        ('count(kql="f : \\"f\\"", shift=\'f\')', 'count(kql="g.h : \\"f\\"", shift=\'f\')'),
        ("count(kql=f)", "count(kql=f)"),
    ],
)
def test_formulas(text, expected):
    assert formula.rename(text, {"f": "g.h"}) == (expected, [])


def test_what_a_formula_cannot_hold_is_told():
    assert formula.rename("average(f)", {"f": "ü"}) == ("average(f)", ["f"])
    assert formula.rename("count(lucene='f:1', kql='f : (')", {"f": "g"})[1] == ["f:1", "f : ("]
    assert formula.rename("average(f)", {"f": "it's"}) == ('average("it\'s")', [])
