"""A benchmark's own numbers from files of predictions and of labels, without a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from elkkit.errors import InputError, UsageError
from elkkit_scoring import bdd, culane, metrics, tusimple
from elkkit_scoring.datasets import MASK_ENDING, MASK_FOLDER
from elkkit_scoring.image import MAX_BYTES, Mask, decode_mask
from elkkit_scoring.labels import is_dir, is_file, number_of, read_bytes
from elkkit_scoring.metrics import Counts, MetricName

Format = Literal["mask", "bdd", "tusimple", "culane"]
Numbers = Mapping[str, float | int]
Progress = Callable[[int, int], None]
"""Called with the frames done and the frames in all."""
_NAMED = 3
_RATIOS = tuple(metrics.ratios(Counts(0, 0, 0, 0)))


@dataclass(frozen=True, slots=True)
class Options:
    """What may be chosen; each belongs to one format and is refused for the others."""

    tolerance: int | None = None  # mask: radius of F1_tolerant in pixels; the contract's when left out
    iou: float | None = None  # culane: what a match must be above; 0.5 when left out
    lists: Sequence[Path] = ()  # culane: list files, each a row of the table
    leave_out: Sequence[str] = ()  # bdd: classes that count as background on both sides
    allow_missing: bool = False  # a frame without prediction counts as one without lanes


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found. An undefined number is nan here and null in `as_dict`."""

    format: Format
    predictions: str
    truth: str
    settings: Mapping[str, Any]
    numbers: Mapping[str, Numbers]
    """The table: rows (a metric, a class, a list) by columns."""
    summary: Numbers
    frames: Mapping[str, Numbers] = field(repr=False)
    missing: tuple[str, ...] = ()
    """Frames that had no prediction and were counted as predicted empty."""
    notes: tuple[str, ...] = ()

    def as_dict(self, *, per_frame: bool = False) -> dict[str, Any]:
        """For JSON; ``per_frame`` adds the numbers of each frame."""
        data = {
            "format": self.format,
            "predictions": self.predictions,
            "truth": self.truth,
            "settings": dict(self.settings),
            "frames": len(self.frames),
            "missing_predictions": list(self.missing),
            "numbers": {name: _null(row) for name, row in self.numbers.items()},
            "summary": _null(self.summary),
        }
        if per_frame:
            data["per_frame"] = [{"frame_id": name, **_null(row)} for name, row in self.frames.items()]
        return data


def evaluate(
    predictions: Path, truth: Path, kind: str, options: Options | None = None, progress: Progress | None = None
) -> Evaluation:
    """Compare predictions with labels as the benchmark of ``kind`` (one of `Format`) does.

    Raises `UsageError` for options of another format, and `InputError` (with file, and line or frame) for the first
    file that cannot be used: numbers of a part of the frames would not be the benchmark's.
    """
    options = options or Options()
    tell = progress or (lambda _done, _total: None)
    _check_options(kind, options)
    if kind == "mask":
        return _masks(predictions, truth, options, tell)
    if kind == "bdd":
        return _bdd(predictions, truth, options, tell)
    if kind == "tusimple":
        return _tusimple(predictions, truth, options, tell)
    if kind == "culane":
        return _culane(predictions, truth, options, tell)
    why = f"{kind!r} is none of {', '.join(get_args(Format))}"
    raise UsageError("cannot evaluate", why=why, hint="elkkit evaluate --help")


def _check_options(kind: str, options: Options) -> None:
    given = {
        ("--tolerance", "mask"): options.tolerance is not None,
        ("--iou", "culane"): options.iou is not None,
        ("--list", "culane"): bool(options.lists),
        ("--leave-out", "bdd"): bool(options.leave_out),
    }
    for (flag, owner), there in given.items():
        if there and kind != owner:
            why = f"it belongs to --format {owner}"
            raise UsageError(f"cannot use {flag} with --format {kind}", why=why, hint=f"leave {flag} out")
    if options.iou is not None and not 0 <= options.iou < 1:
        raise UsageError("cannot use --iou", why=f"{options.iou} is not from 0 to below 1", hint="--iou 0.5")
    if options.tolerance is not None and not 0 <= options.tolerance <= 200:
        raise UsageError(
            "cannot use --tolerance", why=f"{options.tolerance} is not from 0 to 200", hint="--tolerance 5"
        )


