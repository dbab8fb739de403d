"""The dashboards: specs that fit the contract, and both bundles made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from elkkit.assets import asset, assets_root
from elkkit.contract import extend, load_contract
from elkkit.errors import ConfigError
from elkkit.kibana import (
    TARGETS,
    bundle,
    bundle_files,
    encode,
    load_specs,
    read_dashboard,
    read_lines,
    read_shared,
    validate,
)
from elkkit.kibana.bundle import DASHBOARDS, DATA_VIEWS, SEARCHES
from elkkit.kibana.layout import COLUMNS, flow
from elkkit.kibana.spec import META
from elkkit.kql import parse, to_predicate
from elkkit.render.kibana import BUNDLES

CONTRACT = load_contract()
SHARED, SPECS = load_specs(CONTRACT)
OBJECTS = {target: bundle(CONTRACT, target) for target in ("classic", "lens")}
PANELS = [(d, p) for d in SPECS for p in d.panels]


def test_committed_bundles_are_up_to_date():
    folder = assets_root() / "kibana" / "bundles"
    there = {p.relative_to(assets_root()).as_posix(): p.read_text("utf-8") for p in folder.rglob("*") if p.is_file()}
    assert there == {path: make(CONTRACT) for path, make in BUNDLES}


def test_making_them_twice_gives_the_same_bytes():
    assert [make(CONTRACT) for _, make in BUNDLES] == [make(CONTRACT) for _, make in BUNDLES]


@pytest.mark.parametrize("target", OBJECTS)
def test_encoding_and_reading_is_the_identity(target):
    values, problems = read_lines(encode(OBJECTS[target]))
    assert problems == []
    assert values == OBJECTS[target]
    assert encode(values) == encode(OBJECTS[target])


@pytest.mark.parametrize("target", OBJECTS)
def test_files_can_be_imported_together_and_one_by_one(target):
    """No object is in two files, and each refers only to objects of earlier files or its own."""
    files = bundle_files(CONTRACT, target)
    ids = [(o["type"], o["id"]) for o in OBJECTS[target]]
    assert len(set(ids)) == len(ids)
    first = {(o["type"], o["id"]) for name in (DATA_VIEWS, SEARCHES) for o in files[name]}
    for name, objects in files.items():
        own = {(o["type"], o["id"]) for o in objects}
        assert validate(objects, outside=first - own) == [], name


def test_what_both_hold_is_the_same_in_both():
    theirs = {(o["type"], o["id"]): o for o in OBJECTS["lens"]}
    shared = [o for o in OBJECTS["classic"] if o["type"] in ("index-pattern", "search", "query")]
    assert shared == [theirs[o["type"], o["id"]] for o in shared]
    for kind in ("index-pattern", "search", "query", "dashboard"):
        mine = [o["id"] for o in OBJECTS["classic"] if o["type"] == kind]
        assert mine == [o["id"] for o in OBJECTS["lens"] if o["type"] == kind]
    assert all(o["id"].startswith("elkkit-lane-eval") for o in [*OBJECTS["classic"], *OBJECTS["lens"]])


def test_one_file_a_spec():
    there = {p.stem for p in asset("kibana", "dashboards").glob("*.toml")}
    assert there == {*DASHBOARDS, "shared"}
    assert [s.id for s in SPECS] == list(DASHBOARDS)


def test_data_view_shows_small_scores_and_says_what_fields_are():
    view = OBJECTS["classic"][0]["attributes"]
    assert view["title"] == "logs-lane.eval-*"
    formats = json.loads(view["fieldFormatMap"])
    assert set(formats) == {f.name for f in CONTRACT.fields.values() if f.type == "double"} | {"@timestamp"}
    decimals = formats["metricscores"]["params"]["pattern"].partition(".")[2]
    assert decimals == "[000000]"  # 9.5e-05 s is no 0, and no score has more zeros than it needs
    said = json.loads(view["fieldAttrs"])
    assert set(said) == set(CONTRACT.fields)
    assert said["metricscores"]["customLabel"] == "Score"


# --- what the dashboards must show -----------------------------------------------------------------------------------


def panels_of(name: str) -> list[Any]:
    return [p for d, p in PANELS if d.id == name]


def test_titles_say_where_less_is_better():
    for spec, panel in PANELS:
        lower = [m.name for m in CONTRACT.metrics.values() if m.better == "lower" and f'"{m.name}"' in _own(panel)]
        if lower:
            assert "lower is better" in panel.title, (spec.id, panel.id)


def _own(panel: Any) -> str:
    """The query without the metrics that it leaves out."""
    return re.sub(r"not metrictype : \([^)]*\)", "", panel.query)


def test_no_axis_assumes_what_is_normal():
    for target, objects in OBJECTS.items():
        for item in objects:
            text = json.dumps(item)
            assert '"mode": "custom"' not in text, (target, item["id"])
            assert '\\"setYExtents\\":true' not in text, (target, item["id"])
        assert "0.9" not in "".join(p.query for _, p in PANELS)


def test_no_scripted_fields_anywhere():
    for objects in OBJECTS.values():
        text = encode(objects)
        assert not re.search(r'\\?"(?:script|scripted)\\?":', text)
        assert "runtimeFieldMap" not in text


def test_model_comparison_has_what_a_comparison_needs():
    spec = SPECS[0]
    assert {c.field for c in spec.controls} == {"model.name", "model.version", "run.id", "metrictype"}
    every = next(p for p in spec.panels if p.id == "every-metric")
    assert every.rows == ("metrictype", "model.name")
    assert [(m.op, m.percent) for m in every.measures] == [
        ("mean", None),
        ("count", None),
        ("percentile", 5),
        ("percentile", 50),
        ("percentile", 95),
    ]
    assert sum(p.kind == "lines" and p.split == "model.name" for p in spec.panels) >= 5


def test_live_run_follows_the_last_quarter_of_an_hour():
    spec = SPECS[1]
    assert (spec.time_from, spec.time_to) == ("now-15m", "now")
    for objects in OBJECTS.values():
        made = next(o for o in objects if o["id"].endswith("live-run"))["attributes"]
        assert made["timeRestore"] is True
        assert made["refreshInterval"] == {"pause": False, "value": 10_000}
    last = next(s for s in SHARED.searches if s.id == "last-lines")
    assert last.columns == ("model.name", "metrictype", "metricscores", "frame.id")  # time comes first by itself


def test_pipeline_health_counts_every_outcome():
    outcomes = next(p for p in panels_of("pipeline-health") if p.id == "outcomes")
    assert [f.label for f in outcomes.filters] == ["scored", "not finite", "malformed"]
    assert CONTRACT.malformed_tag in outcomes.filters[2].query
    assert any("_ignored" in p.query for p in panels_of("pipeline-health"))
    twice = next(p for p in panels_of("pipeline-health") if p.id == "twice")
    assert (twice.rows, twice.order) == (("event.id",), "high")  # counted, where a number of different ids is a guess


def test_lens_columns_are_labelled_and_lines_are_joined():
    for item in OBJECTS["lens"]:
        if item["type"] != "lens":
            continue
        state = item["attributes"]["state"]
        (layer,) = state["datasourceStates"]["indexpattern"]["layers"].values()
        assert all(c["customLabel"] is True and c["label"] for c in layer["columns"].values())
        if state["visualization"].get("preferredSeriesType") == "line":
            assert state["visualization"]["fittingFunction"] == "Linear"


def panels_of_dashboards(target: str) -> list[tuple[str, dict[str, Any]]]:
    """Dashboard's id and panel, decoded."""
    boards = [o for o in OBJECTS[target] if o["type"] == "dashboard"]
    return [(b["id"], panel) for b in boards for panel in json.loads(b["attributes"]["panelsJSON"])]


