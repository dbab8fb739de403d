"""One Kibana: what it is, whether it is ready, and its saved objects. It retries nothing but the wait for readiness."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from elkkit.errors import ElkkitError, InputError, NotAllowedError, ServiceError, UnreachableError
from elkkit.stack.kibanaerrors import (
    not_json,
    not_known,
    nothing_written,
    reason,
    status_of,
    worth_another_try,
)
from elkkit.stack.kibanareply import (
    Deleted,
    Export,
    ImportReply,
    Key,
    Problem,
    Retry,
    Written,
    read_import,
)
from elkkit.stack.kibanaserver import KibanaServer, read_status, starting
from elkkit.stack.kibanawire import Answer, KibanaConnection, Wire, form

__all__ = [
    "LARGEST",
    "MOST",
    "Deleted",
    "Export",
    "ImportReply",
    "Key",
    "Kibana",
    "KibanaConnection",
    "KibanaServer",
    "Problem",
    "Retry",
    "Space",
    "Written",
    "connect",
    "nothing_written",
    "status_of",
    "wait_ready",
    "worth_another_try",
]  # fmt: skip

LARGEST = 26_214_400
"""The most bytes that one import may have; Kibana's own limit."""
MOST = 10_000
"""The most objects that one import or export may have."""
_PAUSE = 1.0
"""Seconds between two looks at a Kibana that starts."""


@dataclass(frozen=True, slots=True)
class Space:
    """A space of a Kibana."""

    id: str
    name: str


