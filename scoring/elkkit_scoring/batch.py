"""The batch runner: several models, one set of frames, one log line per metric per frame per model.

Each model plays one deployed service (`lane-detection-service-1`, `-2`, …) with its own log. A run that was
interrupted, by whatever, goes on when it is started again: what the log holds is not scored twice, and since ids are
deterministic the result is the same set of events as of a run that was never interrupted. A frame of which only some
metrics arrived is scored again and the missing ones are added; its times are then those of the second scoring.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from elkkit.contract import Contract, load_contract
from elkkit.errors import ElkkitError, InputError, UsageError
from elkkit.line import MetricLogger, event_id, subject
from elkkit_scoring.datasets import Dataset, Frame
from elkkit_scoring.metrics import NEED_TRUTH, MetricName, against_truth
from elkkit_scoring.model import LaneModel, Prediction
from elkkit_scoring.runstate import Deployment, LogState, OwnedLog, read_state, write_state

SERVICE = "lane-detection-service"
Progress = Callable[[int, int], None]
"""Called with the frames done and the frames in all."""


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """What one model's log got."""

    name: str
    version: str
    service: str
    log: Path
    digest: str
    lines_written: int = 0
    skipped_existing: int = 0
    repaired_bytes: int = 0


@dataclass(frozen=True, slots=True)
class FailedFrame:
    """A frame that could not be scored, and why."""

    frame_id: str
    error: ElkkitError


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What a batch run did."""

    run_id: str
    resumed: bool
    data: str
    frames: int
    models: tuple[ScoredModel, ...]
    failed_frames: tuple[FailedFrame, ...]
    seconds: float

    @property
    def lines_written(self) -> int:
        """Lines written by this run of the command."""
        return sum(model.lines_written for model in self.models)

    @property
    def skipped_existing(self) -> int:
        """Lines that the logs held already."""
        return sum(model.skipped_existing for model in self.models)

    @property
    def logs(self) -> tuple[Path, ...]:
        """The log files, each once."""
        return tuple(dict.fromkeys(model.log for model in self.models))


@dataclass
class _Lane:
    """One model on its way through the frames."""

    model: LaneModel
    result: ScoredModel
    held: set[str]
    logger: MetricLogger
    written: int = 0
    skipped: int = 0


def score(
    models: Sequence[LaneModel],
    data: Dataset,
    log: Path,
    *,
    run_id: str | None = None,
    run_name: str | None = None,
    services: Sequence[str] | None = None,
    contract: Contract | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Score every frame with every model and write the metrics to the log or logs.

    ``log`` is a folder, which gets one file per service, or one file for all (see `log_paths`). ``run_id`` is that of
    the logs' last run when left out, if there is one that can go on, else a new one. A frame that cannot be read or
    fits no mask is left out and named in the result. Raises `UsageError` for what cannot go on (another process at
    work, a model that changed under the same run) and `StorageError` where a log cannot be written; a later call then
    goes on.
    """
    started = time.monotonic()
    contract = contract or load_contract()
    names = _services(models, services)
    paths = log_paths(log, names)
    failed: list[FailedFrame] = []
    with ExitStack() as stack:
        owned = {path: stack.enter_context(OwnedLog(path)) for path in dict.fromkeys(paths)}
        deployments = [Deployment(n, m.card.name, m.card.version, m.digest) for n, m in zip(names, models, strict=True)]
        wanted = list(zip(paths, deployments, strict=True))
        chosen, resumed = _claim(owned, wanted, run_id, contract)
        held = {path: set(own.event_ids(chosen, contract) if own.keeps else ()) for path, own in owned.items()}
        lanes = []
        for model, (path, deployed) in zip(models, wanted, strict=True):
            logger = MetricLogger(
                path,
                model_name=deployed.model,
                model_version=deployed.version,
                service_name=deployed.service,
                run_id=chosen,
                run_name=run_name,
                contract=contract,
            )
            stack.callback(logger.close)
            row = ScoredModel(deployed.model, deployed.version, deployed.service, path, deployed.digest)
            lanes.append(_Lane(model, row, held[path], logger))
        for index in range(len(data)):
            if (failure := _score_frame(lanes, data, index, chosen)) is not None:
                failed.append(failure)
            if progress:
                progress(index + 1, len(data))
        for path, own in owned.items():
            if own.keeps and (state := read_state(path)) is not None:
                write_state(path, replace(state, size=own.size))
        repaired = {path: own.repaired for path, own in owned.items()}
    done = [
        replace(
            lane.result,
            lines_written=lane.written,
            skipped_existing=lane.skipped,
            repaired_bytes=repaired.pop(lane.result.log, 0),
        )
        for lane in lanes
    ]
    return ScoreResult(
        run_id=chosen,
        resumed=resumed,
        data=data.name,
        frames=len(data),
        models=tuple(done),
        failed_frames=tuple(failed),
        seconds=time.monotonic() - started,
    )


def log_paths(log: Path, services: Sequence[str]) -> list[Path]:
    """The log of each service.

    A path that is a folder, ends in a slash, or does not exist and has no ending (`out`) gives one file per service in
    that folder, `<service>.log`; anything else (`out.log`, `/dev/stdout`) is one file for all.
    """
    folder = log.is_dir() or str(log).endswith(os.sep) or (not log.exists() and not log.suffix)
    return [log / f"{service}.log" if folder else log for service in services]


