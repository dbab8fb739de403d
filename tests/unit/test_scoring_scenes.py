"""Synthetic scenes: the same everywhere, balanced, and true to their masks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from elkkit_scoring import scenes
from elkkit_scoring.scenes.camera import lane_spans, project
from elkkit_scoring.scenes.dice import Dice, value_noise

GOLDEN = Path(__file__).parent.parent / "golden" / "scenes.json"
"""SHA-256 of image and mask of some scenes; written anew with: python tests/unit/test_scoring_scenes.py"""
SAMPLE = (0, 5, 9, 14, 22, 47, 101, 119)


def digests(index, seed=scenes.DEFAULT_SEED):
    scene = scenes.generate(index, seed=seed)
    return {
        "image": hashlib.sha256(scene.image.tobytes()).hexdigest(),
        "mask": hashlib.sha256(np.packbits(scene.mask).tobytes()).hexdigest(),
        "conditions": list(scene.conditions),
    }


@pytest.fixture(scope="module")
def demo():
    return [scenes.generate(index) for index in range(120)]


def test_the_pixels_are_those_of_every_other_machine():
    assert {str(index): digests(index) for index in SAMPLE} == json.loads(GOLDEN.read_text("utf-8"))


def test_a_scene_is_a_pure_function_of_seed_and_index():
    one = scenes.generate(17, seed=3)
    scenes.generate(18, seed=3)
    again = scenes.generate(17, seed=3)
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.mask, again.mask)
    assert not np.array_equal(one.image, scenes.generate(17, seed=4).image)
    assert not np.array_equal(one.image, scenes.generate(18, seed=3).image)
    assert one.frame_id == "scene-3-000017"
    assert one.clip == "clip-3-0004"


def test_negative_numbers_are_refused():
    for index, seed in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="must not be negative"):
            scenes.generate(index, seed=seed)


def test_120_scenes_hold_every_condition_in_its_share(demo):
    share = {word: sum(word in scene.conditions for scene in demo) for word in scenes.CONDITIONS}
    assert (share["day"], share["dusk"], share["night"]) == (60, 24, 36)
    assert (share["rain"], share["dry"]) == (36, 84)
    assert share["lane_free"] == 12
    for word in ("curve", "hill", "dashed", "solid", "occluded"):
        assert share[word] >= 20, word


def test_shapes_and_words(demo):
    for scene in demo:
        assert (scene.image.shape, scene.image.dtype) == ((scenes.HEIGHT, scenes.WIDTH, 3), np.uint8)
        assert (scene.mask.shape, scene.mask.dtype) == ((scenes.HEIGHT, scenes.WIDTH), np.bool_)
        assert scene.lane_free == ("lane_free" in scene.conditions) == (not scene.mask.any())
        assert list(scene.conditions) == [word for word in scenes.CONDITIONS if word in scene.conditions]
        if not scene.lane_free:
            assert 0.003 < scene.mask.mean() < 0.05
            assert {"dashed", "solid"} & set(scene.conditions)
    assert len({scene.frame_id for scene in demo}) == len(demo)


def test_night_is_darker_than_dusk_and_dusk_than_day(demo):
    mean = {time: np.mean([s.image.mean() for s in demo if time in s.conditions]) for time in ("day", "dusk", "night")}
    assert mean["day"] > 1.3 * mean["dusk"]
    assert mean["dusk"] > 1.3 * mean["night"]


def test_paint_lies_under_the_mask(demo):
    brighter = []
    for scene in demo:
        if {"day", "dry", "solid"} <= set(scene.conditions) and not scene.lane_free:
            grey = scene.image.mean(axis=2)
            beside = np.roll(scene.mask, 12, axis=1) & ~scene.mask
            lower = slice(scenes.HEIGHT // 2, None)
            brighter.append(grey[lower][scene.mask[lower]].mean() - grey[lower][beside[lower]].mean())
    assert np.mean(brighter) > 8
    assert np.mean(np.array(brighter) > 0) > 0.8


def test_scenes_of_a_clip_share_road_and_weather():
    one, other = (scenes.plan(7, index) for index in (8, 9))
    assert one.lines == other.lines
    assert (one.time, one.rain, one.lane_free) == (other.time, other.rain, other.lane_free)
    assert one.travelled != other.travelled
    assert scenes.plan(7, 12).lines != one.lines


def test_times_of_day_can_be_restricted_for_training():
    assert {scenes.plan(102, index, times=("day",)).time for index in range(200)} == {"day"}


def test_a_level_line_is_as_thick_as_a_steep_one():
    for index in range(0, 200, 7):
        layout = scenes.plan(11, index)
        ground = project(layout)
        for line in layout.lines:
            spans = lane_spans(ground, line.offset, scenes.LINE_PIXELS)
            column = ground.column(line.offset)
            inside = (spans[:, 0] > 0) & (spans[:, 1] < scenes.WIDTH)
            slope = np.gradient(column)[inside]
            thickness = (spans[inside, 1] - spans[inside, 0]) / np.sqrt(1 + slope**2)
            assert (np.abs(thickness - scenes.LINE_PIXELS) <= 1.001).all()


def test_depth_grows_towards_the_horizon():
    for index in range(0, 400, 9):
        depth = project(scenes.plan(5, index)).depth
        assert (np.diff(depth) <= 0).all()
        assert depth[-1] < 10


def test_draws_stay_in_their_ranges():
    dice = Dice(1, 2, 3)
    assert all(0 <= dice.unit() < 1 for _ in range(1000))
    assert {dice.whole(2, 4) for _ in range(200)} == {2, 3, 4}
    assert sorted(dice.shuffled(range(20))) == list(range(20))
    assert set(dice.units(500) < 1) == {np.True_}
    assert dice.bytes(3, 5).shape == (3, 5)
    noise = value_noise(dice, 50, 70, 4, 5)
    assert noise.shape == (50, 70)
    assert 0 <= noise.min() < noise.max() <= 1


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({str(index): digests(index) for index in SAMPLE}, indent=1) + "\n", "utf-8")
