"""Python's parser against Elasticsearch's own grok library, the engine of Logstash and of ingest pipelines."""

from __future__ import annotations

import base64
import random
import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest

import engines
from elkkit.contract import load_contract
from elkkit.grok import grok_patterns
from elkkit.line.parser import Outcome, Parser
from lines import corpus, generated_line

GROK = "org.elasticsearch:elasticsearch-grok:8.19.9"
LINES = 100_000
SOURCE = Path(__file__).parent / "grok_oracle" / "GrokOracle.java"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def grok(tmp_path_factory):
    """A function that gives each text's outcome and fields as grok sees them."""
    home = engines.jars("grok-8.19.9", GROK)
    setup = tmp_path_factory.mktemp("grok") / "patterns.tsv"
    patterns = grok_patterns(load_contract())
    rows = [f"def\t{name}\t{b64(p)}" for name, p in patterns.definitions.items()]
    rows += [f"pat\t{b64(p)}" for p in (*patterns.matches, *patterns.malformed)]
    setup.write_text("\n".join(rows))
    good = len(patterns.matches)

    def judge(texts: list[str]) -> list[tuple]:
        command = [engines.java(), "-cp", f"{home}/lib/*", str(SOURCE), str(setup)]
        stdin = "\n".join(map(b64, texts)) + "\n"
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rows = [row.split("\t") for row in done.stdout.splitlines()]
        assert len(rows) == len(texts)
        return [outcome(int(n), good, name, bits, raw) for n, name, bits, raw in rows]

    return judge


def outcome(number: int, good: int, name: str, bits: str, raw: str) -> tuple:
    text = {k: base64.b64decode(v).decode() for k, v in (("name", name), ("raw", raw)) if v != "-"}
    if number < 0:
        return (Outcome.NOT_A_SCORE,)
    if number >= good:
        return (Outcome.MALFORMED,)
    if bits != "-":
        return (Outcome.SCORED, canonical(text["name"]), bits)
    return (Outcome.NOT_FINITE, canonical(text["name"]), text["raw"])


def canonical(name: str) -> str:
    return load_contract().spellings().get(name.lower() if name.isascii() else name, name)


def python(text: str) -> tuple:
    parsed = Parser.of().parse_text(text)
    if parsed.outcome is Outcome.SCORED:
        bits = struct.pack(">d", parsed.fields["metricscores"]).hex()
        return (parsed.outcome, parsed.fields["metrictype"], bits)
    if parsed.outcome is Outcome.NOT_FINITE:
        return (parsed.outcome, parsed.fields["metrictype"], parsed.fields["metricraw"])
    return (parsed.outcome,)


def disagreements(grok, texts: list[str]) -> list[str]:
    return [
        f"{text!r}\n  grok   {theirs}\n  python {ours}"
        for text, theirs in zip(texts, grok(texts), strict=True)
        if (ours := python(text)) != theirs
    ]


@pytest.mark.full
def test_generated_lines_agree(grok):
    """100,000 seeded lines, near-misses included: outcome, name, and every bit of the score."""
    rng = random.Random(20261122)
    texts = [generated_line(rng) for _ in range(LINES)]
    seen = Counter(python(t)[0] for t in texts)
    assert min(seen[o] for o in Outcome) > LINES // 50, f"the generator neglects an outcome: {seen}"
    wrong = disagreements(grok, texts)
    assert not wrong, f"{len(wrong)} disagreements\n" + "\n".join(wrong[:20])


@pytest.mark.full
def test_corpus_agrees(grok):
    """The shared corpus's plain lines; colour codes and JSON are taken off before grok sees a line."""
    texts = [raw.decode("utf-8", "replace") for raw, _ in corpus()]
    texts = [t for t in texts if "\x1b" not in t and "{" not in t]
    assert len(texts) > 80
    assert disagreements(grok, texts) == []


@pytest.mark.full
def test_sign_of_zero_and_extremes(grok):
    texts = [
        f"IoU : {n}" for n in ("-0.0", "0.0", "-0", "-.0e-99", "4.9e-324", "3e-324", "9.9e307", "-9e-323", "1e307")
    ]
    assert disagreements(grok, texts) == []
    assert grok(["IoU : -0.0"])[0][2] == "8000000000000000"


@pytest.mark.full
def test_a_long_hostile_line_does_not_stall(grok):
    texts = [
        "loss" + " " * 200_000 + "x",
        "INFO" + " " * 200_000 + ":x",
        "IoU" + "\t" * 200_000,
        "a." * 100_000 + " : 1",
    ]
    assert disagreements(grok, texts) == []
