"""A proxy before a server that fails as networks and servers do: chosen at run time, or at random by a seed."""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Fault(StrEnum):
    """What goes wrong with one request."""

    BUSY = "429"
    UNAVAILABLE = "503"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    TOO_LARGE = "413"
    RESET = "reset"
    """The connection breaks before the server has seen the request."""
    DROP = "drop"
    """The server does what it was asked, and the connection breaks before its answer arrives."""
    CUT = "cut"
    """The same, in the middle of the answer."""
    SLOW = "slow"
    """The answer comes `delay` seconds late."""


STATUSES = {
    Fault.BUSY: 429,
    Fault.UNAVAILABLE: 503,
    Fault.UNAUTHORIZED: 401,
    Fault.FORBIDDEN: 403,
    Fault.TOO_LARGE: 413,
}


class FaultyProxy:
    """A proxy that runs; faults befall requests whose path contains `only`."""

    def __init__(self, target: str, seed: int = 0, only: str = "/_bulk") -> None:
        self.target = target
        self.only = only
        self.url = ""
        self.delay = 1.0
        self.done: Counter[str] = Counter()
        """How often each fault befell a request, and `none`."""
        self.paths: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._chances: dict[Fault, float] = {}
        self._next: deque[Fault | None] = deque()
        self._lock = threading.Lock()

    def never(self) -> None:
        """Pass everything on."""
        with self._lock:
            self._chances = {}
            self._next.clear()

    def always(self, fault: Fault) -> None:
        """Let this befall every request."""
        self.sometimes({fault: 1.0})

    def sometimes(self, chances: Mapping[Fault, float]) -> None:
        """Let these befall requests at random, each with its probability."""
        with self._lock:
            self._chances = dict(chances)

    def next(self, faults: Iterable[Fault | None]) -> None:
        """Let these befall the next requests, one each, before anything else; None for nothing."""
        with self._lock:
            self._next.extend(faults)

    def choose(self, path: str) -> Fault | None:
        """What befalls a request."""
        with self._lock:
            self.paths[path.split("?")[0]] += 1
            if self.only not in path:
                return None
            fault: Fault | None = None
            if self._next:
                fault = self._next.popleft()
            else:
                at = self._random.random()
                for candidate, chance in self._chances.items():
                    at -= chance
                    if at < 0:
                        fault = candidate
                        break
            self.done[fault or "none"] += 1
            return fault


@contextmanager
def faulty_proxy(
    target: str, *, seed: int = 0, only: str = "/_bulk", tls: ssl.SSLContext | None = None
) -> Iterator[FaultyProxy]:
    """A proxy on the loopback address until the block ends; `tls` makes it speak HTTPS."""
    proxy = FaultyProxy(target, seed, only)

    class Handler(_Handler):
        faults = proxy

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    proxy.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet: two would wait 40 ms for each other
    faults: FaultyProxy

    def do_GET(self) -> None:
        fault = self.faults.choose(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault is Fault.RESET:
            self._break()
        elif fault in STATUSES:
            status = STATUSES[fault]
            error = {"type": f"proxy_{status}", "reason": f"the proxy says {status}"}
            self._answer(status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode())
        else:
            self._pass_on(body, fault)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def _pass_on(self, body: bytes, fault: Fault | None) -> None:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        target = urlsplit(self.faults.target)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):  # the server is gone
            self._break()
            return
        finally:
            connection.close()
        if fault is Fault.DROP:
            self._break()
        elif fault is Fault.CUT:
            self._answer(answer.status, dict(answer.headers), content, cut=True)
            self.wfile.flush()
            self._break()
        else:
            if fault is Fault.SLOW:
                time.sleep(self.faults.delay)
            self._answer(answer.status, dict(answer.headers), content)

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)

    def _break(self) -> None:
        """End the connection as a crash does, without a farewell."""
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with suppress(OSError):
            self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""
