"""What logs do to a reader, on a real Filebeat: rotation both ways, cut lines, odd bytes, a line of a megabyte.

Nothing is lost, and nothing is stored twice; what is sent twice, and what is kept back, is counted.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import opensearch_node
import shippers
from elkkit.contract import load_contract
from elkkit.line.parser import Outcome, Parser
from roads import outcome_of

pytestmark = pytest.mark.full
CONTRACT = load_contract()
ROUNDS, BURST, FEW = 5, 2000, 10
MEGABYTE = 1024 * 1024
PATIENCE = 300
"""Seconds: a Logstash that starts on a busy machine, and a Filebeat that tries again ever more slowly."""
ODD = {
    "three.log": b"IoU : 0.125\nRecall : 0.25\nPrecision : 0.375\n",
    "crlf.log": b"IoU : 0.5\r\nRecall : nan\r\nordinary text\r\nRecall : 0,5\r\n",
    "bytes.log": b"IoU : 0.625\nRecall : 0.\xff5\n\xff\xfe\nIoU : 0.75\n\x00\n",
    "long.log": b'{"message":"IoU : 0.875","x":"'
    + b"a" * MEGABYTE
    + b'"}\nIoU : '
    + b"9" * MEGABYTE
    + b"\nRecall : 1\n",
    "cut.log": b"IoU : 0.0625\nRecall : 0.8",
}
"""The last line of `cut.log` has no line feed: it is `0.8312` once the rest is written."""


def rename(path: Path, number: int) -> None:
    path.rename(path.with_name(f"{path.name}.{number}"))


def copytruncate(path: Path, number: int) -> None:
    shutil.copyfile(path, path.with_name(f"{path.name}.{number}"))
    with open(path, "r+b") as file:
        file.truncate(0)


def write(path: Path, ids: list[str]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        for one in ids:
            file.write(json.dumps({"message": "IoU : 0.5", "event.id": one}) + "\n")


@pytest.mark.parametrize("rotate", [rename, copytruncate])
def test_rotation(tmp_path, rotate: Callable[[Path, int], None]):
    """Every line is sent, each time under its own id; a copy is another file, so its lines are sent twice."""
    logs = tmp_path / "logs"
    logs.mkdir()
    path = logs / "scores.log"
    command = shippers.filebeat_command("filebeat.yml", tmp_path / "data", *shippers.to_file(tmp_path))
    (tmp_path / "data").mkdir()
    log, ids = tmp_path / "filebeat.log", [f"{n:032x}" for n in range(ROUNDS * BURST)]

    def sent() -> Counter[str]:
        return Counter(json.loads(e["message"])["event.id"] for e in shippers.filebeat_events(tmp_path))

    with shippers.running(command, log, {"ELKKIT_LOG_FILES": f"{logs}/*.log*"}) as process:
        for number in range(ROUNDS):
            part = ids[number * BURST : (number + 1) * BURST]
            write(path, part[:FEW])
            # a file that grows back to where it was read before Filebeat looks again does not look truncated to it
            shippers.wait_for(lambda part=part: set(part[:FEW]) <= set(sent()), process, log)
            write(path, part[FEW:])
            if number == 2:  # rotated before the shipper has read what was written
                rotate(path, number)
            shippers.wait_for(lambda part=part: set(part) <= set(sent()), process, log)
            if number in (0, 3):
                rotate(path, number)
        shippers.wait_for(lambda: len(sent()) >= len(ids), process, log)
    found = sent()
    assert set(found) == set(ids), "lines were lost"
    twice = sum(n - 1 for n in found.values())
    print(f"{rotate.__name__}: {len(found)} of {len(ids)} lines sent, {twice} of them once more")
    assert rotate is copytruncate or twice == 0


@pytest.mark.timeout(700)
@pytest.mark.parametrize("road", ["straight", "logstash"])
def test_odd_files(tmp_path, road):
    """Each ended line becomes what Python's parser says; the line that is not ended is kept back until it is."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for name, data in ODD.items():
        (logs / name).write_bytes(data)
    shippers.filebeat()
    with opensearch_node.running(tmp_path / "opensearch") as node, opensearch_node.elasticsearch_front(node) as url:
        opensearch_node.install(node, CONTRACT)
        variables = {"ELKKIT_LOG_FILES": f"{logs}/*.log*", "ELKKIT_ELASTICSEARCH_URL": url}
        (tmp_path / "data").mkdir()
        if road == "straight":
            command = shippers.filebeat_command("filebeat-elasticsearch.yml", tmp_path / "data")
            with shippers.running(command, tmp_path / "filebeat.log", variables) as process:
                check(node, logs, process, tmp_path / "filebeat.log")
            return
        port = str(shippers.free_port())
        beats = {**variables, "ELKKIT_LOGSTASH": f"127.0.0.1:{port}"}
        variables |= {"ELKKIT_BEATS_PORT": port, "ELKKIT_LOG_FILES": str(tmp_path / "none" / "*.log")}
        variables["LOGSTASH_PIPELINE"] = str(shippers.asset("logstash", "pipeline-laptop"))
        words, log = shippers.logstash_command(tmp_path / "logstash"), tmp_path / "logstash.log"
        command = shippers.filebeat_command("filebeat.yml", tmp_path / "data")
        with (
            shippers.running(words, log, variables) as process,
            shippers.running(command, tmp_path / "filebeat.log", beats),
        ):
            check(node, logs, process, log)


def check(node: opensearch_node.Node, logs: Path, process: Any, log: Path) -> None:
    wanted = expected(ODD)
    shippers.wait_for(lambda: node.stored(CONTRACT.stream, wanted.total()), process, log, PATIENCE)
    assert stored(node) == wanted
    with open(logs / "cut.log", "ab") as file:
        file.write(b"312\n")
    shippers.wait_for(lambda: node.stored(CONTRACT.stream, wanted.total() + 1), process, log, PATIENCE)
    assert stored(node) == wanted + Counter({("cut.log", Outcome.SCORED, "Recall", repr(0.8312)): 1})
    print(f"{wanted.total() + 1} documents of {sum(d.count(bytes([10])) for d in ODD.values()) + 1} ended lines")


def expected(files: dict[str, bytes]) -> Counter[tuple[Any, ...]]:
    """What the ended lines are by Python's parser, less the ordinary text, which both roads drop."""
    found: Counter[tuple[Any, ...]] = Counter()
    for name, data in files.items():
        for line in data.split(b"\n")[:-1]:
            parsed = Parser.of().parse(line)
            if parsed.outcome is not Outcome.NOT_A_SCORE:
                fields = parsed.fields
                found[name, parsed.outcome, fields.get("metrictype"), repr(fields.get("metricscores"))] += 1
    return found


def stored(node: opensearch_node.Node) -> Counter[tuple[Any, ...]]:
    hits = node.call("POST", f"/{CONTRACT.stream}/_search", {"size": 1000})["hits"]["hits"]
    found: Counter[tuple[Any, ...]] = Counter()
    for source in (h["_source"] for h in hits):
        name = Path(source["log"]["file"]["path"]).name
        found[name, outcome_of(source), source.get("metrictype"), repr(source.get("metricscores"))] += 1
    return found
