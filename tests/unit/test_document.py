"""A line's document: its id, its exact numbers, and the line that makes it again."""

from __future__ import annotations

import json
import struct

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elkkit.contract import load_contract
from elkkit.line.document import document, fields_of, line_again
from elkkit.line.event import make_event, score_text
from elkkit.line.identity import LineIds, is_event_id, line_id
from elkkit.line.parser import Outcome, Parsed, Parser

CONTRACT = load_contract()
PARSER = Parser.of(CONTRACT)
SHIPPER = {"log.file.path": "/var/log/a.log", "log.offset": 18230, "host.name": "scorer-1"}
OTHER = "f" * 32
NOW = "2026-11-22T10:00:00.000Z"


def made(line: bytes, parsed: Parsed | None = None) -> tuple[str, dict]:
    identity, operation = document(
        parsed or PARSER.parse(line),
        shipper=SHIPPER,
        dataset=CONTRACT.dataset,
        other_id=lambda: OTHER,
        read_at=lambda: NOW,
    )
    action, body = operation.split(b"\n")
    assert json.loads(action) == {"create": {"_id": identity}}
    assert fields_of(operation) == orjson.loads(body)
    return identity, orjson.loads(body)


def again(line: bytes) -> tuple[bytes, str, dict]:
    identity, operation = document(
        PARSER.parse(line), shipper=SHIPPER, dataset=CONTRACT.dataset, other_id=lambda: OTHER, read_at=lambda: NOW
    )
    text = line_again(operation, CONTRACT, "400 because")
    assert text.endswith(b"\n")
    return text[:-1], identity, fields_of(operation)


def test_a_json_line_keeps_its_id_and_fields():
    event = make_event(CONTRACT, "IoU", 0.8312, fields={"run.id": "r", "model.name": "lane-a", "frame.id": "f1"})
    identity, found = made(orjson.dumps(event))
    assert identity == event["event.id"]
    assert found == {**event, **SHIPPER, "metrictype": "IoU", "metricscores": 0.8312}


def test_a_plain_line_gets_an_id_a_moment_and_the_dataset():
    identity, found = made(b"IoU : 9.5e-05")
    assert identity == OTHER
    assert found == {
        "message": "IoU : 9.5e-05", "metrictype": "IoU", "metricscores": 9.5e-05, **SHIPPER, "event.id": OTHER,
        "event.dataset": CONTRACT.dataset, "@timestamp": "2026-11-22T10:00:00.000Z",
    }  # fmt: skip


def test_an_id_that_is_none_is_replaced_and_the_shipper_and_the_contract_win():
    line = (
        b'{"message":"IoU : 0.5","event":{"id":"X","dataset":"theirs"},"log.file.path":"/x","log":{"offset":1},"own":1}'
    )
    identity, found = made(line)
    assert identity == found["event.id"] == OTHER
    assert found["event.dataset"] == CONTRACT.dataset
    assert found["log.file.path"] == "/var/log/a.log"
    assert found["log.offset"] == 18230
    assert found["tags"] == [CONTRACT.invalid_id_tag]
    assert set(found) <= set(CONTRACT.fields)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-9.9e307, max_value=9.9e307))
@example(-0.0)
@example(5e-324)
@example(2.2250738585072014e-308)
@example(0.1 + 0.2)
@example(9.5e-05)
@settings(max_examples=500)
def test_every_double_keeps_its_bits(score: float):
    text = score_text(score, CONTRACT)
    _, found = made(f"IoU : {text}".encode())
    assert struct.pack(">d", found["metricscores"]) == struct.pack(">d", score)


def test_a_rejected_line_comes_back_as_the_same_event():
    lines = [
        b"IoU : 0.5",
        b"IoU : nan",
        b"IoU : 0,83",
        b'{"message":"IoU : 0.5","model.name":"a","event.id":"0123456789abcdef0123456789abcdef"}',
        b'{"message":"IoU : 0,5","tags":["mine"],"event.id":"not one"}',
        b'{"message":"IoU : 0.5","frame.ind',
        b"IoU : 0.5 \xff",
        b"INFO:root:IoU : 0.25",
        b"ordinary text",
    ]
    for line in lines:
        text, identity, before = again(line)
        assert json.loads(text)["elkkit_rejected"] == "400 because"
        parsed = PARSER.parse(text)
        assert parsed.outcome is PARSER.parse(line).outcome, line
        _, after = made(text, parsed)
        assert after == before, line
        assert after["event.id"] == identity


def test_a_malformed_line_gains_no_second_tag_however_often_it_goes_round():
    text = b"IoU : 0,83"
    for _ in range(3):
        text, _, found = again(text)
        assert found["tags"] == [CONTRACT.malformed_tag]
        assert PARSER.parse(text).outcome is Outcome.MALFORMED


# --- ids of plain lines ----------------------------------------------------------------------------------------------


def ids(*lines: bytes, file: tuple[int, int, int] = (1, 2, 0)) -> list[str]:
    made, found, offset = LineIds(), [], 0
    for line in lines:
        made.read(*file, line)
        found.append(made.id(offset))
        offset += len(line) + 1
    return found


def test_the_same_file_has_the_same_ids_also_when_it_has_grown():
    first = ids(b"IoU : 0.5", b"IoU : 0.5")
    assert ids(b"IoU : 0.5", b"IoU : 0.5", b"IoU : 0.6")[:2] == first
    assert len(set(first)) == 2
    assert all(map(is_event_id, first))


def test_a_file_written_anew_has_others_though_lines_and_places_are_the_same():
    one, other = ids(b"run 1", b"IoU : 0.5"), ids(b"run 2", b"IoU : 0.5")
    assert one[1] != other[1]
    assert ids(b"IoU : 0.5", file=(1, 3, 0)) != ids(b"IoU : 0.5") != ids(b"IoU : 0.5", file=(1, 2, 1))


def test_files_read_in_turns_do_not_mix():
    both = LineIds()
    found: dict[int, list[str]] = {1: [], 2: []}
    for at, inode in [(0, 1), (0, 2), (10, 1), (10, 2)]:
        both.read(0, inode, 0, b"IoU : 0.5")
        found[inode].append(both.id(at))
    assert found[1] == ids(b"IoU : 0.5", b"IoU : 0.5", file=(0, 1, 0))
    assert found[2] == ids(b"IoU : 0.5", b"IoU : 0.5", file=(0, 2, 0))


def test_the_id_is_what_its_description_says():
    import hashlib

    content = hashlib.sha256(b"IoU : 0.5\n").hexdigest()
    key = json.dumps([2, 1, 2, 0, 0, content], separators=(",", ":"))
    assert ids(b"IoU : 0.5") == [hashlib.sha256(key.encode()).hexdigest()[:32]] == [line_id(1, 2, 0, 0, content)]
