"""Scoring requests: `init()` opens the models, `run(raw)` scores one request and logs one line per metric.

Request, a JSON object (text, bytes or already parsed):

    {"image": "<base64 JPEG or PNG>" or [[[b, g, r], …], …],     uint8 [H][W][3]
     "mask": "<base64 PNG>" or [[0, 255, …], …],                 optional ground truth, uint8 [H][W]
     "channels": "BGR" or "RGB",                                 of an image given as lists; BGR when left out
     "model": "lane-a" or "lane-a:1",                            when several are deployed
     "frame_id", "run_id", "request_id"}                         text, optional

Answer: a dict that the server turns into JSON (never a JSON string, which it would encode twice), with `metrics`
(undefined is null), `mask` (base64 PNG), `seconds`, `model` and `request_id`; or `{"error": {…, "field": …},
"request_id": …}`. A request that is sent again with the same `request_id` and `run_id` gives lines with the same
`event.id`, so it counts once.

Environment: `ELKKIT_MODEL` (files or bundled names, separated by `:`) or `AZUREML_MODEL_DIR` (every .onnx file below
it); `ELKKIT_SERVICE_NAME` or `SERVICE_NAME`; `ELKKIT_RUN_ID`; `ELKKIT_THREADS` (threads per prediction);
`ELKKIT_SERVICE_LOG` (a file that gets the lines too); `ELKKIT_MAX_BODY` (bytes of a request).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import socket
import sys
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from elkkit.contract import Contract
from elkkit.errors import ElkkitError, InputError, InternalError, UsageError
from elkkit.line import MetricLogger
from elkkit.settings import load_settings
from elkkit_scoring.batch import scores_of
from elkkit_scoring.bundled import find_model
from elkkit_scoring.datasets import Frame
from elkkit_scoring.image import encode_png
from elkkit_scoring.metrics import MetricName
from elkkit_scoring.model import LaneModel
from elkkit_scoring.service_metrics import Counting, NoMetrics, open_metrics, server_key
from elkkit_scoring.service_request import BadFieldError, image_of, mask_of, parse_request

MAX_BODY = 64 * 1024 * 1024
"""Longest request that is parsed, in bytes: a 720p image as lists of numbers is 14 MB."""
LOGGER_NAME = "elkkit.service"
_LONGEST = 8_000
"""Characters of an error that are logged; a request may name a field of megabytes."""


@dataclass(frozen=True)
class Service:
    """The deployed models, and how their metrics are logged and counted."""

    models: Mapping[str, LaneModel]  # by `name:version`
    name: str | None
    run_id: str
    contract: Contract
    max_body: int | None = None  # bytes; None: MAX_BODY
    files: Mapping[str, MetricLogger] = field(default_factory=dict)  # by `name:version`
    counters: Counting = field(default_factory=NoMetrics)

    @property
    def longest_body(self) -> int:
        """Bytes of the longest request that is parsed."""
        return MAX_BODY if self.max_body is None else self.max_body

    def choose(self, wanted: str | None) -> LaneModel:
        """The model of a request: by `name:version` or `name`, or the only one. Raises `BadFieldError`."""
        if wanted is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        found = [model for key, model in self.models.items() if wanted in (key, model.card.name)]
        if len(found) == 1:
            return found[0]
        choices = ", ".join(self.models)
        why = (
            "several models are deployed"
            if wanted is None
            else f"{wanted!r:.80} is {'more than one' if found else 'none'} of them"
        )
        raise BadFieldError("model", why, f"name one of {choices}")


@dataclass(frozen=True)
class Answer:
    """The answer to one request."""

    status: int  # as HTTP has it
    body: dict[str, Any]


_service: Service | None = None


def init() -> None:
    """Open and warm up the models. Called once per process, before the first request. Raises `ElkkitError`."""
    global _service
    settings = load_settings()
    contract = settings.contract()
    threads = _threads()
    models = [LaneModel.load(path, threads=threads) for path in model_paths()]
    named = {f"{model.card.name}:{model.card.version}": model for model in models}
    if len(named) < len(models):
        why = "two of them have the same name and version in their cards"
        raise UsageError("cannot deploy these models together", why=why, hint="change the version in one card")
    for model in models:
        _warm_up(model, contract)
    name = os.environ.get("ELKKIT_SERVICE_NAME") or os.environ.get("SERVICE_NAME") or None
    if _service is not None:  # opened again in the same process
        for log in _service.files.values():
            log.close()
    counters: Counting | None = _service.counters if _service is not None else None
    counters = counters or open_metrics(shared=under_server())
    for model in models:
        counters.expect(*_labels(model))
    _service = Service(
        models=named,
        name=name,
        run_id=settings["run_id"] or _run_id(),
        contract=contract,
        max_body=_whole("ELKKIT_MAX_BODY", None),
        files=_log_files(named, name, contract),
        counters=counters,
    )


def _warm_up(model: LaneModel, contract: Contract) -> None:
    """Go the whole way of a request once, so that the first one is not slow. Raises `InputError` where it fails."""
    spec = model.card.input
    grey = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
    black, white = (
        base64.b64encode(encode_png(np.full(grey.shape[:2], lane))).decode("ascii") for lane in (False, True)
    )
    request = parse_request(json.dumps({"image": black, "mask": white}), MAX_BODY)
    image = image_of(request)
    frame = Frame("warm-up", 0, image, mask_of(request["mask"], image))
    encode_png(model.predict(grey).mask)
    scores = scores_of(model.predict(image), frame)
    nowhere = io.StringIO()
    logger = _logger(model, None, None, contract, nowhere)
    for name, value in scores.items():
        logger.log_metric(name, value, frame_id=frame.frame_id, lane_free=frame.lane_free)


def service() -> Service:
    """The opened service; opens it where nobody has. Raises `ElkkitError`."""
    if _service is None:
        init()
    assert _service is not None
    return _service


def under_server() -> bool:
    """Whether this process is a worker of Azure ML's inference server."""
    return "azureml_inference_server_http.server" in sys.modules


