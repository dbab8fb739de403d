"""The Logstash pipeline's Ruby code in a plain Ruby, against Python's parser: it reads every line with a brace."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from elkkit.contract import load_contract
from elkkit.line.parser import MAX_NESTING, Outcome, Parser
from elkkit.render.logstash import ruby_filter
from lines import corpus
from roads import HOSTILE, flat, generated_json_line

HARNESS = Path(__file__).parent / "ruby_filter" / "harness.rb"
CONTRACT = load_contract()


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A function that gives each text's event as the filter leaves it."""
    ruby = shutil.which("ruby")
    if ruby is None:
        pytest.skip("no Ruby here")
    code = tmp_path_factory.mktemp("ruby") / "filter.rb"
    code.write_text(ruby_filter(CONTRACT), "utf-8")

    def run(texts: list[str]) -> list[dict]:
        stdin = "".join(f"{json.dumps(t)}\n" for t in texts)
        done = subprocess.run([ruby, HARNESS, code], input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "Ruby warns of the code"
        return [json.loads(line) for line in done.stdout.removesuffix("\n").split("\n")]

    return run


def differences(judge, texts: list[str]) -> list[str]:
    parser = Parser.of()
    return [d for text, event in zip(texts, judge(texts), strict=True) if (d := difference(parser, text, event))]


def difference(parser: Parser, text: str, event: dict) -> str | None:
    """Where the filter decided, the outcome is Python's; where it left a text to judge, judging that gives Python's."""
    wanted = parser.parse_text(text)
    work = event.pop("@metadata")["elkkit"]
    fields = flat(event)
    if "time" in work:
        fields["@timestamp"] = work["time"]
    left = work.get("outcome")
    inner = None if left else parser._text(work["text"], {}, MAX_NESTING)  # what grok sees: no object any more
    outcome = Outcome(left) if left else inner.outcome
    if outcome is not wanted.outcome:
        return f"{text!r:.300}\n  python {wanted.outcome}\n  ruby {outcome}"
    if outcome is Outcome.NOT_A_SCORE:
        return None
    judged = {k: inner.fields[k] for k in ("metrictype", "metricscores", "metricraw") if inner and k in inner.fields}
    seen = {k: v for k, v in {**fields, **judged}.items() if v != [] and k != "error.message"}
    if outcome is Outcome.MALFORMED:
        seen["tags"] = [*seen.get("tags", []), CONTRACT.malformed_tag]
    want = {k: v for k, v in wanted.fields.items() if v != [] and k != "error.message"}
    return None if seen == want else f"{text!r:.300}\n  python {want}\n  ruby {seen}"


@pytest.mark.full
def test_corpus(judge):
    texts = [raw.decode("utf-8", "replace") for raw, _ in corpus()]
    assert differences(judge, texts) == []


@pytest.mark.full
def test_generated_json_lines(judge):
    rng = random.Random(20261122)
    wrong = differences(judge, [generated_json_line(rng) for _ in range(20_000)])
    assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:10])


@pytest.mark.full
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_lines(judge, name):
    assert differences(judge, [HOSTILE[name]]) == []


def test_workers_share_no_frame():
    """JRuby keeps the last match of a pattern in the frame, and all calls of a lambda share one."""
    code = re.sub(r"^\s*#.*$", "", ruby_filter(CONTRACT), flags=re.MULTILINE)
    assert not re.search(r"\blambda\b|->|\bproc\b", code)
    assert "def elkkit_read(event)" in code
