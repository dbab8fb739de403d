"""The main job in one go: bundled models score synthetic frames, the lines are parsed, the models compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import InternalError
from elkkit.usecases.compare import CompareResult, compare_files
from elkkit.usecases.score import open_frames, score_models

SEED = 7
"""Of the demo's scenes; no model was trained on scenes of this seed."""


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

    def as_dict(self) -> dict[str, Any]:
        """`data` of the command's JSON."""
        return {
            **self.comparison.as_dict(),
            "run_id": self.run_id,
            "seed": SEED,
            "lines_written": self.lines_written,
            "lines_parsed": self.defined + self.undefined,
            "written_now": self.written_now,
            "logs": [str(log) for log in self.logs],
            "seconds": round(self.seconds, 3),
        }


def run_demo(
    folder: Path, frames: int, contract: Contract, progress: Callable[[int, int], None] | None = None
) -> DemoResult:
    """Score `frames` scenes with every bundled model into `folder`, and compare the models from their logs.

    The run's id follows from the seed and the number of frames, so a second demo in the same folder finds its lines
    there and counts nothing twice. Raises what scoring and comparing raise, and `InternalError` if a line that was
    written is not read back as a score.
    """
    from elkkit_scoring.bundled import bundled_models

    started = time.monotonic()
    run_id = f"demo-seed-{SEED}-frames-{frames}"
    scenes = open_frames(f"scenes:{frames}:{SEED}")
    scored = score_models(bundled_models(), scenes, folder, run_id=run_id, contract=contract, progress=progress)
    comparison = compare_files([str(log) for log in scored.logs], contract, runs=[run_id])
    written = scored.lines_written + scored.skipped_existing
    defined, undefined = (sum(getattr(m, k) for c in comparison.metrics for m in c.models) for k in ("n", "undefined"))
    if defined + undefined != written or comparison.counts["malformed"]:
        malformed = comparison.counts["malformed"]
        why = f"{written} lines were written, {defined + undefined} read back as scores, {malformed} are malformed"
        raise InternalError("lines were changed between writing and reading", why=why, hint="elkkit demo --out NEW")
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
    )
