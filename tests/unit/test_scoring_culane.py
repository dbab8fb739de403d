"""CULane: lanes of 30 px, worked out by hand, and lane files of strangers."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from elkkit.errors import ElkkitError, InputError, UsageError
from elkkit_scoring.culane import Matches, curve, find_lanes, ious, lanes_name, match, read_lanes, read_list
from elkkit_scoring.datasets import open_data
from elkkit_scoring.labels import draw


def upright(x):
    return np.array([[x, 590.0 - 10 * step] for step in range(60)])


def test_iou_of_upright_lanes_is_what_their_distance_says():
    found = ious([upright(800)], [upright(800 + shift) for shift in (0, 1, 9, 11, 31)])[0]
    width = 31  # OpenCV draws a line of even thickness one pixel wider
    expected = [(width - shift) / (width + shift) for shift in (0, 1, 9, 11, 31)]
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_lane_is_found_above_an_iou_of_one_half():
    # (31 - s) / (31 + s) > 1/2 where s < 31/3
    assert match([upright(810)], [upright(800)]) == Matches(1, 0, 0)
    assert match([upright(811)], [upright(800)]) == Matches(0, 1, 1)
    assert match([upright(811)], [upright(800)], iou=0.3) == Matches(1, 0, 0)
    # one pixel off is 30/32 = 0.9375, which is not above itself
    assert match([upright(801)], [upright(800)], iou=0.9375) == Matches(0, 1, 1)
    assert match([upright(801)], [upright(800)], iou=0.9374) == Matches(1, 0, 0)


def test_each_lane_is_matched_once():
    lanes = [upright(x) for x in (200, 600, 1000)]
    assert match(lanes[::-1], lanes) == Matches(3, 0, 0)
    assert match([*lanes, upright(1003)], lanes) == Matches(3, 1, 0)
    assert match(lanes[:1], lanes) == Matches(1, 0, 2)


def test_the_best_sum_is_chosen_where_the_nearest_pair_would_leave_two_alone():
    # nearest first: 102-100, then 91-109 is too far; the best sum pairs 91-100 and 102-109
    assert match([upright(91), upright(102)], [upright(100), upright(109)]) == Matches(2, 0, 0)


def test_frames_without_lanes():
    assert match([], []) == Matches(0, 0, 0)
    assert match([upright(5)], []) == Matches(0, 1, 0)
    assert match([], [upright(5)]) == Matches(0, 0, 1)


def test_ratios_are_pooled_and_undefined_without_lanes():
    pooled = Matches(3, 1, 0) + Matches(0, 0, 2)
    assert (pooled.precision, pooled.recall, pooled.f1) == (0.75, 0.6, pytest.approx(2 * 0.75 * 0.6 / 1.35))
    assert all(math.isnan(value) for value in (Matches().precision, Matches().recall, Matches().f1))
    crossing = Matches(0, 4, 0)  # CULane's crossings have no lanes
    assert (crossing.precision, crossing.f1) == (0, 0)
    assert math.isnan(crossing.recall)


def test_a_curve_is_a_natural_spline_over_the_chord_length():
    lane = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 0.0]])  # two chords of 5
    found = curve(lane)
    assert len(found) == 2 * 50 + 1
    assert found[[0, 50, 100]].tolist() == lane.tolist()
    # by hand: the second derivative of y at the middle is M with 20 M = 6 (-4/5 - 4/5), so M = -0.48,
    # and y(2.5) = mean of the ends - M h^2 / 16 = 2 + 0.75
    assert found[25] == pytest.approx([1.5, 2.75])


def test_two_points_are_a_straight_line_and_fewer_are_no_line():
    assert curve(np.array([[0.0, 0.0], [10.0, 0.0]])).tolist() == [[0, 0], [10, 0]]
    assert match([upright(800)[:1]], [upright(800)]) == Matches(0, 1, 1)
    repeated = np.repeat(upright(800), 3, axis=0)  # the official tool divides by zero here
    assert match([repeated], [upright(800)]) == Matches(1, 0, 0)


def test_points_are_rounded_to_whole_pixels_and_not_cut_off():
    drawn = draw([np.array([[10.6, 5.0], [10.6, 20.0]])], (30, 30), 1)
    assert np.flatnonzero(drawn.any(axis=0)).tolist() == [11]
    assert np.flatnonzero(drawn.any(axis=1)).tolist() == list(range(5, 21))


def test_lanes_outside_the_picture():
    assert match([upright(-500)], [upright(-500)]) == Matches(0, 1, 1)  # nothing of it is to be seen
    assert match([upright(90_000)], [upright(800)]) == Matches(0, 1, 1)


# files


def test_reading_lanes(tmp_path):
    path = tmp_path / "a.lines.txt"
    path.write_text("-12.5 590 1e1 580\n\n700 590 701 580 702 570 \n")
    assert [lane.tolist() for lane in read_lanes(path)] == [
        [[-12.5, 590], [10, 580]],
        [[700, 590], [701, 580], [702, 570]],
    ]
    path.write_text("")
    assert read_lanes(path) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 2 3", "a lane is x y x y …, but there are 3 numbers"),
        ("1 2 3 x", "the lane must hold numbers, not 'x'"),
        ("1 2 3 1_0", "the lane must hold numbers, not '1_0'"),
        ("1 2 nan 4", "the lane holds nan"),
        ("1 2 3 -inf", "the lane holds -inf"),
        ("1e300 2 3 4", "the lane holds 1e+300"),
        ("1e999 2 3 4", "the lane holds inf"),
        ("1 2 \x1b[31m 4", "the lane must hold numbers"),
        ("1 2 " * 12_000, "the lane has 12,000 points"),
        ("1 2 " * 1_000_000, "the line has 4000000 bytes"),
        ("1 2 3 4\n" * 101, "more than 100 lanes"),
    ],
)
def test_hostile_lanes_name_file_and_line(tmp_path, text, why):
    path = tmp_path / "a.lines.txt"
    path.write_text(f"1 2 3 4\n{text}\n")
    with pytest.raises(InputError) as caught:
        read_lanes(path)
    line = 101 if "101" in why or "100 lanes" in why else 2
    assert caught.value.message == f"cannot use {path}, line {line}"
    assert why in caught.value.why
    assert len(caught.value.why) < 300


def test_reading_a_list(tmp_path):
    path = tmp_path / "test.txt"
    path.write_text("/driver_1/a.MP4/00000.jpg\ndriver_1/b.jpg /laneseg/b.png 1 1 0 0\n")
    assert read_list(path) == ["driver_1/a.MP4/00000.jpg", "driver_1/b.jpg"]
    assert lanes_name("driver_1/a.MP4/00000.jpg") == "driver_1/a.MP4/00000.lines.txt"
    for text, why in (
        ("/a.jpg\n/../b.jpg\n", "leads out of the data's folder"),
        ("/a.jpg\n//etc/passwd\n", "leads out of the data's folder"),
        ("/a.jpg\n/\n", "the image is empty"),
        ("/a.jpg\na.jpg\n", "there twice, first in"),
        ("/a.jpg\n\x1b[2J.jpg\n", "no file's name"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            read_list(path)
        assert caught.value.message == f"cannot use {path}, line 2"
        assert why in caught.value.why
    path.write_bytes(b"a.jpg\n\xff.jpg\n")
    with pytest.raises(InputError, match="line 2: it is not UTF-8"):
        read_list(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="empty"):
        read_list(path)


def test_finding_lanes(tmp_path):
    with pytest.raises(UsageError, match=r"\.lines\.txt"):
        find_lanes(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        find_lanes(tmp_path / "none")
    for name in ("b/x.lines.txt", "a.lines.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert find_lanes(tmp_path) == ["a.lines.txt", "b/x.lines.txt"]
    with pytest.raises(InputError, match="is a folder"):
        read_lanes(tmp_path / "b")


def test_frames_with_images(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (590, 1640, 3), np.uint8)
    (tmp_path / "drive").mkdir()
    (tmp_path / "list" / "test_split").mkdir(parents=True)
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / "drive" / f"{name}.jpg"), picture)
    (tmp_path / "drive" / "a.lines.txt").write_text("800 590 800 580 800 300\n")
    (tmp_path / "drive" / "b.lines.txt").write_text("")
    data = open_data(str(tmp_path), "culane")
    assert [data.frame_id(i) for i in range(len(data))] == ["drive/a", "drive/b"]
    frame = data.load(0)
    assert (frame.clip, frame.lane_free, data.load(1).lane_free) == ("drive", False, True)
    assert frame.truth[400].sum() == 17  # 16 px, drawn one wider
    assert frame.truth[400, 800]
    assert not frame.truth[:280].any()
    listed = tmp_path / "list" / "test_split" / "test0_normal.txt"
    listed.write_text(f"/drive/b.jpg\n/drive/c.jpg\n/drive/gone.jpg\n/{'x' * 300}.jpg\n")
    data = open_data(str(listed), "culane")
    assert [(data.frame_id(i), data.has_truth(i)) for i in range(3)] == [
        ("drive/b", True), ("drive/c", False), ("drive/gone", False),
    ]  # fmt: skip
    assert data.load(0).lane_free is True
    assert data.load(1).truth is None
    with pytest.raises(ElkkitError) as caught:
        data.load(2)
    assert f"named in {listed}" in caught.value.message
    assert not data.has_truth(3)
    with pytest.raises(ElkkitError, match="File name too long"):
        data.load(3)
