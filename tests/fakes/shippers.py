"""Logstash's API and Filebeat's counters, as the real ones answered: Logstash 8.3.3, Filebeat 9.6."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

LOGSTASH_ROOT: dict[str, Any] = {
    "host": "vm", "version": "8.3.3", "http_address": "127.0.0.1:9600", "id": "339a0150-8bc1-4917-8c59-95acc7044fe5",
    "name": "vm", "ephemeral_id": "30a4b164-73b5-4505-a726-3affc1f64fdd", "status": "green", "snapshot": False,
    "pipeline": {"workers": 2, "batch_size": 125, "batch_delay": 50}, "build_date": "2022-07-23T19:31:54Z",
}  # fmt: skip
_OUTPUT = {"events": {"duration_in_millis": 31, "out": 12, "in": 12}, "name": "elasticsearch",
           "documents": {"successes": 12}, "bulk_requests": {"successes": 3, "responses": {"200": 3}}}  # fmt: skip
LOGSTASH_STATS: dict[str, Any] = {
    **LOGSTASH_ROOT,
    "pipelines": {
        "lane-eval": {
            "events": {"queue_push_duration_in_millis": 0, "filtered": 12, "duration_in_millis": 90, "out": 12,
                       "in": 12},
            "plugins": {
                "inputs": [{"id": "elkkit-beats", "name": "beats", "events": {"out": 12}}],
                "codecs": [],
                "filters": [{"id": "elkkit-judge", "name": "grok", "matches": 12, "failures": 0,
                             "events": {"out": 12, "in": 12}}],
                "outputs": [{"id": "elkkit-elasticsearch", **_OUTPUT}],
            },
            "reloads": {"failures": 0, "last_error": None, "last_success_timestamp": None, "successes": 0},
            "queue": {"capacity": {"max_unread_events": 0, "page_capacity_in_bytes": 67108864,
                                   "max_queue_size_in_bytes": 1073741824, "queue_size_in_bytes": 1},
                      "events": 0, "type": "persisted", "events_count": 0, "queue_size_in_bytes": 1,
                      "max_queue_size_in_bytes": 1073741824},
            "dead_letter_queue": {"last_error": "no errors", "storage_policy": "drop_newer", "dropped_events": 0,
                                  "queue_size_in_bytes": 1, "max_queue_size_in_bytes": 268435456},
        }
    },
}  # fmt: skip
FILEBEAT_ROOT: dict[str, Any] = {"beat": "filebeat", "binary_arch": "amd64", "hostname": "vm", "name": "vm",
                                 "version": "9.6.0"}  # fmt: skip
FILEBEAT_STATS: dict[str, Any] = {
    "filebeat": {
        "events": {"active": 0, "added": 3, "done": 3},
        "filestream": {"files_empty": 0, "files_matched": 1, "files_unique": 1, "scan_errors": 0},
        "harvester": {"closed": 0, "open_files": 1, "running": 1, "skipped": 0, "started": 1},
    },
    "libbeat": {
        "output": {
            "events": {"acked": 3, "active": 0, "batches": 1, "dead_letter": 0, "dropped": 0, "duplicates": 0,
                       "failed": 0, "toomany": 0, "total": 3},
            "read": {"bytes": 6, "errors": 0}, "type": "logstash", "write": {"bytes": 284, "errors": 0},
        },
        "pipeline": {"clients": 1, "events": {"active": 0, "dropped": 0, "failed": 0, "filtered": 0, "published": 3,
                                              "retry": 0, "total": 3}},
    },
}  # fmt: skip


class FakeService:
    """What one service answers on each path; tests change `answers` and `status`."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = copy.deepcopy(answers)
        self.status = 200
        self.url = ""
        self.asked: list[tuple[str, str | None]] = []


def logstash() -> FakeService:
    """A Logstash whose pipeline runs."""
    return FakeService({"/": LOGSTASH_ROOT, "/_node/stats/pipelines": LOGSTASH_STATS})


def filebeat() -> FakeService:
    """A Filebeat that keeps up."""
    return FakeService({"/": FILEBEAT_ROOT, "/stats": FILEBEAT_STATS})


def pipeline(service: FakeService) -> dict[str, Any]:
    """Of a fake Logstash, to be changed."""
    found: dict[str, Any] = service.answers["/_node/stats/pipelines"]["pipelines"]["lane-eval"]
    return found


@contextmanager
def serving(service: FakeService) -> Iterator[FakeService]:
    """Answer on a loopback port until the block ends; the address is `service.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            service.asked.append((self.path, self.headers.get("Authorization")))
            found = service.answers.get(self.path)
            raw = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(service.status if found is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
