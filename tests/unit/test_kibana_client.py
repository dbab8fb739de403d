"""The client of Kibana, against the fake ones: what it finds out, what it does, and its errors in words."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elkkit.errors import (
    ConfigError,
    ElkkitError,
    ExitCode,
    InputError,
    NotAllowedError,
    ServiceError,
    UnreachableError,
)
from elkkit.settings import load_settings
from elkkit.stack import kibana as kibana_module
from elkkit.stack.kibana import (
    Kibana,
    KibanaConnection,
    Retry,
    connect,
    nothing_written,
    status_of,
    wait_ready,
    worth_another_try,
)
from fakes.kibana import FakeKibana, Fault, Health

VERSIONS = ["7.10.2", "8.3.3", "8.12.2"]
MODERN = VERSIONS[1:]
SECRET = "pa$$w0rd"


def view(ident: str = "dv", **more: Any) -> dict[str, Any]:
    return {"type": "index-pattern", "id": ident, "attributes": {"title": "logs-*", "timeFieldName": "@timestamp"},
            "references": [], "migrationVersion": {"index-pattern": "7.6.0"}, **more}  # fmt: skip


def search(ident: str = "s", data_view: str = "dv", **attributes: Any) -> dict[str, Any]:
    attributes = {"title": "a search", "columns": [], "sort": [], "kibanaSavedObjectMeta": {"searchSourceJSON": "{}"},
                  **attributes}  # fmt: skip
    return {"type": "search", "id": ident, "attributes": attributes, "migrationVersion": {"search": "7.9.3"},
            "references": [{"name": "x", "type": "index-pattern", "id": data_view}]}  # fmt: skip


def lines(*objects: dict[str, Any]) -> list[bytes]:
    return [json.dumps(o).encode() for o in objects]


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeKibana]:
    with FakeKibana(request.param) as running:
        yield running


@pytest.fixture
def kibana(fake: FakeKibana) -> Iterator[Kibana]:
    with connect(KibanaConnection(fake.url, timeout=5)) as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kibana_module, "_PAUSE", 0.05)


def failure(kibana: Kibana, *objects: dict[str, Any], **options: Any) -> ElkkitError:
    """The error of an import, which must be whole: three lines, and no traceback's words in it."""
    with pytest.raises(ElkkitError) as caught:
        kibana.import_objects(lines(*objects or [view()]), **options)
    return whole(caught.value)


def whole(error: ElkkitError) -> ElkkitError:
    assert error.message
    assert error.why
    assert error.hint
    for text in (error.message, error.why, error.hint):
        assert "\n" not in text
        assert "object at 0x" not in text
        assert SECRET not in text
    return error


# --- what it is ------------------------------------------------------------------------------------------------------


def test_what_it_is(fake, kibana):
    server = kibana.server
    assert (server.product, server.version_text, server.ready, server.level) == (
        "Kibana",
        fake.version,
        True,
        "available",
    )
    assert server.flavour == ("oss" if fake.version == "7.10.2" else "default")
    assert server.kind.startswith(f"Kibana {fake.version}")


def test_opensearch_dashboards_is_told_and_spoken_to():
    with FakeKibana("7.10.2", product="opensearch") as fake, connect(KibanaConnection(fake.url)) as kibana:
        assert (kibana.server.product, kibana.server.flavour) == ("OpenSearch Dashboards", "oss")
        assert kibana.import_objects(lines(view())).written == "all"


def test_a_degraded_kibana_is_ready(fake, kibana):
    fake.health = Health.DEGRADED
    assert kibana.look().ready


def test_a_kibana_without_elasticsearch(fake, kibana):
    fake.health = Health.NO_ELASTICSEARCH
    server = kibana.look()
    assert (server.ready, server.level, server.version_text) == (False, "critical", fake.version)
    error = failure(kibana)
    assert (error.exit_code, status_of(error)) == (ExitCode.UNREACHABLE, 503)


def test_a_kibana_that_starts(fake):
    fake.health = Health.STARTING
    with connect(KibanaConnection(fake.url)) as kibana:
        assert (kibana.server.ready, kibana.server.level, kibana.server.version) == (False, "starting", (0, 0, 0))
        error = failure(kibana)
        assert status_of(error) == (503 if fake.version == "7.10.2" else 415)
        assert isinstance(error, UnreachableError)
        assert nothing_written(error) is (fake.version != "7.10.2")
        told: list[str] = []
        timer = threading.Timer(0.2, lambda: setattr(fake, "health", Health.DEGRADED))
        timer.start()
        assert wait_ready(kibana, 10, told.append).version_text == fake.version
        timer.join()
    assert told == [f"waiting for {fake.url}: it is still starting"]


