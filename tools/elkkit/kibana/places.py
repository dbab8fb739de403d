"""Every place of an object where a field is named: one walk for the check, the renaming, and the question what fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from elkkit.kibana.decoded import Found
from elkkit.kibana.places_panels import use_of, visualization
from elkkit.kibana.places_queries import queries
from elkkit.kibana.uses import Kind, Place, Places, Use, dicts, entries, name_at

_LAYER_REF = "indexpattern-datasource-layer-"
_NO_FIELD = frozenset({"___records___", "Records"})
_RANGE = "rangeSliderControl"


def places(found: Found) -> Places:
    """Where an object of a known type names fields, index patterns and queries; nothing for other types."""
    attributes: Any = found.attributes
    path = "attributes"
    if found.type == "search":
        yield from _search(attributes, path)
    elif found.type == "visualization":
        if isinstance(state := attributes.get("visState"), dict):
            yield from visualization(state, f"{path}.visState")
    elif found.type == "lens":
        yield from lens(attributes, path)
    elif found.type == "index-pattern":
        yield from data_view(attributes, path)
    elif found.type == "dashboard":
        yield from _dashboard(attributes, path)
        return
    elif found.type != "query":
        return
    yield from queries(attributes, path)


KNOWN_TYPES = frozenset({"search", "visualization", "lens", "index-pattern", "dashboard", "query", "tag"})
"""Types whose fields are found; a tag has none."""


def _search(attributes: dict[str, Any], path: str) -> Places:
    """Columns and order, also of a dashboard's panel that has its own."""
    yield from name_at(path, Use.SHOWN, attributes, "columns")
    grid = attributes.get("grid")
    widths = grid.get("columns") if isinstance(grid, dict) else None
    for name, _ in entries(widths):
        yield Place(f"{path}.grid.columns", Kind.KEY, Use.SHOWN, widths, name)
    sort = attributes.get("sort")
    if not isinstance(sort, list) or not sort:
        return
    if isinstance(sort[0], str):  # one pair, as it was before 7.4
        yield Place(f"{path}.sort[0]", Kind.NAME, Use.SORTED, sort, 0)
        return
    for i, pair in enumerate(sort):
        if isinstance(pair, list) and pair and isinstance(pair[0], str):
            yield Place(f"{path}.sort[{i}]", Kind.NAME, Use.SORTED, pair, 0)


def data_view(attributes: dict[str, Any], path: str) -> Places:
    """A data view, or one that a Lens panel brings along; what it defines itself is no field of an index."""
    runtime, time = attributes.get("runtimeFieldMap"), attributes.get("timeFieldName")
    own = set(runtime) if isinstance(runtime, dict) else set[str]()
    if not (isinstance(time, str) and time in own):
        yield from name_at(path, Use.TIMED, attributes, "timeFieldName")
    for key in ("fieldFormatMap", "fieldFormats", "fieldAttrs"):
        held = attributes.get(key)
        for name in list(held) if isinstance(held, dict) else ():
            if name not in own:
                yield Place(f"{path}.{key}", Kind.KEY, Use.DESCRIBED, held, name)
    for i, each in dicts(attributes.get("sourceFilters")):
        if "*" not in str(each.get("value", "*")):
            yield from name_at(f"{path}.sourceFilters[{i}]", Use.DESCRIBED, each, "value")
    for name, field in entries(attributes.get("runtimeFieldMap")):
        if "script" in field:
            yield Place(f"{path}.runtimeFieldMap.{name}.script", Kind.OPAQUE, Use.SHOWN, field, "script")


# --- Lens ------------------------------------------------------------------------------------------------------------


