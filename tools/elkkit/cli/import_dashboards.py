"""`elkkit import-dashboards`: put dashboards into Kibana, and nothing of anybody's under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli import kibana_options as options
from elkkit.cli.command import command
from elkkit.cli.output import Output, cut, harmless
from elkkit.cli.stopping import Stopping
from elkkit.errors import ElkkitError, ExitCode, ServiceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.stack.kibana import Kibana
    from elkkit.usecases.applying import Applied
    from elkkit.usecases.dashboards import Choice, Gathered, SpacePlan
    from elkkit.usecases.retargeting import Outlook

_LONGEST_TITLE = 200


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "import-dashboards", kibana=True)
    def import_dashboards(
        out: Output,
        paths: options.Files = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
        offline: Annotated[bool, typer.Option("--offline", help="Check the files only; ask no server.")] = False,
        target_version: Annotated[
            str | None, typer.Option("--target-version", metavar="8.12", help="With --offline: for this Kibana.")
        ] = None,
        only: options.Only = None,
        bundle: options.Bundle = None,
        on_conflict: Annotated[
            str,
            typer.Option(
                "--on-conflict",
                metavar="WHAT",
                help="What was edited there: fail, skip it, overwrite it, or import a copy.  [default: fail]",
                show_default=False,
            ),
        ] = "fail",
        space: options.Spaces = "default",
        map_ref: options.MapRef = None,
        index_pattern: options.IndexPattern = None,
        data_view: options.DataView = None,
        time_field: options.TimeField = None,
        map_field: options.MapField = None,
        prune: Annotated[
            bool, typer.Option("--prune", help="Remove what an earlier import left and this one does not have.")
        ] = False,
        atomic: Annotated[bool, typer.Option("--atomic", help="Undo all of it if a part fails.")] = False,
        check: Annotated[
            bool, typer.Option("--check/--no-check", help="Keep back objects that the check finds fault with.")
        ] = True,
        wait: options.Wait = 60.0,
    ) -> None:
        """Import dashboards into Kibana; shows what changes, keeps your edits, can be undone.

        Without files: the three dashboards of elkkit, in the form that fits the server, Kibana
        7.10 to 9.x or OpenSearch Dashboards. A second run changes nothing. What somebody
        edited in Kibana is never overwritten unless you say so.

        Examples:

          elkkit import-dashboards --kibana-url http://localhost:5601 --dry-run

          elkkit import-dashboards export.ndjson --on-conflict copy --space team-a,team-b

          elkkit import-dashboards --offline export.ndjson --target-version 8.3
        """  # fmt: skip
        from elkkit.kibana.plan import ON_CONFLICT

        policy = options.words(on_conflict, "--on-conflict", ON_CONFLICT)
        if len(policy) != 1:
            raise UsageError("--on-conflict takes one word", why=f"it knows {', '.join(ON_CONFLICT)}",
                             hint="--on-conflict skip")  # fmt: skip
        choice = options.choice_of(paths, only, bundle, map_ref, map_field, on_conflict=policy[0], prune=prune,
                                   check=check, index_pattern=index_pattern, data_view_id=data_view,
                                   time_field=time_field)  # fmt: skip
        if offline:
            _check_files(out, choice, target_version)
        if target_version:
            raise UsageError("--target-version needs --offline", why="else the server says which version it is",
                             hint="elkkit import-dashboards --offline --target-version 8.12")  # fmt: skip
        given = options.gathered_of(out, choice)
        with options.open_kibana(out, wait) as kibana:
            _import(out, kibana, choice, given, options.spaces_of(space), dry_run=dry_run, atomic=atomic)


# --- with a server ---------------------------------------------------------------------------------------------------


def _import(
    out: Output,
    kibana: Kibana,
    choice: Choice,
    given: Gathered | None,
    spaces: Sequence[str],
    *,
    dry_run: bool,
    atomic: bool,
) -> None:
    from elkkit.usecases.applying import Applied, apply, refusals
    from elkkit.usecases.dashboards import gather, survey, target_for
    from elkkit.usecases.retargeting import aim, outlook

    contract = out.settings.contract()
    given = given or gather(contract, choice, target_for(kibana.server))
    gathered = aim(given, choice, contract, kibana, spaces[0])
    plans = [survey(kibana, contract, gathered, choice, space) for space in spaces]
    refused = [e for p in plans for e in refusals(p)]
    seen = None if all(p.same for p in plans) else outlook(gathered, contract, kibana, spaces[0])
    done: list[Applied] = []
    if not dry_run and not refused:
        with Stopping() as stopping:
            for plan in plans:
                try:
                    done.append(apply(kibana, plan, atomic=atomic, tell=out.note,
                                      asked_to_end=lambda: stopping.asked))  # fmt: skip
                except ElkkitError as error:
                    if not done:
                        raise
                    done.append(Applied(plan.space, error=error))  # the spaces before it are to be told
                if not done[-1].whole:
                    break
    errors = refused or _failures(done, len(plans))
    shown = [] if dry_run or refused else _addresses(kibana, plans, done)
    data = {
        "kibana": {"url": kibana.connection.url, "product": kibana.server.product,
                   "version": kibana.server.version_text, "flavour": kibana.server.flavour},
        "asked": "server", "dry_run": dry_run, "source": gathered.source, "bundle": gathered.own,
        "outlook": seen and seen.as_dict(), "spaces": [p.as_dict() for p in plans],
        "applied": [a.as_dict() for a in done], "dashboards": shown,
    }  # fmt: skip

    def people(console: Console) -> None:
        out.note(_heading(kibana, gathered))
        for plan in plans:
            if len(plans) > 1:
                console.print(f"space {harmless(plan.space)}:")
            options.show_steps(console, plan.steps, verbose=out.verbose)
        if seen is not None:
            _show_outlook(out, console, seen)
        if errors:
            _show_done(out, done[:-1], many=True)
        else:
            _show_end(out, console, plans, done, shown, dry_run=dry_run)

    out.finish(data, people, exit_code=_exit_code(refused, done), errors=errors)


def _show_outlook(out: Output, console: Console, seen: Outlook) -> None:
    """Which panels would be empty, and what can be done."""
    if seen.unknown:
        if seen.pattern:
            out.note(f"which panels would be empty is not known: {seen.unknown}")
        return
    rows = ((p.title, "; ".join(str(r) for r in p.reasons)) for p in seen.empty)
    options.show_reasons(console, "empty", rows, many="panels", verbose=out.verbose)
    if seen.suggested:
        out.note(f"fields of {seen.pattern} that would do: --map-field auto, which is "
                 + " ".join(f"--map-field {old}={new}" for old, new in seen.suggested.items()))  # fmt: skip


def _heading(kibana: Kibana, gathered: Gathered) -> str:
    named = f"the {gathered.own} bundle" if gathered.own else gathered.source
    return f"{named} against {kibana.server.kind} at {kibana.connection.url}"


def _exit_code(refused: Sequence[ElkkitError], done: Sequence[Applied]) -> ExitCode:
    if refused:
        return ExitCode.NO
    for one in done:
        if one.error is not None:
            return one.error.exit_code
        if not one.whole:
            return ExitCode.NO
    return ExitCode.DONE


def _failures(done: Sequence[Applied], planned: int) -> list[ElkkitError]:
    """What went wrong, with what is there now and what to do."""
    if not done or done[-1].whole:
        return []
    last = done[-1]
    written = f"{last.written} objects were written"
    if last.removed:
        written += f", {len(last.removed)} removed"
    if last.unsure:
        written += f", of {len(last.unsure)} it is not known"
    if last.undone:
        written += "; all of that was undone"
    if planned > len(done):
        written += f"; {planned - len(done)} more spaces were not begun"
    undo = f"elkkit rollback-dashboards {last.record}" + (f" --space {last.space}" if last.space != "default" else "")
    hint = "run the same command again" if last.undone or not last.written else f"undo it: {undo}"
    if last.error is not None:
        error = last.error
        error.why = f"{error.why}; {written}"
        error.hint = error.hint if last.undone or not last.written else hint
        return [error]
    (kind, ident), why = next(iter(last.failed.items()))
    failed = f"{len(last.failed)} objects were not written: {written}"
    return [ServiceError(failed, why=f"{kind} {ident}: {why}", hint=hint)]


def _addresses(kibana: Kibana, plans: Sequence[SpacePlan], done: Sequence[Applied]) -> list[dict[str, str]]:
    """The dashboards that are there now."""
    found = []
    for plan, one in zip(plans, done, strict=False):
        for step in plan.steps:
            if step.type == "dashboard" and step.key in one.there:
                address = kibana.dashboard_address(one.there[step.key][1], space=plan.space)
                found.append({"title": step.title, "space": plan.space, "url": address})
    return found


def _show_end(
    out: Output,
    console: Console,
    plans: Sequence[SpacePlan],
    done: Sequence[Applied],
    shown: Sequence[dict[str, str]],
    *,
    dry_run: bool,
) -> None:
    from elkkit.kibana.plan import counts

    orphaned = [s for p in plans for s in p.steps if s.action == "orphan"]
    if dry_run:
        out.note(f"{options.counted(counts([s for p in plans for s in p.steps]))}; the server was asked, "
                 "nothing was written")  # fmt: skip
    elif all(not a.record for a in done):
        out.note("unchanged")
    _show_done(out, done, many=len(done) > 1)
    if orphaned and not dry_run:
        out.note(f"{len(orphaned)} left from an earlier import; remove them: --prune")
    for row in shown:
        console.print(f"{cut(harmless(row['title']), _LONGEST_TITLE)}: {harmless(row['url'])}", soft_wrap=True)


def _show_done(out: Output, done: Sequence[Applied], *, many: bool) -> None:
    """What was written, space by space, and how to undo it."""
    for one in done:
        if one.record:
            said = options.counted({"created": len(one.created), "updated": len(one.updated),
                                    "removed": len(one.removed)})  # fmt: skip
            place = f" in the space {one.space}" if many else ""
            flag = f" --space {one.space}" if one.space != "default" else ""
            out.note(f"{said}{place}; undo: elkkit rollback-dashboards {one.record}{flag}")


# --- without -------------------------------------------------------------------------------------------------------


def _check_files(out: Output, choice: Choice, target_version: str | None) -> None:
    """Check the files alone, for a version of Kibana if one is given; ends the command."""
    from elkkit.kibana import limits_of
    from elkkit.usecases.dashboards import check, gather
    from elkkit.usecases.retargeting import aim

    limits = None
    if target_version is not None:
        limits = limits_of(_version(target_version))
    old = target_version is not None and _numbers(target_version) < (8, 3)
    contract = out.settings.contract()
    gathered = aim(gather(contract, choice, "classic" if old else "lens"), choice, contract)
    wrong, newer = check(contract, gathered, limits=limits)
    faults = [*wrong, *newer]
    unknown = target_version is not None and limits is None
    data = {
        "asked": "files only", "source": gathered.source, "bundle": gathered.own, "target_version": target_version,
        "stamps_checked": limits is not None, "objects": len(gathered.objects),
        "faults": [{"object": p.object, "path": p.path, "message": p.message} for p in faults],
    }  # fmt: skip

    def people(console: Console) -> None:
        rows = ((p.object, f"{p.path}: {p.message}" if p.path else p.message) for p in faults)
        options.show_reasons(console, "fault", rows, many="objects", verbose=out.verbose)
        out.note(
            f"{len(gathered.objects)} objects, {len(faults)} faults; only the files were read, no server was asked"
        )
        if unknown:
            out.note(f"which stamps Kibana {target_version} takes is not known here: they were not checked")

    out.finish(data, people, exit_code=ExitCode.NO if faults else ExitCode.DONE)


def _numbers(text: str) -> tuple[int, int]:
    major, minor, *_ = (int(part) for part in _version(text).split("."))
    return major, minor


def _version(text: str) -> str:
    import re

    if re.fullmatch(r"\d{1,3}\.\d{1,3}(\.\d{1,3})?", text) is None:
        raise UsageError("--target-version was not understood", why=f"{text!r} is no version of Kibana",
                         hint="--target-version 8.12")  # fmt: skip
    return text
