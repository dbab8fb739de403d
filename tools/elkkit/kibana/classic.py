"""Dashboards of aggregation-based visualizations: Kibana 7.10 without extras to 9.x, and OpenSearch Dashboards."""

from __future__ import annotations

from typing import Any

from elkkit.contract import Contract
from elkkit.kibana import common
from elkkit.kibana.common import SavedObject, identity, kql, reference
from elkkit.kibana.layout import COLUMNS, Box
from elkkit.kibana.spec import TIME, Control, Dashboard, Measure, Panel

_CONTROLS = "controls"
_CONTROLS_HEIGHT = 5
_OPS = {"mean": "avg", "median": "median", "min": "min", "max": "max", "count": "count", "distinct": "cardinality"}
_VERSION = "7.10.0"
_SERIES = 20
"""How many models, or whatever a chart is split by, are drawn."""


def dashboard(contract: Contract, spec: Dashboard) -> list[SavedObject]:
    """The dashboard and every visualization of its own, the dashboard last."""
    made: list[SavedObject] = []
    boxes: list[tuple[Box, str, str]] = []
    down = 0
    if spec.controls:
        target = identity(contract, spec.id, _CONTROLS)
        made.append(_controls(contract, target, spec))
        boxes.append((Box(0, 0, COLUMNS, _CONTROLS_HEIGHT), "visualization", target))
        down = _CONTROLS_HEIGHT
    for panel in spec.panels:
        if panel.search:
            boxes.append((panel.box.down(down), "search", identity(contract, panel.search)))
            continue
        target = identity(contract, spec.id, panel.id)
        make = common.markdown if panel.kind == "text" else _visualization
        made.append(make(contract, target, panel))
        boxes.append((panel.box.down(down), "visualization", target))
    panels, links = [], []
    for number, (box, kind, target) in enumerate(boxes):
        name, index = f"panel_{number}", str(number + 1)
        grid = {"x": box.x, "y": box.y, "w": box.w, "h": box.h, "i": index}
        panels.append(
            {"version": _VERSION, "gridData": grid, "panelIndex": index, "embeddableConfig": {}, "panelRefName": name}
        )
        links.append(reference(name, kind, target))
    attributes = common.dashboard_attributes(spec, panels)
    return [*made, common.saved("dashboard", identity(contract, spec.id), attributes, links)]


def _controls(contract: Contract, target: str, spec: Dashboard) -> SavedObject:
    controls, links = [], []
    for number, control in enumerate(spec.controls):
        name = f"control_{number}_index_pattern"
        controls.append(_control(f"{number + 1}", control, name))
        links.append(reference(name, "index-pattern", identity(contract)))
    params = {"controls": controls, "pinFilters": False, "updateFiltersOnChange": True, "useTimeFilter": True}
    state = {"aggs": [], "params": params, "type": "input_control_vis"}
    return common.visualization(contract, target, f"{spec.title}: controls", "", state, links=links)


def _control(number: str, control: Control, name: str) -> dict[str, Any]:
    options = {"dynamicOptions": True, "multiselect": True, "order": "desc", "size": 100, "type": "terms"}
    return {
        "id": number,
        "fieldName": control.field,
        "indexPatternRefName": name,
        "label": control.label,
        "options": options,
        "parent": "",
        "type": "list",
    }


def _visualization(contract: Contract, target: str, panel: Panel) -> SavedObject:
    measures = _measures(panel)
    aggs = [*measures, *_buckets(panel, measures)]
    if panel.kind == "number":
        kind, params = "metric", _number()
    elif panel.kind == "table":
        kind, params = "table", _table(panel)
    else:
        kind = "line" if panel.kind == "lines" else "histogram"
        params = _chart(panel, kind, measures)
    state = {"aggs": aggs, "params": params, "type": kind}
    return common.visualization(contract, target, panel.title, panel.description, state, query=panel.query)


# --- aggregations ----------------------------------------------------------------------------------------------------


def _measures(panel: Panel) -> list[dict[str, Any]]:
    """One aggregation a measure; percentiles of one field are one, since Kibana asks for them together."""
    aggs: list[dict[str, Any]] = []
    percentiles: dict[str | None, dict[str, Any]] = {}
    for measure in panel.measures:
        if measure.op != "percentile":
            aggs.append(_agg(len(aggs) + 1, _OPS[measure.op], "metric", _params(measure)))
        elif measure.field in percentiles:
            percentiles[measure.field]["params"]["percents"].append(measure.percent)
        else:
            # Kibana writes "95th percentile of" before the label
            params = {"field": measure.field, "percents": [measure.percent], "customLabel": "score"}
            aggs.append(_agg(len(aggs) + 1, "percentiles", "metric", params))
            percentiles[measure.field] = aggs[-1]
    return aggs


def _params(measure: Measure) -> dict[str, Any]:
    field = {"field": measure.field} if measure.field else {}
    return {**field, "customLabel": measure.label}


def _agg(number: int, kind: str, schema: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(number), "enabled": True, "type": kind, "schema": schema, "params": params}


