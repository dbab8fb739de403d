"""100,000 lines through real shippers into a real stream, and each part killed on the way: none lost, none twice."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import opensearch_node
import shippers
from elkkit.assets import asset
from elkkit.contract import load_contract

pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]

CONTRACT = load_contract()
LINES = 100_000
_NOBODY = "http://127.0.0.1:1"
PATIENCE = 400
"""Seconds that a burst may take to arrive, with a Logstash that starts anew."""


class Part:
    """A program that is killed and started again, with the same words and the same folders."""

    def __init__(self, stack: ExitStack, command: list[str | Path], log: Path, variables: dict[str, str]) -> None:
        self._stack, self._command, self._variables = stack, command, variables
        self.log = log
        self.kills = 0
        self.start()

    def start(self) -> None:
        at = self.log.with_suffix(f".{self.kills}.log")
        self.process = self._stack.enter_context(shippers.running(self._command, at, self._variables))

    def kill(self) -> None:
        assert self.process.poll() is None, "it had ended by itself"
        self.process.kill()
        self.process.wait()
        self.kills += 1
        self.start()


class Store:
    """OpenSearch, behind an address that stays when it is killed."""

    def __init__(self, stack: ExitStack, home: Path) -> None:
        self._stack, self._home = stack, home
        self.node = stack.enter_context(opensearch_node.running(home))
        opensearch_node.install(self.node, CONTRACT)
        self.url = stack.enter_context(opensearch_node.elasticsearch_front(self.node))
        self.kills = 0

    def kill(self) -> None:
        process = self.node.process
        assert isinstance(process, subprocess.Popen)
        assert process.poll() is None
        process.kill()
        process.wait()
        self.kills += 1
        # Nobody gets through until it has its state back: before, OpenSearch refuses each document with 400, "pipeline
        # does not exist", and Filebeat drops what is refused. Elasticsearch waits instead (8.19 and 9.2, tried so).
        self.node.url = _NOBODY
        again = self._stack.enter_context(opensearch_node.running(self._home))
        self.node.url, self.node.process = again.url, again.process

    def count(self) -> int:
        return self.node.stored(CONTRACT.stream, 0)

    def documents(self) -> list[dict[str, Any]]:
        """Every document: its id, and what the line says."""
        body = {"size": 10_000, "_source": ["event.id", "metricscores"], "sort": ["_doc"]}
        answer = self.node.call("POST", f"/{CONTRACT.stream}/_search?scroll=2m", body)
        found: list[dict[str, Any]] = []
        while hits := answer["hits"]["hits"]:
            found += hits
            again = {"scroll": "2m", "scroll_id": answer["_scroll_id"]}
            answer = self.node.call("POST", "/_search/scroll", again)
        return found


class Lines:
    """A log of ours that grows in bursts, rotated by renaming."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "scores.log"
        self.scores: dict[str, float] = {}
        self._random = random.Random(5)

    def grow(self, count: int) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            for _ in range(count):
                number, score = len(self.scores), self._random.uniform(-1, 1)
                self.scores[f"{number:032x}"] = score
                row = {"message": f"IoU : {score!r}", "event.id": f"{number:032x}", "frame.index": number}
                file.write(json.dumps(row) + "\n")

    def rotate(self) -> None:
        self.path.rename(self.path.with_name(f"scores.log.{len(self.scores)}"))


def bits(score: float) -> bytes:
    return struct.pack(">d", score)


def check(store: Store, lines: Lines) -> None:
    """Every line is there once, under its id, with its score bit for bit."""
    documents = store.documents()
    ids = [d["_source"]["event"]["id"] for d in documents]
    lost, double = len(set(lines.scores) - set(ids)), len(ids) - len(set(ids))
    assert (lost, double, len(ids)) == (0, 0, LINES)
    assert all(d["_id"] == d["_source"]["event"]["id"] for d in documents)
    assert all(bits(d["_source"]["metricscores"]) == bits(lines.scores[d["_id"]]) for d in documents)


def kill_in_bursts(store: Store, lines: Lines, victims: list[Callable[[], None]]) -> list[int]:
    """Grow the log by a share for each victim, and kill that one as soon as the first of it has arrived.

    How many lines were still on their way at each kill.
    """
    on_the_way = []
    for number, kill in enumerate(victims):
        before = store.count()
        lines.grow(LINES // len(victims) if number else LINES - (len(victims) - 1) * (LINES // len(victims)))
        if number % 2:
            lines.rotate()
        wait(lambda before=before: store.count() > before)
        on_the_way.append(len(lines.scores) - store.count())
        kill()
    wait(lambda: store.count() >= LINES)
    time.sleep(3)  # what is sent twice comes late
    assert all(n > 0 for n in on_the_way[:-1]), f"a kill came too late to be one: {on_the_way}"
    return on_the_way


def wait(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "nothing arrives any more"
        time.sleep(0.2)


def test_filebeat_straight_into_elasticsearch(tmp_path):
    shippers.filebeat()
    with ExitStack() as stack:
        store = Store(stack, tmp_path / "opensearch")
        lines = Lines(tmp_path / "logs")
        variables = {"ELKKIT_LOG_FILES": f"{lines.path}*", "ELKKIT_ELASTICSEARCH_URL": store.url}
        command = shippers.filebeat_command("filebeat-elasticsearch.yml", tmp_path / "filebeat")
        (tmp_path / "filebeat").mkdir()
        beat = Part(stack, command, tmp_path / "filebeat.log", variables)
        on_the_way = kill_in_bursts(store, lines, [beat.kill, store.kill, beat.kill, beat.kill, store.kill])
        check(store, lines)
        print(f"{beat.kills} kills of Filebeat, {store.kills} of the store, with {on_the_way} lines on their way")


def test_filebeat_through_logstash(tmp_path):
    shippers.logstash(), shippers.filebeat()
    port = str(shippers.free_port())
    with ExitStack() as stack:
        store = Store(stack, tmp_path / "opensearch")
        lines = Lines(tmp_path / "logs")
        variables = {
            "ELKKIT_ELASTICSEARCH_URL": store.url,
            "ELKKIT_BEATS_PORT": port,
            "LOGSTASH_PIPELINE": str(asset("logstash", "pipeline-laptop")),
            "ELKKIT_LOG_FILES": str(tmp_path / "none" / "*.log"),
        }
        command = shippers.logstash_command(tmp_path / "logstash")
        logstash = Part(stack, command, tmp_path / "logstash.log", variables)
        sent = {"ELKKIT_LOGSTASH": f"127.0.0.1:{port}", "ELKKIT_LOG_FILES": f"{lines.path}*"}
        (tmp_path / "filebeat").mkdir()
        words = shippers.filebeat_command("filebeat.yml", tmp_path / "filebeat")
        beat = Part(stack, words, tmp_path / "filebeat.log", sent)
        victims = [beat.kill, logstash.kill, store.kill, logstash.kill, beat.kill]
        on_the_way = kill_in_bursts(store, lines, victims)
        check(store, lines)
        print(f"{beat.kills} kills of Filebeat, {logstash.kills} of Logstash, {store.kills} of the store: {on_the_way}")