def test_waiting_ends(fake):
    fake.health = Health.STARTING
    start = time.monotonic()
    with pytest.raises(UnreachableError, match=r"not ready after 0\.2 seconds"):
        connect(KibanaConnection(fake.url), wait=0.2)
    assert time.monotonic() - start < 2


def test_waiting_for_one_that_does_not_listen_yet():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(UnreachableError) as caught:
        connect(KibanaConnection(url))
    assert "refused" in str(whole(caught.value).why)
    with pytest.raises(UnreachableError, match="not ready") as caught:
        connect(KibanaConnection(url), wait=0.2)
    assert "refused" in str(whole(caught.value).why)


def test_a_redacted_status_is_no_log_in():
    with FakeKibana("8.12.2") as fake:
        fake.credentials, fake.redacted = "ApiKey right", True
        with pytest.raises(NotAllowedError, match="does not know these credentials") as caught:
            connect(KibanaConnection(fake.url, api_key="wrong"))
        whole(caught.value)
        with connect(KibanaConnection(fake.url, api_key="right")) as kibana:
            assert kibana.server.version_text == "8.12.2"


@pytest.mark.parametrize("given", [{"user": "lane", "password": SECRET}, {"api_key": SECRET}, {}])
def test_wrong_credentials(given):
    with FakeKibana("8.12.2") as fake:
        fake.credentials = "ApiKey right"
        with pytest.raises(NotAllowedError, match="wants other credentials") as caught:
            connect(KibanaConnection(fake.url, **given))
    assert whole(caught.value).exit_code == ExitCode.NOT_ALLOWED


def test_basic_credentials_are_sent():
    with FakeKibana("8.12.2") as fake:
        fake.credentials = "Basic bGFuZTpwYSQkdzByZA=="
        connect(KibanaConnection(fake.url, user="lane", password=SECRET)).close()


@pytest.mark.parametrize(
    ("fault", "why"),
    [(Fault.LOGIN_PAGE, "Sign in"), (Fault.LOGIN_REDIRECT, "sso.example"), (Fault.GARBLED, "application/json")],
)
def test_something_else_answers(fake, fault, why):
    fake.fail(fault)
    with pytest.raises(ConfigError, match="is no Kibana") as caught:
        connect(KibanaConnection(fake.url))
    assert why in str(whole(caught.value).why)


def test_a_proxy_whose_kibana_is_gone(fake):
    fake.fail(Fault.BAD_GATEWAY)
    with pytest.raises(UnreachableError, match="proxy") as caught:
        connect(KibanaConnection(fake.url))
    assert "502 Bad Gateway" in str(whole(caught.value).why)


# --- import ----------------------------------------------------------------------------------------------------------


def test_import_and_again(fake, kibana):
    reply = kibana.import_objects(lines(view(), search()))
    assert (reply.success, reply.written, reply.count) == (True, "all", 2)
    again = kibana.import_objects(lines(view(), search("new")))
    assert (again.success, again.written, again.count) == (False, "nothing", 1)
    assert [(p.id, p.kind) for p in again.problems] == [("dv", "conflict")]
    assert ("search", "new") not in fake.store.kept
    over = kibana.import_objects(lines(view(), search("new")), overwrite=True)
    assert over.written == "all"
    assert [w.overwrote for w in over.objects] == [True, False]


def test_a_missing_reference_keeps_everything_out(fake, kibana):
    reply = kibana.import_objects(lines(view(), search(data_view="nope")), overwrite=True)
    assert reply.written == "nothing"
    assert reply.problems[0].missing == (("index-pattern", "nope"),)
    assert "index-pattern nope" in reply.problems[0].why
    assert not fake.store.kept


def test_unknown_and_unsupported_are_a_part(fake, kibana):
    odd = {"type": "no-such-type", "id": "u", "attributes": {"title": "u"}, "references": []}
    reply = kibana.import_objects(lines(odd, view(), search(noSuchAttr=1)))
    assert reply.written == "part"
    assert [(w.type, w.id) for w in reply.objects] == [("index-pattern", "dv")]
    why = {p.kind: p.why for p in reply.problems}
    assert "no-such-type" in why["unsupported_type"]
    assert "noSuchAttr" in why["unknown"]
    assert list(fake.store.kept) == [("index-pattern", "dv")]


