"""Dashboards of Lens panels with controls, in the shape of Kibana 8.3: read by 8.3 to 9.x."""

from __future__ import annotations

from typing import Any

from elkkit.contract import Contract
from elkkit.kibana import common
from elkkit.kibana.common import SavedObject, identity, kql, reference
from elkkit.kibana.spec import TIME, Dashboard, Filter, Measure, Panel
from elkkit.kibana.stamps import LENS

LAYER = "main"
DATASOURCE = "indexpattern"
"""What `formBased` was called before 8.6."""
RECORDS = "___records___"
"""The field of a count."""
MODEL = "model.name"
_VERSION = "8.3.0"
_SERIES = 20
_STEPS = 50
"""Into how many parts a whole number on the x axis is cut, about."""
_COLOURS = ("#6092c0", "#d36086", "#9170b8", "#54b399", "#d6bf57", "#b9a888", "#da8b45", "#aa6556")
"""Of series that are no models: models are coloured by Kibana, the same one alike in every panel."""
_WIDTHS = {"date": 190, "number": 80, "name": 135}
"""Of a column in a crowded table, in pixels; a name is that of the first one, and what is left is shared."""
_MEDIUM = 3
"""How many controls of medium width stand in one line."""
_CROWDED = 6
_ROOM = 24
_OPS = {"mean": "average", "distinct": "unique_count"}
_TYPES = {"double": "number", "long": "number", "date": "date", "boolean": "boolean"}
_SERIES_TYPES = {
    ("lines", "none"): "line",
    ("lines", "stacked"): "area_stacked",
    ("lines", "percentage"): "area_percentage_stacked",
    ("bars", "none"): "bar",
    ("bars", "stacked"): "bar_stacked",
    ("bars", "percentage"): "bar_percentage_stacked",
}


def dashboard(contract: Contract, spec: Dashboard) -> list[SavedObject]:
    """The dashboard and every panel of its own, the dashboard last."""
    made: list[SavedObject] = []
    panels, links = [], []
    for number, panel in enumerate(spec.panels, start=1):
        target = identity(contract, panel.search) if panel.search else identity(contract, spec.id, panel.id)
        kind = "search" if panel.search else "visualization" if panel.kind == "text" else "lens"
        if kind == "visualization":
            made.append(common.markdown(contract, target, panel))
        elif kind == "lens":
            made.append(_lens(contract, target, panel))
        box, index = panel.box, str(number)
        name = f"panel_{index}"
        panels.append(
            {
                "version": _VERSION,
                "type": kind,
                "gridData": {"x": box.x, "y": box.y, "w": box.w, "h": box.h, "i": index},
                "panelIndex": index,
                "title": panel.title,
                "embeddableConfig": {"enhancements": {}, "hidePanelTitles": panel.kind == "text"},
                "panelRefName": name,
            }
        )
        links.append(reference(f"{index}:{name}", kind, target))
    attributes = common.dashboard_attributes(spec, panels, syncColors=True)
    if spec.controls:
        attributes["controlGroupInput"] = _controls(spec)
        links += [
            reference(f"controlGroup_{_control_id(i)}:optionsListDataView", "index-pattern", identity(contract))
            for i in range(len(spec.controls))
        ]
    return [*made, common.saved("dashboard", identity(contract, spec.id), attributes, links, LENS)]


def _control_id(number: int) -> str:
    return f"control-{number + 1}"


def _controls(spec: Dashboard) -> dict[str, Any]:
    panels = {}
    for number, control in enumerate(spec.controls):
        own = _control_id(number)
        chosen = {
            "id": own,
            "fieldName": control.field,
            "title": control.label,
            "selectedOptions": [],
            "enhancements": {},
        }
        panels[own] = {
            "order": number,
            "width": "small" if len(spec.controls) > _MEDIUM else "medium",
            "grow": True,
            "type": "optionsListControl",
            "explicitInput": chosen,
        }
    ignored = {"ignoreFilters": False, "ignoreQuery": False, "ignoreTimerange": False, "ignoreValidations": False}
    return {
        "chainingSystem": "HIERARCHICAL",
        "controlStyle": "oneLine",
        "ignoreParentSettingsJSON": common.text(ignored),
        "panelsJSON": common.text(panels),
    }


