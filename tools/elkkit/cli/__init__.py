"""The command line: one module per command."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from elkkit import __version__
from elkkit.cli.command import ElkkitGroup

COMMANDS = (
    "demo", "score", "evaluate", "serve", "model", "parse", "up", "down", "status", "doctor", "setup", "ship", "tail",
    "query", "compare", "runs", "import-dashboards", "diff-dashboards", "export-dashboards", "rollback-dashboards",
    "remove-dashboards", "import-alerts", "grok", "render", "config",
)  # fmt: skip
"""Commands in the order of the help; each is in the module of its name, with `_` for `-`."""

app = typer.Typer(
    name="elkkit",
    cls=ElkkitGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        import platform

        from elkkit.contract import load_contract

        print(f"elkkit {__version__} (contract {load_contract().version}, Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions.")
    ] = False,
) -> None:
    """Take `IoU : 0.8312` from a scoring script to a comparison of models that can be trusted."""


for _name in COMMANDS:
    import_module(f"elkkit.cli.{_name.replace('-', '_')}").register(app)
