"""Read log files into a table of scores and compare the models in it."""

from __future__ import annotations

import difflib
import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elkkit.contract import Contract
from elkkit.contract.model import ASCII_LOWER
from elkkit.errors import InputError, from_os_error
from elkkit.line.parser import Outcome, Parser
from elkkit.scores import MetricComparison, Model, Scores, as_data, compare, leading, summary
from elkkit.scores.statistics import BCA_UP_TO, CONFIDENCE, MIN_PAIRS, RESAMPLES, RESAMPLES_ABOVE, SEED, SIGNIFICANCE
from elkkit.stack.files import STDIN, read_lines
from elkkit.usecases.parse import judge_strictly

_LOG_FILE = re.compile(r"(?P<stem>.+?)(?P<kind>\.(?:log|txt|out|jsonl?|ndjson))(?:[.-][0-9][0-9T_.-]*)?(?:\.gz)?")
_MOST_GUESSES = 3
_TELL_EVERY = 10_000

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
    """A comparison of everything that the files hold."""

    files: tuple[str, ...]
    counts: dict[str, int]
    """Lines read, of each outcome, cut off; events already seen and left out by `--metric` or `--run`."""
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
    progress: Callable[[int], None] | None = None,
) -> CompareResult:
    """Compare the models whose scores are in `files` (`-`: standard input).

    `metrics` (names or aliases) and `runs` (`run.id` or `run.name`) limit what is compared; `progress` is told the
    number of lines read. Raises `InputError` for a file that cannot be read, no score at all, a metric or run that is
    not there, and scores that contradict each other.
    """
    notes: list[str] = []
    names = _distinct(files, notes)
    malformed_in: dict[str, None] = {}
    scores, counts = _read(names, Parser.of(contract), notes, malformed_in, progress)
    if not len(scores):
        raise _nothing(names, counts)
    wanted = _chosen_metrics(metrics, scores, contract)
    _check_runs(runs, scores)
    columns = scores.columns(metrics=wanted, runs=runs or None)
    if not columns.columns:
        raise InputError(
            "there is nothing to compare", why="no run that was chosen has a score of the metrics that were chosen",
            hint="leave out --run or --metric",
        )  # fmt: skip
    compared = compare(columns, contract)
    return CompareResult(
        files=tuple(map(_readable, names)),
        counts={**counts, "already_seen": columns.already_seen, "left_out": columns.left_out},
        models=columns.models,
        runs=dict(columns.runs),
        frames=columns.frames_used,
        metrics=compared,
        shown=tuple(compared if wanted is not None else leading(compared)),
        chosen=wanted is not None,
        malformed_in=tuple(malformed_in),
        notes=tuple(notes),
    )


# --- files -----------------------------------------------------------------------------------------------------------


def _distinct(files: Sequence[str], notes: list[str]) -> list[str]:
    """The files, each once and known to be readable, before hours go into the first of them."""
    seen: dict[Any, str] = {}
    for name in files:
        if name == STDIN:
            key: Any = STDIN
        else:
            try:
                found = Path(name).stat()
                if stat.S_ISDIR(found.st_mode):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                if not os.access(name, os.R_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except ValueError as error:  # a NUL in the name
                raise InputError(f"cannot read {name}", why=str(error), hint="check the path") from None
            except OSError as error:
                raise from_os_error("read", name, error) from error
            key = (found.st_dev, found.st_ino)
        if key in seen:
            notes.append(f"{_readable(name)} is {_readable(seen[key])}, and was read once")
        else:
            seen[key] = name
    return list(seen.values())


def _readable(name: str) -> str:
    """A file's name as text, also where its bytes are none."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def model_names(files: Sequence[str]) -> dict[str, str]:
    """What to call the model of plain lines, by file: the stem; of files that only share it, more of their path.

    Rotated parts of one log (`lane-a.log`, `lane-a.log.1`, `lane-a.log.2.gz`) are one model.
    """
    logs: dict[str, tuple[str, str, str]] = {}
    for file in files:
        path = Path("stdin" if file == STDIN else _readable(file))
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
    notes: list[str],
    malformed_in: dict[str, None],
    progress: Callable[[int], None] | None,
) -> tuple[Scores, dict[str, int]]:
    scores = Scores()
    outcomes: Counter[str] = Counter()
    lines = 0
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
                    f"the last line of {_readable(file)} has no line feed and may be cut off: it is not counted"
                )
                continue
            outcomes[outcome] += 1
            if outcome is Outcome.SCORED or outcome is Outcome.NOT_FINITE:
                scores.add(parsed.fields, source)
            elif outcome is Outcome.MALFORMED:
                malformed_in[file] = None
            if progress is not None and not lines % _TELL_EVERY:
                progress(lines)
    return scores, {"read": lines, **{str(o): outcomes[o] for o in Outcome}, "cut_off": outcomes["cut_off"]}


# --- what was asked for ----------------------------------------------------------------------------------------------


def _nothing(files: Sequence[str], counts: dict[str, int]) -> InputError:
    if not counts["read"]:
        why = "they are empty" if len(files) > 1 else f"{files[0]} is empty"
    else:
        kinds = [f"{counts[k]:,} {k.replace('_', ' ')}" for k in ("malformed", "not_a_score", "cut_off") if counts[k]]
        why = f"of {counts['read']:,} lines none is a score: {', '.join(kinds)}"
    one = "FILE" if files[0] == STDIN else files[0]
    return InputError("no score to compare", why=why, hint=f"elkkit parse {one}  shows what each line is taken for")


def _chosen_metrics(wanted: Sequence[str], scores: Scores, contract: Contract) -> set[str] | None:
    """The metrics that were asked for, by canonical name; None for all."""
    if not wanted:
        return None
    spellings, present = contract.spellings(), scores.metrics
    by_case = {m.translate(ASCII_LOWER): m for m in present}
    chosen = set()
    for name in wanted:
        low = name.translate(ASCII_LOWER)
        found = name if name in present else spellings.get(low, by_case.get(low, name))
        if found not in present:
            raise _not_there("metric", name, present)
        chosen.add(found)
    return chosen


def _check_runs(wanted: Sequence[str], scores: Scores) -> None:
    present = dict.fromkeys(r for _, run, run_name in scores.runs for r in (run, run_name) if r is not None)
    for name in wanted:
        if name not in present:
            raise _not_there("run", name, list(present))


def _not_there(what: str, name: str, present: Sequence[str]) -> InputError:
    lower = {p.lower(): p for p in present}
    if not present:
        hint = f"leave out --{what}: no line names a {what}"
    elif near := difflib.get_close_matches(name.lower(), lower, _MOST_GUESSES):
        hint = f"did you mean {' or '.join(lower[n] for n in near)}?"
    else:
        more = f" and {len(present) - 20:,} more" if len(present) > 20 else ""
        hint = f"choose from {', '.join(present[:20])}{more}"
    return InputError(f"there is no {what} {name!r}", why=f"no score that was read is of that {what}", hint=hint)