@pytest.mark.parametrize("target", OBJECTS)
def test_panels_show_their_own_titles(target):
    """An object's title has the kit's name, for lists; on a dashboard that is noise."""
    titles = {p.title for _, p in PANELS if p.kind != "text"}
    shown = [panel for _, panel in panels_of_dashboards(target) if not panel["embeddableConfig"].get("hidePanelTitles")]
    assert {panel["title"] for panel in shown} == titles


def columns(item: dict[str, Any]) -> dict[str, Any]:
    (layer,) = item["attributes"]["state"]["datasourceStates"]["indexpattern"]["layers"].values()
    return layer["columns"]


def test_means_and_percentiles_are_read_at_a_glance():
    """No ten decimals; seconds have six or five, since a model may take 95 microseconds."""
    by_id = {o["id"]: o for o in OBJECTS["lens"]}
    for spec, panel in PANELS:
        for i, measure in enumerate(panel.measures):
            item = by_id[f"elkkit-lane-eval-{spec.id}-{panel.id}"]
            if measure.decimals is not None:
                shown = columns(item)[f"measure-{i}"]["params"]["format"]
                assert shown == {"id": "number", "params": {"decimals": measure.decimals}}
            if panel.kind in ("table", "number") and measure.field == "metricscores" and panel.id != "every-other":
                assert measure.decimals == (6 if "_time" in panel.query else 3), (spec.id, panel.id)
            if measure.decimals is not None and "_time" in panel.query:
                assert f"{9.5e-05:.{measure.decimals}f}".strip("0.") != ""


