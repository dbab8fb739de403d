"""What is inside an object: queries, fields, names of references, panels of a dashboard."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from elkkit.kibana import checks_lens
from elkkit.kibana.decoded import Found
from elkkit.kibana.layout import COLUMNS, Box
from elkkit.kibana.places import places
from elkkit.kibana.problems import Problem
from elkkit.kibana.uses import Kind
from elkkit.kql import KqlError, Wildcard, field_names, parse
from elkkit.kql.ast import Name

_OURS = re.compile(
    r"(?:\d+:)?panel_[^:]+|control_\d+_index_pattern|controlGroup_[^:]+:\w+|search_0|kibanaSavedObjectMeta\..+"
)
"""Names of references that stand for something in the object; others (tags) may stand alone."""


def check(found: Found, fields: Collection[str] | None) -> Iterator[Problem]:
    """Everything inside one object."""
    used: set[str] = set()
    yield from _named(found, used)
    if found.type == "dashboard":
        yield from _dashboard(found, used)
    elif found.type == "lens":
        yield from checks_lens.check(found, used)
    elif found.type == "visualization":
        yield from _visualization(found)
    elif found.type == "index-pattern":
        yield from _data_view(found)
    for link in found.references:
        if link["name"] not in used and _OURS.fullmatch(link["name"]):
            yield Problem(found.name, "references", f"nothing in the object uses {link['name']!r}")
    yield from _fields(found, fields)


# --- references by name ----------------------------------------------------------------------------------------------


def _named(found: Found, used: set[str]) -> Iterator[Problem]:
    """Every `…RefName` must be the name of a reference; a dashboard's panels are looked at elsewhere."""
    names = {link["name"] for link in found.references}
    for path, key, value in _walk(found.attributes, "attributes"):
        if not re.search(r"[rR]efName$|_ref_name$", key) or key == "panelRefName":
            continue
        if not isinstance(value, str) or value not in names:
            yield Problem(found.name, path, f"there is no reference named {value!r}")
        else:
            used.add(value)
    source = found.at("kibanaSavedObjectMeta.searchSourceJSON")
    linked = isinstance(source, dict) and ("indexRefName" in source or "index" in source)
    if found.type == "search" and not linked:
        yield Problem(found.name, "attributes.kibanaSavedObjectMeta.searchSourceJSON", "it names no data view")


def _walk(value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Every key of every object below, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}", str(key), inner
            yield from _walk(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _walk(inner, f"{path}[{i}]")


# --- dashboards ------------------------------------------------------------------------------------------------------


def _dashboard(found: Found, used: set[str]) -> Iterator[Problem]:
    panels = found.attributes.get("panelsJSON")
    if panels is None:
        return
    links = {link["name"]: link for link in found.references}
    boxes: list[tuple[str, Box, object]] = []
    taken: set[str] = set()
    for i, panel in enumerate(panels):
        path = f"attributes.panelsJSON[{i}]"
        if not isinstance(panel, dict):
            yield Problem(found.name, path, "it is not an object")
            continue
        index = panel.get("panelIndex")
        if not isinstance(index, str) or index in taken:
            yield Problem(found.name, f"{path}.panelIndex", f"{index!r} is not a text of its own")
        taken.add(str(index))
        if "version" in panel and not re.fullmatch(r"\d+\.\d+\.\d+(?:-\w+)?", str(panel["version"])):
            yield Problem(found.name, f"{path}.version", f"{panel['version']!r} is not a version")
        grid = panel.get("gridData")
        box = _box(grid)
        if box is None or not isinstance(grid, dict):
            yield Problem(found.name, f"{path}.gridData", "x, y, w and h are needed, whole numbers inside the grid")
        else:
            section = grid.get("sectionId")  # a section has a grid of its own
            if grid.get("i") != index:
                yield Problem(found.name, f"{path}.gridData.i", f"it is not the panel's index {index!r}")
            for other, theirs, where in boxes:
                if where == section and box.overlaps(theirs):
                    yield Problem(found.name, f"{path}.gridData", f"it overlaps panel {other}")
            boxes.append((str(index), box, section))
        yield from _panel_link(found, path, panel, links, used)
    yield from _controls(found, links, used)


def _box(grid: object) -> Box | None:
    if not isinstance(grid, dict):
        return None
    x, y, w, h = (grid.get(key) for key in "xywh")
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (x, y, w, h)):
        return None
    inside = x >= 0 and y >= 0 and w >= 1 and h >= 1 and x + w <= COLUMNS  # type: ignore[operator]
    return Box(x, y, w, h) if inside else None  # type: ignore[arg-type]


