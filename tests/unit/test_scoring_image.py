"""Images in and out: the round trip of a mask is exact, the model's input is the formula, hostile bytes are refused."""

from __future__ import annotations

import math
import struct
import zlib
from fractions import Fraction

import cv2
import numpy as np
import pytest

from elkkit.errors import InputError
from elkkit_scoring import image as images
from elkkit_scoring.image import decode_image, decode_mask, encode_png, into_input, normalised, out_of_input, place

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


def jpeg(array):
    return cv2.imencode(".jpg", array)[1].tobytes()


PICTURE = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)


def test_letterbox_places_a_720p_frame_as_hybridnets_does():
    placement = place((720, 1280), (384, 640), "letterbox")
    assert (placement.top, placement.left, placement.height, placement.width) == (12, 0, 360, 640)


def test_letterbox_of_a_tall_frame_and_of_an_odd_bar():
    placement = place((1280, 720), (384, 640), "letterbox")
    assert (placement.height, placement.width, placement.left) == (384, 216, 212)
    odd = place((100, 200), (65, 64), "letterbox")  # 33 rows of bars
    assert (odd.top, odd.height) == (16, 32)


def test_a_frame_of_extreme_shape_keeps_a_pixel():
    assert place((1, 5000), (384, 640), "letterbox").height == 1
    assert place((5000, 1), (384, 640), "letterbox").width == 1


def test_bars_are_grey_and_the_picture_is_not_moved():
    placement = place((180, 320), (192, 320), "letterbox")
    picture = np.full((180, 320, 3), 7, np.uint8)
    inside = into_input(picture, placement, 114)
    assert inside.shape == (192, 320, 3)
    assert (inside[:6] == 114).all()
    assert (inside[-6:] == 114).all()
    assert (inside[6:-6] == 7).all()


