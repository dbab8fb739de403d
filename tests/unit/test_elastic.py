"""Reaching an Elasticsearch: addresses, credentials, certificates, and what else may answer there."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from elkkit.errors import ConfigError, ElkkitError, NotAllowedError, ServiceError, UnreachableError
from elkkit.settings import load_settings
from elkkit.stack.elastic import Connection, connect, open_client, split_url
from elkkit.stack.elasticerrors import reason

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}
SECRET = "pa$$w0rd"


def root(number: str, **version: Any) -> bytes:
    told = {"cluster_name": "c", "version": {"number": number, **version}, "tagline": "You Know, for Search"}
    return json.dumps(told).encode()


def failed(kind: str, why: str) -> bytes:
    cause = {"type": kind, "reason": why}
    return json.dumps({"error": {"root_cause": [cause], **cause}}).encode()


class Site:
    """A server that gives one answer to everything, and remembers what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.headers: list[Any] = []

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def https(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@contextmanager
def site(
    status: int = 200, body: bytes = b"", headers: dict[str, str] = PRODUCT, *, delay: float = 0, tls: Any = None
) -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            made.headers.append(self.headers)
            time.sleep(delay)
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that refuses the certificate hangs up."""

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reach(url: str, **options: Any) -> Any:
    with connect(Connection(url, timeout=options.pop("timeout", 5), **options)) as elastic:
        return elastic.server


def refused(kind: type[ElkkitError], url: str, **options: Any) -> ElkkitError:
    with pytest.raises(kind) as caught:
        reach(url, **options)
    assert type(caught.value) is kind
    assert caught.value.hint
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, Exception)
    return caught.value


# --- addresses and settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("http://localhost:9200", ("http://localhost:9200", None, None)),
        (" http://localhost:9200/ \n", ("http://localhost:9200", None, None)),
        ("https://es.example", ("https://es.example:443", None, None)),
        ("http://es.example", ("http://es.example:80", None, None)),
        ("https://u:p%40ss@es.example:9243/es/", ("https://es.example:9243/es", "u", "p@ss")),
        ("https://u:p@ss@es.example", ("https://es.example:443", "u", "p@ss")),
        ("http://[::1]:9200", ("http://[::1]:9200", None, None)),
        ("https://es.example?a=b#c", ("https://es.example:443", None, None)),
    ],
)
def test_addresses(address, parts):
    assert split_url(address) == parts


@pytest.mark.parametrize(
    "address",
    ["localhost:9200", "ftp://h", "http://", "http://h:99999", f"http://u:{SECRET}@h:x", f"http://u:a/{SECRET}@h:9200",
     f"u:{SECRET}@h:9200", "http://[::1", ""],
)  # fmt: skip
def test_addresses_that_are_none_and_no_password_in_the_error(address):
    with pytest.raises(ConfigError) as caught:
        split_url(address)
    assert SECRET not in repr((caught.value.message, caught.value.why, caught.value.hint))
    assert "--es-url https://localhost:9200" in caught.value.hint


def settings(tmp_path, **flags):
    empty = tmp_path / "elkkit.toml"
    empty.touch()
    return load_settings(flags, config=empty, environment={})


def test_a_connection_from_settings_keeps_secrets_to_itself(tmp_path):
    assert Connection.from_settings(settings(tmp_path)) is None
    found = Connection.from_settings(settings(tmp_path, es_url=f"https://elastic:{SECRET}@h:1", timeout="5"))
    assert (found.url, found.user, found.password, found.timeout) == ("https://h:1", "elastic", SECRET, 5.0)
    assert SECRET not in repr(found)
    other = Connection.from_settings(settings(tmp_path, es_url="https://h", es_user="u", es_password=SECRET))
    assert (other.user, other.password) == ("u", SECRET)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"ca_cert": "/no/such/file"}, "certificate authority"),
        ({"fingerprint": "abc"}, "fingerprint is wrong"),
        ({"timeout": "0"}, "timeout is wrong"),
        ({"timeout": "nan"}, "timeout is wrong"),
        ({"api_key": f"{SECRET}\n"}, "API key is wrong"),
        ({"api_key": f"{SECRET} ß"}, "API key is wrong"),
    ],
)
def test_settings_that_cannot_be(tmp_path, flags, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Connection.from_settings(settings(tmp_path, es_url="https://h:1", **flags))
    assert caught.value.hint
    assert SECRET not in repr((caught.value.message, caught.value.why, caught.value.hint))


def test_credentials_are_sent_as_they_are():
    import base64

    with site(body=root("8.19.9")) as here:
        reach(here.http, user="jürgen", password="straße:x")
        reach(here.http, api_key="a2V5", user="both", password="given")
        reach(here.http)
    first, second, third = (h["Authorization"] for h in here.headers)
    assert base64.b64decode(first.removeprefix("Basic ")).decode() == "jürgen:straße:x"
    assert second == "ApiKey a2V5"
    assert third is None


# --- what answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "logsdb"), [("8.0.0", False), ("8.16.9", False), ("8.17.0", True), ("9.2.0-SNAPSHOT", True)]
)
def test_servers_that_can_be_used(number, logsdb):
    with site(body=root(number)) as here:
        server = reach(here.http)
    assert (server.version_text, server.logsdb, server.bare, server.cluster) == (number, logsdb, False, "c")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, root("7.10.2", build_flavor="oss"), {}), "it says version 7.10.2"),
        ((200, root("7.17.20")), "it is Elasticsearch 7.17.20, and 8.0 is the oldest"),
        ((406, failed("media_type_header_exception", "Invalid media-type value")), "too old for elkkit, or too new"),
        ((200, root("3.8.0", distribution="opensearch"), {}), "it is OpenSearch 3.8.0"),
        ((200, b"<title>Sign in</title>", {"Content-Type": "text/html"}), "titled 'Sign in'"),
        ((302, b"", {"Location": "https://sso/login"}), "it sends on to https://sso/login"),
        ((404, b"{}", {}), "something else answered 404"),
        ((405, b"", {}), "something else answered 405"),
        ((200, b"hello", {"Content-Type": "text/plain"}), "something else answered 200, with text/plain"),
        ((200, b"{}"), "does not say which version"),
        ((200, b"[]"), "does not say which version"),
        ((200, b""), "does not say which version"),
        ((200, root("banana")), "it is Elasticsearch banana"),
    ],
)
def test_servers_that_cannot_be_used(answer, why):
    with site(*answer) as here:
        error = refused(ConfigError, here.http)
    assert why in error.why
    assert error.message == f"{here.http} is no Elasticsearch that elkkit can use"


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        ((401, failed("security_exception", "missing credentials")), NotAllowedError, "missing credentials"),
        ((401, b"<html><title>Sign in</title>", {"Content-Type": "text/html"}), NotAllowedError, "titled 'Sign in'"),
        ((403, failed("security_exception", "is unauthorized")), NotAllowedError, "is unauthorized"),
        ((429, failed("circuit_breaking_exception", "Data too large")), UnreachableError, "Data too large"),
        ((502, b"<html><title>502 Bad Gateway</title>", {"Content-Type": "text/html"}), UnreachableError,
         "a web page, titled '502 Bad Gateway'"),
        ((503, failed("cluster_block_exception", "state not recovered")), UnreachableError, "state not recovered"),
        ((500, failed("boom", "it broke")), ServiceError, "it broke"),
        ((404, b"{}"), ServiceError, None),
        ((200, b'{"half":'), ServiceError, "deserialize"),
        ((200, b"\xff\xfe"), ServiceError, "deserialize"),
    ],
)  # fmt: skip
def test_answers_that_say_no(answer, kind, why):
    with site(*answer) as here:
        error = refused(kind, here.http, user="u", password=SECRET)
    assert here.http in error.message
    assert why in error.why if why else error.why is None
    assert SECRET not in repr((error.message, error.why, error.hint))


def test_a_server_that_hangs_is_given_up():
    began = time.monotonic()
    with site(body=root("8.19.9"), delay=1.0) as here:
        error = refused(UnreachableError, here.http, timeout=0.2)
        waited = time.monotonic() - began
    assert error.why == f"{here.http} gave no answer in time"
    assert "--timeout" in error.hint
    assert waited < 0.9


def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = refused(UnreachableError, f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert error.why == "Connection refused"
    assert "is not reachable" in error.message


@pytest.mark.parametrize(("greeting", "why"), [(b"SSH-2.0-x\r\n", "does not speak http"), (b"", "closed without")])
def test_something_that_is_no_web_server(greeting, why):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(1)
                peer.sendall(greeting)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(4096):
                    pass

        thread = Thread(target=greet, daemon=True)
        thread.start()
        error = refused(UnreachableError, f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join(5)
    assert why in error.why


def test_reasons_are_the_servers_own_words():
    inner = {"type": "x", "reason": "outer", "caused_by": {"type": "y", "reason": "inner"}}
    assert reason({"error": {"root_cause": [inner], "reason": "all shards failed"}}) == "outer: inner"
    assert reason({"error": {"type": "only_a_type"}}) == "only_a_type"
    assert reason({"error": "no handler found"}) == "no handler found"
    assert reason(None) == ""
    assert len(reason("x" * 10_000)) == 600


# --- certificates ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that signs itself: its file, its key's file, and its SHA-256."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("tls")
    file, key = folder / "cert.pem", folder / "key.pem"
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", names, "-keyout", key, "-out", file], check=True, capture_output=True)
    return file, key, hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read_text())).hexdigest()


@pytest.fixture
def tls_site(certificate):
    with site(body=root("8.19.9"), tls=certificate[:2]) as here:
        yield here


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_site):
    error = refused(UnreachableError, tls_site.https, user="u", password=SECRET)
    assert error.message == f"cannot reach Elasticsearch: {tls_site.https} is not trusted"
    assert "self-signed certificate" in error.why.replace("self signed", "self-signed")
    assert "_ssl.c" not in error.why
    assert "--ca-cert" in error.hint
    assert tls_site.headers == [], "the password is not sent"


def test_three_ways_to_trust_it(tls_site, certificate):
    file, _, digest = certificate
    pairs = ":".join(digest[i : i + 2] for i in range(0, 64, 2)).upper()
    for trust in ({"ca_cert": str(file)}, {"fingerprint": digest}, {"fingerprint": pairs}, {"insecure": True}):
        assert reach(tls_site.https, **trust).version == (8, 19)


def test_another_fingerprint_is_refused_and_told(tls_site, certificate):
    error = refused(UnreachableError, tls_site.https, fingerprint="ab" * 32, user="u", password=SECRET)
    assert certificate[2] in error.why
    assert "--fingerprint" in error.hint
    assert tls_site.headers == []


def test_an_authority_without_a_certificate_is_refused(tls_site, tmp_path):
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing in here\n")
    assert refused(ConfigError, tls_site.https, ca_cert=str(empty)).why == "its file holds no certificate"


def test_http_and_https_taken_for_each_other(tls_site):
    assert tls_site.https in refused(UnreachableError, tls_site.http).hint
    with site(body=root("8.19.9")) as plain:
        error = refused(UnreachableError, plain.https)
    assert error.why == "it does not speak https, perhaps http"
    assert error.hint == f"--es-url {plain.http}"


def test_the_client_asks_nothing_twice():
    with site(503, failed("x", "y")) as here, open_client(Connection(here.http)) as client:
        with pytest.raises(Exception, match="503"):
            client.info()
        assert len(here.headers) == 1
