"""KQL is read as Kibana 8.3.3's own parser reads it, and refused where that refuses it."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from elkkit.cli.output import harmless
from elkkit.errors import UsageError
from elkkit.kql import (
    And,
    Exists,
    Is,
    KqlError,
    KqlSyntaxError,
    MatchAll,
    Not,
    Or,
    Range,
    Wildcard,
    field_names,
    parse,
    to_query,
)
from elkkit.kql.parser import MAX_DEPTH, MAX_LENGTH

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "kql-cases.json"
TYPES = {"@timestamp": "date", "model.name": "keyword", "model.version": "keyword", "metricscores": "double"}


def test_every_case_of_kibana() -> None:
    if not SHARED.exists():
        pytest.skip("shared/ is absent")
    data = json.loads(SHARED.read_text("utf-8"))
    fields = {f["name"]: f["esTypes"][0] for f in data["fields"]}
    assert len(data["cases"]) >= 59
    for case in data["cases"]:
        if "error" in case:
            with pytest.raises(KqlError) as error:
                to_query(parse(case["kql"]), fields)
            assert error.value.as_kibana() == case["error"]
        else:
            assert to_query(parse(case["kql"]), fields) == case["dsl"], case["kql"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", MatchAll()),
        ("* : *", MatchAll()),
        ("a : *", Exists("a")),
        ('a : "*"', Is("a", "*", quoted=True)),
        (r"a : \*", Is("a", "*")),
        ("a : b and c or d : e", Or((And((Is("a", "b"), Is(None, "c"))), Is("d", "e")))),
        ("a : 1 or b : 2 and c : 3", Or((Is("a", "1"), And((Is("b", "2"), Is("c", "3")))))),
        ("NOT a : b And c>=1", And((Not(Is("a", "b")), Range("c", "gte", "1")))),
        ("not (a : b or not c : d)", Not(Or((Is("a", "b"), Not(Is("c", "d")))))),
        ("a : nothing", Is("a", "nothing")),
        ("a : android or oracle", Or((Is("a", "android"), Is(None, "oracle")))),
        (r"a : \not b", Is("a", "not b")),
        (r"a : x\and b", Is("a", "xand b")),
        (r"a : \u0041\tb", Is("a", "A\tb")),
        (r'a : "\u0041\\ \x \""', Is("a", 'A\\ \\x "', quoted=True)),
        ("a : true", Is("a", True)),
        ("a : null", Is("a", None)),
        ("true : false", Is("true", False)),
        ("m* : a* b", Is(Wildcard(("m", "")), Wildcard(("a", " b")))),
        ("a : (  b  or c )", Or((Is("a", "b"), Is("a", "c")))),
        ("a:b\u00a0and\tc<5", And((Is("a", "b"), Range("c", "lt", "5")))),
        ("a : (b and (c or not d))", And((Is("a", "b"), Or((Is("a", "c"), Not(Is("a", "d"))))))),
    ],
)
def test_meaning(text: str, expected: object) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ('a : "b', 4),
        ('a : "b\\"', 4),
        ('a or "b', 5),
        ("a : (b or )", 8 + 2),
        ("a : b)", 5),
        ('"a" "b"', 4),
        ("a : b : c", 6),
        ("a >", 3),
        ("a : not b", 4),
        ("a : cannot b", 7),
        ("not not a", 4),
        ("a : \\x", 4),
        ("(a) or", 4),
        ("(a)and(b)", 3),
        ("{", 0),
        ("a : { b : c", 11),
        ('"a*"*', 4),
    ],
)
def test_a_fault_has_its_position(text: str, position: int) -> None:
    with pytest.raises(KqlError) as found:
        parse(text)
    error = found.value
    assert error.position == position
    assert isinstance(error, UsageError)
    assert (error.code, error.exit_code) == ("usage", 2)
    assert error.as_kibana().endswith(f"\n{text}\n{'-' * position}^")
    assert f"at character {position + 1}" in str(error.why)
    assert isinstance(error, KqlSyntaxError)
    assert error.text == text
    assert error.message == f"the query is not KQL: {text}"
    assert f"why: {error.why}".index("^") == len("error: the query is not KQL: ") + position
    assert error.expected
    assert error.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:", '"(", "{", value, whitespace but end of input'),
        ("a:1 or ", '"(", NOT, field name, value but end of input'),
        ("a:(1 or )", '"(", NOT, value but ")"'),
        ("a:1 and not ", '"(", field name, value but end of input'),
        ("a:(1 and not )", '"(", value but ")"'),
        ('a:"b ', '"(", "{", value, whitespace but """'),
        ("a > ", "literal, whitespace but end of input"),
        ("< 1000", '"(", NOT, end of input, field name, value, whitespace but "<"'),
        ("a : ((b) or (", '"(", NOT, value, whitespace but end of input'),
        ('a:"b "r"', 'AND, OR, end of input, whitespace but "r"'),
        ("a:b:c", 'AND, OR, end of input, whitespace but ":"'),
        ("a < b not : c", 'AND, OR, end of input, whitespace but "n"'),
        ("a (b", '":", "<", "<=", ">", ">=", AND, OR, end of input, whitespace but "("'),
        ("(a) or", 'end of input, whitespace but "o"'),
        ('"a" "b"', '":", "<", "<=", ">", ">=", end of input, whitespace but """'),
        ("a : (b) or (", '"(", NOT, field name, value, whitespace but end of input'),
    ],
)
def test_what_kibana_expects(text: str, expected: str) -> None:
    with pytest.raises(KqlSyntaxError) as found:
        parse(text)
    assert found.value.as_kibana().startswith(f"Expected {expected} found.\n")


