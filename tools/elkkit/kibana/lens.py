"""Dashboards of Lens panels with controls, in the shape of Kibana 8.3: read by 8.3 to 9.x."""

from __future__ import annotations

from typing import Any

from elkkit.contract import Contract
from elkkit.kibana import common
from elkkit.kibana.common import SavedObject, identity, kql, reference
from elkkit.kibana.spec import TIME, Dashboard, Measure, Panel
from elkkit.kibana.stamps import LENS

LAYER = "main"
DATASOURCE = "indexpattern"
"""What `formBased` was called before 8.6."""
RECORDS = "___records___"
"""The field of a count."""
_VERSION = "8.3.0"
_SERIES = 20
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
                "embeddableConfig": {"enhancements": {}},
                "panelRefName": name,
            }
        )
        links.append(reference(f"{index}:{name}", kind, target))
    attributes = common.dashboard_attributes(spec, panels)
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
            "width": "medium",
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
        columns["split"] = _terms(contract, panel.split, _SERIES)
    if panel.filters and chart:
        columns["filters"] = _filters(panel)
    columns |= rows
    if panel.filters and not chart:
        columns["filters"] = _filters(panel)
    if panel.split and not chart:
        columns["split"] = _terms(contract, panel.split, _SERIES)
    return columns | {f"measure-{i}": _measure(contract, m) for i, m in enumerate(panel.measures)}


def _group(contract: Contract, panel: Panel, place: int, field: str) -> dict[str, Any]:
    if field == TIME:
        return {
            "label": "time",
            "customLabel": True,
            "dataType": "date",
            "operationType": "date_histogram",
            "sourceField": TIME,
            "isBucketed": True,
            "scale": "interval",
            "params": {"interval": panel.interval},
        }
    if place == 0 and panel.order != "name":
        direction = "desc" if panel.order == "high" else "asc"
        return _terms(contract, field, panel.limit, {"type": "column", "columnId": "measure-0"}, direction)
    return _terms(contract, field, panel.limit if place == 0 else _SERIES)


def _terms(
    contract: Contract, field: str, size: int, by: dict[str, str] | None = None, direction: str = "asc"
) -> dict[str, Any]:
    return {
        "label": field,
        "customLabel": True,
        "dataType": _TYPES.get(contract.fields[field].bare_type, "string"),
        "operationType": "terms",
        "sourceField": field,
        "isBucketed": True,
        "scale": "ordinal",
        "params": {
            "size": size,
            "orderBy": by or {"type": "alphabetical"},
            "orderDirection": direction,
            "otherBucket": False,
            "missingBucket": False,
        },
    }


def _filters(panel: Panel) -> dict[str, Any]:
    return {
        "label": "which",
        "customLabel": True,
        "dataType": "string",
        "operationType": "filters",
        "isBucketed": True,
        "scale": "ordinal",
        "params": {"filters": [{"input": kql(part.query), "label": part.label} for part in panel.filters]},
    }


def _measure(contract: Contract, measure: Measure) -> dict[str, Any]:
    date = measure.field is not None and contract.fields[measure.field].bare_type == "date" and measure.op != "distinct"
    column: dict[str, Any] = {
        "label": measure.label,
        "customLabel": True,
        "dataType": "date" if date else "number",
        "operationType": _OPS.get(measure.op, measure.op),
        "sourceField": measure.field or RECORDS,
        "isBucketed": False,
        "scale": "ratio",
    }
    if measure.percent is not None:
        column["params"] = {"percentile": measure.percent}
    return column


# --- looks -----------------------------------------------------------------------------------------------------------


def _look(panel: Panel, columns: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    measures = [name for name in columns if name.startswith("measure-")]
    if panel.kind == "number":
        return "lnsMetric", {"layerId": LAYER, "layerType": "data", "accessor": measures[0]}
    if panel.kind == "table":
        shown = [{"columnId": c, **({"isTransposed": True} if c == "split" else {})} for c in columns]
        return "lnsDatatable", {"layerId": LAYER, "layerType": "data", "columns": shown}
    series = _SERIES_TYPES[panel.kind, panel.stack]
    layer: dict[str, Any] = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": series,
        "xAccessor": "row-0",
        "accessors": measures,
    }
    if split := next((c for c in ("split", "filters") if c in columns), None):
        layer["splitAccessor"] = split
    look: dict[str, Any] = {
        "layers": [layer],
        "legend": {"isVisible": True, "position": "right"},
        "preferredSeriesType": series,
        "valueLabels": "hide",
    }
    if series == "line":  # fits the data, whatever is normal for it; without a fitting, sparse data are loose dots
        look |= {"fittingFunction": "Linear", "yLeftExtent": {"mode": "dataBounds"}}
    return "lnsXY", look
