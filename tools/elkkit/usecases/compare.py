"""Read log files or a stream of Elasticsearch into a table of scores and compare the models in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elkkit.contract import Contract
from elkkit.contract.model import ASCII_LOWER
from elkkit.errors import InputError
from elkkit.kql import MatchAll, Matcher, Node, to_query
from elkkit.line.canary import CANARY, is_canary
from elkkit.line.parser import Outcome, Parser
from elkkit.scores import MetricComparison, Model, Scores, as_data, compare, leading, summary
from elkkit.scores.statistics import BCA_UP_TO, CONFIDENCE, MIN_PAIRS, RESAMPLES, RESAMPLES_ABOVE, SEED, SIGNIFICANCE
from elkkit.stack.files import STDIN, distinct_files, read_lines, readable
from elkkit.stack.reading import (
    Query,
    Snapshot,
    all_of,
    exists,
    field_types,
    no_canaries,
    none_of,
    of_runs,
    read_document,
    snapshot,
    there,
)
from elkkit.usecases.parse import judge_strictly
from elkkit.words import close_to, did_you_mean

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

_LOG_FILE = re.compile(r"(?P<stem>.+?)(?P<kind>\.(?:log|txt|out|jsonl?|ndjson))(?:[.-][0-9][0-9T_.-]*)?(?:\.gz)?")
_TELL_EVERY = 10_000
_WHAT = "read the scores"
_FIELDS = (
    "metrictype", "metricscores", "metricraw", "model.name", "model.version", "service.name", "run.id", "run.name",
    "event.id", "frame.id", "frame.clip", "frame.conditions", "frame.lane_free", "log.file.path",
)  # fmt: skip
"""What a score is made of."""
_CHOOSE = "choose with --query, as in --query 'service.name : lane-1'; elkkit tail --es --query shows what matches"

METHOD = {
    "difference": "a minus b, mean over the frames where both have a defined score",
    "interval": f"bootstrap of paired differences, BCa up to {BCA_UP_TO:,} pairs, percentile above; not adjusted",
    "confidence": CONFIDENCE,
    "resamples": RESAMPLES,
    "resamples_above": RESAMPLES_ABOVE,
    "seed": SEED,
    "test": "Wilcoxon signed-rank, zeros left out, two-sided",
    "adjustment": "Holm over all pairs of one metric",
    "verdict": f"the interval excludes 0 and p_adjusted < {SIGNIFICANCE}, in the same direction",
    "least_pairs": MIN_PAIRS,
}
"""How the numbers came about, for whoever reads only the JSON."""


@dataclass(frozen=True)
class CompareResult:
    """A comparison of everything that the files or the stream hold."""

    source: Mapping[str, str]
    """`kind`: files or elasticsearch; of the latter also `url` and `stream`."""
    files: tuple[str, ...]
    counts: dict[str, int]
    """Lines or documents read, of each outcome, cut off; scores already seen, and left out as not asked for."""
    models: tuple[Model, ...]
    runs: dict[Model, tuple[str, ...]]
    frames: int
    metrics: tuple[MetricComparison, ...]
    shown: tuple[MetricComparison, ...]
    """The metrics that the summary speaks of: those that were asked for, else those that people look at first."""
    chosen: bool
    """Metrics were asked for."""
    malformed_in: tuple[str, ...]
    """The files with malformed lines."""
    notes: tuple[str, ...]
    """What is worth knowing about how the files were read."""

    @property
    def summary(self) -> list[str]:
        """The answer in sentences."""
        return summary(self.shown, self.models)

    def as_dict(self) -> dict[str, Any]:
        """`data` of the command's JSON."""
        return {
            "summary": self.summary,
            "metrics": as_data(self.metrics),
            "models": [
                {"label": m.label, "model": m.name, "version": m.version, "runs": self.runs.get(m, ())}
                for m in self.models
            ],
            "frames": self.frames,
            "counts": self.counts,
            "source": self.source,
            "files": self.files,
            "notes": self.notes,
            "method": METHOD,
        }


