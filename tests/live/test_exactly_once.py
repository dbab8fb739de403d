"""Nothing is lost and nothing counts twice: real kills of shipper and Elasticsearch, and a network that fails."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import elkkit
import embedded_node
from elkkit.contract import Contract, extend, load_contract
from elkkit.line.logger import metric_logger
from elkkit.stack import embedded
from elkkit.stack.elastic import Connection, connect
from elkkit.usecases.setup import setup
from faulty_proxy import Fault, FaultyProxy, faulty_proxy

pytestmark = pytest.mark.full

KILLS = 20
LINES = 20_000
PLAIN = 50
"""Of a round's lines, so many are plain ones, which carry no id."""
FAULTS = {Fault.BUSY: 0.15, Fault.UNAVAILABLE: 0.15, Fault.RESET: 0.15, Fault.DROP: 0.2, Fault.CUT: 0.1}


class Node:
    """The embedded engine behind a proxy whose address stays when the engine is killed and started again."""

    def __init__(self, stack: ExitStack, state: Path) -> None:
        self._stack = stack
        self._state = state
        embedded_node.available()
        self.engine = stack.enter_context(embedded.using(install=True, state=state))
        self.proxy: FaultyProxy = stack.enter_context(faulty_proxy(self.engine.url, seed=7))

    def kill(self) -> None:
        os.kill(self.engine.pid, signal.SIGKILL)
        assert embedded.ended(self.engine, 20)

    def start(self) -> None:
        self.engine = self._stack.enter_context(embedded.using(install=True, state=self._state))
        self.proxy.target = self.engine.url


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    state = tmp_path_factory.mktemp("engine")
    with ExitStack() as stack:
        node = Node(stack, state)
        yield node
    if not embedded.ended(node.engine, 20):
        embedded.down(state=state)


def made_stream(node: Node, dataset: str) -> Contract:
    """A stream of its own for a test."""
    contract = extend(load_contract(), dataset=dataset)
    with connect(Connection(node.engine.url)) as elastic:
        setup(elastic, contract)
    return contract


