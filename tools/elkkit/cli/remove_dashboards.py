"""`elkkit remove-dashboards`: take out of Kibana what was imported."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from elkkit.cli import kibana_options as options
from elkkit.cli.command import command
from elkkit.cli.output import Output
from elkkit.cli.rollback_dashboards import finish
from elkkit.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "remove-dashboards", kibana=True)
    def remove_dashboards(
        out: Output,
        space: options.OneSpace = "default",
        force: Annotated[
            bool, typer.Option("--force", help="Also what was edited in Kibana, or is used by others.")
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
        wait: options.Wait = 60.0,
    ) -> None:
        """Remove from Kibana what elkkit imported: only that, and only as it was imported.

        What was edited in Kibana stays, and so does what other objects use, unless you say
        --force. What is removed is put aside: elkkit rollback-dashboards brings it back.

        Examples:

          elkkit remove-dashboards --kibana-url http://localhost:5601 --dry-run

          elkkit remove-dashboards --space team-a --yes
        """
        from elkkit.usecases.undoing import removal, remove

        memory = options.memory_of(out, space)
        with options.open_kibana(out, wait) as kibana:
            done = removal(kibana, memory, force=force)
            if done.to_do and not dry_run:
                _confirm(out, sum(s.action == "delete" for s in done.steps), kibana.connection.url, yes=yes)
                done = remove(kibana, memory, done, tell=out.note)
        finish(out, done, dry_run=dry_run, what="removing")


def _confirm(out: Output, count: int, url: str, *, yes: bool) -> None:
    """Ask on a terminal; without one a yes must have been given."""
    if yes:
        return
    if out.json or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise UsageError(f"{count} objects would be removed from {url}", why="nobody is there to be asked",
                         hint="elkkit remove-dashboards --yes")  # fmt: skip
    if not typer.confirm(f"Remove {count} objects from {url}?", err=True):
        raise typer.Exit(1)