def layers(attributes: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, path from the attributes, and layer."""
    state = attributes.get("state")
    sources = state.get("datasourceStates") if isinstance(state, dict) else None
    for name in ("formBased", "indexpattern"):
        held = sources.get(name) if isinstance(sources, dict) else None
        for own, layer in entries(held.get("layers") if isinstance(held, dict) else None):
            yield own, f"state.datasourceStates.{name}.layers.{own}", layer


def lens(attributes: dict[str, Any], path: str) -> Places:
    """Columns of a Lens panel, its annotations, and data views that it brings along."""
    for own, where, layer in layers(attributes):
        for name, column in entries(layer.get("columns")):
            yield from _column(column, f"{path}.{where}.columns.{name}", f"{_LAYER_REF}{own}")
    state = attributes.get("state")
    if not isinstance(state, dict):
        return
    for own, view in entries(state.get("adHocDataViews")):
        where = f"{path}.state.adHocDataViews.{own}"
        for place in data_view(view, where):
            yield replace(place, source=view.get("title"))
        if isinstance(view.get("title"), str):
            yield Place(f"{where}.title", Kind.INDEX, Use.FILTERED, view, "title", view["title"])
    texts = (state.get("datasourceStates") or {}).get("textBased")
    for own, layer in entries(texts.get("layers") if isinstance(texts, dict) else None):
        yield Place(f"{path}.state.datasourceStates.textBased.layers.{own}.query", Kind.OPAQUE, Use.SHOWN, layer,
                    "query")  # fmt: skip
    look = state.get("visualization")
    for i, layer in dicts(look.get("layers") if isinstance(look, dict) else None):
        for j, note in dicts(layer.get("annotations")):
            where = f"{path}.state.visualization.layers[{i}].annotations[{j}]"
            yield from name_at(where, Use.TIMED, note, "timeField")
            yield from name_at(where, Use.SHOWN, note, "textField")
            yield from name_at(where, Use.SHOWN, note, "extraFields")


def _column(column: dict[str, Any], path: str, source: str) -> Places:
    if column.get("sourceField") not in _NO_FIELD:
        yield from name_at(path, use_of(column.get("operationType")), column, "sourceField", source)
    params = column.get("params")
    if not isinstance(params, dict):
        return
    path = f"{path}.params"
    yield from name_at(path, Use.GROUPED, params, "secondaryFields", source)
    yield from name_at(path, Use.SORTED, params, "sortField", source)
    if isinstance(params.get("orderAgg"), dict):
        yield from _column(params["orderAgg"], f"{path}.orderAgg", source)
    if isinstance(params.get("formula"), str):
        yield Place(f"{path}.formula", Kind.FORMULA, Use.MEASURED, params, "formula", source)
    yield from _terms(params.get("tinymathAst"), f"{path}.tinymathAst", source)


def _terms(term: object, path: str, source: str) -> Places:
    """The texts that a formula was read from, kept beside what was read."""
    if not isinstance(term, dict):
        return
    if isinstance(term.get("text"), str):
        yield Place(f"{path}.text", Kind.FORMULA, Use.MEASURED, term, "text", source)
    for i, each in dicts(term.get("args")):
        yield from _terms(each, f"{path}.args[{i}]", source)


# --- dashboards ------------------------------------------------------------------------------------------------------


def _dashboard(attributes: dict[str, Any], path: str) -> Places:
    group = attributes.get("controlGroupInput")
    for own, control in entries(group.get("panelsJSON") if isinstance(group, dict) else None):
        where, asked = f"{path}.controlGroupInput.panelsJSON.{own}.explicitInput", control.get("explicitInput")
        if not isinstance(asked, dict):
            continue
        kind = str(control.get("type"))
        view = "rangeSliderDataView" if kind == _RANGE else kind.replace("Control", "DataView")
        use = Use.MEASURED if kind == _RANGE else Use.GROUPED
        for place in name_at(where, use, asked, "fieldName", f"controlGroup_{own}:{view}"):
            yield replace(place, part=str(asked.get("title") or asked.get("fieldName")))
    for where, index, part, held in own_panels(attributes):
        for place in _own_panel(held, f"{path}.{where}", index):
            yield replace(place, part=part)
    rest = {k: v for k, v in attributes.items() if k != "panelsJSON"}
    yield from queries(rest, path)


def own_panels(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Path from the attributes, index, title, and what a dashboard holds itself, of each panel that has any of it."""
    for i, panel in dicts(attributes.get("panelsJSON")):
        held, index = panel.get("embeddableConfig"), str(panel.get("panelIndex", i + 1))
        if isinstance(held, dict) and held:
            title = str(held.get("title") or panel.get("title") or f"panel {index}")
            yield f"panelsJSON[{i}].embeddableConfig", index, title, held


def _own_panel(held: dict[str, Any], path: str, index: str) -> Places:
    """A panel that the dashboard holds itself, or what it changes of another object."""
    yield from _search(held, path)
    if isinstance(state := held.get("savedVis"), dict):
        yield from visualization(state, f"{path}.savedVis")
    inner = held.get("attributes")
    if isinstance(inner, dict):
        if "visualizationType" in inner:
            for place in lens(inner, f"{path}.attributes"):
                layer = place.source and place.source.startswith(_LAYER_REF)
                yield replace(place, source=f"{index}:{place.source}") if layer else place
        else:
            yield from _search(inner, f"{path}.attributes")
            source = inner.get("kibanaSavedObjectMeta")
            if isinstance(source, dict) and isinstance(source.get("searchSourceJSON"), str):
                yield Place(f"{path}.attributes.kibanaSavedObjectMeta.searchSourceJSON", Kind.OPAQUE, Use.FILTERED,
                            source, "searchSourceJSON")  # fmt: skip
    yield from queries(held, path)
