"""BDD100K: bits of masks, the benchmark's F1 by class, and JSON of strangers."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from elkkit.errors import InputError, UsageError
from elkkit_scoring import bdd
from elkkit_scoring.datasets import open_data

BACK = bdd.BACKGROUND
SOLID_WHITE, DASHED_WHITE, CURB, CROSSWALK_ACROSS = 6, 6 | 16, 4, 0 | 32


def codes(**rows):
    """A mask of 40x60 with whole rows of a value: `codes(r5=6)`."""
    mask = np.full((40, 60), BACK, np.uint8)
    for row, value in rows.items():
        mask[int(row[1:])] = value
    return mask


def test_lane_is_where_bit_3_is_0_so_0_is_a_lane_and_255_is_not():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    lanes = bdd.lanes_of(values)
    assert lanes.ravel()[:8].all()
    assert not lanes.ravel()[8:16].any()
    assert lanes.ravel()[16:24].all()
    assert not lanes.ravel()[255]


def test_the_bits_of_a_class():
    mask = codes(r1=SOLID_WHITE, r2=DASHED_WHITE, r3=CROSSWALK_ACROSS)

    def rows(task, name):
        found = bdd.class_mask(mask, task, bdd.TASKS[task][0].index(name))
        return np.flatnonzero(found.all(axis=1)).tolist()

    assert rows("category", "single white") == [1, 2]
    assert rows("category", "crosswalk") == [3]
    assert rows("style", "dashed") == [2]
    assert rows("style", "solid") == [1, 3]
    assert rows("direction", "vertical") == [3]
    assert rows("direction", "parallel") == [1, 2]


def test_classes_that_are_left_out_become_background():
    mask = codes(r1=SOLID_WHITE, r2=CURB, r3=CROSSWALK_ACROSS)
    kept = bdd.lanes_of(bdd.without(mask, ["road curb", "vertical"]))
    assert np.flatnonzero(kept.any(axis=1)).tolist() == [1]
    assert mask[2, 0] == CURB
    with pytest.raises(UsageError, match="no class 'kerb'; it has crosswalk"):
        bdd.without(mask, ["kerb"])


def test_f1_by_class_and_radius_of_a_shifted_line():
    found = bdd.benchmark(codes(r12=SOLID_WHITE), codes(r10=SOLID_WHITE))
    assert found["category/single white"] == (0, 1, 1)  # 2 px off: within 2 and 5 px, not within 1
    assert found["style/solid"] == found["direction/parallel"] == (0, 1, 1)
    assert found["category/crosswalk"] == (1, 1, 1)  # neither side has one
    assert len(found) == 2 + 2 + 8


def test_a_class_that_one_side_has_scores_0():
    found = bdd.benchmark(codes(r10=DASHED_WHITE), codes(r10=SOLID_WHITE))
    assert found["style/dashed"] == found["style/solid"] == (0, 0, 0)
    assert found["category/single white"] == (1, 1, 1)


def test_the_average_is_of_tasks_of_classes_of_frames():
    right, half = bdd.benchmark(codes(), codes()), bdd.benchmark(codes(r10=DASHED_WHITE), codes(r10=SOLID_WHITE))
    table = bdd.averages([right, half])
    assert table["style/dashed"] == (0.5, 0.5, 0.5)
    assert table["style"] == (0.5, 0.5, 0.5)
    assert table["category"] == table["direction"] == (1, 1, 1)
    assert table["average"] == pytest.approx((2.5 / 3,) * 3)
    assert list(table)[:4] == ["average", "direction", "style", "category"]
    assert bdd.averages([]) == {}


@pytest.mark.parametrize("seed", range(6))
def test_f1_by_another_librarys_dilation(seed):
    dice = np.random.default_rng(seed)
    guess, right = (np.where(dice.random((50, 70)) < 0.03, dice.integers(0, 64, (50, 70)), BACK) for _ in range(2))
    guess, right = guess.astype(np.uint8), right.astype(np.uint8)
    found = bdd.benchmark(guess, right)
    for column, radius in enumerate((1, 2, 5)):
        reach = np.arange(-radius, radius + 1)
        disk = reach[:, None] ** 2 + reach**2 <= radius**2
        dashed = [((one >> 3) & 1 == 0) & ((one >> 4) & 1 == 1) for one in (guess, right)]
        wide = [binary_dilation(one, disk) for one in dashed]
        precision = (dashed[0] & wide[1]).sum() / dashed[0].sum()
        recall = (dashed[1] & wide[0]).sum() / dashed[1].sum()
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert found["style/dashed"][column] == pytest.approx(expected, abs=1e-12)


# masks


def test_reading_masks(tmp_path):
    mask = codes(r3=0, r5=DASHED_WHITE)
    (tmp_path / "val").mkdir()
    cv2.imwrite(str(tmp_path / "val" / "a.png"), mask)
    labels = bdd.open_labels(tmp_path)
    assert list(labels.names()) == ["a"]
    assert np.array_equal(labels.codes("a"), mask)


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (np.full((4, 4), 64, np.uint8), "it holds 64; BDD100K's values are 0 to 63, and 255"),
        (np.zeros((4, 4, 3), np.uint8), "it is coloured"),
        (np.zeros((4, 4), np.uint16), "16-bit"),
        (np.eye(8, dtype=np.uint8) * 255, "more than half of the picture would be lane"),
    ],
)
def test_masks_that_are_not_bdds(tmp_path, picture, why):
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    with pytest.raises(InputError) as caught:
        bdd.open_labels(tmp_path).codes("a")
    assert why in caught.value.why
    assert "a.png" in caught.value.message
    assert caught.value.hint


def test_folders_of_masks_that_cannot_be_used(tmp_path):
    with pytest.raises(UsageError, match=r"no file ends in \.png"):
        bdd.open_labels(tmp_path)
    for folder in ("train", "val"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="there twice, first in"):
        bdd.open_labels(tmp_path)
    (tmp_path / "val" / "a.png").unlink()
    with pytest.raises(InputError, match="not a PNG"):
        bdd.open_labels(tmp_path).codes("a")


# JSON


def line(vertices, types, **more):
    return {"vertices": vertices, "types": types, "closed": False, **more}


def frame(name="a.jpg", category="single white", polys=None, **more):
    polys = [line([[10, 20], [50, 20]], "LL")] if polys is None else polys
    attributes = {"laneStyle": "dashed", "laneDirection": "parallel"}
    labels = [{"category": category, "attributes": attributes, "poly2d": polys}]
    return {"name": name, "attributes": {"timeofday": "night", "weather": "rainy"}, "labels": labels, **more}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_reading_json(tmp_path):
    path = write(tmp_path / "lane_val.json", [frame(), frame("b.jpg", labels=None), frame("c.jpg", "drivable area")])
    labels = bdd.open_labels(path)
    assert list(labels.names()) == ["a", "b", "c"]
    assert labels.conditions("a") == ("rainy", "night")
    drawn = labels.codes("a", (40, 60))
    assert set(np.unique(drawn)) == {DASHED_WHITE, BACK}
    assert drawn[20, 10:51].tolist() == [DASHED_WHITE] * 41
    assert 2 <= (drawn[:, 30] != BACK).sum() <= 3
    assert (labels.codes("b") == BACK).all()
    assert (labels.codes("c") == BACK).all()
    assert labels.codes("b").shape == (720, 1280)
    assert list(bdd.open_labels(write(path, {"frames": [frame()], "config": {}})).names()) == ["a"]


def test_curves_are_cubic_beziers(tmp_path):
    curve = line([[0, 0], [0, 40], [40, 40], [40, 0], [60, 0]], "LCCCL")
    (one,) = bdd.read_frames(write(tmp_path / "x.json", [frame(polys=[curve])]))
    points = one.marks[0].points
    assert points[0].tolist() == [0, 0]
    assert points[10].tolist() == pytest.approx([20, 30])  # the middle: (0 + 3*0 + 3*40 + 40)/8, 3*40*2/8
    assert points[20].tolist() == [40, 0]
    assert points[21].tolist() == [60, 0]
    closed = line([[0, 0], [9, 0], [9, 9]], "LLL", closed=True)
    (one,) = bdd.read_frames(write(tmp_path / "x.json", [frame(polys=[closed])]))
    assert one.marks[0].points.tolist() == [[0, 0], [9, 0], [9, 9], [0, 0]]


def poly(vertices=((1, 2), (3, 4)), types="LL"):
    return frame(polys=[line(vertices, types)])


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (7, "there must be an object, not a number"),
        (frame(name=5), "name must be text"),
        (frame(name="../../a.jpg"), "leads out of the data's folder"),
        (frame(name="a\x1b[2J.jpg"), "no file's name"),
        (frame(labels="x"), "labels must be a list, not text"),
        (frame(labels=[5]), "there must be an object, not a number"),
        (frame(category=["a"]), "category must be text"),
        (frame(category="lane"), "the category is lane"),
        (frame(polys={"a": 1}), "poly2d must be a list"),
        (frame(polys=[[[1, 2, "L"]]]), "poly2d holds lists of points"),
        (frame(polys=[{"types": "LL"}]), "vertices must be a list, not null"),
        (poly(vertices=[[1, 2], [3]]), "a vertex must be [x, y]"),
        (poly(vertices=[[1, 2], [3, 4, 5]]), "a vertex has 3 entries"),
        (poly(vertices=[[1, 2], 3]), "a vertex must be a list"),
        (poly(vertices=[[1, 2], [3, "4"]]), "vertices must hold numbers, not '4'"),
        (poly(vertices=[[1, 2], [3, 1e300]]), "vertices holds 1e+300"),
        (poly(vertices=[[1, 2]] * 1_000_000, types="L" * 1_000_000), "vertices has 1,000,000 entries"),
        (poly(types="L"), "types must be one L or C for each of 2 vertices"),
        (poly(types="LX"), "types must be one L or C"),
        (poly(types=None), "types must be one L or C"),
        (poly(types="LC"), "a curve has three C"),
        ({"name": "a", "frames": [{"objects": []}]}, "it has objects, not labels"),
    ],
)
def test_hostile_frames_are_named(tmp_path, entry, why):
    path = write(tmp_path / "x.json", [frame("first.jpg"), entry])
    with pytest.raises(InputError) as caught:
        bdd.open_labels(path)
    assert caught.value.message.startswith(f"cannot use {path}, frame 2")
    assert why in caught.value.why
    assert len(caught.value.why) < 300
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('[{"name": NaN}]', "it is not JSON"),
        ("[\n\n{,}]", "line 3"),
        ("[" * 200_000, "it is not JSON"),
        ("[]", "it holds no frame"),
        ("7", "the file must be a list, not a number"),
        ({"name": "a", "frames": [{"objects": []}]}, "one object, not a list of frames"),
        ([frame(), frame()], "there twice, first in"),
    ],
)
def test_hostile_files(tmp_path, content, why):
    with pytest.raises(InputError) as caught:
        bdd.open_labels(write(tmp_path / "x.json", content))
    assert why in caught.value.why
    with pytest.raises(InputError, match="No such file"):
        bdd.open_labels(tmp_path / "none.json")


# frames


def test_frames_by_masks_as_downloaded_and_by_json(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    images, masks = tmp_path / "images" / "100k" / "val", tmp_path / "labels" / "lane" / "masks" / "val"
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(str(images / f"{name}.jpg"), picture)
    cv2.imwrite(str(masks / "a.png"), codes(r3=0))
    data = open_data(str(tmp_path), "bdd")
    assert [(data.frame_id(i), data.has_truth(i)) for i in range(len(data))] == [("a", True), ("b", False)]
    frame_a = data.load(0)
    assert np.flatnonzero(frame_a.truth.any(axis=1)).tolist() == [3]
    assert data.load(1).truth is None
    cv2.imwrite(str(masks / "a.png"), codes(r3=0)[:20])
    with pytest.raises(InputError, match="it is 60x20, the image 60x40"):
        data.load(0)

    (masks / "a.png").unlink()
    masks.rmdir()
    masks.parent.rmdir()
    polygons = tmp_path / "labels" / "lane" / "polygons"
    polygons.mkdir()
    write(polygons / "lane_val.json", [frame("b.jpg")])
    data = open_data(str(tmp_path), "bdd")
    assert data.load(1).conditions == ("rainy", "night")
    assert data.load(1).truth[20, 30]
    write(polygons / "lane_train.json", [frame("c.jpg")])
    with pytest.raises(UsageError, match="more than one JSON file"):
        open_data(str(tmp_path), "bdd")
    (polygons / "lane_val.json").unlink()
    with pytest.raises(UsageError, match="no label belongs to any"):
        open_data(str(tmp_path), "bdd")
    (polygons / "lane_train.json").unlink()
    with pytest.raises(UsageError, match="neither labels/lane/masks"):
        open_data(str(tmp_path), "bdd")