EVEN = [(720, 1280), (360, 640), (180, 320), (192, 320), (640, 640), (540, 960), (590, 1640)]
ODD = [(719, 1279), (481, 853), (37, 53), (1, 1), (3, 201), (201, 3), (191, 320)]
UNLUCKY = [(106, 6), (590, 14), (148, 20)]  # OpenCV's nearest neighbours, of a rounded ratio, are one row off


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("target", [(192, 320), (191, 319), (384, 640), (33, 65), (6, 6), (14, 14), (20, 20)])
@pytest.mark.parametrize("source", EVEN + ODD + UNLUCKY)
def test_every_pixel_of_the_image_takes_the_cell_of_the_input_that_covers_its_centre(source, target, resize):
    placement = place(source, target, resize)
    dice = np.random.default_rng(3)
    inside = dice.random(target) < 0.1
    found = out_of_input(inside, placement, smooth=False)
    cells = inside[placement.top :, placement.left :]
    assert found.dtype == np.bool_
    assert found.shape == source
    rows, columns = (
        [math.floor((pixel + Fraction(1, 2)) * cells_there / pixels) for pixel in range(pixels)]
        for pixels, cells_there in zip(source, (placement.height, placement.width), strict=True)
    )
    assert np.array_equal(found, cells[rows][:, columns])


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_whole_ratios_are_enlarged_as_hybridnets_does(factor):
    placement = place((101 * factor, 67 * factor), (101, 67), "letterbox")
    inside = np.random.default_rng(6).integers(0, 2, (101, 67), np.uint8)
    theirs = cv2.resize(inside, (67 * factor, 101 * factor), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(out_of_input(inside, placement, smooth=False), theirs)


def lanes(height, width, thickness=1):
    """Synthetic lanes: two slanted lines and a curve, uint8 0 or 255."""
    mask = np.zeros((height, width), np.uint8)
    cv2.line(mask, (0, height - 1), (width // 2, height // 3), 255, thickness)
    cv2.line(mask, (width - 1, height - 1), (width // 2, height // 3), 255, thickness)
    cv2.ellipse(mask, (width // 2, height - 1), (width // 4, height // 2), 0, 180, 330, 255, thickness)
    return mask


@pytest.mark.parametrize("bars", range(4))
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(180, 320), (181, 320), (180, 319), (101, 67)])
def test_letterbox_and_back_are_exact_for_masks_of_whole_cells(size, factor, bars):
    small = lanes(*size)
    small ^= (np.random.default_rng(4).random(size) < 0.1).astype(np.uint8) * 255
    big = np.kron(small, np.ones((factor, factor), np.uint8))
    for target in ((size[0] + bars, size[1]), (size[0], size[1] + bars)):  # bars above and below, or left and right
        placement = place(big.shape, target, "letterbox")
        assert (placement.height, placement.width) == size
        inside = into_input(big, placement, 0) >= 128
        expected = np.zeros(target, bool)
        expected[placement.top :, placement.left :][: size[0], : size[1]] = small > 0
        assert np.array_equal(inside, expected)
        assert np.array_equal(out_of_input(inside, placement, smooth=False), big > 0)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("size", [(90, 160), (91, 160), (95, 157), (7, 5)])
def test_a_smaller_image_comes_back_exactly_whatever_it_shows(size, factor):
    mask = (np.random.default_rng(5).random(size) < 0.3).astype(np.uint8) * 255
    placement = place(size, (factor * size[0] + 5, factor * size[1]), "letterbox")
    inside = into_input(mask, placement, 0) >= 128
    assert np.array_equal(out_of_input(inside, placement, smooth=False), mask > 0)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("source", [(720, 1280), (719, 1279), (590, 1640), (481, 853), (1080, 1921), (100, 131)])
@pytest.mark.parametrize("target", [(384, 640), (383, 641), (640, 640), (192, 320)])
def test_letterbox_and_back_move_no_edge_by_more_than_a_cell(source, target, resize):
    placement = place(source, target, resize)
    cell = max(1.0, source[0] / placement.height, source[1] / placement.width)
    mask = lanes(*source, thickness=8 * int(np.ceil(cell)) + 1)
    back = out_of_input(into_input(mask, placement, 0) >= 128, placement, smooth=False)
    reach = int(np.ceil(cell))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    assert not ((cv2.erode(mask, kernel) > 0) & ~back).any()
    assert not (back & ~(cv2.dilate(mask, kernel) > 0)).any()


def test_smooth_enlargement_keeps_a_straight_edge_within_half_a_pixel():
    placement = place((360, 640), (192, 320), "letterbox")
    logits = np.tile(np.where(np.arange(320) < 160, -1.0, 1.0).astype(np.float32), (192, 1))
    mask = out_of_input(logits, placement, smooth=True) >= 0
    assert mask.shape == (360, 640)
    assert not mask[:, :319].any()
    assert mask[:, 321:].all()


@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.parametrize("channels_first", [True, False])
def test_the_models_input_is_the_formula(rgb, channels_first):
    found = normalised(PICTURE, MEAN, STD, rgb=rgb, channels_first=channels_first)
    ordered = PICTURE[..., ::-1] if rgb else PICTURE
    expected = (ordered / 255 - np.array(MEAN)) / np.array(STD)
    expected = expected.transpose(2, 0, 1)[None] if channels_first else expected[None]
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert found.flags["C_CONTIGUOUS"]
    assert np.abs(found - expected).max() < 1e-6


def test_brightness_is_between_black_and_white():
    assert images.brightness(np.zeros((4, 4, 3), np.uint8)) == 0
    assert images.brightness(np.full((4, 4, 3), 255, np.uint8)) == pytest.approx(1)
    grey = cv2.cvtColor(PICTURE, cv2.COLOR_BGR2GRAY).mean() / 255
    assert images.brightness(PICTURE) == pytest.approx(grey, abs=2e-3)


def test_png_and_jpeg_are_read():
    assert np.array_equal(decode_image(png(PICTURE), "x"), PICTURE)
    assert decode_image(jpeg(PICTURE), "x").shape == PICTURE.shape
    assert decode_image(png(PICTURE[..., 0]), "x").shape == PICTURE.shape


def bomb(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (min(width, 1000) + 1) * min(height, 1000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


HOSTILE = {
    "empty": (b"", "it is empty"),
    "text": (b"IoU : 0.83\n", "it is neither JPEG nor PNG"),
    "gif": (b"GIF89a" + bytes(100), "it is neither JPEG nor PNG"),
    "png magic only": (b"\x89PNG\r\n\x1a\n", "its header is damaged"),
    "jpeg magic only": (b"\xff\xd8\xff", "its header is damaged"),
    "png bomb": (bomb(60_000, 60_000), "at most 50000000 are decoded"),
    "no pixels": (bomb(0, 10), "its header is damaged"),
    "jpeg cut short": (jpeg(PICTURE)[:-200], "it is cut short"),
    "png cut short": (png(PICTURE)[:-200], "it is cut short"),
    "png damaged": (png(PICTURE)[:60] + bytes(50) + png(PICTURE)[110:], "a checksum is wrong"),
    "png whose data are none": (bomb(900, 900).replace(b"\x78\xda", b"\x00\x00"), "its contents are damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_images_are_refused_with_a_reason(name, capfd):
    data, why = HOSTILE[name]
    with pytest.raises(InputError) as caught:
        decode_image(data, "bad.png")
    assert "bad.png" in caught.value.message
    assert why in caught.value.why
    assert caught.value.hint


def test_a_huge_jpeg_is_refused_before_it_is_decoded():
    data = bytearray(jpeg(PICTURE))
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(InputError, match="at most 50000000"):
        decode_image(bytes(data), "bomb.jpg")


def test_too_many_bytes_are_refused(monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="at most 100 are read"):
        decode_image(png(PICTURE), "x")


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_never_crash(seed, capfd):
    dice = np.random.default_rng(seed)
    for data in (bytearray(png(PICTURE)), bytearray(jpeg(PICTURE))):
        for _ in range(20):
            data[dice.integers(0, len(data))] = dice.integers(0, 256)
        try:
            picture = decode_image(bytes(data), "x")
        except InputError:
            continue
        assert picture.ndim == 3


MASK = np.random.default_rng(2).random((40, 60)) < 0.2


@pytest.mark.parametrize("level", [1, 255])
def test_masks_of_two_values_are_read(level):
    assert np.array_equal(decode_mask(png(MASK.astype(np.uint8) * level), "m"), MASK)
    assert np.array_equal(decode_mask(png(np.repeat(MASK[..., None], 3, 2).astype(np.uint8) * level), "m"), MASK)


def test_a_mask_survives_encoding():
    assert np.array_equal(decode_mask(encode_png(MASK), "m"), MASK)


BAD_MASKS = {
    "BDD100K's raw values": (np.where(MASK, 3, 255).astype(np.uint8), "it holds the values 3, 255"),
    "grey edges": (np.where(MASK, 128, 0).astype(np.uint8), "it holds the values 0, 128"),
    "both 1 and 255": (np.array([[0, 1, 255]], np.uint8), "it holds the values 0, 1, 255"),
    "16 bit": (MASK.astype(np.uint16) * 65535, "16-bit"),
    "colour": (np.stack([MASK * 255, MASK * 0, MASK * 0], 2).astype(np.uint8), "it is coloured"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_masks_that_could_mean_anything_are_refused(name):
    array, why = BAD_MASKS[name]
    with pytest.raises(InputError) as caught:
        decode_mask(png(array), "m.png")
    assert why in caught.value.why


def test_a_jpeg_is_no_mask():
    with pytest.raises(InputError, match="not a PNG"):
        decode_mask(jpeg(MASK.astype(np.uint8) * 255), "m.jpg")
