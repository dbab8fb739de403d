"""Imports into spaces, where an object may have another id than in its file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.kibana import FakeKibana, Fault
from importing import MODERN, board, kept, retitle, search, small, to, told, view, write

BOTH = ("--space", "a,b")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(params=MODERN)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeKibana]:
    with FakeKibana(request.param) as running:
        for name in ("a", "b"):
            running.spaces[name] = {"id": name, "name": name, "disabledFeatures": []}
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "small.ndjson", *small())


def whole(fake: FakeKibana, space: str) -> None:
    """Every reference of a space leads to something in it."""
    here = {k for k, s in fake.store.kept.items() if s.space == space}
    for key in here:
        for link in fake.store.kept[key].references:
            assert (link["type"], link["id"]) in here, (key, link)


@pytest.mark.parametrize("forget", [False, True], ids=["remembered", "forgotten"])
def test_two_spaces_and_again(fake, state, forget):
    first = told(fake, "import", *BOTH)
    assert first.code == 0
    a, b = kept(fake, "a"), kept(fake, "b")
    assert len(a) == len(b) > 50
    assert not set(a) & set(b)
    whole(fake, "a")
    whole(fake, "b")
    urls = [d["url"] for d in first.data["dashboards"] if d["space"] == "b"]
    assert len(urls) == 3
    assert all(("dashboard", u.rpartition("/")[2]) in b for u in urls)
    if forget:
        shutil.rmtree(state)
    again = told(fake, "import", *BOTH)
    assert again.code == 0
    assert list(again.counts(0)) == list(again.counts(1)) == ["unchanged"]
    assert (kept(fake, "a"), kept(fake, "b")) == (a, b)
    last = told(fake, "import", "--space", "b")
    assert list(last.counts()) == ["unchanged"]


def test_edits_and_undo_are_of_one_space(fake, file):
    told(fake, "import", file, *BOTH)
    there = next(k for k, s in fake.store.kept.items() if s.space == "b" and s.type == "dashboard")
    retitle(fake, there)
    found = told(fake, "import", file, *BOTH)
    assert found.code == 1
    assert (found.counts(0), found.counts(1)) == ({"unchanged": 4}, {"drifted": 1, "unchanged": 3})
    assert found.steps("drifted", 1)[0]["id_on_server"] == there[1]
    b = kept(fake, "b")
    told(fake, "import", file, *BOTH, "--on-conflict", "overwrite")
    assert fake.store.kept[there].attributes["title"] == "a dashboard"
    assert told(fake, "rollback", "--space", "b").code == 0
    assert kept(fake, "b") == b
    assert told(fake, "rollback", "--space", "a").code == 0
    assert kept(fake, "a") == {}
    assert kept(fake, "b") == b


@pytest.mark.parametrize("forget", [False, True], ids=["remembered", "forgotten"])
def test_an_update_keeps_where_it_came_from(fake, tmp_path, state, forget):
    """Else nobody would find it again once the memory is lost."""
    file = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", file, *BOTH)
    origins = {s.origin for s in fake.store.kept.values() if s.space == "b"}
    write(file, view(title="new-*"), *small()[1:])
    assert told(fake, "import", file, *BOTH).counts(1) == {"update": 1, "unchanged": 3}
    assert {s.origin for s in fake.store.kept.values() if s.space == "b"} == origins
    if forget:
        shutil.rmtree(state)
    assert told(fake, "import", file, *BOTH).counts(1) == {"unchanged": 4}


def test_what_was_deleted_in_a_space_comes_back_to_be_found(fake, file, state):
    told(fake, "import", file, *BOTH)
    there = next(k for k, s in fake.store.kept.items() if s.space == "b" and s.type == "dashboard")
    del fake.store.kept[there]
    found = told(fake, "import", file, *BOTH)
    assert (found.code, found.counts(1)) == (0, {"create": 1, "unchanged": 3})
    shutil.rmtree(state)
    assert told(fake, "import", file, *BOTH).counts(1) == {"unchanged": 4}


def test_a_drifted_object_without_the_memory_is_found_by_its_origin(fake, file, state):
    told(fake, "import", file, *BOTH)
    there = next(k for k, s in fake.store.kept.items() if s.space == "b" and s.type == "search")
    retitle(fake, there)
    shutil.rmtree(state)
    found = told(fake, "import", file, "--space", "b")
    assert (found.code, found.counts()) == (1, {"drifted": 1, "unchanged": 3})
    assert len(kept(fake, "b")) == 4


@pytest.mark.parametrize("forget", [False, True], ids=["remembered", "forgotten"])
def test_copies_in_two_spaces(fake, file, state, forget):
    told(fake, "import", file, *BOTH)
    for key in [k for k, s in fake.store.kept.items() if s.type == "dashboard"]:
        retitle(fake, key)
    words = (file, *BOTH, "--on-conflict", "copy")
    first = told(fake, "import", *words)
    assert (first.code, len(kept(fake, "a")), len(kept(fake, "b"))) == (0, 5, 5)
    whole(fake, "b")
    before = kept(fake)
    if forget:
        shutil.rmtree(state)
    again = told(fake, "import", *words)
    assert (again.code, kept(fake)) == (0, before)


def test_remove_from_one_space(fake, file):
    told(fake, "import", file, *BOTH)
    a = kept(fake, "a")
    assert told(fake, "remove", "--space", "b", "--yes").code == 0
    assert (kept(fake, "a"), kept(fake, "b")) == (a, {})
    assert told(fake, "rollback", "--space", "b").code == 0
    whole(fake, "b")
    assert told(fake, "import", file, *BOTH).counts(1) == {"unchanged": 4}


def test_prune_in_a_space(fake, tmp_path):
    file = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", file, *BOTH)
    write(file, view(), search(), board("d", "s"))
    found = told(fake, "import", file, *BOTH, "--prune")
    assert found.code == 0
    assert len(kept(fake, "a")) == len(kept(fake, "b")) == 3
    whole(fake, "b")


def test_parts_that_are_sent_apart_find_each_other(fake, file):
    """In a space where the ids are taken the data view gets a new one, which the next part must refer to."""
    told(fake, "import", file, "--space", "a")
    fake.fail(Fault.TOO_LARGE, only="/s/b/api/saved_objects/_resolve")
    found = told(fake, "import", file, "--space", "b")
    assert (found.code, len(kept(fake, "b"))) == (0, 4)
    whole(fake, "b")
    assert told(fake, "import", file, "--space", "b").counts() == {"unchanged": 4}
    assert told(fake, "rollback", "--space", "b").code == 0
    assert kept(fake, "b") == {}


@pytest.mark.parametrize("command", ["import", "diff"])
def test_a_space_that_is_not_there(fake, file, command):
    found = to(fake, command, file, "--space", "a,nowhere")
    assert found.code == 2
    assert found.error["error"] == 'there is no space "nowhere"'
    assert fake.store.kept == {}


def test_no_spaces_in_oss(file):
    with FakeKibana("7.10.2") as fake:
        found = to(fake, "import", file, "--space", "a")
        assert (found.code, fake.store.kept) == (2, {})
        assert told(fake, "import", file, "--space", "default").code == 0


def test_one_space_at_a_time_is_undone(fake):
    found = to(fake, "rollback", *BOTH)
    assert found.code == 2
    assert "--space a" in found.error["hint"]


def test_the_second_space_fails_and_the_first_is_told(fake, file):
    fake.fail(Fault.FORBIDDEN, only="/s/b/api/saved_objects/_resolve")
    found = to(fake, "import", file, *BOTH)
    assert found.code == 4
    assert len(kept(fake, "a")) == 4
    assert kept(fake, "b") == {}
    assert found.error["why"]
    said = found.err + found.out
    assert "4 created in the space a; undo: elkkit rollback-dashboards " in said
    assert "--space a" in said
