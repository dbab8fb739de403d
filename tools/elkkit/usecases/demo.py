"""The main job in one go: bundled models score frames, the lines go to Elasticsearch, the models are compared.

Where no Elasticsearch can be had, the comparison is made from the log files, with the same numbers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ElkkitError, InternalError, ServiceError
from elkkit.settings import Settings
from elkkit.stack.elastic import Elastic
from elkkit.usecases.compare import CompareResult, compare_elastic, compare_files
from elkkit.usecases.score import open_frames, score_models

SEED = 7
"""Of the demo's scenes; no model was trained on scenes of this seed."""
QUERY = "frame.conditions : night"
"""What is worth asking next."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What of the demo's run is in Elasticsearch."""

    stream: str
    where: str
    server: str
    created: int
    already_there: int
    found: int
    """Documents of the run that the stream holds."""
    seconds: float
    """From reaching Elasticsearch to the last document."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo did."""

    run_id: str
    frames: int
    logs: tuple[Path, ...]
    defined: int
    """Scores read back."""
    undefined: int
    """Lines read back whose score is undefined."""
    lines_written: int
    """Lines that this run's logs hold, written now or by an earlier demo in the same folder."""
    written_now: int
    comparison: CompareResult
    scoring_seconds: float
    seconds: float
    stored: Stored | None
    """None where no Elasticsearch could be had."""
    without: ElkkitError | None
    """Why none could be had."""

    def as_dict(self) -> dict[str, Any]:
        """`data` of the command's JSON."""
        stored = self.stored
        return {
            **self.comparison.as_dict(),
            "run_id": self.run_id,
            "seed": SEED,
            "lines_written": self.lines_written,
            "lines_parsed": self.defined + self.undefined,
            "written_now": self.written_now,
            "documents_found": stored.found if stored else None,
            "elasticsearch": {name: getattr(stored, name) for name in Stored.__slots__} if stored else None,
            "without_elasticsearch": str(self.without) if self.without else None,
            "logs": [str(log) for log in self.logs],
            "seconds": round(self.seconds, 3),
        }


def run_demo(
    folder: Path,
    frames: int,
    settings: Settings,
    *,
    files_only: bool = False,
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> DemoResult:
    """Score `frames` scenes with every bundled model into `folder`, ship the lines, and compare the models.

    A second demo in the same folder goes on with the first one's run: it scores nothing again and counts nothing
    twice. `tell` hears what is being done. Raises what scoring, shipping and comparing raise, and `InternalError` if a
    line that was written is not read back as a score.
    """
    from elkkit_scoring.bundled import bundled_models

    started = time.monotonic()
    contract = settings.contract()
    run_id = _run_id(folder, frames)
    scenes = open_frames(f"scenes:{frames}:{SEED}")
    scored = score_models(bundled_models(), scenes, folder, run_id=run_id, contract=contract, progress=progress)
    logs = [str(log) for log in scored.logs]
    comparison = compare_files(logs, contract, runs=[run_id])
    written = scored.lines_written + scored.skipped_existing
    _expect(written, comparison)
    stored, without = None, None
    if not files_only:
        stored, from_elastic, without = _store(settings, contract, logs, run_id, tell)
        if stored and from_elastic:
            _expect(written, from_elastic, stored)
            comparison = from_elastic
    defined, undefined = _counts(comparison)
    return DemoResult(
        run_id=run_id,
        frames=frames,
        logs=scored.logs,
        defined=defined,
        undefined=undefined,
        lines_written=written,
        written_now=scored.lines_written,
        comparison=comparison,
        scoring_seconds=scored.seconds,
        seconds=time.monotonic() - started,
        stored=stored,
        without=without,
    )


def _run_id(folder: Path, frames: int) -> str:
    """The id of an earlier demo of as many frames in this folder, else a new one: times differ from run to run."""
    from elkkit_scoring.runstate import read_state

    start = f"demo-{frames}-frames-"
    for log in sorted(folder.glob("*.log")):
        if (state := read_state(log)) is not None:
            mine = [run for run in state.runs if run.startswith(start)]
            if mine:
                return mine[-1]
    return start + uuid.uuid4().hex[:8]


def _store(
    settings: Settings, contract: Contract, logs: list[str], run_id: str, tell: Callable[[str], None]
) -> tuple[Stored | None, CompareResult | None, ElkkitError | None]:
    """Bring the lines to Elasticsearch and compare from there; or say why there is none.

    One that the user named must answer; that none can be started here is no fault.
    """
    from contextlib import ExitStack

    from elkkit.usecases.engine import open_elastic

    started = time.monotonic()
    with ExitStack() as stack:
        try:
            elastic = stack.enter_context(open_elastic(settings, install=True, tell=tell))
        except ElkkitError as error:
            if settings["es_url"]:
                raise
            return None, None, error
        return (*_shipped(elastic, contract, logs, run_id, tell, started), None)


def _shipped(
    elastic: Elastic, contract: Contract, logs: list[str], run_id: str, tell: Callable[[str], None], started: float
) -> tuple[Stored, CompareResult]:
    from elkkit.usecases.setup import setup
    from elkkit.usecases.ship import ship

    tell(f"setting up {contract.stream} on {elastic.where}")
    setup(elastic, contract)
    done = ship(elastic, logs, contract)
    counts = done.as_dict()
    if failed := {k: n for k in ("conflicting", "rejected", "unconfirmed") if (n := counts[k])}:
        why = ", ".join(f"{n:,} {name}" for name, n in failed.items())
        hint = "elkkit ship shows the reasons; elkkit demo --out NEW  begins a new run"
        raise ServiceError("not every line of the demo was stored", why=why, hint=hint)
    seconds = time.monotonic() - started
    comparison = compare_elastic(elastic, contract, runs=[run_id])
    stored = Stored(
        stream=contract.stream,
        where=elastic.where,
        server=elastic.server.kind,
        created=counts["created"],
        already_there=counts["already_there"],
        found=sum(_counts(comparison)),
        seconds=seconds,
    )
    return stored, comparison


def _counts(comparison: CompareResult) -> tuple[int, int]:
    """Scores that are defined, and those that are not."""
    models = [m for c in comparison.metrics for m in c.models]
    return sum(m.n for m in models), sum(m.undefined for m in models)


def _expect(written: int, comparison: CompareResult, stored: Stored | None = None) -> None:
    """Raise `InternalError` unless every line that was written was read back as a score."""
    found, malformed = sum(_counts(comparison)), comparison.counts["malformed"]
    if found == written and (stored or not malformed):  # a stream may hold malformed lines of others
        return
    back = f"found in {stored.stream}" if stored else "read back as scores"
    why = f"{written} lines were written, {found} {back}, {malformed} are malformed"
    raise InternalError("lines were changed between writing and reading", why=why, hint="elkkit demo --out NEW")
