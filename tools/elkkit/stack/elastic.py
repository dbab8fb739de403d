"""One Elasticsearch: how to reach it, what it is, and its errors in words for people."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from elkkit.errors import ConfigError, ElkkitError, NotAllowedError, ServiceError, UnreachableError

if TYPE_CHECKING:
    from elasticsearch import ApiError, Elasticsearch

    from elkkit.settings import Settings

OLDEST = (8, 0)
"""The oldest server whose answers the client understands."""
LOGSDB = (8, 17)
"""The first server on which logsdb is ready for use."""
_LONGEST_REASON = 600


@dataclass(frozen=True, slots=True)
class Connection:
    """Where an Elasticsearch is, and how it is spoken to."""

    url: str
    """Without user and password."""
    api_key: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_cert: str | None = None
    fingerprint: str | None = None
    """SHA-256 of the server's certificate, in hexadecimal."""
    insecure: bool = False
    """Take any certificate."""
    timeout: float = 30.0
    """Seconds for one request."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Connection | None:
        """The connection that the settings tell, or None where they name no address. Raises `ConfigError`."""
        address = settings["es_url"]
        if not address:
            return None
        url, user, password = split_url(address)
        ca_cert = settings["ca_cert"]
        if ca_cert and not Path(ca_cert).is_file():
            raise ConfigError("cannot use the certificate authority", why=f"there is no file {ca_cert}",
                              hint="name a PEM file: --ca-cert FILE")  # fmt: skip
        fingerprint = settings["fingerprint"]
        if fingerprint and not re.fullmatch(r"[0-9a-fA-F]{64}", fingerprint.replace(":", "")):
            raise ConfigError(
                "the fingerprint is wrong", why="it is not the SHA-256 of a certificate, 64 hexadecimal digits",
                hint="openssl x509 -fingerprint -sha256 -noout -in FILE",
            )  # fmt: skip
        if not 0 < settings["timeout"] < 86_400:
            raise ConfigError("the timeout is wrong", why="it must be more than 0 seconds and less than a day",
                              hint="--timeout 30")  # fmt: skip
        return cls(
            url=url,
            api_key=settings["api_key"],
            user=user or settings["es_user"],
            password=password or settings["es_password"],
            ca_cert=ca_cert,
            fingerprint=fingerprint,
            insecure=settings["insecure"],
            timeout=settings["timeout"],
        )


def split_url(address: str) -> tuple[str, str | None, str | None]:
    """Address without user and password, then those two. Raises `ConfigError`; its text holds no password."""
    hint = "give scheme, host and port, for example --es-url https://localhost:9200"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ConfigError("the address of Elasticsearch is wrong", why="its port or host is no such thing",
                          hint=hint) from None  # fmt: skip
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("the address of Elasticsearch is wrong", why="it is no http:// or https:// address",
                          hint=hint)  # fmt: skip
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = port or {"http": 80, "https": 443}[parts.scheme]
    url = urlunsplit((parts.scheme, f"{host}:{port}", parts.path.rstrip("/"), "", ""))
    return (
        url,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
    )


@dataclass(frozen=True, slots=True)
class Server:
    """What an Elasticsearch turned out to be."""

    url: str
    version: tuple[int, int]
    version_text: str
    cluster: str
    bare: bool = False
    """Elasticsearch without its modules, as the embedded one: no data streams, ILM, ingest processors or scripts."""
    zstd: bool = True
    """Its native compression is there, which logsdb and best_compression need."""

    @property
    def logsdb(self) -> bool:
        """Indices can have the mode logsdb."""
        return self.version >= LOGSDB and self.zstd

    @property
    def kind(self) -> str:
        """For people: `Elasticsearch 9.2.0`."""
        return f"Elasticsearch {self.version_text}"


class Elastic:
    """A reachable Elasticsearch; a context manager, or call `close`."""

    def __init__(self, client: Elasticsearch, server: Server, connection: Connection, *, embedded: bool) -> None:
        self.client = client
        self.server = server
        self.connection = connection
        self.embedded = embedded
        """It is the one that elkkit started."""

    @property
    def where(self) -> str:
        """For people: its address, and that it is the embedded one."""
        return f"{self.server.url} (embedded)" if self.embedded else self.server.url

    def close(self) -> None:
        """Let go of its connections."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def asking(self, what: str) -> Any:
        """A context in which the client's errors become elkkit's; `what` is a verb phrase such as "read the runs"."""
        return asking(what, self.server.url)


