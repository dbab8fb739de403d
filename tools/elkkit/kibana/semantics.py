"""What an object says, apart from how a server happens to keep it; and fingerprints of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from elkkit.kibana.common import SavedObject
from elkkit.kibana.decoded import decode
from elkkit.kibana.problems import Problem

VOLATILE = frozenset(
    {"updated_at", "updated_by", "created_at", "created_by", "version", "managed", "namespaces", "originId"}
)
"""What a server writes by itself, beside the attributes."""
STAMPS = frozenset({"migrationVersion", "coreMigrationVersion", "typeMigrationVersion"})
_CACHED = "fields"
"""The attribute of a data view that Kibana 7 writes anew whenever somebody looks through it."""
_REF_NAME = "RefName"
_RENAMED: Mapping[Any, str] = {"formBased": "indexpattern"}
"""Names of one thing, from newer to older Kibanas."""
_ADDED: Mapping[str, tuple[Any, ...]] = {
    "circlesRadius": (1,),
    "detailedTooltip": (True,),
    "drop_last_bucket": (1,),
    "fittingFunction": ("linear",),
    "includeEmptyRows": (True,),
    "isVislibVis": (True,),
    "layerType": ("data",),
    "legendSize": ("auto",),
    "palette": ({"type": "palette", "name": "kibana_palette"},),
    "parentFormat": ({"id": "terms"},),
    "showToolbar": (True,),
    "size": ("xl",),
    "textAlign": ("center",),
    "titlePosition": ("bottom",),
    "use_kibana_indexes": (False,),
}
"""What newer Kibanas write into older objects, and what it says is what an object without it does (recorded)."""
_OLDER_VALUES = {"operationType": {"avg": "average"}}
"""Values that newer Kibanas write in place of older ones."""
_DROPPED = frozenset({"default_index_pattern", "default_timefield"})
"""What newer Kibanas take out of older objects."""


def essence(item: Mapping[str, Any]) -> SavedObject:
    """An exported object without what a server writes by itself; equal before and after exporting and importing it."""
    kept = {k: v for k, v in item.items() if k not in VOLATILE and k not in STAMPS}
    if item.get("type") == "index-pattern" and isinstance(attributes := kept.get("attributes"), dict):
        kept["attributes"] = {k: v for k, v in attributes.items() if k != _CACHED or _scripted(v)}
    return kept


def digest(value: object) -> str:
    """The fingerprint of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def meaning(item: Mapping[str, Any]) -> dict[str, Any]:
    """An object as people see it: JSON texts read, references by what they lead to, panels by their own ids.

    Objects of the same meaning show the same, whichever Kibana wrote them: stamps, names of references, and keys that
    hold nothing are left out.
    """
    problems: list[Problem] = []
    found = decode(essence(item), problems)
    _unread(item["attributes"], found.attributes, problems)
    links = {link["name"]: f"{link['type']}:{link['id']}" for link in found.references if "name" in link}
    said: dict[str, Any] = dict(found.attributes)
    if found.type == "dashboard":
        _panels(said, links)
    said = _linked(said, links)
    if links:
        said["references"] = dict(sorted(links.items()))
    for key in ("hits", "version"):  # written by all and read by none
        said.pop(key, None)
    if said.get("visualizationType") == "lnsLegacyMetric":
        said["visualizationType"] = "lnsMetric"  # its old name; the new one is another chart
    made: dict[str, Any] = _full(said)
    return made


def _unread(kept: Any, read: Any, problems: Iterable[Problem]) -> None:
    """Put texts back that are no JSON: they say something too, and two of them not the same."""
    for problem in problems:
        *above, last = problem.path.split(".")[1:]
        at, made = kept, read
        for key in above:
            at, made = at[key], made[key]
        if last in at:
            made[last] = at[last]


def _panels(said: dict[str, Any], links: dict[str, str]) -> None:
    """Panels by their ids; before 8.x `panel_0` was what is `1:panel_1` after."""
    panels = said.get("panelsJSON")
    if not isinstance(panels, list) or not all(isinstance(p, dict) for p in panels):
        return
    named: dict[str, Any] = {}
    for number, panel in enumerate(panels):
        index = str(panel.get("panelIndex", number))
        kept = {k: v for k, v in panel.items() if k not in ("version", "panelIndex", "panelRefName", "type", "id")}
        grid = kept.get("gridData")
        if isinstance(grid, dict):
            kept["gridData"] = {k: v for k, v in grid.items() if k != "i"}
        name = panel.get("panelRefName")
        target = links.pop(name, None) or links.pop(f"{index}:{name}", None) if isinstance(name, str) else None
        kept["shows"] = target or panel.get("id") or panel.get("type")
        for link in [n for n in links if n.startswith(f"{index}:")]:
            kept[f"reference {link.removeprefix(f'{index}:')}"] = links.pop(link)
        named[index if index not in named else f"{index}#{number}"] = kept
    said["panelsJSON"] = named


def _linked(value: Any, links: dict[str, str]) -> Any:
    """Names of references replaced by what they lead to."""
    if isinstance(value, dict):
        made = {}
        for key, inner in value.items():
            if key.endswith(_REF_NAME) and isinstance(inner, str) and inner in links:
                made[key.removesuffix(_REF_NAME)] = links[inner]
            else:
                made[key] = _linked(inner, links)
        return made
    return [_linked(v, links) for v in value] if isinstance(value, list) else value


def _full(value: Any) -> Any:
    """Without keys that hold nothing, or what a Kibana adds to say that nothing is special."""
    if isinstance(value, dict):
        made: dict[str, Any] = {_RENAMED.get(k, k): _full(v) for k, v in value.items() if k not in _DROPPED}
        for key, newer in _OLDER_VALUES.items():
            if isinstance(old := made.get(key), str):
                made[key] = newer.get(old, old)
        return {k: v for k, v in made.items() if v not in (None, "", {}, []) and v not in _ADDED.get(k, ())}
    return [_full(v) for v in value] if isinstance(value, list) else value


def _scripted(fields: object) -> bool:
    try:
        rows = json.loads(fields) if isinstance(fields, str) else fields
    except (ValueError, RecursionError):
        return True
    return isinstance(rows, list) and any(isinstance(r, dict) and r.get("scripted") for r in rows)
