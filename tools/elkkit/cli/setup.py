"""`elkkit setup`: prepare Elasticsearch for the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output
from elkkit.cli.setup_key import show_key
from elkkit.cli.setup_lines import line
from elkkit.cli.setup_remove import take_away
from elkkit.errors import ElkkitError, ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.contract import Contract
    from elkkit.stack.elastic import Elastic
    from elkkit.stack.shapes import Difference
    from elkkit.usecases.setup import SetupResult

_STYLES = {"created": "green", "changed": "yellow", "not ours": "red", "newer": "red", "fail": "red", "note": "yellow"}
_WOULD = {"created": "create", "changed": "change"}
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
        api_key: Annotated[
            Literal["writer", "importer", "viewer"] | None,
            typer.Option("--api-key", metavar="ROLE", help="Print a new key for a writer, importer or viewer."),
        ] = None,
        expires: Annotated[
            str | None, typer.Option("--expires", metavar="TIME", help="Of that key: 12h, 30d, 8w.  [default: never]")
        ] = None,
        space: Annotated[
            str | None, typer.Option("--space", metavar="NAME", help="Of that key: its space of Kibana.")
        ] = None,
        remove: Annotated[
            bool, typer.Option("--remove", help="Take away what setup made; streams and documents stay.")
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Take away without asking.")] = False,
    ) -> None:
        """Put templates, retention, pipelines, roles and the stream on Elasticsearch.

        A second run changes nothing. What elkkit did not make stays as it is, and so do
        documents and the indices that hold them. Your own settings go into the component
        template DATASET@custom. At the end it asks what would become of a bad score.

        Examples:

          elkkit setup

          elkkit setup --es-url https://localhost:9200 --dry-run

          elkkit setup --check || elkkit setup --rollover

          elkkit setup --es-user elastic --api-key writer --expires 90d
        """
        from elkkit.usecases.engine import open_elastic

        given = {"--check": check, "--rollover": rollover, "--remove": remove, "--api-key": api_key is not None}
        _fit(given, {"--yes": yes, "--expires": expires is not None, "--space": space is not None})
        contract = out.settings.contract()
        with open_elastic(out.settings, install=False, tell=out.note) as elastic:
            if api_key is not None:
                show_key(out, elastic, contract, api_key, expires=expires, space=space or "default", dry_run=dry_run)
            elif remove:
                take_away(out, elastic, contract, yes=yes, dry_run=dry_run)
            else:
                _set_up(out, elastic, contract, dry_run=dry_run, check=check, rollover=rollover)


def _fit(modes: Mapping[str, bool], details: Mapping[str, bool]) -> None:
    """Refuse options that have no meaning together. Raises `UsageError`."""
    modes_given = [n for n, given in modes.items() if given]
    alone = [n for n in modes_given if n in ("--remove", "--api-key")]
    if alone and len(modes_given) > 1:
        other = next(n for n in modes_given if n != alone[0])
        raise UsageError(f"{alone[0]} and {other} exclude each other", why="each of them does something else",
                         hint="elkkit setup --help")  # fmt: skip
    needs = {"--yes": "--remove", "--expires": "--api-key", "--space": "--api-key"}
    for name, given in details.items():
        if given and not modes[needs[name]]:
            raise UsageError(f"{name} has no meaning without {needs[name]}", hint="elkkit setup --help")


def _set_up(out: Output, elastic: Elastic, contract: Contract, *, dry_run: bool, check: bool, rollover: bool) -> None:
    from elkkit.usecases.setup import setup as use_case

    out.note(f"setting up {contract.stream} at {elastic.where}")
    result = use_case(elastic, contract, dry_run=dry_run or check, rollover=rollover, tell=out.step)
    code = ExitCode.DONE
    if result.refused:
        code = ExitCode.USAGE
    elif (check and result.to_do) or (not result.sound and (check or not dry_run)):
        code = ExitCode.NO
    _advise(out, result, rollover=rollover)
    out.finish(
        result.as_dict(),
        lambda console: _show(console, result, in_full=dry_run or not check),
        exit_code=code,
        errors=[*result.refused, *failures(result)],
    )


def failures(result: SetupResult) -> list[ElkkitError]:
    """The checks that failed, as errors."""
    from elkkit.usecases.setup_checks import BadScoreError, Verdict

    return [BadScoreError.of(c) for c in result.checks if c.verdict is Verdict.FAIL]


def _advise(out: Output, result: SetupResult, *, rollover: bool) -> None:
    """The next command. Notes come before the table, since errors end what is shown."""
    if result.refused or not result.sound:
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
        line(console, word, f"{one.kind} {one.name}", style=_STYLES.get(one.action))
        if in_full:
            _differences(console, one.differences)
    rollover = result.rollover
    if rollover.done:
        line(console, "rollover", f"new index {rollover.new_index}; the old one stays in the stream", style="green")
    elif rollover.needed:
        line(console, "rollover", f"needed: {result.stream.write_index} has an older mapping", style="yellow")
    _differences(console, rollover.fields)
    for left in result.left_out if in_full else ():
        line(console, "left out", f"{left.what}: {left.why}", style="dim")
    for check in result.checks:
        if in_full or check.verdict != "ok":
            text = f"{check.name}: {check.why}" if check.why else check.name
            line(console, check.verdict, text, style=_STYLES.get(check.verdict))
            if check.hint and check.verdict == "note":
                line(console, "", check.hint)


def _differences(console: Console, differences: Sequence[Difference]) -> None:
    for difference in differences[:_SHOWN]:
        line(console, "", difference.text)
    if len(differences) > _SHOWN:
        line(console, "", f"and {len(differences) - _SHOWN} more; --json shows all")
