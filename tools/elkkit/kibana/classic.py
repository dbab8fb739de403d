"""Dashboards of aggregation-based visualizations: Kibana 7.10 without extras to 9.x, and OpenSearch Dashboards."""

from __future__ import annotations

from typing import Any

from elkkit.contract import Contract
from elkkit.kibana import common
from elkkit.kibana.common import SavedObject, identity, kql, reference
from elkkit.kibana.layout import COLUMNS, Box
from elkkit.kibana.spec import TIME, Control, Dashboard, Measure, Panel

_CONTROLS = "controls"
_CONTROLS_HEIGHT = 4
_OPS = {"mean": "avg", "median": "median", "min": "min", "max": "max", "count": "count", "distinct": "cardinality"}
_VERSION = "7.10.0"
_SERIES = 20
"""How many models, or whatever a chart is split by, are drawn."""
_STEPS = 50
"""Into how many parts a whole number on the x axis is cut, about."""
_SCORE = "score"
_CROWDED, _HALF, _NAME, _DATE = 5, 660, 150, 210
"""From how many columns on a table of half a dashboard needs widths; those of it, of a name, of a moment, in pixels."""
_SHORT, _LONG = 40, 18
"""Sizes of a number and of a moment, in points: that one is as wide as its panel."""


def dashboard(contract: Contract, spec: Dashboard) -> list[SavedObject]:
    """The dashboard and every visualization of its own, the dashboard last."""
    made: list[SavedObject] = []
    boxes: list[tuple[Box, str, str, str | None]] = []
    down = 0
    if spec.controls:
        target = identity(contract, spec.id, _CONTROLS)
        made.append(_controls(contract, target, spec))
        boxes.append((Box(0, 0, COLUMNS, _CONTROLS_HEIGHT), "visualization", target, None))
        down = _CONTROLS_HEIGHT
    for panel in spec.panels:
        if panel.search:
            boxes.append((panel.box.down(down), "search", identity(contract, panel.search), panel.title))
            continue
        target = identity(contract, spec.id, panel.id)
        make = common.markdown if panel.kind == "text" else _visualization
        made.append(make(contract, target, panel))
        boxes.append((panel.box.down(down), "visualization", target, None if panel.kind == "text" else panel.title))
    panels, links = [], []
    for number, (box, kind, target, title) in enumerate(boxes):
        name, index = f"panel_{number}", str(number + 1)
        grid = {"x": box.x, "y": box.y, "w": box.w, "h": box.h, "i": index}
        shown: dict[str, Any] = {"hidePanelTitles": True} if title is None else {}
        place = {"version": _VERSION, "gridData": grid, "panelIndex": index, "panelRefName": name}
        panels.append(place | {"embeddableConfig": shown} | ({} if title is None else {"title": title}))
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
    aggs = [*measures, *_buckets(contract, panel, measures)]
    if panel.kind == "number":
        kind, params = "metric", _number(_LONG if panel.measures[0].field == TIME else _SHORT)
    elif panel.kind == "table":
        kind, params = "table", _table(panel)
    else:
        kind = "line" if panel.kind == "lines" else "histogram"
        params = _chart(panel, kind, measures)
    state = {"aggs": aggs, "params": params, "type": kind}
    return common.visualization(
        contract, target, panel.title, panel.description, state, query=panel.query, ui=_ui(panel)
    )


