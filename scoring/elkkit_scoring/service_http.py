"""The service behind Azure ML's inference server: statuses, limits on what is read, and `/metrics`.

Without this the server answers 200 to every request that `run()` returns from, reads bodies of any size, and gives an
empty text instead of a body whose content type is that of a form. Elsewhere `run` is `elkkit_scoring.service.run`.
"""

from __future__ import annotations

import sys
from typing import Any

from elkkit.errors import ElkkitError
from elkkit_scoring import service
from elkkit_scoring.service_metrics import NoMetrics, PrometheusMetrics
from elkkit_scoring.service_request import BadFieldError, body_too_long

_PIECE = 64 * 1024
READ_AWAY = 256 * 1024 * 1024
"""A body that is refused is read and dropped up to so many bytes: who still sends when the connection ends sees no
answer."""
_ID_HEADER = "x-request-id"
_ROUTES = "azureml_inference_server_http.server.routes"


def init() -> None:
    """Open the models, and serve `/metrics` beside `/score`. Raises `ElkkitError`."""
    service.init()
    if (routes := sys.modules.get(_ROUTES)) is not None:
        # The server calls init() before it registers its blueprint, so routes can still be added.
        routes.main_blueprint.add_url_rule("/metrics", "elkkit_metrics", _metrics, methods=["GET"])


def respond(request: Any) -> Any:
    """Answer a request of Flask's: a dict where it was scored, else a response with its status."""
    from azureml_inference_server_http.api.aml_response import AMLResponse

    if request.method == "OPTIONS":  # asked by browsers; the server adds the headers where they are allowed
        return AMLResponse("", 200)
    request_id = _request_id(request)
    if request.method != "POST":
        error = BadFieldError("method", f"it is {request.method}, not POST", "send the request with POST")
        done = service.refuse(error, request_id=request_id, status=405)
    else:
        done = _scored(request, request_id)
    if done.status == 200:
        return done.body
    headers = {"Allow": "POST"} if done.status == 405 else {}
    return AMLResponse(done.body, done.status, headers, json_str=True)


def _scored(request: Any, request_id: str | None) -> service.Answer:
    try:
        body = _body(request)
    except BadFieldError as error:
        return service.refuse(error, request_id=request_id)
    except Exception as error:
        return service.fail(error, request_id=request_id)
    return service.answer(body, request_id=request_id)


def _body(request: Any) -> bytes:
    """The body, of at most as many bytes as are parsed. Raises `BadFieldError`."""
    longest = service.service().longest_body
    length = request.content_length  # None where it comes in chunks
    parts: list[bytes] = []
    read = 0
    wrong = _wrong_header(request)
    keep = wrong is None and (length is None or length <= longest)
    most = longest if keep else 0
    try:
        while read < READ_AWAY and (part := request.stream.read(_PIECE)):
            read += len(part)
            if read > most and keep:
                keep = False
                parts.clear()
            if keep:
                parts.append(part)
    except TimeoutError:  # the server's clock
        raise
    except Exception as error:  # Flask's for a client that went away, gunicorn's for broken chunks
        why = f"it could not be read: {type(error).__name__}"
        raise BadFieldError("body", why, "send it whole, with its length or in chunks") from None
    if wrong is not None:
        raise wrong
    if not keep:
        raise body_too_long(max(read, length or 0), longest)
    return b"".join(parts)


def _wrong_header(request: Any) -> BadFieldError | None:
    kind = (request.mimetype or "").lower()
    if kind and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        hint = "send a JSON object with the header Content-Type: application/json"
        return BadFieldError("Content-Type", f"it is {kind:.80}", hint)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        return BadFieldError("Content-Encoding", f"it is {encoding:.80}", "send the body as it is; JPEG is small")
    return None


def _request_id(request: Any) -> str | None:
    """The caller's id, else the one that the server has made and answers with, so that both logs name the same."""
    if given := request.headers.get(_ID_HEADER):
        return str(given)
    from flask import g

    return g.get("request_id") or None


def _metrics() -> Any:
    from flask import Response, request

    counters = service.service().counters
    if isinstance(counters, PrometheusMetrics):
        try:
            text, kind = counters.text(request.headers.get("Accept", ""))
        except ElkkitError as error:
            service.complain("metrics not shown", error)
            return Response(f"{error}\n", 500, content_type="text/plain; charset=utf-8")
        return Response(text, content_type=kind)
    assert isinstance(counters, NoMetrics)
    why = "prometheus-client is not installed here: pip install 'elkkit[serve]'\n"
    return Response(why, 501, content_type="text/plain; charset=utf-8")


def _entry() -> Any:
    if "azureml_inference_server_http" not in sys.modules:
        return service.run
    from azureml_inference_server_http.api.aml_request import rawhttp

    def run(request: Any) -> Any:
        """Score one request."""
        return respond(request)

    return rawhttp(run)


run = _entry()
"""What the server calls: with Flask's request under Azure ML's server, else `elkkit_scoring.service.run`."""
__all__ = ["init", "respond", "run"]
