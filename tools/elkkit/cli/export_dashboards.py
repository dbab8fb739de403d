"""`elkkit export-dashboards`: dashboards of a Kibana as files for git."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli import kibana_options as options
from elkkit.cli.command import command
from elkkit.cli.output import Output, counts_text
from elkkit.errors import ElkkitError, ExitCode, InputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.usecases.exporting import Exported

_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "export-dashboards", kibana=True)
    def export_dashboards(
        out: Output,
        folder: Annotated[Path, typer.Argument(help="Folder to write; it is made.", metavar="DIR")],
        dashboard: Annotated[
            list[str] | None,
            typer.Option("--dashboard", metavar="ID|TITLE", help="This one, with all it refers to; repeat for more."),
        ] = None,
        all_: Annotated[bool, typer.Option("--all", help="All dashboards, searches, data views … there.")] = False,
        space: options.OneSpace = "default",
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that differ.")] = False,
        prune: Annotated[
            bool, typer.Option("--prune", help="Remove files of an earlier export whose object is gone.")
        ] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
        wait: options.Wait = 60.0,
    ) -> None:
        """Write dashboards, and all they refer to, into a folder for git: a file each.

        The same objects give the same bytes: what a server writes by itself is left out, and
        JSON in texts is spelled out. Without options: elkkit's own dashboards. A file that
        differs is kept, and nothing is written then, unless you say --overwrite.

        Examples:

          elkkit export-dashboards kibana-objects --dry-run

          elkkit export-dashboards kibana-objects --dashboard 'Model comparison'

          elkkit export-dashboards kibana-objects --all --overwrite --prune
        """
        from elkkit.usecases import exporting

        if dashboard and all_:
            raise UsageError("--dashboard and --all exclude each other", why="--all has every dashboard in it",
                             hint="leave one of them out")  # fmt: skip
        with options.open_kibana(out, wait) as kibana:
            if all_:
                keys = None
            elif dashboard:
                keys = exporting.dashboard_keys(kibana, dashboard, space=space)
            else:
                from elkkit.stack.kibanamemory import Memory

                ids = Memory(kibana.connection.url, space).ids
                keys = exporting.own_keys(kibana, out.settings.contract(), space=space, ids=ids)
            done = exporting.export_folder(
                kibana, keys, folder, space=space, overwrite=overwrite, prune=prune, dry_run=dry_run, tell=out.step
            )
        _warn(out, done)
        errors = _refusals(done)
        if not errors:
            out.note(f"{done.kibana} at {done.url}, space {done.space}")
        out.finish(
            done.as_dict(),
            lambda console: _show(out, console, done),
            exit_code=ExitCode.NO if errors else ExitCode.DONE,
            errors=errors,
        )


def _refusals(done: Exported) -> list[ElkkitError]:
    if not done.refused:
        return []
    count = len(done.refused)
    files = "1 file differs" if count == 1 else f"{count:,} files differ"
    named = ", ".join(str(f.path) for f in done.refused[:_SHOWN]) + (" …" if count > _SHOWN else "")
    return [InputError(f"nothing was written: {files} from what Kibana has", why=named,
                       hint="see what is in them, then run the same command again with --overwrite, or export into "
                            "another folder")]  # fmt: skip


def _warn(out: Output, done: Exported) -> None:
    for kind, ident in done.missing_references[:_SHOWN]:
        out.warn(f"{kind} {ident} is referred to and is not there: what shows it is broken in Kibana too")
    if (more := len(done.missing_references) - _SHOWN) > 0:
        out.warn(f"and {more:,} more references lead nowhere; --json shows all")
    for (kind, ident), why in done.left_out:
        out.warn(f"{kind} {ident} was left out: {why}")


def _show(out: Output, console: Console, done: Exported) -> None:
    """A line for each file of interest; what stayed as it is as a number."""
    for one in done.files:
        if one.action != "unchanged" or out.verbose:
            options.show_line(console, one.action, f"{one.path}  {one.title}")
    out.note(counts_text(done.counts) + ("; nothing was written" if done.dry_run else ""))
    if done.refused:
        return
    if gone := done.counts.get("gone"):
        out.note(f"{gone:,} of an earlier export are gone from Kibana; remove their files: --prune")
    if not done.dry_run:
        flag = f" --space {shlex.quote(done.space)}" if done.space != "default" else ""
        out.note(f"next: elkkit import-dashboards {shlex.quote(str(done.folder))}{flag}")
