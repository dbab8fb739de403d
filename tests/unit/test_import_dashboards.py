"""`elkkit import-dashboards` and `diff-dashboards`: what is written, what is kept, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from elkkit.contract import load_contract
from elkkit.kibana import bundle
from fakes.kibana import FakeKibana
from importing import PRODUCTS, VERSIONS, board, edit, kept, made, retitle, run, search, small, to, told, view, write
from importing import written as asked_to_write

SIZES = {target: len(bundle(load_contract(), target)) for target in ("classic", "lens")}
DASHBOARD = ("dashboard", "elkkit-lane-eval-live-run")
VIEW = ("index-pattern", "elkkit-lane-eval")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(params=PRODUCTS)
def any_kibana(request: pytest.FixtureRequest) -> Iterator[FakeKibana]:
    with made(request.param) as running:
        yield running


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeKibana]:
    with FakeKibana(request.param) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "small.ndjson", *small())


def target_of(kibana: FakeKibana) -> str:
    return "lens" if kibana.version.startswith("8") else "classic"


# --- fresh, and again ------------------------------------------------------------------------------------------------


def test_fresh_and_then_unchanged(any_kibana):
    size = SIZES[target_of(any_kibana)]
    first = told(any_kibana, "import")
    assert (first.code, first.counts()) == (0, {"create": size})
    assert (first.data["bundle"], first.data["asked"]) == (target_of(any_kibana), "server")
    assert len(any_kibana.store.kept) == size == len(first.data["applied"][0]["created"])
    assert [d["url"] for d in first.data["dashboards"]] == [
        f"{any_kibana.url}/app/dashboards#/view/elkkit-lane-eval-{name}"
        for name in ("model-comparison", "live-run", "pipeline-health")
    ]
    before, since = kept(any_kibana), len(any_kibana.asked)
    again = told(any_kibana, "import")
    assert (again.code, again.counts()) == (0, {"unchanged": size})
    assert again.data["applied"][0]["record"] is None
    assert asked_to_write(any_kibana, since) == []
    assert len(any_kibana.asked) - since <= 3
    assert kept(any_kibana) == before
    assert len(again.data["dashboards"]) == 3


def test_unchanged_in_words(fake):
    first = to(fake, "import")
    assert f"{len(fake.store.kept)} created; undo: elkkit rollback-dashboards " in first.err
    again = to(fake, "import")
    assert "unchanged    3 dashboards" in again.out
    assert again.err.splitlines()[-1] == "unchanged"
    assert f"{fake.url}/app/dashboards#/view/elkkit-lane-eval-live-run" in again.out


def test_unchanged_without_the_memory(fake, monkeypatch, tmp_path):
    to(fake, "import")
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "other"))
    again = told(fake, "import")
    assert list(again.counts()) == ["unchanged"]
    retitle(fake, DASHBOARD)  # it was taken over into the memory: an edit is one
    drifted = told(fake, "import").steps("drifted")
    assert [s["id"] for s in drifted] == [DASHBOARD[1]]
    assert "edited there since" in drifted[0]["why"]


def test_looking_at_a_dashboard_is_no_edit():
    """Kibana 7 writes the fields of a data view anew whenever somebody looks through it."""
    with FakeKibana("7.10.2") as fake:
        told(fake, "import")
        edit(fake, VIEW, lambda a: a.update(fields=json.dumps([{"name": "metricscores", "type": "number"}])))
        assert list(told(fake, "import").counts()) == ["unchanged"]


def test_diff(fake, file):
    assert told(fake, "diff", file).code == 1
    assert fake.store.kept == {}
    told(fake, "import", file)
    same = told(fake, "diff", file)
    assert (same.code, same.data["same"]) == (0, True)
    retitle(fake, ("dashboard", "d"), "mine")
    since = len(fake.asked)
    other = to(fake, "diff", file)
    assert other.code == 1
    assert 'title: "mine" -> "a dashboard"' in other.out
    assert asked_to_write(fake, since) == []


# --- edits -----------------------------------------------------------------------------------------------------------


def test_an_edit_is_reported_and_kept(any_kibana):
    told(any_kibana, "import")
    retitle(any_kibana, DASHBOARD, "mine")
    before, since = kept(any_kibana), len(any_kibana.asked)
    failed = to(any_kibana, "import")
    assert failed.code == 1
    assert failed.error["error"] == "nothing was written: 1 drifted"
    assert "edited there since" in failed.error["why"]
    assert "--on-conflict" in failed.error["hint"]
    assert "drifted      dashboard elkkit: Live run" in failed.out
    assert (kept(any_kibana), asked_to_write(any_kibana, since)) == (before, [])
    skipped = told(any_kibana, "import", "--on-conflict", "skip")
    assert (skipped.code, skipped.counts()["drifted"], kept(any_kibana)) == (0, 1, before)
    assert told(any_kibana, "import").code == 1  # it is still known as an edit
    change = told(any_kibana, "import").steps("drifted")[0]["changes"]
    assert [c["path"] for c in change] == ["title"]


def test_an_edit_keeps_all_else_from_being_written(fake, file, tmp_path):
    told(fake, "import", file)
    retitle(fake, ("dashboard", "d"))
    before = kept(fake)
    newer = write(tmp_path / "small.ndjson", *small(), search("new"))
    assert told(fake, "import", newer).code == 1
    assert kept(fake) == before
    assert told(fake, "import", newer, "--on-conflict", "skip").code == 0
    assert set(kept(fake)) - set(before) == {("search", "new")}


def test_overwrite(any_kibana):
    told(any_kibana, "import")
    whole = kept(any_kibana)
    retitle(any_kibana, DASHBOARD, "mine")
    over = told(any_kibana, "import", "--on-conflict", "overwrite")
    assert (over.code, over.data["applied"][0]["updated"]) == (0, ["dashboard:elkkit-lane-eval-live-run"])
    assert kept(any_kibana) == whole
    assert list(told(any_kibana, "import").counts()) == ["unchanged"]


def test_copy_is_idempotent(any_kibana, file):
    told(any_kibana, "import", file)
    retitle(any_kibana, ("search", "s"), "mine")
    before = kept(any_kibana)
    copied = told(any_kibana, "import", file, "--on-conflict", "copy")
    assert (copied.code, len(copied.data["applied"][0]["created"])) == (0, 2)
    assert {k: v for k, v in kept(any_kibana).items() if k in before} == before
    new = {k: any_kibana.store.kept[k] for k in set(kept(any_kibana)) - set(before)}
    assert {s.attributes["title"] for s in new.values()} == {"a search (copy)", "a dashboard (copy)"}
    shown = next(s for s in new.values() if s.type == "dashboard")
    copies_of_search = [k[1] for k in new if k[0] == "search"]
    assert sorted(r["id"] for r in shown.references) == sorted([*copies_of_search, "t"])
    whole = kept(any_kibana)
    again = told(any_kibana, "import", file, "--on-conflict", "copy")
    assert (again.code, again.data["applied"][0]["created"], kept(any_kibana)) == (0, [], whole)
    assert not any(s["action"] == "orphan" for s in told(any_kibana, "import", file).data["spaces"][0]["steps"])


def test_update_of_only_ours(any_kibana, tmp_path):
    file = write(tmp_path / "f.ndjson", *small())
    told(any_kibana, "import", file)
    write(file, view(), search(title="better"), search("t", title="another"), board("d", "s", "t"))
    updated = told(any_kibana, "import", file)
    assert (updated.code, updated.counts()) == (0, {"update": 1, "unchanged": 3})
    assert any_kibana.store.kept["search", "s"].attributes["title"] == "better"
    assert list(told(any_kibana, "import", file).counts()) == ["unchanged"]


def test_what_was_there_before_is_not_ours(fake, file):
    """Without a record an object that differs is somebody's."""
    fake.store.put({**view(title="theirs-*"), "stamp": None}, "default")
    before = kept(fake)
    found = told(fake, "import", file)
    assert (found.code, found.counts()) == (1, {"create": 3, "drifted": 1})
    assert "no record" in found.steps("drifted")[0]["why"]
    assert kept(fake) == before


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_dry_run_writes_nothing(any_kibana, state):
    found = told(any_kibana, "import", "--dry-run")
    assert (found.code, found.data["dry_run"], found.data["applied"]) == (0, True, [])
    assert list(found.counts()) == ["create"]
    assert found.data["dashboards"] == []
    assert any_kibana.store.kept == {}
    assert {p.rpartition("/")[2] for _, p in asked_to_write(any_kibana)} == {"_import"}  # the question, and no more
    assert not state.exists()
    said = to(any_kibana, "import", "--dry-run")
    assert "the server was asked, nothing was written" in said.err


