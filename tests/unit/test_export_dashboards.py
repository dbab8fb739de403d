"""`elkkit export-dashboards`: the whole road to a folder and back, and a folder where nothing of a user's is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.contract import load_contract
from elkkit.errors import InputError
from elkkit.kibana import TARGETS, bundle
from elkkit.kibana.folder import file_name, from_text, to_text
from elkkit.kibana.order import key_of, line
from elkkit.stack.kibana import Kibana, KibanaConnection, connect
from elkkit.stack.kibanalist import list_objects
from elkkit.usecases import exporting
from elkkit.usecases.exporting import dashboard_keys, everything, export_folder, own_keys
from elkkit.usecases.saved_objects import read_sources
from fakes.kibana import FakeKibana, Fault
from lines import SHARED

VERSIONS = ["7.10.2", "8.3.3", "8.12.2"]
BUNDLES = SHARED / "kibana-exchanges" / "bundles"
RECORDED = {"7.10.2": ["bundle-a-7.10"], "8.3.3": ["bundle-a-7.10", "bundle-b-7.10", "bundle-b-8.3"],
            "8.12.2": ["bundle-a-7.10", "bundle-b-7.10", "bundle-b-8.3", "bundle-b-8.6"]}  # fmt: skip
CONTRACT = load_contract()


@pytest.fixture(autouse=True)
def no_memory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine's user imported is nobody's business here."""
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeKibana]:
    with FakeKibana(request.param) as running:
        yield running


@pytest.fixture
def modern() -> Iterator[FakeKibana]:
    with FakeKibana("8.12.2") as running:
        yield running


def opened(fake: FakeKibana) -> Kibana:
    return connect(KibanaConnection(fake.url, timeout=10))


def put(kibana: Kibana, objects: Any, space: str | None = None, *, overwrite: bool = True) -> None:
    reply = kibana.import_objects([line(o) for o in objects], overwrite=overwrite, space=space)
    assert reply.written == "all", reply.problems


def saved(kind: str, ident: str, *links: tuple[str, str], **attributes: Any) -> dict[str, Any]:
    attributes = {"name" if kind == "tag" else "title": ident, **attributes}
    references = [{"name": f"n{i}", "type": t, "id": n} for i, (t, n) in enumerate(links)]
    return {"type": kind, "id": ident, "attributes": attributes, "references": references}


def dashboard(ident: str, *links: tuple[str, str], **attributes: Any) -> dict[str, Any]:
    return saved("dashboard", ident, *links, panelsJSON="[]", **attributes)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run(fake: FakeKibana, *arguments: Any) -> Any:
    return CliRunner().invoke(app, ["export-dashboards", "--kibana-url", fake.url, *map(str, arguments)])


# --- the whole road --------------------------------------------------------------------------------------------------


def road(fake: FakeKibana, folder: Path) -> None:
    """What is there is exported, deleted, imported from the files, and is the same; three times over."""
    with opened(fake) as kibana:
        first = export_folder(kibana, None, folder / "a")
        assert first.counts == {"new": len(fake.store.kept)}
        assert first.missing_references == ()
        sources = read_sources([folder / "a"])
        assert sources.problems == []
        put(kibana, sources.objects)
        again = export_folder(kibana, None, folder / "a")
        assert again.counts == {"unchanged": len(fake.store.kept)}
        keys = everything(kibana)
        deleted = kibana.delete(keys)
        assert len(deleted.done) + len(deleted.failed) == len(keys)
        assert {i for _, i in deleted.failed} <= {".", ".."}
        for kind, ident in deleted.failed:
            fake.store.delete(kind, ident, "default")
        put(kibana, sources.objects, overwrite=False)
        export_folder(kibana, None, folder / "b")
        assert contents(folder / "b") == contents(folder / "a") != {}
    with FakeKibana(fake.version) as other, opened(other) as kibana:
        put(kibana, sources.objects)
        export_folder(kibana, None, folder / "c")
    assert contents(folder / "c") == contents(folder / "a")
    for path, data in contents(folder / "a").items():
        item = from_text(data.decode())
        assert str(file_name(*key_of(item))) == path
        assert to_text(item).encode() == data


@pytest.mark.parametrize(("version", "target"), [("7.10.2", "classic"), *product(["8.3.3", "8.12.2"], TARGETS)])
def test_our_bundles_go_the_whole_road(tmp_path, version, target):
    with FakeKibana(version) as fake:
        with opened(fake) as kibana:
            put(kibana, bundle(CONTRACT, target))
        road(fake, tmp_path)


