"""Imports that are cut off, that meet each other, that find no room on the disk; and what secrets they let out."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elkkit.stack import kibana as kibana_module
from elkkit.stack import kibanamemory
from elkkit.stack.kibanamemory import Memory
from elkkit.usecases import applying
from fakes.kibana import FakeKibana, Fault
from importing import MODERN, VERSIONS, board, kept, retitle, run, search, small, to, told, view, write
from importing import written as asked_to_write

UPLOAD = "_resolve_import_errors"
SECRET = "s3cr3t-p4ssw0rd"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kibana_module, "_PAUSE", 0.02)
    monkeypatch.setattr(applying, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(applying, "_LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(applying.apply, "__kwdefaults__", {**applying.apply.__kwdefaults__, "give_up": 0.3})


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeKibana]:
    with FakeKibana(request.param) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "small.ndjson", *small())


# --- what may succeed later ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.UNAVAILABLE, Fault.BAD_GATEWAY, Fault.CUT, Fault.RESET,
                                   Fault.MEDIA_TYPE])  # fmt: skip
def test_it_is_tried_again(fake, file, fault):
    fake.fail(fault, times=2, only=UPLOAD)
    found = told(fake, "import", file)
    assert (found.code, len(found.data["applied"][0]["created"])) == (0, 4)
    assert "trying again" in found.err
    assert told(fake, "import", file).counts() == {"unchanged": 4}
    assert told(fake, "rollback").code == 0
    assert fake.store.kept == {}


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.FORBIDDEN, Fault.UNAUTHORIZED])
def test_it_is_given_up_and_nothing_was_written(fake, file, fault):
    fake.fail(fault, times=999, only=UPLOAD)
    found = to(fake, "import", file)
    assert found.code == (3 if fault is Fault.BUSY else 4)
    assert "0 objects were written" in found.error["why"]
    assert fake.store.kept == {}


def test_a_proxy_that_takes_little(fake):
    """Neither the question nor the import fits in one request."""
    fake.fail(Fault.TOO_LARGE, times=2, only="_import")
    fake.fail(Fault.TOO_LARGE, times=3, only=UPLOAD)
    found = told(fake, "import")
    assert found.code == 0
    assert len(fake.store.kept) == len(found.data["applied"][0]["created"]) > 50
    assert list(told(fake, "import").counts()) == ["unchanged"]
    assert told(fake, "rollback").code == 0
    assert fake.store.kept == {}


def test_it_dies_in_the_middle(fake, file):
    """It carried the import out, and nobody heard: then nobody may say that nothing was written."""
    uploads: list[str] = []

    def fault(path: str) -> Fault | None:
        gone = bool(uploads)
        uploads.extend([path] if UPLOAD in path else [])
        return Fault.RESET if gone else Fault.CUT if uploads else None

    fake.fault = fault
    found = to(fake, "import", file)
    assert found.code == 3
    assert "of 4 it is not known" in found.error["why"]
    fake.fault = lambda _path: None
    assert len(fake.store.kept) == 4
    (record,) = told(fake, "rollback", "--list").data["records"]
    assert record["status"] == "partial"
    assert told(fake, "rollback").code == 0
    assert fake.store.kept == {}


# --- a part of it ----------------------------------------------------------------------------------------------------


def test_a_partial_write_is_told_and_undone_on_request(fake, file):
    fake.store.refuse_write["search", "t"] = "disk usage exceeded flood-stage watermark"
    found = to(fake, "import", file)
    assert found.code == 1
    assert found.error["error"].startswith("1 objects were not written: 3 objects were written")
    assert "flood-stage" in found.error["why"]
    assert found.error["hint"].startswith("undo it: elkkit rollback-dashboards ")
    assert len(fake.store.kept) == 3
    assert run(*found.error["hint"].split()[3:], "--kibana-url", fake.url).code == 0
    assert fake.store.kept == {}


def test_atomic_after_a_partial_write(fake, tmp_path):
    file = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", file)
    before = kept(fake)
    fake.store.refuse_write["search", "t"] = "disk usage exceeded flood-stage watermark"
    write(file, view(title="new-*"), search(), search("t", title="new"), board("d", "s", "t"), search("u"))
    found = to(fake, "import", file, "--atomic")
    assert found.code == 1
    assert "all of that was undone" in found.error["error"]
    assert kept(fake) == before
    fake.store.refuse_write.clear()
    assert told(fake, "import", file).counts() == {"update": 2, "unchanged": 2, "create": 1}


def test_atomic_that_cannot_be_undone_does_not_say_so(fake, file):
    fake.store.refuse_write["search", "t"] = "flood-stage watermark"
    fake.fail(Fault.FORBIDDEN, times=9, only="/api/saved_objects/search/s")
    found = to(fake, "import", file, "--atomic")
    assert found.code == 1
    assert "was undone" not in found.error["error"]
    assert "it could not be undone" in found.err
    assert found.error["hint"].startswith("undo it: elkkit rollback-dashboards ")


# --- killed ----------------------------------------------------------------------------------------------------------

KILLED = """
import sys
from elkkit.usecases import applying
applying.BATCH_BYTES = 700
from elkkit.cli import app
app(sys.argv[1:])
"""


def kill_after_the_first_batch(fake: FakeKibana, *words: object) -> None:
    """Run an import in a process of its own, which ends by `kill -9` while the second batch is under way."""
    uploads = 0

    def fault(path: str) -> Fault | None:
        nonlocal uploads
        uploads += UPLOAD in path
        return Fault.HANG if UPLOAD in path and uploads > 1 else None

    fake.fault = fault  # type: ignore[method-assign]
    command = [sys.executable, "-c", KILLED, "import-dashboards", "--kibana-url", fake.url, *map(str, words)]
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root / "tools"), str(root / "scoring")])
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while uploads < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[1]
    fake.fault = lambda _path: None  # type: ignore[method-assign]
    assert uploads == 2, said.decode()


def test_killed_after_the_first_batch(file):
    with FakeKibana("8.3.3") as fake:
        fake.store.put({**view("theirs"), "stamp": None}, "default")
        before = kept(fake)
        kill_after_the_first_batch(fake, file)
        assert len(before) < len(fake.store.kept) < len(before) + 4
        (record,) = told(fake, "rollback", "--list").data["records"]
        assert record["status"] == "begun"
        assert told(fake, "rollback").code == 0
        assert kept(fake) == before
        assert told(fake, "import", file).counts() == {"create": 4}


def test_killed_and_run_again(file):
    with FakeKibana("8.12.2") as fake:
        kill_after_the_first_batch(fake, file)
        there = len(fake.store.kept)
        again = told(fake, "import", file)
        assert (again.code, again.counts()) == (0, {"create": 4 - there, "unchanged": there})


@pytest.mark.parametrize("version", MODERN)
def test_killed_in_a_space_where_the_ids_are_taken(version, file):
    """The server gave what it wrote other ids, which nobody could note."""
    with FakeKibana(version) as fake:
        fake.spaces["b"] = {"id": "b", "name": "b", "disabledFeatures": []}
        told(fake, "import", file)
        kill_after_the_first_batch(fake, file, "--space", "b")
        assert len(kept(fake, "b")) > 0
        assert told(fake, "rollback", "--space", "b").code == 0
        assert kept(fake, "b") == {}


# --- at once, no room, damage ----------------------------------------------------------------------------------------


def test_two_at_once(fake, file):
    told(fake, "import", write(file, view()))
    write(file, *small())
    before, asked = kept(fake), len(fake.asked)
    with Memory(fake.url).writing():
        for command in ("import", "rollback"):
            found = to(fake, command, *([file] if command == "import" else []))
            assert found.code == 3
            assert found.error["why"] == "another elkkit is changing it"
            assert "run the same command again" in found.error["hint"]
        assert to(fake, "import", file, "--dry-run").code == 0
    assert kept(fake) == before
    assert not any(UPLOAD in p or m == "DELETE" for m, p in fake.asked[asked:])
    assert told(fake, "import", file).code == 0


def test_changed_between_the_plan_and_the_import(fake, file, monkeypatch):
    told(fake, "import", file)
    write(file, view(title="new-*"), *small()[1:])
    begun = applying.in_order

    def meanwhile(objects: Any) -> Any:
        retitle(fake, ("index-pattern", "dv"), "mine-*")
        return begun(objects)

    monkeypatch.setattr(applying, "in_order", meanwhile)
    found = to(fake, "import", file)
    assert found.code == 3
    assert found.error["why"] == "index-pattern dv was changed meanwhile"
    assert fake.store.kept["index-pattern", "dv"].attributes["title"] == "mine-*"


@pytest.mark.parametrize("what", ["a file", "no room", "no room for the record"])
def test_no_state_no_import(fake, file, monkeypatch, tmp_path, what):
    if what == "a file":
        (tmp_path / "taken").write_text("x")
        monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "taken" / "state"))
    else:
        _full(monkeypatch, lambda name: what == "no room" or name == "record.json")
    found = to(fake, "import", file)
    assert found.code == 2
    assert "ELKKIT_STATE" in found.error["hint"]
    assert fake.store.kept == {}
    assert not any(UPLOAD in p for _, p in fake.asked)
    assert told(fake, "import", file, "--dry-run").code == (2 if what == "a file" else 0)


def _full(monkeypatch: pytest.MonkeyPatch, when: Any) -> None:
    """A disk that is full for some files."""
    write_one = kibanamemory._write

    def fails(path: Path, data: bytes) -> None:
        if when(path.name):
            with kibanamemory._storing(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_one(path, data)

    monkeypatch.setattr(kibanamemory, "_write", fails)


def test_the_disk_fills_up_on_the_way(fake, file, monkeypatch):
    """What is on the server by then must be told, with how to undo it."""
    with monkeypatch.context() as patched:
        _full(patched, lambda name: name == "memory.json")
        found = to(fake, "import", file)
    assert found.code == 2
    assert "No space left" in found.error["why"]
    assert "4 objects were written" in found.error["why"]
    assert found.error["hint"].startswith("undo it: elkkit rollback-dashboards ")
    assert told(fake, "rollback").code == 0
    assert fake.store.kept == {}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', "null", '{"format": 2}', '{"format": 1}', '{"format": 1, "entries": []}', "[" * 5000,
     '{"format": 1, "entries": {"search:s": {}}}', '{"format": 1, "entries": {"search:s": "x"}}',
     '{"format": 1, "entries": {"search:s": {"there": 5, "sent": "", "kept": "", "source": "", "when": ""}}}'],
)  # fmt: skip
def test_a_damaged_memory(file, state, text):
    with FakeKibana("8.3.3") as fake:
        told(fake, "import", file)
        (memory,) = state.rglob("memory.json")
        memory.write_text(text)
        before, asked = kept(fake), len(fake.asked)
        for command, words in (("import", [file]), ("diff", [file]), ("remove", ["--yes"]), ("rollback", [])):
            found = to(fake, command, *words)
            assert found.code == 2, command
            assert "memory.json" in found.error["error"]
        assert kept(fake) == before
        assert asked_to_write(fake, asked) == []


@pytest.mark.parametrize("text", ["", "[]", '"x"', '{"format": 1}', '{"format": 1, "touched": 5, "existed": []}'])
def test_a_damaged_record_is_left_out(file, state, text):
    with FakeKibana("8.3.3") as fake:
        told(fake, "import", file)
        (record,) = state.rglob("record.json")
        record.write_text(text)
        assert told(fake, "rollback", "--list").data["records"] == []
        assert to(fake, "rollback").code == 2
        assert len(fake.store.kept) == 4


def test_a_hostile_version_reaches_no_terminal(file, state):
    with FakeKibana("8.3.3") as fake:
        told(fake, "import", file)
        (record,) = state.rglob("record.json")
        record.write_text(json.dumps({**json.loads(record.read_text()), "kibana": "Kibana \x1b[2J\x9b"}))
        assert "\x1b" not in to(fake, "rollback", "--list").out


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["key", "password", "address"])
@pytest.mark.parametrize("fault", [None, Fault.UNAUTHORIZED, Fault.FORBIDDEN, Fault.CRASH, Fault.RESET,
                                   Fault.LOGIN_PAGE, Fault.GARBLED])  # fmt: skip
def test_secrets_go_nowhere(file, state, tmp_path, monkeypatch, how, fault):
    with FakeKibana("8.12.2") as fake:
        url = fake.url
        if how == "key":
            monkeypatch.setenv("ELKKIT_API_KEY", SECRET)
            fake.credentials = f"ApiKey {SECRET}"
        else:
            fake.credentials = "Basic bGFuZTpzM2NyM3QtcDRzc3cwcmQ="
            monkeypatch.setenv("ELKKIT_ES_USER", "lane")
            monkeypatch.setenv("ELKKIT_ES_PASSWORD", SECRET)
            if how == "address":
                monkeypatch.delenv("ELKKIT_ES_USER")
                monkeypatch.delenv("ELKKIT_ES_PASSWORD")
                url = url.replace("//", f"//lane:{SECRET}@")
        monkeypatch.setenv("ELKKIT_KIBANA_URL", url)
        said, texts = [], []
        loud = ("-vv", "--debug")
        for words in (["import-dashboards", file], ["import-dashboards", file, "--json"], ["diff-dashboards", file],
                      ["export-dashboards", tmp_path / "export"], ["rollback-dashboards", "--list"],
                      ["rollback-dashboards"], ["import-dashboards", file],
                      ["remove-dashboards", "--yes"]):  # fmt: skip
            if fault is not None:
                fake.fail(fault, only="_" if words[0] != "remove-dashboards" else "/search/")
                failed = run(*words, *loud)
                said += [failed.out, failed.err]
                fake._faults.clear()
            found = run(*words, *loud)
            said += [found.out, found.err]
            folders = (state, tmp_path / "export")
            texts += [p.read_bytes() for folder in folders for p in folder.rglob("*") if p.is_file()]
    assert len(texts) > 20
    names = " ".join(str(p) for p in state.rglob("*"))
    for text in (*(s.encode() for s in said), *texts, names.encode()):
        for secret in (SECRET, "bGFuZTpzM2NyM3QtcDRzc3cwcmQ"):
            assert secret.encode() not in text


def test_state_is_for_this_user_alone(fake, file, state):
    told(fake, "import", file)
    for path in [state, *state.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
