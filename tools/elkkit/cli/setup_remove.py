"""`elkkit setup --remove`: take away what setup made."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from elkkit.cli.output import Output, harmless
from elkkit.cli.setup_lines import line
from elkkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.contract import Contract
    from elkkit.stack.elastic import Elastic
    from elkkit.usecases.setup_removal import RemovalResult

_STYLES = {"removed": "green", "not ours": "yellow", "kept": "yellow", "in use": "yellow"}


def take_away(out: Output, elastic: Elastic, contract: Contract, *, yes: bool, dry_run: bool) -> None:
    """Plan, ask, remove, and say what stays and why."""
    from elkkit.usecases.setup_removal import Fate, removal, remove

    out.note(f"removing what elkkit setup made for {contract.dataset} at {elastic.where}")
    result = removal(elastic, contract)
    if not dry_run:
        if count := result.count(Fate.REMOVE):
            _confirm(out, result, count, yes=yes)
        result = remove(elastic, result, tell=out.step)
    in_use = result.count(Fate.IN_USE)
    _advise(out, result, elastic.server.url, in_use=in_use)
    code = ExitCode.NO if in_use and not dry_run else ExitCode.DONE
    out.finish(result.as_dict(), lambda console: _show(console, result), exit_code=code)


def _confirm(out: Output, plan: RemovalResult, count: int, *, yes: bool) -> None:
    """Ask on a terminal; without one a yes must have been given."""
    from elkkit.usecases.setup_removal import Fate

    if yes:
        return
    things = "1 object" if count == 1 else f"{count} objects"
    if out.json or sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise UsageError(f"{things} would be removed from {plan.where}", why="nobody is there to be asked",
                         hint="elkkit setup --remove --yes, or --dry-run to see which")  # fmt: skip
    for one in plan.removals:
        if one.fate is Fate.REMOVE:
            out.note(f"  {one.kind} {one.name}")
    if not typer.confirm(f"Remove {things} from {harmless(plan.where)}?", err=True):
        raise UsageError("nothing was removed", why="the answer was no", hint="elkkit setup --remove --dry-run")


def _advise(out: Output, result: RemovalResult, url: str, *, in_use: int) -> None:
    """How to go on."""
    from elkkit.usecases.setup_removal import Fate

    if in_use and result.holding:
        out.note("what is in use stays; its documents are deleted for good by")
        for path in result.holding:
            out.note(f"  curl -X DELETE '{url}/{path}'")
        out.note("and then: elkkit setup --remove")
    elif in_use:
        out.note("what is in use stays; end its use, and then: elkkit setup --remove")
    elif result.count(Fate.REMOVE):
        out.note("next: elkkit setup --remove")
    elif not result.count(Fate.REMOVED):
        out.note("nothing is to do")
    if any(one.kind == "role" and one.fate is Fate.REMOVED for one in result.removals):
        out.note("API keys keep their privileges until they are invalidated: GET _security/api_key lists them")


def _show(console: Console, result: RemovalResult) -> None:
    for one in result.removals:
        text = f"{one.kind} {one.name}"
        line(console, one.fate, f"{text}: {one.why}" if one.why else text, style=_STYLES.get(one.fate))
    for left in result.left_out:
        if left.what == "roles":
            line(console, "left out", f"{left.what}: {left.why}", style="dim")