def _ui(panel: Panel) -> dict[str, Any]:
    """What Kibana keeps beside a visualization: colours of a chart's series, widths of a table's columns (8.x)."""
    if panel.kind != "table":
        colours = _colours(panel)
        return {"vis": {"colors": colours}} if colours else {}
    groups = len(panel.rows) + bool(panel.filters)
    columns: list[int | None] = [None] * groups
    for measure in panel.measures:
        columns.append(_DATE if measure.field == TIME else None)
        columns += [None] * (measure.label == _percentage(panel))
    if len(columns) >= _CROWDED and panel.box.w <= COLUMNS // 2 and not panel.split:
        columns = [_NAME, *[width or (_HALF - _NAME) // (len(columns) - 1) for width in columns[1:]]]
    widths = [{"colIndex": i, "width": width} for i, width in enumerate(columns) if width]
    return {"vis": {"params": {"colWidth": widths}}} if widths else {}


def _colours(panel: Panel) -> dict[str, str]:
    """Colours by a series' name, which for a percentile is Kibana's own."""
    named = [(part.label, part.colour) for part in panel.filters]
    if not named:
        for measure in panel.measures:
            percent = measure.percent
            own = measure.label if percent is None else f"{_ordinal(percent)} percentile of {panel.axis or _SCORE}"
            named.append((own, measure.colour))
    return {label: colour for label, colour in named if colour}


def _ordinal(number: float) -> str:
    """As in `95th`."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(int(number) % 10, "th") if int(number) not in (11, 12, 13) else "th"
    return f"{number:g}{ending}"


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
            params = {"field": measure.field, "percents": [measure.percent], "customLabel": panel.axis or _SCORE}
            aggs.append(_agg(len(aggs) + 1, "percentiles", "metric", params))
            percentiles[measure.field] = aggs[-1]
    return aggs


def _params(measure: Measure) -> dict[str, Any]:
    field = {"field": measure.field} if measure.field else {}
    return {**field, "customLabel": measure.label}


def _agg(number: int, kind: str, schema: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(number), "enabled": True, "type": kind, "schema": schema, "params": params}


def _buckets(contract: Contract, panel: Panel, measures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, outermost first. In a table the columns (`split`) come first: they make tables side by side."""
    groups: list[tuple[str, str, dict[str, Any]]] = []
    table = panel.kind == "table"
    if panel.split and table:
        groups.append(("terms", "split", _terms(panel, panel.split, _SERIES, "_key", "asc")))
    for place, field in enumerate(panel.rows):
        schema = "bucket" if table else "segment"
        if field == TIME:
            groups.append(("date_histogram", schema, _time(panel)))
        elif not table and contract.fields[field].bare_type == "long":
            groups.append(("histogram", schema, _steps(panel, field)))
        elif place == 0 and panel.order != "name":
            order = "desc" if panel.order == "high" else "asc"
            # percentiles are several values under one id
            by = "_key" if measures[0]["type"] == "percentiles" else measures[0]["id"]
            groups.append(("terms", schema, _terms(panel, field, panel.limit, by, order)))
        else:
            size = panel.limit if place == 0 else _SERIES
            groups.append(("terms", schema, _terms(panel, field, size, "_key", "asc")))
    if panel.filters:
        parts = [{"input": kql(part.query), "label": part.label} for part in panel.filters]
        groups.append(("filters", "bucket" if table else "group", {"filters": parts}))
    if panel.split and not table:
        groups.append(("terms", "group", _terms(panel, panel.split, _SERIES, "_key", "asc")))
    return [_agg(len(measures) + 1 + i, *group) for i, group in enumerate(groups)]


def _terms(panel: Panel, field: str, size: int, by: str, order: str) -> dict[str, Any]:
    return {
        "field": field,
        "customLabel": panel.label(field),
        "size": size,
        "orderBy": by,
        "order": order,
        "otherBucket": False,
        "otherBucketLabel": "Other",
        "missingBucket": False,
        "missingBucketLabel": "Missing",
    }


def _steps(panel: Panel, field: str) -> dict[str, Any]:
    return {
        "field": field,
        "customLabel": panel.label(field),
        "interval": "auto",
        "maxBars": _STEPS,
        "min_doc_count": False,
        "has_extended_bounds": False,
        "extended_bounds": {"min": "", "max": ""},
    }


def _time(panel: Panel) -> dict[str, Any]:
    # one of a unit is written without the number
    interval = panel.interval[1:] if len(panel.interval) == 2 and panel.interval[0] == "1" else panel.interval
    return {
        "field": TIME,
        "customLabel": "time",
        "interval": interval,
        "useNormalizedEsInterval": True,
        "scaleMetricValues": False,
        "drop_partials": False,
        "min_doc_count": 1,
        "extended_bounds": {},
    }


# --- looks -----------------------------------------------------------------------------------------------------------


def _number(size: int) -> dict[str, Any]:
    style = {"bgColor": False, "bgFill": "#000", "fontSize": size, "labelColor": False, "subText": ""}
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


def _percentage(panel: Panel) -> str:
    """The count whose share of all is shown beside it, where rows are parts of a whole."""
    return next((m.label for m in panel.measures if m.op == "count"), "") if panel.filters else ""


def _table(panel: Panel) -> dict[str, Any]:
    columns = {"row": False} if panel.split else {}
    return {
        "perPage": 20,
        "percentageCol": _percentage(panel),
        "showMetricsAtAllLevels": False,
        "showPartialRows": False,
        "showTotal": False,
        "sort": {"columnIndex": None, "direction": None},
        "totalFunc": "sum",
        **columns,
    }


def _chart(panel: Panel, kind: str, measures: list[dict[str, Any]]) -> dict[str, Any]:
    stacked = panel.stack != "none"
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
            "circlesRadius": 3,  # of 8.x, which otherwise draws a lone one too small to see
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
                "labels": {"show": True, "filter": True, "rotate": 0, "truncate": 100},
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
                "title": {"text": panel.axis},
            }
        ],
        "seriesParams": series,
        "addTooltip": True,
        "addLegend": True,
        "legendPosition": "top",
        "times": [],
        "addTimeMarker": False,
        "labels": {},
        "thresholdLine": {"show": False, "value": 10, "width": 1, "style": "full", "color": "#E7664C"},
    }