def compare_files(
    files: Sequence[str],
    contract: Contract,
    *,
    metrics: Sequence[str] = (),
    runs: Sequence[str] = (),
    query: Matcher | None = None,
    progress: Callable[[int], None] | None = None,
) -> CompareResult:
    """Compare the models whose scores are in `files` (`-`: standard input).

    `metrics` (names or aliases), `runs` (`run.id` or `run.name`) and `query` limit what is compared; `progress` is told
    the number of lines read. Raises `InputError` for a file that cannot be read, no score at all, a metric or run that
    is not there, and scores that contradict each other.
    """
    notes: list[str] = []
    names = distinct_files(files, notes)
    malformed_in: dict[str, None] = {}
    scores, counts, unmatched = _read(names, Parser.of(contract), query, notes, malformed_in, progress)
    if not len(scores):
        raise _none_matches(unmatched, "these files") if unmatched else _nothing(names, counts)
    wanted = _chosen_metrics(metrics, scores.metrics, contract)
    _check_runs(runs, [r for _, run, name in scores.runs for r in (run, name) if r is not None])
    return _compared(
        scores, contract, wanted, runs,
        source={"kind": "files"},
        files=tuple(map(readable, names)),
        counts=counts,
        left_out=unmatched,
        malformed_in=tuple(malformed_in),
        notes=tuple(notes),
    )  # fmt: skip


def compare_elastic(
    elastic: Elastic,
    contract: Contract,
    *,
    metrics: Sequence[str] = (),
    runs: Sequence[str] = (),
    query: Node | None = None,
    progress: Callable[[int], None] | None = None,
) -> CompareResult:
    """Compare the models whose scores are in the contract's stream: the numbers are those of the files it came from.

    `metrics` (names or aliases), `runs` (`run.id` or `run.name`) and `query` limit what is read; `progress` is told the
    number of documents read. Raises `InputError` for a stream or scores that are not there and for scores that
    contradict each other, `KqlError`, and what `Elastic.asking` raises.
    """
    there(elastic, contract.stream, _WHAT)
    ours = no_canaries(contract)
    matching = all_of(to_query(query or MatchAll(), field_types(contract, elastic.server)), ours)
    with snapshot(elastic, contract.stream, _WHAT) as view:
        candidates = all_of(exists("metrictype"), matching)
        present = [str(group["key"]["metrictype"]) for group in view.groups(candidates, ["metrictype"])]
        if not present:
            raise _nothing_there(view, elastic, contract, queried=query is not None)
        wanted = _chosen_metrics(metrics, present, contract)
        asked = [candidates]
        if wanted is not None:
            asked.append({"terms": {"metrictype": sorted(wanted)}})
        if runs:
            _check_runs(runs, _runs_among(view, candidates, runs))
            asked.append(of_runs(runs))
        names = _names_of_plain_files(view, all_of(*asked))
        scores, counts = _read_stream(view, all_of(*asked), contract, names, progress)
        counts["malformed"] += view.count(all_of({"term": {"tags": contract.malformed_tag}}, matching))
        limited = len(asked) > 1 or query is not None
        left_out = view.count(all_of(exists("metrictype"), ours)) - counts["read"] if limited else 0
    return _compared(
        scores, contract, wanted, runs,
        source={"kind": "elasticsearch", "url": elastic.server.url, "stream": contract.stream},
        counts=counts,
        left_out=left_out,
    )  # fmt: skip