def _masks(predictions: Path, truth: Path, options: Options, tell: Progress) -> Evaluation:
    guesses, labels = _mask_files(predictions), _mask_files(truth)
    missing, notes = _pair(guesses.keys(), labels.keys(), predictions, options)
    radius = metrics.tolerance() if options.tolerance is None else options.tolerance
    counts: list[Counts] = []
    frames: dict[str, dict[str, float | int]] = {}
    for done, (name, path) in enumerate(labels.items(), 1):
        right = _mask(path)
        guess = _mask(guesses[name]) if name in guesses else right & ~right
        _same_size(guesses.get(name, path), guess.shape, path, right.shape)
        counts.append(metrics.count(guess, right))
        frames[name] = {
            **{str(metric): value for metric, value in metrics.ratios(counts[-1]).items()},
            MetricName.F1_TOLERANT: metrics.f1_tolerant(guess, right, radius),
            MetricName.TRUE_POSITIVE_PX: counts[-1].true_positive,
            MetricName.PREDICTED_PX: counts[-1].predicted,
            MetricName.TRUTH_PX: counts[-1].truth,
        }
        tell(done, len(labels))
    pooled = metrics.pooled(counts)
    numbers: dict[str, Numbers] = {}
    for metric in (*_RATIOS, MetricName.F1_TOLERANT):
        mean, defined, _ = metrics.mean_of_defined(frame[metric] for frame in frames.values())
        # a tolerant F1 has no counts that could be pooled
        numbers[metric] = {"pooled": pooled.get(metric, math.nan), "mean": mean, "defined": defined}
    summary = {
        "lane_free_frames": sum(not one.truth for one in counts),
        "false_alarm_rate": metrics.false_alarm_rate(counts),
    }
    settings = {"tolerance_px": radius}
    return Evaluation("mask", str(predictions), str(truth), settings, numbers, summary, frames, missing, notes)


def _bdd(predictions: Path, truth: Path, options: Options, tell: Progress) -> Evaluation:
    labels, guesses = bdd.open_labels(truth), bdd.open_labels(predictions)
    missing, notes = _pair(guesses.names(), labels.names(), predictions, options)
    columns = [f"F1_pix{radius}" for radius in bdd.RADII]
    counts: list[Counts] = []
    rows: list[dict[str, tuple[float, ...]]] = []
    frames: dict[str, Numbers] = {}
    order = sorted(labels.names())
    for done, name in enumerate(order, 1):
        right = bdd.without(labels.codes(name), options.leave_out)
        guess = np.full_like(right, bdd.BACKGROUND)
        if name in guesses.names():
            guess = bdd.without(guesses.codes(name, right.shape[:2]), options.leave_out)
        _same_size(f"{predictions}, {name}", guess.shape, f"{truth}, {name}", right.shape)
        rows.append(bdd.benchmark(guess, right))
        counts.append(metrics.count(bdd.lanes_of(guess), bdd.lanes_of(right)))
        average = bdd.averages(rows[-1:])["average"]
        frames[name] = {
            **dict(zip(columns, average, strict=True)),
            MetricName.IOU: metrics.ratios(counts[-1])[MetricName.IOU],
        }
        tell(done, len(order))
    table = bdd.averages(rows)
    numbers = {name: dict(zip(columns, row, strict=True)) for name, row in table.items()}
    pooled = metrics.pooled(counts)
    summary = {f"{metric}_pooled": pooled[metric] for metric in (MetricName.IOU, MetricName.F1)}
    settings = {"radii_px": list(bdd.RADII), "line_width_px": bdd.LINE_WIDTH, "left_out": list(options.leave_out)}
    return Evaluation("bdd", str(predictions), str(truth), settings, numbers, summary, frames, missing, notes)


def _tusimple(predictions: Path, truth: Path, options: Options, tell: Progress) -> Evaluation:
    labels = tusimple.read_labels(truth, truth=True)
    guesses = tusimple.read_labels(predictions, truth=False)
    for name, guess in guesses.items():  # the official tool refuses these too
        if name not in labels:
            why = f"the labels {truth} have no frame {name}"
            raise InputError(f"cannot use {guess.where}", why=why, hint="evaluate against the labels of these frames")
    missing, notes = _pair(guesses.keys(), labels.keys(), predictions, options)
    frames: dict[str, Numbers] = {}
    for done, (name, right) in enumerate(labels.items(), 1):
        found, run_time = guesses.get(name), 0.0
        if found is not None:
            tusimple.check_against(found, right)
            run_time = found.run_time
        assert right.heights is not None
        one = tusimple.bench(found.lanes if found else (), right.lanes, right.heights, run_time)
        frames[name] = dict(zip(("Accuracy", "FP", "FN"), one, strict=True))
        tell(done, len(labels))
    means = {key: math.fsum(row[key] for row in frames.values()) / len(frames) for key in ("Accuracy", "FP", "FN")}
    slow = sum(one.run_time > tusimple.SLOWEST_MS for one in guesses.values())
    if slow:
        notes = (
            *notes,
            f"{number_of(slow, 'frame')} slower than {tusimple.SLOWEST_MS:.0f} ms: failed, as the benchmark has it",
        )
    summary = {"slow_frames": slow, "lane_free_frames": sum(not one.lanes for one in labels.values())}
    settings = {"tolerance_px": tusimple.TOLERANCE_PX, "matched": tusimple.MATCHED, "slowest_ms": tusimple.SLOWEST_MS}
    return Evaluation(
        "tusimple", str(predictions), str(truth), settings, {"all": means}, summary, frames, missing, notes
    )


