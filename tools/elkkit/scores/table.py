"""The scores of many events in a few flat columns, checked so that no score counts twice."""

from __future__ import annotations

import re
import shlex
from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from elkkit.errors import InputError

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

NO_FRAME = -1
_NO_ID = bytes(16)
_NAMED = 3
"""How many examples an error names."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is compared: one version of one model."""

    name: str
    version: str

    @property
    def label(self) -> str:
        """As options and JSON name it: `lane-a:3`."""
        return f"{self.name}:{self.version}" if self.version else self.name

    @property
    def spoken(self) -> str:
        """As sentences name it: `lane-a 3`."""
        return f"{self.name} {self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What the first event of a frame says about it."""

    clip: str | None
    conditions: tuple[str, ...]
    lane_free: bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """All scores of one model and metric, in the order of their frames; those without a frame come first."""

    frames: Ints
    """Index into `ScoreColumns.frames`, ascending; `NO_FRAME` where the line names none."""
    scores: Floats
    """Not finite where the score is undefined."""

    @property
    def framed(self) -> Column:
        """The part that can be paired."""
        start = int(np.searchsorted(self.frames, 0))
        return Column(self.frames[start:], self.scores[start:])


_EMPTY = Column(np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True)
class ScoreColumns:
    """Scores of which each counts once, by model and metric."""

    models: tuple[Model, ...]
    """By name and version, numbers in them by their value."""
    metrics: tuple[str, ...]
    frames: tuple[str, ...]
    """All that were read; sorted, so that no result depends on the order of the lines."""
    facts: tuple[FrameFacts, ...]
    """Of each frame."""
    runs: Mapping[Model, tuple[str, ...]]
    frames_used: int
    """How many of the frames have a score here."""
    already_seen: int
    """Events left out because the same score was there under the same `event.id`."""
    left_out: int
    """Events of metrics or runs that were not asked for."""
    columns: Mapping[tuple[Model, str], Column] = field(repr=False)

    def of(self, model: Model, metric: str) -> Column:
        """The scores of one model and metric; empty where there are none."""
        return self.columns.get((model, metric), _EMPTY)


@dataclass(frozen=True, slots=True)
class _Series:
    """What events of one model, metric and run have in common."""

    model: Model
    metric: str
    run: str | None
    run_name: str | None
    service: str | None