def _lens(contract: Contract, target: str, panel: Panel) -> SavedObject:
    columns = _columns(contract, panel)
    layer = {"columnOrder": list(columns), "columns": columns, "incompleteColumns": {}}
    kind, look = _look(panel, columns)
    state = {
        "datasourceStates": {DATASOURCE: {"layers": {LAYER: layer}}},
        "filters": [],
        "query": kql(panel.query),
        "visualization": look,
    }
    attributes = {
        "title": f"elkkit: {panel.title}",
        "description": panel.description,
        "visualizationType": kind,
        "state": state,
    }
    links = [reference(f"indexpattern-datasource-layer-{LAYER}", "index-pattern", identity(contract))]
    return common.saved("lens", target, attributes, links, LENS)


# --- columns ---------------------------------------------------------------------------------------------------------


def _columns(contract: Contract, panel: Panel) -> dict[str, dict[str, Any]]:
    """Columns by id: groups outermost first, then measures. A chart's series come before its x axis."""
    columns: dict[str, dict[str, Any]] = {}
    chart = panel.kind in ("lines", "bars")
    rows = {f"row-{i}": _group(contract, panel, i, field) for i, field in enumerate(panel.rows)}
    if panel.split and chart:
        columns["split"] = _terms(contract, panel, panel.split, _SERIES)
    if panel.stack == "percentage":
        return rows | _share(panel.measures[0], panel.filters)
    if panel.filters and chart:
        columns["filters"] = _filters(panel)
    columns |= rows
    if panel.filters and not chart:
        columns["filters"] = _filters(panel)
    if panel.split and not chart:
        columns["split"] = _terms(contract, panel, panel.split, _SERIES)
    return columns | {f"measure-{i}": _measure(contract, m) for i, m in enumerate(panel.measures)}


def _group(contract: Contract, panel: Panel, place: int, field: str) -> dict[str, Any]:
    if field == TIME:
        return _column("time", "date", "date_histogram", TIME, "interval", {"interval": panel.interval})
    if panel.kind != "table" and contract.fields[field].bare_type == "long":
        steps = {"type": "histogram", "ranges": [{"from": 0, "to": 1000, "label": ""}], "maxBars": _STEPS}
        return _column(panel.label(field), "number", "range", field, "interval", steps)
    if place == 0 and panel.order != "name":
        direction = "desc" if panel.order == "high" else "asc"
        return _terms(contract, panel, field, panel.limit, {"type": "column", "columnId": "measure-0"}, direction)
    return _terms(contract, panel, field, panel.limit if place == 0 else _SERIES)


