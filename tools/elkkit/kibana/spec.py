"""A dashboard's spec: a small TOML file that names fields and metrics of the contract and nothing of Kibana's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any, Literal, TypeAlias, get_args

from elkkit.contract import Contract
from elkkit.errors import ConfigError
from elkkit.kibana.layout import COLUMNS, Box, flow
from elkkit.kql import KqlError, Wildcard, field_names, parse

Kind: TypeAlias = Literal["lines", "bars", "table", "number", "search", "text"]
Op: TypeAlias = Literal["mean", "median", "min", "max", "count", "distinct", "percentile"]
Stack: TypeAlias = Literal["none", "stacked", "percentage"]

TIME = "@timestamp"
META = frozenset({"_id", "_ignored", "_index", "_score", "_source"})
"""Elasticsearch's own fields, which no mapping lists."""
TEXT_TYPES = frozenset({"text", "match_only_text"})
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
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


@dataclass(frozen=True, slots=True)
class Filter:
    """A named KQL filter, as one part of a split."""

    label: str
    query: str


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
    """Fields of a table's rows, or the x axis of a chart: `@timestamp` is time."""
    split: str | None
    """Field of a chart's series, or of a table's columns."""
    filters: tuple[Filter, ...]
    """Series of a chart, or rows of a table, by KQL."""
    stack: Stack
    interval: str
    """Of time: `auto`, or Elasticsearch's `1m`, `1h` and so on."""
    limit: int
    """How many terms of the first row."""
    order: Literal["name", "high", "low"]
    """Of the first row's terms: by name, or by the first measure."""
    search: str | None
    text: str


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


class _Table:
    """A TOML table that is read key by key; a key that nobody reads is an error."""

    def __init__(self, origin: str, path: str, raw: object, contract: Contract) -> None:
        self.origin, self.path, self.contract = origin, path, contract
        if not isinstance(raw, dict):
            raise self.wrong("", "it is not a table")
        self.left: dict[str, Any] = dict(raw)

    def wrong(self, key: str, why: str) -> ConfigError:
        where = ".".join(part for part in (self.path, key) if part)
        return ConfigError(
            f"{self.origin}: {where} is wrong", why=why, hint="kibana/README.md  tells the keys of a spec"
        )

    def text(self, key: str, default: str | None = None) -> str:
        """A text in which `${…}` names something of the contract."""
        value = self.left.pop(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text is needed" if value is None else f"{value!r} is not a text")
        try:
            return Template(value).substitute(variables(self.contract))
        except (KeyError, ValueError) as error:
            names = ", ".join(sorted(variables(self.contract)))
            raise self.wrong(key, f"{error} stands for nothing; there are {names}") from None

    def id(self, taken: Collection[str] = ()) -> str:
        value = self.text("id")
        if not _ID.fullmatch(value):
            raise self.wrong("id", f"{value!r} is not lower-case letters, digits and single hyphens")
        if value in taken:
            raise self.wrong("id", f"{value!r} is there twice")
        return value

    def number(self, key: str, default: int, low: int, high: int) -> int:
        value = self.left.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"{value!r} is not a whole number from {low} to {high}")
        return value

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> Any:
        value = self.left.pop(key, default)
        if value not in options:
            raise self.wrong(key, f"{value!r} is none of {', '.join(options)}")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.left.pop(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, f"{value!r} is not a list")
        return value

    def tables(self, key: str) -> list[_Table]:
        """The tables of a list, each with its place."""
        above = f"{self.path}.{key}" if self.path else key
        return [_Table(self.origin, f"{above}[{i}]", raw, self.contract) for i, raw in enumerate(self.items(key))]

    def query(self, key: str = "query") -> str:
        text = self.text(key, "")
        try:
            names = list(field_names(parse(text)))
        except KqlError as error:
            raise self.wrong(key, str(error)) from None
        for name in names:
            if not isinstance(name, Wildcard):
                self.known(key, str(name))
        return text

    def known(self, key: str, name: object) -> str:
        """A field of the contract or of Elasticsearch itself."""
        if not isinstance(name, str) or (name not in self.contract.fields and name not in META):
            raise self.wrong(key, f"the contract has no field {name!r}")
        return name

    def grouped(self, key: str, name: object) -> str:
        """A field that any server can count by."""
        field = self.known(key, name)
        if field in META or self.contract.fields[field].bare_type in TEXT_TYPES:
            raise self.wrong(key, f"{field} cannot be counted by: it is a text or Elasticsearch's own")
        return field

    def done(self) -> None:
        if self.left:
            raise self.wrong(min(self.left), "there is no such key")


