"""The validator: our bundles are whole, any fault put into one is found, and nothing makes it raise."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elkkit.contract import load_contract
from elkkit.kibana import bundle, known_fields, limits_of, read_lines, validate

CONTRACT = load_contract()
FIELDS = known_fields(CONTRACT)
LIMITS = {"classic": limits_of("7.10.2"), "lens": limits_of("8.3.3")}
BUNDLES = {target: bundle(CONTRACT, target) for target in ("classic", "lens")}
EVERY = [(target, i) for target, items in BUNDLES.items() for i in range(len(items))]


def problems(target: str, objects: list[Any]) -> list[str]:
    """Of what was changed, by itself; of the whole bundle where that shows nothing, since it takes longer."""
    own = BUNDLES[target]
    odd = [o for o in objects if not any(o is mine for mine in own)]
    outside = {(o["type"], o["id"]) for o in own if any(o is mine for mine in objects)}
    found = validate(odd, fields=FIELDS, limits=LIMITS[target], outside=outside)
    return [str(p) for p in found or validate(objects, fields=FIELDS, limits=LIMITS[target])]


def changed(target: str, number: int) -> tuple[list[Any], dict[str, Any]]:
    """The bundle with a copy of one object, to be changed."""
    objects = list(BUNDLES[target])
    objects[number] = copy.deepcopy(objects[number])
    return objects, objects[number]


def inside(item: dict[str, Any], key: str, change) -> None:
    """Change the value that a JSON text holds."""
    at = item["attributes"]
    *above, last = key.split(".")
    for part in above:
        at = at[part]
    value = json.loads(at[last])
    change(value)
    at[last] = json.dumps(value)


def of(target: str, kind: str) -> list[int]:
    return [i for i, item in enumerate(BUNDLES[target]) if item["type"] == kind]


@pytest.mark.parametrize("target", BUNDLES)
def test_our_bundles_are_whole(target):
    assert problems(target, BUNDLES[target]) == []


def test_classic_is_taken_by_every_later_kibana():
    for kibana in ("7.10.2", "7.12.1", "8.3.3", "8.12.2", "9.2"):
        assert validate(BUNDLES["classic"], limits=limits_of(kibana)) == []
    assert validate(BUNDLES["lens"], limits=limits_of("8.12.2")) == []
    refused = {p.object.split(":")[0] for p in validate(BUNDLES["lens"], limits=limits_of("7.10.2"))}
    assert refused == {"lens", "dashboard"}


def test_of_other_types_nothing_is_claimed():
    other = {"type": "map", "id": "m", "attributes": {"title": "M"}, "references": []}
    assert validate([other], limits=limits_of("7.10.2")) == []
    tag = {"type": "tag", "id": "t", "attributes": {"name": "T", "color": "#000000"}, "references": []}
    assert validate([tag], limits=limits_of("8.3.3")) == []
    assert validate([tag], limits=limits_of("7.10.2"))


def test_limits_claim_no_more_than_is_known():
    assert limits_of("8.12.2")["lens"] == limits_of("8.12")["lens"] == "8.9.0"
    assert limits_of("6.8") == limits_of("7.10")
    assert limits_of("7.17.3")["lens"] == "7.17.999"
    assert limits_of("8.6.0")["search"] == "8.6.999"
    assert limits_of("9.2.0") is limits_of("8.13") is limits_of("") is None


# --- any single corruption is found ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "number"), EVERY)
def test_each_reference_is_needed(target, number):
    for which in range(len(BUNDLES[target][number]["references"])):
        objects, item = changed(target, number)
        del item["references"][which]
        assert problems(target, objects)
        for key in ("id", "name", "type"):
            objects, item = changed(target, number)
            item["references"][which][key] = "elsewhere"
            assert problems(target, objects), key


@pytest.mark.parametrize(("target", "number"), EVERY)
def test_each_object_is_stamped_whole_and_once(target, number):
    kind = BUNDLES[target][number]["type"]
    for stamp in ("99.0.0", "", "7", None, 8, "v8.3.0"):
        objects, item = changed(target, number)
        item["migrationVersion"] = {kind: stamp}
        if not (kind == "query" and stamp is None):
            assert problems(target, objects), stamp
    for broken in ({"migrationVersion": {"other": "7.10.0"}}, {"coreMigrationVersion": "x"}, {"migrationVersion": 3}):
        objects, item = changed(target, number)
        item |= broken
        assert problems(target, objects), broken
    if kind != "query":
        objects, item = changed(target, number)
        del item["migrationVersion"]
        assert problems(target, objects)
        objects, item = changed(target, number)
        item["coreMigrationVersion"] = "8.8.0"
        assert problems(target, objects)
    objects, item = changed(target, number)
    objects.append(copy.deepcopy(item))
    assert any("2 times" in p for p in problems(target, objects))
    for key in ("id", "type", "attributes"):
        objects, item = changed(target, number)
        del item[key]
        assert problems(target, objects), key


@pytest.mark.parametrize(("target", "number"), EVERY)
def test_each_object_that_others_need_keeps_its_id(target, number):
    objects, item = changed(target, number)
    needed = {(r["type"], r["id"]) for o in objects for r in o["references"]}
    if (item["type"], item["id"]) in needed:
        item["id"] += "-renamed"
        assert problems(target, objects)
        objects, _ = changed(target, number)
        del objects[number]
        assert problems(target, objects)


def texts(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to the JSON texts of an object."""
    found = []
    for key, inner in value.items() if isinstance(value, dict) else ():
        if isinstance(inner, str) and inner[:1] in "{[" and inner:
            found.append((*path, key))
        found += texts(inner, (*path, key))
    return found


