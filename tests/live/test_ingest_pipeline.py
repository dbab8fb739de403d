"""The ingest pipeline and the stream's templates on a real node (OpenSearch): what lines mean, and what is kept."""

from __future__ import annotations

import json
import random

import pytest

import opensearch_node
from elkkit.contract import load_contract
from elkkit.line.parser import Outcome, Parser
from golden_cases import CASES, case_lines, expected_path
from lines import corpus, generated_line
from roads import HOSTILE, expected, generated_json_line, seen, wanted

CONTRACT = load_contract()
STREAM = CONTRACT.stream
LINES = 20_000
ID = "0a46c03b90b5b8b6ae31d4b74b34c00e"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with opensearch_node.running(tmp_path_factory.mktemp("opensearch") / "home") as node:
        opensearch_node.install(node, CONTRACT)
        yield node


def simulate(node, texts: list[str], **more) -> list[dict]:
    docs = [{"_index": STREAM, "_source": {"message": t, "elkkit_all": True, **more}} for t in texts]
    found = []
    for start in range(0, len(docs), 2000):
        body = {"docs": docs[start : start + 2000]}
        found += node.call("POST", "/_ingest/pipeline/lane-eval/_simulate", body)["docs"]
    assert len(found) == len(texts)
    return [d["doc"] for d in found]


def differences(node, texts: list[str]) -> list[str]:
    parser = Parser.of()
    wrong = []
    for text, doc in zip(texts, simulate(node, texts), strict=True):
        parsed = parser.parse_text(text)
        if (theirs := seen(doc["_source"], parsed)) != (ours := wanted(parsed)):
            wrong.append(f"{text!r:.400}\n  pipeline {theirs}\n  python   {ours}")
    return wrong


@pytest.mark.full
def test_corpus(node):
    cases = corpus()
    docs = simulate(node, [raw.decode("utf-8", "replace") for raw, _ in cases])
    for (raw, want), doc in zip(cases, docs, strict=True):
        fields = doc["_source"]
        outcome = seen(fields, Parser.of().parse(raw))[0]
        assert outcome == want["outcome"], raw
        for name in ("metrictype", "metricscores", "metricraw"):
            assert repr(fields.get(name)) == repr(want.get(name)), raw


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_golden_cases(node, case):
    entries = json.loads(expected_path(case).read_text("utf-8"))
    docs = simulate(node, [line.decode("utf-8", "replace") for line in case_lines(case)])
    for entry, doc in zip(entries, docs, strict=True):
        parsed = expected(entry)
        assert seen(doc["_source"], parsed) == wanted(parsed)


@pytest.mark.full
def test_generated_lines_have_the_same_fields(node):
    """JSON and plain lines, near-misses included: outcome, every field, and every bit of the score."""
    rng = random.Random(20261122)
    texts = [generated_json_line(rng) if rng.random() < 0.7 else generated_line(rng) for _ in range(LINES)]
    wrong = differences(node, texts)
    assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:10])


@pytest.mark.full
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(30)
def test_hostile_lines(node, name):
    assert differences(node, [HOSTILE[name]]) == []


@pytest.mark.full
def test_the_shippers_word_wins_on_where_a_line_is_from(node):
    line = json.dumps(
        {"message": "IoU : 0.5", "host.name": "forged", "log": {"offset": 1, "level": "info"}, "tags": ["b"]}
    )
    more = {"host": {"name": "scorer-1"}, "log": {"offset": 7, "file": {"path": "/x"}}, "tags": ["a"]}
    (doc,) = simulate(node, [line], **more)
    fields = doc["_source"]
    assert fields["host"] == {"name": "scorer-1"}
    assert fields["log"] == {"offset": 7, "file": {"path": "/x"}, "level": "info"}
    assert fields["tags"] == ["a", "b"]
    assert "elkkit_work" not in fields
    assert "elkkit_all" not in fields