def variables(contract: Contract) -> dict[str, str]:
    """What `${…}` may name in a spec."""
    by_merit = {b: ", ".join(m.name for m in contract.metrics.values() if m.better == b) for b in ("higher", "lower")}
    return {
        "dataset": contract.dataset,
        "malformed_tag": contract.malformed_tag,
        "higher_is_better": by_merit["higher"],
        "lower_is_better": by_merit["lower"],
    }


def read_dashboard(text: str, contract: Contract, shared: Shared, origin: str = "spec") -> Dashboard:
    """A dashboard from its TOML. Raises `ConfigError` that names the key that is wrong."""
    table = _Table(origin, "", _toml(text, origin), contract)
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
        panels.append(_panel(entry, box, {p.id for p in panels}, {s.id for s in shared.searches}))
        entry.done()
    table.done()
    return Dashboard(identity, title, description, query, time_from, time_to, refresh, tuple(controls), tuple(panels))


def read_shared(text: str, contract: Contract, origin: str = "shared") -> Shared:
    """What all dashboards share, from its TOML. Raises `ConfigError` that names the key that is wrong."""
    table = _Table(origin, "", _toml(text, origin), contract)
    labels = _Table(origin, "labels", table.left.pop("labels", {}), contract)
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
        searches.append(Search(identity, title, description, entry.query(), columns, tuple(sort)))
        entry.done()
    queries: list[Query] = []
    for entry in table.tables("queries"):
        identity = entry.id({q.id for q in queries})
        queries.append(Query(identity, entry.text("title"), entry.text("description", ""), entry.query()))
        entry.done()
    table.done()
    return Shared(named, tuple(searches), tuple(queries))


def _toml(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not TOML", why=str(error), hint="mend the line that it names") from None


def _size(table: _Table) -> tuple[int, int]:
    kind = table.left.get("kind")
    return table.number("w", 24, 4, COLUMNS), table.number("h", _HEIGHTS.get(str(kind), 14), 3, 60)


def _panel(table: _Table, box: Box, taken: Collection[str], searches: Collection[str]) -> Panel:
    identity, kind = table.id(taken), table.choice("kind", get_args(Kind))
    title, query = _titled(table)
    split = table.left.pop("split", None)
    filters = []
    for part in table.tables("filters"):
        filters.append(Filter(part.text("label"), part.query()))
        part.done()
    panel = Panel(
        id=identity,
        kind=kind,
        title=title,
        description=table.text("description", ""),
        query=query,
        box=box,
        measures=tuple(_measure(entry) for entry in table.tables("measures")),
        rows=tuple(table.grouped("rows", name) for name in table.items("rows")),
        split=None if split is None else table.grouped("split", split),
        filters=tuple(filters),
        stack=table.choice("stack", get_args(Stack), "none"),
        interval=_interval(table),
        limit=table.number("limit", 20, 1, 1000),
        order=table.choice("order", ("name", "high", "low"), "name"),
        search=table.left.pop("search", None),
        text=table.text("text", ""),
    )
    _check(table, panel, searches)
    return panel


def _interval(table: _Table) -> str:
    value = table.text("interval", "auto")
    if value != "auto" and not re.fullmatch(r"[1-9][0-9]{0,3}[smhd]", value):
        raise table.wrong("interval", f"{value!r} is neither auto nor a number of s, m, h or d")
    return value


def _titled(table: _Table) -> tuple[str, str]:
    """Title and query, to which the panel's metrics are added: a title says where less is better."""
    title, query = table.text("title"), table.query()
    metrics = table.items("metrics")
    for name in metrics:
        if name not in table.contract.metrics:
            raise table.wrong("metrics", f"the contract has no metric {name!r}")
    if metrics:
        own = " or ".join(f'"{name}"' for name in metrics)
        own = f"metrictype : {own}" if len(metrics) == 1 else f"metrictype : ({own})"
        query = f"{own} and ({query})" if query else own
        lower = [name for name in metrics if table.contract.metrics[name].better == "lower"]
        if lower and "better" not in title:
            title += " (lower is better)" if len(lower) == len(metrics) else f" (lower is better: {', '.join(lower)})"
    return title, query


def _measure(table: _Table) -> Measure:
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
    table.done()
    return Measure(op, field, label, percent)


def _check(table: _Table, panel: Panel, searches: Collection[str]) -> None:
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
    if panel.kind == "number" and (len(panel.measures) != 1 or panel.rows or panel.split or panel.filters):
        raise table.wrong("measures", "a number is one measure, not split")