@pytest.mark.skipif(not BUNDLES.is_dir(), reason="shared/ is absent")
@pytest.mark.parametrize(("version", "name"), [(v, n) for v, names in RECORDED.items() for n in names])
def test_recorded_bundles_go_the_whole_road(tmp_path, version, name):
    with FakeKibana(version) as fake:
        with opened(fake) as kibana:
            put(kibana, read_sources([BUNDLES / f"{name}.ndjson"]).objects)
        road(fake, tmp_path)


def test_hostile_objects_go_the_whole_road(tmp_path, modern):
    objects = [saved("tag", n) for n in ("../../etc/passwd", "CON", "con", "x" * 5_000, "a/b", ".", "..", "\u202e", "é",
                                         "e\u0301", "Abc", "abc", "a\nb", "~", "-rf", "\0")]  # fmt: skip
    objects += [saved("search", "s", kibanaSavedObjectMeta={"searchSourceJSON": '{"a":1.0,"b":[1e21,"\\ud800"]}'}),
                saved("search", "t", title="\x1b[2J", kibanaSavedObjectMeta={"searchSourceJSON": '{"a":1,"a":2}'}),
                dashboard("d", optionsJSON='["no object"]')]  # fmt: skip
    with opened(modern) as kibana:
        put(kibana, objects)
    road(modern, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "c"}
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"tag", "search", "dashboard"}


def test_a_view_of_a_dashboard_in_kibana_7_changes_no_file(tmp_path):
    with FakeKibana("7.10.2") as fake, opened(fake) as kibana:
        put(kibana, bundle(CONTRACT, "classic"))
        export_folder(kibana, None, tmp_path)
        (view,) = [s for s in fake.store.kept.values() if s.type == "index-pattern"]
        view.attributes["fields"] = json.dumps([{"name": "x", "type": "number", "count": 3, "scripted": False}])
        assert set(export_folder(kibana, None, tmp_path).counts) == {"unchanged"}


# --- what is exported ------------------------------------------------------------------------------------------------


def test_our_own_objects_are_the_default(tmp_path, fake):
    target = "classic" if fake.version == "7.10.2" else "lens"
    with opened(fake) as kibana:
        put(kibana, [*bundle(CONTRACT, target), dashboard("mine")])
        keys = own_keys(kibana, CONTRACT)
        assert sorted(keys) == sorted(map(key_of, bundle(CONTRACT, target)))
        done = export_folder(kibana, keys, tmp_path)
        assert len(done.files) == len(keys)
    assert not list(tmp_path.rglob("mine*"))


def test_what_users_added_to_our_dashboards_comes_along(tmp_path, modern):
    with opened(modern) as kibana:
        put(kibana, bundle(CONTRACT, "classic"))
        (ours,) = [s for s in modern.store.kept.values() if s.id.endswith("live-run")]
        put(kibana, [saved("visualization", "theirs", visState="{}")])
        ours.references.append({"name": "9:panel_9", "type": "visualization", "id": "theirs"})
        export_folder(kibana, own_keys(kibana, CONTRACT), tmp_path)
    assert (tmp_path / "visualization" / "theirs.json").exists()


def test_objects_with_other_ids_in_a_space_are_found_by_memory_or_origin(tmp_path, modern):
    modern.spaces["team"] = {"id": "team", "name": "Team"}
    items = bundle(CONTRACT, "lens")
    with opened(modern) as kibana:
        put(kibana, items)
        put(kibana, items, "team")
        ids = {(s.type, s.origin): s.id for s in modern.store.kept.values() if s.space == "team"}
        assert len(ids) == len(items)
        by_origin = own_keys(kibana, CONTRACT, space="team")
        by_memory = own_keys(kibana, CONTRACT, space="team", ids=ids)
        assert set(by_origin) == set(by_memory) == {(t, i) for (t, _), i in ids.items()}
        for space, keys in (("team", by_memory), (None, own_keys(kibana, CONTRACT))):
            folder = tmp_path / (space or "default")
            export_folder(kibana, keys, folder, space=space)
            assert len(contents(folder)) == len(items)
        put(kibana, read_sources([tmp_path / "team"]).objects, "team")
        assert set(export_folder(kibana, by_memory, tmp_path / "team", space="team").counts) == {"unchanged"}
        for one in modern.store.kept.values():
            one.origin = None
        assert own_keys(kibana, CONTRACT, space="team", ids=ids) == by_memory
        with pytest.raises(InputError, match="nothing to export"):
            own_keys(kibana, CONTRACT, space="team")


