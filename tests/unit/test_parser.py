"""Reading a line: the shared corpus, the rules behind it, and input that means harm."""

from __future__ import annotations

import json
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elkkit.contract import extend, load_contract
from elkkit.line.parser import MAX_NESTING, Outcome, Parser
from lines import corpus, generated_line

PARSER = Parser.of()


def summary(raw: bytes | str) -> dict:
    parsed = PARSER.parse(raw.encode() if isinstance(raw, str) else raw)
    keys = ("metrictype", "metricscores", "metricraw")
    return {"outcome": str(parsed.outcome), **{k: parsed.fields[k] for k in keys if k in parsed.fields}}


def scored(metric: str, score: float) -> dict:
    return {"outcome": "scored", "metrictype": metric, "metricscores": score}


def test_every_case_of_the_shared_corpus():
    wrong = [
        (raw[:80], got, want)
        for raw, want in corpus()
        if repr(sorted((got := summary(raw)).items())) != repr(sorted(want.items()))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "prefix",
    [
        "2026-11-22 10:00:00,485 I [19634] azmlinfsrv.print - ",
        "2026-11-22T10:00:00.123456789Z stdout F ",
        "2026-11-22T10:00:00.123456789+01:00 stderr F ",
        "2026-11-22T10:00:00.1Z stdout F 2026-11-22 10:00:00,485 I [7] azmlinfsrv.print - ",
        "[2026-11-22 10:00:00 +0000] [7] [INFO] ",
        "[2026-11-22 10:00:00,123] INFO in score: ",
        "[2026-11-22 10:00:00,123][root][INFO] - ",
        "[2026-11-22 10:00:00,123: WARNING/ForkPoolWorker-1] ",
        "2026-11-22 10:00:00,123 - root - INFO - ",
        "2026-11-22 10:00:00,123 INFO root: ",
        "2026-11-22 10:00:00,123:INFO:root:",
        "2026-11-22 10:00:00,123 [MainThread] [DEBUG] ",
        "2026-11-22 10:00:00,123 INFO score.py:12 ",
        "2026-11-22 10:00:00.123 | INFO     | __main__:<module>:12 - ",
        "root - INFO - ",
        "INFO:root:",
        "INFO:     ",
        "INFO ",
        "[info] ",
        "ERROR : ",
        "10:00:00 ",
        "I1122 10:00:00.123456 140 file.py:12] ",
        "Nov  2 10:00:00 host python[123]: ",
        "2026-11-22 10:00:00,123 | root | INFO | ",
        "lane-detection-1  | ",
        "lane-detection  | ",
        "[pod/lane-0/scorer] 2026-11-22T10:00:00.123456789Z ",
        "\ufeff",
        " \t\r",
        "\x1b[32mINFO\x1b[0m: ",
    ],
)
def test_what_hosts_put_in_front_is_not_content(prefix):
    assert summary(f"{prefix}IoU : 0.83") == scored("IoU", 0.83)
    assert summary(f"{prefix}val_loss : 9.5e-05\r") == scored("val_loss", 9.5e-05)
    assert summary(f"{prefix}IoU : 0,83") == {"outcome": "malformed"}
    assert summary(f'{prefix}{{"message":"IoU : 0.25"}}') == scored("IoU", 0.25)
    assert summary(f"{prefix}epoch 3 loss : 0.2") == {"outcome": "not_a_score"}


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("INFO IoU: 0.5", scored("IoU", 0.5)),
        ("INFO: F1: 0.5", scored("F1", 0.5)),
        ("ERROR : 0.5", scored("ERROR", 0.5)),  # a metric may be called so
        ("IoU : \x1b[1;32m0.83\x1b[0m", scored("IoU", 0.83)),
        ("IoU : 0.\x1b[1D5", {"outcome": "malformed"}),  # moves the cursor: what is seen is not what is there
        ("IoU\x00: 0.5", {"outcome": "malformed"}),
        ("2026-11-22T10:00:00.1Z stdout P IoU : 0.83", {"outcome": "malformed"}),  # its end is in another line
        ("2026-11-22T10:00:00.1Z stdout P loss : 0.83", {"outcome": "malformed"}),
        ("a½ : 0.5", {"outcome": "not_a_score"}),
        ("loss٣ : 0.5", {"outcome": "not_a_score"}),
        ("x" * 64 + " : 1", scored("x" * 64, 1.0)),
        ("x" * 65 + " : 1", {"outcome": "not_a_score"}),
        ("a  b : 1", {"outcome": "not_a_score"}),
        ("精度 : 1", scored("精度", 1.0)),
        ('{ "mess', {"outcome": "malformed"}),
        ('{"message":"IoU : 0.5","x":1e400}', scored("IoU", 0.5)),  # valid JSON, if not for us
        ('{"message":"IoU : 0.5","x":' + "9" * 5000 + "}", scored("IoU", 0.5)),
        ('{"message":"IoU : 0.5","x":' + "[" * 100_000, {"outcome": "malformed"}),
        (json.dumps({"message": json.dumps({"message": "IoU : 0.5"})}), scored("IoU", 0.5)),
        (json.dumps({"message": json.dumps({"message": "IoU : 0.5"}, indent=1)}), scored("IoU", 0.5)),
        ('{ "message" : "IoU : 0.5" }', scored("IoU", 0.5)),
        ('{"message":"IoU : 0.5"}\ufeff\r', scored("IoU", 0.5)),
        ('\x1b[2m{"message":"IoU : 0.5"}\x1b[0m', scored("IoU", 0.5)),
        ('{"message":"IoU : 0.5"}\x00', {"outcome": "malformed"}),
    ],
)
def test_rules_beyond_the_corpus(line, want):
    assert summary(line) == want