def test_a_partial_write(fake, kibana):
    fake.store.refuse_write["search", "s"] = "disk usage exceeded flood-stage watermark"
    reply = kibana.import_objects(lines(view(), search()))
    assert (reply.written, reply.count) == ("part", 1)
    assert "flood-stage watermark" in reply.problems[0].why


def test_nothing_of_it_could_be_written(fake, kibana):
    fake.store.refuse_write["index-pattern", "dv"] = "read-only"
    assert kibana.import_objects(lines(view())).written == "nothing"


def test_copies(fake, kibana):
    kibana.import_objects(lines(view(), search()))
    reply = kibana.import_objects(lines(view(), search()), create_new_copies=True)
    ids = reply.destinations
    assert set(ids) == {("index-pattern", "dv"), ("search", "s")}
    copy = fake.store.kept["search", ids["search", "s"]]
    assert copy.references[0]["id"] == ids["index-pattern", "dv"]


def test_resolve(fake, kibana):
    kibana.import_objects(lines(view()))
    file = lines(view(), search(data_view="nope"), search("left-out"))
    reply = kibana.resolve(file, [Retry("search", "s", replace=[("index-pattern", "nope", "dv")])])
    assert (reply.written, [w.id for w in reply.objects]) == ("all", ["s"])
    assert ("search", "left-out") not in fake.store.kept
    assert kibana.resolve(file, [Retry("index-pattern", "dv")]).problems[0].kind == "conflict"
    assert kibana.resolve(file, [Retry("index-pattern", "dv", overwrite=True)]).written == "all"
    assert kibana.resolve(file, [Retry("search", "s", overwrite=True, ignore_missing=True)]).written == "all"
    renamed = kibana.resolve(file, [Retry("index-pattern", "dv", destination="other", copy=True)])
    assert renamed.objects[0].key == ("index-pattern", "other")


@pytest.mark.parametrize("version", MODERN)
def test_spaces(version):
    with FakeKibana(version) as fake, connect(KibanaConnection(fake.url)) as kibana:
        fake.spaces["lane"] = {"id": "lane", "name": "Lane"}
        assert [s.id for s in kibana.spaces() or []] == ["default", "lane"]
        kibana.import_objects(lines(view()))
        moved = kibana.import_objects(lines(view()), space="lane").objects[0]
        assert moved.destination
        assert fake.store.kept[moved.key].origin == "dv"
        problem = kibana.import_objects(lines(view()), space="lane").problems[0]
        assert (problem.kind, problem.destination) == ("conflict", moved.destination)
        assert kibana.get_many([moved.key], space="lane")[moved.key]
        error = failure(kibana, space="nope")
        assert isinstance(error, InputError)
        assert "default, lane" in str(error.why)
        assert not [s for s in fake.store.kept.values() if s.space == "nope"]
        assert kibana.dashboard_address("a b", space="lane").endswith("/s/lane/app/dashboards#/view/a%20b")


def test_no_spaces_in_oss():
    with FakeKibana("7.10.2") as fake, connect(KibanaConnection(fake.url)) as kibana:
        assert kibana.spaces() is None
        assert "has no spaces" in str(failure(kibana, space="lane").why)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"this is no JSON", "Unexpected token t"), (b'{"type":"index-pattern",', "Unexpected end"),
     ("\ufeff".encode() + lines(view())[0], "Unexpected token")],
)  # fmt: skip
def test_a_file_that_is_no_ndjson(kibana, text, why):
    with pytest.raises(InputError) as caught:
        kibana.import_objects([text])
    assert why in str(whole(caught.value).why)
    assert nothing_written(caught.value)


def test_an_empty_file_writes_nothing_and_is_no_error(kibana):
    reply = kibana.import_objects([])
    assert (reply.success, reply.count, reply.objects) == (True, 0, ())


def test_too_large_and_too_many_are_refused_before_sending(fake, kibana):
    asked = len(fake.asked)
    big = view()
    big["attributes"]["title"] = "x" * 27_000_000
    assert "bytes" in str(failure(kibana, big).why)
    with pytest.raises(InputError, match="too many"):
        kibana.import_objects([b"{}"] * 10_001)
    assert len(fake.asked) == asked


