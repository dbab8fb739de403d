"""Which fields panels use, which panels an index would leave empty, and what a Kibana says of its indices' fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elkkit.contract import load_contract
from elkkit.errors import UnreachableError
from elkkit.kibana import bundle
from elkkit.kibana.fields_used import (
    EmptyPanel,
    FieldInfo,
    Reason,
    Use,
    empty_panels,
    fields_used,
    parts_used,
    suggest,
)
from elkkit.kibana.retarget import retarget
from elkkit.kibana.spec import META
from elkkit.stack.kibana import Kibana, KibanaConnection, connect
from elkkit.stack.kibanafields import fields_of
from fakes.kibana import FakeKibana, Fault
from lines import SHARED

CONTRACT = load_contract()
BUNDLES = {target: bundle(CONTRACT, target) for target in ("classic", "lens")}
TEXT, WORD = FieldInfo("text", True, False), FieldInfo("keyword", True, True)
NUMBER, DATE = FieldInfo("double", True, True), FieldInfo("date", True, True)
OURS = {
    f.name: FieldInfo(f.bare_type, searchable=True, aggregatable=f.bare_type not in ("text", "match_only_text"))
    for f in CONTRACT.fields.values()
}
VERSIONS = ["7.10.2", "8.3.3", "8.12.2"]


def dynamic() -> dict[str, FieldInfo]:
    """Our fields as Elasticsearch maps them by itself: each text has an exact twin."""
    found = dict(OURS)
    for name, info in OURS.items():
        if info.type in ("keyword", "constant_keyword", "match_only_text", "text"):
            found |= {name: TEXT, f"{name}.keyword": WORD}
    return found


def panel(kind: str, ident: str, attributes: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "id": ident, "attributes": {"title": ident.upper(), **attributes}, "references": []}


def asking(query: str, *filters: dict[str, Any]) -> dict[str, Any]:
    """A table of one field, `there`, that is asked through a query and filters."""
    state = {"type": "table", "params": {}, "aggs": [{"id": "1", "type": "terms", "params": {"field": "there"}}]}
    source = {"query": {"language": "kuery", "query": query}, "filter": list(filters)}
    kept = {"visState": json.dumps(state), "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)}}
    return panel("visualization", "v", kept)


def reasons(item: dict[str, Any], known: dict[str, FieldInfo]) -> list[str]:
    return [str(reason) for found in empty_panels([item], known) for reason in found.reasons]


# --- what is used ----------------------------------------------------------------------------------------------------


def test_the_uses_of_a_visualization():
    aggs = [
        {"id": "1", "type": "avg", "params": {"field": "n"}},
        {"id": "2", "type": "terms", "params": {"field": "w"}},
        {"id": "3", "type": "date_histogram", "params": {"field": "t"}},
        {"id": "4", "type": "top_hits", "params": {"field": "w", "sortField": "t"}},
    ]
    item = panel("visualization", "v", {"visState": json.dumps({"type": "table", "params": {}, "aggs": aggs})})
    item["attributes"]["kibanaSavedObjectMeta"] = {
        "searchSourceJSON": json.dumps({"query": {"language": "kuery", "query": "w : a or m* : b"}})
    }
    assert fields_used(item) == {
        "n": {Use.MEASURED},
        "w": {Use.GROUPED, Use.SHOWN, Use.FILTERED},
        "t": {Use.TIMED, Use.SORTED},
        "m*": {Use.FILTERED},
    }


@pytest.mark.parametrize("target", BUNDLES)
def test_ours_use_fields_of_the_contract_only_and_the_same_in_both(target):
    used = {name for item in BUNDLES[target] for name in fields_used(item)}
    assert used - META <= set(CONTRACT.fields)
    assert {"metricscores", "metrictype", "model.name", "@timestamp"} <= used


def test_a_dashboards_own_panels_are_told_apart():
    lens = {"visualizationType": "lnsXY", "state": {"datasourceStates": {"formBased": {"layers": {"l": {"columns": {
        "a": {"operationType": "average", "sourceField": "n"}}}}}}}}  # fmt: skip
    panels = [{"panelIndex": "1", "title": "One", "embeddableConfig": {"attributes": lens}},
              {"panelIndex": "2", "embeddableConfig": {"sort": [["t", "asc"]]}}]  # fmt: skip
    controls = {"c": {"type": "optionsListControl", "explicitInput": {"id": "c", "fieldName": "w", "title": "Which"}}}
    item = panel("dashboard", "d", {"panelsJSON": json.dumps(panels),
                                    "controlGroupInput": {"panelsJSON": json.dumps(controls)}})  # fmt: skip
    assert parts_used(item) == {
        "One": {"n": {Use.MEASURED}}, "panel 2": {"t": {Use.SORTED}}, "Which": {"w": {Use.GROUPED}}
    }  # fmt: skip
    assert empty_panels([item], {"t": DATE}) == [
        EmptyPanel("dashboard:d", "Which", ("D",), (Reason("w", "is not there"),)),
        EmptyPanel("dashboard:d", "One", ("D",), (Reason("n", "is not there"),)),
    ]


# --- what would be empty ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", BUNDLES)
def test_over_our_own_indices_nothing_is_empty(target):
    assert empty_panels(BUNDLES[target], OURS) == []


@pytest.mark.parametrize("target", BUNDLES)
def test_where_elasticsearch_mapped_by_itself_the_suggestion_mends_all(target):
    known = dynamic()
    empty = empty_panels(BUNDLES[target], known)
    assert empty
    twins = {r.instead for found in empty for r in found.reasons}
    assert {"metrictype.keyword", "model.name.keyword"} <= twins
    assert all(found.dashboards for found in empty if not found.object.startswith("search:"))
    uses: dict[str, set[Use]] = {}
    for item in BUNDLES[target]:
        for field, named in fields_used(item).items():
            uses.setdefault(field, set()).update(named)
    mapping = suggest(known, uses)
    assert set(mapping.values()) >= twins - {None}
    moved, problems = retarget(BUNDLES[target], fields=mapping)
    assert (problems, empty_panels(moved, known)) == ([], [])


@pytest.mark.parametrize("gone", ["metricscores", "metrictype", "model.name", "frame.id", "@timestamp"])
@pytest.mark.parametrize("target", BUNDLES)
def test_each_panel_that_needs_a_missing_field_is_named(target, gone):
    known = {name: info for name, info in OURS.items() if name != gone}
    told = {found.object for found in empty_panels(BUNDLES[target], known)}
    needed = {Use.GROUPED, Use.MEASURED, Use.TIMED}
    for item in BUNDLES[target]:
        name, uses = f"{item['type']}:{item['id']}", fields_used(item).get(gone, frozenset())
        if uses & needed and item["type"] != "index-pattern":
            assert name in told
        elif gone not in fields_used(item):
            assert name not in told


@pytest.mark.parametrize(
    ("info", "kind", "told"),
    [
        (WORD, "terms", []),
        (NUMBER, "avg", []),
        (DATE, "max", []),
        (DATE, "date_histogram", []),
        (TEXT, "top_hits", []),
        (WORD, "avg", ["there is keyword, and a number is needed"]),
        (NUMBER, "date_histogram", ["there is double, and a date is needed"]),
        (TEXT, "terms", ["there is text, by which nothing can be grouped or counted"]),
        (TEXT, "cardinality", ["there is text, by which nothing can be grouped or counted"]),
        (FieldInfo("conflict", True, False), "terms", ["there has another type in each index"]),
        (FieldInfo("conflict", True, True), "terms", []),
        (FieldInfo("conflict", True, True), "avg", ["there has another type in each index"]),
        (None, "terms", ["there is not there"]),
    ],
)
def test_a_field_of_another_kind(info, kind, told):
    item = asking("")
    item["attributes"]["visState"] = item["attributes"]["visState"].replace("terms", kind)
    assert reasons(item, {"there": info} if info else {}) == told


def test_the_twin_is_named_where_it_would_do():
    known = {"there": TEXT, "there.keyword": WORD}
    assert reasons(asking(""), known) == [
        "there is text, by which nothing can be grouped or counted: there.keyword would do"
    ]  # fmt: skip
    item = asking("")
    item["attributes"]["visState"] = item["attributes"]["visState"].replace("terms", "avg")
    assert reasons(item, known) == ["there is text, and a number is needed"], "a keyword has no average"


@pytest.mark.parametrize(
    ("query", "empty"),
    [
        ("gone : 1", True),
        ("gone : *", True),
        ("gone > 1 and there : 1", True),
        ("gone : 1 or there : 1", False),
        ("gone : 1 or lost : 2", True),
        ("not gone : 1", False),
        ("not (not gone : 1)", True),
        ("there : 1 and not gone : 1", False),
        ("gone* : 1", True),
        ("the* : 1", False),
        ("free text", False),
        ("_ignored : *", False),
        ("", False),
        ("* : *", False),
        ("gone : (", False),
    ],
)
def test_a_query_for_a_field_that_is_not_there(query, empty):
    found = reasons(asking(query), {"there": WORD})
    assert bool(found) == empty
    assert all("the query asks for it" in reason for reason in found)


@pytest.mark.parametrize(
    ("meta", "empty"),
    [
        ({"key": "gone", "type": "phrase"}, True),
        ({"key": "gone", "type": "exists"}, True),
        ({"key": "gone", "type": "exists", "negate": True}, False),
        ({"key": "gone", "type": "phrase", "disabled": True}, False),
        ({"key": "gone", "type": "custom"}, False),
        ({"key": "there", "type": "phrase"}, False),
    ],
)
def test_a_filter_for_a_field_that_is_not_there(meta, empty):
    found = reasons(asking("", {"meta": meta, "query": {}}), {"there": WORD})
    assert found == (["gone is not there, and a filter asks for it"] if empty else [])


def test_a_saved_search_by_order():
    item = panel("search", "s", {"columns": ["text", "gone"], "sort": [["text", "desc"], ["gone", "asc"]]})
    assert reasons(item, {"text": TEXT}) == ["text is text, by which nothing can be sorted"]


# --- suggestions -----------------------------------------------------------------------------------------------------


def test_only_what_is_beyond_doubt_is_suggested():
    known = {"a": TEXT, "a.keyword": WORD, "b": WORD, "b.keyword": WORD, "c": TEXT, "d.keyword": WORD, "n": TEXT,
             "n.keyword": WORD, "o": TEXT, "o.keyword": NUMBER, "e": TEXT, "e.keyword": WORD}  # fmt: skip
    wanted = {"a": {Use.GROUPED}, "b": {Use.GROUPED}, "c": {Use.GROUPED}, "d": {Use.SHOWN}, "n": {Use.MEASURED},
              "o": {Use.GROUPED}, "e": {Use.FILTERED}, "gone": {Use.GROUPED}}  # fmt: skip
    assert suggest(known, wanted) == {"a": "a.keyword", "d": "d.keyword"}
    assert suggest(known, wanted, {"e"}) == {"a": "a.keyword", "d": "d.keyword", "e": "e.keyword"}
    assert suggest(known, {"a": {Use.SHOWN}, "e": {Use.DESCRIBED}}, {"e"}) == {}


# --- a Kibana's list -------------------------------------------------------------------------------------------------

MAPPING = {"properties": {
    "@timestamp": {"type": "date"}, "metricscores": {"type": "float"},
    "metrictype": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
    "model": {"properties": {"name": {"type": "keyword"}}}}}  # fmt: skip


def open_kibana(fake: FakeKibana) -> Kibana:
    return connect(KibanaConnection(fake.url, timeout=2))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fields_of_a_pattern(version):
    with FakeKibana(version) as fake, open_kibana(fake) as kibana:
        fake.mappings = {"logstash-1": MAPPING}
        found = fields_of(kibana, "logstash-*")
        assert found.why is None
        assert found.fields is not None
        assert set(found.fields) - META == {
            "@timestamp", "metricscores", "metrictype", "metrictype.keyword", "model.name"
        }  # fmt: skip
        assert found.fields["metrictype"] == TEXT
        assert found.fields["metrictype.keyword"] == WORD
        assert found.fields["metricscores"] == FieldInfo("float", True, True)
        assert len([path for _, path in fake.asked if "fields" in path]) == 1
        nothing = fields_of(kibana, "filebeat-*")
        assert (nothing.fields, nothing.why) == ({}, "no index matches filebeat-*")


@pytest.mark.parametrize("version", VERSIONS)
def test_several_patterns_of_which_one_is_there(version):
    with FakeKibana(version) as fake, open_kibana(fake) as kibana:
        fake.mappings = {"logstash-1": MAPPING}
        found = fields_of(kibana, "filebeat-*,logstash-*")
        assert found.fields is not None
        assert "metrictype" in found.fields
        assert fields_of(kibana, "a-*, b-*").why == "no index matches a-*, b-*"


def test_types_that_disagree():
    def of(kind: str) -> dict[str, Any]:
        return {"properties": {"x": {"type": kind}}}

    with FakeKibana("8.12.2") as fake, open_kibana(fake) as kibana:
        for kinds, told in ((("long", "keyword"), "conflict"), (("text", "keyword"), "conflict"),
                            (("long", "float"), "float")):  # fmt: skip
            fake.mappings = {f"i-{i}": of(kind) for i, kind in enumerate(kinds)}
            found = fields_of(kibana, "i-*").fields
            assert found is not None
            assert found["x"].type == told


def test_what_is_not_allowed_is_told_and_not_raised():
    with FakeKibana("8.12.2") as fake, open_kibana(fake) as kibana:
        fake.mappings = {"logstash-1": MAPPING}
        fake.fail(Fault.FORBIDDEN, only="fields")
        found = fields_of(kibana, "logstash-*")
        assert found.fields is None
        assert found.why
        fake.fail(Fault.UNAVAILABLE, only="fields")
        with pytest.raises(UnreachableError):
            fields_of(kibana, "logstash-*")


def test_a_kibana_that_moved_its_list_is_asked_where_it_is():
    """The version says which address comes first; the others are asked where that one is not there."""
    with FakeKibana("8.3.3") as fake, open_kibana(fake) as kibana:
        fake.mappings = {"logstash-1": MAPPING}
        kibana.server = type(kibana.server)(fake.url, version=(8, 9, 0), version_text="8.9.0", level="available")
        found = fields_of(kibana, "logstash-*")
        assert found.fields is not None
        assert "metrictype" in found.fields
        assert len([path for _, path in fake.asked if "fields" in path]) == 3


@pytest.mark.parametrize("version", ["7.10.2", "8.3.3"])
def test_the_fake_refuses_a_list_of_fields_as_it_was_recorded(version):
    path = Path(SHARED) / "kibana-exchanges" / version / "fields-for-wildcard.json"
    if not path.exists():
        pytest.skip("shared/ is absent")
    exchange = json.loads(path.read_text("utf-8"))
    request, response = exchange["request"], exchange["response"]
    with FakeKibana(version) as fake, open_kibana(fake) as kibana:
        answer = kibana.wire.send("GET", request["path"], what="ask", query=request["query"])
        assert (answer.status, answer.body) == (response["status"], response["body"])
