"""A dashboard's spec: a small TOML file that names fields and metrics of the contract and nothing of Kibana's."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from elkkit.contract import Contract
from elkkit.kibana.layout import COLUMNS, Box, flow
from elkkit.kibana.tables import META, Table, read_toml

__all__ = ["META", "Dashboard", "Panel", "Query", "Search", "Shared", "read_dashboard", "read_shared"]

Kind: TypeAlias = Literal["lines", "bars", "table", "number", "search", "text"]
Op: TypeAlias = Literal["mean", "median", "min", "max", "count", "distinct", "percentile"]
Stack: TypeAlias = Literal["none", "stacked", "percentage"]

TIME = "@timestamp"
_HEIGHTS = {"lines": 14, "bars": 14, "table": 14, "number": 7, "search": 16, "text": 6}


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a panel."""

    op: Op
    field: str | None
    """None for a count of documents."""
    label: str
    percent: float | None = None
    """Of a percentile, above 0 and below 100."""
    decimals: int | None = None
    """Where Kibana can format one panel; None, the better one for axes, for as many as the data view's format shows."""
    colour: str | None = None
    """Of a chart's series, `#rrggbb`; None where Kibana chooses."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A named KQL filter, as one part of a split."""

    label: str
    query: str
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One box of a dashboard."""

    id: str
    kind: Kind
    title: str
    description: str
    query: str
    """KQL, with the metrics of the panel."""
    box: Box
    measures: tuple[Measure, ...]
    rows: tuple[str, ...]
    """Fields of a table's rows, or the x axis of a chart: `@timestamp` is time, a whole number is cut into steps."""
    split: str | None
    """Field of a chart's series, or of a table's columns."""
    filters: tuple[Filter, ...]
    """Series of a chart, or rows of a table, by KQL. With `percentage`, the first one's share is what matters."""
    group: str
    """What the filters are parts of, for people."""
    axis: str
    """Title of a chart's value axis."""
    stack: Stack
    interval: str
    """Of time: `auto`, or Elasticsearch's `1m`, `1h` and so on."""
    limit: int
    """How many terms of the first row."""
    order: Literal["name", "high", "low"]
    """Of the first row's terms: by name, or by the first measure."""
    search: str | None
    text: str
    labels: Mapping[str, str]
    """What people call a field."""

    def label(self, field: str) -> str:
        """What people call the field, or its name."""
        return self.labels.get(field, field)


@dataclass(frozen=True, slots=True)
class Control:
    """A list of values to choose from above the panels."""

    field: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard: panels in order, controls, time."""

    id: str
    title: str
    description: str
    query: str
    time_from: str
    time_to: str
    refresh_s: int
    """Seconds between refreshes; 0 for none."""
    controls: tuple[Control, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """A saved search of Discover."""

    id: str
    title: str
    description: str
    query: str
    columns: tuple[str, ...]
    sort: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A saved KQL query."""

    id: str
    title: str
    description: str
    query: str


@dataclass(frozen=True, slots=True)
class Shared:
    """What all dashboards share."""

    labels: Mapping[str, str]
    """What people call a field."""
    searches: tuple[Search, ...]
    queries: tuple[Query, ...]


def read_dashboard(text: str, contract: Contract, shared: Shared, origin: str = "spec") -> Dashboard:
    """A dashboard from its TOML. Raises `ConfigError` that names the key that is wrong."""
    table = Table(origin, "", read_toml(text, origin), contract)
    title, description, query = table.text("title"), table.text("description", ""), table.query()
    identity = table.id()
    refresh = table.number("refresh_s", 0, 0, 86_400)
    time_from, time_to = table.text("from", "now-7d"), table.text("to", "now")
    controls = []
    for control in table.tables("controls"):
        controls.append(Control(control.grouped("field", control.left.pop("field", None)), control.text("label")))
        control.done()
    panels: list[Panel] = []
    entries = table.tables("panels")
    if not entries:
        raise table.wrong("panels", "a dashboard needs one at least")
    sizes = [_size(entry) for entry in entries]
    for entry, box in zip(entries, flow(sizes), strict=True):
        panels.append(_panel(entry, box, {p.id for p in panels}, shared))
        entry.done()
    table.done()
    return Dashboard(identity, title, description, query, time_from, time_to, refresh, tuple(controls), tuple(panels))


def read_shared(text: str, contract: Contract, origin: str = "shared") -> Shared:
    """What all dashboards share, from its TOML. Raises `ConfigError` that names the key that is wrong."""
    table = Table(origin, "", read_toml(text, origin), contract)
    labels = Table(origin, "labels", table.left.pop("labels", {}), contract)
    named = {labels.known(name, name): labels.text(name) for name in tuple(labels.left)}
    searches: list[Search] = []
    for entry in table.tables("searches"):
        identity = entry.id({s.id for s in searches})
        columns = tuple(entry.known("columns", name) for name in entry.items("columns"))
        sort = []
        for pair in entry.items("sort"):
            if not isinstance(pair, list) or len(pair) != 2 or pair[1] not in ("asc", "desc"):
                raise entry.wrong("sort", f"{pair!r} is not a field and asc or desc")
            sort.append((entry.grouped("sort", pair[0]), pair[1]))
        title, description = entry.text("title"), entry.text("description", "")
        query = without_canaries(contract, entry.query())
        searches.append(Search(identity, title, description, query, columns, tuple(sort)))
        entry.done()
    queries: list[Query] = []
    for entry in table.tables("queries"):
        identity = entry.id({q.id for q in queries})
        query = without_canaries(contract, entry.query())
        queries.append(Query(identity, entry.text("title"), entry.text("description", ""), query))
        entry.done()
    table.done()
    return Shared(named, tuple(searches), tuple(queries))


