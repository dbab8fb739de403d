"""A Kibana that answers over HTTP as 7.10.2 (OSS), 8.3.3 and 8.12.2 were recorded to: `with FakeKibana("8.3.3") as k:`.

Its answers come from its own state: `store` holds the objects, `spaces` the spaces, `health` how it fares. `fail` makes
requests go wrong as networks, proxies and servers do.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from fakes import kibana_rules_api, kibana_views
from fakes.kibana_rules import RULES, HangError, Object, RefusedError
from fakes.kibana_state import Store

MOST = 26_214_400
"""The largest upload, in bytes."""
PAGE = "<!DOCTYPE html><html><head><title>{}</title></head><body>{}</body></html>"
NOT_READY = "Kibana server is not ready yet"


class Health(StrEnum):
    """How a server fares."""

    READY = "ready"
    STARTING = "starting"
    DEGRADED = "degraded"
    NO_ELASTICSEARCH = "no elasticsearch"


class Fault(StrEnum):
    """What goes wrong with one request."""

    BUSY = "429"
    TOO_LARGE = "413"
    """Of a proxy: a page."""
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    CRASH = "500"
    MEDIA_TYPE = "415"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    LOGIN_PAGE = "login"
    LOGIN_REDIRECT = "redirect"
    CUT = "cut"
    """The request is carried out, and the connection breaks in the middle of the answer."""
    RESET = "reset"
    """The connection breaks before anything is done."""
    HANG = "hang"
    GARBLED = "garbled"
    """JSON that is not what was asked for."""


@dataclass
class Reply:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = ()  # type: ignore[assignment]
    named: bool = True
    """With Kibana's own header."""


