"""A query of other fields: only the names change, all at once, and it means the same of the new ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elkkit.kql import KqlError, KqlSyntaxError, Wildcard, field_names, parse
from elkkit.kql.rename import kept, rename, renamed

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "kql-cases.json"
TARGETS = ["a", "kubernetes.labels.app", "with space", 'quo"te', "back\\slash", "star*", "and", "not", "cannot", "ü.ñ",
           "x:y", "(b)", "true", "null", "metrictype.keyword", "a or b", "1<2", "{}", "not x"]  # fmt: skip


def cases() -> list[str]:
    if not SHARED.exists():
        pytest.skip("shared/ is absent")
    return [case["kql"] for case in json.loads(SHARED.read_text("utf-8"))["cases"]]


def test_every_case_of_kibana():
    tried = 0
    for text in cases():
        try:
            node = parse(text)
        except KqlError:
            with pytest.raises(KqlError):
                rename(text, {})
            continue
        names = [str(name) for name in field_names(node) if not isinstance(name, Wildcard)]
        assert rename(text, {name: name for name in names}) == rename(text, {}) == text
        for target in TARGETS:
            mapping = {name: f"{target}{i or ''}" for i, name in enumerate(dict.fromkeys(names))}
            assert parse(rename(text, mapping)) == renamed(node, mapping), (text, target)
            tried += 1
        there = rename(text, {n: f"zz.{n}" for n in names})
        assert parse(rename(there, {f"zz.{n}": n for n in names})) == node, text
    assert tried > 50 * len(TARGETS)


@pytest.mark.parametrize(
    ("text", "mapping", "expected"),
    [
        ("a : b", {"a": "c"}, "c : b"),
        ("a:b", {"a": "c"}, "c:b"),
        ("  a  :  a  and  b  >=  2 ", {"a": "b", "b": "a"}, "  b  :  a  and  a  >=  2 "),
        ("a : (a or b) or b : *", {"a": "b"}, "b : (a or b) or b : *"),
        ('"a" : "a"', {"a": "c"}, '"c" : "a"'),
        ("a : 1", {"a": "b c"}, '"b c" : 1'),
        ('"a" : 1', {"a": 'b"c\\'}, '"b\\"c\\\\" : 1'),
        (r"a\:b : 1", {"a:b": "c"}, "c : 1"),
        (r"a\u0062 : 1", {"ab": "c"}, "c : 1"),
        ("a : 1 and not a > 2", {"a": "cannot"}, '"cannot" : 1 and not "cannot" > 2'),
        ("a b : 1", {"a b": "c"}, "c : 1"),
        ("a", {"a": "c"}, "a"),
        ("", {"a": "c"}, ""),
        ("n : { a : 1 and a : { b : 2 } }", {"n.a": "n.c", "n.a.b": "n.a.d"}, "n : { c : 1 and c : { d : 2 } }"),
        ("n : { a : 1 }", {"a": "c"}, "n : { a : 1 }"),
        ("n : { a : 1 }", {"n.a": "elsewhere"}, "n : { a : 1 }"),
        ("true : 1 or null : 2", {"true": "x", "null": "y"}, "x : 1 or y : 2"),
    ],
)
def test_only_names_change(text, mapping, expected):
    assert rename(text, mapping) == expected
    assert parse(expected) == renamed(parse(text), mapping)


def test_what_cannot_be_renamed_is_told():
    assert kept(parse("model.* : x or a : 1"), {"model.name": "app", "a": "b"}) == ["model.*"]
    assert kept(parse("model.* : x"), {"model.name": "model.name.keyword"}) == []
    assert kept(parse("n : { a : 1 }"), {"n.a": "b"}) == ["n.a"]
    assert kept(parse("n : { a : 1 } and a : 2"), {"a": "b"}) == []


def test_what_is_no_kql_is_refused():
    with pytest.raises(KqlSyntaxError):
        rename("a : (", {"a": "b"})


_ASKED = ["a : 1", '"a" : 1', "not a:1", "a<2 or a : *", "x : a and a > 1"]


@given(st.text(min_size=1, max_size=20), st.sampled_from(_ASKED))
def test_any_name_can_be_written(name, text):
    if any("\ud800" <= char <= "\udfff" for char in name):
        return
    assert parse(rename(text, {"a": name})) == renamed(parse(text), {"a": name})


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from("abcd")))
def test_all_at_once(mapping):
    text = " or ".join(f"{name} : {name}" for name in "abcd")
    assert rename(text, mapping) == " or ".join(f"{mapping.get(name, name)} : {name}" for name in "abcd")