@pytest.mark.parametrize(("target", "number"), EVERY)
def test_each_json_text_is_read(target, number):
    for path in texts(BUNDLES[target][number]["attributes"]):
        for broken in ("{", "", "7", '"text"', None):
            objects, item = changed(target, number)
            at = item["attributes"]
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = broken
            assert problems(target, objects), (path, broken)


@pytest.mark.parametrize("target", BUNDLES)
def test_panels_of_a_dashboard_stand_beside_each_other(target):
    for number in of(target, "dashboard"):

        def broken(change, number=number) -> list[str]:
            objects, item = changed(target, number)
            inside(item, "panelsJSON", change)
            return problems(target, objects)

        assert any("overlaps" in p for p in broken(lambda ps: ps[1]["gridData"].update(ps[0]["gridData"], i="2")))
        assert broken(lambda ps: ps[0]["gridData"].update(w=49))
        assert broken(lambda ps: ps[0]["gridData"].update(x=-1))
        assert broken(lambda ps: ps[0]["gridData"].update(h=0))
        assert broken(lambda ps: ps[0]["gridData"].update(i="77"))
        assert broken(lambda ps: ps[0].update(panelIndex="2"))
        assert broken(lambda ps: ps[0].update(panelRefName="panel_99"))
        assert broken(lambda ps: ps[0].update(version=""))
        assert broken(lambda ps: ps[0].pop("panelRefName"))
        assert broken(lambda ps: ps.pop())


def test_columns_of_lens_are_closed():
    for number in of("lens", "lens"):

        def broken(change, number=number) -> list[str]:
            objects, item = changed("lens", number)
            change(item["attributes"]["state"], item["attributes"]["state"]["datasourceStates"]["indexpattern"])
            return problems("lens", objects)

        columns = BUNDLES["lens"][number]["attributes"]["state"]["datasourceStates"]["indexpattern"]["layers"]["main"]
        for name in columns["columnOrder"]:
            assert broken(lambda _, d, n=name: d["layers"]["main"]["columns"].pop(n))
            assert broken(lambda _, d, n=name: d["layers"]["main"]["columnOrder"].remove(n))
            assert broken(lambda _, d, n=name: d["layers"]["main"]["columnOrder"].append(n))
            if "sourceField" in columns["columns"][name]:
                assert broken(lambda _, d, n=name: d["layers"]["main"]["columns"][n].update(sourceField="model.nmae"))
        assert broken(lambda s, _: s["visualization"].update(layerId="x", layers=[{"layerId": "x"}]))
        assert broken(lambda s, _: s.pop("visualization"))
        assert broken(lambda s, d: s["datasourceStates"].update(formBased=s["datasourceStates"].pop("indexpattern")))
        assert broken(lambda s, _: s["query"].update(query="metrictype : ("))
        assert broken(lambda s, _: s["query"].update(query="metirctype : IoU"))


def test_controls_of_lens_dashboards_are_closed():
    for number in of("lens", "dashboard"):

        def broken(change, number=number) -> list[str]:
            objects, item = changed("lens", number)
            inside(item, "controlGroupInput.panelsJSON", change)
            return problems("lens", objects)

        assert broken(lambda c: c.pop("control-1"))
        assert broken(lambda c: c.update({"control-9": c.pop("control-1")}))
        assert broken(lambda c: c["control-1"]["explicitInput"].update(fieldName="model.nmae"))


