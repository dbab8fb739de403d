"""The dashboards: specs that fit the contract, and both bundles made from them."""

from __future__ import annotations

import json
import re
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
    assert set(formats) == {f.name for f in CONTRACT.fields.values() if f.type == "double"}
    assert formats["metricscores"]["params"]["pattern"].count("0") > 10
    said = json.loads(view["fieldAttrs"])
    assert set(said) == set(CONTRACT.fields)
    assert said["metricscores"]["customLabel"] == "Score"


# --- what the dashboards must show -----------------------------------------------------------------------------------


def panels_of(name: str) -> list[Any]:
    return [p for d, p in PANELS if d.id == name]


def test_titles_say_where_less_is_better():
    for spec, panel in PANELS:
        lower = [m.name for m in CONTRACT.metrics.values() if m.better == "lower" and f'"{m.name}"' in panel.query]
        if lower:
            assert "lower is better" in panel.title, (spec.id, panel.id)


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
    assert any(m.op == "distinct" and m.field == "event.id" for p in panels_of("pipeline-health") for m in p.measures)


def test_lens_columns_are_labelled_and_lines_are_joined():
    for item in OBJECTS["lens"]:
        if item["type"] != "lens":
            continue
        state = item["attributes"]["state"]
        (layer,) = state["datasourceStates"]["indexpattern"]["layers"].values()
        assert all(c["customLabel"] is True and c["label"] for c in layer["columns"].values())
        if state["visualization"].get("preferredSeriesType") == "line":
            assert state["visualization"]["fittingFunction"] == "Linear"


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