def _compared(
    scores: Scores, contract: Contract, metrics: set[str] | None, runs: Sequence[str], *, source: Mapping[str, str],
    counts: Mapping[str, int], left_out: int, files: tuple[str, ...] = (), malformed_in: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> CompareResult:  # fmt: skip
    """Compare what was read; `left_out` scores were not even put into the table.

    Raises `InputError` where nothing is left of it, or scores contradict each other.
    """
    try:
        columns = scores.columns(metrics=metrics, runs=runs or None)
    except InputError as error:
        if files or "--run" in (error.hint or ""):
            raise
        raise InputError(error.message, why=error.why, hint=_CHOOSE) from None
    if not columns.columns:
        raise InputError(
            "there is nothing to compare", why="no run that was chosen has a score of the metrics that were chosen",
            hint="leave out --run or --metric",
        )  # fmt: skip
    found = compare(columns, contract)
    return CompareResult(
        source=source,
        files=files,
        counts={**counts, "already_seen": columns.already_seen, "left_out": columns.left_out + left_out},
        models=columns.models,
        runs=dict(columns.runs),
        frames=columns.frames_used,
        metrics=found,
        shown=tuple(found if metrics is not None else leading(found)),
        chosen=metrics is not None,
        malformed_in=malformed_in,
        notes=notes,
    )


# --- files -----------------------------------------------------------------------------------------------------------


def model_names(files: Sequence[str]) -> dict[str, str]:
    """What to call the model of plain lines, by file: the stem; of files that only share it, more of their path.

    Rotated parts of one log (`lane-a.log`, `lane-a.log.1`, `lane-a.log.2.gz`) are one model.
    """
    logs: dict[str, tuple[str, str, str]] = {}
    for file in files:
        path = Path("stdin" if file == STDIN else readable(file))
        match = _LOG_FILE.fullmatch(path.name)
        stem, kind = (match["stem"], match["kind"]) if match else (path.name.removesuffix(".gz"), "")
        logs[file] = (str(path.absolute().parent), stem, kind)

    def spellings(log: tuple[str, str, str]) -> tuple[str, ...]:
        folder, stem, kind = log
        return stem, f"{stem}{kind}", f"{Path(folder).name}/{stem}{kind}", f"{folder}/{stem}{kind}"

    users = Counter(spelling for log in set(logs.values()) for spelling in set(spellings(log)))
    return {file: next((s for s in spellings(log) if users[s] == 1), spellings(log)[-1]) for file, log in logs.items()}


def _read(
    files: Sequence[str],
    parser: Parser,
    query: Matcher | None,
    notes: list[str],
    malformed_in: dict[str, None],
    progress: Callable[[int], None] | None,
) -> tuple[Scores, dict[str, int], int]:
    """The scores that match, counts of all lines, and how many scores do not match."""
    scores = Scores()
    outcomes: Counter[str] = Counter()
    lines = unmatched = 0
    names = model_names(files)
    for file in files:
        source = names[file]
        for line in read_lines(file):
            lines += 1
            parsed = judge_strictly(parser, line)
            outcome = parsed.outcome
            if not line.ended and outcome is Outcome.MALFORMED:
                outcomes["cut_off"] += 1
                notes.append(
                    f"the last line of {readable(file)} has no line feed and may be cut off: it is not counted"
                )
                continue
            if is_canary(parser.contract, parsed.fields):
                outcomes[CANARY] += 1
                continue
            outcomes[outcome] += 1
            if outcome is Outcome.SCORED or outcome is Outcome.NOT_FINITE:
                if query is None or query(parsed.fields):
                    scores.add(parsed.fields, source)
                else:
                    unmatched += 1
            elif outcome is Outcome.MALFORMED:
                malformed_in[file] = None
            if progress is not None and not lines % _TELL_EVERY:
                progress(lines)
    counts = {"read": lines, **{str(o): outcomes[o] for o in Outcome}, "cut_off": outcomes["cut_off"]}
    if canaries := outcomes[CANARY]:
        counts[CANARY] = canaries
    return scores, counts, unmatched


# --- Elasticsearch ----------------------------------------------------------------------------------------------------


def _runs_among(view: Snapshot, candidates: Query, runs: Sequence[str]) -> list[str]:
    """Ids and names of the runs that were asked for and are there; of all runs where one of them is not."""
    found: dict[str, None] = {}
    for limit in (all_of(candidates, of_runs(runs)), candidates):
        for group in view.groups(limit, ["run.id", "run.name"]):
            found.update((str(name), None) for name in group["key"].values() if name is not None)
        if found.keys() >= set(runs):
            break
    return list(found)


def _names_of_plain_files(view: Snapshot, asked: Query) -> dict[str, str]:
    """What to call the model of documents that name none, by the file that their lines were in."""
    nameless = all_of(asked, none_of(exists("model.name")), exists("log.file.path"))
    return model_names([str(group["key"]["log.file.path"]) for group in view.groups(nameless, ["log.file.path"])])


def _read_stream(
    view: Snapshot,
    asked: Query,
    contract: Contract,
    names: dict[str, str],
    progress: Callable[[int], None] | None,
) -> tuple[Scores, dict[str, int]]:
    scores = Scores()
    outcomes = dict.fromkeys(Outcome, 0)
    documents = 0
    for hit in view.hits(asked, _FIELDS):
        documents += 1
        parsed = read_document(contract, hit["_source"], hit["_id"])
        outcomes[parsed.outcome] += 1
        if parsed.outcome is Outcome.SCORED or parsed.outcome is Outcome.NOT_FINITE:
            scores.add(parsed.fields, names.get(parsed.fields.get("log.file.path", ""), "unnamed"))
        if progress is not None and not documents % _TELL_EVERY:
            progress(documents)
    kept = (Outcome.SCORED, Outcome.NOT_FINITE, Outcome.MALFORMED)
    return scores, {"read": documents, **{str(o): outcomes[o] for o in kept}}


def _nothing_there(view: Snapshot, elastic: Elastic, contract: Contract, *, queried: bool) -> InputError:
    ours = no_canaries(contract)
    if queried and (scores := view.count(all_of(exists("metrictype"), ours))):
        return _none_matches(scores, contract.stream)
    documents = view.count(ours)
    stream = f"{contract.stream} at {elastic.where}"
    return InputError(
        "no score to compare",
        why=f"of the {documents:,} documents in {stream} none is a score" if documents else f"{stream} is empty",
        hint="elkkit ship FILES  sends what is in logs; elkkit runs list  shows what is there",
    )


# --- what was asked for ----------------------------------------------------------------------------------------------


def _nothing(files: Sequence[str], counts: dict[str, int]) -> InputError:
    if not counts["read"]:
        why = "they are empty" if len(files) > 1 else f"{files[0]} is empty"
    else:
        kinds = [f"{counts[k]:,} {k.replace('_', ' ')}" for k in ("malformed", "not_a_score", "cut_off") if counts[k]]
        why = f"of {counts['read']:,} lines none is a score: {', '.join(kinds)}"
    one = "FILE" if files[0] == STDIN else files[0]
    return InputError("no score to compare", why=why, hint=f"elkkit parse {one}  shows what each line is taken for")


def _chosen_metrics(wanted: Sequence[str], present: Sequence[str], contract: Contract) -> set[str] | None:
    """The metrics that were asked for, by canonical name; None for all. Raises `InputError` for one not present."""
    if not wanted:
        return None
    spellings = contract.spellings()
    by_case = {m.translate(ASCII_LOWER): m for m in present}
    chosen = set()
    for name in wanted:
        low = name.translate(ASCII_LOWER)
        found = name if name in present else spellings.get(low, by_case.get(low, name))
        if found not in present:
            raise _not_there("metric", name, present)
        chosen.add(found)
    return chosen


def _check_runs(wanted: Sequence[str], present: Sequence[str]) -> None:
    """Raise `InputError` for a run that is not among the ids and names present."""
    for name in wanted:
        if name not in present:
            raise _not_there("run", name, present)


def _none_matches(scores: int, where: str) -> InputError:
    """The error where a query leaves no score of so many."""
    return InputError("no score to compare", why=f"none of the {scores:,} scores in {where} matches the query",
                      hint="leave out --query")  # fmt: skip


def _not_there(what: str, name: str, present: Sequence[str]) -> InputError:
    present = list(dict.fromkeys(present))
    if not present:
        hint = f"leave out --{what}: no score names a {what}"
    elif near := close_to(name, present):
        hint = did_you_mean(near)
    else:
        more = f" and {len(present) - 20:,} more" if len(present) > 20 else ""
        hint = f"choose from {', '.join(present[:20])}{more}"
    return InputError(f"there is no {what} {name!r}", why=f"no score that was read is of that {what}", hint=hint)
