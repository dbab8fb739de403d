"""`elkkit ship` against a small Elasticsearch in this process, which answers as it is told."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import elkkit
from elkkit.contract import load_contract
from elkkit.errors import ConfigError, ElkkitError, ExitCode, InputError
from elkkit.line.logger import metric_logger
from elkkit.stack import bulk
from elkkit.stack.elastic import Connection, connect
from elkkit.usecases import ship as shipping
from elkkit.usecases.ship import ShipOptions, Stop, ship
from elkkit.usecases.shipped import ShipResult
from faulty_proxy import Fault, faulty_proxy

CONTRACT = load_contract()
STREAM = CONTRACT.stream
OUTCOMES = ("scored", "not_finite", "not_a_score", "malformed")
ANSWERS = ("created", "already_there", "conflicting", "rejected", "unconfirmed")
BLOCKED = "index [x] blocked by: [FORBIDDEN/5/index read-only (api)];"
FLOOD = "disk usage exceeded flood-stage watermark, index has read-only-allow-delete block"


class Fake:
    """What ship asks of Elasticsearch: one alias over indices that hold documents by id."""

    def __init__(self) -> None:
        self.indices: dict[str, dict[str, dict[str, Any]]] = {f"{STREAM}-000001": {}}
        self.forbidden: set[str] = set()
        """Parts of paths that these credentials may not use."""
        self.refuse: Callable[[str, dict[str, Any]], tuple[int, str, str] | None] = lambda _id, _document: None
        """Status, type and reason by which a document is refused."""
        self.before_bulk: Callable[[], None] = lambda: None
        self.spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
        self.bulks: list[int] = []
        self.largest = 10**9
        self.kind = "aliases"
        self.asked: list[str] = []

    @property
    def stored(self) -> list[dict[str, Any]]:
        return [d for index in self.indices.values() for d in index.values()]

    def rollover(self) -> None:
        self.indices[f"{STREAM}-{len(self.indices) + 1:06d}"] = {}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(path)
        if any(part in path for part in self.forbidden):
            return 403, {"error": {"type": "security_exception", "reason": "action is unauthorized for this key"}}
        if path == "/":
            return 200, {"version": {"number": "8.19.9"}, "cluster_name": "fake", "tagline": "You Know, for Search"}
        if path.startswith("/_resolve/"):
            names = list(self.indices)
            found = {"data_streams": [], "aliases": [], "indices": []}
            if self.kind == "absent":
                return 404, {"error": {"type": "index_not_found_exception"}}
            found[self.kind].append({"name": STREAM, "indices": names, "backing_indices": names})
            return 200, found
        if "_alias" in path:
            last = list(self.indices)[-1]
            return 200, {i: {"aliases": {STREAM: {"is_write_index": i == last}}} for i in self.indices}
        if "_refresh" in path:
            return 200, {}
        if "_mget" in path:
            index = self.indices[path.split("/")[1]]
            docs = [{"_id": i, "found": i in index, "_source": index.get(i)} for i in json.loads(body)["ids"]]
            return 200, {"docs": docs}
        if "_search" in path:
            wanted = json.loads(body)["query"]["ids"]["values"]
            names = path.split("/")[1].replace("%2C", ",").split(",")
            hits = [{"_id": i, "_source": self.indices[n][i]} for n in names for i in wanted if i in self.indices[n]]
            return 200, {"hits": {"hits": hits}}
        assert path.startswith(f"/{STREAM}/_bulk"), path
        self.before_bulk()
        if len(body) > self.largest:
            return 413, {}
        return 200, self.spoil(self.bulk(body))

    def bulk(self, body: bytes) -> dict[str, Any]:
        lines = [json.loads(line) for line in body.splitlines()]
        self.bulks.append(len(lines) // 2)
        name = list(self.indices)[-1]
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            identity = action["create"]["_id"]
            if refused := self.refuse(identity, document):
                status, kind, why = refused
                if kind == "failure_store":  # as a server answers that has put the document aside
                    aside = {"_index": f".fs-{STREAM}-2026.11.22-000001", "_id": "x", "result": "created"}
                    items.append({"create": {**aside, "failure_store": why, "status": status}})
                    continue
                items.append({"create": {"status": status, "error": {"type": kind, "reason": why}}})
            elif identity in self.indices[name]:
                error = {"type": "version_conflict_engine_exception", "reason": "exists", "index": name}
                items.append({"create": {"status": 409, "error": error}})
            else:
                self.indices[name][identity] = document
                items.append({"create": {"status": 201}})
        return {"errors": any("error" in i["create"] for i in items), "items": items}


@contextmanager
def fake_elasticsearch() -> Iterator[tuple[Fake, str]]:
    fake = Fake()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet: two would wait 40 ms for each other

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                status, answer = fake.answer(self.command, self.path.split("?")[0], body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield fake, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Fake, str]]:
    monkeypatch.setattr(bulk, "BASE", 0.01)
    monkeypatch.setattr(shipping, "_IDLE", 0.1)
    with fake_elasticsearch() as found:
        yield found


def send(
    url: str, *files: Path | str, stop: Stop | None = None, notes: list[str] | None = None, **options: Any
) -> ShipResult:
    """Ship, and check what must always hold."""
    with connect(Connection(url, timeout=5)) as elastic:
        notice = notes.append if notes is not None else (lambda _text: None)
        result = ship(elastic, [str(f) for f in files], CONTRACT, ShipOptions(**options), stop=stop, notice=notice)
    data = result.as_dict()
    assert list(data)[:13] == ["read", *OUTCOMES, "sent", *ANSWERS, "retried", "seconds"]
    assert data["read"] == sum(data[o] for o in OUTCOMES)
    assert data["sent"] == sum(data[a] for a in ANSWERS)
    assert data["read"] == data["left_out"] + data["sent"] + data["not_sent"] + data["would_send"]
    return result


def told(result: ShipResult, *names: str) -> list[int]:
    return [result.as_dict()[n] for n in names]


def log(path: Path, count: int, run: str = "r", offset: float = 0.0) -> Path:
    with metric_logger(str(path), model_name="lane-a", run_id=run, contract=CONTRACT) as logger:
        for i in range(count):
            logger.log_metric("IoU", offset + i / 1024, frame_id=f"f{i}")
    return path


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_every_line_once_however_often_it_is_sent(server, tmp_path):
    fake, url = server
    path = log(tmp_path / "a.log", 30)
    first, again = send(url, path), send(url, path)
    assert told(first, "read", "scored", "sent", "created") == [30, 30, 30, 30]
    assert told(again, "sent", "created", "already_there") == [30, 0, 30]
    assert first.exit_code == again.exit_code == ExitCode.DONE
    assert sorted(d["metricscores"] for d in fake.stored) == [i / 1024 for i in range(30)]
    assert {d["log.file.path"] for d in fake.stored} == {str(path)}


def test_which_lines_are_sent(server, tmp_path):
    fake, url = server
    path = tmp_path / "a.log"
    path.write_bytes(b"IoU : 0.5\nIoU : nan\nIoU : 0,83\nProcessing image 3 of 40\nIoU : 0.5\n")
    result = send(url, path)
    assert told(result, "read", *OUTCOMES, "sent", "left_out") == [5, 2, 1, 1, 1, 4, 1]
    assert [d.get("tags") for d in fake.stored] == [None, None, [CONTRACT.malformed_tag], None]
    assert told(send(url, path, skip_malformed=True), "sent", "already_there") == [3, 3]
    assert told(send(url, path, everything=True), "sent", "created", "already_there") == [5, 1, 4]
    assert fake.stored[-1]["message"] == "Processing image 3 of 40"


def test_a_last_line_that_may_grow_waits_and_a_whole_object_does_not(server, tmp_path):
    fake, url = server
    plain, cut, whole = tmp_path / "plain.log", tmp_path / "cut.log", tmp_path / "whole.log"
    plain.write_bytes(b"IoU : 0.5\nIoU : 0.8")
    cut.write_bytes(b'IoU : 0.5\n{"message":"IoU : 0.6","frame.id":"f')
    whole.write_bytes(b'{"message":"IoU : 0,6"}\n{"message":"IoU : 0.7"}')
    notes: list[str] = []
    result = send(url, plain, cut, whole, notes=notes)
    assert told(result, "read", "scored", "malformed", "cut_off", "created") == [4, 3, 1, 2, 4]
    assert len([n for n in notes if "no line feed" in n]) == 2
    with plain.open("ab") as file:
        file.write(b"312\n")
    with whole.open("ab") as file:
        file.write(b"\n")
    again = send(url, plain, whole)
    assert told(again, "created", "already_there") == [1, 3]
    assert sorted(d.get("metricscores", 0) for d in fake.stored) == [0, 0.5, 0.5, 0.7, 0.8312]


def test_a_plain_log_that_was_written_anew_counts_and_one_read_again_does_not(server, tmp_path):
    _fake, url = server
    path = tmp_path / "a.log"
    path.write_bytes(b"run 1\nIoU : 0.5\n")
    assert told(send(url, path), "created") == [1]
    assert told(send(url, path), "already_there") == [1]
    path.write_bytes(b"run 2\nIoU : 0.5\n")
    assert told(send(url, path), "created") == [1]


def test_several_files_gzip_one_file_by_two_names_and_one_that_is_not_there(server, tmp_path):
    _fake, url = server
    path, packed = log(tmp_path / "a.log", 5), tmp_path / "b.log.gz"
    packed.write_bytes(gzip.compress(log(tmp_path / "b.log", 7, run="b").read_bytes()))
    (tmp_path / "link.log").symlink_to(path)
    result = send(url, path, tmp_path / "link.log", tmp_path / "none.log", packed, path)
    assert told(result, "read", "created") == [12, 12]
    assert result.exit_code == ExitCode.USAGE
    assert [type(e) for e in result.errors] == [InputError]


def test_a_plain_gzip_file_by_two_names_counts_once(server, tmp_path):
    _fake, url = server
    packed, link = tmp_path / "a.log.gz", tmp_path / "b.log.gz"
    packed.write_bytes(gzip.compress(b"IoU : 0.5\n" * 3000))
    link.symlink_to(packed)
    notes: list[str] = []
    assert told(send(url, packed, link, notes=notes), "read", "created") == [3000, 3000]
    assert notes == [f"{link} is {packed}, and is read once"]
    assert told(send(url, link), "already_there") == [3000]


def test_more_files_than_a_process_may_open(server, tmp_path):
    _fake, url = server
    files = [tmp_path / f"{i}.log" for i in range(400)]
    for i, file in enumerate(files):
        file.write_text(f"IoU : 0.{i}\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(300, hard), hard))
    try:
        result = send(url, *files)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told(result, "read", "created") == [400, 400]
    assert result.exit_code == ExitCode.DONE


def test_large_files_go_in_several_requests(server, tmp_path, monkeypatch):
    fake, url = server
    monkeypatch.setattr(shipping, "CHUNK", 10)
    assert told(send(url, log(tmp_path / "a.log", 95)), "created") == [95]
    assert sorted(fake.bulks) == [5, *[10] * 9]
    monkeypatch.setattr(shipping, "CHUNK_BYTES", 1500)
    assert told(send(url, log(tmp_path / "b.log", 95, run="b")), "created") == [95]
    assert max(fake.bulks[10:]) < 10


def test_a_dry_run_sends_nothing(server, tmp_path):
    fake, url = server
    rejected = tmp_path / "r.jsonl"
    result = send(url, log(tmp_path / "a.log", 5), dry_run=True, rejected=rejected)
    assert told(result, "read", "sent", "would_send") == [5, 0, 5]
    assert not fake.bulks
    assert not rejected.exists()


# --- what is there already -------------------------------------------------------------------------------------------


def test_another_score_under_the_same_id_is_conflicting(server, tmp_path):
    _fake, url = server
    send(url, log(tmp_path / "a.log", 30))
    result = send(url, log(tmp_path / "b.log", 30, offset=1.0))
    assert told(result, "already_there", "conflicting") == [0, 30]
    assert result.exit_code == ExitCode.NO
    assert len(result.conflicts) == shipping.EXAMPLES
    assert result.conflicts[0]["stored"] == "IoU : 0.0"
    assert result.conflicts[0]["given"] == "IoU : 1.0"


@pytest.mark.parametrize(
    ("stored", "given", "same"),
    [
        ("IoU : 0.0", "IoU : -0.0", False),
        ("IoU : 0.5", "IoU : 0.50", True),
        ("IoU : 0.5", "Recall : 0.5", False),
        ("IoU : nan", "IoU : nan", True),
        ("IoU : nan", "IoU : 0.5", False),
        ("IoU : nan", "IoU : inf", False),
        ("IoU : 0,5", "IoU : 0,5", True),
        ("IoU : 0,5", "IoU : 0,6", False),
        ("IoU : 0,5", "IoU : 0.5", False),
    ],
)
def test_what_counts_as_the_same(server, tmp_path, stored, given, same):
    _, url = server
    for name, message in (("a", stored), ("b", given)):
        line = {"message": message, "event.id": "0123456789abcdef0123456789abcdef"}
        (tmp_path / name).write_text(json.dumps(line) + "\n")
    send(url, tmp_path / "a")
    assert told(send(url, tmp_path / "b"), "already_there", "conflicting") == ([1, 0] if same else [0, 1])


def test_numbers_that_another_road_wrote_otherwise_are_the_same(server, tmp_path):
    fake, url = server
    path = tmp_path / "a.log"
    path.write_text('{"message":"IoU : 1.0","event.id":"0123456789abcdef0123456789abcdef"}\n')
    send(url, path)
    fake.stored[0]["metricscores"] = 1
    assert told(send(url, path), "already_there") == [1]


def test_who_may_not_read_is_told_that_nothing_was_compared(server, tmp_path):
    fake, url = server
    fake.forbidden = {"_mget", "_resolve", "_refresh"}
    path = log(tmp_path / "a.log", 3)
    send(url, path)
    result = send(url, path)
    assert told(result, "already_there", "not_compared") == [3, 3]
    assert result.exit_code == ExitCode.DONE


def test_after_a_rollover_what_older_indices_hold_is_not_sent(server, tmp_path):
    fake, url = server
    path = log(tmp_path / "a.log", 20)
    send(url, path)
    fake.rollover()
    log(path, 0)
    log(tmp_path / "b.log", 5, offset=1.0)
    assert told(send(url, path), "already_there", "created") == [20, 0]
    assert told(send(url, tmp_path / "b.log"), "conflicting", "created") == [5, 0]
    assert len(fake.stored) == 20


def test_a_rollover_between_a_lost_answer_and_the_next_attempt(server, tmp_path):
    """The first attempt arrived, in an index that takes no new documents by the time of the second."""
    fake, url = server
    path = log(tmp_path / "a.log", 20)
    with faulty_proxy(url) as proxy:
        proxy.next([Fault.DROP])
        fake.spoil = lambda answer: fake.rollover() or answer if len(fake.indices) == 1 else answer
        result = send(proxy.url, path)
    assert len(fake.stored) == 20
    assert len(fake.indices) == 2
    assert told(result, "created", "already_there", "conflicting") == [0, 20, 0]


def test_it_says_that_older_indices_may_not_be_read(server, tmp_path):
    fake, url = server
    fake.rollover()
    fake.forbidden = {"_search"}
    notes: list[str] = []
    assert told(send(url, log(tmp_path / "a.log", 3), notes=notes), "created") == [3]
    assert [n for n in notes if "may count twice" in n]


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.UNAVAILABLE, Fault.RESET, Fault.DROP, Fault.CUT])
def test_what_passes_by_is_tried_again(server, tmp_path, fault):
    fake, url = server
    with faulty_proxy(url) as proxy:
        proxy.next([fault, fault, None])
        result = send(proxy.url, log(tmp_path / "a.log", 10))
    assert told(result, "retried", "unconfirmed") == [10, 0]
    assert told(result, "created", "already_there") == ([0, 10] if fault in (Fault.DROP, Fault.CUT) else [10, 0])
    assert len(fake.stored) == 10
    assert result.exit_code == ExitCode.DONE


def test_only_the_documents_that_were_refused_for_now_are_sent_again(server, tmp_path):
    fake, url = server
    full = {f"f{i}" for i in range(4)}

    def refuse(_id: str, document: dict[str, Any]) -> tuple[int, str, str] | None:
        if document["frame.id"] in full:
            full.remove(document["frame.id"])
            return 429, "es_rejected_execution_exception", "queue is full"
        return None

    fake.refuse = refuse
    result = send(url, log(tmp_path / "a.log", 10))
    assert told(result, "created", "retried") == [10, 4]
    assert fake.bulks == [10, 4]


def test_what_gets_no_answer_in_time_is_unconfirmed(server, tmp_path):
    fake, url = server
    fake.refuse = lambda *_: (429, "cluster_block_exception", FLOOD)
    result = send(url, log(tmp_path / "a.log", 10), give_up=0.3)
    assert told(result, "sent", "unconfirmed") == [10, 10]
    assert result.exit_code == ExitCode.UNREACHABLE
    assert "flood-stage" in str(result.errors[-1])
    assert result.errors[-1].hint == "run the same command again; what arrived counts once"
    assert 0.3 <= result.seconds < 5


def test_after_giving_up_nothing_more_is_sent(server, tmp_path, monkeypatch):
    _fake, url = server
    monkeypatch.setattr(shipping, "CHUNK", 10)
    with faulty_proxy(url) as proxy:
        proxy.always(Fault.UNAVAILABLE)
        result = send(proxy.url, log(tmp_path / "a.log", 500), give_up=0.2)
    assert result.unconfirmed == result.sent <= 20
    assert result.not_sent == 10
    assert result.read < 500


def test_a_document_that_is_refused_stops_no_other(server, tmp_path):
    fake, url = server
    fake.refuse = lambda _id, d: (
        (400, "document_parsing_exception", "no such\x1b[31m type") if d["frame.id"] == "f3" else None
    )
    result = send(url, log(tmp_path / "a.log", 10))
    assert told(result, "created", "rejected") == [9, 1]
    assert result.exit_code == ExitCode.NO
    assert result.reasons[0]["type"] == "document_parsing_exception"
    assert result.reasons[0]["count"] == 1


def test_what_the_server_puts_aside_and_calls_a_success_is_rejected(server, tmp_path):
    """All items are of status 201 and `errors` is false: only one word tells that the document is not in the stream."""
    fake, url = server
    kept = tmp_path / "kept.jsonl"
    path = log(tmp_path / "a.log", 10)
    fake.refuse = lambda _id, d: (201, "failure_store", "used") if d["frame.id"] in ("f3", "f7") else None
    result = send(url, path, rejected=kept)
    assert told(result, "sent", "created", "rejected", "unconfirmed") == [10, 8, 2, 0]
    assert result.exit_code == ExitCode.NO
    (reason,) = result.reasons
    assert (reason["status"], reason["type"], reason["count"]) == (201, "failure_store", 2)
    assert f"GET {STREAM}::failures/_search" in reason["example"]
    assert len(kept.read_text().splitlines()) == 2

    fake.refuse = lambda *_: None
    assert told(send(url, kept), "created", "rejected") == [2, 0]
    assert told(send(url, path), "already_there") == [10]


def test_a_failure_store_that_fails_or_is_off_is_a_plain_refusal(server, tmp_path):
    fake, url = server
    error = {"type": "document_parsing_exception", "reason": "no number"}
    for word in ("failed", "not_enabled"):

        def spoil(answer, word=word):
            return {"errors": True, "items": [{"create": {"status": 400, "error": error, "failure_store": word}}]}

        fake.spoil = spoil
        result = send(url, log(tmp_path / f"{word}.log", 1))
        assert told(result, "created", "rejected") == [0, 1]
        assert result.reasons[0]["type"] == "document_parsing_exception"


def test_a_block_that_is_no_matter_of_time_is_a_refusal(server, tmp_path):
    fake, url = server
    fake.refuse = lambda *_: (403, "cluster_block_exception", BLOCKED)
    result = send(url, log(tmp_path / "a.log", 10))
    assert told(result, "rejected", "retried") == [10, 0]
    assert "read-only" in str(result.errors[0])


def test_a_fault_of_the_server_for_one_document_ends(server, tmp_path):
    fake, url = server
    fake.refuse = lambda _id, d: (500, "null_pointer_exception", "oh") if d["frame.id"] == "f3" else None
    assert told(send(url, log(tmp_path / "a.log", 10)), "created", "rejected", "retried") == [9, 1, 1]


def test_a_request_that_is_too_large_is_halved(server, tmp_path):
    fake, url = server
    fake.largest = 1500
    result = send(url, log(tmp_path / "a.log", 50))
    assert told(result, "created", "retried") == [50, 0]
    fake.largest = 10
    assert told(send(url, log(tmp_path / "b.log", 4, run="b")), "rejected") == [4]


@pytest.mark.parametrize(
    ("before", "fault", "wanted"),
    [
        ([], Fault.UNAUTHORIZED, "rejected"),
        ([], Fault.FORBIDDEN, "rejected"),
        ([Fault.DROP], Fault.FORBIDDEN, "unconfirmed"),
    ],
)
def test_who_is_not_allowed_is_told_at_once(server, tmp_path, monkeypatch, before, fault, wanted):
    _, url = server
    monkeypatch.setattr(shipping, "CHUNK", 1000)
    with faulty_proxy(url) as proxy:
        proxy.next(before)
        proxy.always(fault)
        result = send(proxy.url, log(tmp_path / "a.log", 10))
    assert told(result, "sent", wanted) == [10, 10]
    assert result.exit_code == ExitCode.NOT_ALLOWED
    assert sum(proxy.done.values()) == 1 + len(before)


def test_an_answer_that_leaves_documents_out_is_no_answer(server, tmp_path):
    fake, url = server
    times = iter(range(2))
    fake.spoil = lambda a: {**a, "errors": False, "items": a["items"][:-1]} if next(times, None) is not None else a
    assert told(send(url, log(tmp_path / "a.log", 10)), "already_there", "retried") == [10, 10]


def test_an_outage_is_told_once_and_its_end_too(server, tmp_path, monkeypatch):
    _, url = server
    monkeypatch.setattr(bulk, "_OUTAGE", 0.05)
    notes: list[str] = []
    with faulty_proxy(url) as proxy:
        proxy.always(Fault.UNAVAILABLE)
        threading.Timer(0.5, proxy.never).start()
        assert told(send(proxy.url, log(tmp_path / "a.log", 10), notes=notes), "created") == [10]
    first, last = [re.sub(r"http://[^ ]*", "URL", n) for n in notes]
    assert first == "URL did not take documents: the proxy says 503; trying again"
    assert re.fullmatch(r"URL takes documents again, after \d s", last)


# --- before anything is sent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "why"), [("absent", "no stream"), ("indices", "is no stream")])
def test_without_a_stream_nothing_is_sent(server, tmp_path, kind, why):
    fake, url = server
    fake.kind = kind
    with pytest.raises(ConfigError, match=why) as caught:
        send(url, log(tmp_path / "a.log", 3))
    assert caught.value.hint
    assert "elkkit setup" in caught.value.hint
    assert not fake.bulks


def test_a_data_stream_is_required_to_be_one(server, tmp_path):
    fake, url = server
    fake.kind = "data_streams"
    assert told(send(url, log(tmp_path / "a.log", 3)), "created") == [3]


# --- what was not taken ----------------------------------------------------------------------------------------------


def test_rejected_lines_are_kept_and_can_be_sent_again(server, tmp_path):
    fake, url = server
    path, kept = tmp_path / "a.log", tmp_path / "kept.jsonl"
    path.write_bytes(
        b'IoU : 0.5\nIoU : 0,83\n{"message":"Recall : 0.25","model.name":"a"}\n{"message":"IoU : 0.6","x\n'
    )
    fake.refuse = lambda *_: (400, "document_parsing_exception", "not today")
    result = send(url, path, rejected=kept)
    assert told(result, "rejected", "created") == [4, 0]
    assert result.errors[0].hint == f"mend them, then: elkkit ship {kept}"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert {json.loads(line)["elkkit_rejected"] for line in kept.read_text().splitlines()} == {
        "400 document_parsing_exception: not today"
    }
    fake.refuse = lambda *_: None
    assert told(send(url, kept), "created", "scored", "malformed") == [4, 2, 2]
    assert told(send(url, path), "already_there") == [4]
    assert all(d.get("tags", []).count(CONTRACT.malformed_tag) <= 1 for d in fake.stored)


def test_a_file_for_rejected_lines_that_holds_some_is_left_alone(server, tmp_path):
    fake, url = server
    kept = tmp_path / "kept.jsonl"
    kept.write_text("mine\n")
    with pytest.raises(ConfigError, match="is not empty"):
        send(url, log(tmp_path / "a.log", 3), rejected=kept)
    assert kept.read_text() == "mine\n"
    assert not fake.bulks
    kept.write_text("")
    send(url, log(tmp_path / "a.log", 3), rejected=kept)


def test_unconfirmed_lines_are_kept_too(server, tmp_path):
    fake, url = server
    kept = tmp_path / "kept.jsonl"
    fake.refuse = lambda *_: (503, "unavailable_shards_exception", "primary is not active")
    send(url, log(tmp_path / "a.log", 5), give_up=0, rejected=kept)
    assert len(kept.read_text().splitlines()) == 5


# --- following and ending --------------------------------------------------------------------------------------------


@contextmanager
def following(
    url: str, *files: Path, notes: list[str] | None = None, **options: Any
) -> Iterator[tuple[Stop, list[Any]]]:
    stop, results = Stop(), []

    def run() -> None:
        try:
            results.append(send(url, *files, stop=stop, notes=notes, follow=True, **options))
        except ElkkitError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop, results
    finally:
        stop.ask()
        thread.join(20)
        assert not thread.is_alive()


def until(what: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_following_sends_soon_through_rotation_and_waits_for_the_rest_of_a_line(server, tmp_path):
    fake, url = server
    path = tmp_path / "a.log"
    path.write_bytes(b"IoU : 0.1\nIoU : 0.")
    with following(url, path) as (stop, results):
        until(lambda: len(fake.stored) == 1)
        with path.open("ab") as file:
            file.write(b"2\n")
        until(lambda: len(fake.stored) == 2)
        path.rename(tmp_path / "a.log.1")
        path.write_bytes(b"IoU : 0.3\n")
        until(lambda: len(fake.stored) == 3)
        stop.ask()
        until(lambda: results)
    assert [d["metricscores"] for d in fake.stored] == [0.1, 0.2, 0.3]
    assert results[0].exit_code == ExitCode.INTERRUPTED
    assert told(results[0], "read", "created") == [3, 3]
    assert told(send(url, tmp_path / "a.log.1", path), "already_there") == [3]


def test_following_survives_an_outage_with_the_files_as_its_queue(server, tmp_path, monkeypatch):
    fake, url = server
    monkeypatch.setattr(shipping, "CHUNK", 10)
    monkeypatch.setattr(bulk, "CAP", 0.2)
    path = log(tmp_path / "a.log", 200)
    with faulty_proxy(url) as proxy:
        proxy.always(Fault.RESET)
        with following(proxy.url, path) as (_stop, results):
            until(lambda: sum(proxy.done.values()) > 6)
            assert not fake.stored
            proxy.never()
            until(lambda: len(fake.stored) == 200)
    assert told(results[0], "created", "retried") == [200, 20]


def test_who_interrupts_an_outage_is_told_what_is_not_known(server, tmp_path, monkeypatch):
    _fake, url = server
    monkeypatch.setattr(shipping, "CHUNK", 10)
    with faulty_proxy(url) as proxy:
        proxy.always(Fault.UNAVAILABLE)
        with following(proxy.url, log(tmp_path / "a.log", 200)) as (stop, results):
            until(lambda: proxy.done[Fault.UNAVAILABLE] > 4)
            stop.ask()
    assert told(results[0], "sent", "unconfirmed", "not_sent", "created") == [20, 20, 10, 0]
    assert results[0].exit_code == ExitCode.INTERRUPTED


# --- the command -----------------------------------------------------------------------------------------------------

SHIP = [sys.executable, "-m", "elkkit", "ship"]


def environment(**more: str) -> dict[str, str]:
    folders = [str(Path(elkkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ELKKIT_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, folders)), "COLUMNS": "80", **more}


def run(url: str, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*SHIP, *map(str, arguments), "--es-url", url]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment(), **options)


def test_what_people_see(server, tmp_path):
    _, url = server
    done = run(url, log(tmp_path / "a.log", 30))
    assert (done.returncode, done.stdout) == (0, b"")
    read, sent, following = done.stderr.decode().splitlines()
    assert read == "30 read, 30 scored"
    assert re.fullmatch(rf"30 sent, 30 created in 0\.\d s to {url}", sent)
    assert following == "next: elkkit compare --es"


def test_one_envelope_and_three_lines(server, tmp_path):
    fake, url = server
    fake.refuse = lambda *_: (400, "document_parsing_exception", "no\x1b[31m such type")
    path = log(tmp_path / "a.log", 3)
    done = run(url, path, "--json")
    envelope = json.loads(done.stdout)
    assert (done.returncode, envelope["exit_code"], envelope["data"]["rejected"]) == (1, 1, 3)
    assert envelope["errors"][0]["code"] == "refused"
    shown = run(url, path).stderr.decode()
    assert "\x1b" not in shown
    assert re.search(
        r"^error: 3 documents are rejected\nwhy: no\\x1b\[31m such type.*\nhint: elkkit ship FILES --rejected FILE",
        shown,
        re.M,
    )


def test_standard_input_and_a_server_that_is_not_there(server, tmp_path):
    _, url = server
    done = run(url, "-", input=b"IoU : 0.5\n")
    assert (done.returncode, b"1 created" in done.stderr) == (0, True)
    gone = run("http://127.0.0.1:9", log(tmp_path / "a.log", 3))
    assert gone.returncode == 3
    assert [line.split(b":")[0] for line in gone.stderr.splitlines()] == [b"error", b"why", b"hint"]


def test_conflicts_are_data(server, tmp_path):
    _, url = server
    run(url, log(tmp_path / "a.log", 1))
    done = run(url, log(tmp_path / "b.log", 1, offset=1.0))
    assert done.returncode == 1
    assert done.stdout.decode() == f"{tmp_path}/b.log:0  IoU : 1.0  (stored: IoU : 0.0)\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_in_good_order(server, tmp_path, number):
    fake, url = server
    path = log(tmp_path / "a.log", 3)
    command = [*SHIP, str(path), "--follow", "--json", "--es-url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        until(lambda: len(fake.stored) == 3)
        time.sleep(0.3)
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    envelope = json.loads(out)
    assert (envelope["exit_code"], envelope["data"]["created"]) == (130, 3)


def test_a_second_interruption_does_not_wait_for_a_request_that_hangs(server, tmp_path):
    _, url = server
    path = log(tmp_path / "a.log", 3)
    with faulty_proxy(url) as proxy:
        proxy.delay = 20
        proxy.always(Fault.SLOW)
        command = [*SHIP, str(path), "--es-url", proxy.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
            until(lambda: proxy.done)
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert process.poll() is None
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 4
    assert process.returncode == 130
    assert b"3 sent, 3 unconfirmed" in errors
