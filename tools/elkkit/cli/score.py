"""`elkkit score`: frames in, one log line per metric out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output
from elkkit.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit_scoring.batch import ScoreResult

SHOWN_FAILURES = 10
"""Frames whose error is printed whole; the rest is counted."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "score")
    def score(
        out: Output,
        model: Annotated[
            list[str], typer.Option("--model", "-m", help="An .onnx file, its card, or a bundled model; repeatable.")
        ],
        data: Annotated[str, typer.Option("--data", "-d", help="Folder of images, scenes:N or scenes:N:SEED.")],
        log: Annotated[Path, typer.Option("--log", "-l", help="Folder for a log per service, or one file for all.")],
        data_format: Annotated[
            Literal["folder", "bdd", "tusimple", "culane"],
            typer.Option("--format", "-f", help="What the data is: images and masks, or a data set's own labels."),
        ] = "folder",
        run_id: Annotated[
            str | None, typer.Option("--run-id", help="Id of this run. [ELKKIT_RUN_ID; default: go on, or a new one]")
        ] = None,
        run_name: Annotated[str | None, typer.Option("--run-name", help="Name of this run for people.")] = None,
        service: Annotated[
            list[str] | None, typer.Option("--service", help="service.name, one per model; default: numbered.")
        ] = None,
        threads: Annotated[
            int, typer.Option("--threads", min=0, max=256, help="Threads per model; 0: one per core.")
        ] = 0,
    ) -> None:
        """Score frames with models and log one line per metric, frame and model.

        An interrupted run goes on when the same command is given again. Each model plays one service, with its own log
        where --log is a folder. Masks are a-lanes.png or masks/a.png for a.jpg; without one, only metrics that need no
        truth are logged. With --format, --data names BDD100K's folder, TuSimple's labels or their folder, or CULane's
        folder or a list of it; labels of lines are drawn as masks.

        Examples:

          elkkit score --model lane-a --model lane-b --data scenes:120 --log out/

          elkkit score --model mine.onnx --data frames/ --log mine.log --run-id 2026-11-22

          elkkit score --model lane-a --data CULane/list/test.txt --format culane --log out/
        """
        from elkkit.usecases.score import open_frames, score_models

        frames = open_frames(data, data_format)
        with out.progress("frames scored", len(frames)) as progress:
            result = score_models(
                model,
                frames,
                log,
                run_id=run_id or out.settings["run_id"],
                run_name=run_name,
                services=service or None,
                threads=threads,
                contract=out.settings.contract(),
                progress=lambda done, _total: progress(done),
            )
        _show(out, result)


def _show(out: Output, result: ScoreResult) -> None:
    failed = result.failed_frames
    for scored in result.models:
        if scored.repaired_bytes:
            out.note(f"note: {scored.log} ended in an unfinished line; it was cut off and scored again")
    if len(failed) > SHOWN_FAILURES:
        out.warn(f"{len(failed)} frames could not be scored; the first {SHOWN_FAILURES} follow")
    out.note(f"{summary(result)}, run {result.run_id}")
    if len(result.models) > 1 and result.frames > len(failed):
        out.note(f"next: elkkit compare {shlex.join(str(path) for path in result.logs)}")
    out.finish(
        as_data(result),
        lambda console: _people(console, result),
        exit_code=ExitCode.USAGE if failed else ExitCode.DONE,
        errors=[one.error for one in failed[:SHOWN_FAILURES]],
        status="partial" if failed and len(failed) < result.frames else None,
    )


def summary(result: ScoreResult) -> str:
    """One line: what was written and how long it took."""
    parts = [f"{result.lines_written:,} lines written"]
    if result.skipped_existing:
        parts.append(f"{result.skipped_existing:,} there already")
    if result.failed_frames:
        parts.append(f"{len(result.failed_frames):,} of {result.frames:,} frames failed")
    return f"{', '.join(parts)} in {result.seconds:.1f} s"


def as_data(result: ScoreResult) -> dict[str, Any]:
    """The result for `--json`."""
    return {
        "run_id": result.run_id,
        "resumed": result.resumed,
        "data": result.data,
        "frames": result.frames,
        "lines_written": result.lines_written,
        "skipped_existing": result.skipped_existing,
        "seconds": result.seconds,
        "logs": [str(path) for path in result.logs],
        "models": [
            {
                "model": one.name,
                "version": one.version,
                "sha256": one.digest,
                "service": one.service,
                "log": str(one.log),
                "lines_written": one.lines_written,
                "skipped_existing": one.skipped_existing,
                "repaired_bytes": one.repaired_bytes,
            }
            for one in result.models
        ],
        "failed_frames": [{"frame_id": one.frame_id, "why": str(one.error)} for one in result.failed_frames],
    }


def _people(console: Console, result: ScoreResult) -> None:
    from rich.table import Table

    from elkkit.cli.output import harmless

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "version", "service"):
        table.add_column(heading, overflow="fold")
    table.add_column("written", justify="right")
    table.add_column("there already", justify="right")
    for one in result.models:
        table.add_row(
            *(harmless(part) for part in (one.name, one.version, one.service)),
            f"{one.lines_written:,}",
            f"{one.skipped_existing:,}",
        )
    console.print(table)
    for path in result.logs:
        console.print(f"log: {harmless(path)}", soft_wrap=True)
