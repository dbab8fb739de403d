"""A guard before a server without security: it lets through what a role allows, as Elasticsearch's security does.

What each call needs is written down from Elasticsearch's documentation of its privileges. A call that is not in the
table is refused and noted, so that a command which begins to make one fails its test until the table knows it.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

CLUSTER = "cluster"
KEY = base64.b64encode(b"id:guarded").decode()
"""The only API key that is taken."""

_NAMES = r"/(?P<names>[^/_][^/]*)"
_TABLE: tuple[tuple[str, str, str], ...] = (
    # method, path, privilege: of the cluster where the path names no indices
    ("GET|HEAD", r"/", "monitor"),
    ("GET", r"/_nodes(/.*)?", "monitor"),
    ("GET", r"/_resolve/index/(?P<names>[^/]+)", "view_index_metadata"),
    ("GET", r"/_alias/(?P<names>[^/]+)", "view_index_metadata"),
    ("GET", _NAMES + r"/_settings(/.*)?", "view_index_metadata"),
    ("GET|POST", _NAMES + r"/_refresh", "maintenance"),
    ("GET|POST", _NAMES + r"/_(search|count|mget|field_caps)", "read"),
    ("POST", _NAMES + r"/_pit", "read"),
    # of the indices that the moment was opened for, which took the privilege then
    ("GET|POST", r"/_search", "read"),
    ("DELETE", r"/_pit", "read"),
)
_BULK = re.compile(_NAMES + "/_bulk")
_OF_BULK = {"create": "create_doc", "index": "index", "update": "index", "delete": "delete"}


class Need(NamedTuple):
    """A privilege, and the indices that it is needed for; none for those of the cluster."""

    privilege: str
    indices: tuple[str, ...] = ()


def needs(method: str, path: str, body: bytes) -> list[Need] | None:
    """What a call needs; None for a call that is not known."""
    if found := _BULK.fullmatch(path):
        indices = tuple(found["names"].split(","))
        actions = [json.loads(line) for line in body.splitlines()[::2]]
        assert all(set(a) == {"create"} for a in actions), "only creating has no line of its own to skip"
        return [Need(_OF_BULK[name], indices) for name in sorted({n for a in actions for n in a})]
    for methods, pattern, privilege in _TABLE:
        match = re.fullmatch(pattern, path)
        if match and re.fullmatch(methods, method):
            if "names" in match.groupdict():
                return [Need(privilege, tuple(match["names"].split(",")))]
            return [Need(privilege, () if privilege == "monitor" else ("*any*",))]
    return None


def allows(role: Mapping[str, Any], need: Need) -> bool:
    """Whether a role's descriptor has it; a data stream's privileges hold for the indices behind it."""
    if not need.indices:
        return need.privilege in role[CLUSTER]
    return all(
        any(
            need.privilege in part["privileges"]
            and (index == "*any*" or any(fnmatchcase(index.removeprefix(".ds-"), n) for n in part["names"]))
            for part in role["indices"]
        )
        for index in need.indices
    )


class Guard:
    """What was asked so far."""

    def __init__(self, target: str, role: Mapping[str, Any]) -> None:
        self.target = target
        self.role = role
        self.url = ""
        self.used: set[str] = set()
        """Privileges that were needed and granted."""
        self.denied: list[str] = []
        """`METHOD /path: privilege`, or that the call is not known."""
        self._lock = Lock()

    def judge(self, method: str, path: str, body: bytes) -> str | None:
        """Why a call is refused, or None."""
        needed = needs(method, path, body)
        with self._lock:
            if needed is None:
                self.denied.append(f"{method} {path}: not a known call")
                return f"action [{method} {path}] is unauthorized"
            for need in needed:
                if not allows(self.role, need):
                    self.denied.append(f"{method} {path}: {need.privilege}")
                    return f"action [{need.privilege}] is unauthorized for API key id [id] on indices {need.indices}"
                self.used.add(need.privilege)
        return None


@contextmanager
def guarding(target: str, role: Mapping[str, Any]) -> Iterator[Guard]:
    """A guard on a loopback port before the server at `target`, until the block ends."""
    guard = Guard(target, role)
    where = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = unquote(self.path.partition("?")[0])
            if self.headers.get("Authorization") != f"ApiKey {KEY}":
                self._answer(401, {}, _error("missing authentication credentials"))
                return
            if why := guard.judge(self.command, path, body):
                self._answer(403, {}, _error(why))
                return
            connection = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=60)
            try:
                kept = {n: v for n, v in self.headers.items() if n.lower() in ("accept", "content-type")}
                connection.request(self.command, self.path, body or None, kept)
                answer = connection.getresponse()
                headers = {n: v for n, v in answer.getheaders() if n.lower() in ("content-type", "x-elastic-product")}
                self._answer(answer.status, headers, answer.read())
            finally:
                connection.close()

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            merged = {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/json"}
            named = {n.title(): v for n, v in headers.items()}
            for name, value in {**merged, **named, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    guard.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield guard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _error(why: str) -> bytes:
    cause = {"type": "security_exception", "reason": why}
    return json.dumps({"error": {"root_cause": [cause], **cause}}).encode()