def test_one_dashboard_with_all_that_it_refers_to(tmp_path, fake):
    with opened(fake) as kibana:
        put(kibana, [saved("index-pattern", "v"), saved("search", "s", ("index-pattern", "v"))])
        put(kibana, [saved("search", "other"), dashboard("d", ("search", "s"), title="My Board")])
        titles = {"e": "my board", "f": "Twice", "g": "Twice", "Twice": "h"}
        put(kibana, [dashboard(ident, title=title) for ident, title in titles.items()])
        assert dashboard_keys(kibana, ["My Board", "d"]) == [("dashboard", "d")]
        assert dashboard_keys(kibana, ["my board"]) == [("dashboard", "e")]
        assert dashboard_keys(kibana, ["Twice", "H"]) == [("dashboard", "Twice")], "an id goes before a title"
        for name, why in (("MY BOARD", "d, e"), ("TWICE", "f, g"), ("Mi Board", "did you mean"), ("", "5 dashboards")):
            with pytest.raises(InputError) as caught:
                dashboard_keys(kibana, [name])
            assert why in str(caught.value.why)
    done = run(fake, tmp_path, "--dashboard", "My Board")
    assert done.exit_code == 0, done.stderr
    assert set(contents(tmp_path)) == {"index-pattern/v.json", "search/s.json", "dashboard/d.json"}


def test_all_is_every_type_that_this_kibana_has(tmp_path, fake):
    kinds = [k for k in exporting.KINDS if k in fake.rules.types]
    with opened(fake) as kibana:
        put(kibana, [saved(kind, f"a {kind}") for kind in kinds if kind not in ("dashboard", "lens")])
        put(kibana, [dashboard("a dashboard"), saved("url", "not this")])
        assert list_objects(kibana, "no-such-type") == []
    done = run(fake, tmp_path, "--all")
    assert done.exit_code == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == set(kinds) - {"lens"}


def test_many_objects_are_asked_for_in_parts(tmp_path, modern, monkeypatch):
    monkeypatch.setattr(exporting, "_AT_ONCE", 3)
    with opened(modern) as kibana:
        put(kibana, [saved("tag", f"{n:02}") for n in range(10)])
        assert export_folder(kibana, None, tmp_path).counts == {"new": 10}
    assert len([path for _, path in modern.asked if path.endswith("_export")]) == 4


def test_nothing_to_export_says_what_to_do(tmp_path, fake):
    for arguments in ([], ["--all"], ["--dashboard", "x"]):
        done = run(fake, tmp_path / "new", *arguments)
        assert done.exit_code == 2
        assert [row.partition(":")[0] for row in done.stderr.splitlines()[-3:]] == ["error", "why", "hint"]
    assert not (tmp_path / "new").exists()


def test_missing_references_are_told(tmp_path, modern):
    with opened(modern) as kibana:
        put(kibana, [dashboard("d", ("visualization", "lost"))])
    done = run(modern, tmp_path, "--all")
    assert done.exit_code == 0
    assert "warning: visualization lost is referred to and is not there" in done.stderr
    result = json.loads(run(modern, tmp_path, "--all", "--json").stdout)
    assert result["data"]["missing_references"] == [{"type": "visualization", "id": "lost"}]


def test_what_no_file_can_hold_is_left_out_and_told(tmp_path, modern):
    state: Any = 1
    for _ in range(300):
        state = [state]
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "good"), saved("canvas-workpad", "deep", pages=state)])
        done = export_folder(kibana, [("tag", "good"), ("canvas-workpad", "deep")], tmp_path)
    assert done.left_out == ((("canvas-workpad", "deep"), "it is nested too deeply"),)
    assert set(contents(tmp_path)) == {"tag/good.json"}


# --- the folder ------------------------------------------------------------------------------------------------------


@pytest.fixture
def there(tmp_path: Path, modern: FakeKibana) -> Path:
    """A folder with an export of three tags, and a user's own files."""
    with opened(modern) as kibana:
        put(kibana, [saved("tag", n) for n in "abc"])
    folder = tmp_path / "objects"
    assert run(modern, folder, "--all").exit_code == 0
    (folder / "README.md").write_text("mine")
    (folder / "tag" / "mine.json").write_text("{}")
    (folder / "tag" / "moved.json").write_text(to_text(saved("tag", "d")))
    (folder / "dashboard").mkdir()
    (folder / "dashboard" / "x.json").write_text("not JSON")
    return folder


def test_a_second_time_nothing_changes(modern, there):
    before = {p: p.stat().st_mtime_ns for p in there.rglob("*")}
    done = run(modern, there, "--all")
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "3 unchanged" in done.stderr
    assert f"next: elkkit import-dashboards {there}" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in there.rglob("*")} == before


