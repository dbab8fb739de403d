"""What is no import at all: each a three-line error with the next command, and nothing written."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from elkkit.stack import kibana as kibana_module
from fakes.kibana import FakeKibana, Fault, Health
from importing import VERSIONS, Ran, board, kept, run, search, small, to, told, view, write
from importing import written as asked_to_write

BOM = "\ufeff"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(kibana_module, "_PAUSE", 0.02)
    return tmp_path / "state"


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeKibana]:
    with FakeKibana(request.param) as running:
        yield running


def refused(found: Ran, code: int, words: str) -> dict[str, str]:
    """The error, which must be three lines in this order and whole, with those words in it."""
    assert found.code == code, found.err
    error = found.error
    assert all(error.values()), error
    assert words in " ".join(error.values()), error
    last = [row.partition(":")[0] for row in found.err.splitlines()][-3:]
    assert last == ["error", "why", "hint"], found.err
    return error


def texts(*objects: Any) -> str:
    return "".join(json.dumps(o) + "\n" for o in objects)


# --- files -----------------------------------------------------------------------------------------------------------

NO_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "blank": (b" \n\r\n\t\n", "it is empty"),
    "words": (b"these are the dashboards\n", "not JSON"),
    "a log": (b"2026-11-22 10:00:00 INFO IoU : 0.83\n" * 50, "not JSON"),
    "numbers": (b"1\n2\n", "not JSON"),
    "null": (b"null\n", "no JSON object but null"),
    "details": (b'{"exportedCount":0,"missingRefCount":0,"missingReferences":[]}\n', "nothing was exported"),
    "a page": (b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>", 'with the title "Sign in"'),
    "UTF-16": (texts(view()).encode("utf-16"), "UTF-16"),
    "Latin-1": ((json.dumps(view(title="é"), ensure_ascii=False) + "\n").encode("latin-1"), "not UTF-8"),
    "half": (texts(*small()).encode()[:-20], "not JSON"),
    "one bad line": (texts(view()).encode() + b"{broken\n" + texts(search()).encode(), "line 2"),
    "an archive": (b"PK\x03\x04" + b"\0" * 100, "ZIP"),
    "no gzip": (b"\x1f\x8b" + b"\0" * 100, "gzip"),
    "NaN": (b'{"type":"search","id":"s","attributes":{"a":NaN},"references":[]}\n', "NaN"),
    "deep": (b'{"type":"search","id":"s","attributes":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "nest"),
    "not so deep": (b'{"type":"search","id":"s","references":[],"attributes":' + b'{"a":' * 600 + b"1" + b"}" * 601,
                    "nest"),
    "other JSON": (b'{"dashboards": []}\n', "no saved object"),
    "the same twice, not alike": (texts(view(), view(title="other-*")).encode(), "differs there"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_FILES)
@pytest.mark.parametrize("way", ["import", "diff", "offline"])
def test_files_that_are_none(tmp_path, name, way):
    data, words = NO_FILES[name]
    path = tmp_path / "export.ndjson"
    path.write_bytes(data)
    with FakeKibana("8.3.3") as fake:
        found = run("import-dashboards", "--offline", path) if way == "offline" else to(fake, way, path)
        refused(found, 2, words)
        assert asked_to_write(fake) == []


def test_26_megabytes_in_one_object(fake, tmp_path):
    path = write(tmp_path / "big.ndjson", view(title="x" * 26_300_000))
    error = refused(to(fake, "import", path), 2, "26,214,400")
    assert len("".join(error.values())) < 1000
    assert asked_to_write(fake) == []


def test_26_megabytes_in_many_objects_are_sent_in_parts(tmp_path):
    """What is too much for one request is no bad input."""
    path = write(tmp_path / "big.ndjson", view(), *(search(f"s{i}", title="x" * 1_300_000) for i in range(20)))
    assert path.stat().st_size > 26_000_000
    with FakeKibana("8.3.3") as fake:
        assert told(fake, "import", path).code == 0
        assert len(fake.store.kept) == 21
        assert sum("_resolve" in p for _, p in fake.asked) == 2


@pytest.mark.parametrize("path", ["nowhere.ndjson", "a\x1b[2Jb.ndjson", "."])
def test_no_such_file(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with FakeKibana("8.3.3") as fake:
        found = to(fake, "import", path)
        refused(found, 2, "")
        assert "\x1b" not in found.err
        assert asked_to_write(fake) == []


def test_what_is_no_fault(fake, tmp_path):
    """A BOM, Windows line ends, blank lines and the counts of an export do no harm."""
    path = tmp_path / "f.ndjson"
    rows = [json.dumps(o) for o in small()]
    path.write_text(BOM + "\r\n\r\n".join([*rows, '{"exportedCount":0}', ""]), "utf-8", newline="")
    found = told(fake, "import", path)
    assert (found.code, found.counts()) == (0, {"create": 4})
    path.write_text(json.dumps(small()), "utf-8")
    assert told(fake, "import", path).counts() == {"unchanged": 4}


# --- objects ---------------------------------------------------------------------------------------------------------

ODD: list[Any] = [
    {"type": "search", "id": "s", "attributes": [], "references": []},
    {"type": "search", "id": "s", "attributes": "x", "references": []},
    {"type": "search", "id": "s", "attributes": None, "references": []},
    {"type": "search", "id": "s", "references": []},
    {"type": "search", "id": "s", "attributes": {}, "references": "abc"},
    {"type": "search", "id": "s", "attributes": {}, "references": None},
    {"type": "search", "id": "s", "attributes": {}, "references": [5]},
    {"type": "search", "id": "s", "attributes": {}, "references": [{"name": "x"}]},
    {"type": "search", "id": "s", "attributes": {}, "references": [{"name": 1, "type": [], "id": {}}]},
    {"type": "search", "id": 5, "attributes": {}, "references": []},
    {"type": None, "id": "s", "attributes": {}, "references": []},
    {"type": "search", "attributes": {}},
    {"type": "search", "id": "", "attributes": {}, "references": []},
    {"type": "dashboard", "id": "d", "attributes": {"title": "t", "panelsJSON": "[{]"}, "references": []},
    {"type": "dashboard", "id": "d", "attributes": {"title": "t", "panelsJSON": '["x", 5]'}, "references": []},
    {"type": "dashboard", "id": "d", "attributes": {"title": 5, "panelsJSON": 7}, "references": []},
    {"type": "dashboard", "id": "d", "attributes": {"title": "t", "panelsJSON": "[" * 400 + "]" * 400},
     "references": []},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ODD)))
@pytest.mark.parametrize("check", ["--check", "--no-check"])
def test_odd_objects_never_crash(tmp_path, number, check):
    """They are kept back, or left to the server to refuse; the good ones beside them are not written unless said."""
    path = write(tmp_path / "odd.ndjson", ODD[number], view())
    for version in ("7.10.2", "8.12.2"):
        with FakeKibana(version) as fake:
            found = to(fake, "import", path, check, "--timeout", "5")
            assert found.code in ((1, 2) if check == "--check" else (0, 1, 2, 3))
            if check == "--check":
                assert found.error
                assert fake.store.kept == {}


def test_unknown_types(fake, tmp_path):
    path = write(tmp_path / "f.ndjson", view(), {"type": "no-such-type", "id": "x", "attributes": {"title": "X"},
                                                 "references": []})  # fmt: skip
    refused(to(fake, "import", path), 1, "no-such-type")
    assert fake.store.kept == {}
    skipped = told(fake, "import", path, "--on-conflict", "skip")
    assert (skipped.code, list(fake.store.kept)) == (0, [("index-pattern", "dv")])


def test_stamps_of_the_future(fake, tmp_path):
    path = write(tmp_path / "f.ndjson", view(), {**search(), "migrationVersion": {"search": "99.0.0"}}, board("d", "s"))
    error = refused(to(fake, "import", path), 1, "99.0.0")
    assert "unsupported" in error["error"]
    assert "_resolve_import_errors" not in str(fake.asked)
    assert fake.store.kept == {}
    found = told(fake, "import", path, "--on-conflict", "skip")
    assert (found.code, found.counts()) == (0, {"create": 1, "blocked": 1, "unsupported": 1})


def test_a_stamp_that_only_the_server_knows_about(tmp_path):
    """It is newer than the server, of a type of which nothing is known here: the server refuses all."""
    odd = {"type": "map", "id": "m", "attributes": {"title": "M"}, "references": [],
           "migrationVersion": {"map": "99.0.0"}}  # fmt: skip
    with FakeKibana("8.12.2") as fake:
        refused(to(fake, "import", write(tmp_path / "f.ndjson", view(), odd)), 2, "newer than")
        assert fake.store.kept == {}


# --- servers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [(Fault.LOGIN_PAGE, 2, "Sign in"), (Fault.LOGIN_REDIRECT, 2, "sso.example"), (Fault.GARBLED, 2, "no Kibana"),
     (Fault.BAD_GATEWAY, 3, "502 Bad Gateway"), (Fault.UNAUTHORIZED, 4, "unable to authenticate"),
     (Fault.FORBIDDEN, 4, "does not allow"), (Fault.CRASH, 3, "internal server error"),
     (Fault.RESET, 3, "closed before"), (Fault.CUT, 3, "closed before")],
)  # fmt: skip
@pytest.mark.parametrize("where", ["status", "_export", "_import"])
def test_each_fault_before_anything_is_written(fake, tmp_path, fault, code, words, where):
    path = write(tmp_path / "f.ndjson", *small())
    fake.fail(fault, times=999, only=where)
    refused(to(fake, "import", path, "--wait", "0.05"), code, words)
    assert fake.store.kept == {}
    assert not any("_resolve" in p for _, p in fake.asked)


@pytest.mark.parametrize("wait", ["0", "0.05"])
def test_a_kibana_that_starts(fake, tmp_path, wait):
    path = write(tmp_path / "f.ndjson", *small())
    fake.health = Health.STARTING
    refused(to(fake, "import", path, "--wait", wait), 3, "starting")
    assert not any(m == "POST" for m, _ in fake.asked)


def test_nobody_listens(tmp_path):
    path = write(tmp_path / "f.ndjson", *small())
    error = refused(
        run("import-dashboards", path, "--kibana-url", "http://127.0.0.1:1", "--wait", "0.05"), 3, "refused"
    )
    assert error["hint"]


def test_a_certificate_that_nobody_knows(tmp_path):
    openssl = shutil.which("openssl")
    assert openssl
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days",
                    "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with FakeKibana("8.12.2", tls=context) as fake:
        error = refused(to(fake, "import"), 3, "is not trusted")
        assert "--ca-cert" in error["hint"]
        assert told(fake, "import", "--ca-cert", cert).code == 0


def test_missing_privilege_to_write(fake, tmp_path):
    path = write(tmp_path / "f.ndjson", *small())
    fake.fail(Fault.FORBIDDEN, only="_resolve")
    error = refused(to(fake, "import", path), 4, "Unable to bulk_create")
    assert "0 objects were written" in error["why"]
    assert "Saved Objects Management" in error["hint"]
    assert fake.store.kept == {}


@pytest.mark.parametrize("command", ["diff", "rollback", "remove"])
@pytest.mark.parametrize("fault", [Fault.UNAUTHORIZED, Fault.BAD_GATEWAY, Fault.LOGIN_PAGE])
def test_the_other_commands(fake, tmp_path, command, fault):
    path = write(tmp_path / "f.ndjson", *small())
    told(fake, "import", path)
    before = kept(fake)
    fake.fail(fault, times=999, only="_export")
    words = {"diff": [path], "remove": ["--yes"]}.get(command, [])
    refused(to(fake, command, *words), {Fault.UNAUTHORIZED: 4, Fault.BAD_GATEWAY: 3}.get(fault, 2), "")
    assert kept(fake) == before


# --- hostile names ---------------------------------------------------------------------------------------------------

HOSTILE = {
    "escapes": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "bidi": "abc\u202egnp.exe\u2066\u200f",
    "lines": "one\nerror: all is lost\r\nhint: rm -rf /",
    "100 kB": "x" * 100_000,
    "100 kB of words": "word " * 20_000,
    "wide": "測試" * 60,
    "markup": "[bold red]x[/] {0} %s </script>",
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("where", ["title", "id"])
def test_hostile_names_in_the_plan(tmp_path, name, where):
    text = HOSTILE[name]
    own = {"title": text} if where == "title" else {}
    item = view(text if where == "id" else "dv", **own)
    path = write(tmp_path / "f.ndjson", item, search(on=item["id"], title=text), board("d", "s", title=text))
    with FakeKibana("8.12.2") as fake:
        rounds = [to(fake, "import", path, "--dry-run", *more) for more in ((), ("-v",))]
        rounds.append(to(fake, "import", path))
        for key in list(fake.store.kept):
            saved = fake.store.kept[key]
            fake.store.update(*key, {"attributes": {"title": saved.attributes["title"] + " mine"}}, saved.space)
        rounds += [to(fake, "import", path, *more) for more in ((), ("-v",))]
        rounds += [to(fake, "diff", path), to(fake, "rollback", "--dry-run"), to(fake, "rollback")]
        rounds += [to(fake, "remove", "--yes"), to(fake, "import", "--offline", path, "-v")]
    for found in rounds:
        for part in (found.out, found.err):
            assert not set(part) & set("\x1b\x07\x9b\u202e\u2066\u200f\r\ud800")
            assert len(part) < 8_000
        assert "hint: rm" not in found.err.splitlines()
        assert all(cell_len(row) <= 80 for row in found.out.splitlines() if "http://" not in row)
        shown = found.err.splitlines()
        assert not [row for row in shown if len(row) > 1_600], max(map(len, shown))