@pytest.mark.parametrize("before", ["a" * 500, "\x1b" * 50, "日本語" * 50, "日本", "", "a : b\u00a0", "a : \t\n"])
@pytest.mark.parametrize("after", ["b" * 500, "", "\x1b[0m" * 20, "モデル" * 20])
def test_a_caret_stands_under_the_fault_within_80_columns(before: str, after: str) -> None:
    with pytest.raises(KqlSyntaxError) as found:
        parse(f"{before}){after}")
    error = found.value
    shown = [f"error: {error.message}", f"why: {error.why}", f"hint: {error.hint}"]
    assert shown == [harmless(line) for line in shown]
    at = cell_len(shown[1][: shown[1].index("^")])
    assert cell_len(shown[0][: shown[0].rindex(")")]) == at
    assert max(map(cell_len, shown)) <= 80


def test_depth_and_length_are_bounded() -> None:
    deep = MAX_DEPTH
    assert parse("(" * deep + "a" + ")" * deep) == Is(None, "a")
    nested = "not (" * deep + "a : b" + ")" * deep
    assert str(to_query(parse(nested), {})).count("must_not") == deep
    for text in ("(" * 100_000, "not (" * 20_000, "a : (" + "(" * 50_000, "a : {" * 20_000):
        with pytest.raises(KqlError, match="nested too deep"):
            parse(text)
    with pytest.raises(KqlError, match="too long"):
        parse("a" * (MAX_LENGTH + 1))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", [" ", " x", "*", "* ", "\\", "n", "not", " or", '" "', "a or ", " \u00a0\t"])
def test_hostile_text_takes_no_long_time(part: str) -> None:
    text = (part * MAX_LENGTH)[:MAX_LENGTH]
    for query in (text, ("a : " + text)[:MAX_LENGTH]):
        with suppress(KqlError):
            to_query(parse(query), TYPES)


PIECES = st.sampled_from(
    ["a", "b", "model.name", " ", "  ", ":", "(", ")", "{", "}", "*", '"', "\\", "<", ">=", " and ", " or ", "not ",
     "true", "null", "\\u00e9", "\\and", "\t", "\u00a0", "é", "0.5"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=25).map("".join)))
def test_any_text_has_a_meaning_or_an_error(text: str) -> None:
    with suppress(KqlError):
        query = to_query(parse(text), TYPES)
        assert json.loads(json.dumps(query)) == query


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_quoted_text_comes_through(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'a : "{quoted}"') == Is("a", text, quoted=True)


@given(st.lists(st.text("ab"), min_size=2).map(tuple), st.text("ab"))
def test_wildcards(parts: tuple[str, ...], text: str) -> None:
    assert Wildcard(parts).matches(text) == bool(re.fullmatch(".*".join(parts), text))


def test_queries_beyond_the_cases() -> None:
    date = {"bool": {"should": [{"range": {"@timestamp": {"gte": "2026", "lte": "2026", "time_zone": "UTC"}}}]}}
    date["bool"]["minimum_should_match"] = 1  # type: ignore[assignment]
    assert to_query(parse("@timestamp : 2026"), TYPES) == date
    assert to_query(parse("a:b*"), {}) == to_query(parse("a : b*"), {})
    assert to_query(parse("lane-*"), TYPES) == {"query_string": {"query": "lane\\-*"}}
    phrase = {"multi_match": {"type": "phrase", "query": "a b", "lenient": True}}
    assert to_query(parse('"a b"'), TYPES) == phrase
    versions = to_query(parse("model.* : *"), TYPES)["bool"]["should"]
    assert versions == [{"exists": {"field": "model.name"}}, {"exists": {"field": "model.version"}}]


def test_the_translation_takes_a_text_too_and_needs_no_fields() -> None:
    assert to_query("a : b") == to_query(parse("a : b"), {})
    assert to_query("m* : b") == {"bool": {"should": [{"match": {"m*": "b"}}], "minimum_should_match": 1}}
    assert to_query("@timestamp > 2026") == to_query("@timestamp > 2026", {}, "Europe/Berlin")
    with pytest.raises(KqlSyntaxError):
        to_query("a :")


def test_dates_are_sent_with_their_time_zone() -> None:
    for text in ("@timestamp > 2026", "not (a : b or @timestamp : 2026)", "@time* <= now/d"):
        for zone in ("UTC", "Europe/Berlin", "+05:30"):
            told = json.dumps(to_query(text, TYPES, zone))
            assert told.count(json.dumps({"time_zone": zone})[1:-1]) == 1
            assert to_query(text, TYPES, time_zone=zone) == json.loads(told)


def test_a_code_begins_with_a_small_u() -> None:
    with pytest.raises(KqlSyntaxError) as found:
        parse(r"a : \U0041")
    assert found.value.position == 4


def test_threads_share_the_grammar() -> None:
    texts = [f"a : {i} and (b : x{i} or not c > {i})" for i in range(50)]
    alone = [parse(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(parse, texts)) == alone


def test_the_fields_of_a_query() -> None:
    text = "a : (b or c) and not d.* > 5 and e and f : { g : h }"
    assert list(map(str, field_names(parse(text)))) == ["a", "a", "d.*", "g"]
