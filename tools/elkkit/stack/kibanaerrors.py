"""What goes wrong with Kibana, in words for people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from elkkit.errors import ConfigError, ElkkitError, InputError, NotAllowedError, ServiceError, UnreachableError
from elkkit.stack.elasticerrors import not_trusted, plain

_LONGEST = 600
_NEWER = re.compile(
    r'Document "(?P<id>.*?)" (?:has property "(?P<type>[^"]+)" which |has a "(?P<key>\w+)" which )?'
    r"belongs to a more recent version of Kibana \[(?P<stamp>[^\]]*)\]"
)
CONFIG_HINT = "elkkit config show  tells which address and credentials are in force"
AGAIN = "run the same command again; if that fails too, read Kibana's log"


class KibanaAnswerError(Exception):
    """An answer that is an error, or no answer; the cause of the error that people see."""

    def __init__(self, status: int, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        """HTTP status; 0 where no whole answer came."""
        self.body = body
        self.headers = headers or {}


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind one of elkkit's errors: 0 where no whole answer came, None where Kibana was not asked."""
    return error.__cause__.status if isinstance(error.__cause__, KibanaAnswerError) else None


def nothing_written(error: BaseException) -> bool:
    """Whether a failed request is known to have changed nothing."""
    return status_of(error) in (None, 301, 302, 303, 307, 308, 400, 401, 403, 404, 413, 415, 422, 429)


def worth_another_try(error: BaseException) -> bool:
    """Whether the same request may succeed a little later; see `nothing_written` for what it did meanwhile."""
    return status_of(error) in (429, 503)


# --- it answered -----------------------------------------------------------------------------------------------------


def answered(what: str, url: str, status: int, body: object, headers: Mapping[str, str]) -> ElkkitError:
    """An answer that is no success as one of elkkit's errors; `what` is a verb phrase."""
    error = _answered(what, url, status, body, headers)
    error.__cause__ = KibanaAnswerError(status, body, headers)
    return error


def _answered(what: str, url: str, status: int, body: object, headers: Mapping[str, str]) -> ElkkitError:
    why = reason(body) or f"it answers {status} and gives no reason"
    failed = f"cannot {what}"
    if status == 401:
        return NotAllowedError(f"{failed}: {url} wants other credentials", why=why,
                               hint="set ELKKIT_API_KEY, or ELKKIT_ES_USER and ELKKIT_ES_PASSWORD; elkkit config "
                                    "show  tells what is in force")  # fmt: skip
    if status == 403:
        return NotAllowedError(f"{failed}: {url} does not allow it", why=why,
                               hint="use an API key or a user with the Kibana privilege \"Saved Objects Management: "
                                    "all\" in that space")  # fmt: skip
    if status == 413:
        return InputError(f"{failed}: it is too large for {url}", why=why,
                          hint="import fewer objects at once; a proxy before Kibana may allow less than its own 25 MiB "
                               "(nginx: client_max_body_size)")  # fmt: skip
    if status == 415:
        return UnreachableError(f"{failed}: {url} does not take files yet", why=f"{why}; Kibana 8 answers so while it "
                                "starts, and a proxy that changes the content type makes it answer so too",
                                hint="wait until it is ready, then run the same command again")  # fmt: skip
    if status == 422:
        return _too_new(failed, url, why)
    if status == 429:
        return UnreachableError(f"{failed}: {url} has too much to do", why=why, hint="run the same command again later")
    if status in (502, 504):
        return UnreachableError(f"{failed}: a proxy before {url} answers {status}", why=why, hint=AGAIN)
    if status == 503:
        return UnreachableError(f"{failed}: {url} is not ready", why=why,
                                hint="wait until both it and Elasticsearch are up, then run this again")  # fmt: skip
    if 300 <= status < 400:
        target = str(headers.get("location", "another address"))[:200]
        return foreign(url, f"it sends on to {target}: a login page or a proxy?")
    if status == 404 and not _is_kibana(headers):
        return foreign(url, f"it answers 404, without Kibana's own header: {why}")
    if status == 404:
        return ServiceError(f"{failed}: {url} has no such thing", why=why, hint=CONFIG_HINT)
    if status == 400:
        return InputError(f"{failed}: {url} does not take it", why=why, hint=_mend(why))
    if status >= 500:
        return ServiceError(f"{failed}: {url} failed", why=f"{why} (so it answers to an object that it cannot upgrade)",
                            hint="elkkit import-dashboards --offline FILE  looks for such an object; Kibana's log "
                                 "names it")  # fmt: skip
    return ServiceError(f"{failed}: {url} answers {status}", why=why, hint=CONFIG_HINT)


