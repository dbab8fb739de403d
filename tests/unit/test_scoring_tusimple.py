"""TuSimple: the benchmark's arithmetic on cases worked out by hand, and label files of strangers."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from elkkit.errors import ElkkitError, InputError, UsageError
from elkkit_scoring.datasets import open_data
from elkkit_scoring.tusimple import bench, check_against, mask_of, read_labels, tolerance

HEIGHTS = np.arange(300.0, 500.0, 10)  # 20 heights: each point is 5 % of a lane
GONE = np.full(20, -2.0)


def upright(x, missing=0):
    lane = np.full(20, float(x))
    lane[:missing] = -2
    return lane


def run(predicted, truth, **options):
    return tuple(bench(predicted, truth, HEIGHTS, **options))


def test_a_perfect_prediction():
    lanes = [upright(100), upright(300), upright(500, missing=5)]
    assert run(lanes, lanes) == (1, 0, 0)
    assert run(lanes[::-1], lanes) == (1, 0, 0)  # order does not matter


def test_the_tolerance_is_20_px_and_exclusive_for_an_upright_lane():
    assert tolerance(upright(100), HEIGHTS) == 20
    assert run([upright(119)], [upright(100)]) == (1, 0, 0)
    assert run([upright(120)], [upright(100)]) == (0, 1, 1)


def test_a_leaning_lane_is_allowed_its_cosine_more():
    leaning = 100 + (HEIGHTS - 300)  # 45 degrees: 20 / cos = 28.28
    assert tolerance(leaning, HEIGHTS) == pytest.approx(20 * 2**0.5)
    assert run([leaning + 28], [leaning]) == (1, 0, 0)
    assert run([leaning + 29], [leaning]) == (0, 1, 1)
    assert tolerance(np.where(HEIGHTS > 480, leaning, -2), HEIGHTS) == 20  # a single point has no angle


def test_a_lane_counts_as_found_from_85_percent_of_its_points():
    for wrong, found in ((3, True), (4, False)):
        guess = upright(100)
        guess[:wrong] = 900
        assert run([guess], [upright(100)]) == ((20 - wrong) / 20, 0 if found else 1, 0 if found else 1)


def test_a_point_that_neither_side_has_is_right_and_one_that_one_side_has_is_wrong():
    assert run([upright(100, missing=10)], [upright(100, missing=10)]) == (1, 0, 0)
    assert run([upright(100, missing=2)], [upright(100)])[0] == 0.9
    assert run([GONE], [GONE]) == (1, 0, 0)
    # x of -2 counts as -100, so near the left edge an absent point is still wrong
    assert run([upright(1)], [upright(-2)]) == (0, 1, 1)


def test_missed_and_made_up_lanes():
    four = [upright(x) for x in (100, 300, 500, 700)]
    assert run(four[:3], four) == (0.75, 0, 0.25)
    assert run([*four[:2], upright(900), upright(1100)], four) == (0.5, 0.5, 0.5)
    assert run([], four) == (0, 0, 1)


def test_one_prediction_may_match_two_lanes_as_in_the_official_tool():
    assert run([upright(105)], [upright(100), upright(110)]) == (1, -1, 0)


def test_a_fifth_lane_is_forgiven():
    five = [upright(x) for x in (100, 300, 500, 700, 900)]
    assert run(five[:4], five) == (1, 0, 0)
    assert run(five[:3], five) == (0.75, 0, 0.25)
    assert run(five, five) == (1, 0, 0)


def test_too_many_lanes_or_too_much_time_fail_the_frame():
    lanes = [upright(x) for x in (100, 300, 500, 700)]
    assert run(lanes[:3], lanes[:1])[0] == 1
    assert run(lanes, lanes[:1]) == (0, 0, 1)
    assert run(lanes, lanes, run_time=200) == (1, 0, 0)
    assert run(lanes, lanes, run_time=200.5) == (0, 0, 1)


def test_a_lane_free_frame_has_accuracy_0_as_in_the_official_tool():
    assert run([], []) == (0, 0, 0)
    assert run([upright(100)], []) == (0, 1, 0)


# files


def label(name="clips/a/20.jpg", **changes):
    record = {"raw_file": name, "lanes": [[10, 20, -2], [-2, -2, -2]], "h_samples": [30, 40, 50], **changes}
    return {key: value for key, value in record.items() if value is not ...}


def write(path, *records):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def test_reading_lines_of_a_file_and_of_a_folder(tmp_path):
    write(tmp_path / "a.json", label(), "", label("clips/b/20.jpg", lanes=[], run_time=12))
    write(tmp_path / "b.json", label("clips/c/20.jpg"))
    (tmp_path / "notes.txt").write_text("x")
    one = read_labels(tmp_path / "a.json", truth=True)
    assert list(one) == ["clips/a/20.jpg", "clips/b/20.jpg"]
    assert one["clips/b/20.jpg"].where.endswith("a.json, line 3")
    assert one["clips/b/20.jpg"].run_time == 12
    assert one["clips/a/20.jpg"].lanes[0].tolist() == [10, 20, -2]
    assert list(read_labels(tmp_path, truth=True)) == [*one, "clips/c/20.jpg"]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("{", "not JSON"),
        ('{"raw_file": "a.jpg", "lanes": [[NaN]], "h_samples": [1]}', "not JSON"),
        ("[]", "there must be an object, not a list"),
        (label(raw_file=...), "it lacks raw_file"),
        (label(h_samples=...), "it lacks h_samples"),
        (label(h_samples=[]), "h_samples is empty"),
        (label(h_samples={}), "h_samples must be a list, not an object"),
        (label(lanes=5), "lanes must be a list, not a number"),
        (label(lanes=[5]), "a lane must be a list, not a number"),
        (label(lanes=[[1, 2]]), "a lane has 2 points, h_samples has 3"),
        (label(lanes=[[1, True, 3]]), "a lane must hold numbers, not True"),
        (label(lanes=[[1, "2", 3]]), "a lane must hold numbers, not '2'"),
        (label(lanes=[[1, None, 3]]), "a lane must hold numbers, not None"),
        (label(lanes=[[1, 1e300, 3]]), "a lane holds 1e+300"),
        (label(lanes=[[1, 10**18, 3]]), "a lane holds 1000000000000000000"),
        (label(lanes=[[0, 0, 0]] * 101), "lanes has 101 entries; at most 100"),
        (label(lanes=[[1] * 10_001]), "a lane has 10,001 entries"),
        (label(run_time="fast"), "run_time must be milliseconds, not 'fast'"),
        (label(run_time=-1), "run_time must be milliseconds, not -1"),
        (label(raw_file=7), "raw_file must be text, not a number"),
        (label(raw_file=""), "raw_file is empty"),
        (label(raw_file="../../etc/passwd"), "leads out of the data's folder"),
        (label(raw_file="a/../../b.jpg"), "leads out of the data's folder"),
        (label(raw_file="/etc/passwd"), "leads out of the data's folder"),
        (label(raw_file="a\x1b[31m.jpg"), "no file's name"),
        (label(raw_file="a\x00.jpg"), "no file's name"),
        (label(raw_file="..\\..\\a.jpg"), "no file's name"),
        (label(raw_file="a" * 600), "no file's name"),
        (label(lanes=[[0] * 400_000]), "the line has"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_hostile_lines_name_file_and_line(tmp_path, record, why):
    path = write(tmp_path / "x.json", label("clips/first/1.jpg"), record)
    with pytest.raises(InputError) as caught:
        read_labels(path, truth=True)
    assert caught.value.message == f"cannot use {path}, line 2"
    assert why in caught.value.why
    assert len(caught.value.why) < 300
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_labels(tmp_path / "none.json", truth=True)
    with pytest.raises(UsageError, match=r"no \*\.json"):
        read_labels(tmp_path, truth=True)
    with pytest.raises(InputError, match="no line"):
        read_labels(write(tmp_path / "a.json"), truth=True)
    with pytest.raises(InputError) as caught:
        read_labels(write(tmp_path / "a.json", label(), label()), truth=True)
    assert "there twice, first in" in caught.value.why
    assert "line 1" in caught.value.why
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not JSON"):
        read_labels(tmp_path / "b.json", truth=True)


def test_predictions_that_do_not_fit_the_labels(tmp_path):
    (truth,) = read_labels(write(tmp_path / "t.json", label()), truth=True).values()

    def guess(**changes):
        (one,) = read_labels(write(tmp_path / "p.json", label(**changes)), truth=False).values()
        return one

    check_against(guess(h_samples=...), truth)
    check_against(guess(), truth)
    with pytest.raises(InputError, match=r"a lane has 2 points, but .*line 1 has 3 heights"):
        check_against(guess(lanes=[[1, 2]]), truth)
    with pytest.raises(InputError, match="wrong heights"):
        check_against(guess(h_samples=[40, 50, 60]), truth)


def test_frames_with_images(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    (tmp_path / "clips" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "clips" / "a" / "20.png"), picture)
    path = write(tmp_path / "labels.json", label("clips/a/20.png"), label("clips/gone/20.jpg"))
    for spec in (path, tmp_path):
        data = open_data(str(spec), "tusimple")
        assert [data.frame_id(i) for i in range(len(data))] == ["clips/a/20", "clips/gone/20"]
        frame = data.load(0)
        assert np.array_equal(frame.image, picture)
        assert (frame.clip, frame.lane_free, data.has_truth(0)) == ("clips/a", False, True)
        # from (10, 30) to (20, 40), about 5 px wide; the third point and the second lane are absent
        assert frame.truth[30, 10]
        assert frame.truth[35, 15]
        assert frame.truth[40, 20]
        assert not frame.truth[50:].any()
        assert 40 < np.count_nonzero(frame.truth) < 120
    with pytest.raises(ElkkitError) as caught:
        data.load(1)
    assert f"(named in {path}, line 2)" in caught.value.message
    assert caught.value.why == "No such file or directory"


def test_a_mask_of_a_lane_without_points_is_empty(tmp_path):
    (one,) = read_labels(write(tmp_path / "t.json", label(lanes=[[-2, -2, -2]])), truth=True).values()
    assert not mask_of(one, (60, 80)).any()