def test_a_count_beside_a_mean_is_of_the_scores_in_it():
    """A score that is not a number has a line and no part in the mean."""
    for spec, panel in PANELS:
        if {m.op for m in panel.measures} > {"count"} and any(m.field == "metricscores" for m in panel.measures):
            assert "metricscores : *" in panel.query, (spec.id, panel.id)


def test_people_read_labels_and_no_field_names():
    for item in OBJECTS["lens"]:
        if item["type"] == "lens":
            labels = [c["label"] for c in columns(item).values() if c["isBucketed"]]
            assert not {name for name in labels if name in CONTRACT.fields}, item["id"]
    for item in OBJECTS["classic"]:
        if item["type"] == "visualization":
            for agg in json.loads(item["attributes"]["visState"])["aggs"]:
                if agg["type"] in ("terms", "histogram", "date_histogram"):
                    assert agg["params"]["customLabel"] not in CONTRACT.fields, item["id"]


def test_an_axis_of_several_numbers_has_a_title_of_its_own():
    for spec, panel in PANELS:
        if panel.kind in ("lines", "bars"):
            assert panel.axis, (spec.id, panel.id)
            assert len(panel.measures) == 1 or panel.axis not in {m.label for m in panel.measures}


def test_a_share_is_a_formula_in_lens_and_percentages_in_classic():
    item = next(o for o in OBJECTS["lens"] if o["id"].endswith("-failures"))
    share, part, whole = (columns(item)[name] for name in ("measure-0", "measure-0X0", "measure-0X1"))
    failed, scored = (f.query for f in next(p for p in panels_of("pipeline-health") if p.id == "failures").filters)
    assert share["params"]["format"]["id"] == "percent"
    assert part["filter"]["query"] == failed
    assert whole["filter"]["query"] == f"({failed}) or ({scored})"
    assert share["params"]["formula"] == f"count(kql='{failed}') / count(kql='({failed}) or ({scored})')"
    (tree,) = (c["params"]["tinymathAst"] for c in columns(item).values() if c["operationType"] == "math")
    assert tree["args"] == ["measure-0X0", "measure-0X1"]
    state = json.loads(next(o for o in OBJECTS["classic"] if o["id"].endswith("-failures"))["attributes"]["visState"])
    assert state["params"]["valueAxes"][0]["scale"]["mode"] == "percentage"


def test_a_quote_in_a_share_stays_inside_its_text():
    text = (
        PANEL
        + """rows = ["model.name"]
stack = "percentage"
filters = [{ label = "a", query = "model.name : \\"it's\\"" }, { label = "b", query = "model.name : *" }]
"""
        + COUNT
    )
    made = TARGETS["lens"](CONTRACT, read_dashboard(text, CONTRACT, SHARED))[0]
    assert columns(made)["measure-0"]["params"]["formula"].startswith("count(kql='model.name : \"it\\'s\"') / ")
    assert columns(made)["measure-0X0"]["filter"]["query"] == 'model.name : "it\'s"'


def test_models_keep_their_colour_and_outcomes_have_their_own():
    for item in OBJECTS["lens"]:
        if item["type"] == "dashboard":
            assert json.loads(item["attributes"]["optionsJSON"])["syncColors"] is True
        elif item["type"] == "lens" and item["attributes"]["visualizationType"] == "lnsXY":
            (layer,) = item["attributes"]["state"]["visualization"]["layers"]
            split = columns(item).get(layer.get("splitAccessor", ""), {})
            assert ("palette" in layer) == bool(split and split.get("sourceField") != "model.name"), item["id"]
    outcomes = next(o for o in OBJECTS["lens"] if o["id"].endswith("-outcomes-over-time"))
    (layer,) = outcomes["attributes"]["state"]["visualization"]["layers"]
    assert layer["palette"]["params"]["colors"] == ["#54b399", "#d6bf57", "#e7664c"]
    classic = {o["id"]: o["attributes"]["uiStateJSON"] for o in OBJECTS["classic"] if o["type"] == "visualization"}
    theirs = json.loads(classic[outcomes["id"]])["vis"]["colors"]
    assert theirs == {"scored": "#54b399", "not finite": "#d6bf57", "malformed": "#e7664c"}
    spread = json.loads(classic["elkkit-lane-eval-model-comparison-iou-spread"])["vis"]["colors"]
    assert set(spread) == {"5th percentile of IoU", "50th percentile of IoU", "95th percentile of IoU"}