def test_a_file_that_differs_is_kept_and_nothing_is_written(modern, there):
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a", color="#fff"), saved("tag", "new")])
        kibana.delete([("tag", "c")])
    (there / "tag" / "b.json").write_text("edited by hand")
    before = contents(there)
    for arguments in (["--all"], ["--all", "--dry-run"], ["--all", "--prune"]):
        done = run(modern, there, *arguments)
        assert done.exit_code == 1
        assert "tag/a.json, tag/b.json" in done.stderr
        assert "--overwrite" in done.stderr
        assert contents(there) == before
    result = json.loads(run(modern, there, "--all", "--json").stdout)
    assert (result["status"], result["exit_code"], result["data"]["written"]) == ("partial", 1, False)
    assert {f["path"]: f["action"] for f in result["data"]["files"]} == {
        "tag/a.json": "differs", "tag/b.json": "differs", "tag/new.json": "new", "tag/c.json": "gone"}  # fmt: skip


def test_overwrite_replaces_and_prune_removes_only_what_is_gone(modern, there):
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a", color="#fff"), dashboard("not asked for")])
        kibana.delete([("tag", "c")])
    before = contents(there)
    assert run(modern, there, "--all", "--overwrite", "--prune", "--dry-run").exit_code == 0
    assert contents(there) == before
    done = run(modern, there, "--all", "--overwrite")
    assert done.exit_code == 0
    assert "1 new, 1 changed, 1 unchanged, 1 gone" in done.stderr
    assert "--prune" in done.stderr
    assert from_text((there / "tag" / "a.json").read_text())["attributes"]["color"] == "#fff"
    assert (there / "tag" / "c.json").exists()
    with opened(modern) as kibana:
        part = export_folder(kibana, [("tag", "a")], there, prune=True)
    assert part.counts == {"unchanged": 1, "removed": 1}, "b is there and was not asked for; c is gone"
    assert set(contents(there)) == set(before) - {"tag/c.json"} | {
        str(file_name("dashboard", "not asked for"))}  # fmt: skip


def test_an_empty_folder_of_a_type_goes_too(modern, tmp_path):
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a"), saved("search", "s")])
        export_folder(kibana, None, tmp_path)
        kibana.delete([("search", "s")])
        export_folder(kibana, None, tmp_path, prune=True)
    assert [p.name for p in tmp_path.iterdir()] == ["tag"]


def test_a_dry_run_makes_no_folder(modern, tmp_path):
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a")])
    done = run(modern, tmp_path / "new", "--all", "--dry-run")
    assert done.exit_code == 0
    assert "1 new; nothing was written" in done.stderr
    assert "tag/a.json" in done.stdout
    assert not (tmp_path / "new").exists()


