"""HTTP with one Kibana: how it is reached, and one request at a time. It retries nothing."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode, urlsplit

from elkkit.errors import ConfigError
from elkkit.stack.elastic import Connection, split_url
from elkkit.stack.kibanaerrors import answered, decoded, silent

if TYPE_CHECKING:
    from elastic_transport import Urllib3HttpNode

    from elkkit.settings import Settings


@dataclass(frozen=True, slots=True)
class KibanaConnection(Connection):
    """Where a Kibana is; its `url` ends with `server.basePath` where there is one."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """The connection to Kibana, or None where the settings name no address. Raises `ConfigError`.

        Credentials and certificates are those of Elasticsearch.
        """
        address = settings["kibana_url"]
        if not address:
            return None
        try:
            split_url(address)
        except ConfigError as error:
            hint = "give scheme, host and port, for example --kibana-url http://localhost:5601"
            raise ConfigError("the address of Kibana is wrong", why=error.why, hint=hint) from None
        return cls._to(address, settings)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of a server."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    raw: bytes

    @property
    def body(self) -> Any:
        """Its JSON, or its text."""
        return decoded(self.raw, self.headers)


class Wire:
    """Sends requests to one Kibana; call `close`."""

    def __init__(self, connection: KibanaConnection) -> None:
        self.connection = connection
        self._made: Urllib3HttpNode | None = None

    def close(self) -> None:
        """Let go of its connections."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def send(
        self,
        method: str,
        path: str,
        *,
        what: str,
        query: Mapping[str, str | Sequence[str]] | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
        space: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and its answer, whatever its status; `what` is a verb phrase for errors.

        Raises `UnreachableError` where no whole answer comes in time, `ConfigError` for a bad certificate file.
        """
        from elastic_transport import HttpHeaders, TransportError

        target = (f"/s/{quote(space, safe='')}" if space and space != "default" else "") + path
        target += f"?{urlencode(query, doseq=True)}" if query else ""
        sent = {"accept": "application/json, application/x-ndjson, */*", **(headers or {})}
        if method not in ("GET", "HEAD"):
            sent |= {"kbn-xsrf": "elkkit", "osd-xsrf": "elkkit"}  # the second is for OpenSearch Dashboards
        if content_type:
            sent["content-type"] = content_type
        try:
            meta, raw = self._node().perform_request(method, target, body=body, headers=HttpHeaders(sent))
        except (TransportError, OSError) as error:
            ours = silent(error, what, self.connection.url)
            raise ours from ours.__cause__
        return Answer(meta.status, {k.lower(): v for k, v in meta.headers.items()}, raw)

    def ask(self, method: str, path: str, *, what: str, json_body: object = None, **options: Any) -> Answer:
        """`send` with a JSON body; an answer that is no success is raised as one of elkkit's errors."""
        if json_body is not None:
            options |= {"body": json.dumps(json_body).encode(), "content_type": "application/json"}
        return self.checked(self.send(method, path, what=what, **options), what)

    def checked(self, answer: Answer, what: str) -> Answer:
        """The answer, if it is a success; else its error is raised."""
        if 200 <= answer.status < 300:
            return answer
        error = answered(what, self.connection.url, answer.status, answer.body, answer.headers)
        raise error from error.__cause__

    def _node(self) -> Urllib3HttpNode:
        if self._made is None:
            self._made = _open(self.connection)
        return self._made


def _open(connection: KibanaConnection) -> Urllib3HttpNode:
    from elastic_transport import HttpHeaders, NodeConfig, Urllib3HttpNode

    parts = urlsplit(connection.url)
    headers = {"user-agent": "elkkit"}
    if connection.api_key:
        headers["authorization"] = f"ApiKey {connection.api_key}"
    elif connection.user is not None:
        pair = f"{connection.user}:{connection.password or ''}"
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    given: dict[str, Any] = {}
    if parts.scheme == "https":
        if connection.insecure:
            given = {"verify_certs": False, "ssl_show_warn": False}
        elif connection.fingerprint:
            given = {"ssl_assert_fingerprint": connection.fingerprint.replace(":", "")}
        elif connection.ca_cert:
            given = {"ca_certs": connection.ca_cert}
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    config = NodeConfig(parts.scheme, parts.hostname or "", port, parts.path.rstrip("/"), HttpHeaders(headers),
                        request_timeout=connection.timeout, **given)  # fmt: skip
    return Urllib3HttpNode(config)


def form(lines: bytes, retries: object = None) -> tuple[bytes, str]:
    """A multipart body with the file, and its content type."""
    mark = f"elkkit-{uuid.uuid4().hex}"
    parts = [
        b'Content-Disposition: form-data; name="file"; filename="elkkit.ndjson"\r\n'
        b"Content-Type: application/ndjson\r\n\r\n" + lines
    ]
    if retries is not None:
        parts.append(b'Content-Disposition: form-data; name="retries"\r\n\r\n' + json.dumps(retries).encode())
    edge = b"--" + mark.encode()
    body = b"".join(edge + b"\r\n" + part + b"\r\n" for part in parts) + edge + b"--\r\n"
    return body, f"multipart/form-data; boundary={mark}"
