"""OpenSearch 3.8 from Maven Central as a real node for the tests: ingest grok, painless and data streams, no Docker."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import engines
import shippers
from elkkit.contract import Contract
from elkkit.render import elasticsearch

VERSION = "3.8.0"
_SERVER = (
    f"org.opensearch:opensearch:{VERSION}",
    f"org.opensearch:opensearch-agent-bootstrap:{VERSION}",
    f"org.opensearch:opensearch-plugin-classloader:{VERSION}",
    "org.apache.logging.log4j:log4j-core:2.25.4",
    "org.locationtech.spatial4j:spatial4j:0.8",
    "org.locationtech.jts:jts-core:1.20.0",
)
# module: artifact, class, what it extends
_MODULES = {
    "transport-netty4": ("transport-netty4-client", "org.opensearch.transport.Netty4ModulePlugin", ""),
    "lang-painless": ("lang-painless", "org.opensearch.painless.PainlessModulePlugin", ""),
    "ingest-common": ("ingest-common", "org.opensearch.ingest.common.IngestCommonModulePlugin", "lang-painless"),
    "mapper-extras": ("mapper-extras-client", "org.opensearch.index.mapper.MapperExtrasModulePlugin", ""),
    "lang-mustache": ("lang-mustache-client", "org.opensearch.script.mustache.MustacheModulePlugin", ""),
}
_DESCRIPTOR = """name={name}
description={name}
version={version}
opensearch.version={version}
java.version=21
classname={main}
extended.plugins={extends}
has.native.controller=false
"""
_SETTINGS = """cluster.name: elkkit-tests
discovery.type: single-node
network.host: 127.0.0.1
http.port: 19200-19399
transport.port: 19400-19599
node.portsfile: true
cluster.routing.allocation.disk.threshold_enabled: false
path.data: {home}/data
path.logs: {home}/logs
"""
_LOGGING = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""
_FLAGS = (
    "-Xms512m",
    "-Xmx512m",
    "-XX:+UseG1GC",
    "-XX:TieredStopAtLevel=1",
    "-Djna.nounpack=true",  # both for root, whom the server refuses otherwise
    "-Djna.nosys=true",
    "-Dlog4j2.disable.jmx=true",
    "--enable-native-access=ALL-UNNAMED",
)


class Node:
    """A running node, spoken to in JSON."""

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self.url = url
        self.process = process

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; fails the test on an error, with the server's own words."""
        status, answer = self.ask(method, path, body)
        assert status < 300, f"{method} {path}: {status} {json.dumps(answer)[:2000]}"
        return answer

    def stored(self, stream: str, at_least: int) -> int:
        """How many documents a stream has, or 0 while it has fewer."""
        self.ask("POST", f"/{stream}/_refresh")
        count = self.ask("GET", f"/{stream}/_count")[1].get("count", 0)
        return count if count >= at_least else 0

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer of one request; a `bytes` body is sent as lines of JSON."""
        lines = isinstance(body, bytes)
        data = body if lines else None if body is None else json.dumps(body).encode()
        kind = "application/x-ndjson" if lines else "application/json"
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


def java21() -> str:
    """A Java of version 21 or later, or a skip."""
    known = sorted(Path("/usr/lib/jvm").glob("*/bin/java")) if Path("/usr/lib/jvm").is_dir() else []
    home = os.environ.get("JAVA_HOME")
    found = [Path(home) / "bin/java"] if home else []
    found += [Path(p) for p in [shutil.which("java")] if p]
    for java in [*found, *known]:
        with suppress(OSError):
            said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
            version = re.search(r'version "(\d+)', said)
            if version and int(version[1]) >= 21:
                return str(java)
    pytest.skip("no Java 21 or later here")


def _install() -> Path:
    """The server's jars and modules, in the cache."""
    server = engines.jars(f"opensearch-{VERSION}", *_SERVER)
    shared = {p.name for p in (server / "lib").iterdir()}
    for name, (artifact, main, extends) in _MODULES.items():
        folder = server / "modules" / name
        if (folder / "plugin-descriptor.properties").exists():
            continue
        jars = engines.jars(f"opensearch-{VERSION}-{name}", f"org.opensearch.plugin:{artifact}:{VERSION}")
        folder.mkdir(parents=True, exist_ok=True)
        for jar in (jars / "lib").iterdir():
            if jar.name not in shared:
                shutil.copyfile(jar, folder / jar.name)
        text = _DESCRIPTOR.format(name=name, version=VERSION, main=main, extends=extends)
        (folder / "plugin-descriptor.properties").write_text(text)
    return server


