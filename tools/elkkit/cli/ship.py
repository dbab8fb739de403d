"""`elkkit ship`: log files to Elasticsearch, each line once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, counts_text, harmless
from elkkit.cli.stopping import Stopping
from elkkit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.usecases.shipped import ShipResult


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "ship", elastic=True)
    def ship(
        out: Output,
        files: Annotated[list[str] | None, typer.Argument(help="Log files, gzip or not; - is standard input.")] = None,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more lines.")] = False,
        everything: Annotated[bool, typer.Option("--all", "-a", help="Ordinary log text too.")] = False,
        skip_malformed: Annotated[
            bool, typer.Option("--skip-malformed", help="Leave out what looks like a score and is none.")
        ] = False,
        give_up: Annotated[
            float | None,
            typer.Option(
                "--give-up",
                metavar="SECONDS",
                min=0,
                max=86400 * 365,
                help="Try so long what fails.  [default: 120; with --follow: without end]",
            ),
        ] = None,
        rejected: Annotated[
            Path | None,
            typer.Option("--rejected", metavar="FILE", help="Keep the lines that were not taken; ship takes it."),
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check, but send nothing.")] = False,
    ) -> None:
        """Send the scores of logs to Elasticsearch.

        A line that carries an event.id counts once, however often it is sent and by whom: run the same command again
        whenever you are not sure. Plain lines count once for each file that they are in, so copies count again.

        already there: sent before. conflicting: another score is stored under the same event.id. rejected: refused,
        with its reason. unconfirmed: no answer came; send it again.

        Examples:

          elkkit ship lane-detection-service-*.log

          elkkit ship scores.log --follow --rejected refused.jsonl

          kubectl logs deploy/lane-a | elkkit ship -
        """  # fmt: skip
        from elkkit.usecases.engine import open_elastic
        from elkkit.usecases.ship import ShipOptions, Stop
        from elkkit.usecases.ship import ship as send

        if follow and dry_run:
            raise UsageError("--follow and --dry-run exclude each other", why="a dry run ends with the files",
                             hint="elkkit ship --dry-run FILE")  # fmt: skip
        names = files or ["-"]
        options = ShipOptions(follow, everything, skip_malformed, give_up, rejected, dry_run)
        stop = Stop()
        contract = out.settings.contract()
        with open_elastic(out.settings, install=False, tell=out.note) as elastic:
            if "-" in names and sys.stdin is not None and sys.stdin.isatty():
                out.note("reading what is typed; to send a log, name it: elkkit ship FILE")
            with Stopping(stop.ask), _progress(out) as progress:
                result = send(
                    elastic,
                    names,
                    contract,
                    options,
                    stop=stop,
                    progress=progress,
                    notice=_notice(out),
                    detail=out.step,
                )
        _summarize(out, result, options.dry_run)
        partial = result.exit_code and (result.created or result.already_there)
        out.finish(
            result.as_dict(),
            lambda console: _show(console, result),
            exit_code=result.exit_code,
            errors=result.errors,
            status="partial" if partial else None,
        )


def _notice(out: Output) -> Callable[[str], None]:
    def notice(text: str) -> None:
        out.note(f"note: {text}")

    return notice


def _summarize(out: Output, result: ShipResult, dry_run: bool) -> None:
    """What was read and what became of it, and what to do next."""
    every = result.as_dict()
    read = ["scored", "not_finite", "not_a_score", "malformed"]
    out.note(counts_text({"read": result.read, **{n: every[n] for n in read if every[n]}}))
    if dry_run:
        out.note(f"{result.would_send:,} would be sent to {result.stream} at {result.where}; nothing was sent")
        return
    sent = ["created", "already_there", "conflicting", "rejected", "unconfirmed", "retried", "not_sent"]
    told = counts_text({"sent": result.sent, **{n: every[n] for n in sent if every[n]}})
    out.note(f"{told} in {result.seconds:.1f} s to {result.where}")
    if result.not_compared:
        out.warn(f"{result.not_compared:,} that were there already could not be compared: not allowed to read them")
    if not result.exit_code and result.sent:
        out.note("next: elkkit compare --es")


def _show(console: Console, result: ShipResult) -> None:
    """Examples of what contradicts, on standard output; reasons of refusals stand in the errors."""
    for c in result.conflicts:
        console.print(harmless(f"{c['file']}:{c['offset']}  {c['given']}  (stored: {c['stored']})"), soft_wrap=True)
    more = result.conflicting - len(result.conflicts)
    if more:
        console.print(f"and {more:,} more")


@contextmanager
def _progress(out: Output) -> Iterator[Callable[[int], None]]:
    """Lines and their rate on standard error where that is a terminal."""
    if out.quiet or out.json or not sys.stderr.isatty():
        yield lambda _lines: None
        return
    from rich.progress import Progress, SpinnerColumn, Task, TextColumn
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.completed:,.0f} lines, {task.speed or 0:,.0f} a second")

    with Progress(SpinnerColumn(), Rate(""), console=out.console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda lines: bar.update(task, completed=lines)
