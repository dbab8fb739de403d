"""What both kinds of bundle share: data view, saved searches and queries, texts, and how a saved object is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from elkkit.contract import Contract
from elkkit.kibana.spec import TIME, Dashboard, Panel, Search, Shared
from elkkit.kibana.spec import Query as SavedQuery
from elkkit.kibana.stamps import CLASSIC

SavedObject: TypeAlias = dict[str, Any]

SCORE = "0,0.[000000]"
"""To a millionth: Kibana's own number format shows three decimals, and 9.5e-05 s would read as 0."""
MOMENT = "YYYY-MM-DD HH:mm:ss.SSS"
"""Shorter than Kibana's own, which narrow tables cut off; in order as a text, too."""
INDEX_REF = "kibanaSavedObjectMeta.searchSourceJSON.index"


def identity(contract: Contract, *parts: str) -> str:
    """A fixed id: `elkkit-lane-eval-live-run` for the parts `live-run`; without parts the data view's."""
    return "-".join(("elkkit", contract.dataset.replace(".", "-"), *parts))


def text(value: object) -> str:
    """JSON inside a text, as Kibana keeps it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def reference(name: str, kind: str, target: str) -> dict[str, str]:
    """A link to another object, by a name that stands in this one."""
    return {"id": target, "name": name, "type": kind}


def saved(
    kind: str,
    target: str,
    attributes: Mapping[str, Any],
    references: Iterable[dict[str, str]] = (),
    stamps: Mapping[str, str] = CLASSIC,
) -> SavedObject:
    """A saved object, stamped with the version whose shape it has."""
    found: SavedObject = {"id": target, "type": kind, "attributes": dict(attributes), "references": list(references)}
    if kind in stamps:
        found["migrationVersion"] = {kind: stamps[kind]}
    return found


def kql(query: str) -> dict[str, str]:
    """A KQL query as saved objects hold it."""
    return {"language": "kuery", "query": query}


def source(query: str = "", *, indexed: bool = True, **more: object) -> dict[str, str]:
    """`kibanaSavedObjectMeta`: what is asked, through the data view if `indexed`."""
    search: dict[str, Any] = {"query": kql(query), "filter": [], **more}
    if indexed:
        search["indexRefName"] = INDEX_REF
    return {"searchSourceJSON": text(search)}


def data_view(contract: Contract, shared: Shared) -> SavedObject:
    """The view of all namespaces of the dataset, with formats, labels and descriptions."""
    formats: dict[str, dict[str, Any]] = {
        f.name: {"id": "number", "params": {"pattern": SCORE}} for f in contract.fields.values() if f.type == "double"
    }
    formats[TIME] = {"id": "date", "params": {"pattern": MOMENT}}
    said: dict[str, dict[str, str]] = {f.name: {"customDescription": f.short} for f in contract.fields.values()}
    for field, label in shared.labels.items():
        said[field]["customLabel"] = label
    attributes = {
        "title": f"logs-{contract.dataset}-*",
        "name": f"elkkit {contract.dataset}",
        "timeFieldName": TIME,
        "fields": "[]",
        "fieldFormatMap": text(formats),
        "fieldAttrs": text(said),
    }
    return saved("index-pattern", identity(contract), attributes)


def search(contract: Contract, spec: Search) -> SavedObject:
    """A saved search of Discover."""
    attributes = {
        "title": _title(spec.title),
        "description": spec.description,
        "columns": list(spec.columns),
        "sort": [list(pair) for pair in spec.sort],
        "hits": 0,
        "version": 1,
        "kibanaSavedObjectMeta": source(spec.query, highlightAll=True, version=True),
    }
    links = [reference(INDEX_REF, "index-pattern", identity(contract))]
    return saved("search", identity(contract, spec.id), attributes, links)


def query(contract: Contract, spec: SavedQuery) -> SavedObject:
    """A saved query."""
    attributes = {"title": _title(spec.title), "description": spec.description, "query": kql(spec.query)}
    return saved("query", identity(contract, spec.id), attributes)


def visualization(
    contract: Contract,
    target: str,
    title: str,
    description: str,
    state: Mapping[str, Any],
    *,
    query: str | None = None,
    links: Iterable[dict[str, str]] = (),
    ui: Mapping[str, Any] | None = None,
) -> SavedObject:
    """A visualization in 7.10's shape; one with a query looks through the data view."""
    own = [reference(INDEX_REF, "index-pattern", identity(contract))] if query is not None else []
    attributes = {
        "title": _title(title),
        "description": description,
        "uiStateJSON": text(ui or {}),
        "version": 1,
        "visState": text({"title": _title(title), **state}),
        "kibanaSavedObjectMeta": source(query or "", indexed=query is not None),
    }
    return saved("visualization", target, attributes, [*own, *links])


def markdown(contract: Contract, target: str, panel: Panel) -> SavedObject:
    """A text."""
    params = {"fontSize": 12, "markdown": panel.text, "openLinksInNewTab": False}
    state = {"aggs": [], "params": params, "type": "markdown"}
    return visualization(contract, target, panel.title, panel.description, state)


def dashboard_attributes(spec: Dashboard, panels: list[dict[str, Any]], **options: bool) -> dict[str, Any]:
    """What a dashboard has in every version, and options that newer ones know."""
    return {
        "title": _title(spec.title),
        "description": spec.description,
        "hits": 0,
        "version": 1,
        "panelsJSON": text(panels),
        "optionsJSON": text({"hidePanelTitles": False, "useMargins": True, **options}),
        "timeRestore": True,
        "timeFrom": spec.time_from,
        "timeTo": spec.time_to,
        "refreshInterval": {"pause": spec.refresh_s == 0, "value": spec.refresh_s * 1000},
        "kibanaSavedObjectMeta": source(spec.query, indexed=False),
    }


def _title(title: str) -> str:
    """Titles begin alike, so that a list of a team's objects keeps them together."""
    return f"elkkit: {title}"