def without_canaries(contract: Contract, query: str) -> str:
    """The same question, of all events that are no canaries."""
    ours = f'not tags : "{contract.canary_tag}"'
    return f"({query}) and {ours}" if query else ours


def _size(table: Table) -> tuple[int, int]:
    kind = table.left.get("kind")
    return table.number("w", 24, 4, COLUMNS), table.number("h", _HEIGHTS.get(str(kind), 14), 3, 60)


def _panel(table: Table, box: Box, taken: Collection[str], shared: Shared) -> Panel:
    identity, kind = table.id(taken), table.choice("kind", get_args(Kind))
    title, query = _titled(table)
    if kind not in ("text", "search"):  # a saved search asks its own question
        query = without_canaries(table.contract, query)
    split = table.left.pop("split", None)
    filters = []
    for part in table.tables("filters"):
        filters.append(Filter(part.text("label"), part.query(), part.colour()))
        part.done()
    measures = tuple(_measure(entry) for entry in table.tables("measures"))
    panel = Panel(
        id=identity,
        kind=kind,
        title=title,
        description=table.text("description", ""),
        query=query,
        box=box,
        measures=measures,
        rows=tuple(table.grouped("rows", name) for name in table.items("rows")),
        split=None if split is None else table.grouped("split", split),
        filters=tuple(filters),
        group=table.text("group", "which"),
        axis=table.text("axis", measures[0].label if len(measures) == 1 else ""),
        stack=table.choice("stack", get_args(Stack), "none"),
        interval=_interval(table),
        limit=table.number("limit", 20, 1, 1000),
        order=table.choice("order", ("name", "high", "low"), "name"),
        search=table.left.pop("search", None),
        text=table.text("text", ""),
        labels=shared.labels,
    )
    _check(table, panel, {s.id for s in shared.searches})
    return panel


def _interval(table: Table) -> str:
    value = table.text("interval", "auto")
    if value != "auto" and not re.fullmatch(r"[1-9][0-9]{0,3}[smhd]", value):
        raise table.wrong("interval", f"{value!r} is neither auto nor a number of s, m, h or d")
    return value


def _titled(table: Table) -> tuple[str, str]:
    """Title and query, to which the panel's metrics are added: a title says where less is better."""
    title, query = table.text("title"), table.query()
    metrics, others = (table.items(key) for key in ("metrics", "without"))
    for key, names in (("metrics", metrics), ("without", others)):
        for name in names:
            if name not in table.contract.metrics:
                raise table.wrong(key, f"the contract has no metric {name!r}")
    if others:
        rest = "not metrictype : (" + " or ".join(f'"{name}"' for name in others) + ")"
        query = f"({query}) and {rest}" if query else rest
    if metrics:
        own = " or ".join(f'"{name}"' for name in metrics)
        own = f"metrictype : {own}" if len(metrics) == 1 else f"metrictype : ({own})"
        query = f"{own} and ({query})" if query else own
        lower = [name for name in metrics if table.contract.metrics[name].better == "lower"]
        if lower and "better" not in title:
            title += " (lower is better)" if len(lower) == len(metrics) else f" (lower is better: {', '.join(lower)})"
    return title, query


def _measure(table: Table) -> Measure:
    op = table.choice("op", get_args(Op))
    label = table.text("label")
    field = table.left.pop("field", None)
    percent = table.left.pop("percent", None)
    if (op == "count") != (field is None):
        raise table.wrong("field", "a count has no field, every other op has one")
    if field is not None:
        field = table.grouped("field", field)
        kind = table.contract.fields[field].bare_type
        if op != "distinct" and kind not in ("double", "long") and not (op in ("min", "max") and kind == "date"):
            raise table.wrong("field", f"{op} of {field} is nothing: it is a {kind}")
    if (op == "percentile") != (percent is not None) or (percent is not None and not 0 < percent < 100):
        raise table.wrong("percent", "a percentile has a percent between 0 and 100, nothing else has one")
    decimals = table.number("decimals", 0, 0, 10) if "decimals" in table.left else None
    colour = table.colour()
    table.done()
    return Measure(op, field, label, percent, decimals, colour)


def _check(table: Table, panel: Panel, searches: Collection[str]) -> None:
    """What each kind needs and cannot have."""
    if panel.kind == "search":
        if panel.search not in searches:
            raise table.wrong("search", f"there is no saved search {panel.search!r}")
    elif panel.kind == "text":
        if not panel.text:
            raise table.wrong("text", "a text panel needs one")
    elif not panel.measures:
        raise table.wrong("measures", f"{panel.kind} needs one at least")
    if panel.kind in ("lines", "bars") and len(panel.rows) != 1:
        raise table.wrong("rows", "a chart has one field on its x axis")
    if panel.kind in ("lines", "bars") and panel.split and panel.filters:
        raise table.wrong("filters", "a chart is split by a field or by filters, not by both")
    if panel.stack == "percentage" and (panel.split or len(panel.filters) < 2 or panel.measures[0].op != "count"):
        raise table.wrong("stack", "a percentage is of a count that is split by filters, the first of which matters")
    if panel.kind == "number" and (len(panel.measures) != 1 or panel.rows or panel.split or panel.filters):
        raise table.wrong("measures", "a number is one measure, not split")
