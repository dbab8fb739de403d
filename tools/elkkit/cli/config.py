"""`elkkit config show`: every setting in force and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="See the settings in force.", no_args_is_help=True)
    app.add_typer(group, name="config")

    @command(group, "show", full_name="config show")
    def show(out: Output) -> None:
        """Print every setting, its value and where that came from; secrets are masked.

        Examples:

          elkkit config show

          ELKKIT_DATASET=pose.eval elkkit config show --json
        """
        contract = out.settings.contract()
        data = {
            "settings": out.settings.shown(),
            "stream": contract.stream,
            "metrics": [m.name for m in contract.metrics.values()],
        }

        def people(console: Console) -> None:
            from rich.table import Table

            table = Table("setting", "value", "origin", "variable", box=None, pad_edge=False)
            for row in out.settings.shown():
                value = "" if row["value"] is None else harmless(row["value"])
                table.add_row(row["name"], value, harmless(row["origin"]), row["variable"])
            console.print(table)
            console.print(f"\nevents go to {harmless(contract.stream)}; {len(contract.metrics)} metrics are known")

        out.finish(data, people)