def test_a_stamp_of_the_future(fake, kibana):
    error = failure(kibana, view(), view("new", migrationVersion={"index-pattern": "99.0.0"}))
    assert '"new" is newer' in error.message
    assert "99.0.0" in error.message
    assert (error.exit_code, status_of(error), nothing_written(error)) == (ExitCode.USAGE, 422, True)
    assert not fake.store.kept


@pytest.mark.parametrize("version", MODERN)
def test_an_object_that_cannot_be_upgraded(version):
    broken = {"type": "dashboard", "id": "d", "attributes": {"title": "d", "panelsJSON": "[no"}, "references": []}
    with FakeKibana(version) as fake, connect(KibanaConnection(fake.url)) as kibana:
        error = failure(kibana, view(), broken)
        assert isinstance(error, ServiceError)
        assert not fake.store.kept


def test_a_duplicate(kibana):
    assert "[index-pattern:dv]" in str(failure(kibana, view(), view()).why)


@pytest.mark.parametrize(
    ("fault", "kind", "words", "nothing"),
    [
        (Fault.UNAUTHORIZED, NotAllowedError, "unable to authenticate", True),
        (Fault.FORBIDDEN, NotAllowedError, "Unable to bulk_create", True),
        (Fault.TOO_LARGE, InputError, "413 Request Entity Too Large", True),
        (Fault.MEDIA_TYPE, UnreachableError, "while it starts", True),
        (Fault.BUSY, UnreachableError, "Too Many Requests", True),
        (Fault.CRASH, ServiceError, "internal server error", False),
        (Fault.BAD_GATEWAY, UnreachableError, "502 Bad Gateway", False),
        (Fault.UNAVAILABLE, UnreachableError, "License", False),
        (Fault.LOGIN_PAGE, ConfigError, "Sign in", False),
        (Fault.LOGIN_REDIRECT, ConfigError, "sso.example", True),
        (Fault.GARBLED, ConfigError, "application/json", False),
        (Fault.CUT, UnreachableError, "closed before the whole answer", False),
        (Fault.RESET, UnreachableError, "closed before the whole answer", False),
    ],
)
def test_each_failure_in_words(fake, kibana, fault, kind, words, nothing):
    fake.fail(fault, only="_import")
    error = failure(kibana)
    assert type(error) is kind
    assert words in str(error.why)
    if kind is not ConfigError:
        assert nothing_written(error) is nothing
        assert ("whether anything was written is not known" in str(error.why)) is not nothing
    assert worth_another_try(error) is (fault in (Fault.BUSY, Fault.UNAVAILABLE))
    assert kibana.import_objects(lines(view()), overwrite=True).written == "all"  # it is as good as before


def test_a_kibana_that_never_answers(fake):
    with connect(KibanaConnection(fake.url, timeout=0.3)) as kibana:
        fake.fail(Fault.HANG, only="_import")
        error = failure(kibana)
        assert isinstance(error, UnreachableError)
        assert "--timeout" in str(error.hint)
        assert not nothing_written(error)


@pytest.mark.parametrize("version", ["7.10.2", "8.12.2"])
def test_a_line_on_which_kibana_hangs(version):
    with (
        FakeKibana(version) as fake,
        connect(KibanaConnection(fake.url, timeout=0.3)) as kibana,
        pytest.raises(UnreachableError, match="no answer in time"),
    ):
        kibana.import_objects([b"42"])


# --- export, read, delete --------------------------------------------------------------------------------------------


def test_export_probes_what_is_there(kibana):
    kibana.import_objects(lines(view(), search()))
    asked = [("search", "s"), ("search", "gone"), ("index-pattern", "dv"), ("dashboard", "gone")]
    found = kibana.export(asked)
    assert [o["id"] for o in found.objects] == ["dv", "s"]
    assert set(found.missing) == {("search", "gone"), ("dashboard", "gone")}
    assert kibana.export([("search", "gone")]).objects == ()
    assert kibana.export([]).objects == ()
    assert [o["id"] for o in kibana.export([("search", "s")], deep=True).objects] == ["dv", "s"]
    kibana.delete([("index-pattern", "dv")])
    assert kibana.export([("search", "s")], deep=True).missing_references == (("index-pattern", "dv"),)
    with pytest.raises(InputError) as caught:
        kibana.export([("no-such-type", "x")])
    assert "no-such-type:x" in str(whole(caught.value).why)