def test_a_whole_number_on_an_axis_is_cut_into_steps():
    text = PANEL.replace("bars", "lines") + 'rows = ["frame.index"]\n' + COUNT
    spec = read_dashboard(text, CONTRACT, SHARED)
    agg = json.loads(TARGETS["classic"](CONTRACT, spec)[0]["attributes"]["visState"])["aggs"][1]
    assert (agg["type"], agg["params"]["interval"]) == ("histogram", "auto")
    row = columns(TARGETS["lens"](CONTRACT, spec)[0])["row-0"]
    assert (row["operationType"], row["params"]["type"]) == ("range", "histogram")


def test_metrics_left_out_are_in_no_query():
    text = PANEL + 'rows = ["model.name"]\nquery = "metricscores : *"\nwithout = ["IoU", "F1"]\n' + COUNT
    (panel,) = read_dashboard(text, CONTRACT, SHARED).panels
    asked = '(metricscores : *) and not metrictype : ("IoU" or "F1")'
    assert panel.query == f'({asked}) and not tags : "_canary"'
    named = [
        set(re.findall(r'"(\w+)"', p.query)) - {CONTRACT.canary_tag}
        for p in panels_of("model-comparison")
        if p.id.startswith("every-")
    ]
    assert named[2] == named[0] | named[1]  # what is in no other table


def test_no_panel_search_or_query_counts_canaries():
    """Each by itself, since people open panels alone and empty the dashboard's own query."""
    asked = [kql for _, make in BUNDLES for kql in questions(make(CONTRACT))]
    assert len(asked) > 80
    assert [kql for kql in asked if not kql.endswith('not tags : "_canary"')] == []
    matches = [to_predicate(parse(kql), CONTRACT) for kql in asked]
    canary = {"tags": ["_canary"], "metrictype": "IoU", "metricscores": 1e300, "model.name": "lane-a", "event.id": "x",
              "metricraw": "nan", "frame.lane_free": True, "frame.conditions": ["night"]}  # fmt: skip
    assert not any(match(canary) for match in matches)
    assert any(match({**canary, "tags": []}) for match in matches)


def questions(bundle: str) -> Iterator[str]:
    """The KQL of each object of a bundle that asks for events: Lens panels, visualizations, searches, saved queries."""
    for row in bundle.splitlines():
        found = json.loads(row)
        attributes, kind = found["attributes"], found["type"]
        if kind == "lens":
            yield attributes["state"]["query"]["query"]
        elif kind == "query":
            yield attributes["query"]["query"]
        elif kind in ("search", "visualization"):
            markdown = kind == "visualization" and json.loads(attributes["visState"])["type"] in _ASKS_NOTHING
            if not markdown:
                yield json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]


_ASKS_NOTHING = ("markdown", "input_control_vis")


def test_only_fields_that_any_server_counts_by():
    counted = {"keyword", "double", "date", "boolean", "long"}
    for _, panel in PANELS:
        used = {*panel.rows, panel.split, *(m.field for m in panel.measures)} - {None}
        assert {CONTRACT.fields[name].bare_type for name in used} <= counted
        assert not used & META


# --- a contract of one's own -----------------------------------------------------------------------------------------


def test_another_dataset_has_objects_of_its_own():
    own = extend(CONTRACT, dataset="road.signs")
    for target in ("classic", "lens"):
        objects = bundle(own, target)
        assert validate(objects) == []
        assert objects[0]["attributes"]["title"] == "logs-road.signs-*"
        assert not {o["id"] for o in objects} & {o["id"] for o in OBJECTS[target]}


# --- specs -----------------------------------------------------------------------------------------------------------

