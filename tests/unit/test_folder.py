"""One saved object and its file: nothing is lost on the way there and back, and no name leads anywhere else."""

from __future__ import annotations

import copy
import json
import unicodedata
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elkkit.contract import load_contract
from elkkit.kibana import TARGETS, bundle
from elkkit.kibana.decoded import JSON_FIELDS
from elkkit.kibana.folder import DEEPEST, encoded, file_name, from_text, load, to_text
from lines import SHARED

BUNDLES = SHARED / "kibana-exchanges" / "bundles"
VOLATILE = {"updated_at": "2026-11-22T10:00:00Z", "created_at": "x", "created_by": "u", "updated_by": "u",
            "version": "WzEsMV0=", "managed": False, "namespaces": ["default"], "sort": [1, 2], "score": 0}  # fmt: skip


def saved(kind: str = "dashboard", **attributes: Any) -> dict[str, Any]:
    return {"type": kind, "id": "x", "attributes": attributes, "references": []}


def joined(text: str) -> str:
    """Text as JavaScript has it, where two halves of a character are one wherever they meet."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def seen(item: Any) -> Any:
    """An object with all JSON texts read, wherever they are: what it means, apart from how it is written."""
    if isinstance(item, dict):
        return {joined(k): seen(v) for k, v in item.items()}
    if isinstance(item, list):
        return [seen(v) for v in item]
    if isinstance(item, str) and item.lstrip()[:1] in ("{", "["):
        try:
            return seen(load(item))
        except ValueError:
            pass
    return joined(item) if isinstance(item, str) else item


def stripped(item: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in item.items() if k not in VOLATILE}


def there_and_back(item: dict[str, Any]) -> str:
    """Both properties that every object must have; gives the text."""
    before = copy.deepcopy(item)
    content = to_text(item)
    assert item == before, "what is given is not changed"
    content.encode("utf-8")
    again = from_text(content)
    assert to_text(again) == content
    assert seen(again) == seen(stripped(item))
    return content


# --- objects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_our_bundles_come_back_as_they_are(target):
    for item in bundle(load_contract(), target):
        content = there_and_back(item)
        assert from_text(content) == item, "ours are written as `text` writes"
        assert '\\"' not in json.dumps(json.loads(content).get("attributes", {}).get("panelsJSON", ""))


@pytest.mark.skipif(not BUNDLES.is_dir(), reason="shared/ is absent")
def test_recorded_bundles_come_back():
    found = 0
    for path in sorted(BUNDLES.glob("*.ndjson")):
        for row in path.read_text("utf-8").splitlines():
            item = json.loads(row)
            if "type" in item:
                there_and_back(item)
                found += 1
    assert found > 10


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
FIELD_TEXT = st.builds(
    lambda value, ascii_, indent: json.dumps(value, ensure_ascii=ascii_, indent=indent),
    JSON, st.booleans(), st.sampled_from([None, 1]),
) | st.text(max_size=20)  # fmt: skip


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """What a Kibana may export: JSON in texts of any kind and form, and other attributes."""
    kind = draw(st.sampled_from(["dashboard", "visualization", "search", "lens", "map", "index-pattern", "tag"]))
    attributes: dict[str, Any] = draw(st.dictionaries(st.text(max_size=6).map("own-".__add__), JSON, max_size=3))
    for path in draw(st.sets(st.sampled_from([*JSON_FIELDS, "layerListJSON", "mapStateJSON"]))):
        first, _, last = path.rpartition(".")
        if kind == "index-pattern" and path == "fields":
            continue  # a cache; it has tests of its own
        (attributes.setdefault(first, {}) if first else attributes)[last] = draw(FIELD_TEXT | st.none())
    item = {"type": kind, "id": draw(st.text(max_size=6)), "attributes": attributes, "references": draw(st.just([]))}
    return {**item, **{k: VOLATILE[k] for k in draw(st.sets(st.sampled_from(sorted(VOLATILE))))}}


@settings(deadline=None, max_examples=400)
@given(objects())
@example(saved(panelsJSON='["\\ud83d", "\ud83d\\ude00"]'))
@example(saved(panelsJSON="[0.1, 1.0, 1e21, -0.0, 123456789012345678901234567890, 5e-324]"))
@example(saved(optionsJSON='{"a": {"b": 1, "b": 2}}'))
@example(saved("map", layerListJSON='[{"a": 1}]', mapStateJSON='{"zoom": 1.50}', uiStateJSON="{}"))
def test_there_and_back(item):
    there_and_back(item)


@pytest.mark.parametrize(
    "value",
    [
        '[{"a": 1, "a": 2}]', "[NaN]", "[Infinity]", "[-Infinity]", "[1e400]", "[" * 100_000, "{}", "[1", "", "null",
        "1", '"text"', "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "[" + "9" * 5_000 + "]",
    ],
    ids=lambda v: v[:12],
)  # fmt: skip
def test_a_text_that_would_lose_something_stays_a_text(value):
    content = there_and_back(saved(panelsJSON=value))
    assert from_text(content)["attributes"]["panelsJSON"] == value


def test_json_of_its_kind_is_spelled_out():
    nested = "[" * DEEPEST + "]" * DEEPEST
    content = to_text(saved(panelsJSON='[{"b":1,"a":"é"}]', optionsJSON="{}", kibanaSavedObjectMeta={
        "searchSourceJSON": '{"query":{}}'}, uiStateJSON=nested))  # fmt: skip
    attributes = json.loads(content)["attributes"]
    assert attributes["panelsJSON"] == [{"a": "é", "b": 1}]
    assert attributes["kibanaSavedObjectMeta"]["searchSourceJSON"] == {"query": {}}
    assert attributes["uiStateJSON"] == nested, "a list where an object belongs"
    assert '"a": "é"' in content
    assert content.endswith("}\n")
    lines = [line.strip() for line in content.splitlines()]
    assert lines.index('"attributes": {') < lines.index('"id": "x",') < lines.index('"type": "dashboard"')
    there_and_back(saved(panelsJSON=nested))


def test_fields_belong_to_data_views_only():
    assert json.loads(to_text(saved("canvas-workpad", fields="[1]")))["attributes"]["fields"] == "[1]"
    for path in ("fieldFormatMap", "fieldAttrs", "runtimeFieldMap", "typeMeta"):
        assert json.loads(to_text(saved("index-pattern", **{path: '{"a":{}}'})))["attributes"][path] == {"a": {}}


def test_the_cache_of_fields_is_dropped_and_scripted_fields_are_kept():
    scripted = {"name": "twice", "scripted": True, "script": "doc['x'].value * 2", "lang": "painless", "count": 0}
    cached = {"name": "x", "type": "number", "esTypes": ["double"], "scripted": False, "searchable": True}
    before = to_text(saved("index-pattern", title="logs-*", fields="[]"))
    assert to_text(saved("index-pattern", title="logs-*", fields=json.dumps([cached]))) == before
    item = saved("index-pattern", title="logs-*", fields=json.dumps([cached, scripted, {**cached, "name": "y"}]))
    kept = from_text(to_text(item))
    assert json.loads(kept["attributes"]["fields"]) == [scripted]
    assert to_text(kept) == to_text(item)
    assert "fields" not in from_text(to_text(saved("index-pattern", title="logs-*")))["attributes"]


def test_what_a_server_writes_is_stripped_and_what_identifies_is_kept():
    more = {"originId": "o", "migrationVersion": {"dashboard": "7.9.3"}, "coreMigrationVersion": "8.8.0",
            "typeMigrationVersion": "8.9.0"}  # fmt: skip
    item = {**saved(title="t", version=1), **more, **VOLATILE}
    assert from_text(to_text(item)) == {**saved(title="t", version=1), **more}


def test_references_keep_their_order():
    links = [{"name": n, "type": "lens", "id": n} for n in ("b", "a", "c")]
    assert from_text(to_text({**saved(), "references": links}))["references"] == links


def test_nothing_in_a_file_moves_a_terminal():
    harmful = "\x1b[2J\x07\u202e\u2066\x9b\u2028\ufeff\x7f"
    item = saved(title=harmful, panelsJSON=json.dumps([harmful]), **{harmful: 1})
    content = there_and_back(item)
    assert not set(harmful) - set("[2J") & set(content)
    assert from_text(content)["attributes"]["title"] == harmful


def test_lone_surrogates_can_be_sent():
    item = from_text(to_text(saved(panelsJSON='["\\ud800", "\\ud83d\\ude00"]')))
    assert item["attributes"]["panelsJSON"] == '["\\ud800","😀"]'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_no_json_can_hold_is_refused(value):
    with pytest.raises(ValueError):
        to_text(saved(hits=value))


def test_an_object_that_is_nested_too_deeply_is_refused():
    value: Any = 1
    for _ in range(5_000):
        value = [value]
    for way in (to_text, lambda item: encoded({**item, "attributes": {"panelsJSON": value}})):
        with pytest.raises(ValueError, match="deeply"):
            way(saved(state=value))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "a list"), ("1", "an? int"), ("{", "Expecting"), ('{"a":1,"a":2}', "'a' is there twice"),
        ('{"a":NaN}', "NaN is not JSON"), ('{"a":1e999}', "more than a number"), ("[" * 50_000, "deeply"),
        ("<html>", "Expecting value"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_object_says_why(content, why):
    with pytest.raises(ValueError, match=why):
        from_text(content)


def test_a_file_with_a_bom_and_other_line_ends_is_read():
    content = to_text(saved(panelsJSON="[1]"))
    assert from_text("\ufeff" + content.replace("\n", "\r\n")) == from_text(content)


# --- names -----------------------------------------------------------------------------------------------------------

HOSTILE = [
    "../x", "..", ".", "", "/etc/passwd", "\0", "x" * 5_000, "CON", "con", "con.x", "NUL.json", "lpt1", "COM9.tar.gz",
    "x.", "x..", " x", "x ", ".git", "-rf", "~", "~root", "a~b", "%41", "a%2fb", "C:\\x", "a\\..\\b", "é", "e\u0301",
    "\ud800", "İ", "ſ", "K", "K", "k", "a:b", "a\nb", "\x1b[2J", "\u202etxt", "*", "logs-*", "空", "x" * 100,
    "x" * 101, "é" * 60, "empty", "aux~", "$(id)", "`id`", "a;b", "a|b", "a'b", 'a"b', "Abc", "abc", "ABC",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_stays_in_its_folder(tmp_path, name):
    for path in (file_name("dashboard", name), file_name(name, "x")):
        assert isinstance(path, PurePosixPath)
        assert len(path.parts) == 2
        assert path.suffix == ".json"
        for part in path.parts:
            assert part.isascii()
            assert part not in (".", "..")
            assert set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-%~")
            assert part[0] not in ".-~"
            assert not part.endswith(".")
            assert len(part) <= 130
            assert part.split(".")[0].lower() not in ("con", "nul", "aux", "prn", "lpt1", "com9")
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("x")
        assert target.resolve().parent.parent == tmp_path.resolve()


def test_no_two_names_collide_on_any_file_system():
    names = dict.fromkeys([*HOSTILE, *(n.upper() for n in HOSTILE), *(n + "." for n in HOSTILE)])
    names |= dict.fromkeys(str(file_name("t", n).name) for n in HOSTILE)
    found = [unicodedata.normalize("NFC", str(file_name("t", n)).casefold()) for n in names]
    assert len(set(found)) == len(names)


@settings(deadline=None)
@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_two_names(one, other):
    same = str(file_name("t", one)).casefold() == str(file_name("t", other)).casefold()
    assert same == (one == other)


def test_ordinary_names_stay_as_they_are():
    assert str(file_name("dashboard", "elkkit-lane-eval-live-run")) == "dashboard/elkkit-lane-eval-live-run.json"
    uuid = "28234f88-8488-47aa-971e-ac31268a43c9"
    assert str(file_name("index-pattern", uuid)) == f"index-pattern/{uuid}.json"
    assert file_name("index-pattern", "logs-*").name.startswith("logs-%2a~")
    assert file_name("dashboard", "Mine").name.startswith("Mine~")