def model_paths() -> list[Path]:
    """The models to deploy, from the environment. Raises `UsageError` where there is none."""
    if given := os.environ.get("ELKKIT_MODEL"):
        return [find_model(part) for part in given.split(os.pathsep) if part]
    folder = os.environ.get("AZUREML_MODEL_DIR")
    if not folder:
        hint = "set ELKKIT_MODEL to an .onnx file, or to the name of a bundled model such as lane-a"
        raise UsageError("no model to deploy", why="neither ELKKIT_MODEL nor AZUREML_MODEL_DIR is set", hint=hint)
    # A registered folder adds its own levels (name/version/…) below AZUREML_MODEL_DIR.
    found = sorted(Path(folder).rglob("*.onnx"))
    if not found:
        hint = "register the .onnx file together with its card (.toml)"
        raise UsageError(f"no model in {folder}", why="AZUREML_MODEL_DIR holds no .onnx file", hint=hint)
    return found


def run(raw: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    """Score one request; the module's docstring has its form and the answer's. Never raises for a bad request."""
    return answer(raw).body


def answer(raw: str | bytes | Mapping[str, Any], *, request_id: str | None = None) -> Answer:
    """Score one request, count it, and log what went wrong; ``request_id`` is for a request that names none itself.

    Raises only `TimeoutError` (by which Azure's server ends a request), after it was counted and logged.
    """
    opened = service()
    seen: dict[str, Any] = {"request_id": request_id or uuid.uuid4().hex, "model": None}
    try:
        request = parse_request(raw, opened.longest_body)
        seen["request_id"] = request.get("request_id") or seen["request_id"]
        seen["model"] = opened.choose(request.get("model"))
        body = _score(opened, request, seen["request_id"], seen["model"])
    except InputError as error:
        return refuse(error, request_id=seen["request_id"], model=seen["model"])
    except Exception as error:
        return fail(error, request_id=seen["request_id"], model=seen["model"])
    opened.counters.request(*_labels(seen["model"]), "scored")
    return Answer(200, body)


def refuse(
    error: InputError, *, request_id: str | None = None, model: LaneModel | None = None, status: int = 400
) -> Answer:
    """The answer to a request that cannot be used; it is counted and logged."""
    opened, request_id = service(), request_id or uuid.uuid4().hex
    opened.counters.request(*_labels(model), "refused")
    _report(opened, "warning", "request refused", error, request_id, status)
    return Answer(status, {"error": _parts(error), "request_id": request_id})


def complain(what: str, error: ElkkitError) -> None:
    """Log what went wrong outside a request for a score; ``what`` is fixed text."""
    _report(service(), "error", what, error, uuid.uuid4().hex, 500)


def fail(error: Exception, *, request_id: str | None = None, model: LaneModel | None = None) -> Answer:
    """The answer to a request that failed here; it is counted and logged. Raises the error if it is `TimeoutError`."""
    opened, request_id = service(), request_id or uuid.uuid4().hex
    opened.counters.request(*_labels(model), "failed")
    _report(opened, "error", "request failed", error, request_id, 500)
    if isinstance(error, TimeoutError):  # the server's clock: it answers itself
        raise error
    why = f"{type(error).__name__}; the service's log has more, under this request_id"
    ours = InternalError("the request could not be scored", why=why, hint="look into the log of the service")
    return Answer(500, {"error": _parts(ours), "request_id": request_id})


def _parts(error: ElkkitError) -> dict[str, Any]:
    parts = {"code": error.code, "field": getattr(error, "field", None), "message": error.message,
             "why": error.why, "hint": error.hint}  # fmt: skip
    return {key: text if text is None else _sendable(text) for key, text in parts.items()}


def _sendable(text: str) -> str:
    """Text that every encoder takes; a request may hold half a character."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def _report(opened: Service, level: str, what: str, error: Exception, request_id: str, status: int) -> None:
    """One line of JSON on standard error. Its message is fixed: words of a request never look like a score."""
    lines = {
        "@timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "log.level": level,
        "log.logger": LOGGER_NAME,
        "message": what,
        "service.name": opened.name,
        "http.request.id": _sendable(request_id),
        "http.response.status_code": status,
        "error.type": type(error).__name__,
        "error.message": _sendable(str(error)),
    }
    if status >= 500:
        lines["error.stack_trace"] = _sendable("".join(traceback.format_exception(error))[-_LONGEST:])
    try:
        sys.stderr.write(orjson.dumps({k: v for k, v in lines.items() if v is not None}).decode() + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # standard error is closed: there is nobody to tell
        return


def _labels(model: LaneModel | None) -> tuple[str, str]:
    return ("", "") if model is None else (model.card.name, model.card.version)


def _score(opened: Service, request: Mapping[str, Any], request_id: str, model: LaneModel) -> dict[str, Any]:
    image = image_of(request)
    truth = mask_of(request["mask"], image) if request.get("mask") is not None else None
    frame = Frame(request.get("frame_id") or request_id, 0, image, truth)
    try:
        prediction = model.predict(image)
    except InputError as error:  # its output is not a number for this image
        raise BadFieldError("image", f"{error.message}: {error.why}", error.hint or "send another image") from None
    scores = scores_of(prediction, frame)
    run_id = request.get("run_id") or opened.run_id
    logged = _log(opened, model, scores, frame, request.get("frame_id"), request_id, run_id)
    opened.counters.scored(
        *_labels(model),
        {str(name): value for name, value in scores.items()},
        seconds=prediction.seconds.inference,
        lane_free=frame.lane_free,
    )
    if not logged:
        opened.counters.unlogged(*_labels(model))
    return {
        "request_id": request_id,
        "run_id": run_id,
        "frame_id": request.get("frame_id"),
        "model": {"name": model.card.name, "version": model.card.version, "sha256": model.digest},
        "line_width": model.line_width,
        "lane_free": frame.lane_free,
        "metrics": {str(name): None if math.isnan(value) else value for name, value in scores.items()},
        "seconds": {
            "preprocess": prediction.seconds.preprocess,
            "inference": prediction.seconds.inference,
            "postprocess": prediction.seconds.postprocess,
        },
        "mask": base64.b64encode(encode_png(prediction.mask)).decode("ascii"),
        "logged": logged,
    }


def _log(
    opened: Service,
    model: LaneModel,
    scores: Mapping[MetricName, float | int],
    frame: Frame,
    frame_id: str | None,
    request_id: str,
    run_id: str,
) -> bool:
    """One line per metric on standard output and in the file; a log that cannot be written costs no answer."""
    key = f"{model.card.name}:{model.card.version}"
    now = datetime.now(UTC)
    try:
        # Of a request, not of the service: standard output may have been replaced since.
        loggers = [_logger(model, opened.name, run_id, opened.contract), *filter(None, [opened.files.get(key)])]
        for name, value in scores.items():
            for logger in loggers:
                logger.log_metric(
                    name,
                    value,
                    frame_id=frame_id,
                    lane_free=frame.lane_free,
                    request_id=request_id,
                    timestamp=now,
                    run_id=run_id,
                )
    except InputError as error:
        why = error.why or error.message
        raise BadFieldError("run_id, frame_id or request_id", why, "give texts of 1 to 1024 characters") from None
    except TimeoutError:  # an OSError, but the server's
        raise
    except (ElkkitError, OSError, ValueError) as error:  # ValueError: standard output is closed
        _report(opened, "error", "metrics not logged", error, request_id, 200)
        return False
    return True


def _logger(
    model: LaneModel, name: str | None, run_id: str | None, contract: Contract, target: Path | io.StringIO | None = None
) -> MetricLogger:
    return MetricLogger(
        target,
        model_name=model.card.name,
        model_version=model.card.version,
        service_name=name,
        run_id=run_id,
        contract=contract,
    )


def _log_files(models: Mapping[str, LaneModel], name: str | None, contract: Contract) -> dict[str, MetricLogger]:
    given = os.environ.get("ELKKIT_SERVICE_LOG")
    if not given:
        return {}
    return {key: _logger(model, name, None, contract, Path(given)) for key, model in models.items()}


def _threads() -> int:
    """Threads of one prediction: as set, else the cores shared among the workers; 0 is one per core."""
    workers = os.environ.get("WORKER_COUNT", "1")
    share = max((os.cpu_count() or 1) // int(workers), 1) if workers.isdecimal() and int(workers) > 1 else 0
    return _whole("ELKKIT_THREADS", share) or 0


def _whole(name: str, otherwise: int | None) -> int | None:
    given = os.environ.get(name)
    if not given:
        return otherwise
    if not given.isascii() or not given.isdecimal() or len(given) > 12:
        raise UsageError(f"{name} is wrong", why=f"{given!r:.80} is no number", hint=f"{name}=1")
    return int(given)


def _run_id() -> str:
    """A new run; the workers of one server are in the same."""
    if not under_server():
        return uuid.uuid4().hex
    return hashlib.sha256(f"{socket.gethostname()} {server_key()}".encode()).hexdigest()[:32]