def test_links_lead_no_file_out_of_the_folder(modern, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.json").write_text("theirs")
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a"), saved("search", "b")])
        for name, target in (("tag", outside), ("search/b.json", outside / "b.json")):
            folder = tmp_path / "folder"
            shutil.rmtree(folder, ignore_errors=True)
            (folder / name).parent.mkdir(parents=True)
            (folder / name).symlink_to(target)
            with pytest.raises(InputError, match="link"):
                export_folder(kibana, None, folder, overwrite=True, prune=True)
            assert contents(outside) == {"b.json": b"theirs"}
            assert contents(folder) in ({}, {"search/b.json": b"theirs"}), "nothing of it is left half-done"


def test_a_disk_that_fails_leaves_the_folder_as_it_was(modern, there, monkeypatch):
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a", color="#fff"), saved("tag", "b", color="#000")])
        before, calls = contents(there), []

        def full(_: int) -> None:
            calls.append(1)
            if len(calls) == 2:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(exporting.os, "fsync", full)
        with pytest.raises(Exception, match="No space left"):
            export_folder(kibana, None, there, overwrite=True)
    assert contents(there) == before


def test_a_file_that_appears_meanwhile_is_kept(modern, tmp_path, monkeypatch):
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a")])
        real = exporting.os.fsync

        def appear(number: int) -> None:
            (tmp_path / "tag" / "a.json").write_text("theirs")
            real(number)

        monkeypatch.setattr(exporting.os, "fsync", appear)
        with pytest.raises(InputError, match="just now"):
            export_folder(kibana, None, tmp_path)
    assert contents(tmp_path) == {"tag/a.json": b"theirs"}


def test_folders_that_are_none(modern, tmp_path):
    (tmp_path / "file").write_text("x")
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a")])
        for folder, why in ((tmp_path / "file", "no folder"), (Path("a\0b"), "zero"),
                            (tmp_path / "file" / "x", "Not a directory")):  # fmt: skip
            with pytest.raises(InputError, match=why):
                export_folder(kibana, None, folder)
    assert (tmp_path / "file").read_text() == "x"


# --- the command -----------------------------------------------------------------------------------------------------


def test_what_the_command_says(modern, tmp_path):
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a", name="\x1b[2J evil")])
    done = run(modern, tmp_path / "it's", "--all")
    assert "\x1b" not in done.stdout + done.stderr
    assert "tag/a.json  \\x1b[2J evil" in done.stdout
    assert done.stderr.splitlines()[-1] == f"next: elkkit import-dashboards '{tmp_path}/it'\"'\"'s'"
    result = json.loads(run(modern, tmp_path / "it's", "--all", "--json").stdout)
    assert result["status"] == "success"
    assert result["data"]["counts"] == {"unchanged": 1}
    assert result["data"]["files"][0]["id"] == "a"


def test_a_space(modern, tmp_path):
    modern.spaces["team"] = {"id": "team", "name": "Team"}
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a")])
        put(kibana, [saved("tag", "b")], "team")
    done = run(modern, tmp_path, "--all", "--space", "team")
    assert set(contents(tmp_path)) == {"tag/b.json"}
    assert done.stderr.splitlines()[-1].endswith("--space team")
    for arguments in (["--all"], ["--dashboard", "x"], []):
        done = run(modern, tmp_path, "--space", "none", *arguments)
        assert (done.exit_code, 'there is no space "none"' in done.stderr) == (2, True)


def test_the_default_finds_what_elkkit_remembers(tmp_path, modern):
    from elkkit.kibana.plan import Entry
    from elkkit.stack.kibanamemory import Memory

    (first, *_) = bundle(CONTRACT, "lens")
    with opened(modern) as kibana:
        put(kibana, [{**first, "id": "another"}])
        memory = Memory(kibana.connection.url, "default")
        memory.entries[key_of(first)] = Entry("another", "", "", "elkkit lens", "2026-11-22T10:00:00Z")
        memory.save()
    assert run(modern, tmp_path).exit_code == 0
    assert set(contents(tmp_path)) == {f"{first['type']}/another.json"}


def test_options_that_exclude_each_other(modern, tmp_path):
    done = run(modern, tmp_path, "--all", "--dashboard", "x")
    assert (done.exit_code, "exclude each other" in done.stderr) == (2, True)


def test_nothing_of_the_connection_is_written(tmp_path, monkeypatch):
    import base64

    with FakeKibana("8.12.2") as fake:
        with opened(fake) as kibana:
            put(kibana, [saved("tag", "a")])
        fake.credentials = "Basic " + base64.b64encode(b"elastic:s3cr3t").decode()
        monkeypatch.setenv("ELKKIT_ES_USER", "elastic")
        monkeypatch.setenv("ELKKIT_ES_PASSWORD", "s3cr3t")
        done = run(fake, tmp_path, "--all", "--json", "-v")
        assert done.exit_code == 0
        told = done.stdout + done.stderr + "".join(map(str, contents(tmp_path).values()))
        assert "s3cr3t" not in told
        assert fake.url not in "".join(map(str, contents(tmp_path).values()))
        monkeypatch.setenv("ELKKIT_ES_PASSWORD", "wr0ng")
        done = run(fake, tmp_path, "--all")
        assert (done.exit_code, "wr0ng" in done.stderr) == (4, False)


@pytest.mark.parametrize(("fault", "code"), [
    (Fault.FORBIDDEN, 4), (Fault.LOGIN_PAGE, 2), (Fault.BAD_GATEWAY, 3), (Fault.CRASH, 3), (Fault.CUT, 3),
    (Fault.GARBLED, 2), (Fault.RESET, 3), (Fault.BUSY, 3),
])  # fmt: skip
@pytest.mark.parametrize("where", ["_find", "_export"])
def test_a_server_that_fails_leaves_no_file(modern, tmp_path, fault, code, where):
    with opened(modern) as kibana:
        put(kibana, [saved("tag", "a")])
    modern.fail(fault, times=50, only=where)
    done = run(modern, tmp_path, "--all")
    assert done.exit_code == code, done.stderr
    assert [row.partition(":")[0] for row in done.stderr.splitlines()[-3:]] == ["error", "why", "hint"]
    assert contents(tmp_path) == {}