def test_dry_run_of_an_edit_says_no(fake, file):
    told(fake, "import", file)
    retitle(fake, ("search", "s"))
    before = kept(fake)
    for more in ((), ("--on-conflict", "overwrite"), ("--on-conflict", "copy")):
        found = told(fake, "import", file, "--dry-run", *more)
        assert (found.code, kept(fake)) == (0 if more else 1, before)


def test_offline_asks_nobody(fake, file):
    for words in ((), ("--target-version", "8.12"), ("--target-version", "7.10"), (file,)):
        found = told(fake, "import", "--offline", *words)
        assert (found.code, found.data["asked"], found.data["faults"]) == (0, "files only", [])
    assert fake.asked == []
    refused = told(fake, "import", "--offline", "--bundle", "lens", "--target-version", "7.10.2")
    assert refused.code == 1
    assert {f["object"].split(":")[0] for f in refused.data["faults"]} == {"lens", "dashboard"}
    unknown = to(fake, "import", "--offline", "--target-version", "9.3")
    assert unknown.code == 0
    assert "they were not checked" in unknown.err
    assert "no server was asked" in unknown.err
    assert fake.asked == []
    assert run("import-dashboards", "--offline").code == 0  # without any address


@pytest.mark.parametrize(
    "words",
    [("--target-version", "8.12"), ("--offline", "--target-version", "new"), ("--on-conflict", "merge"),
     ("--only", "panels"), ("--map-ref", "x"), ("--map-ref", "a=b", "--map-ref", "a=c"), ("--bundle", "vega"),
     ("--on-conflict", "")],
)  # fmt: skip
def test_words_that_are_not_understood(fake, words):
    found = to(fake, "import", *words)
    assert found.code == 2
    assert found.error
    assert fake.asked == []


