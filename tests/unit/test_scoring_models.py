"""The bundled models: what cards and README claim is computed again from the committed files."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy import stats

from elkkit_scoring import measure, scenes
from elkkit_scoring.bundled import bundled_models, find_model, models_folder
from elkkit_scoring.card import read_card
from elkkit_scoring.datasets import SceneData, open_data
from elkkit_scoring.metrics import MetricName, count, ratios
from elkkit_scoring.model import LaneModel, file_digest

ROOT = Path(__file__).parents[2]
FRAMES = ROOT.parent / "shared" / "frames"
NAMES = ("lane-a", "lane-b", "lane-c")
CLOSE = 5e-4
"""Other processors and OpenCV versions add up and round in another order; a pixel whose logit is next to the threshold
may tip. On the machine that measured, the numbers are equal."""


@pytest.fixture(scope="module")
def models():
    return {name: LaneModel.load(find_model(name)) for name in NAMES}


@pytest.fixture(scope="module")
def rows(models):
    frames = SceneData(measure.HELD_OUT)
    loaded = [frames.load(index) for index in range(len(frames))]

    class Loaded(SceneData):
        def load(self, index):
            return loaded[index]

    return {name: measure.measure(model, Loaded(measure.HELD_OUT)) for name, model in models.items()}


def same(found, claimed, at=""):
    """Equal tables: counts exactly, the rest within `CLOSE`."""
    assert set(found) == set(claimed), at
    for key, value in found.items():
        where = f"{at}.{key}"
        if isinstance(value, dict):
            same(value, claimed[key], where)
        elif isinstance(value, int | str):
            # a lane-free frame in which one pixel tips changes from undefined to 0
            assert value == claimed[key] or key == "iou_undefined", where
        else:
            assert np.allclose(value, claimed[key], rtol=0, atol=CLOSE, equal_nan=True), where


def test_there_are_three_and_they_are_small():
    assert bundled_models() == NAMES
    assert sum(find_model(name).stat().st_size for name in NAMES) < 600_000


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_is_that_of_hybridnets(name, models):
    graph = onnx.load(find_model(name)).graph
    shapes = {
        node.name: [dimension.dim_value for dimension in node.type.tensor_type.shape.dim]
        for node in (*graph.input, *graph.output)
    }
    assert shapes == {"input": [1, 3, 192, 320], "segmentation": [1, 1, 192, 320]}
    card = models[name].card
    assert (card.name, card.file, card.licence) == (name, f"{name}.onnx", "Apache-2.0")
    assert card.sha256 == file_digest(find_model(name))
    assert card.input.mean == (0.485, 0.456, 0.406)
    assert card.input.std == (0.229, 0.224, 0.225)
    assert (card.input.resize, card.input.pad, card.output.decoding) == ("letterbox", 114, "binary")
    assert models[name].line_width == f"{scenes.LINE_PIXELS} px at {scenes.WIDTH}x{scenes.HEIGHT}"


@pytest.mark.parametrize("name", NAMES)
def test_the_cards_scene_numbers_are_what_the_model_does(name, rows):
    claimed = {
        k: v for k, v in read_card(models_folder() / f"{name}.toml").numbers.items() if k not in ("real", "against")
    }
    assert claimed.pop("scenes") == f"scenes:{measure.HELD_OUT}:{scenes.DEFAULT_SEED}"
    same(measure.scene_numbers(rows[name]), claimed, name)


def test_the_cards_differences_are_what_the_models_do(rows):
    claimed = read_card(models_folder() / "lane-a.toml").numbers["against"]
    same({other: measure.against(rows["lane-a"], rows[other]) for other in NAMES[1:]}, claimed)


@pytest.mark.parametrize("name", NAMES)
def test_the_cards_numbers_on_real_frames_are_what_the_model_does(name, models):
    if not FRAMES.is_dir():
        pytest.skip("shared/ is absent")
    claimed = read_card(models_folder() / f"{name}.toml").numbers["real"]
    found = measure.real_numbers(measure.measure(models[name], open_data(str(FRAMES))))
    assert found["frames"] == 3
    same(found, claimed, name)


def test_the_readme_shows_the_cards_numbers():
    readme = (models_folder().parent / "README.md").read_text("utf-8")
    shown = readme.partition(measure.BEGIN)[2].partition(measure.END)[0].strip()
    assert shown == measure.readme_tables({name: read_card(models_folder() / f"{name}.toml").numbers for name in NAMES})


def paired(rows, better, worse, wanted=lambda frame: True, limit=None):
    """IoU of two models on the frames where both are defined, and scipy's BCa interval of the mean difference."""
    other = {frame.frame_id: frame.iou for frame in rows[worse]}
    values = [
        frame.iou - other[frame.frame_id]
        for frame in rows[better][:limit]
        if wanted(frame) and not math.isnan(frame.iou) and not math.isnan(other[frame.frame_id])
    ]
    found = stats.bootstrap((np.array(values),), np.mean, n_resamples=5000, rng=np.random.default_rng(1))
    return len(values), found.confidence_interval


def is_night(frame):
    return "night" in frame.conditions


@pytest.mark.parametrize("limit", [120, 200])
def test_all_conditions_beat_stopped_early_and_beat_day_only_at_night(limit, rows):
    for worse, wanted in (("lane-c", lambda frame: True), ("lane-b", is_night)):
        n, interval = paired(rows, "lane-a", worse, wanted, limit)
        assert n >= 30
        assert interval.low > 0.02, (worse, limit, interval)


def test_the_interval_excludes_zero_when_whole_clips_are_drawn():
    numbers = read_card(models_folder() / "lane-a.toml").numbers["against"]
    assert numbers["lane-c"]["all"]["by_clip"][0] > 0
    assert numbers["lane-b"]["night"]["by_clip"][0] > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_changes_no_mask(name):
    one, two = (LaneModel.load(find_model(name), threads=threads) for threads in (1, 2))
    for index in range(0, 60, 6):
        picture = scenes.generate(index).image
        assert np.array_equal(one.predict(picture).mask, two.predict(picture).mask)


def test_training_never_saw_the_held_out_seed(models):
    for model in models.values():
        assert f"seed {scenes.DEFAULT_SEED} " not in model.card.data
        assert "no photograph was seen" in model.card.data


def test_an_empty_mask_is_better_than_nothing_by_accuracy_alone(rows):
    """Why Accuracy is not the metric to look at: all background scores 98 % and an IoU of 0."""
    scene = scenes.generate(1)
    found = ratios(count(np.zeros_like(scene.mask), scene.mask))
    assert found[MetricName.ACCURACY] > 0.97
    assert found[MetricName.IOU] == 0


@pytest.mark.full
def test_the_training_script_makes_a_model_that_can_be_scored(tmp_path):
    pytest.importorskip("torch", reason="retraining needs torch, which only comes as the multi-gigabyte CUDA build")
    script = ROOT / "scoring" / "models" / "train.py"
    subprocess.run(
        [sys.executable, str(script), "lane-c", "--steps", "3", "--out", str(tmp_path)], check=True, timeout=250
    )
    model = LaneModel.load(tmp_path / "lane-c.onnx")
    assert model.predict(scenes.generate(0).image).mask.shape == (scenes.HEIGHT, scenes.WIDTH)
