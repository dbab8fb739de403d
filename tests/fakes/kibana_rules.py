"""What differs between the Kibanas that the fake stands for: types, stamps, schemas, words, upgrades of objects."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


class RefusedError(Exception):
    """A request that is answered by an error."""

    def __init__(self, status: int, message: str, attributes: Object | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Object = {"statusCode": status, "error": NAMES[status], "message": message}
        if attributes is not None:
            self.body["attributes"] = attributes


class HangError(Exception):
    """A request that gets no answer, ever."""


NAMES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict",
         413: "Request Entity Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Entity",
         429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip
ICONS = {"index-pattern": "indexPatternApp", "search": "discoverApp", "visualization": "visualizeApp",
         "dashboard": "dashboardApp", "lens": "lensApp", "query": "search", "tag": "tag",
         "map": "gisApp"}  # fmt: skip
_SEARCH = ["title", "description", "hits", "columns", "sort", "version", "kibanaSavedObjectMeta"]
_VISUALIZATION = ["title", "description", "kibanaSavedObjectMeta", "savedSearchRefName", "uiStateJSON", "version",
                  "visState"]  # fmt: skip
_DASHBOARD = ["title", "description", "hits", "kibanaSavedObjectMeta", "optionsJSON", "panelsJSON", "refreshInterval",
              "timeFrom", "timeRestore", "timeTo", "version"]  # fmt: skip
_NEWER_SEARCH = ["grid", "hideChart", "viewMode", "hideAggregatedPreview", "rowHeight", "timeRestore", "timeRange",
                 "refreshInterval", "isTextBasedQuery", "usesAdHocDataView", "rowsPerPage", "sampleSize",
                 "breakdownField"]  # fmt: skip
_LENS = ["title", "description", "visualizationType", "state", "expression"]
_QUERY = ["title", "description", "query", "filters", "timefilter", "titleKeyword"]


@dataclass(frozen=True)
class Rules:
    """One version of Kibana."""

    version: str
    limits: dict[str, str]
    """The newest stamp that each type takes."""
    told: dict[str, str | None]
    """The "last known version" in its words, where that differs."""
    attributes: dict[str, list[str]]
    """The attributes that a type knows, where it is strict."""
    types: frozenset[str]
    queries: frozenset[str]
    """Parameters of `_import`."""
    build: Object = field(default_factory=dict)

    @property
    def number(self) -> tuple[int, ...]:
        return parse(self.version)

    @property
    def modern(self) -> bool:
        """8.x."""
        return self.number >= (8, 0, 0)

    @property
    def typed_stamps(self) -> bool:
        """Stamps are `typeMigrationVersion`."""
        return self.number >= (8, 8, 0)

    def crashed(self) -> RefusedError:
        """A migration threw."""
        logs = " Check Kibana server logs for details." if self.modern else ""
        return RefusedError(500, f"An internal server error occurred.{logs}")

    def worded(self, message: str) -> str:
        """7.10 adds the name of the status to some messages."""
        return message if self.modern else f"{message}: Bad Request"


_OSS = {"index-pattern", "search", "visualization", "dashboard", "query", "url", "config"}
_BASIC = _OSS | {"lens", "map", "tag", "canvas-workpad"}
RULES = {
    r.version: r
    for r in (
        Rules(
            "7.10.2",
            {"index-pattern": "7.6.0", "search": "7.9.3", "visualization": "7.10.0", "dashboard": "7.9.3"},
            {},
            {"search": _SEARCH, "visualization": _VISUALIZATION, "dashboard": _DASHBOARD, "query": _QUERY},
            frozenset(_OSS),
            frozenset({"overwrite", "createNewCopies"}),
            {"build_hash": "a0b793698735eb1d0ab1038f8e5d7a951524e929", "build_number": 36136},
        ),
        Rules(
            "8.3.3",
            {"index-pattern": "8.0.0", "search": "8.0.0", "query": "8.0.0", "tag": "8.0.0", "visualization": "8.3.0",
             "lens": "8.3.0", "dashboard": "8.3.0", "map": "8.1.0"},
            {},
            {"search": [*_SEARCH, *_NEWER_SEARCH], "visualization": _VISUALIZATION, "query": _QUERY, "lens": _LENS,
             "dashboard": [*_DASHBOARD, "controlGroupInput"]},
            frozenset(_BASIC),
            frozenset({"overwrite", "createNewCopies"}),
            {"build_hash": "1a6d6cc16aa3f822d967c85ed4bbeb2223ef15b6", "build_number": 53682},
        ),
        Rules(
            "8.12.2",
            {"index-pattern": "8.0.0", "search": "8.0.0", "query": "8.0.0", "tag": "8.0.0", "visualization": "8.5.0",
             "lens": "8.9.0", "dashboard": "8.9.0", "map": "8.4.0"},
            {"index-pattern": "7.11.0", "search": "7.9.3", "query": "7.16.0", "tag": None},
            {"search": [*_SEARCH, *_NEWER_SEARCH], "visualization": _VISUALIZATION, "query": _QUERY, "lens": _LENS,
             "dashboard": [*_DASHBOARD, "controlGroupInput"]},
            frozenset(_BASIC),
            frozenset({"overwrite", "createNewCopies", "compatibilityMode"}),
            {"build_hash": "f5bd489c5ff9c676c4f861c42da6ea99ae350832", "build_number": 70281,
             "build_date": "2024-02-19T12:06:36.344Z"},
        ),
    )
}  # fmt: skip


def parse(version: object) -> tuple[int, ...]:
    """`8.3.0` as numbers. Raises `ValueError`."""
    if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(version)
    return tuple(int(n) for n in version.split("."))


def upgraded(sent: Object, rules: Rules) -> Object:
    """An object as this version would store it. Raises `RefusedError` with 422 or 500, which ends the whole request."""
    try:
        stamp = _stamp(sent, rules)
        made = copy.deepcopy({k: sent[k] for k in ("type", "id", "attributes", "references", "originId") if k in sent})
        made.setdefault("references", [])
        newest = rules.told.get(sent["type"], rules.limits.get(sent["type"]))
        if sent["type"] in MIGRATIONS and rules.modern and stamp < parse(rules.limits[sent["type"]]):
            MIGRATIONS[sent["type"]](made, stamp, rules)
        if rules.typed_stamps and newest and stamp > parse(newest):
            newest = ".".join(map(str, stamp))
        made["stamp"] = newest
        if rules.typed_stamps and "migrationVersion" in sent and _core(sent) >= (8, 8, 0):
            made["refused"] = "migrationVersion"  # it is not taken over, and the index does not know the key
    except (ValueError, KeyError, TypeError, AttributeError):
        raise rules.crashed() from None
    return made


def _core(sent: Object) -> tuple[int, ...]:
    return parse(sent["coreMigrationVersion"]) if "coreMigrationVersion" in sent else (0, 0, 0)


def _stamp(sent: Object, rules: Rules) -> tuple[int, ...]:
    """The version that an object says it has; raises `RefusedError` where that is newer than what is known."""
    kind, where = sent["type"], f'Document "{sent["id"]}"'
    if rules.modern and _core(sent) > rules.number:
        raise RefusedError(422, f'{where} has a "coreMigrationVersion" which belongs to a more recent version of '
                           f"Kibana [{sent['coreMigrationVersion']}]. The current version is "
                           f"[{rules.version}].")  # fmt: skip
    told = sent.get("migrationVersion", {}).get(kind)
    if rules.typed_stamps and "typeMigrationVersion" in sent:
        told = sent["typeMigrationVersion"]
    if told is None:
        return (0, 0, 0)
    limit = rules.limits.get(kind)
    if parse(told) > (parse(limit) if limit else (0, 0, 0)):
        known = rules.told.get(kind, limit) or "undefined"
        if rules.typed_stamps:
            raise RefusedError(422, f"{where} belongs to a more recent version of Kibana [{told}] when the last known "
                               f"version is [{known}].")  # fmt: skip
        raise RefusedError(422, f'{where} has property "{kind}" which belongs to a more recent version of Kibana '
                           f"[{told}]. The last known version is [{known}]")  # fmt: skip
    return parse(told)


def _dashboard(made: Object, stamp: tuple[int, ...], rules: Rules) -> None:
    panels = json.loads(made["attributes"].get("panelsJSON", "[]"))
    names = {r["name"]: r for r in made["references"]}
    for panel in panels:
        if rules.number < (8, 12, 0):
            parse(panel["version"])
        panel.setdefault("embeddableConfig", {}).setdefault("enhancements", {})
        if ref := panel.get("panelRefName"):
            index = panel["panelIndex"]
            found = names[ref] if ref in names else names[f"{index}:{ref}"]
            found["name"], panel["panelRefName"], panel["type"] = (
                f"{index}:panel_{index}",
                f"panel_{index}",
                found["type"],
            )
    if "panelsJSON" in made["attributes"]:
        made["attributes"]["panelsJSON"] = json.dumps(panels)


def _visualization(made: Object, stamp: tuple[int, ...], rules: Rules) -> None:
    state = json.loads(made["attributes"].get("visState", "{}"))
    params = state.get("params", {})
    if state.get("type") in ("histogram", "line", "area"):
        params |= {"detailedTooltip": True, "isVislibVis": True, "legendSize": "auto",
                   "palette": {"type": "palette", "name": "kibana_palette"}}  # fmt: skip
        for series in params.get("seriesParams", []):
            series.setdefault("circlesRadius", 1)
        if state["type"] != "histogram":
            params.setdefault("fittingFunction", "linear")
    elif state.get("type") == "table":
        params.setdefault("showToolbar", True)
    elif state.get("type") == "metrics":
        params.pop("default_index_pattern", None)
        params.pop("default_timefield", None)
        params |= {"drop_last_bucket": 1, "use_kibana_indexes": False}
    if state:
        made["attributes"]["visState"] = json.dumps(state)


def _lens(made: Object, stamp: tuple[int, ...], rules: Rules) -> None:
    attributes = made["attributes"]
    sources, visual = attributes["state"]["datasourceStates"], attributes["state"]["visualization"]
    layered = attributes["visualizationType"] == "lnsXY"
    if stamp < (8, 3, 0):
        for layer in sources["indexpattern"]["layers"].values():  # a newer shape has no such source: it crashes
            for column in layer["columns"].values():
                if column["operationType"] == "avg":
                    column["operationType"] = "average"
                if column["operationType"] == "terms":
                    column["params"].setdefault("parentFormat", {"id": "terms"})
                if column["operationType"] == "date_histogram":
                    column["params"].setdefault("includeEmptyRows", True)
        for layer in visual["layers"] if layered else [visual]:
            layer.setdefault("layerType", "data")
        if layered:
            visual["legend"].setdefault("legendSize", "auto")
        elif attributes["visualizationType"] == "lnsMetric":
            for name, value in (("size", "xl"), ("textAlign", "center"), ("titlePosition", "bottom")):
                visual.setdefault(name, value)
    if rules.number >= (8, 6, 0) and stamp < (8, 6, 0):
        sources["formBased"] = sources.pop("indexpattern")
        if attributes["visualizationType"] == "lnsMetric":
            attributes["visualizationType"] = "lnsLegacyMetric"


MIGRATIONS = {"dashboard": _dashboard, "visualization": _visualization, "lens": _lens}
