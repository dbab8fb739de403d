"""What a fake Kibana answers besides saved objects: its status, spaces and data views."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

from fakes.kibana_rules import Object, RefusedError
from fakes.kibana_state import Saved

if TYPE_CHECKING:
    from fakes.kibana import FakeKibana, Reply

LEVELS = {"ready": ("available", "green"), "degraded": ("degraded", "yellow"), "no elasticsearch": ("critical", "red")}


def status(fake: FakeKibana, query: dict[str, list[str]], *, redact: bool, space: bool) -> Reply:
    """`/api/status`, with the shape that the version has and the query asks for."""
    from fakes.kibana import _json

    old = not fake.rules.modern
    if space and old:
        raise RefusedError(404, "Not Found")
    if old and "v7format" in query:
        raise RefusedError(400, "[request query.v7format]: definition for this key is missing")
    level, state = LEVELS[fake.health]
    code = 503 if level == "critical" else 200
    if redact:
        return _json(code, {"status": {"overall": {"level": level}}})
    version = {"number": fake.version, **fake.rules.build, "build_snapshot": False}
    body: Object = {"name": "kibana", "uuid": "00000000-0000-0000-0000-000000000000", "version": version, "metrics": {}}
    plugins = ["bfetch", "charts"] if old else ["licensing", "spaces", "bfetch"]
    if (old and "v8format" not in query) or "v7format" in query:
        parts = ["core:elasticsearch", "core:savedObjects", *(f"plugin:{p}" for p in plugins)]
        statuses = [{"id": f"{p}@{fake.version}", "state": state, "message": ""} for p in parts]
        body["status"] = {"overall": {"state": state, "title": state.title()}, "statuses": statuses}
    else:
        body["status"] = {"overall": {"level": level, "summary": f"is {level}"}, "core": {},
                          "plugins": {p: {"level": level} for p in plugins}}  # fmt: skip
    return _json(code, body)


def routed(fake: FakeKibana, method: str, path: str, space: str, body: Any) -> Reply | None:
    """The answer to a request for a space or a data view, or None."""
    if not fake.rules.modern:
        return None
    names = [unquote(name) for name in path.strip("/").split("/")]
    if names[:3] == ["api", "spaces", "space"]:
        return _spaces(fake, method, names[3] if len(names) > 3 else None, body)
    if names[:2] == ["api", "data_views"]:
        return _data_views(fake, method, names[2:], space, body)
    if names[:3] == ["api", "index_patterns", "index_pattern"] and method == "GET":
        return _view(fake, _found(fake, names[3], space), space, key="index_pattern")
    return None


def _spaces(fake: FakeKibana, method: str, ident: str | None, body: Any) -> Reply:
    from fakes.kibana import Reply, _json

    if method == "POST" and ident is None:
        if body["id"] in fake.spaces:
            raise RefusedError(409, f"A space with the identifier {body['id']} already exists.")
        fake.spaces[body["id"]] = {"id": body["id"], "name": body["name"], "disabledFeatures": []}
        return _json(200, fake.spaces[body["id"]])
    if method == "GET" and ident is None:
        return _json(200, list(fake.spaces.values()))
    if ident not in fake.spaces or ident is None:
        raise RefusedError(404, "Not Found")
    if method == "DELETE":
        del fake.spaces[ident]
        fake.store.kept = {k: s for k, s in fake.store.kept.items() if s.space != ident}
        return Reply(204)
    return _json(200, fake.spaces[ident])


def _found(fake: FakeKibana, ident: str, space: str) -> Saved:
    if (saved := fake.store.get("index-pattern", ident, space)) is None:
        raise RefusedError(404, f"Saved object [index-pattern/{ident}] not found")
    return saved


def _data_views(fake: FakeKibana, method: str, names: list[str], space: str, body: Any) -> Reply | None:
    from fakes.kibana import Reply, _json

    views = [s for s in fake.store.kept.values() if s.type == "index-pattern" and s.space == space]
    newest = fake.rules.typed_stamps
    match method, names:
        case "GET", [] if newest:
            rows = [{"id": v.id, "namespaces": [v.space], "title": v.attributes["title"]} for v in views]
            return _json(200, {"data_view": rows})
        case "GET", ["default"]:
            return _json(200, {"data_view_id": fake.default_view or (views[0].id if views else "")})
        case "POST", ["data_view"]:
            return _create(fake, body, space)
        case "GET", ["data_view", ident]:
            return _view(fake, _found(fake, ident, space), space)
        case "DELETE", ["data_view", ident]:
            fake.store.delete("index-pattern", ident, space)
            return Reply(200)
        case "POST", ["swap_references", "_preview"] if newest:
            key = (body.get("fromType", "index-pattern"), body["fromId"])
            rows = [{"id": s.id, "type": s.type} for s in fake.store.kept.values() if s.space == space
                    and any((r["type"], r["id"]) == key for r in s.references)]  # fmt: skip
            return _json(200, {"result": rows})
    return None


def _create(fake: FakeKibana, body: Object, space: str) -> Reply:
    sent = body["data_view"]
    if "name" in sent and not fake.rules.typed_stamps:
        raise RefusedError(400, "[request body.data_view.name]: definition for this key is missing")
    ident = sent.get("id") or str(uuid4())
    same = [s for s in fake.store.kept.values() if s.type == "index-pattern" and s.space == space
            and s.attributes["title"] == sent["title"]]  # fmt: skip
    if body.get("override"):
        for old in same:
            fake.store.delete("index-pattern", old.id, space)
    if ("index-pattern", ident) in fake.store.kept:
        raise RefusedError(400, f"Saved object [index-pattern/{ident}] conflict")
    attributes = {k: v if isinstance(v, str) else json.dumps(v) for k, v in sent.items() if k != "id"}
    made = {"type": "index-pattern", "id": ident, "attributes": attributes, "references": [],
            "stamp": fake.rules.limits["index-pattern"]}  # fmt: skip
    return _view(fake, fake.store.put(made, space), space, created=True)


def _view(fake: FakeKibana, saved: Saved, space: str, key: str = "data_view", *, created: bool = False) -> Reply:
    """A data view; the fields of its indices are not known to the fake."""
    from fakes.kibana import _json

    attributes = saved.attributes
    view: Object = {"id": saved.id, "version": fake.store.shown(saved)["version"], "title": attributes["title"],
                    "fields": {}, "fieldFormats": {}, "runtimeFieldMap": {}, "fieldAttrs": {},
                    "allowNoIndex": False}  # fmt: skip
    if "timeFieldName" in attributes:
        view["timeFieldName"] = attributes["timeFieldName"]
    if fake.rules.typed_stamps:
        view |= {"sourceFilters": [], "name": attributes.get("name", attributes["title"]), "allowHidden": False,
                 "namespaces": [space]}  # fmt: skip
    elif created:
        view["typeMeta"] = {}
    return _json(200, {key: view})


# --- fields of indices -----------------------------------------------------------------------------------------------

_FAMILIES = {"long": "number", "double": "number", "float": "number", "text": "string", "keyword": "string"}


def fields(
    fake: FakeKibana, method: str, path: str, query: dict[str, list[str]], headers: Mapping[str, str]
) -> Reply | None:
    """The field list of an index pattern, from `fake.mappings`; None for another route, or one of another version."""
    from fakes.kibana import _json

    moved = fake.rules.number >= (8, 9, 0)
    routes = ("/internal/data_views/_fields_for_wildcard", "/internal/data_views/fields")
    if method != "GET" or path not in (routes if moved else ("/api/index_patterns/_fields_for_wildcard",)):
        return None
    if moved and headers.get("elastic-api-version") != "1":
        raise RefusedError(400, "Please specify a version via elastic-api-version header. Available versions: [1]")
    meta = query.get("meta_fields", [])
    if len(meta) == 1:
        try:
            meta = json.loads(meta[0])
        except ValueError:
            raise RefusedError(400, "Bad Request") from None
    (pattern,) = query["pattern"]
    found = {name: m for name, m in fake.mappings.items() if any(fnmatchcase(name, p) for p in pattern.split(","))}
    if not found:
        error = RefusedError(404, f'No indices match "{pattern}"')
        return _json(404, {**error.body, "attributes": {**error.body, "code": "no_matching_indices"}})
    kinds: dict[str, set[str]] = {name: {name} for name in meta}
    for mapping in found.values():
        for name, kind in _flat(mapping["properties"]):
            kinds.setdefault(name, set()).add(kind)
    rows = [_field(name, sorted(types), name in meta) for name, types in sorted(kinds.items())]
    return _json(200, {"fields": rows, **({"indices": sorted(found)} if moved else {})})


def _flat(properties: Object, above: str = "") -> Iterator[tuple[str, str]]:
    for name, field in properties.items():
        yield from _flat(field.get("properties", {}), f"{above}{name}.")
        yield from _flat(field.get("fields", {}), f"{above}{name}.")
        if "type" in field:
            yield f"{above}{name}", field["type"]


def _field(name: str, kinds: list[str], meta: bool) -> Object:
    families = {_FAMILIES.get(kind, kind) for kind in kinds}
    grouped = not meta and "text" not in kinds
    return {"name": name, "type": "conflict" if len(families) > 1 else families.pop(), "esTypes": kinds,
            "searchable": name != "_source", "aggregatable": grouped, "readFromDocValues": grouped,
            "metadata_field": meta}  # fmt: skip
