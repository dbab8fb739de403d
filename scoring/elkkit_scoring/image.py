"""Images in and out of a model: hostile bytes to pixels, pixels to its input, its map back to pixels."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from elkkit.errors import InputError

MAX_BYTES = 32 * 1024 * 1024
"""Largest encoded image that is looked at."""
MAX_PIXELS = 50_000_000
"""Largest picture that is decoded. The size is read from the header first: a decompression bomb is never unpacked."""
MASK_VALUES = frozenset({0, 1, 255})

Resize = Literal["letterbox", "stretch"]
Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]
Pixel = TypeVar("Pixel", bound=np.generic)

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Start-of-frame markers hold the size; 0xC4, 0xC8 and 0xCC in their midst mean something else.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies in a model's input; all in pixels."""

    source: tuple[int, int]  # height, width of the image
    target: tuple[int, int]  # height, width of the model's input
    top: int
    left: int
    height: int  # of the resized image inside the input
    width: int


def place(source: tuple[int, int], target: tuple[int, int], resize: Resize) -> Placement:
    """Fit an image (height, width) into an input (height, width).

    ``letterbox`` keeps the proportions and centres the image between bars (an odd bar is thinner above and on the
    left, as HybridNets rounds it); ``stretch`` fills the input.
    """
    if resize == "stretch":
        return Placement(source, target, 0, 0, *target)
    ratio = min(target[0] / source[0], target[1] / source[1])
    height, width = (min(max(round(source[axis] * ratio), 1), target[axis]) for axis in (0, 1))
    return Placement(source, target, (target[0] - height) // 2, (target[1] - width) // 2, height, width)


def into_input(image: npt.NDArray[np.uint8], placement: Placement, pad: int) -> Image:
    """Resize an image (or a mask, [H, W]) to its placement and fill the bars with ``pad``: uint8, the input's size."""
    if image.shape[:2] != (placement.height, placement.width):
        smaller = placement.height < image.shape[0]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        image = _pixels(cv2.resize(image, (placement.width, placement.height), interpolation=how))
    below = placement.target[0] - placement.top - placement.height
    right = placement.target[1] - placement.left - placement.width
    if not (placement.top or placement.left or below or right):
        return image
    edges = (placement.top, below, placement.left, right)
    return _pixels(cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=(pad, pad, pad)))


def out_of_input(values: npt.NDArray[Pixel], placement: Placement, *, smooth: bool) -> npt.NDArray[Pixel]:
    """Cut the bars off a map of the input's size [h, w] and bring it to the image's size [H, W].

    ``smooth`` interpolates floats (logits and probabilities); otherwise each pixel takes the value of the cell that its
    centre lies in (for masks).
    """
    inner = values[placement.top : placement.top + placement.height, placement.left : placement.left + placement.width]
    if inner.shape == placement.source:
        return np.ascontiguousarray(inner)
    height, width = placement.source
    if smooth:
        return np.asarray(cv2.resize(np.ascontiguousarray(inner), (width, height), interpolation=cv2.INTER_LINEAR))
    # OpenCV's INTER_NEAREST, which HybridNets uses, goes by a pixel's upper left corner and a rounded ratio: the same
    # for whole ratios, half a pixel low otherwise; INTER_NEAREST_EXACT differs between OpenCV 4 and 5.
    rows = (2 * np.arange(height) + 1) * inner.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * inner.shape[1] // (2 * width)
    return np.asarray(inner.take(columns, axis=1).take(rows, axis=0))


def normalised(
    image: Image, mean: tuple[float, float, float], std: tuple[float, float, float], *, rgb: bool, channels_first: bool
) -> Map:
    """The model's input from a picture of its size: float32 [1, 3, h, w] or [1, h, w, 3], ``(v / 255 - mean) / std``.

    ``image`` is BGR; mean and std are in the order of the model's channels (red first where ``rgb``).
    """
    # One pass in C for layout, channel order and mean; the division by std is per channel and done in place.
    offset = tuple(255 * part for part in mean)
    blob: Map = np.asarray(cv2.dnn.blobFromImage(image, 1.0, mean=offset, swapRB=rgb, crop=False), dtype=np.float32)
    blob *= np.array([1 / (255 * part) for part in std], np.float32)[None, :, None, None]
    return blob if channels_first else np.ascontiguousarray(blob.transpose(0, 2, 3, 1))