class Scores:
    """The scores of events, filled one by one: some 33 bytes an event, and its frame's name once.

    The same table is filled from log files and from Elasticsearch; what is asked of it does not know from where.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[Any, ...], int] = {}
        self._series: list[_Series] = []
        self._frames: dict[str, int] = {}
        self._facts: list[FrameFacts] = []
        self._known_facts: dict[FrameFacts, FrameFacts] = {}
        self._series_of = array("i")
        self._frame_of = array("i")
        self._score = array("d")
        self._ids = bytearray()
        self._has_id = bytearray()

    def __len__(self) -> int:
        """Events so far."""
        return len(self._score)

    def add(self, fields: Mapping[str, Any], source: str = "unnamed") -> None:
        """Take one event: a parsed line's fields by dotted name, with `metrictype` and `metricscores` or `metricraw`.

        `source` names the model where the event does not, as in plain lines.
        """
        get = fields.get
        key = (get("model.name"), get("model.version"), get("metrictype"), get("run.id"), get("run.name"),
               get("service.name"), source)  # fmt: skip
        series = self._keys.get(key)
        if series is None:
            series = self._new_series(key)
        frame_id = get("frame.id")
        if frame_id is None:
            frame = NO_FRAME
        else:
            known = self._frames.get(frame_id)
            frame = self._new_frame(frame_id, fields) if known is None else known
        score = get("metricscores")
        event_id = get("event.id")
        self._series_of.append(series)
        self._frame_of.append(frame)
        self._score.append(float(get("metricraw", "nan")) if score is None else score)
        if event_id is None:
            self._has_id.append(0)
            self._ids += _NO_ID
        else:
            self._has_id.append(1)
            self._ids += bytes.fromhex(event_id)

    def _new_series(self, key: tuple[Any, ...]) -> int:
        name, version, metric, run, run_name, service, source = key
        self._series.append(_Series(Model(name or source, version or ""), metric, run, run_name, service))
        self._keys[key] = len(self._keys)
        return len(self._series) - 1

    def _new_frame(self, frame_id: str, fields: Mapping[str, Any]) -> int:
        conditions = fields.get("frame.conditions") or ()
        conditions = (conditions,) if isinstance(conditions, str) else tuple(conditions)
        facts = FrameFacts(fields.get("frame.clip"), conditions, fields.get("frame.lane_free"))
        self._facts.append(self._known_facts.setdefault(facts, facts))
        self._frames[frame_id] = len(self._frames)
        return len(self._facts) - 1

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics so far, in the order in which they came."""
        return list(dict.fromkeys(s.metric for s in self._series))

    @property
    def runs(self) -> list[tuple[Model, str, str | None]]:
        """Model, `run.id` and `run.name` of the runs so far, in the order in which they came."""
        return list(dict.fromkeys((s.model, s.run, s.run_name) for s in self._series if s.run is not None))

    def columns(self, *, metrics: Collection[str] | None = None, runs: Collection[str] | None = None) -> ScoreColumns:
        """The scores by model and metric, each counted once.

        `metrics` and `runs` (`run.id` or `run.name`) limit what is taken. Raises `InputError` where one `event.id`
        has two scores, or a model has several scores of one metric for one frame: which of them counts is not ours
        to guess, and their mean would be neither.
        """
        wanted = np.array(
            [
                (metrics is None or s.metric in metrics) and (runs is None or s.run in runs or s.run_name in runs)
                for s in self._series
            ],
            dtype=np.bool_,
        )
        series = np.array(self._series_of, dtype=np.int64)
        rows = np.flatnonzero(wanted[series]) if len(series) else series
        left_out = len(series) - len(rows)
        first = self._first_of_each_id(rows, series)
        already_seen = len(rows) - len(first)
        series = series[first]
        used = np.unique(series).tolist()
        models = sorted({self._series[i].model for i in used}, key=_natural)
        names = sorted({self._series[i].metric for i in used})
        order = sorted(self._frames)
        rank = np.full(len(order) + 1, NO_FRAME, dtype=np.int64)  # the last one is what -1 picks
        for position, frame in enumerate(order):
            rank[self._frames[frame]] = position
        number = {(m, n): i for i, (m, n) in enumerate(product(models, names))}
        group_of = np.zeros(len(self._series), dtype=np.int64)
        for i in used:
            group_of[i] = number[self._series[i].model, self._series[i].metric]
        group = group_of[series]
        frame_of = rank[np.array(self._frame_of, dtype=np.int64)[first]]
        score = np.array(self._score, dtype=np.float64)[first]
        by_frame = np.lexsort((score, frame_of, group))
        self._refuse_repeats(group, frame_of, first, by_frame, order)
        group, frame_of, score = group[by_frame], frame_of[by_frame], score[by_frame]
        present, starts = np.unique(group, return_index=True)
        ends = np.append(starts[1:], len(group))[: len(starts)].tolist()
        columns = {
            (models[g // len(names)], names[g % len(names)]): Column(frame_of[start:end], score[start:end])
            for g, start, end in zip(present.tolist(), starts.tolist(), ends, strict=True)
        }
        return ScoreColumns(
            models=tuple(models),
            metrics=tuple(names),
            frames=tuple(order),
            facts=tuple(self._facts[self._frames[f]] for f in order),
            runs=self._runs_by_model(used),
            frames_used=len(np.unique(frame_of[frame_of >= 0])),
            already_seen=already_seen,
            left_out=left_out,
            columns=columns,
        )

    def _runs_by_model(self, used: Collection[int]) -> dict[Model, tuple[str, ...]]:
        runs: dict[Model, dict[str, None]] = {}
        for i in used:
            found = runs.setdefault(self._series[i].model, {})
            if self._series[i].run is not None:
                found[str(self._series[i].run)] = None
        return {model: tuple(found) for model, found in runs.items()}

    # --- nothing counts twice ----------------------------------------------------------------------------------------

    def _first_of_each_id(self, rows: Ints, series: Ints) -> Ints:
        """Rows without those that repeat an `event.id`. Raises `InputError` where what they repeat is another score."""
        has_id = np.frombuffer(bytes(self._has_id), dtype=np.uint8)[rows] == 1
        named = rows[has_id]
        if not len(named):
            return rows
        words = np.frombuffer(bytes(self._ids), dtype=">u8").reshape(-1, 2)[named].astype(np.uint64)
        order = np.lexsort((words[:, 1], words[:, 0]))  # stable: the first that came stays first
        named, words = named[order], words[order]
        repeated = np.flatnonzero((words[1:] == words[:-1]).all(axis=1))
        if not len(repeated):
            return rows
        before, again = named[repeated], named[repeated + 1]
        self._refuse_conflicts(before, again, series)
        return np.setdiff1d(rows, again, assume_unique=True)

    def _refuse_conflicts(self, before: Ints, again: Ints, series: Ints) -> None:
        """Raise `InputError` unless each pair of rows says the same; a NaN is the same as a NaN."""
        score = np.array(self._score, dtype=np.float64)
        frame = np.array(self._frame_of, dtype=np.int64)
        what = [(s.model, s.metric) for s in self._series]
        one: dict[tuple[Model, str], int] = {}
        same_series = np.array([one.setdefault(w, len(one)) for w in what], dtype=np.int64)
        same = (score[before] == score[again]) | (np.isnan(score[before]) & np.isnan(score[again]))
        same &= (frame[before] == frame[again]) & (same_series[series[before]] == same_series[series[again]])
        wrong = np.flatnonzero(~same)
        if not len(wrong):
            return
        ids = sorted({self._id(int(row)) for row in again[wrong]})
        shown = []
        for i in wrong[:_NAMED]:
            a, b = self._what(int(before[i])), self._what(int(again[i]))
            scores = f"{self._score[int(before[i])]!r} and {self._score[int(again[i])]!r}"
            shown.append(f"{self._id(int(again[i]))} ({a if a == b else f'{a}; {b}'}: {scores})")
        count = f"{len(ids):,} event ids have" if len(ids) > 1 else "one event id has"
        more = f" and {len(ids) - len(shown):,} more" if len(ids) > len(shown) else ""
        raise InputError(
            f"conflicting scores: {count} two different scores",
            why=", ".join(shown) + more,
            hint="leave out the file that does not belong here; `elkkit parse FILE` shows the lines with these ids",
        )

    def _refuse_repeats(
        self, group: Ints, frame: Ints, rows: Ints, order: npt.NDArray[np.intp], names: list[str]
    ) -> None:
        """Raise `InputError` where a model has several scores of one metric for one frame."""
        g, f = group[order], frame[order]
        repeated = np.flatnonzero((g[1:] == g[:-1]) & (f[1:] == f[:-1]) & (f[1:] >= 0))
        if not len(repeated):
            return
        series_of = self._series_of
        one, two = (self._series[series_of[int(rows[order[repeated[0] + i]])]] for i in (0, 1))
        frames = len(np.unique(f[repeated]))
        what = f"{one.metric} of frame {names[int(f[repeated[0]])]}"
        if one.run != two.run:
            why = f"{what} comes from run {one.run or '(unnamed)'} and from run {two.run or '(unnamed)'}"
            hint = f"choose one run of each model: {self._run_options()}"
        elif one.service != two.service:
            why = f"{what} comes from {one.service or '(unnamed)'} and from {two.service or '(unnamed)'}"
            hint = "name the log of one of these services only"
        else:
            why = f"{what} has several lines with different event ids, or with none"
            hint = "leave out the copy; if these are different frames, give each its own frame.id"
        if frames > 1:
            why += f"; {frames:,} frames are affected"
        raise InputError(f"{one.model.label} has more than one score for the same frame", why=why, hint=hint)

    def _run_options(self) -> str:
        """The options that choose the last run of each model, in the order in which they came."""
        last = {model: run for model, run, _ in self.runs}
        return " ".join(f"--run {shlex.quote(run)}" for run in dict.fromkeys(last.values()))

    def _id(self, row: int) -> str:
        return self._ids[row * 16 : row * 16 + 16].hex()

    def _what(self, row: int) -> str:
        series = self._series[self._series_of[row]]
        frame = self._frame_of[row]
        where = f", frame {next(n for n, i in self._frames.items() if i == frame)}" if frame >= 0 else ""
        return f"{series.metric} of {series.model.label}{where}"


def _natural(model: Model) -> tuple[Any, ...]:
    """Sorts version 10 after version 9."""

    def parts(text: str) -> list[tuple[int, int, str]]:
        found = re.split(r"([0-9]+)", text)
        return [(1, len(t.lstrip("0")), t.lstrip("0")) if i % 2 else (0, 0, t) for i, t in enumerate(found)]

    return parts(model.name), parts(model.version), model.name, model.version
