"""Measure the bundled models and write the numbers into their cards and the README.

    python -m elkkit_scoring.measure [--frames FOLDER]

The scenes are those of `scenes:200`, whose seed no training saw; ``--frames`` names a folder of real frames with masks.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elkkit.errors import UsageError, from_os_error
from elkkit_scoring import scenes
from elkkit_scoring.bundled import bundled_models, find_model, models_folder
from elkkit_scoring.card import write_card
from elkkit_scoring.datasets import Dataset, SceneData, open_data
from elkkit_scoring.metrics import (
    Counts,
    MetricName,
    count,
    f1_tolerant,
    false_alarm_rate,
    mean_of_defined,
    pooled,
    ratios,
)
from elkkit_scoring.model import LaneModel

HELD_OUT = 200
"""Scenes that the cards report on; the demo's are the first of them."""
LARGE_ALARM_PX = 200
"""A false alarm of more than this many pixels of a 640x360 scene is called large (0.09 % of the frame)."""
RESAMPLES = 10_000
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Measured:
    """One frame, scored by one model."""

    frame_id: str
    clip: str | None
    conditions: tuple[str, ...]
    counts: Counts
    iou: float
    f1_tolerant: float


def measure(model: LaneModel, data: Dataset) -> list[Measured]:
    """Score every frame of a data set that has ground truth."""
    found = []
    for index in range(len(data)):
        if not data.has_truth(index):
            continue
        frame = data.load(index)
        assert frame.truth is not None
        mask = model.predict(frame.image).mask
        counts = count(mask, frame.truth)
        iou = ratios(counts)[MetricName.IOU]
        found.append(
            Measured(frame.frame_id, frame.clip, frame.conditions, counts, iou, f1_tolerant(mask, frame.truth))
        )
    return found


def table(frames: Sequence[Measured]) -> dict[str, float | int]:
    """The numbers of one slice. ``*_mean`` is over the frames where defined, ``*_pooled`` over all pixels."""
    together = pooled(frame.counts for frame in frames)
    iou, _, undefined = mean_of_defined(frame.iou for frame in frames)
    return {
        "frames": len(frames),
        "iou_undefined": undefined,
        "iou_mean": iou,
        "iou_pooled": together[MetricName.IOU],
        "precision_pooled": together[MetricName.PRECISION],
        "recall_pooled": together[MetricName.RECALL],
        "f1_tolerant_mean": mean_of_defined(frame.f1_tolerant for frame in frames)[0],
    }


def scene_numbers(frames: Sequence[Measured]) -> dict[str, dict[str, float | int]]:
    """Numbers of all scenes and of each condition; of lane-free scenes, how often a lane was seen all the same."""
    numbers = {"all": table(frames)}
    for word in scenes.CONDITIONS:
        some = [frame for frame in frames if word in frame.conditions]
        if some and word != "lane_free":
            numbers[word] = table(some)
        elif some:
            counts = [frame.counts for frame in some]
            numbers[word] = {
                "frames": len(some),
                "false_alarm_rate": false_alarm_rate(counts),
                "large_false_alarm_rate": false_alarm_rate(counts, more_than=LARGE_ALARM_PX),
            }
    return numbers


def real_numbers(frames: Sequence[Measured]) -> dict[str, object]:
    """Numbers of real frames together, and the IoU of each."""
    return {**table(frames), "iou": {frame.frame_id: frame.iou for frame in frames}}


def difference(better: Sequence[Measured], worse: Sequence[Measured]) -> dict[str, object]:
    """How much better one model's mean IoU is than another's on the frames where both are defined.

    ``by_frame`` is a 95 % percentile bootstrap interval (10,000 resamples, fixed seed) over frames, ``by_clip`` one
    over whole clips: frames of a clip are alike, so it is the wider and the more honest one.
    """
    other = {frame.frame_id: frame.iou for frame in worse}
    pairs = [(f.clip or f.frame_id, f.iou - other[f.frame_id]) for f in better if f.frame_id in other]
    pairs = [(clip, value) for clip, value in pairs if not math.isnan(value)]
    values = np.array([value for _, value in pairs])
    clips = sorted({clip for clip, _ in pairs})
    sums = np.array([math.fsum(v for c, v in pairs if c == clip) for clip in clips])
    sizes = np.array([sum(c == clip for c, _ in pairs) for clip in clips])
    dice = np.random.default_rng(0)
    drawn = dice.integers(0, len(values), (RESAMPLES, len(values)))
    drawn_clips = dice.integers(0, len(clips), (RESAMPLES, len(clips)))
    return {
        "frames": len(values),
        "iou_mean": float(values.mean()),
        "by_frame": _interval(values[drawn].mean(axis=1)),
        "by_clip": _interval(sums[drawn_clips].sum(axis=1) / sizes[drawn_clips].sum(axis=1)),
    }