def bulk(node, texts: list[str], **more) -> list[dict]:
    rows = [json.dumps({"create": {"_index": STREAM}}), ""] * len(texts)
    rows[1::2] = [json.dumps({"message": t, **more}) for t in texts]
    body = "\n".join([*rows, ""]).encode()
    items = node.call("POST", "/_bulk?pipeline=lane-eval&refresh=true", body)["items"]
    return [i["create"] for i in items]


@pytest.mark.full
def test_what_is_sent_twice_is_stored_once(node):
    event = {"@timestamp": "2026-11-22T10:00:00.123Z", "message": "IoU : -0.0", "event.id": ID, "model.name": "lane-a"}
    lines = [
        json.dumps(event),
        json.dumps({**event, "event.id": "1" * 32, "message": "IoU : 4.9e-324"}),
        "ordinary text",
    ]
    lines += [
        json.dumps({"message": "Recall : 0,5", "event.id": "2" * 32}),
        json.dumps({"message": "Recall : 1", "event.id": "no"}),
    ]
    first = bulk(node, lines)
    assert [i["status"] for i in first] == [201, 201, 200, 201, 201]
    assert [first[n]["_id"] for n in (0, 1, 3)] == [ID, "1" * 32, "2" * 32]
    again = bulk(node, lines)
    assert [i["status"] for i in again] == [409, 409, 200, 409, 201]

    body = {
        "size": 20,
        "query": {"terms": {"event.id": [ID, "1" * 32]}},
        "fields": ["metricscores"],
        "sort": ["event.id"],
    }
    hits = node.call("POST", f"/{STREAM}/_search", body)["hits"]["hits"]
    assert [repr(h["_source"]["metricscores"]) for h in hits] == ["-0.0", "5e-324"]
    assert hits[0]["_source"]["event"] == {"id": ID, "dataset": "lane.eval"}
    assert hits[0]["_source"]["@timestamp"] == "2026-11-22T10:00:00.123Z"
    marked = node.call("POST", f"/{STREAM}/_search", {"query": {"term": {"tags": CONTRACT.invalid_id_tag}}})["hits"]
    assert marked["total"]["value"] == 2, "lines without a valid id are at least once"


@pytest.mark.full
def test_the_stream_refuses_a_bad_score_loudly(node):
    doc = {"@timestamp": "2026-11-22T10:00:00Z", "metrictype": "IoU", "metricscores": "abc"}
    body = f"{json.dumps({'create': {'_index': STREAM}})}\n{json.dumps(doc)}\n".encode()
    (item,) = node.call("POST", "/_bulk", body)["items"]
    assert item["create"]["status"] == 400
    streams = node.call("GET", f"/_data_stream/{STREAM}")["data_streams"]
    assert streams[0]["template"] == "logs-lane.eval"


@pytest.mark.full
def test_ordinary_text_is_dropped_unless_it_is_asked_for(node):
    (dropped,) = node.call(
        "POST", "/_ingest/pipeline/lane-eval/_simulate", {"docs": [{"_source": {"message": "hello"}}]}
    )["docs"]
    assert not dropped
    (kept,) = simulate(node, ["hello"])
    assert kept["_source"]["message"] == "hello"
    assert seen(kept["_source"], Parser.of().parse_text("hello"))[0] is Outcome.NOT_A_SCORE


@pytest.mark.full
def test_a_failing_pipeline_keeps_the_line(node):
    """Where the pipeline itself fails (here by the limit of a script's loops), the line is kept whole, and marked."""
    line = '{"message":"IoU : 0.5","x":"' + "\\n" * 1_100_000 + '"}'
    (doc,) = simulate(node, [line])
    fields = doc["_source"]
    assert fields["message"] == line
    assert fields["tags"] == [CONTRACT.malformed_tag]
    assert "metrictype" not in fields
    assert "elkkit_work" not in fields
    assert fields["error"]["message"].startswith("the ingest pipeline failed: ")