class Kibana:
    """A Kibana; a context manager, or call `close`. What it raises are elkkit's errors; see `status_of`."""

    def __init__(self, connection: KibanaConnection) -> None:
        self.connection = connection
        self.wire = Wire(connection)
        self.server = KibanaServer(connection.url)
        """As it was when it was last asked; see `look`."""
        self._known_spaces: set[str] = set()

    def close(self) -> None:
        """Let go of its connections."""
        self.wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self) -> KibanaServer:
        """Ask for its status, which says what it is and how it fares, and keep that as `server`.

        Raises `UnreachableError`, `NotAllowedError` where it tells nothing to these credentials, `ConfigError` for
        another product.
        """
        what = "reach Kibana"
        answer = self.wire.send("GET", "/api/status", what=what)
        body = answer.body
        told = body.get("status") if isinstance(body, Mapping) else None
        if answer.status == 503 and not isinstance(told, Mapping):
            named = isinstance(body, str) and "not ready" in body.lower()
            if not named and not _ours(answer):
                self.wire.checked(answer, what)
            self.server = starting(self.server, self.connection.url)
            return self.server
        if answer.status != 503:
            self.wire.checked(answer, what)
        if not isinstance(body, Mapping) or not isinstance(told, Mapping):
            raise not_json(self.connection.url, answer.raw, answer.headers)
        if not isinstance(body.get("version"), Mapping):
            if answer.status == 503:
                self.server = starting(self.server, self.connection.url)
                return self.server
            raise NotAllowedError(
                f"cannot {what}: {self.connection.url} does not know these credentials",
                why="its status comes without its version, which is how it answers who is not logged in",
                hint="set ELKKIT_API_KEY, or ELKKIT_ES_USER and ELKKIT_ES_PASSWORD; elkkit config show  tells what is "
                     "in force",
            )  # fmt: skip
        self.server = read_status(self.connection.url, body, answer.headers)
        return self.server

    # --- writing -----------------------------------------------------------------------------------------------------

    def import_objects(
        self,
        lines: Iterable[bytes],
        *,
        overwrite: bool = False,
        create_new_copies: bool = False,
        space: str | None = None,
    ) -> ImportReply:
        """Import objects, one JSON line each. An answer with problems is returned, not raised: read `written`.

        Raises `InputError` before anything is sent for a file that is too large, or a space that is not there: Kibana
        would take it, and hide the objects from everybody.
        """
        query = {k: "true" for k, v in (("overwrite", overwrite), ("createNewCopies", create_new_copies)) if v}
        return self._upload("_import", lines, None, query, space)

    def resolve(
        self,
        lines: Iterable[bytes],
        retries: Sequence[Retry],
        *,
        create_new_copies: bool = False,
        space: str | None = None,
    ) -> ImportReply:
        """Import those objects of a file that `retries` name, as they say; the others are left out."""
        query = {"createNewCopies": "true"} if create_new_copies else {}
        return self._upload("_resolve_import_errors", lines, [r.sent() for r in retries], query, space)

    def _upload(
        self, route: str, lines: Iterable[bytes], retries: object, query: Mapping[str, str], space: str | None
    ) -> ImportReply:
        what = "import the objects"
        rows = [line.rstrip(b"\r\n") for line in lines]
        body, content_type = form(b"".join(row + b"\n" for row in rows if row.strip()), retries)
        if len(body) > LARGEST or len(rows) > MOST:
            raise InputError(f"cannot {what}: there are too many for one request",
                             why=f"{len(rows):,} objects with {len(body):,} bytes, and Kibana takes {MOST:,} and "
                                 f"{LARGEST:,} bytes",
                             hint="import fewer objects at once")  # fmt: skip
        self.require_space(space)
        try:
            answer = self.wire.ask("POST", f"/api/saved_objects/{route}", what=what, query=query, body=body,
                                   content_type=content_type, space=space)  # fmt: skip
        except ElkkitError as error:
            raise not_known(error) from error.__cause__
        if (reply := read_import(answer.body)) is None:
            raise not_json(self.connection.url, answer.raw, answer.headers)
        return reply

    def delete(self, objects: Iterable[Key], *, space: str | None = None) -> Deleted:
        """Delete objects one by one, which every version can. Nothing is raised for one that is not there.

        An error that is raised says how many were deleted before it.
        """
        keys, deleted = list(objects), Deleted()
        for kind, ident in keys:
            if ident in (".", ".."):  # on its way an address loses such a part, and names another object
                deleted.failed[kind, ident] = "an object of this id can only be deleted in Kibana itself"
                continue
            what = f'delete {kind} "{ident}"'
            try:
                answer = self.wire.send("DELETE", _path(kind, ident), what=what, space=space)
                if answer.status == 404 and _ours(answer):
                    deleted.missing.append((kind, ident))
                elif answer.status in (400, 409):
                    deleted.failed[kind, ident] = reason(answer.body)
                else:
                    self.wire.checked(answer, what)
                    deleted.done.append((kind, ident))
            except ElkkitError as error:
                error.why = f"{error.why}; {len(deleted.done)} of {len(keys)} objects were deleted before"
                raise
        return deleted

    # --- reading -----------------------------------------------------------------------------------------------------

    def export(self, objects: Iterable[Key], *, deep: bool = False, space: str | None = None) -> Export:
        """Objects in full, with `deep` also all that they refer to. Those that are not there are told, not raised."""
        wanted, missing = list(dict.fromkeys(objects)), list[Key]()
        while wanted:
            found = self._export(wanted, deep=deep, space=space)
            if isinstance(found, Export):
                return Export(found.objects, tuple(missing), found.missing_references)
            missing += found
            wanted = [k for k in wanted if k not in found]
        return Export(missing=tuple(missing))

    def _export(self, wanted: list[Key], *, deep: bool, space: str | None) -> Export | list[Key]:
        """The export, or those of the objects that are not there: one is enough to refuse all."""
        what = "export the objects"
        asked = {"objects": [{"type": t, "id": i} for t, i in wanted], "includeReferencesDeep": deep}
        answer = self.wire.send("POST", "/api/saved_objects/_export", what=what, body=json.dumps(asked).encode(),
                                content_type="application/json", space=space)  # fmt: skip
        if answer.status == 400:
            gone = [k for k in _not_found(answer.body) if k in wanted]
            if gone:
                return gone
        self.wire.checked(answer, what)
        try:
            rows = [json.loads(line) for line in answer.raw.decode("utf-8").split("\n") if line.strip()]
        except ValueError:
            raise not_json(self.connection.url, answer.raw, answer.headers) from None
        if not rows or not all(isinstance(r, dict) for r in rows) or "exportedCount" not in rows[-1]:
            raise not_json(self.connection.url, answer.raw, answer.headers)
        details = rows.pop()
        if details["exportedCount"] != len(rows):
            raise ServiceError(f"cannot {what}: {self.connection.url} gave an export that is not whole",
                               why=f"it says {details['exportedCount']} objects and holds {len(rows)}",
                               hint="run the same command again")  # fmt: skip
        lost = tuple((str(r.get("type")), str(r.get("id"))) for r in details.get("missingReferences", []))
        return Export(tuple(rows), missing_references=lost)

    def get_many(self, objects: Iterable[Key], *, space: str | None = None) -> dict[Key, dict[str, Any] | None]:
        """Objects as they are kept; None for one that is not there, or of a type that this Kibana does not have."""
        what, wanted = "read the objects", list(dict.fromkeys(objects))
        if not wanted:
            return {}
        answer = self.wire.ask("POST", "/api/saved_objects/_bulk_get", what=what, space=space,
                               json_body=[{"type": t, "id": i} for t, i in wanted])  # fmt: skip
        body = answer.body
        if not isinstance(body, Mapping) or not isinstance(body.get("saved_objects"), list):
            raise not_json(self.connection.url, answer.raw, answer.headers)
        found: dict[Key, dict[str, Any] | None] = dict.fromkeys(wanted)
        for row in body["saved_objects"]:
            error = row.get("error")
            if error is None:
                found[row["type"], row["id"]] = row
            elif error.get("statusCode") not in (400, 404):
                raise ServiceError(f'cannot {what}: {row["type"]} "{row["id"]}" is not readable', why=reason(error),
                                   hint="read Kibana's log")  # fmt: skip
        return found

    def spaces(self) -> list[Space] | None:
        """The spaces that these credentials see, or None where this Kibana has none."""
        what = "list the spaces"
        answer = self.wire.send("GET", "/api/spaces/space", what=what)
        if answer.status == 404 and _ours(answer):
            return None
        body = self.wire.checked(answer, what).body
        if not isinstance(body, list):
            raise not_json(self.connection.url, answer.raw, answer.headers)
        return [Space(str(row.get("id")), str(row.get("name"))) for row in body]

    def require_space(self, space: str | None) -> None:
        """Raise `InputError` for a space that is not there; Kibana itself would not say so."""
        if space in (None, "default") or space in self._known_spaces:
            return
        found = self.spaces()
        if found is None:
            raise InputError(f'cannot use the space "{space}"', why=f"{self.server.kind} has no spaces",
                             hint="leave --space out")  # fmt: skip
        self._known_spaces = {s.id for s in found}
        if space not in self._known_spaces:
            names = ", ".join(sorted(self._known_spaces))
            raise InputError(f'there is no space "{space}"', why=f"there are {names}",
                             hint="make it in Kibana first, or name another: --space NAME")  # fmt: skip

    def dashboard_address(self, ident: str, *, space: str | None = None) -> str:
        """Where a browser shows a dashboard."""
        prefix = f"/s/{quote(space, safe='')}" if space and space != "default" else ""
        return f"{self.connection.url}{prefix}/app/dashboards#/view/{quote(ident, safe='')}"


