"""The fields of a scoring request: hostile JSON to an image and a mask, or an error that names the field."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from elkkit.errors import InputError
from elkkit_scoring.image import MAX_PIXELS, Image, Mask, decode_image, decode_mask

TEXT_FIELDS = ("frame_id", "run_id", "request_id", "model", "channels")
FIELDS = frozenset({"image", "mask", *TEXT_FIELDS})


class BadFieldError(InputError):
    """A field of a request cannot be used."""

    code = "request"

    def __init__(self, field: str, why: str, hint: str) -> None:
        super().__init__(f"cannot use the field {field}", why=why, hint=hint)
        self.field = field


def body_too_long(length: int, max_body: int) -> BadFieldError:
    """The error of a body of so many bytes."""
    why = f"it has {length} bytes or more, at most {max_body} are read"
    return BadFieldError("body", why, "send the image as base64 JPEG, which is 50 times smaller than lists")


def parse_request(raw: str | bytes | Mapping[str, Any], max_body: int) -> Mapping[str, Any]:
    """The request as an object with fields of the right kinds. Raises `BadFieldError`."""
    if isinstance(raw, str | bytes | bytearray):
        if len(raw) > max_body:
            raise body_too_long(len(raw), max_body)
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
    if unknown := sorted(str(key) for key in raw if key not in FIELDS):
        raise BadFieldError(unknown[0][:80], "there is no such field", f"the fields are {', '.join(sorted(FIELDS))}")
    for key in TEXT_FIELDS:
        if not isinstance(raw.get(key, ""), str) and raw[key] is not None:
            raise BadFieldError(key, f"it is {type(raw[key]).__name__}, not text", f'"{key}": "…"')
    return raw


def image_of(request: Mapping[str, Any]) -> Image:
    """The picture of a request, uint8 [H, W, 3] BGR. Raises `BadFieldError`."""
    value, channels = request.get("image"), request.get("channels") or "BGR"
    if value is None:
        raise BadFieldError("image", "it is missing", 'send {"image": "<base64 JPEG or PNG>"}')
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


def mask_of(value: Any, image: Image) -> Mask:
    """The ground truth of a request, bool [H, W] of the image's size. Raises `BadFieldError`."""
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
