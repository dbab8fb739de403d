"""`elkkit rollback-dashboards` and `remove-dashboards`: what comes back, what goes, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.kibana import FakeKibana, Fault
from importing import PRODUCTS, VERSIONS, board, kept, made, retitle, run, search, small, to, told, view, write, written


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeKibana]:
    with FakeKibana(request.param) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "small.ndjson", *small())


# --- rollback --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_fresh_import_is_undone(product):
    with made(product) as fake:
        fake.store.put({**view("theirs"), "stamp": None}, "default")
        before = kept(fake)
        record = told(fake, "import").record
        undone = told(fake, "rollback", record)
        assert (undone.code, kept(fake)) == (0, before)
        assert len(undone.data["deleted"]) > 50
        assert to(fake, "rollback").error["error"] == "there is nothing to roll back"
        assert to(fake, "rollback", record).error["error"] == f"{record} is undone already"
        assert list(told(fake, "import").counts()) == ["create"]


@pytest.mark.parametrize("product", PRODUCTS)
def test_attributes_and_references_come_back_byte_for_byte(product, tmp_path):
    with made(product) as fake:
        file = write(tmp_path / "f.ndjson", *small())
        told(fake, "import", file)
        retitle(fake, ("search", "s"), "mine é \u2028 \U0001f600")
        before = kept(fake)
        write(file, view(), view("dv2"), search(on="dv2"), search("t", title="new title"), board("d", "t"))
        changed = told(fake, "import", file, "--on-conflict", "overwrite")
        assert changed.code == 0
        assert kept(fake) != before
        dry = told(fake, "rollback", "--dry-run")
        assert {(s["id"], s["action"]) for s in dry.data["steps"]} == {
            ("dv2", "delete"), ("s", "restore"), ("t", "restore"), ("d", "restore")}  # fmt: skip
        assert kept(fake) != before
        undone = told(fake, "rollback")
        assert (undone.code, undone.data["differing"]) == (0, [])
        assert kept(fake) == before
        assert json.dumps(kept(fake)["search", "s"][0], sort_keys=False) == json.dumps(before["search", "s"][0])
        # what was known before the import is known again: the edit is one, and the rest is unchanged
        write(file, *small())
        assert told(fake, "import", file).counts() == {"drifted": 1, "unchanged": 3}


def test_what_was_pruned_comes_back(fake, tmp_path):
    file = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", file)
    before = kept(fake)
    write(file, view(), search(), board("d", "s"))
    told(fake, "import", file, "--prune")
    assert ("search", "t") not in fake.store.kept
    assert told(fake, "rollback").code == 0
    assert kept(fake) == before
    write(file, *small())
    assert told(fake, "import", file).counts() == {"unchanged": 4}


def test_later_edits_are_in_the_way(fake, file):
    record = told(fake, "import", file).record
    retitle(fake, ("search", "s"), "mine")
    before, since = kept(fake), len(fake.asked)
    refused = to(fake, "rollback")
    assert refused.code == 1
    assert refused.error["error"] == f"rolling back {record}: nothing was done"
    assert "edited there since" in refused.error["why"]
    assert "--force" in refused.error["hint"]
    assert told(fake, "rollback", "--dry-run").code == 1
    assert (kept(fake), written(fake, since)) == (before, [])
    forced = told(fake, "rollback", "--force")
    assert (forced.code, fake.store.kept) == (0, {})
    # and even that can be taken back, with the edit
    assert told(fake, "rollback", forced.data["own_record"]).code == 0
    assert kept(fake) == before


def test_a_rollback_is_rolled_back(fake, tmp_path):
    file = write(tmp_path / "f.ndjson", view(), search())
    told(fake, "import", file)
    write(file, view(title="new-*"), search(), search("t"))
    told(fake, "import", file)
    after = kept(fake)
    undone = told(fake, "rollback")
    assert kept(fake) != after
    again = told(fake, "rollback", undone.data["own_record"])
    assert (again.code, kept(fake)) == (0, after)
    # it is as if it had never been undone: what was imported is known, and an edit of it is one
    assert told(fake, "import", file).counts() == {"unchanged": 3}
    removed = told(fake, "remove", "--yes")
    assert (removed.code, fake.store.kept) == (0, {})


def test_a_rollback_rolled_back_is_known_before_any_import(fake, tmp_path):
    file = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", file)
    undone = told(fake, "rollback")
    told(fake, "rollback", undone.data["own_record"])
    assert told(fake, "remove", "--yes").code == 0
    assert fake.store.kept == {}


def test_rollbacks_one_after_the_other(fake, tmp_path):
    states = [kept(fake)]
    file = tmp_path / "f.ndjson"
    for objects in ([view()], [view(), search()], [view(title="b-*"), search(), board("d", "s")]):
        told(fake, "import", write(file, *objects))
        states.append(kept(fake))
    listed = told(fake, "rollback", "--list")
    assert [(r["created"], r["changed"], r["status"]) for r in listed.data["records"]] == [
        (1, 1, "done"), (1, 0, "done"), (1, 0, "done")]  # fmt: skip
    for state in reversed(states[:-1]):
        assert told(fake, "rollback").code == 0
        assert kept(fake) == state
    assert to(fake, "rollback").code == 2


def test_list_asks_no_server(file):
    with FakeKibana("8.3.3") as fake:
        record = told(fake, "import", file).record
        url, asked = fake.url, len(fake.asked)
        assert record in to(fake, "rollback", "--list").out
        assert len(fake.asked) == asked
    found = run("rollback-dashboards", "--kibana-url", url, "--list", "--json")
    assert [r["id"] for r in found.data["records"]] == [record]
    other = run("rollback-dashboards", "--kibana-url", "http://127.0.0.1:1", "--list", "--json")
    assert other.data["records"] == []


def test_a_record_that_lost_its_objects_deletes_nothing(fake, tmp_path, state):
    """What was there before the import must not be taken for what the import made."""
    file = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", file)
    record = told(fake, "import", write(file, view(title="new-*"), *small()[1:])).record
    before = kept(fake)
    (put_aside,) = state.rglob(f"{record}/before.ndjson")
    text = put_aside.read_bytes()
    for damage in (b"", text[: len(text) // 2], b"[]\n", b'{"type": "index-pattern"}\n', None):
        if damage is None:
            put_aside.unlink()
        else:
            put_aside.write_bytes(damage)
        found = to(fake, "rollback", "--force")
        assert found.code == 2, damage
        assert "before.ndjson" in found.error["error"]
        assert kept(fake) == before
    put_aside.write_bytes(text)
    assert told(fake, "rollback").code == 0
    assert fake.store.kept["index-pattern", "dv"].attributes["title"] == "logs-*"


@pytest.mark.parametrize("words", [("20200101-000000",), ("../../etc",), ("\x1b[2J",)])
def test_no_such_record(fake, file, words):
    told(fake, "import", file)
    found = to(fake, "rollback", *words)
    assert found.code == 2
    assert "\x1b" not in found.err
    assert "--list" in found.error["hint"]


def test_a_rollback_that_fails_can_be_repeated(fake, tmp_path):
    file = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", file)
    before = kept(fake)
    told(fake, "import", write(file, view(title="new-*"), *small()[1:], search("u")))
    fake.store.refuse_write["index-pattern", "dv"] = "disk usage exceeded flood-stage watermark"
    failed = to(fake, "rollback")
    assert failed.code == 1
    assert "flood-stage" in failed.error["why"]
    assert ("search", "u") in fake.store.kept  # nothing is deleted while something cannot come back
    fake.store.refuse_write.clear()
    fake.fail(Fault.FORBIDDEN, only="/search/u")
    assert to(fake, "rollback").code == 4
    assert told(fake, "rollback").code == 0
    assert kept(fake) == before


# --- remove ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", PRODUCTS)
def test_remove_takes_all_of_ours_and_nothing_else(product):
    with made(product) as fake:
        fake.store.put({**view("theirs"), "stamp": None}, "default")
        before = kept(fake)
        told(fake, "import")
        whole = kept(fake)
        asked = to(fake, "remove")
        assert asked.code == 2
        assert "--yes" in asked.error["hint"]
        assert told(fake, "remove", "--dry-run").code == 0
        assert kept(fake) == whole
        removed = told(fake, "remove", "--yes")
        assert (removed.code, kept(fake)) == (0, before)
        assert to(fake, "remove", "--yes").error["error"] == "there is nothing to remove"
        assert told(fake, "rollback", removed.data["own_record"]).code == 0
        assert kept(fake) == whole
        assert told(fake, "remove", "--yes").code == 0
        assert kept(fake) == before


def test_remove_keeps_what_was_edited_and_what_that_needs(fake, file):
    told(fake, "import", file)
    retitle(fake, ("search", "s"), "mine")
    found = told(fake, "remove", "--yes")
    assert found.code == 1
    assert {s["id"]: s["action"] for s in found.data["steps"]} == {
        "dv": "used", "s": "edited", "t": "delete", "d": "delete"}  # fmt: skip
    assert set(fake.store.kept) == {("index-pattern", "dv"), ("search", "s")}
    assert told(fake, "remove", "--yes").code == 1  # what is kept is still remembered
    assert told(fake, "remove", "--yes", "--force").code == 0
    assert fake.store.kept == {}


def test_remove_keeps_all_that_an_edited_object_shows(fake, file):
    """A dashboard that was edited stays whole: with its searches, and with the data view that those need."""
    told(fake, "import", file)
    retitle(fake, ("dashboard", "d"), "mine")
    before = kept(fake)
    found = told(fake, "remove", "--yes")
    assert {s["id"]: s["action"] for s in found.data["steps"]} == {
        "dv": "used", "s": "used", "t": "used", "d": "edited"}  # fmt: skip
    assert kept(fake) == before


def test_remove_keeps_what_others_use(fake, file):
    told(fake, "import", file)
    fake.store.put({**board("theirs", "s", title="Theirs"), "stamp": None}, "default")
    found = told(fake, "remove", "--yes")
    assert found.code == 1
    why = {s["id"]: s.get("why") for s in found.data["steps"] if s["action"] == "used"}
    assert why == {"dv": 'search "a search" stays, and uses it', "s": 'dashboard "Theirs" uses it'}
    assert set(fake.store.kept) == {("dashboard", "theirs"), ("search", "s"), ("index-pattern", "dv")}


def test_remove_leaves_alone_what_was_there_before(fake, file):
    """Objects that were there already, just as the file has them, were never written by elkkit."""
    for item in small():
        fake.store.put({**item, "stamp": None}, "default")
    before = kept(fake)
    assert told(fake, "import", file).counts() == {"unchanged": 4}
    assert told(fake, "remove", "--yes").code in (1, 2)
    assert kept(fake) == before


def test_remove_what_is_gone_already(fake, file):
    told(fake, "import", file)
    fake.store.kept.clear()
    found = told(fake, "remove", "--yes")
    assert (found.code, {s["action"] for s in found.data["steps"]}) == (0, {"gone"})