def test_no_kibana_is_named():
    found = run("import-dashboards")
    assert found.code == 2
    assert "--kibana-url" in found.error["hint"]


def test_only(any_kibana):
    found = told(any_kibana, "import", "--only", "data-views")
    assert {s["type"] for s in found.data["spaces"][0]["steps"]} == {"index-pattern"}
    found = told(any_kibana, "import", "--only", "searches,data-views")
    assert {s["type"] for s in found.data["spaces"][0]["steps"]} == {"index-pattern", "search", "query"}
    assert {k[0] for k in any_kibana.store.kept} == {"index-pattern", "search", "query"}
    rest = told(any_kibana, "import", "--only", "dashboards")  # what it refers to is there
    assert (rest.code, list(rest.counts())) == (0, ["create"])
    assert list(told(any_kibana, "import").counts()) == ["unchanged"]


def test_only_what_refers_to_nothing_there_is_refused(fake):
    found = to(fake, "import", "--only", "dashboards")
    assert found.code == 1
    assert "elkkit-lane-eval" in found.error["why"]
    assert fake.store.kept == {}


def test_map_ref(any_kibana, tmp_path):
    file = write(tmp_path / "f.ndjson", search("s", "theirs"), board("d", "s"))
    missing = told(any_kibana, "import", file)
    assert (missing.code, missing.counts()) == (1, {"blocked": 2})
    any_kibana.store.put({**view("ours"), "stamp": None}, "default")
    for words in (("theirs=ours",), ("index-pattern:theirs=index-pattern:ours",)):
        found = told(any_kibana, "import", file, "--map-ref", *words)
        assert found.code == 0
    assert any_kibana.store.kept["search", "s"].references[0]["id"] == "ours"
    assert found.counts() == {"unchanged": 2}


# --- from one bundle to the other ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.3.3", "8.12.2"])
def test_from_classic_to_lens(version):
    with FakeKibana(version) as fake:
        told(fake, "import", "--bundle", "classic")
        found = told(fake, "import")
        assert found.code == 0
        orphans = {s["type"] for s in found.steps("orphan")}
        assert orphans == {"visualization"}
        assert len(fake.store.kept) > SIZES["lens"]
        edited = next(s["id"] for s in found.steps("orphan"))
        retitle(fake, ("visualization", edited), "mine")
        said = to(fake, "import")
        assert "left from an earlier import; remove them: --prune" in said.err
        pruned = told(fake, "import", "--prune")
        assert pruned.code == 0
        assert [s["id"] for s in pruned.steps("orphan")] == [edited]
        assert len(fake.store.kept) == SIZES["lens"] + 1
        last = told(fake, "import", "--prune")
        assert last.counts() == {"unchanged": SIZES["lens"], "orphan": 1}
        undone = told(fake, "rollback")
        assert undone.code == 0
        assert len(fake.store.kept) == SIZES["lens"] + len(found.steps("orphan"))


def test_prune_of_a_file(fake, tmp_path):
    file = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", file)
    fake.store.put({**view("other"), "stamp": None}, "default")
    write(file, view(), search(), board("d", "s"))
    told(fake, "import", file)
    assert ("search", "t") in fake.store.kept
    dry = told(fake, "import", file, "--prune", "--dry-run")
    assert [s["id"] for s in dry.steps("remove")] == ["t"]
    assert ("search", "t") in fake.store.kept
    told(fake, "import", file, "--prune")
    assert set(fake.store.kept) == {("index-pattern", "dv"), ("index-pattern", "other"), ("search", "s"),
                                    ("dashboard", "d")}  # fmt: skip
