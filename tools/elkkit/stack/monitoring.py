"""What Logstash and Filebeat tell of themselves over HTTP: counters, nothing else. Nothing is changed by asking."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from elkkit.errors import ConfigError, ElkkitError, NotAllowedError, ServiceError, UnreachableError
from elkkit.stack.elastic import Connection, split_url
from elkkit.stack.elasticerrors import not_trusted, plain

if TYPE_CHECKING:
    from elastic_transport import Urllib3HttpNode

    from elkkit.settings import Settings

Name = Literal["Logstash", "Filebeat"]
_SETTING = {"Logstash": "logstash_url", "Filebeat": "filebeat_url"}
_EXAMPLE = {"Logstash": "http://localhost:9600", "Filebeat": "http://localhost:5066"}
_LISTENS = {
    "Logstash": "api.enabled and api.http.host in its logstash.yml",
    "Filebeat": "http.enabled, http.host and http.port in its filebeat.yml",
}


@dataclass(frozen=True, slots=True)
class Counters:
    """Where a service tells its counters."""

    name: Name
    connection: Connection
    """Without Elasticsearch's credentials, which are no business of other services."""

    @classmethod
    def from_settings(cls, name: Name, settings: Settings) -> Self | None:
        """Of the service of that name, or None where the settings give no address. Raises `ConfigError`."""
        address = settings[_SETTING[name]]
        if not address:
            return None
        try:
            _, user, password = split_url(address)
        except ConfigError as error:
            raise ConfigError(f"the address of {name} is wrong", why=error.why,
                              hint=f"for example {option(name)} {_EXAMPLE[name]}") from None  # fmt: skip
        known = Connection._to(address, settings)
        return cls(name, replace(known, api_key=None, user=user, password=password, fingerprint=None))

    @property
    def url(self) -> str:
        """Its address without user and password."""
        return self.connection.url

    def within(self, seconds: float) -> Self:
        """The same, asked no longer than that."""
        return replace(self, connection=replace(self.connection, timeout=min(seconds, self.connection.timeout)))

    def get(self, path: str) -> dict[str, Any]:
        """One JSON object. Raises `UnreachableError`, `NotAllowedError`, `ServiceError`; see the hint of each."""
        from elastic_transport import TransportError

        what = f"ask {self.name}"
        node = _node(self.connection)
        try:
            meta, raw = node.perform_request("GET", path)
        except (TransportError, OSError) as error:
            raise self._silent(error, what) from error
        finally:
            node.close()
        if meta.status in (401, 403):
            raise NotAllowedError(f"cannot {what}: {self.url} wants credentials", why=f"it answers {meta.status}",
                                  hint=f"{option(self.name)} http://USER:PASSWORD@HOST:PORT")  # fmt: skip
        if meta.status != 200:
            raise ServiceError(f"cannot {what}: {self.url}{path} is not what it should be",
                               why=f"it answers {meta.status}", hint=self._check_address())  # fmt: skip
        try:
            found = json.loads(raw)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServiceError(f"cannot {what}: {self.url} is something else", why="its answer is no JSON object",
                               hint=self._check_address())  # fmt: skip
        return found

    def _silent(self, error: Exception, what: str) -> ElkkitError:
        from elastic_transport import ConnectionTimeout, TlsError

        if isinstance(error, TlsError):
            return not_trusted(plain(error), what, self.url, flag=option(self.name))
        if isinstance(error, ConnectionTimeout):
            return UnreachableError(f"cannot {what}: {self.url} gave no answer in {self.connection.timeout:g} s",
                                    hint=f"is {self.name} busy or stopped? read its log")  # fmt: skip
        return UnreachableError(f"cannot {what}: {self.url} is not reachable", why=plain(error),
                                hint=f"is {self.name} running? {self._check_address()}")  # fmt: skip

    def _check_address(self) -> str:
        return f"compare {option(self.name)} with {_LISTENS[self.name]}"


def option(name: Name) -> str:
    """The option that gives a service's address."""
    return f"--{_SETTING[name].replace('_', '-')}"


def number(body: Mapping[str, Any], *path: str) -> int:
    """A counter by its path; 0 where it is not there, as some versions leave out what never counted."""
    at: Any = body
    for part in path:
        at = at.get(part) if isinstance(at, Mapping) else None
    return int(at) if isinstance(at, int | float) and not isinstance(at, bool) else 0


def _node(connection: Connection) -> Urllib3HttpNode:
    from elastic_transport import HttpHeaders, NodeConfig, Urllib3HttpNode

    parts = urlsplit(connection.url)
    headers = {"user-agent": "elkkit", "accept": "application/json"}
    if connection.user is not None:
        pair = f"{connection.user}:{connection.password or ''}"
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    given: dict[str, Any] = {}
    if parts.scheme == "https":
        if connection.insecure:
            given = {"verify_certs": False, "ssl_show_warn": False}
        elif connection.ca_cert:
            given = {"ca_certs": connection.ca_cert}
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    config = NodeConfig(parts.scheme, parts.hostname or "", port, parts.path.rstrip("/"), HttpHeaders(headers),
                        request_timeout=connection.timeout, **given)  # fmt: skip
    return Urllib3HttpNode(config)