HEAD = 'id = "x"\ntitle = "X"\n'
PANEL = HEAD + '[[panels]]\nid = "p"\nkind = "bars"\ntitle = "P"\n'
COUNT = 'measures = [{ op = "count", label = "n" }]\n'


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("nope = [", "spec is not TOML", ""),
        (HEAD, "panels", "at least"),
        ('id = "X!"\ntitle = "X"\n', "id", "lower-case"),
        (HEAD + "colour = 3\n" + PANEL.removeprefix(HEAD) + 'rows = ["model.name"]\n' + COUNT, "colour", "no such key"),
        (PANEL + 'rows = ["model.nmae"]\n' + COUNT, "panels[0].rows", "no field 'model.nmae'"),
        (PANEL + 'rows = ["message"]\n' + COUNT, "panels[0].rows", "cannot be counted by"),
        (PANEL + 'rows = ["model.name"]\nmetrics = ["IOU"]\n' + COUNT, "panels[0].metrics", "no metric 'IOU'"),
        (PANEL + 'rows = ["model.name"]\nquery = "a : ("\n' + COUNT, "panels[0].query", ""),
        (PANEL + 'rows = ["model.name"]\nquery = "nothing : 1"\n' + COUNT, "panels[0].query", "no field 'nothing'"),
        (PANEL + 'rows = ["model.name"]\nquery = "tags : ${tag}"\n' + COUNT, "panels[0].query", "malformed_tag"),
        (PANEL + 'rows = ["model.name"]\n', "panels[0].measures", "one at least"),
        (PANEL + COUNT, "panels[0].rows", "x axis"),
        (PANEL + "w = 49\n" + COUNT, "panels[0].w", "from 4 to 48"),
        (PANEL + 'rows = ["model.name"]\nkolor = 1\n' + COUNT, "panels[0].kolor", "no such key"),
        (PANEL + 'rows = ["model.name"]\ninterval = "1 week"\n' + COUNT, "panels[0].interval", "neither auto"),
        (PANEL.replace("bars", "pie") + COUNT, "panels[0].kind", "none of lines, bars"),
        (PANEL + 'rows = ["model.name"]\nwithout = ["IOU"]\n' + COUNT, "panels[0].without", "no metric 'IOU'"),
        (PANEL + 'rows = ["model.name"]\nstack = "percentage"\n' + COUNT, "panels[0].stack", "split by filters"),
        (
            PANEL + 'rows = ["model.name"]\nmeasures = [{ op = "count", label = "n", colour = "red" }]\n',
            "panels[0].measures[0].colour",
            "'red' is not such as",
        ),
        (
            PANEL + 'rows = ["model.name"]\nmeasures = [{ op = "count", label = "n", decimals = 11 }]\n',
            "panels[0].measures[0].decimals",
            "from 0 to 10",
        ),
        (PANEL.replace("bars", "search"), "panels[0].search", "no saved search"),
        (PANEL.replace("bars", "text"), "panels[0].text", "needs one"),
        (
            PANEL + 'rows = ["model.name"]\nmeasures = [{ op = "mean", field = "model.name", label = "n" }]\n',
            "panels[0].measures[0].field",
            "it is a keyword",
        ),
        (
            PANEL + 'rows = ["model.name"]\nmeasures = [{ op = "percentile", field = "metricscores", label = "n" }]\n',
            "panels[0].measures[0].percent",
            "between 0 and 100",
        ),
        (PANEL + 'rows = ["model.name"]\n' + COUNT + PANEL.removeprefix(HEAD), "panels[1].id", "there twice"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_where_it_is(text, where, why):
    with pytest.raises(ConfigError) as error:
        read_dashboard(text, CONTRACT, SHARED)
    assert where in error.value.message
    assert why in (error.value.why or "")
    assert error.value.hint


def test_intervals_are_spelled_as_each_kibana_wants_them():
    for interval, classic in (("auto", "auto"), ("1m", "m"), ("10s", "10s"), ("15m", "15m"), ("1h", "h")):
        text = PANEL + f'rows = ["@timestamp"]\ninterval = "{interval}"\n' + COUNT
        spec = read_dashboard(text, CONTRACT, SHARED)
        state = json.loads(TARGETS["classic"](CONTRACT, spec)[0]["attributes"]["visState"])
        assert state["aggs"][1]["params"]["interval"] == classic
        layer = TARGETS["lens"](CONTRACT, spec)[0]["attributes"]["state"]["datasourceStates"]["indexpattern"]["layers"]
        assert layer["main"]["columns"]["row-0"]["params"]["interval"] == interval


def test_shared_specs_are_read_as_strictly():
    for text, where in (
        ('[labels]\n"nothing" = "N"\n', "labels"),
        ('[[searches]]\nid = "s"\ntitle = "S"\ncolumns = ["nothing"]\n', "searches[0].columns"),
        ('[[searches]]\nid = "s"\ntitle = "S"\nsort = [["metricscores", "up"]]\n', "searches[0].sort"),
        ('[[queries]]\nid = "q"\ntitle = "Q"\nquery = "a : ("\n', "queries[0].query"),
    ):
        with pytest.raises(ConfigError, match="wrong") as error:
            read_shared(text, CONTRACT)
        assert where in error.value.message


def test_boxes_flow_without_overlap():
    boxes = list(flow([(12, 7), (30, 9), (12, 4), (48, 5), (24, 3), (24, 3)]))
    assert all(b.x + b.w <= COLUMNS for b in boxes)
    assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert [(b.x, b.y) for b in boxes] == [(0, 0), (12, 0), (0, 9), (0, 13), (0, 18), (24, 18)]
