"""An Elasticsearch with all its modules, as far as `elkkit setup` speaks to it.

It answers over HTTP, so that the real client reads its answers and its errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

from elkkit.stack import shapes

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}


class Fake:
    """The state of the server; tests look into it and change it."""

    def __init__(self, version: str = "8.19.9") -> None:
        self.version = version
        self.url = ""
        self.kept: dict[str, dict[str, Any]] = {"_component_template": {}, "_index_template": {}, "_ilm/policy": {},
                                                "_ingest/pipeline": {}}  # fmt: skip
        self.streams: dict[str, list[str]] = {}
        self.indices: dict[str, Any] = {}
        self.aliases: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.forbidden = re.compile(r"(?!)")
        """`METHOD /path` that is answered by 403."""
        self.lacks = re.compile(r"(?!)")
        """Paths that this server does not have."""
        self.no_logsdb = False
        self.before_put = lambda _path: None

    @property
    def written(self) -> list[str]:
        """What was sent to change something."""
        reads = re.compile(r"GET|HEAD|POST /_index_template/_simulate")
        return [f"{m} {p}" for m, p in self.asked if not reads.match(f"{m} {p}")]

    def snapshot(self) -> str:
        """Everything that is there."""
        return json.dumps([self.kept, self.streams, self.indices], sort_keys=True)

    def answer(self, method: str, path: str, query: str, body: Any) -> tuple[int, Any]:
        """Status and body of one request."""
        self.asked.append((method, path))
        if self.forbidden.search(f"{method} {path}"):
            why = f"action [{path}] is unauthorized for API key id [k] of user [u]"
            return 403, error("security_exception", why)
        if self.lacks.search(path):
            return 400, error("illegal_argument_exception", f"no handler found for uri [{path}] and method [{method}]")
        if path == "/":
            version = {"number": self.version, "build_flavor": "default"}
            return 200, {"cluster_name": "fake", "version": version, "tagline": "You Know, for Search"}
        if path.startswith("/_index_template/_simulate"):
            return self._simulate(path, body)
        for kind in self.kept:
            if path == f"/{kind}" or path.startswith(f"/{kind}/"):
                return self._template(method, kind, path.removeprefix(f"/{kind}").strip("/"), query, body)
        if path.startswith("/_resolve/index/"):
            return self._resolve(path.rpartition("/")[2])
        if method == "PUT" and path.startswith("/_data_stream/"):
            return self._new_index(path.rpartition("/")[2])
        if path.endswith("/_rollover"):
            return self._new_index(path.split("/")[1])
        if path.startswith("/_alias/"):
            name = path.rpartition("/")[2]
            return 200, {self.aliases[name]: {"aliases": {name: {}}}}
        name = path.strip("/")
        if name in self.indices:
            return 200, {name: self.indices[name]}
        return 404, error("index_not_found_exception", f"no such index [{name}]")

    def _template(self, method: str, kind: str, name: str, query: str, body: Any) -> tuple[int, Any]:
        kept = self.kept[kind]
        if method == "PUT":
            self.before_put(f"{kind}/{name}")
            if "create=true" in query and name in kept:
                return 400, error("illegal_argument_exception", f"{kind} [{name}] already exists")
            kept[name] = body
            return 200, {"acknowledged": True}
        if name and name not in kept:
            return 404, error("resource_not_found_exception", f"{kind} [{name}] not found")
        found = {n: b for n, b in kept.items() if n == name or not name}
        if kind == "_ilm/policy":
            return 200, {n: _as_ilm_gives_back(b) for n, b in found.items()}
        if kind == "_ingest/pipeline":
            return 200, found
        key = kind.strip("_")
        return 200, {f"{key}s": [{"name": n, key: _as_given_back(b)} for n, b in found.items()]}

    def _resolve(self, name: str) -> tuple[int, Any]:
        streams = [{"name": name, "backing_indices": self.streams[name]}] if name in self.streams else []
        aliases = [{"name": name, "indices": [self.aliases[name]]}] if name in self.aliases else []
        indices = [{"name": name}] if name in self.indices else []
        if not (streams or aliases or indices):
            return 404, error("index_not_found_exception", f"no such index [{name}]")
        return 200, {"indices": indices, "aliases": aliases, "data_streams": streams}

    def _simulate(self, path: str, body: Any) -> tuple[int, Any]:
        name = path.partition("/_simulate_index/")[2]
        made = self._composed(name) if name else shapes.merged(body["template"])
        if self.no_logsdb and made["settings"].get("index.mode") == "logsdb":
            return 400, error("illegal_argument_exception", "unknown setting [index.mode]")
        return 200, {"template": made, "overlapping": []}

    def _composed(self, stream: str) -> dict[str, Any]:
        taking = [t for t in self.kept["_index_template"].values()
                  if any(shapes.patterns_meet(p, stream) for p in t["index_patterns"])]  # fmt: skip
        best = max(taking, key=lambda t: t.get("priority", 0))
        parts = [self.kept["_component_template"][n]["template"] for n in best["composed_of"]]
        return shapes.merged(*parts, best.get("template", {}))

    def _new_index(self, stream: str) -> tuple[int, Any]:
        made = self.streams.setdefault(stream, [])
        name = f".ds-{stream}-2026.11.22-{len(made) + 1:06}"
        made.append(name)
        self.indices[name] = self._composed(stream)
        return 200, {"acknowledged": True, "new_index": name, "rolled_over": True}


def error(kind: str, why: str) -> dict[str, Any]:
    """An error as Elasticsearch writes it."""
    cause = {"type": kind, "reason": why}
    return {"error": {"root_cause": [cause], **cause}}


def _as_given_back(body: Any) -> Any:
    """A template as newer servers show it: scalars of settings as texts, and when it was made."""
    shown = json.loads(json.dumps(body))
    settings = shown.get("template", {}).get("settings")
    if settings:
        shown["template"]["settings"] = _texts(settings)
    if "data_stream" in shown:
        shown["data_stream"] = {"hidden": False, "allow_custom_routing": False}
    return {**shown, "created_date_millis": 1, "modified_date_millis": 2}


def _as_ilm_gives_back(body: Any) -> Any:
    policy = json.loads(json.dumps(body["policy"]))
    policy["phases"]["hot"].setdefault("min_age", "0ms")
    policy["phases"]["delete"]["actions"]["delete"] = {"delete_searchable_snapshot": True}
    return {"version": 3, "modified_date": "2026-11-22T00:00:00.000Z", "policy": policy, "in_use_by": {}}


def _texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: _texts(v) for n, v in value.items()}
    return [_texts(v) for v in value] if isinstance(value, list) else shapes.word(value)


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """Answer on a loopback port until the block ends; the address is `fake.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet: with two, the second waits for the first one's receipt

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, _, query = self.path.partition("?")
            status, told = fake.answer(self.command, unquote(path), query, json.loads(body) if body else None)
            data = json.dumps(told).encode()
            self.send_response(status)
            for name, value in {**PRODUCT, "Content-Type": "application/json", "Content-Length": len(data)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