def scores_of(prediction: Prediction, frame: Frame) -> dict[MetricName, float | int]:
    """Every metric of one prediction, in the contract's order; those that need truth only where the frame has it.

    Raises `InputError` where the mask's size is not the image's.
    """
    found: dict[MetricName, float | int] = {
        MetricName.INFERENCE_TIME: prediction.seconds.inference,
        MetricName.PREPROCESS_TIME: prediction.seconds.preprocess,
        MetricName.POSTPROCESS_TIME: prediction.seconds.postprocess,
        MetricName.PREDICTED_PX: prediction.predicted_px,
        MetricName.LANE_SHARE: prediction.lane_share,
        MetricName.MEAN_PROBABILITY: prediction.mean_probability,
        MetricName.BRIGHTNESS: prediction.brightness,
    }
    if frame.truth is not None:
        found |= against_truth(prediction.mask, frame.truth)
    return {name: found[name] for name in MetricName if name in found}


def _score_frame(lanes: Sequence[_Lane], data: Dataset, index: int, run_id: str) -> FailedFrame | None:
    """Score one frame with every model that lacks a metric of it, and log what is missing."""
    what = subject(frame_id=data.frame_id(index)) or ""
    names = [name for name in MetricName if data.has_truth(index) or name not in NEED_TRUTH]
    todo = []
    for lane in lanes:
        absent = [name for name in names if _id(lane.result, run_id, what, name) not in lane.held]
        lane.skipped += len(names) - len(absent)
        if absent:
            todo.append((lane, absent))
    if not todo:
        return None
    try:
        frame = data.load(index)
        scored = [(lane, absent, scores_of(lane.model.predict(frame.image), frame)) for lane, absent in todo]
    except InputError as error:
        return FailedFrame(data.frame_id(index), error)
    for lane, absent, scores in scored:
        for name in absent:
            lane.logger.log_metric(
                name,
                scores[name],
                frame_id=frame.frame_id,
                frame_index=frame.index,
                lane_free=frame.lane_free,
                clip=frame.clip,
                conditions=frame.conditions,
            )
            lane.written += 1
    return None


def _id(row: ScoredModel, run_id: str, what: str, metric: MetricName) -> str:
    return event_id(
        run_id=run_id, service=row.service, model=row.name, version=row.version, subject=what, metric=metric.value
    )


def _services(models: Sequence[LaneModel], services: Sequence[str] | None) -> list[str]:
    """A service per model; every model is named once."""
    if not models:
        raise UsageError("no model to score with", hint="elkkit score --model lane-a --data scenes:120 --log out")
    seen: dict[tuple[str, str], LaneModel] = {}
    for model in models:
        key = (model.card.name, model.card.version)
        if key in seen:
            raise UsageError(
                f"two models are {key[0]} version {key[1]}",
                why=f"{seen[key].path} and {model.path} could not be told apart in the log",
                hint="give one of the cards another name or version",
            )
        seen[key] = model
    if services is None:
        return [f"{SERVICE}-{number}" for number in range(1, len(models) + 1)]
    if len(services) != len(models) or len(set(services)) != len(services):
        why = f"there are {len(models)} models and {len(set(services))} different services"
        raise UsageError("models and services do not pair", why=why, hint="give one --service per --model")
    bad = [name for name in services if not name or "/" in name or name in (".", "..")]
    if bad:
        why = "it names a log file too, so it must be neither empty nor a path"
        raise UsageError(f"cannot use the service name {bad[0]!r}", why=why, hint="--service lane-detection-service-1")
    return list(services)


def _claim(
    owned: dict[Path, OwnedLog], wanted: Sequence[tuple[Path, Deployment]], run_id: str | None, contract: Contract
) -> tuple[str, bool]:
    """Settle the run's id, check that each log can take it, and write it down beside the logs."""
    states = {path: read_state(path) if own.keeps else None for path, own in owned.items()}
    # A log that was rotated or removed since holds nothing to go on from.
    alive = {p: s for p, s in states.items() if s and s.log == owned[p].inode and owned[p].size >= s.size}
    last = {state.last for state in alive.values()}
    goes_on = len(last) == 1 and all(path in alive or states[path] is None for path in owned)
    chosen = run_id or (last.pop() if goes_on else uuid.uuid4().hex)
    resumed = False
    claimed: dict[Path, LogState] = {}
    for path, own in owned.items():
        if not own.keeps:
            continue
        state = alive.get(path) or (states[path] or LogState()).without_lines()
        if chosen in state.gone:
            why = f"{path} was rotated, cut or replaced since, so what it has scored is not known"
            raise UsageError(f"cannot go on with run {chosen}", why=why, hint="give a new --run-id")
        if chosen in state.runs:
            resumed = resumed or own.size > 0
        elif any(own.event_ids(chosen, contract)):
            why = f"{path} holds lines of it, but nothing says which models wrote them"
            raise UsageError(f"cannot go on with run {chosen}", why=why, hint="give a new --run-id, or another --log")
        admitted = state.runs.get(chosen, ())
        for deployed in [d for p, d in wanted if p == path]:
            admitted = _admit(admitted, deployed, chosen)
        claimed[path] = replace(state.with_run(chosen, admitted), log=own.inode, size=own.size)
    for path, state in claimed.items():  # only when every log can take it
        write_state(path, state)
    return chosen, resumed


def _admit(known: tuple[Deployment, ...], deployed: Deployment, run_id: str) -> tuple[Deployment, ...]:
    """Add a model to a run, unless the run knows it with other contents."""
    for other in known:
        same = (other.service, other.model, other.version) == (deployed.service, deployed.model, deployed.version)
        if same and other.digest != deployed.digest:
            raise UsageError(
                f"cannot go on with run {run_id}",
                why=f"{other.model} version {other.version} has changed: its sha256 was {other.digest[:12]}…, "
                f"now it is {deployed.digest[:12]}…",
                hint="score it as a new run: --run-id NEW",
            )
        if same:
            return known
    return (*known, deployed)
