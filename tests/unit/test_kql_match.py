"""A query finds here what it finds on a server with the contract's mappings; as checked on OpenSearch 3.8."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elkkit.contract import load_contract
from elkkit.errors import UsageError
from elkkit.kql import KqlError, parse, to_predicate
from elkkit.kql.dates import event_moment, span, time_zone
from elkkit.kql.match import words

CONTRACT = load_contract()
NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
EVENT = {
    "@timestamp": "2026-11-22T10:00:00.123Z",
    "message": "lane.net: Inference time : 0.83 s, x-a_b",
    "metrictype": "Inference time",
    "metricscores": 0.83,
    "model.name": "Lane-a",
    "model.version": "3",
    "frame.index": 9007199254740993,
    "frame.lane_free": False,
    "frame.conditions": ["night", "heavy rain"],
}


def found(text: str, event: dict = EVENT) -> bool:
    return to_predicate(parse(text), CONTRACT, now=NOW)(event)


YES = r"""
metrictype : Inference time
metrictype : "Inference time"
metrictype : Inf* or metrictype : x
metrictype : *time
metrictype : x* Inference*
metrictype >= I
model.name : L*-*a
model.version : 3
not model.name : lane-a
message : INFERENCE
message : nothing lane.net
message : 0.83
message : "time 0.83 s"
message : INF*
message : lane-x
metricscores : 0.830
metricscores : "8.3e-1"
metricscores > .5 and metricscores <= 0.83
metricscores < 1e400
@timestamp <= "2026-11-22||+11h"
frame.index : 9007199254740993
frame.index > 9007199254740992.0
frame.lane_free : false
frame.lane_free : "false"
frame.conditions : night
frame.conditions : (night and "heavy rain")
frame.conditions : heavy*
model.* : 3
model.* : *
model : *
frame.* : true or frame.* : false
@timestamp : "2026-11-22"
@timestamp > "2026-11-21"
@timestamp >= "2026-11-22"
@timestamp <= "2026-11-22"
@timestamp : "2026-11-22T12:00+02:00"
@timestamp > now-16m and @timestamp < now-14m
@timestamp >= now/d
@timestamp < "2026-11-22||+1d/d"
@timestamp < "9999-12-31"
@timestamp > 1763800000000
event.dataset : lane.eval
event.dataset : *
Lane-a
Lane*
0.83
"heavy rain"
2026-11-22
false
*
* : *
* : night
not nope : *
not tags : *
not metricraw : "nan"
"""
NO = r"""
metrictype : Inference
metrictype : inference time
metrictype : inf*
model.name : Lane\*
message : 0
message : lane
message : a
message : "0.83 time"
message : --
metricscores : 0.8
@timestamp <= "2026-11-22||+9h"
metricscores > 0.83
frame.index : 9007199254740992
frame.lane_free : true
frame.conditions : rain
frame.conditions : (night and rain)
not frame.conditions : night
@timestamp > "2026-11-22"
@timestamp < "2026-11-22"
@timestamp : "2026-11"
@timestamp > now-15m+1s
@timestamp > "2026-11-22||/M"
model.* : x
frame.* : x
event.dataset : other
not event.dataset : lane.eval
lane
rain
nope : *
nope : x
nope.* : x
nope > 5
tags : x
metricraw : nan
null
"""


@pytest.mark.parametrize("text", YES.strip().splitlines())
def test_found(text: str) -> None:
    assert found(text)


@pytest.mark.parametrize("text", NO.strip().splitlines())
def test_not_found(text: str) -> None:
    assert not found(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("metricscores > IoU", "it is a number (double), and 'IoU' is none"),
        ("metricscores : 1_0", "it is a number (double), and '1_0' is none"),
        ("frame.index < 1e30", "1e30 is out of the range of a long"),
        ("metricscores : 0.*", "'0.*' is a pattern, and only text has such"),
        ("frame.lane_free : no", "it is true or false, and 'no' is neither"),
        ('@timestamp > "2026-11-22 10:00"', "'2026-11-22 10:00' is no date"),
        ("@timestamp > now-5", "'now-5' is no date"),
        ("@timestamp : 2026-02-30", "'2026-02-30' is no date"),
        ("model.name : null", "null is no value"),
        (
            "model : { name : a }",
            'model.name is not a nested field but is in nested group "model" in the KQL expression.',
        ),
    ],
)
def test_what_the_server_refuses_is_refused(text: str, why: str) -> None:
    with pytest.raises(KqlError) as error:
        found(text)
    assert error.value.why == why
    assert error.value.hint


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2026-11-22", "2026-11-22T00:00:00Z", "2026-11-22T23:59:59.999Z"),
        ("2026", "2026-01-01T00:00:00Z", "2026-01-01T23:59:59.999Z"),
        ("2026-11-22T10", "2026-11-22T10:00:00Z", "2026-11-22T10:59:59.999Z"),
        ("2026-11-22T10:00:05", "2026-11-22T10:00:05Z", "2026-11-22T10:00:05.999Z"),
        ("2026-11-22T10:00:05.5-01:30", "2026-11-22T11:30:05.500Z", "2026-11-22T11:30:05.500Z"),
        ("now-1d/d", "2026-11-21T00:00:00Z", "2026-11-21T23:59:59.999Z"),
        ("now/w", "2026-11-16T00:00:00Z", "2026-11-22T23:59:59.999Z"),
        ("2026-01-31||+1M/h", "2026-02-28T00:00:00Z", "2026-02-28T00:59:59.999Z"),
        ("2024-02-29||-1y/M", "2023-02-01T00:00:00Z", "2023-02-28T23:59:59.999Z"),
        ("0", "1970-01-01", "1970-01-01"),
    ],
)
def test_dates_are_spans(text: str, low: str, high: str) -> None:
    assert span(text, NOW) == (event_moment(low), event_moment(high))


@pytest.mark.parametrize(
    ("text", "zone", "low", "high"),
    [
        ("2026-11-22", "Europe/Berlin", "2026-11-21T23:00:00Z", "2026-11-22T22:59:59.999Z"),
        ("2026-11-22", "+05:30", "2026-11-21T18:30:00Z", "2026-11-22T18:29:59.999Z"),
        ("2026-11-22T10:00Z", "Europe/Berlin", "2026-11-22T10:00:00Z", "2026-11-22T10:00:59.999Z"),
        ("now/d", "America/New_York", "2026-11-22T05:00:00Z", "2026-11-23T04:59:59.999Z"),
        ("now-15m", "Asia/Tokyo", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59.999Z"),  # a day of 23 hours
        ("2026-03-29||+12h", "Europe/Berlin", "2026-03-29T11:00:00Z", "2026-03-29T11:00:00Z"),
        ("2026-03-28T12:00||+1d", "Europe/Berlin", "2026-03-29T10:00:00Z", "2026-03-29T10:00:00Z"),
        ("0", "Europe/Berlin", "1969-12-31T23:00:00Z", "1969-12-31T23:00:00Z"),
    ],
)
def test_dates_of_a_time_zone(text: str, zone: str, low: str, high: str) -> None:
    assert span(text, NOW, time_zone(zone)) == (event_moment(low), event_moment(high))
    inside = to_predicate(f'@timestamp : "{text}"', CONTRACT, time_zone=zone, now=NOW)
    assert inside({"@timestamp": low})
    assert inside({"@timestamp": high})


@pytest.mark.parametrize(
    "name", ["", "Nowhere/Land", "+1", "25:00", "+99:00", "../etc/passwd", "/etc", "a\0b", "x" * 999]
)
def test_what_is_no_time_zone(name: str) -> None:
    with pytest.raises(UsageError, match="the time zone is wrong"):
        to_predicate("*", CONTRACT, time_zone=name)


def test_a_predicate_of_plain_types() -> None:
    types = {"a": "keyword", "n": "double", "event.dataset": "constant_keyword"}
    assert to_predicate("a : x* and n > 1", types)({"a": "xy", "n": 2})
    assert not to_predicate("a : x* and n > 1", types)({"a": "xy", "n": 1})
    assert not to_predicate("event.dataset : *", types)({})
    with pytest.raises(KqlError):
        to_predicate("n : x", types)


def test_an_event_without_a_proper_time_matches_no_date() -> None:
    for value in ("soon", "2026-13-01T00:00:00Z", 5, None, []):
        assert not found("@timestamp < now or @timestamp >= now", {"@timestamp": value})
    assert event_moment("2026-11-22T10:00:00.1239+02:00") == event_moment("2026-11-22T08:00:00.123Z")


def test_words() -> None:
    assert words("Can't a_b __ x-y 1e-05, 1,000.5 日本 モデル") == [
        "can't", "a_b", "x", "y", "1e", "05", "1,000.5", "日", "本", "モデル"
    ]  # fmt: skip


SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
EVENTS = st.dictionaries(st.sampled_from(list(CONTRACT.fields)), st.one_of(SCALAR, st.lists(SCALAR)), max_size=4)
VALUES = st.one_of(
    st.text(), st.sampled_from(["now-1M/M", "2026", "2026-11-22", "0.5", "true", "99999999999999", "now"])
)


@given(st.sampled_from(list(CONTRACT.fields)), st.sampled_from([":", ">", "<="]), VALUES, EVENTS)
def test_any_query_of_any_event_ends(name: str, operator: str, value: str, event: dict) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    for text in (f'{name} {operator} "{quoted}"', f'"{quoted}"', f"{name} : {value}*"):
        with suppress(KqlError):
            matches = to_predicate(parse(text), CONTRACT, now=NOW)
            assert matches(event) is not to_predicate(parse(f"not ({text})"), CONTRACT, now=NOW)(event)