def test_moments():
    for text, kept in (("2026-11-22T10:00:00.123456789Z", True), ("2024-02-29T23:59:59+0130", True),
                       ("2026-02-29T10:00:00Z", False), ("2026-11-22 10:00:00Z", False)):  # fmt: skip
        fields = PARSER.parse(json.dumps({"message": "x", "@timestamp": text}).encode()).fields
        assert ("@timestamp" in fields) is kept


def test_numbers_beyond_every_double():
    parser = Parser(extend(load_contract(), fields={"model.size": {"type": "double"}}))
    for digits in ("9" * 309, "9" * 399, "9" * 5000, "1" + "0" * 25):
        parsed = parser.parse(b'{"message":"IoU : 0.5","model.size":' + digits.encode() + b"}")
        assert (parsed.outcome, "model.size" in parsed.fields) == (Outcome.SCORED, len(digits) < 309)


def test_invalid_utf8_in_json_is_malformed():
    assert summary(b'{"message":"IoU : 0.5","model.name":"\xff"}') == {"outcome": "malformed"}
    assert summary(b'INFO:root:{"message":"IoU : 0.5","model.name":"\xff"}') == {"outcome": "malformed"}
    assert summary(b'\x1b[2m{"message":"IoU : 0.5","model.name":"\xff"}') == {"outcome": "malformed"}


def test_nesting_has_an_end():
    line = "IoU : 0.5"
    for _ in range(MAX_NESTING):
        line = json.dumps({"message": line})
    assert summary(line)["outcome"] == "scored"
    assert summary(json.dumps({"message": line}))["outcome"] != "scored"


def test_fields_are_the_contracts_dotted_or_nested():
    line = {
        "message": "IoU : 0.5",
        "model": {"name": "a", "version": 3},
        "frame.lane_free": "true",
        "frame": {"index": 7},
        "frame.conditions": ["night"],
        "secret": "x",
    }
    fields = PARSER.parse(json.dumps(line).encode()).fields
    assert fields == {
        "message": "IoU : 0.5",
        "metrictype": "IoU",
        "metricscores": 0.5,
        "model.name": "a",
        "model.version": "3",
        "frame.index": 7,
        "frame.lane_free": True,
        "frame.conditions": ["night"],
    }


def test_values_that_do_not_fit_are_left_out_and_tagged():
    line = {"message": "IoU : 0.5", "event.id": "../x", "frame.index": "seven", "model.name": ["a"], "tags": "mine"}
    line |= {"@timestamp": "2026-13-22T10:00:00Z"}
    fields = PARSER.parse(json.dumps(line).encode()).fields
    assert fields["tags"] == ["mine", "_invalid_event_id", "_invalid_field"]
    assert not {"event.id", "frame.index", "model.name", "@timestamp"} & set(fields)


def test_a_line_too_long_to_keep_is_never_a_score():
    parsed = PARSER.cut_off(b"IoU : 0.83")
    assert (parsed.outcome, parsed.fields["tags"]) == (Outcome.MALFORMED, ["_line_too_long", "_malformed_score"])
    assert PARSER.cut_off(b"hello").outcome is Outcome.NOT_A_SCORE


def test_listed_metrics_only():
    parser = Parser(extend(load_contract(), own_metrics="listed", metrics={"loss": {"better": "lower"}}))
    assert parser.parse_text("loss : 0.5").outcome is Outcome.SCORED
    assert parser.parse_text("LOSS:0.5").fields["metrictype"] == "loss"
    assert parser.parse_text("other : 0.5").outcome is Outcome.NOT_A_SCORE


@given(st.binary(max_size=200))
def test_any_bytes_have_one_outcome(raw):
    parsed = PARSER.parse(raw)
    assert parsed.outcome in Outcome
    assert ("metricscores" in parsed.fields) == (parsed.outcome is Outcome.SCORED)
    assert ("metricraw" in parsed.fields) == (parsed.outcome is Outcome.NOT_FINITE)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_message_is_judged_like_the_line_itself(before, after):
    text = f"{before}IoU : 0.5{after}"
    if "{" in text or "\n" in text or "\ud800" <= max(text, default="") <= "\udfff":
        return
    line = json.dumps({"message": text}, ensure_ascii=False)
    try:
        raw = line.encode()
    except UnicodeEncodeError:
        return
    assert PARSER.parse(raw).outcome is PARSER.parse_text(text).outcome


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_in_the_grammar_is_exact(value):
    parsed = PARSER.parse_text(f"IoU : {value!r}")
    if abs(value) >= 1e308:
        assert parsed.outcome is Outcome.MALFORMED
    else:
        assert struct.pack(">d", parsed.fields["metricscores"]) == struct.pack(">d", value)


def test_the_generator_reaches_every_outcome():
    rng = random.Random(1)
    assert {PARSER.parse_text(generated_line(rng)).outcome for _ in range(2000)} == set(Outcome)


def test_time_grows_with_the_line_and_no_faster():
    """Counted in steps of the work, not in seconds: a quadratic pattern takes minutes here, a linear one an instant."""
    for line in ("loss" + " " * 2_000_000 + "x", "INFO" + " " * 2_000_000 + ":x", "a." * 1_000_000 + " : 1"):
        assert PARSER.parse_text(line).outcome is Outcome.NOT_A_SCORE
    assert PARSER.parse_text("IoU" + " " * 2_000_000 + ":").outcome is Outcome.MALFORMED