def _column(
    label: str, kind: str, operation: str, field: str | None, scale: str, params: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A column; one that groups has an `ordinal` or `interval` scale, a number a `ratio`."""
    column: dict[str, Any] = {
        "label": label,
        "customLabel": True,
        "dataType": kind,
        "operationType": operation,
        "isBucketed": scale != "ratio",
        "scale": scale,
    }
    if field is not None:
        column["sourceField"] = field
    if params:
        column["params"] = params
    return column


def _terms(
    contract: Contract,
    panel: Panel,
    field: str,
    size: int,
    by: dict[str, str] | None = None,
    direction: str = "asc",
) -> dict[str, Any]:
    params = {
        "size": size,
        "orderBy": by or {"type": "alphabetical"},
        "orderDirection": direction,
        "otherBucket": False,
        "missingBucket": False,
    }
    kind = _TYPES.get(contract.fields[field].bare_type, "string")
    return _column(panel.label(field), kind, "terms", field, "ordinal", params)


def _filters(panel: Panel) -> dict[str, Any]:
    parts = [{"input": kql(part.query), "label": part.label} for part in panel.filters]
    return _column(panel.group, "string", "filters", None, "ordinal", {"filters": parts})


def _measure(contract: Contract, measure: Measure) -> dict[str, Any]:
    date = measure.field is not None and contract.fields[measure.field].bare_type == "date" and measure.op != "distinct"
    params: dict[str, Any] = {}
    if measure.percent is not None:
        params["percentile"] = measure.percent
    if measure.decimals is not None:
        params["format"] = {"id": "number", "params": {"decimals": measure.decimals}}
    operation = _OPS.get(measure.op, measure.op)
    return _column(measure.label, "date" if date else "number", operation, measure.field or RECORDS, "ratio", params)


def _share(measure: Measure, filters: tuple[Filter, ...]) -> dict[str, dict[str, Any]]:
    """How much of all that the filters hold the first one holds: a formula, and the steps that Kibana makes of it."""
    part, whole = filters[0].query, " or ".join(f"({each.query})" for each in filters)
    quoted = [text.replace("\\", "\\\\").replace("'", "\\'") for text in (part, whole)]
    formula = f"count(kql='{quoted[0]}') / count(kql='{quoted[1]}')"
    steps = ["measure-0X0", "measure-0X1"]
    tree = {
        "type": "function",
        "name": "divide",
        "args": steps,
        "location": {"min": 0, "max": len(formula)},
        "text": formula,
    }
    params = {
        "formula": formula,
        "isFormulaBroken": False,
        "format": {"id": "percent", "params": {"decimals": 1}},
    }
    made = {
        name: _column(measure.label, "number", "count", RECORDS, "ratio") | {"filter": kql(query)}
        for name, query in zip(steps, (part, whole), strict=True)
    }
    last = "measure-0X2"
    made[last] = _column(measure.label, "number", "math", None, "ratio", {"tinymathAst": tree}) | {"references": steps}
    made["measure-0"] = _column(measure.label, "number", "formula", None, "ratio", params) | {"references": [last]}
    return made


# --- looks -----------------------------------------------------------------------------------------------------------


def _look(panel: Panel, columns: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    measures = [f"measure-{i}" for i in range(len(panel.measures))]
    if panel.kind == "number":
        shown = {"titlePosition": "bottom", "textAlign": "center", "size": "xl"}
        return "lnsMetric", {"layerId": LAYER, "layerType": "data", "accessor": measures[0], **shown}
    if panel.kind == "table":
        return "lnsDatatable", {"layerId": LAYER, "layerType": "data", "columns": _table(panel, columns)}
    share = panel.stack == "percentage"
    series = "bar" if share else _SERIES_TYPES[panel.kind, panel.stack]
    layer: dict[str, Any] = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": series,
        "xAccessor": "row-0",
        "accessors": measures,
    }
    if split := next((c for c in ("split", "filters") if c in columns), None):
        layer["splitAccessor"] = split
    colours = [part.colour for part in panel.filters] if panel.filters else [m.colour for m in panel.measures]
    if split and panel.split != MODEL:
        own = [colour or _COLOURS[i % len(_COLOURS)] for i, colour in enumerate(colours)] if panel.filters else _COLOURS
        layer["palette"] = {"type": "palette", "name": "custom", "params": {"colors": list(own), "gradient": False}}
    elif not split:
        pairs = zip(measures, colours, strict=False)
        layer["yConfig"] = [{"forAccessor": name, "color": colour} for name, colour in pairs if colour]
    look: dict[str, Any] = {
        "layers": [layer],
        "legend": {"isVisible": True, "position": "top"},
        "preferredSeriesType": series,
        "valueLabels": "show" if panel.kind == "bars" and panel.rows[0] != TIME and not share else "hide",
        "yTitle": panel.axis,
        "axisTitlesVisibilitySettings": {
            "x": columns["row-0"]["operationType"] == "range",
            "yLeft": bool(panel.axis),
            "yRight": False,
        },
        "gridlinesVisibilitySettings": {"x": False, "yLeft": True, "yRight": False},
    }
    if series == "line":  # fits the data, whatever is normal for it; without a fitting, sparse data are loose dots
        look |= {"fittingFunction": "Linear", "yLeftExtent": {"mode": "dataBounds"}}
    return "lnsXY", look


def _table(panel: Panel, columns: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns of a table: dates as wide as they need, numbers narrow where there are many."""
    crowded = len(columns) >= _CROWDED and panel.box.w <= _ROOM
    shown: list[dict[str, Any]] = []
    for name, column in columns.items():
        own: dict[str, Any] = {"columnId": name}
        if name == "split":
            own["isTransposed"] = True
        elif not column["isBucketed"] and (crowded or column["dataType"] == "date"):
            own["width"] = _WIDTHS[column["dataType"]]
        elif crowded and not shown:
            own["width"] = _WIDTHS["name"]
        shown.append(own)
    return shown
