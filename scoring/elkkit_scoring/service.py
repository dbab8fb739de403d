"""Scoring requests: `init()` opens the models, `run(raw)` scores one request and logs one line per metric.

Request, a JSON object (text, bytes or already parsed):

    {"image": "<base64 JPEG or PNG>" or [[[b, g, r], …], …],     uint8 [H][W][3]
     "mask": "<base64 PNG>" or [[0, 255, …], …],                 optional ground truth, uint8 [H][W]
     "channels": "BGR" or "RGB",                                 of an image given as lists; BGR when left out
     "model": "lane-a" or "lane-a:1",                            when several are deployed
     "frame_id", "run_id", "request_id"}                         text, optional

Answer: a dict that the server turns into JSON (never a JSON string, which it would encode twice), with `metrics`
(undefined is null), `mask` (base64 PNG), `seconds`, `model` and `request_id`; or `{"error": {…, "field": …},
"request_id": …}`.

Environment: `ELKKIT_MODEL` (files or bundled names, separated by `:`) or `AZUREML_MODEL_DIR` (every .onnx file below
it); `ELKKIT_SERVICE_NAME` or `SERVICE_NAME`; `ELKKIT_RUN_ID`; `ELKKIT_THREADS` (threads per prediction).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elkkit.contract import Contract
from elkkit.errors import ElkkitError, InputError, UsageError
from elkkit.line import MetricLogger
from elkkit.settings import load_settings
from elkkit_scoring.batch import scores_of
from elkkit_scoring.bundled import find_model
from elkkit_scoring.datasets import Frame
from elkkit_scoring.image import MAX_PIXELS, Image, Mask, decode_image, decode_mask, encode_png
from elkkit_scoring.metrics import MetricName
from elkkit_scoring.model import LaneModel

MAX_BODY = 128 * 1024 * 1024
"""Longest request that is parsed, in bytes: a 720p image as lists of numbers is 14 MB."""
_TEXT_FIELDS = ("frame_id", "run_id", "request_id", "model", "channels")
_FIELDS = frozenset({"image", "mask", *_TEXT_FIELDS})


@dataclass(frozen=True)
class Service:
    """The deployed models, and how their metrics are logged."""

    models: Mapping[str, LaneModel]  # by `name:version`
    name: str | None
    run_id: str
    contract: Contract

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


class BadFieldError(InputError):
    """A field of a request cannot be used."""

    code = "request"

    def __init__(self, field: str, why: str, hint: str) -> None:
        super().__init__(f"cannot use the field {field}", why=why, hint=hint)
        self.field = field


_service: Service | None = None


def init() -> None:
    """Open and warm up the models. Called once per process, before the first request. Raises `ElkkitError`."""
    global _service
    settings = load_settings()
    threads = os.environ.get("ELKKIT_THREADS", "0")
    if not threads.isdecimal():
        raise UsageError("ELKKIT_THREADS is wrong", why=f"{threads!r} is no number", hint="ELKKIT_THREADS=1")
    models = [LaneModel.load(path, threads=int(threads)) for path in model_paths()]
    named = {f"{model.card.name}:{model.card.version}": model for model in models}
    if len(named) < len(models):
        why = "two of them have the same name and version in their cards"
        raise UsageError("cannot deploy these models together", why=why, hint="change the version in one card")
    name = os.environ.get("ELKKIT_SERVICE_NAME") or os.environ.get("SERVICE_NAME")
    _service = Service(named, name or None, settings["run_id"] or uuid.uuid4().hex, settings.contract())


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
    if _service is None:
        init()
    assert _service is not None
    request_id = uuid.uuid4().hex
    try:
        request = _parsed(raw)
        request_id = request.get("request_id") or request_id
        return _answer(_service, request, request_id)
    except ElkkitError as error:
        field = getattr(error, "field", None)
        parts = {"code": error.code, "field": field, "message": error.message, "why": error.why, "hint": error.hint}
        return {"error": parts, "request_id": request_id}


def _answer(service: Service, request: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    model = service.choose(request.get("model"))
    image = _image(request)
    truth = _mask(request["mask"], image) if request.get("mask") is not None else None
    frame = Frame(request.get("frame_id") or request_id, 0, image, truth)
    prediction = model.predict(image)
    scores = scores_of(prediction, frame)
    run_id = request.get("run_id") or service.run_id
    logged = _log(service, model, scores, frame, request, request_id, run_id)
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
    service: Service,
    model: LaneModel,
    scores: Mapping[MetricName, float | int],
    frame: Frame,
    request: Mapping[str, Any],
    request_id: str,
    run_id: str,
) -> bool:
    """One line per metric on standard output; a log that cannot be written does not cost the caller the answer."""
    try:
        logger = MetricLogger(
            model_name=model.card.name,
            model_version=model.card.version,
            service_name=service.name,
            run_id=run_id,
            contract=service.contract,
        )
        for name, value in scores.items():
            logger.log_metric(
                name, value, frame_id=request.get("frame_id"), lane_free=frame.lane_free, request_id=request_id
            )
    except InputError as error:
        why = error.why or error.message
        raise BadFieldError("run_id, frame_id or request_id", why, "give texts of 1 to 1024 characters") from None
    except (ElkkitError, OSError, ValueError):  # ValueError: standard output is closed
        return False
    return True


def _parsed(raw: str | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    """The request as an object with fields of the right kinds."""
    if isinstance(raw, str | bytes | bytearray):
        if len(raw) > MAX_BODY:
            raise BadFieldError("body", f"it has {len(raw)} bytes, at most {MAX_BODY} are read", "send base64 JPEG")
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError) as error:
            why = "it is empty" if not raw else f"it is not JSON: {error}"
            # A body without this header reaches an Azure ML server as a form, and the script as nothing.
            raise BadFieldError(
                "body", why, "send a JSON object with the header Content-Type: application/json"
            ) from None
    if not isinstance(raw, Mapping):
        raise BadFieldError("body", f"it is {type(raw).__name__}, not an object", 'send {"image": "<base64>"}')
    if unknown := sorted(str(key) for key in raw if key not in _FIELDS):
        raise BadFieldError(unknown[0][:80], "there is no such field", f"the fields are {', '.join(sorted(_FIELDS))}")
    for key in _TEXT_FIELDS:
        if not isinstance(raw.get(key, ""), str) and raw[key] is not None:
            raise BadFieldError(key, f"it is {type(raw[key]).__name__}, not text", f'"{key}": "…"')
    if raw.get("image") is None:
        raise BadFieldError("image", "it is missing", 'send {"image": "<base64 JPEG or PNG>"}')
    return raw


def _image(request: Mapping[str, Any]) -> Image:
    value, channels = request["image"], request.get("channels") or "BGR"
    if channels not in ("BGR", "RGB"):
        raise BadFieldError("channels", f"{channels!r:.80} is neither BGR nor RGB", '"channels": "BGR"')
    if isinstance(value, str):
        try:
            return decode_image(_base64(value, "image"), "in the request")
        except InputError as error:
            raise BadFieldError("image", error.why or error.message, error.hint or "send a whole JPEG or PNG") from None
    pixels = _numbers(value, "image", 3)
    if pixels.shape[2] != 3:
        raise BadFieldError("image", f"it has {pixels.shape[2]} channels", "send [H][W][3] numbers, 0 to 255")
    return pixels if channels == "BGR" else np.ascontiguousarray(pixels[:, :, ::-1])


def _mask(value: Any, image: Image) -> Mask:
    if isinstance(value, str):
        try:
            mask = decode_mask(_base64(value, "mask"), "in the request")
        except InputError as error:
            raise BadFieldError("mask", error.why or error.message, error.hint or "send a PNG of 0 and 255") from None
    else:
        levels = _numbers(value, "mask", 2)
        if strange := sorted({int(level) for level in np.unique(levels)} - {0, 1, 255}):
            raise BadFieldError("mask", f"it holds {strange[0]}, not 0 and 255 only", "draw lanes as 255 on 0")
        mask = np.asarray(levels != 0)
    if mask.shape != image.shape[:2]:
        sizes = f"it is {mask.shape[1]}x{mask.shape[0]}, the image {image.shape[1]}x{image.shape[0]}"
        raise BadFieldError("mask", sizes, "give a mask of the image's size")
    return mask


def _base64(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadFieldError(
            field, f"it is not base64: {error}", "send plain base64 without line breaks or a data: prefix"
        ) from None


def _numbers(value: Any, field: str, dimensions: int) -> Image:
    """Nested lists of whole numbers 0..255 as an array."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):  # rows of different length
        array = np.empty(0)
    shape = "[H][W][3]" if dimensions == 3 else "[H][W]"
    fits = array.ndim == dimensions and array.size and array.dtype.kind in "iu"
    if not fits or array.min() < 0 or array.max() > 255:
        raise BadFieldError(
            field, f"it is not {shape} whole numbers from 0 to 255", "or send base64, which is 50 times smaller"
        )
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise BadFieldError(field, f"it has more than {MAX_PIXELS} pixels", "send a smaller image")
    return np.ascontiguousarray(array, dtype=np.uint8)
