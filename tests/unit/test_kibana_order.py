"""What is sent together and before what, and what differs between two objects, in words."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from elkkit.kibana.difference import changes
from elkkit.kibana.order import batches, halves, in_order, key_of, line, links_of
from elkkit.kibana.semantics import meaning


def graph(links: dict[int, list[int]], pad: dict[int, int] | None = None) -> list[dict[str, Any]]:
    return [{"type": "search", "id": str(i), "attributes": {"title": "x" * (pad or {}).get(i, 0)},
             "references": [{"type": "search", "id": str(n), "name": f"r{n}"} for n in to]}
            for i, to in links.items()]  # fmt: skip


@st.composite
def graphs(draw: st.DrawFn, *, cycles: bool) -> list[dict[str, Any]]:
    count = draw(st.integers(0, 24))
    links = {}
    for i in range(count):
        allowed = list(range(count)) if cycles else list(range(i))
        links[i] = draw(st.lists(st.sampled_from([*allowed, 99]), max_size=4)) if allowed else []
    pad = {i: draw(st.integers(0, 300)) for i in range(count)}
    return draw(st.permutations(graph(links, pad)))


@settings(max_examples=200, deadline=None)
@given(graphs(cycles=False))
def test_nothing_comes_before_what_it_refers_to(objects):
    found = in_order(objects)
    assert sorted(map(key_of, found)) == sorted(map(key_of, objects))
    place = {key_of(o): n for n, o in enumerate(found)}
    assert all(place[link] < place[key_of(o)] for o in found for link in links_of(o) if link in place)


@settings(max_examples=300, deadline=None)
@given(graphs(cycles=True), st.integers(1, 2_000), st.integers(1, 12))
def test_batches_lose_nothing_and_keep_their_sizes(objects, size, count):
    made = batches(objects, size=size, count=count)
    assert Counter(key_of(o) for group in made for o in group) == Counter(map(key_of, objects))
    for group in made:
        assert group
        assert len(group) <= count
        assert len(group) == 1 or sum(len(line(o)) + 1 for o in group) <= size


@settings(max_examples=300, deadline=None)
@given(graphs(cycles=False), st.integers(1, 2_000), st.integers(1, 12))
def test_no_batch_goes_before_what_it_refers_to(objects, size, count):
    group_of = {key_of(o): n for n, group in enumerate(batches(objects, size=size, count=count)) for o in group}
    for item in objects:
        for link in links_of(item):
            assert link not in group_of or group_of[link] <= group_of[key_of(item)]


def test_what_belongs_together_goes_together():
    objects = graph({0: [], 1: [0], 2: [], 3: [2], 4: [2]})
    assert [[o["id"] for o in g] for g in batches(objects, size=10_000, count=3)] == [["0", "1"], ["2", "3", "4"]]
    assert [len(g) for g in batches(objects, size=10_000, count=10)] == [5]
    assert [len(g) for g in batches(objects, size=1, count=10)] == [1] * 5
    assert batches([], size=1, count=1) == []


@settings(max_examples=100, deadline=None)
@given(graphs(cycles=False))
def test_halves(objects):
    ordered = in_order(objects)
    first, second = halves(ordered)
    assert first + second == ordered
    later = {key_of(o) for o in second}
    assert not any(link in later for o in first for link in links_of(o))


def test_circles_stay_as_they_came():
    objects = graph({0: [1], 1: [0], 2: [2]})
    assert in_order(objects) == objects
    assert in_order(graph({5: [5]})) == graph({5: [5]})


def test_a_line_is_one_line_of_ascii():
    item = graph({0: []})[0]
    item["attributes"] = {"title": "a\nb\u2028é\ud800"}
    sent = line(item)
    assert sent.isascii()
    assert b"\n" not in sent
    assert json.loads(sent) == item


# --- differences -----------------------------------------------------------------------------------------------------


def texts(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [c.text for c in changes(before, after)]


def test_no_difference():
    assert texts({}, {}) == []
    assert texts({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) == []


def test_differences_in_words():
    assert texts({"a": 1, "b": 2}, {"b": 3, "c": {"d": None}}) == ["a: - 1", "b: 2 -> 3", 'c: + {"d": null}']
    assert texts({"a": {"b": 1}}, {"a": {"b": True}}) == []  # as Python has it: 1 is true
    assert texts({"a": {"b": 1}}, {"a": 1}) == ['a: {"b": 1} -> 1']
    assert texts({"a": "é"}, {"a": "e"}) == ['a: "é" -> "e"']


def test_lists_by_id_where_all_have_one_else_by_place():
    one, two = {"id": "1", "f": 1}, {"id": "2", "f": 2}
    assert texts({"aggs": [one, two]}, {"aggs": [two]}) == ['aggs.1: - {"f": 1, "id": "1"}']
    assert texts({"aggs": [one, two]}, {"aggs": [one, {**two, "f": 3}]}) == ["aggs.2.f: 2 -> 3"]
    assert texts({"a": [1, 2]}, {"a": [1, 3, 4]}) == ["a.1: 2 -> 3", "a.2: + 4"]
    assert texts({"a": [one, one]}, {"a": [one]}) == ['a.1: - {"f": 1, "id": "1"}']


def test_the_order_of_a_list_is_part_of_it():
    """By id nothing differs, and yet it is not the same: the plan must not say `update` without a word of why."""
    one, two = {"id": "1"}, {"id": "2"}
    assert texts({"aggs": [one, two]}, {"aggs": [two, one]}) == ['aggs: order: ["1", "2"] -> ["2", "1"]']


def test_panels_by_their_ids_and_long_values_cut():
    def board(width: int, note: str) -> dict[str, Any]:
        panels = [{"panelIndex": "3", "gridData": {"w": width, "i": "3"}, "embeddableConfig": {"note": note}}]
        return {"type": "dashboard", "id": "d", "attributes": {"title": "t", "panelsJSON": json.dumps(panels)}}

    found = changes(meaning(board(24, "a" * 200)), meaning(board(12, "b" * 200)))
    assert [c.path for c in found] == ["panel 3: embeddableConfig.note", "panel 3: gridData.w"]
    assert found[1].text == "panel 3: gridData.w: 24 -> 12"
    assert len(found[0].text) < 200
    assert found[0].as_dict()["before"] == json.dumps("a" * 200)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "a", "b"]), inner, max_size=3),
    max_leaves=12,
)
SAID = st.dictionaries(st.sampled_from(["panelsJSON", "title", "x"]), JSON, max_size=3)


@settings(max_examples=400, deadline=None)
@given(SAID, SAID)
def test_a_difference_is_told_if_and_only_if_there_is_one(before, after):
    assert bool(changes(before, after)) == (before != after)
