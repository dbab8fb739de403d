"""`elkkit runs`: what is stored in Elasticsearch, run by run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import ElkkitError, ExitCode, ServiceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from elkkit.contract import Contract
    from elkkit.usecases.runs import Deletion, Run, RunDetails, Runs


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="See and delete the runs that Elasticsearch holds.", no_args_is_help=True)
    app.add_typer(group, name="runs")

    @command(group, "list", full_name="runs list", elastic=True)
    def list_(out: Output) -> None:
        """List every run: its models, how many frames and scores, from when to when; the newest first. Times are UTC.

        Examples:

          elkkit runs list

          elkkit runs list --json | jq -r '.data.runs[].id'
        """
        from elkkit.usecases.engine import open_elastic
        from elkkit.usecases.runs import list_runs

        contract = out.settings.contract()
        with open_elastic(out.settings, tell=out.note) as elastic:
            found = list_runs(elastic, contract)
        if not found.runs:
            out.note(f"{found.stream} at {found.where} holds no run; elkkit ship FILES  sends what is in logs")
        if found.without_run:
            out.note(f"note: {_documents(found.without_run)} without a run.id")
        out.finish(found.as_dict(), lambda console: _show_list(console, found))

    @command(group, "show", full_name="runs show", elastic=True)
    def show(out: Output, run: Annotated[str, typer.Argument(help="A run's id or name.")]) -> None:
        """Show what one run holds: each metric of each model, and where it came from.

        Means are the server's sums; elkkit compare --es --run RUN  computes exactly, and counts what is stored twice
        once.

        Examples:

          elkkit runs show 'night shift'
        """
        from elkkit.usecases.engine import open_elastic
        from elkkit.usecases.runs import show_run

        contract = out.settings.contract()
        with open_elastic(out.settings, tell=out.note) as elastic:
            details = show_run(elastic, contract, run)
        out.finish(details.as_dict(), lambda console: _show_run(console, details, contract))

    @command(group, "delete", full_name="runs delete", elastic=True)
    def delete(
        out: Output,
        runs: Annotated[list[str], typer.Argument(help="Ids or names of runs.")],
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    ) -> None:
        """Delete runs from Elasticsearch: all of their documents, for good. The log files stay as they are.

        Shows what would go and asks. Exits with 1 where the answer is no, or documents are left since the run is still
        being written.

        Examples:

          elkkit runs delete demo-1 'night shift'

          elkkit runs delete demo-1 --yes
        """
        from elkkit.usecases.engine import open_elastic
        from elkkit.usecases.runs import delete_runs, plan_deletion

        contract = out.settings.contract()
        with open_elastic(out.settings, tell=out.note) as elastic:
            plan = plan_deletion(elastic, contract, runs)
            if dry_run:
                out.finish(plan.as_dict(), lambda console: _show_plan(console, plan, "would be deleted"))
            if not yes:
                _ask(out, plan)
            with out.progress("documents", plan.documents) as progress:
                done = delete_runs(elastic, plan, progress)
        errors: list[ElkkitError] = []
        if done.left:
            why = f"{_documents(done.left)} were written meanwhile"
            errors = [ServiceError("not all of it could be deleted", why=why,
                                   hint="stop what writes the run, then run the same command again")]  # fmt: skip
        deleted = done.deleted or 0
        out.finish(
            done.as_dict(),
            lambda console: console.print(f"{_documents(deleted)} deleted", soft_wrap=True),
            exit_code=ExitCode.NO if done.left else ExitCode.DONE,
            errors=errors,
        )


def _ask(out: Output, plan: Deletion) -> None:
    """Show what would go, and end unless a person wants it so."""
    if out.json or not _is_terminal():
        raise UsageError(
            f"{_documents(plan.documents)} would be deleted, and nobody can be asked",
            why="this is no terminal" if not out.json else "--json asks nothing",
            hint="--yes deletes them, --dry-run shows them",
        )
    _show_plan(out.console(stderr=True), plan, "will be deleted")
    try:
        agreed = typer.confirm("Delete them for good?", err=True)
    except typer.Abort:  # Ctrl-C or Ctrl-D
        print(file=sys.stderr)
        raise KeyboardInterrupt from None
    if not agreed:
        out.note("nothing was deleted")
        raise typer.Exit(ExitCode.NO)


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _documents(count: int) -> str:
    return "1 document" if count == 1 else f"{count:,} documents"


# --- for people ------------------------------------------------------------------------------------------------------


def _table(*headers: str, numbers: tuple[str, ...] = ()) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        if header in numbers:
            table.add_column(header, justify="right", no_wrap=True)
        else:
            table.add_column(header, overflow="fold")
    return table


def _show_list(console: Console, found: Runs) -> None:
    if not found.runs:
        return
    table = _table("run", "models", "frames", "scored", "undef.", "from, to", numbers=("frames", "scored", "undef."))
    table.columns[-1].no_wrap = True
    for run in found.runs:
        names = [run.id, *(name for name in run.names if name != run.id)]
        table.add_row(
            "\n".join(map(harmless, names)), "\n".join(map(harmless, run.models)), _frames(run), f"{run.scored:,}",
            f"{run.undefined:,}", f"{_minute(run.first)}\n{_minute(run.last)}",
        )  # fmt: skip
    console.print(table)


def _show_run(console: Console, details: RunDetails, contract: Contract) -> None:
    from elkkit.scores.words import number

    run = details.run
    about = {
        "run": _called(run),
        "models": ", ".join(run.models),
        "frames": _frames(run),
        "documents": f"{run.documents:,} ({details.malformed:,} malformed)",
        "from": run.first or "-",
        "to": run.last or "-",
        "services": _listed(details.services),
        "clips": f"{details.clips:,}" if details.clips else "-",
        "conditions": _listed(details.conditions, " frames"),
        "files": _listed(details.files),
    }
    table = _table("", "")
    table.show_header = False
    for name, value in about.items():
        table.add_row(name, harmless(value))
    console.print(table)
    console.print()
    table = _table("metric", "model", "n", "undef.", "mean", numbers=("n", "undef.", "mean"))
    for one in details.metrics:
        mean = "-" if one.mean is None else number(contract.metric(one.metric), one.mean)
        table.add_row(harmless(one.metric), harmless(one.model), f"{one.n:,}", f"{one.undefined:,}", mean)
    console.print(table)


def _show_plan(console: Console, plan: Deletion, what: str) -> None:
    table = _table("run", "model", "documents", numbers=("documents",))
    for run in plan.runs:
        called = run.id if run.name in (None, run.id) else f"{run.id} ({run.name})"
        for model, count in run.models.items():
            table.add_row(harmless(called), harmless(model), f"{count:,}")
            called = ""
    console.print(table)
    console.print(f"\n{_documents(plan.documents)} in {harmless(plan.stream)} at {harmless(plan.where)} {what}")


def _called(run: Run) -> str:
    names = [name for name in run.names if name != run.id]
    return harmless(f"{run.id} ({', '.join(names)})" if names else run.id)


def _frames(run: Run) -> str:
    from elkkit.usecases.runs import EXACT_UP_TO

    return f"~{run.frames:,}" if run.frames > EXACT_UP_TO else f"{run.frames:,}"


def _minute(moment: str | None) -> str:
    """Date and minute; `2026-11-22 10:00`."""
    return harmless(moment[:16].replace("T", " ")) if moment else "-"


def _listed(counts: Mapping[str, int], unit: str = "") -> str:
    shown = [f"{name} ({count:,}{unit})" for name, count in list(counts.items())[:20]]
    more = [f"and {len(counts) - 20:,} more"] if len(counts) > 20 else []
    return ", ".join([*shown, *more]) or "-"