@contextmanager
def running(home: Path) -> Iterator[Node]:
    """A node with its data in a folder, on the loopback address, until the block ends; one that was killed goes on."""
    java = java21()
    server = _install()
    for name in ("config", "data", "logs", "plugins"):
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "logs" / "http.ports").unlink(missing_ok=True)
    for name in ("lib", "modules"):
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(server / name)
    (home / "config" / "opensearch.yml").write_text(_SETTINGS.format(home=home))
    (home / "config" / "log4j2.properties").write_text(_LOGGING)
    paths = [f"-Dopensearch.path.home={home}", f"-Dopensearch.path.conf={home}/config", "-cp", f"{home}/lib/*"]
    command = [java, *_FLAGS, *paths, "org.opensearch.bootstrap.OpenSearch"]
    with shippers.running(command, home / "out.log", {}) as process:
        yield _wait(process, home)


def _wait(process: subprocess.Popen[bytes], home: Path) -> Node:
    ports = home / "logs" / "http.ports"
    for _ in range(600):
        if process.poll() is not None:
            break
        if ports.exists() and (address := ports.read_text().split()):
            node = Node(f"http://{address[0]}", process)
            with suppress(OSError):
                node.call("GET", "/_cluster/health?wait_for_status=yellow&timeout=30s")
                return node
        time.sleep(0.1)
    pytest.fail(f"OpenSearch did not start:\n{(home / 'out.log').read_text()[-3000:]}")


# --- elkkit's own objects --------------------------------------------------------------------------------------------


def install(node: Node, contract: Contract) -> None:
    """Put templates and pipelines as they are generated, less what OpenSearch does not have."""
    prefix = elasticsearch.name(contract)
    components = {
        "mappings": elasticsearch.mappings_body(contract),
        "settings": elasticsearch.settings_body(contract, elasticsearch.Abilities(lifecycle=False)),
        "custom": elasticsearch.custom_body(contract),
    }
    for name, body in components.items():
        node.call("PUT", f"/_component_template/{prefix}@{name}", body)
    template = elasticsearch.index_template_body(contract)
    node.call("PUT", f"/_index_template/{elasticsearch.index_template_name(contract)}", template)
    inner = elasticsearch.object_pipeline_name(contract)
    node.call("PUT", f"/_ingest/pipeline/{inner}", elasticsearch.object_pipeline_body(contract))
    node.call("PUT", f"/_ingest/pipeline/{prefix}", elasticsearch.pipeline_body(contract))


@contextmanager
def elasticsearch_front(node: Node) -> Iterator[str]:
    """An address at which the node looks like an Elasticsearch to clients that talk to nothing else."""
    version = {"number": "8.19.9", "build_flavor": "default", "lucene_version": "9.12.2"}
    root = {"name": "front", "cluster_name": "elkkit-tests", "cluster_uuid": "front", "version": version}
    licence = {"license": {"status": "active", "uid": "front", "type": "basic"}}

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet: with two, the second waits for the first one's receipt

        def do_GET(self) -> None:
            path = self.path.split("?")[0].rstrip("/")
            if path == "":
                self._answer(200, json.dumps({**root, "tagline": "You Know, for Search"}).encode())
            elif path in ("/_license", "/_xpack"):
                self._answer(200, json.dumps(licence).encode())
            else:
                self._pass_on()

        def do_HEAD(self) -> None:
            if self.path.rstrip("/") == "":
                self._answer(200, b"")
            else:
                self._pass_on()

        def do_DELETE(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def do_PUT(self) -> None:
            self._pass_on()

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            kind = {"Content-Type": "application/x-ndjson" if "/_bulk" in self.path else "application/json"}
            request = urllib.request.Request(f"{node.url}{self.path}", body or None, kind, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    self._answer(answer.status, answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    self._answer(error.code, error.read())
            except (OSError, HTTPException):  # the node was killed, perhaps while it answered
                self._answer(503, b"{}")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                if self.command != "HEAD":
                    self.wfile.write(body)
                self.wfile.flush()
            except OSError:  # whoever asked was killed meanwhile
                self.close_connection = True
                self.wfile = io.BytesIO()

        def log_message(self, *_: Any) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
