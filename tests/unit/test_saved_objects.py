"""Reading saved objects from whatever people have: every source, and every way in which it is none."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from elkkit.contract import load_contract
from elkkit.errors import InputError
from elkkit.kibana import TARGETS, bundle, encode, validate
from elkkit.kibana.folder import file_name, to_text
from elkkit.usecases import saved_objects
from elkkit.usecases.saved_objects import read_sources

ROOT = Path(__file__).resolve().parents[2]
COUNTS = '{"exportedCount":1,"missingRefCount":0,"missingReferences":[]}\n'


def saved(ident: str = "a", kind: str = "search", *links: str, **attributes: Any) -> dict[str, Any]:
    references = [{"name": f"n{i}", "type": kind, "id": link} for i, link in enumerate(links)]
    return {"type": kind, "id": ident, "attributes": {"title": ident, **attributes}, "references": references}


A, B = saved("a"), saved("b")


def put(tmp_path: Path, content: str | bytes, name: str = "x.ndjson") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(*paths: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_sources(paths)
    error = caught.value
    assert error.message
    assert error.why
    assert error.hint
    assert "\n" not in error.message + error.why + error.hint
    return error


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        encode([A, B]), encode([A, B]) + COUNTS, encode([A, B]).rstrip(), "\n\n" + encode([A]) + "\n \n" + encode([B]),
        encode([A, B]).replace("\n", "\r\n"), "\ufeff" + encode([A, B]), json.dumps([A, B]),
        json.dumps([A, B], indent=2), json.dumps({"version": "7.10.2", "objects": [A, B]}, indent=1),
        json.dumps({"objects": [A, B]}), encode([A]) + json.dumps([B]), gzip.compress(encode([A, B]).encode()),
    ],
    ids=["lines", "counts", "no end", "blank", "crlf", "bom", "array", "pretty array", "old export", "objects", "mixed",
         "gzip"],
)  # fmt: skip
def test_every_form_of_a_file(tmp_path, content):
    path = put(tmp_path, content)
    found = read_sources([path])
    assert found.objects == [A, B]
    assert found.problems == []
    assert [one.file for one in found.loaded] == [str(path)] * 2


def test_one_object_in_a_file(tmp_path):
    assert read_sources([put(tmp_path, to_text(A), "a.json")]).objects == [A]
    assert read_sources([put(tmp_path, json.dumps(A))]).objects == [A]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(encode([A, B]).encode())))
    found = read_sources([Path("-")])
    assert found.objects == [A, B]
    assert {one.file for one in found.loaded} == {"-"}


def test_files_keep_their_order(tmp_path):
    user = saved("u", "search", "v")
    first = put(tmp_path, encode([user]), "1.ndjson")
    second = put(tmp_path, encode([saved("v")]), "2.ndjson")
    assert [o["id"] for o in read_sources([first, second]).objects] == ["u", "v"]
    assert [o["id"] for o in read_sources([second, first]).objects] == ["v", "u"]


@pytest.mark.parametrize("target", TARGETS)
def test_our_own_bundles_are_read_as_they_are(target):
    found = read_sources([ROOT / "kibana" / "bundles" / target])
    assert {(o["type"], o["id"]): o for o in found.objects} == {
        (o["type"], o["id"]): o for o in bundle(load_contract(), target)
    }
    assert found.problems == []
    assert validate(found.objects) == []


def test_a_folder_is_in_the_order_of_its_references(tmp_path):
    objects = [saved(f"{n:03}", "search", f"{n + 1:03}") for n in range(400)] + [saved("400")]
    for item in objects:
        put(tmp_path, to_text(item), str(file_name(item["type"], item["id"])))
    found = read_sources([tmp_path])
    assert [o["id"] for o in found.objects] == [f"{n:03}" for n in range(400, -1, -1)]
    assert found.loaded[0].file == str(tmp_path / "search" / "400.json")


def test_a_circle_and_what_has_no_shape_is_read_too(tmp_path):
    for item in (saved("a", "search", "b"), saved("b", "search", "a"), saved("c", "search", "c")):
        put(tmp_path, to_text(item), f"{item['id']}.json")
    put(tmp_path, json.dumps({**A, "id": "d", "references": [{"id": 1}, None]}), "d.json")
    put(tmp_path, json.dumps({**A, "id": ["e"], "references": "no"}), "e.json")
    found = read_sources([tmp_path])
    assert sorted(str(o["id"]) for o in found.objects) == ["['e']", "a", "b", "c", "d"]
    assert validate(found.objects)


def test_folders_of_other_tools(tmp_path):
    """Beats and packages keep a file an object in folders by version and type, with JSON texts as values."""
    panels = [{"panelIndex": "1", "gridData": {"x": 0}, "version": "7.10.0"}]
    put(tmp_path, json.dumps({
        "id": "d", "type": "dashboard", "references": [{"id": "v", "name": "panel_0", "type": "visualization"}],
        "attributes": {"title": "d", "panelsJSON": panels, "optionsJSON": {"useMargins": True},
                       "kibanaSavedObjectMeta": {"searchSourceJSON": {"query": {"query": "", "language": "kuery"}}}},
    }, indent=4), "kibana/7/dashboard/d.json")  # fmt: skip
    shown = {"title": "v", "visState": {"type": "metric"}, "uiStateJSON": {}}
    old = {"objects": [{"id": "v", "type": "visualization", "attributes": shown}]}
    put(tmp_path, json.dumps(old), "kibana/7/visualization/v.json")
    put(tmp_path, encode([saved("s")]), "kibana/8/s.ndjson")
    put(tmp_path, "not: json", "fields.yml")
    put(tmp_path, "{", ".git/config.json")
    put(tmp_path, "{", "kibana/.hidden.json")
    found = read_sources([tmp_path])
    assert found.problems == []
    by_id = {o["id"]: o["attributes"] for o in found.objects}
    assert sorted(by_id) == ["d", "s", "v"]
    assert list(by_id).index("v") < list(by_id).index("d")
    texts = by_id["d"]
    assert texts["panelsJSON"] == json.dumps(panels, sort_keys=True, separators=(",", ":"))
    assert texts["kibanaSavedObjectMeta"]["searchSourceJSON"] == '{"query":{"language":"kuery","query":""}}'
    assert by_id["v"]["visState"] == '{"type":"metric"}'
    assert by_id["v"]["uiStateJSON"] == "{}"


# --- duplicates ------------------------------------------------------------------------------------------------------


def test_the_same_object_twice_is_told_and_read_once(tmp_path):
    first = put(tmp_path, encode([A, {**B, "updated_at": "2026-01-01"}]), "1.ndjson")
    second = put(tmp_path, encode([{**A, "updated_at": "2026-11-22", "version": "WzFd"}]), "2.ndjson")
    found = read_sources([first, second])
    assert [o["id"] for o in found.objects] == ["a", "b"]
    assert found.repeated == [(("search", "a"), str(first), str(second))]
    assert found.problems == []


def test_two_that_differ_are_a_problem(tmp_path):
    first, second = put(tmp_path, encode([A]), "1.ndjson"), put(tmp_path, encode([saved("a", hits=1)]), "2.ndjson")
    found = read_sources([first, second])
    (problem,) = found.problems
    assert problem.object == f"{second}: search:a"
    assert str(first) in problem.message
    assert found.objects == [A]
    (problem,) = read_sources([put(tmp_path, encode([A, saved("a", hits=1)]))]).problems
    assert "the same file" in problem.message


# --- what is none ----------------------------------------------------------------------------------------------------

LOGIN = "\n<!DOCTYPE html>\n<html><head><title>Elastic\n</title></head><body>Log in</body></html>"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it is empty"),
        (" \r\n\t\n", "it is empty"),
        ("\ufeff", "it is empty"),
        ("[]", "an empty list"),
        ('{"objects": []}', "an empty list"),
        (COUNTS, "counts of an export"),
        ('{"exportedCount":0,"missingRefCount":0,"missingReferences":[]}', "counts of an export"),
        (COUNTS + COUNTS, "counts of an export"),
        (LOGIN, 'web page with the title "Elastic"'),
        ("<html>502 Bad Gateway", "web page"),
        ("hello\nworld\n", "begins with 'hello'"),
        ("type: dashboard\n", "begins with 'type: dashboard'"),
        ("42\n43\n", "begins with '42'"),
        ('{"a" 1}\n{"b" 2}\n', "it is not JSON: Expecting ':' delimiter: line 1 column 6"),
        ('{"type": "x", "id": ', "it is not JSON: Expecting value: line 1"),
        ('{\n  "type": "x",\n  "id": "y"\n  "attributes": {}\n}\n', "line 4 column 3"),
        ('[\n1,\n2,\n{"a" 1}\n]', "line 4"),
        ('{\n"type": "x",\n"type": "y"\n}', "'type' is there twice"),
        ('{\n"type": "x",\n"id": NaN\n}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        (b"PK\x03\x04\x14\x00\x00\x00", "ZIP"),
        (b"\x7fELF\x02\x01\x01\x00", "byte 7 is zero"),
        (gzip.compress(encode([A]).encode())[:-9], "gzip file that is not whole"),
        (b"\x1f\x8b\x08garbage", "gzip file that is not whole"),
    ],
    ids=lambda v: repr(v)[:30],
)
def test_no_saved_objects_at_all(tmp_path, content, why):
    path = put(tmp_path, content)
    error = refused(path)
    assert why in error.why
    assert str(path) in error.message


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (encode([A]).encode("utf-16"), "UTF-16"),
        (encode([A]).encode("utf-16-le"), "UTF-16LE"),
        (encode([A]).encode("utf-16-be"), "UTF-16BE"),
        (encode([A]).encode("utf-32"), "UTF-32"),
        (encode([A, saved("b", title="é")]).encode("latin-1"), "WINDOWS-1252"),
    ],
)
def test_another_encoding_is_named_with_its_place(tmp_path, data, named):
    path = put(tmp_path, data, "it's here.ndjson")
    error = refused(path)
    assert "it is not UTF-8" in error.message
    assert error.hint.startswith(f"iconv -f {named} -t UTF-8 '")
    if named == "WINDOWS-1252":
        place = data.index(b"\xe9")
        assert f"byte {place} (0xe9, in line 2)" in error.why


def test_files_that_cannot_be_read(tmp_path):
    assert "No such file" in refused(tmp_path / "none.ndjson").why
    assert "null" in refused(Path("a\0b")).why
    assert "*.ndjson" in refused(tmp_path).why


def test_lines_that_are_no_objects_are_problems_and_the_rest_is_read(tmp_path):
    no_json = '{"id":"x","type":"search","attributes":{"title":NaN}}'
    first, last = encode([A]).strip(), encode([B]).strip()
    rows = [first, "42", '"text"', "null", "{bad", '{"foo":1}', "{}", no_json, last]
    path = put(tmp_path, "\n".join(rows))
    found = read_sources([path])
    assert found.objects == [A, B]
    told = [str(p) for p in found.problems]
    assert all(text.startswith(f"{path}: ") for text in told)
    for number, why in (("object 2", "a number"), ("object 3", "a text"), ("object 4", "null"), ("line 5", "not JSON"),
                        ("object 5", "only foo"), ("object 6", "nothing"), ("search:x", "NaN")):  # fmt: skip
        assert any(f"{path}: {number}: " in text and why in text for text in told), (number, told)


def test_an_object_that_no_kibana_takes_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_objects, "LARGEST_OBJECT", 1_000)
    path = put(tmp_path, encode([A, saved("b", description="x" * 1_000)]))
    found = read_sources([path])
    assert found.objects == [A]
    assert "Kibana takes 1,000 in one request" in found.problems[0].message


def test_no_more_is_read_than_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_objects._Budget.__init__, "__defaults__", (2_000, False))
    assert "too much" in refused(put(tmp_path, encode([saved(f"x{n}") for n in range(50)]))).message
    assert "too much" in refused(put(tmp_path, gzip.compress(b" " * 10_000_000))).message
    rows = [encode([saved(f"y{n}", description="x" * 500)]) for n in range(5)]
    for number, row in enumerate(rows):
        put(tmp_path, row, f"folder/{number}.json")
    folder = tmp_path / "folder"
    assert "too much" in refused(folder).message, "all files together"
    assert len(read_sources([folder / "1.json", folder / "2.json"]).objects) == 2


@pytest.mark.parametrize(
    "content", ["{}\n" * 300, json.dumps([{}] * 300), "{bad\n" * 300, encode([A]) + "{bad\n" * 300]
)
def test_many_small_lies_are_not_told_one_by_one(tmp_path, monkeypatch, content):
    monkeypatch.setattr(saved_objects, "MOST", 200)
    assert "are read at most" in refused(put(tmp_path, content)).why


def test_endless_input_ends(monkeypatch):
    monkeypatch.setattr(saved_objects._Budget.__init__, "__defaults__", (100_000, False))
    assert "too much" in refused(Path("/dev/zero")).message


# --- folders that want more than they say --------------------------------------------------------------------------


def test_a_bad_file_in_a_folder_is_a_problem(tmp_path):
    put(tmp_path, to_text(A), "a.json")
    put(tmp_path, LOGIN, "b.json")
    put(tmp_path, encode([saved(title="é")]).encode("latin-1"), "c.ndjson")
    put(tmp_path, "", "d.json")
    found = read_sources([tmp_path])
    assert found.objects == [A]
    assert [(Path(p.object).name, w in p.message) for p, w in zip(
        found.problems, ("web page", "Windows-1252", "empty"), strict=True
    )] == [("b.json", True), ("c.ndjson", True), ("d.json", True)]  # fmt: skip


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    secret = put(tmp_path, encode([saved("secret")]), "outside/secret.json")
    folder = tmp_path / "folder"
    put(tmp_path, to_text(A), "folder/a.json")
    (folder / "out.json").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path / "outside")
    (folder / "round").symlink_to(folder)
    (folder / "loop.json").symlink_to(folder / "loop.json")
    (folder / "gone.json").symlink_to(folder / "none")
    (folder / "again.json").symlink_to(folder / "a.json")
    os.mkfifo(folder / "pipe.json")
    found = read_sources([folder])
    assert found.objects == [A], "once, however many links lead to it"
    told = {Path(p.object).name: p.message for p in found.problems}
    assert set(told) == {"out.json", "up", "loop.json", "gone.json", "pipe.json"}
    assert "leads out of" in told["out.json"]
    assert "leads out of" in told["up"]
    assert told["pipe.json"] == "it is not a file"


def test_a_mounted_config_map_is_read(tmp_path):
    """Kubernetes shows files as links into a hidden folder beside them."""
    put(tmp_path, to_text(A), "..2026_11_22/a.json")
    (tmp_path / "..data").symlink_to("..2026_11_22")
    (tmp_path / "a.json").symlink_to("..data/a.json")
    assert read_sources([tmp_path]).objects == [A]
