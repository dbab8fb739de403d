"""The runs in a stream of Elasticsearch: list them, look at one, delete some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from elkkit.contract import Contract
from elkkit.errors import InputError
from elkkit.stack.reading import Query, Snapshot, all_of, exists, no_canaries, none_of, of_runs, snapshot, there
from elkkit.stack.removing import remove
from elkkit.words import close_to, did_you_mean

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

EXACT_UP_TO = 40_000
"""Different values up to which Elasticsearch's cardinality is as good as exact; it takes no higher threshold."""
_PAGE = 100  # counting different values takes up to 320 kB of the server's memory for each run
_MOST_NAMED = 1000
_WHAT = "read the runs"
_EVENTS: Query = {
    "scored": {"filter": {"exists": {"field": "metricscores"}}},
    "undefined": {"filter": {"exists": {"field": "metricraw"}}},
}
_FRAMES: Query = {"frames": {"cardinality": {"field": "frame.id", "precision_threshold": EXACT_UP_TO}}}


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as its documents tell."""

    id: str
    names: tuple[str, ...]
    """`run.name` of its documents; mostly one, or none."""
    models: tuple[str, ...]
    """`name:version`, with `name` alone where no version is told."""
    frames: int
    """Different ones; approximate above `EXACT_UP_TO`."""
    documents: int
    scored: int
    undefined: int
    """Scores that are not finite."""
    first: str | None
    """`@timestamp` of its earliest document."""
    last: str | None

    @property
    def name(self) -> str | None:
        """The run's name for people."""
        return self.names[0] if self.names else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "name": self.name, "frames_approximate": self.frames > EXACT_UP_TO}


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs, the newest first."""

    where: str
    """Of the stream, for people."""
    stream: str
    runs: tuple[Run, ...]
    without_run: int
    """Documents that name no run."""

    def as_dict(self) -> dict[str, Any]:
        """`data` of the command's JSON."""
        runs = [run.as_dict() for run in self.runs]
        return {"stream": self.stream, "runs": runs, "documents_without_run": self.without_run}


@dataclass(frozen=True, slots=True)
class MetricOfRun:
    """One metric of one model in a run, as the server adds it up."""

    model: str
    metric: str
    n: int
    """Defined scores."""
    undefined: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class RunDetails:
    """What there is to know about one run."""

    run: Run
    metrics: tuple[MetricOfRun, ...]
    services: Mapping[str, int]
    """Documents of each."""
    clips: int
    """Different ones."""
    conditions: Mapping[str, int]
    """Different frames of each."""
    files: Mapping[str, int]
    """Documents of each file that they were read from; the most frequent where there are very many."""
    malformed: int

    def as_dict(self) -> dict[str, Any]:
        """`data` of the command's JSON."""
        metrics = [asdict(m) for m in self.metrics]
        return {"run": self.run.as_dict(), "metrics": metrics, "services": self.services, "clips": self.clips,
                "conditions": self.conditions, "files": self.files, "malformed": self.malformed}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Doomed:
    """A run that is to be deleted."""

    id: str
    name: str | None
    documents: int
    models: Mapping[str, int]
    """Documents of each."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What is to be deleted, or was."""

    where: str
    stream: str
    runs: tuple[Doomed, ...]
    deleted: int | None = None
    """Documents; None where nothing was done."""
    left: int = 0
    """Documents of these runs that are there all the same: written meanwhile."""

    @property
    def documents(self) -> int:
        """How many the runs had."""
        return sum(run.documents for run in self.runs)

    def as_dict(self) -> dict[str, Any]:
        """`data` of the command's JSON."""
        runs = [asdict(run) for run in self.runs]
        return {"stream": self.stream, "runs": runs, "documents": self.documents, "deleted": self.deleted,
                "left": self.left}  # fmt: skip


# --- what a command does ---------------------------------------------------------------------------------------------


def list_runs(elastic: Elastic, contract: Contract) -> Runs:
    """Every run of the contract's stream. Raises `InputError` where it is not there, and what `asking` raises."""
    there(elastic, contract.stream, _WHAT)
    with snapshot(elastic, contract.stream, _WHAT) as view:
        ours = no_canaries(contract)
        runs = _runs(view, all_of(exists("run.id"), ours))
        without = view.count(all_of(none_of(exists("run.id")), ours))
    return Runs(elastic.where, contract.stream, runs, without)


def show_run(elastic: Elastic, contract: Contract, run: str) -> RunDetails:
    """One run by id or name. Raises `InputError` where there is no such run, or several of that name."""
    there(elastic, contract.stream, _WHAT)
    with snapshot(elastic, contract.stream, _WHAT) as view:
        ours = no_canaries(contract)
        (run_id,) = _resolve(view, [run], "show", ours)
        its = all_of({"term": {"run.id": run_id}}, ours)
        (found,) = _runs(view, its)
        told = view.aggregate(
            its,
            {
                "services": _terms("service.name"),
                "files": _terms("log.file.path"),
                "conditions": {**_terms("frame.conditions"), "aggregations": _FRAMES},
                "clips": {"cardinality": {"field": "frame.clip", "precision_threshold": EXACT_UP_TO}},
                "malformed": {"filter": {"term": {"tags": contract.malformed_tag}}},
            },
        )
        return RunDetails(
            run=found,
            metrics=_metrics(view, its, contract),
            services=_counts(told["services"]),
            clips=told["clips"]["value"],
            conditions={b["key"]: b["frames"]["value"] for b in told["conditions"]["buckets"]},
            files=_counts(told["files"]),
            malformed=told["malformed"]["doc_count"],
        )