def decode_image(data: bytes, name: str) -> Image:
    """JPEG or PNG bytes to uint8 [H, W, 3] BGR, as stored (EXIF rotation is not applied: masks have none).

    Raises `InputError`, naming the image, for anything that is not one whole JPEG or PNG of a bearable size.
    """
    _check(data, name)
    return _decode(data, name, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def decode_mask(data: bytes, name: str) -> Mask:
    """PNG bytes to bool [H, W]: 0 is background, 255 (or 1) is lane.

    Raises `InputError` for other values instead of guessing: in BDD100K's raw masks, for instance, 255 is background.
    """
    if not data.startswith(_PNG):
        raise InputError(f"cannot use the mask {name}", why="it is not a PNG", hint="masks are PNG files of 0 and 255")
    _check(data, name)
    grey = _decode(data, name, cv2.IMREAD_UNCHANGED)
    if grey.ndim == 3:
        colours = grey[:, :, :3]
        if (colours[:, :, :1] != colours).any():
            raise InputError(f"cannot use the mask {name}", why="it is coloured", hint="masks are grey, 0 and 255")
        grey = colours[:, :, 0]
    values = np.flatnonzero(np.bincount(grey.ravel(), minlength=256)) if grey.dtype == np.uint8 else np.array([-1])
    strange = [int(value) for value in values if value not in MASK_VALUES]
    if strange or {1, 255} <= {int(value) for value in values}:
        seen = "16-bit values" if strange == [-1] else f"the values {', '.join(str(v) for v in values[:6])}"
        hint = "draw lanes as 255 on 0; for BDD100K's raw masks, lane = (value & 8) == 0"
        raise InputError(f"cannot use the mask {name}", why=f"it holds {seen}, not 0 and 255", hint=hint)
    return np.asarray(grey != 0)


def decode_codes(data: bytes, name: str) -> Image:
    """PNG bytes of one 8-bit channel to uint8 [H, W], every value as it is stored. Raises `InputError` for others."""
    if not data.startswith(_PNG):
        raise InputError(f"cannot use the mask {name}", why="it is not a PNG", hint="give a PNG of one 8-bit channel")
    _check(data, name)
    codes = _decode(data, name, cv2.IMREAD_UNCHANGED)
    if codes.ndim != 2 or codes.dtype != np.uint8:
        why = "it is coloured" if codes.ndim != 2 else "it holds 16-bit values"
        raise InputError(f"cannot use the mask {name}", why=why, hint="give a PNG of one 8-bit channel")
    return codes


def encode_png(mask: Mask) -> bytes:
    """A mask as PNG bytes, 0 and 255."""
    done, data = cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:  # not seen; OpenCV reports it this way
        raise InputError("cannot encode the mask", why="OpenCV refused it")
    return bytes(data)


def brightness(image: Image) -> float:
    """Mean grey level of an image, 0 black to 1 white (luma weights of ITU-R BT.601, as OpenCV's grey)."""
    blue, green, red, _ = cv2.mean(image)
    return float((0.114 * blue + 0.587 * green + 0.299 * red) / 255)


def _decode(data: bytes, name: str, how: int) -> Image:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise _unreadable(name, str(error.err or error)) from None
    if picture is None:
        raise _unreadable(name, "its contents are damaged")
    return np.asarray(picture)


def _check(data: bytes, name: str) -> None:
    """Refuse what is too large, not an image, or cut short, before anything is decoded."""
    if len(data) > MAX_BYTES:
        raise _unreadable(name, f"it has {len(data)} bytes; at most {MAX_BYTES} are read")
    if data.startswith(_PNG):
        size, cut_short = _png_size(data), False
    elif data.startswith(_JPEG):
        size, cut_short = _jpeg_size(data)
    else:
        raise _unreadable(name, "it is empty" if not data else "it is neither JPEG nor PNG")
    if size is None or 0 in size:
        raise _unreadable(name, "its header is damaged")
    if size[0] * size[1] > MAX_PIXELS:
        raise _unreadable(name, f"it has {size[1]}x{size[0]} pixels; at most {MAX_PIXELS} are decoded")
    if cut_short:
        raise _unreadable(name, "it is cut short")
    if data.startswith(_PNG) and (fault := _png_fault(data)):
        raise _unreadable(name, fault)


def _png_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _png_fault(data: bytes) -> str | None:
    """What is wrong with the chunks: their checksums show damage that OpenCV would show as wrong pixels."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return "its contents are damaged: a checksum is wrong"
        if data[at + 4 : at + 8] == b"IEND":
            return None
        at = end + 4
    return "it is cut short"


def _jpeg_size(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Height and width from the start-of-frame segment, and whether the end marker after the data is missing."""
    at, size = 2, None
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (height, width)
        if marker == 0xDA:  # picture data: inside it, 0xFF 0xD9 occurs only as the end marker
            return size, data.find(b"\xff\xd9", at) < 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return size, True


def _unreadable(name: str, why: str) -> InputError:
    return InputError(f"cannot read the image {name}", why=why, hint="give a whole JPEG or PNG file")


def _pixels(array: object) -> Image:
    return np.asarray(array, dtype=np.uint8)
