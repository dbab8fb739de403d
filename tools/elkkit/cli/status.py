"""`elkkit status`: which Elasticsearch is used, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.usecases.engine import Startable, Status


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "status", elastic=True)
    def status(out: Output) -> None:
        """Show which Elasticsearch a command would use now, and why.

        Exit code 0: one answers. 1: there is none; 3: the configured one does not answer.

        Examples:

          elkkit status

          elkkit status --json | jq -r .data.url
        """
        from elkkit.usecases.engine import status as use_case

        found = use_case(out.settings)
        errors = [found.error] if found.error and not found.version else []
        out.finish(found.as_dict(), lambda console: _show(console, found), exit_code=found.exit_code, errors=errors)


def _show(console: Console, found: Status) -> None:
    from rich.table import Table

    from elkkit.cli.sizes import size_text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, harmless(value))
    for data in found.data:
        table.add_row(f"data {data.version}", harmless(f"{size_text(data.size)} in {data.folder}"))
    for name, value in _start_rows(found.startable, started=found.engine is not None):
        table.add_row(name, harmless(value))
    console.print(table)


def _rows(found: Status) -> list[tuple[str, str]]:
    if found.url is None:
        return [("Elasticsearch", "none: none is configured, and the embedded one does not run")]
    why = f"configured by {found.origin}" if found.origin else "embedded, started by elkkit"
    rows = [("Elasticsearch", f"{found.version}, {why}" if found.version else f"no answer; {why}"),
            ("address", found.url)]  # fmt: skip
    if found.version:
        rows += [("cluster", str(found.cluster)), ("stream", f"{found.stream}: {_documents(found)}")]
    if found.engine:
        ours = "" if found.origin is None else f" ({found.engine.url}, not used)"
        stays = "stays until: elkkit down" if found.engine.kept else "ends with the commands that use it"
        rows += [("embedded", f"process {found.engine.pid}{ours}, {stays}"), ("log", str(found.engine.log))]
    return rows


def _documents(found: Status) -> str:
    if found.documents is not None:
        return f"{found.documents:,} events"
    return f"not counted, {found.error}" if found.error else "absent; make it with: elkkit setup"


def _start_rows(start: Startable, *, started: bool) -> list[tuple[str, str]]:
    """What a start would use, and what is missing for it."""
    if started:
        return []
    if start.version is None:
        found = f"found {', '.join(start.javas)}" if start.javas else "none found"
        return [("to start", f"needs Java 17 or later: {found}")]
    if start.installed:
        text = f"elkkit up -d  starts {start.version}"
    elif start.maven:
        text = f"elkkit up -d  fetches {start.version} (about 41 MB) and starts it"
    else:
        text = f"needs Maven, which fetches {start.version}: no mvn on the PATH"
    return [("to start", text), ("Java", str(start.java))]
