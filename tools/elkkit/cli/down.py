"""`elkkit down`: end the embedded Elasticsearch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.usecases.engine import Data, Down


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "down")
    def down(
        out: Output,
        delete_data: Annotated[bool, typer.Option("--delete-data", help="Delete what it stored, too.")] = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    ) -> None:
        """End the embedded Elasticsearch; its data stay.

        It ends for other commands that use it, too. A server that you named with --es-url is
        never touched.

        Examples:

          elkkit down

          elkkit down --delete-data
        """
        from elkkit.usecases.engine import down as use_case
        from elkkit.usecases.engine import stored

        if delete_data and not yes:
            _ask(stored())
        result = use_case(delete_data=delete_data)
        out.finish(result.as_dict(), lambda console: _show(console, result, out))


def _ask(data: Sequence[Data]) -> None:
    """Ask before data are deleted. Raises `UsageError` where nobody can be asked, or the answer is no."""
    import sys

    from elkkit.cli.sizes import size_text

    if not data:
        return
    what = ", ".join(f"{harmless(d.folder)} ({size_text(d.size)})" for d in data)
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask about deleting data", why=f"it would delete {what}",
                         hint="elkkit down --delete-data --yes")  # fmt: skip
    print(f"This deletes for good: {what}", file=sys.stderr)
    if not typer.confirm("Delete?", err=True):
        raise UsageError("nothing was deleted, and nothing was ended", hint="elkkit down  ends it and keeps the data")


def _show(console: Console, result: Down, out: Output) -> None:
    from elkkit.cli.sizes import size_text

    if result.engine:
        console.print(f"ended Elasticsearch {result.engine.version} (process {result.engine.pid})")
    else:
        console.print("no embedded Elasticsearch was running")
    for data in result.deleted:
        console.print(f"deleted {size_text(data.size)}: {harmless(data.folder)}", soft_wrap=True)
    for data in result.kept:
        out.note(f"its data stay: {data.folder} ({size_text(data.size)})")
