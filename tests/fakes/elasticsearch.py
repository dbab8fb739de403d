"""An Elasticsearch with all its modules, as far as `elkkit setup` speaks to it.

It answers over HTTP, so that the real client reads its answers and its errors.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

from elkkit.contract import load_contract
from elkkit.line.parser import Parser
from elkkit.stack import shapes

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}


class Fake:
    """The state of the server; tests look into it and change it."""

    def __init__(self, version: str = "8.19.9") -> None:
        self.version = version
        self.url = ""
        self.kept: dict[str, dict[str, Any]] = {"_component_template": {}, "_index_template": {}, "_ilm/policy": {},
                                                "_ingest/pipeline": {}, "_security/role": {}}  # fmt: skip
        self.streams: dict[str, list[str]] = {}
        self.indices: dict[str, Any] = {}
        self.aliases: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.forbidden = re.compile(r"(?!)")
        """`METHOD /path` that is answered by 403."""
        self.lacks = re.compile(r"(?!)")
        """Paths that this server does not have."""
        self.no_logsdb = False
        self.no_failure_store = False
        self.secured = False
        """It has users, roles and API keys."""
        self.lacking: set[str] = set()
        """Privileges that these credentials do not have."""
        self.users: dict[str, Any] = {"elastic": {"username": "elastic", "roles": ["superuser"]}}
        self.role_mappings: dict[str, Any] = {}
        self.api_keys: list[dict[str, Any]] = []
        """What was asked for, and the key that was given."""
        self.options: dict[str, Any] = {}
        """Of each data stream."""
        self.judge = _judged
        """What the ingest pipeline makes of a message; None where it drops it."""
        self.before_put = lambda _path: None

    @property
    def written(self) -> list[str]:
        """What was sent to change something."""
        reads = re.compile(r"GET|HEAD|POST /(_index_template/_simulate|_ingest/.*_simulate|_security/user/_has_privi)")
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
        if path.startswith("/_security/"):
            if not self.secured:
                return 400, {"error": f"no handler found for uri [{path}] and method [{method}]"}
            if not path.startswith("/_security/role/"):
                return self._security(path, body)
        if path.startswith("/_ingest/") and path.endswith("/_simulate"):
            return self._through_the_pipeline(path, body)
        for kind in self.kept:
            if path == f"/{kind}" or path.startswith(f"/{kind}/"):
                return self._template(method, kind, path.removeprefix(f"/{kind}").strip("/"), query, body)
        if path.startswith("/_resolve/index/"):
            return self._resolve(path.rpartition("/")[2])
        if path.startswith("/*/_settings/"):
            return 200, {n: {"settings": shapes.settings(about["settings"])} for n, about in self.indices.items()}
        if method == "GET" and path.startswith("/_data_stream/"):
            return self._about_stream(path.rpartition("/")[2])
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
        if method == "DELETE":
            if why := self._in_use(kind, name):
                return 400, error("illegal_argument_exception", why)
            del kept[name]
            return 200, {"acknowledged": True}
        found = {n: b for n, b in kept.items() if n == name or not name}
        if kind == "_ilm/policy":
            return 200, {n: {**_as_ilm_gives_back(b), "in_use_by": self._users_of_policy(n)} for n, b in found.items()}
        if kind == "_ingest/pipeline":
            return 200, found
        if kind == "_security/role":
            return 200, {n: _as_roles_are_given_back(b) for n, b in found.items()}
        key = kind.strip("_")
        return 200, {f"{key}s": [{"name": n, key: _as_given_back(b)} for n, b in found.items()]}

    def _in_use(self, kind: str, name: str) -> str | None:
        """Why an object cannot be deleted, in the server's words."""
        if kind == "_index_template":
            patterns = self.kept[kind][name]["index_patterns"]
            streams = [s for s in sorted(self.streams) if any(shapes.patterns_meet(p, s) for p in patterns)]
            if streams:
                found = f"[{', '.join(streams)}]"
                return f"unable to remove composable templates [{name}] as they are in use by a data streams {found}"
        if kind == "_component_template":
            using = [n for n, t in self.kept["_index_template"].items() if name in t["composed_of"]]
            if using:
                still = "cannot be removed as they are still in use by index templates"
                return f"component templates [{name}] {still} [{', '.join(using)}]"
        if kind == "_ilm/policy" and (indices := self._users_of_policy(name)["indices"]):
            return f"Cannot delete policy [{name}]. It is in use by one or more indices: [{', '.join(indices)}]"
        return None

    def _users_of_policy(self, name: str) -> dict[str, list[str]]:
        indices = [
            i for i, about in self.indices.items()
            if shapes.settings(about["settings"]).get("index.lifecycle.name") == name
        ]  # fmt: skip
        streams = [s for s, backing in self.streams.items() if set(backing) & set(indices)]
        parts = self.kept["_component_template"]
        templates = [
            n for n, t in self.kept["_index_template"].items()
            if any(shapes.settings(parts[c]["template"].get("settings", {})).get("index.lifecycle.name") == name
                   for c in t["composed_of"] if c in parts)
        ]  # fmt: skip
        return {"indices": indices, "data_streams": streams, "composable_templates": templates}

    def _security(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/_security/user":
            return 200, self.users
        if path == "/_security/role_mapping":
            return 200, self.role_mappings
        if path == "/_security/user/_has_privileges":
            cluster = {n: n not in self.lacking for n in body.get("cluster", ())}
            index = {p: {n: n not in self.lacking for n in i["privileges"]}
                     for i in body.get("index", ()) for p in i["names"]}  # fmt: skip
            every = [*cluster.values(), *(v for has in index.values() for v in has.values())]
            return 200, {"username": "u", "has_all_requested": all(every), "cluster": cluster, "index": index,
                         "application": {}}  # fmt: skip
        assert path == "/_security/api_key"
        number = len(self.api_keys) + 1
        key, identity = f"very-secret-{number}", f"id-{number}"
        encoded = base64.b64encode(f"{identity}:{key}".encode()).decode()
        expiration = {"expiration": 1_800_000_000_000} if "expiration" in body else {}
        self.api_keys.append({**body, "key": key, "encoded": encoded})
        return 200, {"id": identity, "name": body["name"], "api_key": key, "encoded": encoded, **expiration}

    def _through_the_pipeline(self, path: str, body: Any) -> tuple[int, Any]:
        name = path.removeprefix("/_ingest/pipeline").removesuffix("/_simulate").strip("/")
        if name and name not in self.kept["_ingest/pipeline"]:
            return 404, error("resource_not_found_exception", f"pipeline [{name}] does not exist")
        docs = []
        for doc in body["docs"]:
            made = self.judge(doc["_source"]["message"])
            docs.append(None if made is None else {"doc": {**doc, "_source": made}})
        return 200, {"docs": docs}

    def _about_stream(self, name: str) -> tuple[int, Any]:
        if name not in self.streams:
            return 404, error("index_not_found_exception", f"no such index [{name}]")
        store = {} if self.no_failure_store else self.options[name]
        indices = [{"index_name": i} for i in self.streams[name]]
        return 200, {"data_streams": [{"name": name, "indices": indices, **store}]}

    def _resolve(self, name: str) -> tuple[int, Any]:
        if "*" in name:
            taken = [s for s in sorted(self.streams) if shapes.patterns_meet(name, s)]
            found = [{"name": s, "backing_indices": self.streams[s]} for s in taken]
            return 200, {"indices": [], "aliases": [], "data_streams": found}
        streams = [{"name": name, "backing_indices": self.streams[name]}] if name in self.streams else []
        aliases = [{"name": name, "indices": [self.aliases[name]]}] if name in self.aliases else []
        indices = [{"name": name}] if name in self.indices else []
        if not (streams or aliases or indices):
            return 404, error("index_not_found_exception", f"no such index [{name}]")
        return 200, {"indices": indices, "aliases": aliases, "data_streams": streams}

    def _simulate(self, path: str, body: Any) -> tuple[int, Any]:
        name = path.partition("/_simulate_index/")[2]
        if not name and self.no_failure_store and "data_stream_options" in body["template"]:
            return 400, error("x_content_parse_exception", "[template] unknown field [data_stream_options]")
        made = self._composed(name) if name else shapes.merged(body["template"])
        if self.no_logsdb and made["settings"].get("index.mode") == "logsdb":
            return 400, error("illegal_argument_exception", "unknown setting [index.mode]")
        return 200, {"template": made, "overlapping": []}

    def _parts(self, stream: str) -> list[dict[str, Any]]:
        taking = [t for t in self.kept["_index_template"].values()
                  if any(shapes.patterns_meet(p, stream) for p in t["index_patterns"])]  # fmt: skip
        best = max(taking, key=lambda t: t.get("priority", 0))
        return [
            *(self.kept["_component_template"][n]["template"] for n in best["composed_of"]),
            best.get("template", {}),
        ]

    def _composed(self, stream: str) -> dict[str, Any]:
        return shapes.merged(*self._parts(stream))

    def _new_index(self, stream: str) -> tuple[int, Any]:
        made = self.streams.setdefault(stream, [])
        for part in [] if made else self._parts(stream):
            self.options[stream] = part.get("data_stream_options", self.options.get(stream, {}))
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


def _as_roles_are_given_back(body: Any) -> Any:
    indices = [{**i, "privileges": sorted(i["privileges"], reverse=True), "allow_restricted_indices": False}
               for i in body.get("indices", ())]  # fmt: skip
    return {"run_as": [], "transient_metadata": {"enabled": True}, **body, "indices": indices}


def _judged(message: str) -> dict[str, Any]:
    """As the ingest pipeline judges a line, which means what Python's judging means."""
    contract = load_contract()
    fields = Parser.of(contract).parse(message.encode()).fields
    return {"message": message, **fields}


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
