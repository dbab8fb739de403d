"""`elkkit setup`: prepare Elasticsearch for the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.stack.shapes import Difference
    from elkkit.usecases.setup import SetupResult

_STYLES = {"created": "green", "changed": "yellow", "not ours": "red", "newer": "red"}
_WOULD = {"created": "create", "changed": "change"}
_INDENT = 11
_SHOWN = 12
"""So many differences of one object are shown; JSON has all."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "setup", elastic=True)
    def setup(
        out: Output,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; write nothing.")] = False,
        check: Annotated[
            bool, typer.Option("--check", help="Write nothing; exit with 1 if anything is to do.")
        ] = False,
        rollover: Annotated[
            bool, typer.Option("--rollover", help="Start a new index where the mapping has changed.")
        ] = False,
    ) -> None:
        """Put templates, retention, pipelines and the stream on Elasticsearch.

        A second run changes nothing. What elkkit did not make stays as it is, and so do
        documents and the indices that hold them. Your own settings go into the component
        template DATASET@custom.

        Examples:

          elkkit setup

          elkkit setup --es-url https://localhost:9200 --dry-run

          elkkit setup --check || elkkit setup --rollover
        """
        from elkkit.usecases.engine import open_elastic
        from elkkit.usecases.setup import setup as use_case

        contract = out.settings.contract()
        with open_elastic(out.settings, install=False, tell=out.note) as elastic:
            out.note(f"setting up {contract.stream} at {elastic.where}")
            result = use_case(elastic, contract, dry_run=dry_run or check, rollover=rollover, tell=out.step)
        code = ExitCode.DONE
        if result.refused:
            code = ExitCode.USAGE
        elif check and result.to_do:
            code = ExitCode.NO
        _advise(out, result, rollover=rollover)
        out.finish(
            result.as_dict(),
            lambda console: _show(console, result, in_full=dry_run or not check),
            exit_code=code,
            errors=result.refused,
        )


def _advise(out: Output, result: SetupResult, *, rollover: bool) -> None:
    """The next command. Notes come before the table, since errors end what is shown."""
    if result.refused:
        return
    if rollover and not result.rollover.fields:
        out.note("no rollover is needed")
    if result.rollover.needed and not (result.dry_run and rollover):
        out.note("note: a new mapping takes effect with a new index: elkkit setup --rollover")
    elif result.dry_run:
        flag = " --rollover" if result.rollover.needed else ""
        out.note(f"next: elkkit setup{flag}" if result.to_do else "nothing is to do")
    else:
        out.note("next: elkkit ship FILES")


def _show(console: Console, result: SetupResult, *, in_full: bool) -> None:
    """One line for each object, and below it what differs."""
    for one in result.objects:
        word = _WOULD.get(one.action, one.action) if result.dry_run else one.action
        _line(console, word, f"{one.kind} {one.name}", style=_STYLES.get(one.action))
        if in_full:
            _differences(console, one.differences)
    rollover = result.rollover
    if rollover.done:
        _line(console, "rollover", f"new index {rollover.new_index}; the old one stays in the stream", style="green")
    elif rollover.needed:
        _line(console, "rollover", f"needed: {result.stream.write_index} has an older mapping", style="yellow")
    _differences(console, rollover.fields)
    for left in result.left_out if in_full else ():
        _line(console, "left out", f"{left.what}: {left.why}", style="dim")


def _differences(console: Console, differences: Sequence[Difference]) -> None:
    for difference in differences[:_SHOWN]:
        _line(console, "", difference.text)
    if len(differences) > _SHOWN:
        _line(console, "", f"and {len(differences) - _SHOWN} more; --json shows all")


def _line(console: Console, first: str, text: str, *, style: str | None = None) -> None:
    """A word, then text that is wrapped beside it."""
    import textwrap

    from rich.text import Text

    width = max(40, console.width)
    room = textwrap.wrap(harmless(text), width - _INDENT, break_long_words=False, break_on_hyphens=False)
    indent = " " * _INDENT
    line = Text.assemble((first.ljust(_INDENT), style or ""), f"\n{indent}".join(room))
    console.print(line, soft_wrap=True)
