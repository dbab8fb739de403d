"""`elkkit grok test` with real engines: Elasticsearch's grok library, an ingest node, a Logstash."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

import engines
import opensearch_node
import shippers
from elkkit.cli import app
from elkkit.contract import load_contract
from golden_cases import CASES
from lines import corpus
from roads import HOSTILE

pytestmark = pytest.mark.full
NAIVE = "%{WORD:metrictype} : %{NUMBER:metricscores:float}"
TRAPS = """IoU : 0.8312
Inference_time : 9.5e-05
IoU : 1e-05
IoU : 0,8312
Recall : nan
iou : 0.1234567890123
hello world
INFO:root:mAP@0.5 : 0.25
"""
CATASTROPHE = "^(?<metrictype>(?:a|b|ab)+)(?<metricscores>[0-9])$"


@pytest.fixture(scope="module")
def library():
    """The library can be fetched."""
    engines.java()
    if shutil.which("mvn") is None:
        pytest.skip("no Maven here")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """An ingest node with the contract's pipelines."""
    home = tmp_path_factory.mktemp("opensearch")
    with opensearch_node.running(home) as node, opensearch_node.elasticsearch_front(node) as url:
        opensearch_node.install(node, load_contract())
        yield url


def run(*arguments: str, stdin: bytes = b""):
    return CliRunner().invoke(app, ["grok", "test", *arguments], input=stdin)


def read(*arguments: str, stdin: bytes = b"") -> dict:
    done = run("--json", *arguments, stdin=stdin)
    told = json.loads(done.stdout)
    assert told["exit_code"] == done.exit_code
    return told


def verdicts(told: dict, engine: str) -> dict[str, tuple[str, float | None]]:
    found = {row["text"]: row["engines"][engine] for row in told["data"]["lines"]}
    return {text: (row["verdict"], row.get("score")) for text, row in found.items()}


def everything() -> bytes:
    """The corpus, the golden cases and hostile lines that are not too deep for a person to wait for."""
    lines = [raw for raw, _ in corpus()] + [case.read_bytes().removesuffix(b"\n") for case in CASES]
    return b"\n".join([*lines, *(HOSTILE[n].encode() for n in ("blanks", "stamps", "brackets"))]) + b"\n"


def test_the_contracts_patterns_agree_in_the_library(library):
    told = read("--engine", "grok", "--differing", stdin=everything())
    assert told["data"]["lines"] == []
    assert told["exit_code"] == 0
    assert told["data"]["counts"]["lines"] > 200


def test_what_a_naive_pattern_does_to_numbers(library):
    told = read("--engine", "grok", "-p", NAIVE, stdin=TRAPS.encode())
    assert told["exit_code"] == 1
    assert verdicts(told, "grok") == {
        "IoU : 0.8312": ("same", 0.8312),
        "Inference_time : 9.5e-05": ("number changed", 9.5),
        "IoU : 1e-05": ("number changed", 1.0),
        "IoU : 0,8312": ("number made up", 0.0),
        "Recall : nan": ("line lost", None),
        "iou : 0.1234567890123": ("number changed", 0.12345679),  # its `float` has 32 bits
        "hello world": ("same", None),
        "INFO:root:mAP@0.5 : 0.25": ("name changed", 0.25),
    }


def test_definitions_of_a_file(library, tmp_path):
    path = tmp_path / "patterns"
    path.write_text("REAL [+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?\n^%{WORD:metrictype} : %{REAL:metricscores:double}$\n")
    told = read("--engine", "grok", "-p", str(path), stdin=b"Inference_time : 9.5e-05\nIoU : 0.1234567890123\n")
    assert told["exit_code"] == 0


def test_a_pattern_that_backtracks_is_stopped(library):
    line = b"ab" * 40 + b"1!\n"
    told = read("--engine", "grok", "--limit", "0.1", "-p", CATASTROPHE, "--score", "metricscores", stdin=line * 200)
    counts = told["data"]["counts"]
    assert counts["engines"]["grok"]["too slow"] >= 5
    assert counts["engines"]["grok"]["not asked"] >= 100
    assert "took too long" in counts["stopped"]["grok"]
    assert told["exit_code"] == 1


@pytest.mark.parametrize(
    "pattern", ["%{NOPE:metricscores:float}", "%{NUMBER:metricscores:floaty}(", "(?<metricscores>["]
)
def test_a_pattern_that_the_library_refuses(library, pattern):
    done = run("--engine", "grok", "-p", pattern, "--score", "metricscores", stdin=b"IoU : 1\n")
    assert done.exit_code == 2
    assert "the pattern cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ingest_node_agrees(library, url):
    told = read("--es-url", url, "--engine", "grok", "--engine", "elasticsearch", "-d", stdin=everything())
    assert told["data"]["lines"] == []
    assert set(told["data"]["counts"]["engines"]) == {"grok", "elasticsearch"}
    assert told["exit_code"] == 0


def test_a_pattern_in_the_ingest_node(url):
    told = read("--es-url", url, "--engine", "elasticsearch", "-p", NAIVE, stdin=TRAPS.encode())
    found = verdicts(told, "elasticsearch")
    assert found["Inference_time : 9.5e-05"] == ("number changed", 9.5)
    assert found["Recall : nan"] == ("line lost", None)
    assert found["IoU : 0.8312"][0] == "same"
    refused = run("--es-url", url, "--engine", "elasticsearch", "-p", "%{NOPE:metricscores}", "--score", "metricscores",
                  stdin=b"IoU : 1\n")  # fmt: skip
    assert refused.exit_code == 2
    assert "NOPE" in refused.stderr


def test_an_ingest_node_without_our_pipeline(tmp_path):
    with opensearch_node.running(tmp_path / "o") as node, opensearch_node.elasticsearch_front(node) as url:
        done = run("--es-url", url, "--engine", "elasticsearch", stdin=b"IoU : 1\n")
    assert done.exit_code == 3
    assert "has no pipeline lane-eval" in done.stderr
    assert "hint: elkkit setup" in done.stderr


@pytest.fixture
def logstash(monkeypatch):
    monkeypatch.setenv("ELKKIT_LOGSTASH", str(shippers.logstash()))


@pytest.mark.timeout(400)
def test_a_pattern_in_logstash(logstash):
    told = read("--engine", "logstash", "-p", NAIVE, stdin=TRAPS.encode())
    assert verdicts(told, "logstash") == {
        "IoU : 0.8312": ("same", 0.8312),
        "Inference_time : 9.5e-05": ("number changed", 9.5),
        "IoU : 1e-05": ("number changed", 1.0),
        "IoU : 0,8312": ("number made up", 0.0),
        "Recall : nan": ("line lost", None),
        "iou : 0.1234567890123": ("same", 0.1234567890123),  # its `float` has 64 bits
        "hello world": ("same", None),
        "INFO:root:mAP@0.5 : 0.25": ("name changed", 0.25),
    }


@pytest.mark.timeout(400)
def test_logstash_agrees(logstash):
    told = read("--engine", "logstash", "--differing", stdin=everything())
    assert told["data"]["lines"] == []
    assert told["exit_code"] == 0


@pytest.mark.timeout(400)
def test_a_pattern_that_logstash_refuses(logstash):
    done = run("--engine", "logstash", "-p", "%{NOPE:metricscores}", "--score", "metricscores", stdin=b"IoU : 1\n")
    assert done.exit_code == 2
    assert "NOPE" in done.stderr
    assert "Traceback" not in done.stderr