def _too_new(failed: str, url: str, why: str) -> ElkkitError:
    """422: an object has a stamp that this Kibana does not know."""
    if (found := _NEWER.search(why)) is None:
        return InputError(f"{failed}: {url} cannot hold it", why=why, hint="export it from this version of Kibana")
    kind = f"{found['type']} " if found["type"] else ""
    # the "last known version" in its words is wrong on some versions, so it is told as its words only
    return InputError(
        f'{failed}: {kind}"{found["id"]}" is newer than {url}, with the stamp {found["stamp"]}', why=why,
        hint="export it from a Kibana that is no newer than this one, or update this one",
    )  # fmt: skip


def _mend(why: str) -> str:
    """What to do about a file that is not taken."""
    if re.search(r"in JSON|JSON input|Unexpected token|not valid JSON", why):
        return "each line must be one JSON object, in UTF-8 and without a byte order mark: mend the file"
    if "Non-unique" in why:
        return "leave one line for each of these objects in the file"
    if "more than" in why:
        return "import fewer objects at once"
    return "mend what it names, then run the same command again"


def reason(body: object) -> str:
    """Why a request failed, in the server's own words; of a web page its title."""
    if isinstance(body, Mapping):
        payload = body.get("output")
        if isinstance(payload, Mapping) and isinstance(payload.get("payload"), Mapping):
            return reason(payload["payload"])
        text = body.get("message") or body.get("error")
        objects = body.get("attributes")
        rows = objects.get("objects") if isinstance(objects, Mapping) else None
        if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
            told = reason(rows[0].get("error"))
            text = f"{text}: {told}" if told else text
        return re.sub(r"\s+", " ", str(text or ""))[:_LONGEST]
    if isinstance(body, str):
        if "<html" in body[:_LONGEST].lower():
            found = re.search(r"<title[^>]*>\s*([^<]{1,120})", body, re.IGNORECASE)
            return f"a web page, titled {found[1].strip()!r}" if found else "a web page"
        return re.sub(r"\s+", " ", body)[:_LONGEST]
    return ""


def foreign(url: str, why: str) -> ElkkitError:
    """The error for a server that is no Kibana."""
    return ConfigError(f"{url} is no Kibana that elkkit can use", why=why,
                       hint="name a Kibana or OpenSearch Dashboards: --kibana-url URL")  # fmt: skip


def not_json(url: str, body: bytes, headers: Mapping[str, str]) -> ElkkitError:
    """A success that is not what Kibana answers, such as a login page."""
    text = body[:4000].decode("utf-8", "replace")
    if "<html" in text.lower() or "<!doctype" in text.lower():
        return foreign(url, f"{reason(text) or 'a web page'} answered: a login page or a proxy?")
    kind = str(headers.get("content-type") or "no content type")[:80]
    return foreign(url, f"something else answered, with {kind}")


def _is_kibana(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in ("kbn-name", "osd-name"))


def decoded(body: bytes, headers: Mapping[str, str]) -> Any:
    """A body as JSON where it says that it is JSON and is; else as text."""
    text = body.decode("utf-8", "replace")
    if "json" in str(headers.get("content-type", "")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


# --- it did not answer -----------------------------------------------------------------------------------------------


def silent(error: Exception, what: str, url: str) -> ElkkitError:
    """A failure of the transport as one of elkkit's errors."""
    from elastic_transport import ConnectionTimeout, TlsError

    if isinstance(error, ConnectionTimeout):
        ours: ElkkitError = UnreachableError(f"cannot {what}: {url} gave no answer in time",
                                             why="it is busy, or hangs on what was sent",
                                             hint="try again, with more time: --timeout SECONDS")  # fmt: skip
    elif isinstance(error, TlsError):
        ours = not_trusted(plain(error), what, url, flag="--kibana-url")
    else:
        ours = _not_reachable(plain(error), what, url)
    ours.__cause__ = KibanaAnswerError(0, str(error))
    return ours


def not_known(error: ElkkitError) -> ElkkitError:
    """The same error, which says that the server may have done a part of what it was asked."""
    if nothing_written(error) or isinstance(error, ConfigError):
        return error
    if error.message.endswith(("is not trusted", "is not reachable")) and "closed" not in (error.why or ""):
        return error  # it was never asked
    error.why = f"{error.why}; whether anything was written is not known"
    return error


def _not_reachable(why: str, what: str, url: str) -> ElkkitError:
    hint = "is Kibana running there? name another with --kibana-url URL"
    if re.search(r"BadStatusLine|LineTooLong", why):
        why = "what answered there does not speak http"
        hint = "check the port: --kibana-url URL"
    elif re.search(r"Connection aborted|RemoteDisconnected|IncompleteRead|Connection broken|reset by peer", why):
        why = "the connection was closed before the whole answer came"
        hint = AGAIN
    return UnreachableError(f"cannot {what}: {url} is not reachable", why=why, hint=hint)