class FakeKibana:
    """A running server; a context manager. Tests look into its state and change it."""

    def __init__(self, version: str = "8.12.2", *, tls: ssl.SSLContext | None = None, product: str = "kibana") -> None:
        self.rules = RULES[version]
        self.version = version
        self.product = product
        self.store = Store(self.rules)
        self.spaces: dict[str, Object] = {"default": {
            "id": "default", "name": "Default", "description": "This is your default space!", "color": "#00bfb3",
            "disabledFeatures": [], "_reserved": True}}  # fmt: skip
        self.default_view: str | None = None
        self.health = Health.READY
        self.credentials: str | None = None
        """The `Authorization` that is wanted, where one is."""
        self.redacted = False
        """The status is told to anybody, without its version."""
        self.mappings: dict[str, Object] = {}
        """Elasticsearch's mapping of each index, for the lists of fields."""
        self.alerts = kibana_rules_api.RuleStore()
        self.asked: list[tuple[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self._faults: list[list[Any]] = []
        self._released = threading.Event()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._tls = tls
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(self, fault: Fault, *, times: int = 1, only: str = "") -> None:
        """Make the next `times` requests whose path contains `only` go wrong."""
        self._faults.append([fault, times, only])

    def fault(self, path: str) -> Fault | None:
        with self._lock:
            for known in self._faults:
                if known[1] > 0 and known[2] in path:
                    known[1] -= 1
                    found: Fault = known[0]
                    return found
        return None

    # --- answers -----------------------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The answer to one request. Raises `HangError` where there is none."""
        parts = urlsplit(target)
        path, space = parts.path, "default"  # as it was sent: an id may hold a slash
        self.asked.append((method, path))
        self.headers.append(headers)
        try:
            if early := self._early(method, path, headers, parts.query):
                return early
            if found := re.match(r"/s/([^/]+)(/.*)", path):
                if not self.rules.modern:
                    raise RefusedError(404, "Not Found")
                space, path = unquote(found[1]), found[2]
            with self._lock:
                return self._routed(method, path, space, parse_qs(parts.query, keep_blank_values=True), headers, body)
        except RefusedError as error:
            return _json(error.status, error.body)
        except (KeyError, TypeError, ValueError) as error:
            return _json(400, {"statusCode": 400, "error": "Bad Request", "message": f"[request body]: {error!r}"})

    def _early(self, method: str, path: str, headers: Mapping[str, str], query: str) -> Reply | None:
        """What is answered before any route is looked for."""
        if self.health is Health.STARTING:
            return self._starting(method, path)
        wants = self.credentials is not None and headers.get("Authorization") != self.credentials
        if wants and not (self.redacted and path == "/api/status"):
            why = "[security_exception]: missing authentication credentials for REST request"
            return _json(401, RefusedError(401, why).body, {"WWW-Authenticate": 'Basic realm="security"'})
        if path == "/":
            return Reply(302, headers={"Location": "/spaces/enter" if self.rules.modern else "/app/home"})
        if path.endswith("/api/status") and method in ("GET", "HEAD"):
            redact = self.redacted and wants
            return kibana_views.status(self, parse_qs(query), redact=redact, space=path != "/api/status")
        sent = headers.get("kbn-version")
        if method not in ("GET", "HEAD") and sent not in (None, self.version):
            raise RefusedError(400, "Browser client is out of date, please refresh the page (\"kbn-version\" header "
                               f'was "{sent}" but should be "{self.version}")',
                          {"expected": self.version, "got": sent})  # fmt: skip
        xsrf = "osd-xsrf" if self.product == "opensearch" else "kbn-xsrf"
        if method not in ("GET", "HEAD") and xsrf not in headers and sent is None:
            raise RefusedError(400, f"Request must contain a {xsrf} header.")
        if self.health is Health.NO_ELASTICSEARCH:
            why = "connect ECONNREFUSED 127.0.0.1:9200" if self.rules.typed_stamps else "License is not available."
            busy = {} if self.rules.typed_stamps else {"Retry-After": "30"}
            return _json(503, RefusedError(503, why).body, busy)
        return None

    def _starting(self, method: str, path: str) -> Reply:
        named = self.rules.typed_stamps
        if self.rules.modern and path == "/":
            return Reply(200, PAGE.format("Elastic", "Loading").encode(), {"Content-Type": "text/html"}, named)
        if self.rules.modern and method == "POST":
            return Reply(415, json.dumps(RefusedError(415, "Unsupported Media Type").body).encode(), _AS_JSON, named)
        if self.rules.typed_stamps and path == "/api/status":
            return _json(503, {"status": {"overall": {"level": "unavailable"}}})
        text = {"Content-Type": "text/html; charset=utf-8", "Retry-After": "30"}
        return Reply(503, NOT_READY.encode(), text, named)

    def _routed(
        self, method: str, path: str, space: str, query: dict[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> Reply:
        upload = {"_import": False, "_resolve_import_errors": True}
        if found := re.fullmatch(r"/api/saved_objects/(_\w+)", path):
            if method == "POST" and found[1] in upload:
                return self._upload(space, query, headers, body, resolve=upload[found[1]])
            if method == "POST" and found[1] == "_export":
                lines = self.store.export(json.loads(body), space)
                text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
                disposition = {"Content-Disposition": 'attachment; filename="export.ndjson"'}
                return Reply(200, text.encode(), {"Content-Type": "application/ndjson", **disposition})
            if method == "GET" and found[1] == "_find":
                return _json(200, self.store.find(query, space))
            if method == "POST" and found[1] == "_bulk_get":
                return _json(200, self.store.bulk_get(json.loads(body), space))
            if method == "POST" and found[1] == "_bulk_delete" and self.rules.typed_stamps:
                return _json(200, self.store.bulk_delete(json.loads(body), space))
        if (found := re.fullmatch(r"/api/saved_objects/resolve/([^/]+)/([^/]+)", path)) and self.rules.modern:
            if (saved := self.store.get(found[1], found[2], space)) is None:
                raise RefusedError(404, f"Saved object [{found[1]}/{found[2]}] not found")
            return _json(200, {"saved_object": self.store.shown(saved), "outcome": "exactMatch"})
        if found := re.fullmatch(r"/api/saved_objects/([^/]+)(?:/([^/]+))?", path):
            ident = unquote(found[2]) if found[2] else None
            return self._one(method, unquote(found[1]), ident, space, query, body)
        if (method, path) == ("GET", "/api/kibana/dashboards/export"):
            objects = self.store.legacy_export(query["dashboard"], space)
            return _json(200, {"version": self.version, "objects": objects})
        if (listed := kibana_views.fields(self, method, path, query, headers)) is not None:
            return listed
        found_view = kibana_views.routed(self, method, path, space, json.loads(body) if body else None)
        if found_view is not None:
            return found_view
        found_rule = kibana_rules_api.routed(self, method, path, space, query, json.loads(body) if body else None)
        if found_rule is not None:
            return found_rule
        raise RefusedError(404, "Not Found")

    def _one(
        self, method: str, kind: str, ident: str | None, space: str, query: dict[str, list[str]], body: bytes
    ) -> Reply:
        from uuid import uuid4

        if method == "POST":  # without an id one is made, which is where `_bulk_delete` of old versions leads
            if unknown := sorted(set(query) - {"overwrite"}):
                raise RefusedError(400, f"[request query.{unknown[0]}]: definition for this key is missing")
            sent = json.loads(body)
            if not isinstance(sent, dict):
                raise RefusedError(400, "[request body]: expected a plain object value, but found [Array] instead.")
            over = query.get("overwrite") == ["true"]
            return _json(200, self.store.create(kind, ident or str(uuid4()), sent, space, overwrite=over))
        if ident is None or ident.startswith("_") or kind.startswith("_"):
            raise RefusedError(404, "Not Found")
        if method == "GET":
            if (saved := self.store.get(kind, ident, space)) is None:
                raise RefusedError(404, f"Saved object [{kind}/{ident}] not found")
            return _json(200, self.store.shown(saved))
        if method == "PUT":
            return _json(200, self.store.update(kind, ident, json.loads(body), space))
        if method == "DELETE":
            self.store.delete(kind, ident, space)
            return _json(200, {})
        raise RefusedError(404, "Not Found")

    def _upload(
        self, space: str, query: dict[str, list[str]], headers: Mapping[str, str], body: bytes, *, resolve: bool
    ) -> Reply:
        if len(body) > MOST:
            raise RefusedError(413, f"Payload content length greater than maximum allowed: {MOST}")
        if not headers.get("Content-Type", "").startswith("multipart/form-data"):
            raise RefusedError(415, "Unsupported Media Type")
        known = self.rules.queries - {"overwrite"} if resolve else self.rules.queries
        if unknown := sorted(set(query) - known):
            raise RefusedError(400, f"[request query.{unknown[0]}]: definition for this key is missing")
        given = {k: v == ["true"] for k, v in query.items()}
        overwrite, copies = given.get("overwrite", False), given.get("createNewCopies", False)
        if overwrite and copies:
            raise RefusedError(400, "[request query]: cannot use [overwrite] with [createNewCopies]")
        parts = _multipart(headers["Content-Type"], body)
        if parts.get("file", (None, ""))[0] is None:
            raise RefusedError(400, "[request body.file]: expected value of type [Stream] but got [undefined]")
        if resolve and "retries" not in parts:
            raise RefusedError(400, "[request body.retries]: expected value of type [array] but got [undefined]")
        name, content = parts["file"]
        if not str(name).lower().endswith(".ndjson"):
            raise RefusedError(400, f"Invalid file extension .{str(name).rpartition('.')[2]}")
        retries = json.loads(parts["retries"][1]) if resolve else None
        objects = self.store.read(content)
        return _json(200, self.store.take(objects, space, overwrite=overwrite, copies=copies, retries=retries))

    def released(self, seconds: float) -> None:
        """Wait until the server ends, or so long."""
        self._released.wait(seconds)


_AS_JSON = {"Content-Type": "application/json; charset=utf-8"}


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(body).encode(), {**_AS_JSON, **(headers or {})})


def _multipart(content_type: str, body: bytes) -> dict[str, tuple[str | None, str]]:
    """File name and content of each part of a form."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        parts[name] = (part.get_filename(), part.get_payload(decode=True).decode())
    return parts


class _Handler(BaseHTTPRequestHandler):
    fake: FakeKibana
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def handle(self) -> None:
        with suppress(ConnectionError, ssl.SSLError, ValueError):
            super().handle()

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.fake.fault(self.path)
        if fault is Fault.RESET:
            return self._break()
        if fault is Fault.HANG:
            return self._hang()
        reply = _faulty(fault, self.fake)
        if reply is None:
            try:
                reply = self.fake.answer(self.command, self.path, dict(_titled(self.headers)), body)
            except HangError:
                return self._hang()
        self.send_response(reply.status)
        if reply.named:
            header = "osd-name" if self.fake.product == "opensearch" else "kbn-name"
            self.send_header(header, "kibana")
        for name, value in dict(reply.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if fault is Fault.CUT:
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.wfile.flush()
            return self._break()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        return None

    do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = do_HEAD = _do  # noqa: N815

    def _hang(self) -> None:
        self.fake.released(20)
        self.close_connection = True

    def _break(self) -> None:
        """End the connection without a farewell."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(0.05)  # let what was sent arrive
            self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass


def _titled(headers: Any) -> list[tuple[str, str]]:
    """Headers by the names that this module uses."""
    names = {n.lower(): n for n in ("Content-Type", "Authorization")}
    return [(names.get(k.lower(), k.lower()), v) for k, v in headers.items()]


def _faulty(fault: Fault | None, fake: FakeKibana) -> Reply | None:
    """The answer of a fault that has one."""
    html = {"Content-Type": "text/html"}
    why = {
        Fault.BUSY: (429, "Too Many Requests"),
        Fault.UNAVAILABLE: (503, "License is not available."),
        Fault.MEDIA_TYPE: (415, "Unsupported Media Type"),
        Fault.UNAUTHORIZED: (401, "[security_exception]: unable to authenticate user [lane]"),
        Fault.FORBIDDEN: (403, "Unable to bulk_create dashboard,index-pattern"),
    }
    if fault in why:
        status, message = why[fault]
        return _json(status, RefusedError(status, message).body)
    if fault is Fault.CRASH:
        return _json(500, fake.rules.crashed().body)
    if fault is Fault.TOO_LARGE:
        return Reply(413, PAGE.format("413 Request Entity Too Large", "nginx").encode(), html, named=False)
    if fault is Fault.BAD_GATEWAY:
        return Reply(502, PAGE.format("502 Bad Gateway", "nginx").encode(), html, named=False)
    if fault is Fault.LOGIN_PAGE:
        return Reply(200, PAGE.format("Sign in", "<form>").encode(), html, named=False)
    if fault is Fault.LOGIN_REDIRECT:
        return Reply(302, headers={"Location": "https://sso.example/login"}, named=False)
    if fault is Fault.GARBLED:
        return _json(200, {"hello": "world"})
    return None