def connect(connection: KibanaConnection, *, wait: float = 0, tell: Callable[[str], None] | None = None) -> Kibana:
    """Reach a Kibana and find out what it is; with `wait` seconds for it to become ready.

    Without `wait` a Kibana that starts is returned too: look at `server.ready`. Raises what `Kibana.look` raises.
    """
    kibana = Kibana(connection)
    try:
        if wait > 0:
            wait_ready(kibana, wait, tell)
        else:
            kibana.look()
    except BaseException:
        kibana.close()
        raise
    return kibana


def wait_ready(kibana: Kibana, seconds: float, tell: Callable[[str], None] | None = None) -> KibanaServer:
    """Ask again and again until it is ready; `tell` hears what it waits for, whenever that changes.

    Raises `UnreachableError` when the time is over, and at once what waiting does not mend.
    """
    end, said = time.monotonic() + seconds, ""
    while True:
        try:
            server = kibana.look()
            why = {"starting": "it is still starting", "unavailable": "it is still starting"}.get(
                server.level, "its Elasticsearch or one of its own parts fails: its status is critical"
            )
            if server.ready:
                return server
        except UnreachableError as error:
            if "is not trusted" in error.message:
                raise
            why = error.why or error.message
        if why != said and tell is not None:
            tell(f"waiting for {kibana.connection.url}: {why}")
        said = why
        if time.monotonic() + _PAUSE > end:
            raise UnreachableError(f"{kibana.connection.url} is not ready after {seconds:g} seconds", why=why,
                                   hint="read its log, or wait and run the same command again")  # fmt: skip
        time.sleep(_PAUSE)


def _path(kind: str, ident: str) -> str:
    return f"/api/saved_objects/{quote(kind, safe='')}/{quote(ident, safe='')}"


def _ours(answer: Answer) -> bool:
    return any(name in answer.headers for name in ("kbn-name", "osd-name"))


def _not_found(body: object) -> list[Key]:
    """The objects that an export names as not there."""
    attributes = body.get("attributes") if isinstance(body, Mapping) else None
    rows = attributes.get("objects") if isinstance(attributes, Mapping) else None
    return [
        (str(row.get("type")), str(row.get("id")))
        for row in rows or []
        if isinstance(row, Mapping) and (row.get("error") or {}).get("statusCode") == 404
    ]
