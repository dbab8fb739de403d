"""Score frames with models and log one line per metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elkkit.contract import Contract
from elkkit.errors import UsageError

if TYPE_CHECKING:
    from elkkit_scoring.batch import ScoreResult
    from elkkit_scoring.datasets import Dataset


def open_frames(data: str, kind: str = "folder") -> Dataset:
    """The frames that `scenes:N`, `scenes:N:SEED`, or a folder or file of labels of this ``kind`` names.

    Raises `UsageError` where there are none.
    """
    from elkkit_scoring.datasets import open_data

    return open_data(data, kind)


def score_models(
    models: Sequence[str],
    data: Dataset,
    log: Path,
    *,
    run_id: str | None = None,
    run_name: str | None = None,
    services: Sequence[str] | None = None,
    threads: int = 0,
    contract: Contract | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreResult:
    """Score frames with models (files, cards or bundled names).

    Logs go to a folder, one per service, or to one file. Raises `UsageError` for models, data and logs that cannot be
    used, and `StorageError` where a log cannot be written.
    """
    from elkkit_scoring.batch import score
    from elkkit_scoring.bundled import find_model
    from elkkit_scoring.model import LaneModel

    if str(log) == "-":
        why = "a run goes on from its log, so it must be a file"
        raise UsageError("cannot score to -", why=why, hint="give a folder or a file; /dev/stdout works, without that")
    opened = [LaneModel.load(find_model(name), threads=threads) for name in models]
    return score(
        opened,
        data,
        log,
        run_id=run_id,
        run_name=run_name,
        services=services,
        contract=contract,
        progress=progress,
    )
