"""The Logstash pipelines in a real Logstash (`ELKKIT_LOGSTASH`), against Python's parser, and into a real stream."""

from __future__ import annotations

import json
import random

import pytest

import opensearch_node
import shippers
from elkkit.assets import asset
from elkkit.contract import load_contract
from elkkit.line.parser import Parser
from golden_cases import CASES, case_lines, expected_path
from lines import corpus, generated_line
from roads import HOSTILE, expected, generated_json_line, seen, wanted

CONTRACT = load_contract()
LINES = 20_000


def judged(lines: list[bytes], work) -> list[dict]:
    config = asset("logstash", "pipeline-stdin", "lane-eval.conf")
    out = shippers.through_logstash(config, lines, work, ELKKIT_ALL="true")
    events = [json.loads(row) for row in out.split(b"\n") if row.startswith(b"{")]
    assert len(events) == len(lines)
    return events


@pytest.mark.full
@pytest.mark.timeout(600)
def test_lines_mean_the_same_in_logstash(tmp_path):
    """The corpus, generated lines and hostile lines in one run, since Logstash starts slowly."""
    rng = random.Random(20261122)
    cases = corpus()
    lines = [raw for raw, _ in cases]
    golden = [expected(e) for c in CASES for e in json.loads(expected_path(c).read_text("utf-8"))]
    lines += [line for case in CASES for line in case_lines(case)]
    lines += [t.encode() for t in HOSTILE.values()]
    texts = [generated_json_line(rng) if rng.random() < 0.7 else generated_line(rng) for _ in range(LINES)]
    lines += [t.replace("\n", " ").encode() for t in texts]
    events = judged(lines, tmp_path / "data")

    for (raw, want), event in zip(cases, events, strict=False):
        assert seen(event, Parser.of().parse(raw))[0] == want["outcome"], raw
        for name in ("metrictype", "metricscores", "metricraw"):
            assert repr(event.get(name)) == repr(want.get(name)), raw

    for parsed, event in zip(golden, events[len(cases) :], strict=False):
        if "\ufffd" not in parsed.fields.get("message", ""):  # an input writes invalid UTF-8 in a way of its own
            assert seen(event, parsed) == wanted(parsed)

    parser = Parser.of()
    wrong = []
    for raw, event in list(zip(lines, events, strict=True))[len(cases) + len(golden) :]:
        parsed = parser.parse(raw)
        if (theirs := seen(event, parsed)) != (ours := wanted(parsed)):
            wrong.append(f"{raw!r:.400}\n  logstash {theirs}\n  python   {ours}")
    assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:10])


@pytest.mark.full
@pytest.mark.timeout(600)
def test_workers_do_not_disturb_each_other(tmp_path):
    """A filter that shared a pattern's last match between its workers lost 20 of 200,000 lines here."""
    rng = random.Random(7)
    want = {f"{n:032x}": (rng.choice(["IoU", "Recall", "Inference_time"]), rng.random()) for n in range(100_000)}
    rows = [{"message": f"{name} : {score!r}", "event.id": i, "frame.id": i} for i, (name, score) in want.items()]
    config = asset("logstash", "pipeline-stdin", "lane-eval.conf")
    out = shippers.through_logstash(config, [json.dumps(r).encode() for r in rows], tmp_path / "data", workers=4)
    events = [json.loads(row) for row in out.split(b"\n") if row.startswith(b"{")]
    assert len(events) == len(want)
    assert {e["event"]["id"]: (e["metrictype"], e["metricscores"]) for e in events} == want


@pytest.mark.full
@pytest.mark.timeout(600)
def test_filebeat_to_logstash_to_the_stream(tmp_path):
    """Files, Filebeat, Logstash with its persistent queue, and a real data stream; then everything is read again."""
    shippers.logstash(), shippers.filebeat()
    logs = tmp_path / "logs"
    logs.mkdir()
    ids = [f"{n:032x}" for n in range(500)]
    rows = [json.dumps({"message": f"IoU : {n / 500}", "event.id": i, "frame.index": n}) for n, i in enumerate(ids)]
    (logs / "scores.log").write_text("\n".join(rows) + "\n")
    (logs / "short.log").write_text("Recall : 0.25\nordinary text\nRecall : 0,25\n")
    port = str(shippers.free_port())

    with opensearch_node.running(tmp_path / "opensearch") as node, opensearch_node.elasticsearch_front(node) as url:
        opensearch_node.install(node, CONTRACT)

        variables = {
            "ELKKIT_ELASTICSEARCH_URL": url,
            "ELKKIT_BEATS_PORT": port,
            "LOGSTASH_PIPELINE": str(asset("logstash", "pipeline-laptop")),
            "ELKKIT_LOG_FILES": str(tmp_path / "none" / "*.log"),
        }
        log = tmp_path / "logstash.log"
        with shippers.running(shippers.logstash_command(tmp_path / "logstash"), log, variables) as process:
            for registry in ("first", "second"):
                beat = tmp_path / f"{registry}.log"
                sent = {"ELKKIT_LOGSTASH": f"127.0.0.1:{port}", "ELKKIT_LOG_FILES": str(logs / "*.log*")}
                start = shippers.filebeat_command("filebeat.yml", tmp_path / registry)
                wanted_count = 502 if registry == "first" else 504
                with shippers.running(start, beat, sent):
                    shippers.wait_for(lambda n=wanted_count: node.stored(CONTRACT.stream, n), process, log)
            body = {"size": 1000, "query": {"exists": {"field": "event.id"}}}
            hits = node.call("POST", f"/{CONTRACT.stream}/_search", body)["hits"]["hits"]
            assert sorted(h["_id"] for h in hits) == ids
            assert {h["_source"]["metricscores"] for h in hits} == {n / 500 for n in range(500)}
            one = hits[0]["_source"]
            assert one["log"]["file"]["path"] == str(logs / "scores.log")
            assert one["event"]["dataset"] == "lane.eval"
            assert node.stored(CONTRACT.stream, 504) == 504, (
                "two plain lines, each read twice; ordinary text was dropped"
            )
