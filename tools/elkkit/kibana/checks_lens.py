"""Is a Lens panel closed: every column in the order, every accessor a column, every layer with its data view?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elkkit.kibana.decoded import Found
from elkkit.kibana.places import layers
from elkkit.kibana.problems import Problem

_LAYER_REF = "indexpattern-datasource-layer-"
_ACCESSORS = frozenset(
    {
        "accessor",
        "breakdownByAccessor",
        "collapseByAccessor",
        "columnId",
        "goalAccessor",
        "maxAccessor",
        "metric",
        "metricAccessor",
        "minAccessor",
        "secondaryMetricAccessor",
        "splitAccessor",
        "tagAccessor",
        "trendlineMetricAccessor",
        "valueAccessor",
        "xAccessor",
        "yAccessor",
    }
)
_LISTS = frozenset({"accessors", "groups", "primaryGroups", "secondaryGroups", "metrics"})


def _layers(found: Found) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Layer id, path, layer."""
    return ((own, f"attributes.{path}", layer) for own, path, layer in layers(dict(found.attributes)))


def check(found: Found, used: set[str]) -> Iterator[Problem]:
    """Columns, accessors and layers of one panel; names of references that it needs are added to `used`."""
    names = {link["name"] for link in found.references}
    state = found.attributes.get("state")
    if not isinstance(state, dict) or not isinstance(found.attributes.get("visualizationType"), str):
        yield Problem(found.name, "attributes", "state and visualizationType are needed")
        return
    if found.attributes.get("description", "") is None:
        yield Problem(found.name, "attributes.description", "null is refused from 9.x on: leave it out")
    other = set((state.get("datasourceStates") or {}).get("textBased", {}).get("layers") or {})
    columns: dict[str, set[str]] = {}
    for own, path, layer in _layers(found):
        columns[own] = set(layer.get("columns", {}))
        yield from _layer(found, path, layer)
        used.add(f"{_LAYER_REF}{own}")
        if f"{_LAYER_REF}{own}" not in names and not state.get("adHocDataViews"):
            yield Problem(found.name, path, f"there is no reference named {_LAYER_REF + own!r}")
    for name in names:
        if name.startswith(_LAYER_REF) and name.removeprefix(_LAYER_REF) not in columns:
            yield Problem(found.name, "references", f"{name!r} stands for no layer")
    if not columns and not other:
        yield Problem(found.name, "attributes.state.datasourceStates", "it has no layer")
    yield from _visualization(found, state.get("visualization"), columns, other)


def _layer(found: Found, path: str, layer: dict[str, Any]) -> Iterator[Problem]:
    columns, order = layer.get("columns", {}), layer.get("columnOrder", [])
    if sorted(columns) != sorted(order):
        odd = ", ".join(sorted(set(columns) ^ set(order))) or "one is there twice"
        yield Problem(found.name, f"{path}.columnOrder", f"it is not the list of the columns: {odd}")
    for name, column in columns.items():
        where = f"{path}.columns.{name}"
        if not isinstance(column.get("operationType"), str):
            yield Problem(found.name, f"{where}.operationType", "it is missing")
        by = (column.get("params") or {}).get("orderBy") or {}
        wanted = [*column.get("references", []), *([by.get("columnId")] if by.get("type") == "column" else [])]
        for reference in wanted:
            if reference not in columns:
                yield Problem(found.name, where, f"there is no column {reference!r}")


def _visualization(found: Found, look: object, columns: dict[str, set[str]], other: set[str]) -> Iterator[Problem]:
    """What is drawn must be there, and what is there should be drawn."""
    path = "attributes.state.visualization"
    if not isinstance(look, dict):
        yield Problem(found.name, path, "it is missing")
        return
    if other:  # ES|QL: its columns are not listed as ours
        return
    parts = look.get("layers") if isinstance(look.get("layers"), list) else [look]
    seen: dict[str, set[str]] = {}
    for i, part in enumerate(parts or []):
        where = f"{path}.layers[{i}]" if part is not look else path
        if part.get("layerType") == "annotations":
            continue
        layer = part.get("layerId")
        if layer not in columns:
            yield Problem(found.name, f"{where}.layerId", f"there is no layer {layer!r}")
            continue
        drawn = list(_drawn(part, where))
        seen.setdefault(layer, set()).update(str(name) for _, name in drawn)
        for spot, name in drawn:
            if name not in columns[layer]:
                yield Problem(found.name, spot, f"there is no column {name!r}")
        if part.get("seriesType") and not part.get("accessors"):
            yield Problem(found.name, f"{where}.accessors", "the layer draws nothing")
    for layer, names in columns.items():
        missing = sorted(n for n in names - seen.get(layer, set()) if not _inner(found, layer, n))
        if missing:
            yield Problem(found.name, path, f"layer {layer} draws nothing of {', '.join(missing)}")


def _inner(found: Found, layer: str, name: str) -> bool:
    """The column is a step of another one's formula."""
    for own, _, table in _layers(found):
        if own == layer:
            return any(name in c.get("references", []) for c in table.get("columns", {}).values())
    return False


def _drawn(part: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in part.items():
        if key in _ACCESSORS and isinstance(value, str):
            yield f"{path}.{key}", value
        elif key in _LISTS and isinstance(value, list):
            yield from ((f"{path}.{key}[{i}]", name) for i, name in enumerate(value) if isinstance(name, str))
        elif key == "columns" and isinstance(value, list):
            for i, column in enumerate(value):
                name = column.get("columnId") if isinstance(column, dict) else column
                yield f"{path}.columns[{i}]", name