def test_classic_aggregations_are_closed():
    for number in of("classic", "visualization"):
        state = json.loads(BUNDLES["classic"][number]["attributes"]["visState"])

        def broken(change, number=number) -> list[str]:
            objects, item = changed("classic", number)
            inside(item, "visState", change)
            return problems("classic", objects)

        for i, agg in enumerate(state["aggs"]):
            if "field" in agg["params"]:
                assert broken(lambda s, i=i: s["aggs"][i]["params"].update(field="nothing"))
            if agg["type"] == "filters":
                assert broken(lambda s, i=i: s["aggs"][i]["params"]["filters"][0]["input"].update(query="a : ("))
            if i:
                assert broken(lambda s, i=i: s["aggs"][i].update(id="1"))
        for i in range(len(state["params"].get("seriesParams", []))):
            assert broken(lambda s, i=i: s["params"]["seriesParams"][i]["data"].update(id="9"))
        for i in range(len(state["params"].get("controls", []))):
            assert broken(lambda s, i=i: s["params"]["controls"][i].update(fieldName="nothing"))
            assert broken(lambda s, i=i: s["params"]["controls"][i].update(indexPatternRefName="nothing"))


@pytest.mark.parametrize("target", BUNDLES)
def test_searches_queries_and_data_views_name_known_fields(target):
    for number in of(target, "search"):
        objects, item = changed(target, number)
        item["attributes"]["columns"][0] = "nothing"
        assert problems(target, objects)
        objects, item = changed(target, number)
        item["attributes"]["sort"][0][0] = "nothing"
        assert problems(target, objects)
    for number in of(target, "query"):
        for text in ("nothing : 1", "metrictype : ("):
            objects, item = changed(target, number)
            item["attributes"]["query"]["query"] = text
            assert problems(target, objects)
    for number in of(target, "index-pattern"):
        objects, item = changed(target, number)
        item["attributes"]["timeFieldName"] = "time"
        assert problems(target, objects)


# --- users' bundles --------------------------------------------------------------------------------------------------


def test_what_the_server_has_need_not_be_in_the_file():
    objects = [o for o in BUNDLES["classic"] if o["type"] != "index-pattern"]
    assert validate(objects, outside={("index-pattern", "elkkit-lane-eval")}) == []
    assert len(validate(objects)) > len(objects) // 2


def test_a_problem_says_where():
    objects, item = changed("classic", of("classic", "search")[0])
    item["attributes"]["columns"][0] = "nothing"
    (problem,) = validate(objects, fields=FIELDS)
    assert (problem.object, problem.path) == (f"search:{item['id']}", "attributes.columns[0]")
    assert "'nothing'" in problem.message


def test_lines_that_are_no_objects():
    values, faults = read_lines('\ufeff{"type":"x"}\r\n\n[1]\n{oops\n{"exportedCount":2,"missingRefCount":0}\n')
    assert values == [{"type": "x"}, [1]]
    assert [f.object for f in faults] == ["line 4"]
    assert len(validate([7, [], None, "x", {}])) >= 5


def test_what_is_nested_too_deeply_is_said():
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    (problem,) = validate([{"type": "query", "id": "q", "attributes": {"title": "Q", "query": deep}}])
    assert (problem.object, problem.message) == ("query:q", "it is nested too deeply")
    while deep:  # taking it apart at once would go as deep
        deep = deep.pop()
    assert read_lines("[" * 200_000)[1]


def nested_values(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, inner in keys for p in [(*path, key), *nested_values(inner, (*path, key))]]


@settings(max_examples=300, deadline=None)
@given(
    where=st.sampled_from(EVERY),
    put=st.sampled_from([None, 0, -1, "", "x", [], {}, [None], {"a": None}, True, 1e300]),
    data=st.data(),
)
def test_nothing_makes_it_raise(where, put, data):
    """Whatever stands anywhere, also inside the JSON texts."""
    target, number = where
    item = copy.deepcopy(BUNDLES[target][number])
    attributes = item["attributes"]
    read = {}
    for path in texts(attributes):
        at = attributes
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = json.loads(at[path[-1]])
        read[path] = True
    path = data.draw(st.sampled_from(nested_values(item)))
    at = item
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = put
    for text in sorted(read, key=len, reverse=True):
        at = item.get("attributes")
        for key in text[:-1]:
            at = at.get(key) if isinstance(at, dict) else None
        if isinstance(at, dict) and isinstance(at.get(text[-1]), dict | list):
            at[text[-1]] = json.dumps(at[text[-1]])
    validate([item], fields=FIELDS, limits=LIMITS[target])
