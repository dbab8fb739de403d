"""The objects of a fake Kibana: import, resolve, export, find, and one by one; see `fakes.kibana` for the server."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from fakes.kibana_objects import (
    Saved,
    four_oh_four,
    in_javascript,
    matches,
    not_found,
    references_first,
    repeated,
    replaced,
)
from fakes.kibana_rules import ICONS, HangError, Object, RefusedError, Rules, upgraded

LIMIT = 10_000
RESOLVABLE = ("conflict", "ambiguous_conflict", "missing_references")


class Store:
    """Every object of one server, in all its spaces."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.kept: dict[tuple[str, str], Saved] = {}
        self.number = 0
        self.refuse_write: dict[tuple[str, str], str] = {}
        """Objects that Elasticsearch will not take, and why."""

    # --- one by one --------------------------------------------------------------------------------------------------

    def put(self, made: Object, space: str, ident: str | None = None, origin: str | None = None) -> Saved:
        """Write an object, over one that is there."""
        self.number += 1
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        ident = ident or made["id"]
        saved = Saved(made["type"], ident, space, made["attributes"], made["references"], made["stamp"], origin,
                      self.number, now, now)  # fmt: skip
        self.kept[made["type"], ident] = saved
        return saved

    def get(self, kind: str, ident: str, space: str) -> Saved | None:
        found = self.kept.get((kind, ident))
        return found if found and found.space == space else None

    def delete(self, kind: str, ident: str, space: str) -> None:
        if self.get(kind, ident, space) is None:
            raise RefusedError(404, not_found(kind, ident))
        del self.kept[kind, ident]

    def create(self, kind: str, ident: str, body: Object, space: str, *, overwrite: bool) -> Object:
        if (kind, ident) in self.kept and not overwrite:
            if self.rules.modern:
                raise RefusedError(409, f"Saved object [{kind}/{ident}] conflict")
            raise RefusedError(409, f"[{kind}:{ident}]: version conflict, document already exists (current version "
                               "[1]): version_conflict_engine_exception")  # fmt: skip
        stamp = self.rules.limits.get(kind)
        made = {"type": kind, "attributes": body["attributes"], "references": body.get("references", []),
                "stamp": stamp}  # fmt: skip
        return self.shown(self.put(made, space, ident))

    def update(self, kind: str, ident: str, body: Object, space: str) -> Object:
        saved = self.get(kind, ident, space)
        if saved is None:
            raise RefusedError(404, not_found(kind, ident))
        made = {"type": kind, "id": ident, "attributes": {**saved.attributes, **body["attributes"]},
                "references": body.get("references", saved.references), "stamp": saved.stamp}  # fmt: skip
        full = self.shown(self.put(made, space, None, saved.origin))
        kept = {k: full[k] for k in ("id", "type", "updated_at", "version", "namespaces")}
        return {**kept, "attributes": body["attributes"]}

    def shown(self, saved: Saved, fields: Iterable[str] | None = None) -> Object:
        """An object as the CRUD routes show it."""
        attributes = saved.attributes
        if fields is not None:
            attributes = {k: v for k, v in attributes.items() if k in fields}
        shown: Object = {"id": saved.id, "type": saved.type, "namespaces": [saved.space], "attributes": attributes,
                         "references": saved.references, "updated_at": saved.updated,
                         "version": self._version(saved)}  # fmt: skip
        if saved.stamp:
            shown["migrationVersion"] = {saved.type: saved.stamp}
        if saved.origin:
            shown["originId"] = saved.origin
        return {**shown, **self._newer(saved)}

    def exported(self, saved: Saved) -> Object:
        """An object as `_export` writes it."""
        shown = self.shown(saved)
        del shown["namespaces"]
        if self.rules.typed_stamps:
            shown.pop("migrationVersion", None)
        return dict(sorted(shown.items()))

    def _newer(self, saved: Saved) -> Object:
        if not self.rules.modern:
            return {}
        if not self.rules.typed_stamps:
            return {"coreMigrationVersion": self.rules.version}
        typed = {"typeMigrationVersion": saved.stamp} if saved.stamp else {}
        return {"coreMigrationVersion": "8.8.0", "created_at": saved.created, "managed": False, **typed}

    def _version(self, saved: Saved) -> str:
        return base64.b64encode(json.dumps([saved.number, 1], separators=(",", ":")).encode()).decode()

    # --- import ------------------------------------------------------------------------------------------------------

    def read(self, content: str) -> list[Object]:
        """The objects of an uploaded file."""
        objects: list[Object] = []
        for line in content.split("\n"):
            if not line.strip(" \t\r"):
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise RefusedError(400, in_javascript(line, error)) from None
            objects += value if isinstance(value, list) else [value]
        kept = []
        for found in objects:
            if not isinstance(found, dict):
                raise self.rules.crashed() if self.rules.number[:2] == (8, 3) else HangError
            if "exportedCount" in found:
                if not found["exportedCount"] and not self.rules.modern:
                    raise HangError
                continue
            kept.append(found)
        if len(kept) > LIMIT:
            raise RefusedError(400, f"Can't import more than {LIMIT} objects")
        return kept

    def take(
        self,
        objects: list[Object],
        space: str,
        *,
        overwrite: bool = False,
        copies: bool = False,
        retries: list[Object] | None = None,
    ) -> Object:
        """`_import`, or with `retries` `_resolve_import_errors`."""
        if again := repeated((o.get("type"), o.get("id")) for o in objects):
            raise RefusedError(400, self.rules.worded(f"Non-unique import objects detected: [{','.join(again)}]"))
        wanted: dict[Any, Object] = {}
        if retries is not None:
            if again := repeated((r["type"], r["id"]) for r in retries):
                raise RefusedError(400, self.rules.worded(f"Non-unique retry objects: [{','.join(again)}]"))
            wanted = {(r["type"], r["id"]): r for r in retries}
            objects = [replaced(o, wanted[o["type"], o["id"]]) for o in objects if (o["type"], o["id"]) in wanted]
        if any("attributes" not in o or "id" not in o for o in objects):
            raise self.rules.crashed()
        errors = [self._error(o, {"type": "unsupported_type"}) for o in objects if o["type"] not in self.rules.types]
        objects = [o for o in objects if o["type"] in self.rules.types]
        errors += self._missing(objects, space, {k for k, r in wanted.items() if r.get("ignoreMissingReferences")})
        results: dict[tuple[str, str], Object] = {}
        for sent in objects:
            key, retry = (sent["type"], sent["id"]), wanted.get((sent["type"], sent["id"]), {})
            renamed = bool(retry.get("createNewCopy")) and "destinationId" not in retry
            over = overwrite or bool(retry.get("overwrite"))
            error, told = self._place(sent, space, retry, overwrite=over, copies=copies or renamed)
            if error:
                errors.append(self._error(sent, error))
            else:
                results[key] = told
        failed = {(e["type"], e["id"]) for e in errors}
        results = {k: v for k, v in results.items() if k not in failed}
        if not any(e["error"]["type"] in RESOLVABLE for e in errors):
            errors += self._write([o for o in objects if (o["type"], o["id"]) in results], results, space)
        return self._reply(objects, results, errors)

    def _error(self, sent: Object, error: Object) -> Object:
        title = sent["attributes"].get("title")
        told = {"type": sent["type"], "id": sent["id"], "meta": self._meta(sent), "error": error}
        return told if self.rules.modern or title is None else {**told, "title": title}

    def _meta(self, sent: Object) -> Object:
        meta, title = {}, sent["attributes"].get("title")
        if sent["type"] == "config" and self.rules.modern:
            title = f"Advanced Settings [{sent['id']}]"
        if title is not None:
            meta["title"] = title
        if sent["type"] in ICONS and sent["type"] in self.rules.types:
            meta["icon"] = ICONS[sent["type"]]
        return meta

    def _missing(self, objects: list[Object], space: str, ignored: set[Any]) -> list[Object]:
        """References that lead nowhere; of two types only."""
        here, errors = {(o["type"], o["id"]) for o in objects}, []
        for sent in objects:
            wanted = [(r["type"], r["id"]) for r in sent.get("references", [])
                      if r["type"] in ("index-pattern", "search")]  # fmt: skip
            lost = [k for k in dict.fromkeys(wanted) if k not in here and self.get(*k, space) is None]
            if lost and (sent["type"], sent["id"]) not in ignored:
                told = [{"type": t, "id": i} for t, i in lost]
                errors.append(self._error(sent, {"type": "missing_references", "references": told}))
        return errors

    def _place(
        self, sent: Object, space: str, retry: Object, *, overwrite: bool, copies: bool
    ) -> tuple[Object | None, Object]:
        """Whether an object may be written, and as what."""
        told: Object = {"type": sent["type"], "id": sent["id"], "meta": self._meta(sent)}
        if self.rules.typed_stamps:
            told["managed"] = False
        if copies:
            return None, {**told, "destinationId": str(uuid.uuid4())}
        target = retry.get("destinationId", sent["id"])
        there = self.kept.get((sent["type"], target))
        if there is not None and there.space == space:
            if not overwrite:
                return {"type": "conflict", **({"destinationId": target} if target != sent["id"] else {})}, told
            told["overwrite"] = True
        elif "destinationId" not in retry and self.rules.modern:
            origin = sent.get("originId", sent["id"])
            kin = [s for s in self.kept.values()
                   if s.type == sent["type"] and s.space == space and origin in (s.origin, s.id)]  # fmt: skip
            if len(kin) > 1:
                found = [{"id": s.id, "title": s.attributes.get("title"), "updatedAt": s.updated} for s in kin]
                return {"type": "ambiguous_conflict", "destinations": found}, told
            if kin and not overwrite:
                return {"type": "conflict", "destinationId": kin[0].id}, told
            if kin:
                told |= {"overwrite": True, "destinationId": kin[0].id}
            elif there is not None:
                told["destinationId"] = str(uuid.uuid4())
        if target != sent["id"]:
            told["destinationId"] = target
        if retry.get("createNewCopy"):
            told["createNewCopy"] = True
        return None, told

    def _write(self, objects: list[Object], results: dict[tuple[str, str], Object], space: str) -> list[Object]:
        """Write what may be written; every object is migrated before the first is written."""
        errors, made = [], [(sent, upgraded(sent, self.rules)) for sent in objects]
        for sent, new in made:
            key = (sent["type"], sent["id"])
            if error := self._unwritable(new):
                errors.append(self._error(sent, error))
                del results[key]
                continue
            for ref in new["references"]:
                ref["id"] = results.get((ref["type"], ref["id"]), {}).get("destinationId", ref["id"])
            target = results[key].get("destinationId", sent["id"])
            moved = target != sent["id"] and not results[key].get("createNewCopy")
            self.put(new, space, target, sent.get("originId") or (sent["id"] if moved else None))
        return errors

    def _unwritable(self, made: Object) -> Object | None:
        strict = "mapping set to strict, dynamic introduction of [{}] within [{}] is not allowed"
        known = self.rules.attributes.get(made["type"])
        unknown = [k for k in made["attributes"] if known is not None and k not in known]
        why = self.refuse_write.get((made["type"], made["id"]))
        if "refused" in made:
            why = f"strict_dynamic_mapping_exception: {strict.format(made['refused'], '_doc')}"
        elif unknown and not self.rules.typed_stamps:
            prefix = "strict_dynamic_mapping_exception: " if self.rules.modern else ""
            why = prefix + strict.format(unknown[0], made["type"])
        elif unknown:
            message = f"[attributes.{unknown[0]}]: definition for this key is missing: Bad Request"
            payload = {"message": message, "statusCode": 400, "error": "Bad Request"}
            output = {"statusCode": 400, "payload": payload, "headers": {}}
            return {"isBoom": True, "isServer": False, "data": None, "output": output, "type": "unknown"}
        if why is None:
            return None
        if not self.rules.modern:
            return {"message": why, "type": "unknown"}
        return {"error": "Internal Server Error", "message": f"Unexpected bulk response [400] {why}",
                "statusCode": 500, "type": "unknown"}  # fmt: skip

    def _reply(self, objects: list[Object], results: dict[tuple[str, str], Object], errors: list[Object]) -> Object:
        good = [results[k] for o in objects if (k := (o["type"], o["id"])) in results]
        reply: Object = {"successCount": len(good), "success": not errors}
        if self.rules.modern:
            reply["warnings"] = []
        if good:
            reply["successResults"] = good
        if errors:
            reply["errors"] = errors
        return reply

    # --- export and find ---------------------------------------------------------------------------------------------

    def export(self, body: Object, space: str) -> list[Object]:
        """The lines of an export."""
        kinds, asked = body.get("type"), body.get("objects")
        if kinds is None and asked is None:
            raise RefusedError(400, "Either `type` or `objects` are required.")
        if kinds is not None and asked is not None:
            raise RefusedError(400, 'Can\'t specify both "types" and "objects" properties when exporting')
        if asked is not None:
            if bad := [f"{o['type']}:{o['id']}" for o in asked if o["type"] not in self.rules.types]:
                raise RefusedError(400, f"Trying to export object(s) with non-exportable types: {', '.join(bad)}")
            lost = [o for o in asked if self.get(o["type"], o["id"], space) is None]
            if lost:
                told = [{"id": o["id"], "type": o["type"],
                         "error": four_oh_four(not_found(o["type"], o["id"]))} for o in lost]  # fmt: skip
                message = "Error fetching objects to export" if self.rules.modern else "Bad Request"
                raise RefusedError(400, message, {"objects": told})
            found = [self.kept[o["type"], o["id"]] for o in asked]
        else:
            kinds = [kinds] if isinstance(kinds, str) else kinds
            if "*" in kinds and self.rules.typed_stamps:
                kinds = sorted(self.rules.types)
            if bad := [k for k in kinds if k not in self.rules.types]:
                raise RefusedError(400, f"Trying to export non-exportable type(s): {', '.join(bad)}")
            found = [s for s in self.kept.values() if s.type in kinds and s.space == space]
        lost_refs: dict[tuple[str, str], None] = {}
        if body.get("includeReferencesDeep"):
            found = self._with_references(found, space, lost_refs)
        lines = [self.exported(s) for s in references_first(sorted(found, key=lambda s: s.id))]
        if body.get("excludeExportDetails"):
            return lines
        refs = [{"id": i, "type": t} for t, i in lost_refs]
        details: Object = {"exportedCount": len(lines), "missingRefCount": len(refs), "missingReferences": refs}
        if self.rules.modern:
            details = {"excludedObjects": [], "excludedObjectsCount": 0, **details}
        return [*lines, details]

    def _with_references(self, found: list[Saved], space: str, lost: dict[tuple[str, str], None]) -> list[Saved]:
        all_found = {(s.type, s.id): s for s in found}
        queue = list(found)
        while queue:
            for ref in queue.pop(0).references:
                key = (ref["type"], ref["id"])
                if key in all_found:
                    continue
                if (saved := self.get(*key, space)) is None:
                    lost[key] = None
                else:
                    all_found[key] = saved
                    queue.append(saved)
        return list(all_found.values())

    def legacy_export(self, dashboards: list[str], space: str) -> list[Object]:
        """What the export API of old wrote, which 9.0 removed."""
        found = [s for i in dashboards if (s := self.get("dashboard", i, space)) is not None]
        rows = [self.shown(s) for s in self._with_references(found, space, {})]
        if self.rules.typed_stamps:
            rows = [{k: v for k, v in r.items() if k != "migrationVersion"} for r in rows]
        return rows

    def find(self, query: dict[str, list[str]], space: str) -> Object:
        """`_find`, as far as it is recorded."""
        if "type" not in query:
            raise RefusedError(400, "[request query.type]: expected at least one defined value but got [undefined]")
        size, page = int(query.get("per_page", ["20"])[0]), int(query.get("page", ["1"])[0])
        if size * page > LIMIT:
            raise RefusedError(400, f"all shards failed: search_phase_execution_exception{self._too_many(size * page)}")
        ref = json.loads(query.get("has_reference", ["null"])[0])
        wanted: list[Callable[[Saved], bool]] = [lambda s: s.type in query["type"] and s.space == space]
        if ref:
            wanted.append(lambda s: any((r["type"], r["id"]) == (ref["type"], ref["id"]) for r in s.references))
        if text := query.get("search", [""])[0]:
            fields = query.get("search_fields", ["title"])
            wanted.append(lambda s: any(matches(text, str(s.attributes.get(f, ""))) for f in fields))
        found = sorted((s for s in self.kept.values() if all(w(s) for w in wanted)), key=lambda s: s.number)
        rows = found[(page - 1) * size : page * size]
        shown = [{**self.shown(s, query.get("fields")), "score": 0} for s in rows]
        return {"page": page, "per_page": size, "total": len(found), "saved_objects": shown}

    def _too_many(self, size: int) -> str:
        why = (f"Result window is too large, from + size must be less than or equal to: [10000] but was [{size}]. See "
               "the scroll api for a more efficient way to request large data sets. This limit can be set by changing "
               "the [index.max_result_window] index level setting.")  # fmt: skip
        if not self.rules.modern:
            return ""
        if not self.rules.typed_stamps:
            return f": [illegal_argument_exception] Reason: {why}"
        told = f"\n\t\tillegal_argument_exception: {why}"
        return f"\n\tCaused by:{told}\n\tRoot causes:{told}"

    def bulk_get(self, asked: list[Object], space: str) -> Object:
        rows = []
        for one in asked:
            kind, ident = one["type"], one["id"]
            if kind not in self.rules.types:
                why = f"Unsupported saved object type: '{kind}': Bad Request"
                rows.append({"id": ident, "type": kind,
                             "error": {"message": why, "statusCode": 400, "error": "Bad Request"}})  # fmt: skip
            elif (saved := self.get(kind, ident, space)) is None:
                rows.append({"id": ident, "type": kind, "error": four_oh_four(not_found(kind, ident))})
            else:
                rows.append(self.shown(saved, one.get("fields")))
        return {"saved_objects": rows}

    def bulk_delete(self, asked: list[Object], space: str) -> Object:
        rows: list[Object] = []
        for one in asked:
            try:
                self.delete(one["type"], one["id"], space)
                rows.append({"success": True, "id": one["id"], "type": one["type"]})
            except RefusedError as error:
                rows.append({"id": one["id"], "type": one["type"], "error": error.body, "success": False})
        return {"statuses": rows}