def test_rollback_is_exact(kibana):
    kibana.import_objects(lines(view(), search()))
    keys = [("index-pattern", "dv"), ("search", "s")]
    before = kibana.export(keys).objects
    kibana.import_objects(lines(view(attributes={"title": "other-*"})), overwrite=True)
    kibana.delete([("search", "s")])
    assert kibana.import_objects([json.dumps(o).encode() for o in before], overwrite=True).written == "all"
    after = kibana.export(keys).objects
    same = ("id", "type", "attributes", "references")
    assert [[o[k] for k in same] for o in after] == [[o[k] for k in same] for o in before]


@pytest.mark.parametrize("fault", [Fault.LOGIN_PAGE, Fault.CUT, Fault.GARBLED])
def test_an_export_that_is_none(fake, kibana, fault):
    kibana.import_objects(lines(view()))
    fake.fail(fault, only="_export")
    with pytest.raises(ElkkitError) as caught:
        kibana.export([("index-pattern", "dv")])
    whole(caught.value)


def test_get_many(kibana):
    kibana.import_objects(lines(view()))
    found = kibana.get_many([("index-pattern", "dv"), ("dashboard", "nope"), ("no-such-type", "x")])
    assert found["index-pattern", "dv"]["attributes"]["title"] == "logs-*"
    assert found["dashboard", "nope"] is None
    assert found["no-such-type", "x"] is None
    assert kibana.get_many([]) == {}


def test_delete(fake, kibana):
    kibana.import_objects(lines(view(), search()))
    deleted = kibana.delete([("search", "s"), ("search", "nope")])
    assert (deleted.done, deleted.missing, deleted.failed) == ([("search", "s")], [("search", "nope")], {})
    kibana.import_objects(lines(search()))
    fake.fail(Fault.FORBIDDEN, only="/index-pattern/dv")
    with pytest.raises(NotAllowedError) as caught:
        kibana.delete([("search", "s"), ("index-pattern", "dv")])
    assert "1 of 2 objects were deleted before" in str(whole(caught.value).why)


def test_hostile_ids_stay_in_their_place(fake, kibana):
    ident = "../../api/status?x=%2F&é"
    kibana.import_objects(lines(view(ident)))
    assert kibana.delete([("index-pattern", ident)]).done == [("index-pattern", ident)]
    assert not fake.store.kept


# --- how it is reached -----------------------------------------------------------------------------------------------


def test_connection_from_settings(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("x")
    env = {"ELKKIT_KIBANA_URL": f"https://lane:{SECRET}@kibana.example/base/", "ELKKIT_CA_CERT": str(ca),
           "ELKKIT_ES_URL": "http://elsewhere:9200", "ELKKIT_TIMEOUT": "7"}  # fmt: skip
    found = KibanaConnection.from_settings(load_settings({}, environment=env))
    assert found == KibanaConnection("https://kibana.example:443/base", None, "lane", SECRET, str(ca), timeout=7.0)
    assert SECRET not in repr(found)
    assert KibanaConnection.from_settings(load_settings({}, environment={})) is None


@pytest.mark.parametrize("address", ["kibana:5601", "ftp://kibana", "http://", f"http://u:{SECRET}@kibana:port"])
def test_wrong_addresses(address):
    with pytest.raises(ConfigError, match="address of Kibana is wrong") as caught:
        KibanaConnection.from_settings(load_settings({"kibana_url": address}, environment={}))
    assert "--kibana-url" in str(whole(caught.value).hint)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path, str]:
    openssl = shutil.which("openssl")
    assert openssl
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(cert.read_text())).hexdigest()
    return context, cert, digest


def test_certificates(certificate):
    context, cert, digest = certificate
    with FakeKibana("8.12.2", tls=context) as fake:
        with pytest.raises(UnreachableError, match="is not trusted") as caught:
            connect(KibanaConnection(fake.url))
        assert "--ca-cert" in str(whole(caught.value).hint)
        with pytest.raises(UnreachableError, match="is not trusted"):
            connect(KibanaConnection(fake.url), wait=5)
        with pytest.raises(UnreachableError) as caught:
            connect(KibanaConnection(fake.url, fingerprint="0" * 64))
        assert digest in str(whole(caught.value).why).replace(":", "").lower()
        for given in ({"ca_cert": str(cert)}, {"fingerprint": digest}, {"insecure": True}):
            connect(KibanaConnection(fake.url, **given)).close()


def test_https_to_a_server_that_speaks_http(fake):
    with pytest.raises(UnreachableError) as caught:
        connect(KibanaConnection(fake.url.replace("http:", "https:")))
    assert "does not speak https" in str(whole(caught.value).why)