def _panel_link(
    found: Found, path: str, panel: Mapping[str, Any], links: Mapping[str, Mapping[str, str]], used: set[str]
) -> Iterator[Problem]:
    """A panel stands for another object by a name, or holds everything itself."""
    wanted = panel.get("panelRefName")
    if wanted is None:
        if not panel.get("embeddableConfig") and "id" not in panel:
            yield Problem(found.name, path, "it names no object and holds nothing itself")
        return
    name = next((n for n in (f"{panel.get('panelIndex')}:{wanted}", wanted) if n in links), None)
    if name is None:
        yield Problem(found.name, f"{path}.panelRefName", f"there is no reference named {wanted!r}")
        return
    used.add(name)
    if panel.get("type") not in (None, links[name]["type"]):
        yield Problem(found.name, f"{path}.type", f"the reference is a {links[name]['type']}, not a {panel['type']}")


def _controls(found: Found, links: Mapping[str, Mapping[str, str]], used: set[str]) -> Iterator[Problem]:
    controls = found.at("controlGroupInput.panelsJSON")
    for own, control in (controls or {}).items():
        path = f"attributes.controlGroupInput.panelsJSON.{own}"
        if not isinstance(control, dict) or not isinstance(control.get("explicitInput"), dict):
            yield Problem(found.name, path, "it has no explicitInput")
            continue
        if control["explicitInput"].get("id") != own:
            yield Problem(found.name, f"{path}.explicitInput.id", f"it is not the control's own id {own!r}")
        names = [n for n in links if n.startswith(f"controlGroup_{own}:")]
        used.update(names)
        if not names and control.get("type") in ("optionsListControl", "rangeSliderControl"):
            yield Problem(found.name, path, "no reference names its data view")


# --- visualizations and data views -----------------------------------------------------------------------------------


def _visualization(found: Found) -> Iterator[Problem]:
    state = found.attributes.get("visState")
    if state is None:
        return
    if not isinstance(state.get("type"), str):
        yield Problem(found.name, "attributes.visState.type", "it is missing")
    aggs = state.get("aggs", [])
    ids = [agg.get("id") for agg in aggs]
    for i, agg in enumerate(aggs):
        path = f"attributes.visState.aggs[{i}]"
        if ids.count(agg.get("id")) > 1:
            yield Problem(found.name, f"{path}.id", f"{agg.get('id')!r} is there twice")
        by = agg.get("params", {}).get("orderBy")
        if by is not None and by not in ("_key", "custom") and str(by).split(".")[0] not in ids:
            yield Problem(found.name, f"{path}.params.orderBy", f"there is no aggregation {by!r}")
    for i, series in enumerate(state.get("params", {}).get("seriesParams") or []):
        if series.get("data", {}).get("id") not in ids:
            where = f"attributes.visState.params.seriesParams[{i}].data.id"
            yield Problem(found.name, where, f"there is no aggregation {series.get('data', {}).get('id')!r}")
    source = found.at("kibanaSavedObjectMeta.searchSourceJSON") or {}
    linked = "indexRefName" in source or "index" in source or "savedSearchRefName" in found.attributes
    if aggs and not linked:
        yield Problem(found.name, "attributes.kibanaSavedObjectMeta.searchSourceJSON", "it names no data view")


def _data_view(found: Found) -> Iterator[Problem]:
    if not found.attributes.get("title"):
        yield Problem(found.name, "attributes.title", "it is the index pattern, and it is missing")


# --- fields and queries ----------------------------------------------------------------------------------------------


def _fields(found: Found, fields: Collection[str] | None) -> Iterator[Problem]:
    """Every field must be there, and every KQL text must be KQL: a Kibana takes any, and fails in the browser."""
    for place in places(found):
        names: list[Name] = list(place.names)
        if place.kind is Kind.KQL:
            try:
                names = list(field_names(parse(place.value)))
            except KqlError as error:
                yield Problem(found.name, place.path, f"it is not KQL: {error}")
        for name in names:
            if fields is not None and not isinstance(name, Wildcard) and name not in fields:
                yield Problem(found.name, place.path, f"there is no field {name!r}")
