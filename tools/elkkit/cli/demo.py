"""`elkkit demo`: the whole road on real input."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "demo")
    def demo(
        out: Output,
        frames: Annotated[int, typer.Option("--frames", min=1, max=100_000, help="Frames to score.")] = 120,
        folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the logs.")] = Path(
            "elkkit-demo"
        ),
    ) -> None:
        """Score frames with three bundled models, read their log lines back, and say which model is better.

        The scores are the same on every run; only times differ.

        Examples:

          elkkit demo

          elkkit demo --frames 500 --out /tmp/demo --json
        """
        from elkkit.usecases.demo import run_demo

        contract = out.settings.contract()
        with out.progress("frames scored by three models", frames) as progress:
            done = run_demo(folder, frames, contract, lambda n, _total: progress(n))
        logs = shlex.join(str(log) for log in done.logs)
        out.note(f"next: elkkit compare --all {shlex.quote(str(folder))}/*.log")

        def people(console: Console) -> None:
            from elkkit.cli.compare import show_comparison

            was = "" if done.written_now else " (by an earlier demo; none was written again)"
            console.print(f"{len(done.comparison.models)} models scored {done.frames:,} frames{was}.")
            console.print(
                f"{done.lines_written:,} lines written = {done.defined:,} scores + {done.undefined:,} "
                "undefined, parsed without a wrong number.\n"
            )
            show_comparison(console, done.comparison)
            console.print("\nlogs:")
            for log in done.logs:
                console.print(f"  {harmless(log)}", soft_wrap=True)
            console.print(f"{done.seconds:.1f} s, of which scoring {done.scoring_seconds:.1f} s.")

        out.step(f"logs: {logs}")
        out.finish(done.as_dict(), people)
