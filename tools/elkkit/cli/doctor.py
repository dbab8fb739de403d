"""`elkkit doctor`: look at the whole road from the log to the dashboard, or send a canary along it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, counts_text, harmless
from elkkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.usecases.canary import Hop, Journey
    from elkkit.usecases.findings import Check

_STYLES = {"ok": "green", "passed": "green", "warn": "yellow", "unsure": "yellow", "fail": "red", "stopped": "red",
           "skip": "dim", "skipped": "dim", "not reached": "dim"}  # fmt: skip
_STATE, _NAME = 6, 26
_HOP, _STATION, _SECONDS = 13, 15, 10


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "doctor", elastic=True, kibana=True, shippers=True)
    def doctor(
        out: Output,
        log: Annotated[
            list[Path] | None,
            typer.Option("--log", "-l", help="A log of a scorer; repeatable (ELKKIT_LOG_FILES)."),
        ] = None,
        offline: Annotated[bool, typer.Option("--offline", help="Ask no service.")] = False,
        canary: Annotated[
            bool, typer.Option("--canary", help="Write a marked line to the log and follow it hop by hop.")
        ] = False,
        ship: Annotated[
            bool, typer.Option("--ship", help="Send the canary straight to Elasticsearch, without a log.")
        ] = False,
        wait: Annotated[
            float, typer.Option("--wait", metavar="SECONDS", min=0, max=3600, help="For the canary.")
        ] = 30.0,
    ) -> None:
        """Look at settings, files, models, Elasticsearch, Logstash, Filebeat and Kibana.

        One line for each check, and below what is wrong the next command; nothing is
        changed. Exit 0 if nothing fails, 1 if something does. What is not configured is
        skipped.

        With --canary one marked line is written to the log, and each hop says when it had
        it, or that it stopped there. No query, comparison, dashboard or alert counts it.

        Examples:

          elkkit doctor

          elkkit doctor --log lane-a.log --logstash-url http://localhost:9600

          elkkit doctor --canary --log lane-a.log --filebeat-url http://localhost:5066
        """
        logs = [str(path) for path in log or ()]
        if canary:
            if offline:
                raise UsageError("--canary and --offline exclude each other", why="a canary is looked for in services",
                                 hint="elkkit doctor --canary --log FILE")  # fmt: skip
            if ship and logs:
                raise UsageError("--ship and --log exclude each other", why="it goes to the log or straight to "
                                 "Elasticsearch", hint="elkkit doctor --canary --ship")  # fmt: skip
            _canary(out, logs, ship=ship, wait=wait)
        if ship:
            raise UsageError("--ship sends a canary", why="--canary was not given",
                             hint="elkkit doctor --canary --ship")  # fmt: skip
        from elkkit.usecases.doctor import examine

        found = examine(out.settings, logs=logs, offline=offline)
        data = found.as_dict(out.settings)

        def people(console: Console) -> None:
            if out.verbose:
                for row in data["settings"]:
                    if row["value"] is not None:
                        _row(console, "", row["name"], f"{row['value']}  ({row['origin']})", _STATE, _NAME)
            _show(console, found.checks)
            counted = {name: n for name, n in data["counts"].items() if n}
            out.note(counts_text(counted))

        out.finish(data, people, exit_code=found.exit_code)


def _show(console: Console, checks: Sequence[Check]) -> None:
    for check in checks:
        _row(console, str(check.state), check.name, check.text, _STATE, _NAME)
        if check.hint and str(check.state) != "ok":
            _row(console, "", "", f"hint: {check.hint}", _STATE, 0)


# --- canary ----------------------------------------------------------------------------------------------------------


def _canary(out: Output, logs: Sequence[str], *, ship: bool, wait: float) -> None:
    from elkkit.usecases.canary_journey import chosen_log, journey

    chosen = None if ship else chosen_log(logs, out.settings)
    found = journey(out.settings, out.settings.contract(), log=chosen, wait=wait, tell=out.note)
    code = ExitCode.DONE if found.stopped_at is None else ExitCode.NO
    out.finish(found.as_dict(), lambda console: _journey(out, console, found), exit_code=code)


def _journey(out: Output, console: Console, found: Journey) -> None:
    """One line a hop with the time since the hop before, then what it comes to."""
    from elkkit.usecases.canary import RUN

    if found.canary.log is not None:
        console.print(f"canary {found.canary.id} in {harmless(found.canary.log)}", soft_wrap=True)
    before = 0.0
    for hop in found.hops:
        _row(console, hop.state, hop.name, _since(hop, before) + hop.text, _HOP, _STATION, _SECONDS)
        before = max(before, hop.seconds or 0.0)
        if hop.hint and hop.state == "stopped":
            _row(console, "", "", f"next: {hop.hint}", _HOP, 0)
    stopped = found.stopped_at
    if stopped is None:
        seen = [h.name for h in found.hops if h.state == "passed"]
        console.print(f"arrived at {seen[-1]} in {found.seconds or 0:.2f} s", soft_wrap=True)
        out.note(f"it is counted nowhere; remove it with: elkkit runs delete {RUN}")
    else:
        console.print(f"stopped at {harmless(stopped.name)}", soft_wrap=True)


def _since(hop: Hop, before: float) -> str:
    """When it had the canary: seconds since the hop before."""
    if hop.seconds is None:
        return " " * _SECONDS
    return f"{f'+{max(0.0, hop.seconds - before):.2f} s':>{_SECONDS - 2}}  "


def _row(console: Console, first: str, name: str, text: str, *widths: int) -> None:
    """A word, a name, then text that is wrapped beside them; a third width is kept free below the text's beginning."""
    from rich.text import Text

    room = sum(widths)
    lead, rest = text[: sum(widths[2:])], text[sum(widths[2:]) :]
    rows = textwrap.wrap(harmless(rest), max(30, console.width - room), break_on_hyphens=False) or [""]
    told = Text.assemble((first.ljust(widths[0]), _STYLES.get(first, "")), harmless(name).ljust(widths[1]), lead,
                         f"\n{' ' * room}".join(rows))  # fmt: skip
    console.print(told, soft_wrap=True)
