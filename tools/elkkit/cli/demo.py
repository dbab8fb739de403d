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

    @command(app, "demo", elastic=True)
    def demo(
        out: Output,
        frames: Annotated[int, typer.Option("--frames", min=1, max=100_000, help="Frames to score.")] = 120,
        folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the logs.")] = Path(
            "elkkit-demo"
        ),
        files_only: Annotated[bool, typer.Option("--files-only", help="Leave Elasticsearch out.")] = False,
    ) -> None:
        """Score frames with three bundled models, ship the lines to Elasticsearch, and say which model is better.

        Without --es-url a real Elasticsearch is started on this machine for as long as it is needed; that takes Java
        17 or later and, the first time, Maven. Where there is none, the models are compared from the log files. The
        scores are the same on every run; only times differ.

        Examples:

          elkkit demo

          elkkit demo --frames 500 --out /tmp/demo --json
        """
        from elkkit.usecases.demo import QUERY, run_demo

        with out.progress("frames scored by three models", frames) as progress:
            done = run_demo(
                folder,
                frames,
                out.settings,
                files_only=files_only,
                progress=lambda n, _total: progress(n),
                tell=out.note,
            )
        logs = shlex.join(str(log) for log in done.logs)
        if done.without is not None:
            out.note(f"note: compared from the log files, since there is no Elasticsearch: {done.without}")
            if done.without.hint:
                out.note(f"hint: {done.without.hint}")

        def people(console: Console) -> None:
            from elkkit.cli.compare import show_comparison

            was = "" if done.written_now else " (by an earlier demo; none was written again)"
            console.print(f"{len(done.comparison.models)} models scored {done.frames:,} frames{was}.")
            scores = f"{done.defined:,} scores + {done.undefined:,} undefined"
            console.print(f"{done.lines_written:,} lines written = {scores}, parsed without a wrong number.")
            if stored := done.stored:
                console.print(
                    f"{stored.found:,} documents found = lines written, in {stored.stream} of {stored.server}."
                )
            console.print()
            show_comparison(console, done.comparison)
            console.print("\nlogs:")
            for log in done.logs:
                console.print(f"  {harmless(log)}", soft_wrap=True)
            console.print(f"{done.seconds:.1f} s, of which scoring {done.scoring_seconds:.1f} s.")

        out.step(f"logs: {logs}")
        ask = f"--query {shlex.quote(QUERY)}"
        if done.stored:
            flag = f" --es-url {shlex.quote(url)}" if (url := _given_url(out)) else ""
            out.note(f"try: elkkit compare --es{flag} --run {done.run_id} {ask}")
        else:
            out.note(f"try: elkkit compare {shlex.quote(str(folder))}/*.log {ask}")
        out.finish(done.as_dict(), people)


def _given_url(out: Output) -> str | None:
    """The address, without a password, where the next command has to name it too."""
    from elkkit.stack.elastic import split_url

    address = out.settings.values["es_url"]
    return split_url(address.value)[0] if address.value and address.origin == "--es-url" else None