def connect(connection: Connection, *, embedded: bool = False) -> Elastic:
    """Reach an Elasticsearch and find out what it is.

    Raises `UnreachableError`, `NotAllowedError`, and `ConfigError` for a server that is too old or another product.
    """
    client = open_client(connection)
    try:
        with asking("reach Elasticsearch", connection.url):
            server = _probe(client, connection)
    except BaseException:
        client.close()
        raise
    return Elastic(client, server, connection, embedded=embedded)


def open_client(connection: Connection, **options: Any) -> Elasticsearch:
    """The official client: it retries nothing, since who asks knows what may be asked twice."""
    from elasticsearch import Elasticsearch, ElasticsearchWarning

    # a server's deprecation warnings are for developers, and would break into what people read
    warnings.filterwarnings("ignore", category=ElasticsearchWarning)
    given: dict[str, Any] = {"request_timeout": connection.timeout, "max_retries": 0, **options}
    if connection.api_key:
        given["api_key"] = connection.api_key
    elif connection.user is not None:
        given["basic_auth"] = (connection.user, connection.password or "")
    if connection.url.startswith("https:"):
        if connection.insecure:
            given |= {"verify_certs": False, "ssl_show_warn": False}
        elif connection.fingerprint:
            given["ssl_assert_fingerprint"] = connection.fingerprint.replace(":", "")
        elif connection.ca_cert:
            given["ca_certs"] = connection.ca_cert
    return Elasticsearch(connection.url, **given)


