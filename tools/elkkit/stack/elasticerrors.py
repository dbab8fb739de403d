"""What the client of Elasticsearch raises, in words for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elkkit.errors import ConfigError, ElkkitError, NotAllowedError, ServiceError, UnreachableError

if TYPE_CHECKING:
    from elasticsearch import ApiError

_LONGEST_REASON = 600
_OTHER_PRINT = re.compile(r'Fingerprints did not match.*got "?([0-9a-fA-F:]{64,95})"?')
_NO_CERTIFICATE = re.compile(r"NO_CERTIFICATE_OR_CRL_FOUND|no start line|PEM lib|NO_START_LINE")


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
    from elasticsearch import ApiError, ConnectionTimeout, SerializationError, TransportError, UnsupportedProductError
    from elasticsearch import SSLError as TlsError

    if isinstance(error, UnsupportedProductError):
        return foreign(url, _what_answered(error.body, error.meta.headers))
    if isinstance(error, ConnectionTimeout):
        return UnreachableError(f"cannot {what}", why=f"{url} gave no answer in time",
                                hint="try again, with more time if it is busy: --timeout SECONDS")  # fmt: skip
    if isinstance(error, SerializationError):
        return ServiceError(f"cannot {what}: {url} gave an answer that is not readable", why=plain(error),
                            hint="elkkit status  shows which Elasticsearch is used and why")  # fmt: skip
    if isinstance(error, TlsError):
        return not_trusted(plain(error), what, url)
    if isinstance(error, TransportError):
        return _not_reachable(plain(error), what, url)
    if not isinstance(error, ApiError):
        raise error
    return _answered(error, what, url)


# --- it could not be asked -------------------------------------------------------------------------------------------


def not_trusted(why: str, what: str, url: str, *, flag: str = "--es-url") -> ElkkitError:
    """The error where TLS failed; `flag` is the option that gives the address."""
    message = f"cannot {what}: {url} is not trusted"
    if "WRONG_VERSION_NUMBER" in why or "record layer" in why.lower():
        return UnreachableError(f"cannot {what}: {url} is not reachable", why="it does not speak https, perhaps http",
                                hint=f"{flag} {url.replace('https:', 'http:', 1)}")  # fmt: skip
    if _NO_CERTIFICATE.search(why):
        return ConfigError("cannot use the certificate authority", why="its file holds no certificate",
                           hint="name a PEM file: --ca-cert FILE")  # fmt: skip
    if other := _OTHER_PRINT.search(why):
        return UnreachableError(message, why=f"it shows another certificate, with the SHA-256 {other[1]}",
                                hint="ask who runs it; if it was renewed, give that with --fingerprint")  # fmt: skip
    hint = "trust its authority with --ca-cert FILE, or this certificate with --fingerprint SHA256"
    return UnreachableError(message, why=why, hint=hint)


def _not_reachable(why: str, what: str, url: str) -> ElkkitError:
    """No connection, or one that broke."""
    hint = "elkkit status  shows which Elasticsearch is used and why"
    if re.search(r"BadStatusLine|LineTooLong|IncompleteRead", why):
        why = "what answered there does not speak http"
        hint = "check the port: --es-url URL"
    elif "Connection aborted" in why or "RemoteDisconnected" in why:
        why = "the connection was closed without an answer"
        if url.startswith("http:"):
            hint = f"if it speaks https: --es-url {url.replace('http:', 'https:', 1)}"
    return UnreachableError(f"cannot {what}: {url} is not reachable", why=why, hint=hint)


def plain(error: Exception) -> str:
    """A transport error's innermost reason, without the objects that Python puts around it."""
    text = str(getattr(error, "message", "") or error)
    text = re.sub(r"<[^<>]*object at[^<>]*>:? ?", "", text.rpartition(">: ")[2])
    text = re.sub(r"^\((.*)\)$", r"\1", text.strip())
    text = re.sub(r"^HTTPS?Connection(Pool)?\([^()]*\): |Failed to establish a new connection: ", "", text)
    text = re.sub(r" ?\(_ssl\.c:\d+\)|\[Errno -?\d+\] ", "", text)
    return text[:_LONGEST_REASON]


# --- it said no ------------------------------------------------------------------------------------------------------


def _answered(error: ApiError, what: str, url: str) -> ElkkitError:
    status, why = error.status_code, reason(error.body) or None
    if status == 401:
        hint = (
            "set ELKKIT_API_KEY, or ELKKIT_ES_USER and ELKKIT_ES_PASSWORD; elkkit config show  tells what is in force"
        )
        return NotAllowedError(f"cannot {what}: {url} wants other credentials", why=why, hint=hint)
    if status == 403:
        return NotAllowedError(f"cannot {what}: {url} does not allow it", why=why,
                               hint="use an API key or a user with that privilege")  # fmt: skip
    if status in (400, 406) and "media_type_header_exception" in error.message:
        return foreign(url, f"it is too old for elkkit, or too new: {why}")
    if status in (429, 502, 503, 504):
        return UnreachableError(f"cannot {what}: {url} answers {status}", why=why, hint="try again later")
    if status < 500 and not is_elasticsearch(error):
        return foreign(url, _what_answered(error.body, error.meta.headers, status))
    return ServiceError(f"cannot {what}: {url} answers {status}", why=why,
                        hint="elkkit status  shows which Elasticsearch is used and why")  # fmt: skip


def reason(body: object) -> str:
    """Why a request failed, in the server's words: the root cause where it names one; of a web page its title."""
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
    if isinstance(found, str) and "<html" in found[:_LONGEST_REASON].lower():
        title = _title(found)
        return f"a web page, titled {title!r}" if title else "a web page"
    return str(found or "")[:_LONGEST_REASON]


# --- it is something else --------------------------------------------------------------------------------------------


def is_elasticsearch(error: ApiError) -> bool:
    """Whether an answer has the header that Elasticsearch marks its own with."""
    return error.meta.headers.get("x-elastic-product") == "Elasticsearch"


def foreign(url: str, why: str) -> ElkkitError:
    """The error for a server that is no Elasticsearch, or not one that elkkit speaks to."""
    hint = "name an Elasticsearch 8 or 9: --es-url URL, or ELKKIT_ES_URL"
    return ConfigError(f"{url} is no Elasticsearch that elkkit can use", why=why, hint=hint)


def _what_answered(body: object, headers: Mapping[str, str], status: int = 200) -> str:
    """What a server is that does not say that it is Elasticsearch."""
    if isinstance(body, Mapping) and isinstance(body.get("version"), Mapping):
        version = body["version"]
        number = str(version.get("number", "?"))[:40]
        if version.get("distribution") == "opensearch":
            return f"it is OpenSearch {number}"
        return f"it says version {number}, and not that it is Elasticsearch 7.14 or later"
    if 300 <= status < 400 and (target := headers.get("location")):
        return f"it sends on to {target[:200]}: a login page or a proxy?"
    if isinstance(body, str) and (title := _title(body)):
        return f"a web page answered, titled {title!r}: a login page or a proxy?"
    kind = str(headers.get("content-type") or "no content type")[:80]
    return f"something else answered {status}, with {kind} and without Elasticsearch's product header"


def _title(page: str) -> str | None:
    """The title of a web page."""
    found = re.search(r"<title[^>]*>\s*([^<]{1,120})", page, re.IGNORECASE)
    return found[1].strip() if found else None