def _buckets(panel: Panel, measures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, outermost first. In a table the columns (`split`) come first: they make tables side by side."""
    groups: list[tuple[str, str, dict[str, Any]]] = []
    table = panel.kind == "table"
    if panel.split and table:
        groups.append(("terms", "split", _terms(panel.split, _SERIES, "_key", "asc")))
    for place, field in enumerate(panel.rows):
        schema = "bucket" if table else "segment"
        if field == TIME:
            groups.append(("date_histogram", schema, _time(panel)))
        elif place == 0 and panel.order != "name":
            order = "desc" if panel.order == "high" else "asc"
            # percentiles are several values under one id
            by = "_key" if measures[0]["type"] == "percentiles" else measures[0]["id"]
            groups.append(("terms", schema, _terms(field, panel.limit, by, order)))
        else:
            groups.append(("terms", schema, _terms(field, panel.limit if place == 0 else _SERIES, "_key", "asc")))
    if panel.filters:
        parts = [{"input": kql(part.query), "label": part.label} for part in panel.filters]
        groups.append(("filters", "bucket" if table else "group", {"filters": parts}))
    if panel.split and not table:
        groups.append(("terms", "group", _terms(panel.split, _SERIES, "_key", "asc")))
    return [_agg(len(measures) + 1 + i, *group) for i, group in enumerate(groups)]


def _terms(field: str, size: int, by: str, order: str) -> dict[str, Any]:
    return {
        "field": field,
        "size": size,
        "orderBy": by,
        "order": order,
        "otherBucket": False,
        "otherBucketLabel": "Other",
        "missingBucket": False,
        "missingBucketLabel": "Missing",
    }


def _time(panel: Panel) -> dict[str, Any]:
    # one of a unit is written without the number
    interval = panel.interval[1:] if len(panel.interval) == 2 and panel.interval[0] == "1" else panel.interval
    return {
        "field": TIME,
        "interval": interval,
        "useNormalizedEsInterval": True,
        "scaleMetricValues": False,
        "drop_partials": False,
        "min_doc_count": 1,
        "extended_bounds": {},
    }


# --- looks -----------------------------------------------------------------------------------------------------------


def _number() -> dict[str, Any]:
    style = {"bgColor": False, "bgFill": "#000", "fontSize": 40, "labelColor": False, "subText": ""}
    metric = {
        "colorSchema": "Green to Red",
        "colorsRange": [{"from": 0, "to": 10000}],
        "invertColors": False,
        "labels": {"show": True},
        "metricColorMode": "None",
        "percentageMode": False,
        "style": style,
        "useRanges": False,
    }
    return {"addLegend": False, "addTooltip": True, "metric": metric, "type": "metric"}


def _table(panel: Panel) -> dict[str, Any]:
    columns = {"row": False} if panel.split else {}
    return {
        "perPage": 20,
        "percentageCol": "",
        "showMetricsAtAllLevels": False,
        "showPartialRows": False,
        "showTotal": False,
        "sort": {"columnIndex": None, "direction": None},
        "totalFunc": "sum",
        **columns,
    }


def _chart(panel: Panel, kind: str, measures: list[dict[str, Any]]) -> dict[str, Any]:
    stacked = panel.stack != "none"
    labels = ", ".join(dict.fromkeys(m["params"].get("customLabel", "") for m in measures))
    # lines fit the data, whatever is normal for it; bars begin at zero
    fitted = {"defaultYExtents": True} if kind == "line" else {}
    scale = {"type": "linear", "mode": "percentage" if panel.stack == "percentage" else "normal", **fitted}
    series = [
        {
            "show": True,
            "type": kind,
            "mode": "stacked" if stacked else "normal",
            "data": {"id": measure["id"], "label": measure["params"].get("customLabel", "")},
            "valueAxis": "ValueAxis-1",
            "drawLinesBetweenPoints": True,
            "lineWidth": 2,
            "showCircles": True,
            "interpolate": "linear",
        }
        for measure in measures
    ]
    return {
        "type": kind,
        "grid": {"categoryLines": False},
        "categoryAxes": [
            {
                "id": "CategoryAxis-1",
                "type": "category",
                "position": "bottom",
                "show": True,
                "style": {},
                "scale": {"type": "linear"},
                "labels": {"show": True, "filter": True, "truncate": 100},
                "title": {},
            }
        ],
        "valueAxes": [
            {
                "id": "ValueAxis-1",
                "name": "LeftAxis-1",
                "type": "value",
                "position": "left",
                "show": True,
                "style": {},
                "scale": scale,
                "labels": {"show": True, "rotate": 0, "filter": False, "truncate": 100},
                "title": {"text": labels},
            }
        ],
        "seriesParams": series,
        "addTooltip": True,
        "addLegend": True,
        "legendPosition": "right",
        "times": [],
        "addTimeMarker": False,
        "labels": {},
        "thresholdLine": {"show": False, "value": 10, "width": 1, "style": "full", "color": "#E7664C"},
    }