def _probe(client: Elasticsearch, connection: Connection) -> Server:
    """What the server says that it is. The bare engine has no `GET /`, which is how it is known."""
    from elasticsearch import ApiError

    try:
        told = client.info()
    except ApiError as error:
        if error.status_code != 405:
            raise
        return _probe_bare(client, connection)
    version = str(told["version"]["number"])
    found = re.match(r"(\d+)\.(\d+)", version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if number < OLDEST:
        raise _foreign(connection.url, f"it is Elasticsearch {version}, and 8.0 is the oldest that elkkit speaks to")
    return Server(connection.url, number, version, str(told["cluster_name"]))


def _probe_bare(client: Elasticsearch, connection: Connection) -> Server:
    told = client.nodes.info(node_id="_local", filter_path="cluster_name,nodes.*.version,nodes.*.attributes")
    node = next(iter(told["nodes"].values()))
    version = str(node["version"])
    major, minor = version.split(".")[:2]
    zstd = node.get("attributes", {}).get("zstd") == "true"
    return Server(connection.url, (int(major), int(minor)), version, str(told["cluster_name"]), bare=True, zstd=zstd)


# --- errors ----------------------------------------------------------------------------------------------------------


@contextmanager
def asking(what: str, url: str) -> Iterator[None]:
    """Turn the client's errors into elkkit's; `what` is a verb phrase, `url` the address without credentials."""
    from elasticsearch import ApiError, TransportError, UnsupportedProductError

    try:
        yield
    except ElkkitError:
        raise
    except (ApiError, TransportError, UnsupportedProductError) as error:
        raise worded(error, what, url) from error


def worded(error: Exception, what: str, url: str) -> ElkkitError:
    """A client's error as one of elkkit's."""
    from elasticsearch import ApiError, ConnectionTimeout, TransportError, UnsupportedProductError
    from elasticsearch import SSLError as TlsError

    if isinstance(error, UnsupportedProductError):
        return _foreign(url, _what_answered(error.body, error.meta.headers))
    if isinstance(error, ConnectionTimeout):
        return UnreachableError(f"cannot {what}", why=f"{url} gave no answer in time", hint="--timeout SECONDS")
    if isinstance(error, TlsError):
        hint = "trust its authority with --ca-cert FILE, or this certificate with --fingerprint SHA256"
        return UnreachableError(f"cannot {what}: {url} is not trusted", why=_plain(error), hint=hint)
    if isinstance(error, TransportError):
        hint = "elkkit status  shows which Elasticsearch is used and why"
        return UnreachableError(f"cannot {what}: {url} is not reachable", why=_plain(error), hint=hint)
    if not isinstance(error, ApiError):
        raise error
    return _answered(error, what, url)


def _answered(error: ApiError, what: str, url: str) -> ElkkitError:
    status, why = error.status_code, reason(error.body) or error.message
    if status == 401:
        hint = (
            "set ELKKIT_API_KEY, or ELKKIT_ES_USER and ELKKIT_ES_PASSWORD; elkkit config show  tells what is in force"
        )
        return NotAllowedError(f"cannot {what}: {url} wants other credentials", why=why, hint=hint)
    if status == 403:
        return NotAllowedError(f"cannot {what}: {url} does not allow it", why=why,
                               hint="use an API key or a user with that privilege")  # fmt: skip
    if status in (400, 406) and "media_type_header_exception" in error.message:
        return _foreign(url, f"it is too old for elkkit, or too new: {why}")
    if status in (429, 502, 503, 504):
        return UnreachableError(f"cannot {what}: {url} answers {status}", why=why, hint="try again later")
    return ServiceError(f"cannot {what}: {url} answers {status}", why=why, hint="elkkit status")


def reason(body: object) -> str:
    """Why a request failed, in the server's words: the root cause where it names one."""
    found: object = body
    if isinstance(body, Mapping):
        found = body.get("error", body)
    if isinstance(found, Mapping):
        causes = found.get("root_cause")
        if isinstance(causes, list) and causes and isinstance(causes[0], Mapping):
            found = causes[0]
        text, cause = found.get("reason"), found.get("caused_by")
        if isinstance(cause, Mapping) and cause.get("reason") and cause["reason"] != text:
            text = f"{text}: {cause['reason']}"
        found = text or found.get("type") or ""
    return str(found or "")[:_LONGEST_REASON]


def _plain(error: Exception) -> str:
    """A transport error's innermost reason, without the objects that Python puts around it."""
    text = str(getattr(error, "message", "") or error)
    for mark in (">: ", "object at "):
        text = text.rpartition(mark)[2] if mark == ">: " else re.sub(r"<[^<>]*object at[^<>]*>:? ?", "", text)
    return re.sub(r"^\((.*)\)$", r"\1", text.strip())[:_LONGEST_REASON]


def _foreign(url: str, why: str) -> ElkkitError:
    hint = "name an Elasticsearch 8 or 9: --es-url URL, or ELKKIT_ES_URL"
    return ConfigError(f"{url} is no Elasticsearch that elkkit can use", why=why, hint=hint)


def _what_answered(body: object, headers: Mapping[str, str]) -> str:
    """What a server is that does not say that it is Elasticsearch."""
    if isinstance(body, Mapping) and isinstance(body.get("version"), Mapping):
        version = body["version"]
        number = str(version.get("number", "?"))[:40]
        if version.get("distribution") == "opensearch":
            return f"it is OpenSearch {number}"
        return f"it says version {number}, and not that it is Elasticsearch 7.14 or later"
    if isinstance(body, str) and (title := re.search(r"<title[^>]*>\s*([^<]{1,120})", body, re.IGNORECASE)):
        return f"a web page answered, titled {title[1].strip()!r}: a login page or a proxy?"
    kind = str(headers.get("content-type", "something"))[:80]
    return f"something else answered, with {kind} and without Elasticsearch's product header"