def against(first: Sequence[Measured], other: Sequence[Measured]) -> dict[str, dict[str, object]]:
    """The difference on all scenes and on each time of day."""
    found = {"all": difference(first, other)}
    for time in ("day", "dusk", "night"):
        found[time] = difference(*([f for f in frames if time in f.conditions] for frames in (first, other)))
    return found


def _interval(means: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def write_numbers(frames: Path | None, readme: Path | None) -> None:
    """Measure every bundled model; rewrite the cards, and the README between its marks. Raises `ElkkitError`."""
    data = SceneData(HELD_OUT)
    real = open_data(str(frames)) if frames else None
    names = bundled_models()
    models = {name: LaneModel.load(find_model(name)) for name in names}
    rows = {name: measure(model, data) for name, model in models.items()}
    tables: dict[str, Mapping[str, Any]] = {}
    for name, model in models.items():
        numbers: dict[str, object] = {"scenes": data.name, **scene_numbers(rows[name])}
        seen = real_numbers(measure(model, real)) if real else model.card.numbers.get("real")
        if seen:
            numbers["real"] = seen
        if name == names[0]:
            numbers["against"] = {other: against(rows[name], rows[other]) for other in names[1:]}
        tables[name] = numbers
        write_card(replace(model.card, numbers=numbers), find_model(name).with_suffix(".toml"))
    if readme is not None:
        _write_between(readme, readme_tables(tables))


def readme_tables(numbers: Mapping[str, Mapping[str, Any]]) -> str:
    """The README's tables in Markdown, from the numbers of the cards by model."""
    names = list(numbers)
    first = numbers[names[0]]
    text = [f"Mean IoU on held-out scenes (`{first['scenes']}`), over the frames where it is defined:", ""]
    text += [_row(["condition", "frames", *names]), _row(["---", *["---:"] * (1 + len(names))])]
    for word in ("all", *scenes.CONDITIONS):
        if word in first and word != "lane_free":
            cells = [_cell(numbers[name][word]["iou_mean"]) for name in names]
            text.append(_row([word, str(first[word]["frames"]), *cells]))
    text += ["", "Further numbers of the same scenes:", ""]
    text += [_row(["number", *names]), _row(["---", *["---:"] * len(names)])]
    for key in ("iou_undefined", "iou_pooled", "precision_pooled", "recall_pooled", "f1_tolerant_mean"):
        text.append(_row([f"`{key}`", *(_cell(numbers[name]["all"][key]) for name in names)]))
    for key in ("false_alarm_rate", "large_false_alarm_rate"):
        label = f"`{key}` ({first['lane_free']['frames']} lane-free scenes)"
        text.append(_row([label, *(_cell(numbers[name]["lane_free"][key]) for name in names)]))
    if all("real" in numbers[name] for name in names):
        text += ["", f"{first['real']['frames']} photographs (TuSimple, 1280x720; none was trained on):", ""]
        text += [_row(["number", *names]), _row(["---", *["---:"] * len(names)])]
        for key in ("iou_mean", "iou_pooled", "precision_pooled", "recall_pooled", "f1_tolerant_mean"):
            text.append(_row([f"`{key}`", *(_cell(numbers[name]["real"][key]) for name in names)]))
    text += [
        "",
        "Paired difference of mean IoU with 95 % bootstrap intervals, drawing frames and drawing whole clips:",
        "",
    ]
    text += [
        _row(["pair", "scenes", "frames", "difference", "by frame", "by clip"]),
        _row(["---", "---", *["---:"] * 4]),
    ]
    for other, slices in first["against"].items():
        for label, found in slices.items():
            spans = [f"{low:+.3f} … {high:+.3f}" for low, high in (found["by_frame"], found["by_clip"])]
            pair = f"{names[0]} − {other}"
            text.append(_row([pair, label, str(found["frames"]), f"{found['iou_mean']:+.3f}", *spans]))
    return "\n".join(text)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.3f}"


def _write_between(readme: Path, text: str) -> None:
    try:
        whole = readme.read_text("utf-8")
        head, begin, rest = whole.partition(BEGIN)
        _, end, tail = rest.partition(END)
        if not begin or not end:
            raise UsageError(
                f"cannot write into {readme}", why=f"it lacks {BEGIN} or {END}", hint=f"add both to {readme}"
            )
        readme.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", "utf-8")
    except OSError as error:
        raise from_os_error("write", readme, error) from error


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m elkkit_scoring.measure", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--frames", type=Path, help="folder of real frames with masks")
    arguments = parser.parse_args()
    readme = models_folder().parent / "README.md"
    write_numbers(arguments.frames, readme if readme.is_file() else None)


if __name__ == "__main__":
    main()