def plan_deletion(elastic: Elastic, contract: Contract, runs: Sequence[str]) -> Deletion:
    """What deleting these runs, by id or name, would delete. Raises as `show_run` does."""
    there(elastic, contract.stream, _WHAT)
    with snapshot(elastic, contract.stream, _WHAT) as view:
        ids = _resolve(view, runs, "delete", {"match_all": {}})
        doomed: dict[str, Doomed] = {run_id: Doomed(run_id, None, 0, {}) for run_id in ids}
        for group in view.groups({"terms": {"run.id": ids}}, ["run.id", "run.name", "model.name", "model.version"]):
            key, count = group["key"], group["doc_count"]
            run, label = doomed[key["run.id"]], _label(key)
            models = {**run.models, label: run.models.get(label, 0) + count}
            name = run.name or key["run.name"]
            doomed[run.id] = replace(run, name=name, documents=run.documents + count, models=models)
    return Deletion(elastic.where, contract.stream, tuple(doomed.values()))


def delete_runs(elastic: Elastic, plan: Deletion, progress: Callable[[int], None] = lambda _done: None) -> Deletion:
    """Delete what was planned; `progress` is told how many documents are deleted. Raises as `remove` does."""
    query: Query = {"terms": {"run.id": [run.id for run in plan.runs]}}
    deleted, left = remove(elastic, plan.stream, query, progress=progress)
    return replace(plan, deleted=deleted, left=left)


# --- which runs ------------------------------------------------------------------------------------------------------


def _resolve(view: Snapshot, wanted: Sequence[str], verb: str, among: Query) -> list[str]:
    """The ids of runs that were named by id or name, each once; `among` are the documents that are looked at."""
    ids: dict[str, None] = {}
    for run in wanted:
        groups = view.groups(all_of(of_runs([run]), exists("run.id"), among), ["run.id"])
        same = [str(group["key"]["run.id"]) for group in groups]
        if run in same:  # an id means that run, also where it is another one's name
            same = [run]
        if not same:
            raise _no_such_run(view, run, among)
        if len(same) > 1:
            shown = ", ".join(same[:5]) + (f" and {len(same) - 5:,} more" if len(same) > 5 else "")
            raise InputError(f"{len(same):,} runs are named {run!r}", why=f"their ids are {shown}",
                             hint=f"elkkit runs {verb} {same[-1]}")  # fmt: skip
        ids[same[0]] = None
    return list(ids)


def _no_such_run(view: Snapshot, run: str, among: Query) -> InputError:
    present = _present(view.groups(all_of(exists("run.id"), among), ["run.id", "run.name"]))
    near = close_to(run, present)
    why = "no document is of a run of that id or name" if present else "no document names a run"
    hint = did_you_mean(near) if near else "elkkit runs list"
    return InputError(f"there is no run {run!r}", why=why, hint=hint)


def _present(groups: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(name) for g in groups for name in g["key"].values() if name is not None))


# --- what they hold --------------------------------------------------------------------------------------------------


def _runs(view: Snapshot, query: Query) -> tuple[Run, ...]:
    names: dict[str, dict[str, None]] = {}
    models: dict[str, dict[str, None]] = {}
    for group in view.groups(query, ["run.id", "run.name", "model.name", "model.version"]):
        key = group["key"]
        if key["run.name"] is not None:
            names.setdefault(key["run.id"], {})[key["run.name"]] = None
        models.setdefault(key["run.id"], {})[_label(key)] = None
    times = {w: {w: {"field": "@timestamp"}} for w in ("min", "max")}
    found = [
        Run(
            id=group["key"]["run.id"],
            names=tuple(names.get(group["key"]["run.id"], ())),
            models=tuple(models.get(group["key"]["run.id"], ())),
            frames=group["frames"]["value"],
            documents=group["doc_count"],
            scored=group["scored"]["doc_count"],
            undefined=group["undefined"]["doc_count"],
            first=group["min"].get("value_as_string"),
            last=group["max"].get("value_as_string"),
        )
        for group in view.groups(query, ["run.id"], {**_EVENTS, **_FRAMES, **times}, page=_PAGE)
    ]
    return tuple(sorted(found, key=lambda run: (run.last or "", run.id), reverse=True))


def _metrics(view: Snapshot, query: Query, contract: Contract) -> tuple[MetricOfRun, ...]:
    fields = ["model.name", "model.version", "metrictype"]
    mean: Query = {"mean": {"avg": {"field": "metricscores"}}}
    order = {name: i for i, name in enumerate(contract.metrics)}
    found = [
        MetricOfRun(
            model=_label(group["key"]),
            metric=group["key"]["metrictype"],
            n=group["scored"]["doc_count"],
            undefined=group["undefined"]["doc_count"],
            mean=group["mean"]["value"],
        )
        for group in view.groups(all_of(query, exists("metrictype")), fields, {**_EVENTS, **mean})
    ]
    return tuple(sorted(found, key=lambda m: (order.get(m.metric, len(order)), m.metric)))  # stable: models in order


def _terms(field: str) -> Query:
    return {"terms": {"field": field, "size": _MOST_NAMED}}


def _counts(aggregation: Mapping[str, Any]) -> dict[str, int]:
    return {str(b["key"]): b["doc_count"] for b in aggregation["buckets"]}


def _label(key: Mapping[str, Any]) -> str:
    """A model as options and JSON name it."""
    name, version = key["model.name"], key["model.version"]
    return "(unnamed)" if name is None else f"{name}:{version}" if version else str(name)