def start(node: Node, contract: Contract, *arguments: Any) -> subprocess.Popen[bytes]:
    folders = [str(Path(elkkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, folders)), "ELKKIT_DATASET": contract.dataset}
    command = [sys.executable, "-m", "elkkit", "ship", *map(str, arguments), "--es-url", node.proxy.url, "--json"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ELKKIT_")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**kept, **variables})


def ended(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The counts of a shipper that ends by itself; its exit code among them."""
    out, _ = process.communicate(timeout=120)
    found: dict[str, Any] = json.loads(out)
    assert found["exit_code"] == process.returncode
    return {**found["data"], "exit_code": process.returncode, "errors": found["errors"]}


def killed(process: subprocess.Popen[bytes]) -> bool:
    """Kill a shipper; whether it was still at work."""
    at_work = process.poll() is None
    process.kill()
    process.communicate()
    return at_work


def stored(node: Node, contract: Contract) -> list[dict[str, Any]]:
    """Every document of the stream, over all its indices."""
    from elasticsearch import helpers

    with connect(Connection(node.engine.url)) as elastic:
        elastic.client.indices.refresh(index=contract.stream)
        return [hit["_source"] for hit in helpers.scan(elastic.client, index=contract.stream, size=5000)]


def rollover(node: Node, contract: Contract) -> None:
    with connect(Connection(node.engine.url)) as elastic:
        assert elastic.client.indices.rollover(alias=contract.stream)["rolled_over"]


def bits(score: float) -> bytes:
    return struct.pack(">d", score)


class Logs:
    """A log of JSON lines and one of plain lines, both growing."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        self.json, self.plain = folder / "a.log", folder / "plain.log"
        self.files = (self.json, self.plain)
        self._contract = contract
        self._random = random.Random(11)
        self.scores: dict[str, bytes] = {}
        """By frame."""
        self.plain_scores: list[bytes] = []

    def grow(self, count: int) -> None:
        with metric_logger(str(self.json), model_name="lane-a", run_id="r1", contract=self._contract) as log:
            for _ in range(count - PLAIN):
                frame, score = f"f{len(self.scores):06d}", self._random.uniform(-1, 1)
                self.scores[frame] = bits(score)
                log.log_metric("IoU", score, frame_id=frame)
        with metric_logger(str(self.plain), plain=True, contract=self._contract) as log:
            for _ in range(PLAIN):
                score = self._random.choice((0.5, 0.25))  # equal lines are lines of their own
                self.plain_scores.append(bits(score))
                log.log_metric("IoU", score)

    def check(self, documents: list[dict[str, Any]]) -> None:
        """Every line is there once, with its score bit for bit."""
        frames = [d["frame.id"] for d in documents if "frame.id" in d]
        lost, double = len(set(self.scores) - set(frames)), len(frames) - len(set(frames))
        plain = [d for d in documents if "frame.id" not in d]
        assert (lost, double, len(plain)) == (0, 0, len(self.plain_scores))
        assert {d["frame.id"]: bits(d["metricscores"]) for d in documents if "frame.id" in d} == self.scores
        in_order = sorted(plain, key=lambda d: d["log.offset"])
        assert [bits(d["metricscores"]) for d in in_order] == self.plain_scores


def test_every_line_counts_once_whatever_dies(node: Node, tmp_path: Path):
    contract = made_stream(node, "once.kills")
    logs, rng = Logs(tmp_path, contract), random.Random(3)
    kills = rounds = 0
    while kills < KILLS or rounds * 1000 < LINES:
        rounds += 1
        assert rounds < 3 * KILLS
        if rounds * 1000 <= LINES:
            logs.grow(1000)
        node.proxy.sometimes(FAULTS)
        if rounds in (6, 13):
            rollover(node, contract)
        shippers = [start(node, contract, *logs.files) for _ in range(2 if rounds % 4 == 0 else 1)]
        time.sleep(rng.uniform(0.4, 1.6))
        if rounds in (4, 11):
            node.kill()
            node.start()
        kills += sum(killed(p) for p in shippers)
    faults = {f: node.proxy.done[f] for f in FAULTS}
    assert all(faults.values()), faults
    node.proxy.never()
    last = ended(start(node, contract, *logs.files))
    assert last["exit_code"] == 0, last
    assert (last["read"], last["sent"], last["conflicting"]) == (LINES, LINES, 0)
    logs.check(stored(node, contract))
    again = ended(start(node, contract, *logs.files))
    assert (again["created"], again["already_there"]) == (0, LINES)


def test_answers_that_are_lost_in_one_run(node: Node, tmp_path: Path):
    contract = made_stream(node, "once.faults")
    logs = Logs(tmp_path, contract)
    logs.grow(12_000)
    node.proxy.next([Fault.DROP, Fault.CUT, Fault.DROP, Fault.UNAVAILABLE, Fault.BUSY, Fault.RESET])
    done = ended(start(node, contract, *logs.files))
    assert done["exit_code"] == 0, done
    assert done["created"] + done["already_there"] == 12_000
    assert done["retried"] >= 5_000
    logs.check(stored(node, contract))


def test_two_shippers_at_once(node: Node, tmp_path: Path):
    contract = made_stream(node, "once.two")
    logs = Logs(tmp_path, contract)
    logs.grow(12_000)
    done = [ended(p) for p in [start(node, contract, *logs.files) for _ in range(2)]]
    assert [d["exit_code"] for d in done] == [0, 0]
    assert sum(d["created"] for d in done) == 12_000
    assert sum(d["already_there"] for d in done) == 12_000
    logs.check(stored(node, contract))


def test_following_through_the_death_of_elasticsearch_and_a_rotation(node: Node, tmp_path: Path):
    contract = made_stream(node, "once.follow")
    logs = Logs(tmp_path, contract)
    logs.grow(1000)
    shipper = start(node, contract, *logs.files, "--follow")
    try:
        until(lambda: len(stored(node, contract)) == 1000, shipper)
        node.kill()
        logs.grow(1000)
        logs.json.rename(tmp_path / "a.log.1")
        time.sleep(1)
        logs.grow(1000)
        node.start()
        until(lambda: len(stored(node, contract)) == 3000, shipper)
    finally:
        shipper.send_signal(signal.SIGINT)
        done = ended(shipper)
    assert done["exit_code"] == 130
    assert (done["sent"], done["unconfirmed"]) == (3000, 0)
    logs.check(stored(node, contract))


def until(what: Any, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.2)