def _culane(predictions: Path, truth: Path, options: Options, tell: Progress) -> Evaluation:
    iou = culane.IOU if options.iou is None else options.iou
    groups: dict[str, list[str]] = {}
    for path in options.lists:
        if path.stem in groups:
            raise UsageError("cannot use --list", why=f"two lists are called {path.stem}", hint="rename one of them")
        groups[path.stem] = [culane.lanes_name(name) for name in culane.read_list(path)]
    order = list(dict.fromkeys(name for names in groups.values() for name in names)) or culane.find_lanes(truth)
    guessed = set(culane.find_lanes(predictions))
    missing, notes = _pair(guessed if not groups else guessed & set(order), order, predictions, options)
    results: dict[str, culane.Matches] = {}
    pointless = 0
    for done, name in enumerate(order, 1):
        right = culane.read_lanes(truth / name)
        guess = culane.read_lanes(predictions / name) if name in guessed else []
        pointless += sum(len(lane) < 2 for lane in (*right, *guess))
        results[name] = culane.match(guess, right, iou)
        tell(done, len(order))
    if pointless:
        what = number_of(pointless, "lane")
        notes = (*notes, f"{what} of a single point: counted, but like no other lane, as the official tool has it")
    together = {"all": order} if len(groups) != 1 else {}
    numbers = {name: _of_matches([results[one] for one in names]) for name, names in {**together, **groups}.items()}
    frames = {name.removesuffix(culane.ENDING): _of_matches([one], frames=False) for name, one in results.items()}
    settings = {"iou": iou, "lane_width_px": culane.LANE_WIDTH, "size": list(culane.SIZE[::-1])}
    return Evaluation("culane", str(predictions), str(truth), settings, numbers, {}, frames, missing, notes)


def _of_matches(every: Sequence[culane.Matches], *, frames: bool = True) -> dict[str, float | int]:
    one = sum(every, culane.Matches())
    return {
        **({"frames": len(every)} if frames else {}),
        "TP": one.true_positive,
        "FP": one.false_positive,
        "FN": one.false_negative,
        "Precision": one.precision,
        "Recall": one.recall,
        "F1": one.f1,
    }


def _pair(
    guesses: Collection[str], labels: Iterable[str], predictions: Path, options: Options
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Frames without prediction, and notes. Raises `InputError` where that is not allowed or nothing fits."""
    names = list(labels)
    missing = tuple(name for name in names if name not in guesses)
    extra = len(guesses) - (len(names) - len(missing))
    if missing and (len(missing) == len(names) or not options.allow_missing):
        some = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        why = f"{len(missing):,} of {len(names):,} labelled frames have none: {some}"
        hint = "--allow-missing counts them as frames in which no lane was predicted"
        if len(missing) == len(names):
            hint = "give predictions the names of the labels"
        raise InputError(f"predictions are missing in {predictions}", why=why, hint=hint)
    return missing, ((f"left out: {number_of(extra, 'prediction')} without a label",) if extra else ())


def _mask_files(folder: Path) -> dict[str, Path]:
    """Masks by name: those that end in `-lanes` if any does, else those of `masks`, else every PNG."""
    if is_file(folder):
        why, hint = "it is a file, not a folder", "give a folder of PNG masks"
        raise InputError(f"cannot read the masks {folder}", why=why, hint=hint)
    inner = folder / MASK_FOLDER
    files = bdd.files_below(inner if is_dir(inner) else folder, (".png",), "mask")
    named = {name.removesuffix(MASK_ENDING): file for name, file in files.items() if name.endswith(MASK_ENDING)}
    return named or files


def _mask(path: Path) -> Mask:
    return decode_mask(read_bytes("mask", path, MAX_BYTES), str(path))


def _same_size(guess: object, guessed: tuple[int, ...], label: object, labelled: tuple[int, ...]) -> None:
    if guessed != labelled:
        why = f"it is {guessed[1]}x{guessed[0]}, the label {label} is {labelled[1]}x{labelled[0]}"
        raise InputError(f"cannot use the mask {guess}", why=why, hint="bring predictions to the size of the labels")


def _null(row: Numbers) -> dict[str, float | int | None]:
    return {str(key): None if math.isnan(value) else value for key, value in row.items()}
