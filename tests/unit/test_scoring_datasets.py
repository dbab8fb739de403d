"""Where frames come from: scenes, and folders whose pairs are clear."""

from __future__ import annotations

import json
import os
import random

import cv2
import numpy as np
import pytest

from elkkit.errors import ElkkitError, InputError, UsageError
from elkkit_scoring import scenes
from elkkit_scoring.bdd import read_frames
from elkkit_scoring.culane import read_lanes
from elkkit_scoring.datasets import open_data
from elkkit_scoring.tusimple import read_labels

PICTURE = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
MASK = (np.random.default_rng(2).random((20, 30)) < 0.2).astype(np.uint8) * 255


def put(folder, *names, mask=MASK):
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        is_mask = path.suffix == ".png" and (path.parent.name == "masks" or path.stem.endswith("-lanes"))
        cv2.imwrite(str(path), mask if is_mask else PICTURE)


def test_scenes_by_number_and_seed():
    data = open_data("scenes:3")
    assert (len(data), data.name) == (3, "scenes:3:7")
    frame = data.load(2)
    scene = scenes.generate(2)
    assert np.array_equal(frame.image, scene.image)
    assert np.array_equal(frame.truth, scene.mask)
    assert (frame.frame_id, frame.index, frame.clip, frame.conditions) == (
        scene.frame_id, 2, scene.clip, scene.conditions,
    )  # fmt: skip
    assert frame.lane_free == scene.lane_free
    assert data.frame_id(2) == frame.frame_id
    assert open_data("scenes:3:11").load(0).frame_id == "scene-11-000000"


@pytest.mark.parametrize(
    "spec", ["scenes:", "scenes:0", "scenes:-1", "scenes:x", "scenes:5:", "scenes:2000000", "scenes:1:2:3"]
)
def test_bad_scene_specs(spec):
    with pytest.raises(UsageError) as caught:
        open_data(spec)
    assert spec in caught.value.message
    assert "scenes:120" in caught.value.hint


def test_a_folder_pairs_images_and_masks_in_the_order_of_names(tmp_path):
    put(tmp_path, "b.jpg", "masks/b.png", "a.jpg", "a-lanes.png", "d.png", "d-lanes.png", "e.JPEG", "no-lanes.png")
    cv2.imwrite(str(tmp_path / "c.jpg"), PICTURE)
    cv2.imwrite(str(tmp_path / "c.png"), MASK)
    (tmp_path / "notes.txt").write_text("x")
    data = open_data(str(tmp_path))
    assert [data.frame_id(i) for i in range(len(data))] == ["a", "b", "c", "d", "e", "no-lanes"]
    assert [data.has_truth(i) for i in range(len(data))] == [True, True, True, True, False, False]
    for index in range(4):
        frame = data.load(index)
        assert np.array_equal(frame.truth, MASK > 0)
        assert frame.lane_free is False
    assert data.load(4).truth is None
    assert data.load(4).lane_free is None


def test_an_empty_mask_is_a_lane_free_frame(tmp_path):
    put(tmp_path, "a.jpg", "a-lanes.png", mask=MASK * 0)
    assert open_data(str(tmp_path)).load(0).lane_free is True


def test_pairs_that_are_not_clear_are_refused(tmp_path):
    put(tmp_path, "a.jpg", "a-lanes.png", "masks/a.png")
    with pytest.raises(UsageError, match="more than one mask"):
        open_data(str(tmp_path))
    (tmp_path / "masks" / "a.png").unlink()
    put(tmp_path, "a.jpeg")
    with pytest.raises(UsageError, match=r"the same frame\.id"):
        open_data(str(tmp_path))


def test_folders_that_hold_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path / "file", "not a folder"), (tmp_path, "no file")):
        with pytest.raises(UsageError) as caught:
            open_data(str(path))
        assert str(path) in caught.value.message
        assert caught.value.hint
        assert why in caught.value.why or "no file" in caught.value.why


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb") as file:
        file.write(b"x")
    with pytest.raises(UsageError, match="not UTF-8"):
        open_data(str(tmp_path))


def test_a_mask_of_another_size_names_both(tmp_path):
    put(tmp_path, "a.jpg", "a-lanes.png", mask=MASK[:10])
    with pytest.raises(InputError) as caught:
        open_data(str(tmp_path)).load(0)
    assert caught.value.why == "it is 30x10, the image 30x20"
    assert "a-lanes.png" in caught.value.message


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    put(tmp_path, "c.jpg")
    data = open_data(str(tmp_path))
    assert [data.frame_id(i) for i in range(len(data))] == ["a", "c"]  # a dangling link is no file
    with pytest.raises(InputError, match="neither JPEG nor PNG"):
        data.load(0)
    (tmp_path / "c.jpg").unlink()
    with pytest.raises(ElkkitError, match="No such file"):
        data.load(1)


LABELS = {
    "tusimple": json.dumps({"raw_file": "a/1.jpg", "lanes": [[5, 6, -2]], "h_samples": [1, 2, 3], "run_time": 9.5}),
    "culane": "-1.5 590 10 580 22 570\n700 590 701e0 580\n",
    "bdd": json.dumps(
        [{"name": "a.jpg", "attributes": {"weather": "clear"}, "labels": [
            {"category": "single white", "attributes": {"laneStyle": "solid", "laneDirection": "vertical"},
             "poly2d": [{"vertices": [[1, 2], [3, 4], [5, 6], [7, 8]], "types": "LCCC", "closed": False}]}]}]
    ),
}  # fmt: skip
READERS = {
    "tusimple": lambda path: read_labels(path, truth=True),
    "culane": read_lanes,
    "bdd": read_frames,
}
WORDS = [
    b"null",
    b"-1e308",
    b"NaN",
    b'"',
    b"[[",
    b"{}",
    b"\x00",
    b"\xff",
    b"true",
    b"1e999",
    b",",
    b"\n",
    b"../",
    b"9" * 40,
]


@pytest.mark.parametrize("kind", READERS)
def test_damaged_labels_are_read_or_refused_in_three_lines_and_nothing_else(tmp_path, kind):
    path, whole = tmp_path / "labels", LABELS[kind].encode()
    path.write_bytes(whole)
    READERS[kind](path)
    dice = random.Random(kind)
    refused = []
    for _ in range(600):
        start = dice.randrange(len(whole))
        end = min(len(whole), start + dice.choice([0, 1, 4, 30]))
        path.write_bytes(whole[:start] + dice.choice([b"", *WORDS]) + whole[end:])
        try:
            READERS[kind](path)
        except InputError as error:
            refused.append(error)
    assert len(refused) > 100
    for error in refused:
        assert str(path) in error.message
        assert error.why
        assert error.hint
        assert len(str(error)) < 500


@pytest.mark.parametrize("kind", ["bdd", "tusimple", "culane", "kitti"])
def test_formats_refuse_paths_that_hold_nothing(tmp_path, kind):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError) as caught:
            open_data(str(path), kind)
        assert str(path) in caught.value.message
        assert caught.value.why
        assert caught.value.hint
