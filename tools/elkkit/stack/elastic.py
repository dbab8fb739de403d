"""One Elasticsearch: how to reach it, what it is, and its errors in words for people."""

from __future__ import annotations

import base64
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from elkkit.errors import ConfigError
from elkkit.stack.elasticerrors import asking, foreign, is_elasticsearch, reason, worded

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elkkit.settings import Settings

__all__ = ["LOGSDB", "OLDEST", "Connection", "Elastic", "Server", "asking", "connect", "open_client", "reason",
           "split_url", "worded"]  # fmt: skip

OLDEST = (8, 0)
"""The oldest server whose answers the client understands."""
LOGSDB = (8, 17)
"""The first server on which logsdb is ready for use."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a server is, and how it is spoken to."""

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
    def from_settings(cls, settings: Settings) -> Self | None:
        """The connection to Elasticsearch, or None where the settings name no address. Raises `ConfigError`."""
        return cls._to(settings["es_url"], settings) if settings["es_url"] else None

    @classmethod
    def _to(cls, address: str, settings: Settings) -> Self:
        """The connection to an address, by the credentials and certificates of the settings."""
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
        api_key = settings["api_key"]
        if api_key and not re.fullmatch(r"[\x21-\x7e]+", api_key):
            raise ConfigError("the API key is wrong", why="it holds a blank or a letter that no key has",
                              hint="give the key in its encoded form, one word: ELKKIT_API_KEY=KEY")  # fmt: skip
        return cls(
            url=url,
            api_key=api_key,
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
        parts = urlsplit(address.strip())
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
        pair = f"{connection.user}:{connection.password or ''}"
        given["basic_auth"] = base64.b64encode(pair.encode()).decode()  # the client's own way takes ASCII only
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
        if error.status_code != 405 or not is_elasticsearch(error):
            raise
        return _probe_bare(client, connection)
    try:
        version, cluster = str(told["version"]["number"]), str(told["cluster_name"])
    except (KeyError, TypeError):
        raise foreign(connection.url, "it answers, but does not say which version it is") from None
    found = re.match(r"(\d+)\.(\d+)", version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if number < OLDEST:
        raise foreign(connection.url, f"it is Elasticsearch {version}, and 8.0 is the oldest that elkkit speaks to")
    return Server(connection.url, number, version, cluster)


def _probe_bare(client: Elasticsearch, connection: Connection) -> Server:
    told = client.nodes.info(node_id="_local", filter_path="cluster_name,nodes.*.version,nodes.*.attributes")
    try:
        node = next(iter(told["nodes"].values()))
        version, cluster = str(node["version"]), str(told["cluster_name"])
        major, minor = version.split(".")[:2]
        number = (int(major), int(minor))
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        raise foreign(connection.url, "it answers, but does not say which version it is") from None
    zstd = node.get("attributes", {}).get("zstd") == "true"
    return Server(connection.url, number, version, cluster, bare=True, zstd=zstd)
