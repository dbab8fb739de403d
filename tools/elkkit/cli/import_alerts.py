"""`elkkit import-alerts`: rules of Kibana that watch the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from elkkit.cli import kibana_options as options
from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import ElkkitError, ExitCode, ServiceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.kibana.alerts import AlertRule
    from elkkit.stack.kibana import Kibana
    from elkkit.usecases.applying import Applied
    from elkkit.usecases.dashboards import SpacePlan


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "import-alerts", kibana=True)
    def import_alerts(
        out: Output,
        below: Annotated[
            float | None,
            typer.Option("--below", metavar="IOU", help="Fire when a mean IoU is below it.  [default: 0.25]"),
        ] = None,
        above: Annotated[
            float | None,
            typer.Option(
                "--above", metavar="SECONDS", help="Fire when a p95 inference time is above it.  [default: 0.1]"
            ),
        ] = None,
        window: Annotated[
            str | None,
            typer.Option("--window", metavar="TIME", help="Of the mean and the p95: 15m, 2h, 1d.  [default: 15m]"),
        ] = None,
        silent: Annotated[
            str | None, typer.Option("--silent", metavar="TIME", help="Fire when no line comes for it.  [default: 10m]")
        ] = None,
        model: Annotated[
            list[str] | None,
            typer.Option("--model", metavar="NAME", help="Also fire when this model has never sent a line."),
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
        disabled: Annotated[
            bool, typer.Option("--disabled", help="New rules do not run until you enable them.")
        ] = False,
        on_conflict: Annotated[
            str,
            typer.Option(
                "--on-conflict",
                metavar="WHAT",
                show_default=False,
                help="What was edited there: fail, skip it, or overwrite it.  [default: fail]",
            ),
        ] = "fail",
        space: options.OneSpace = "default",
        wait: options.Wait = 60.0,
    ) -> None:
        """Make rules in Kibana that fire when a model gets worse, slow or silent.

        For each model: mean IoU below a limit, p95 of the inference time above one, no line for
        some minutes. Kibana 8.3 and later. A second run changes nothing, and
        elkkit rollback-dashboards undoes it.

        Rules are made without actions, so they tell nobody: open a rule in Kibana, Edit,
        Actions, and choose a connector; for silence let it run at "No Data". Updates keep
        your actions. A rule runs with the rights of whoever made it.

        Examples:

          elkkit import-alerts --kibana-url http://localhost:5601 --dry-run

          elkkit import-alerts --below 0.3 --above 0.05 --silent 30m --model lane-a
        """  # fmt: skip
        from elkkit.kibana.alerts import adjusted
        from elkkit.usecases.alerts import load_rules

        policy = options.words(on_conflict, "--on-conflict", ("fail", "skip", "overwrite"))
        if len(policy) != 1:
            raise UsageError("--on-conflict takes one word", why="it knows fail, skip, overwrite",
                             hint="--on-conflict skip")  # fmt: skip
        places = options.spaces_of(space)
        if len(places) != 1:
            raise UsageError("this command takes one space", why=f"there are {len(places)}",
                             hint=f"elkkit import-alerts --space {places[0]}")  # fmt: skip
        contract = out.settings.contract()
        rules = adjusted(load_rules(contract), contract, below=below, above=above, window=window, silent=silent,
                         models=model or ())  # fmt: skip
        with options.open_kibana(out, wait) as kibana:
            _import(out, kibana, rules, places[0], policy[0], dry_run=dry_run, disabled=disabled)


def _import(
    out: Output, kibana: Kibana, rules: tuple[AlertRule, ...], space: str, policy: Any, *, dry_run: bool, disabled: bool
) -> None:
    from elkkit.stack.kibanarules import rules_address
    from elkkit.usecases.alerts import apply, refusals, survey

    work = survey(kibana, out.settings.contract(), rules, space=space, on_conflict=policy)
    refused, done = refusals(work), None
    if not dry_run and not refused:
        done = apply(kibana, work, disabled=disabled, tell=out.step)
    errors = refused or _failures(done)
    code = ExitCode.NO if refused else ExitCode.DONE
    if done is not None and errors:
        code = errors[0].exit_code
    there = any(s.type == "alert" and s.action in ("unchanged", "create", "update", "drifted") for s in work.steps)
    address = rules_address(kibana, space=space) if there else None
    data = {
        "kibana": {"url": kibana.connection.url, "product": kibana.server.product,
                   "version": kibana.server.version_text, "flavour": kibana.server.flavour},
        "dry_run": dry_run, **work.as_dict(), "applied": done.as_dict() if done else None, "rules": address,
    }  # fmt: skip

    def people(console: Console) -> None:
        out.note(f"rules for {kibana.server.kind} at {kibana.connection.url}")
        options.show_steps(console, work.steps, verbose=out.verbose)
        if not errors:
            _show_end(out, console, work, done, address, disabled=disabled)

    out.finish(data, people, exit_code=code, errors=errors)


def _failures(done: Applied | None) -> list[ElkkitError]:
    """What went wrong, with what is there now and what to do."""
    if done is None or done.whole:
        return []
    told = f"{done.written} were written"
    if done.unsure:
        told += f", of {len(done.unsure)} it is not known"
    undo = f"elkkit rollback-dashboards {done.record}" + (f" --space {done.space}" if done.space != "default" else "")
    if done.error is None:  # pragma: no cover - whatever fails raises
        return [ServiceError("not all rules were written", why=told, hint=undo)]
    done.error.why = f"{done.error.why}; {told}"
    if done.written:
        done.error.hint = f"{done.error.hint}; or undo it: {undo}"
    return [done.error]


def _show_end(
    out: Output, console: Console, work: SpacePlan, done: Applied | None, address: str | None, *, disabled: bool
) -> None:
    from elkkit.kibana.plan import counts

    if done is None:
        out.note(f"{options.counted(counts(work.steps))}; the server was asked, nothing was written")
        return
    if done.record is None:
        out.note("unchanged" if work.same else "nothing was to be done")
    else:
        flag = f" --space {work.space}" if work.space != "default" else ""
        said = options.counted({"created": len(done.created), "updated": len(done.updated)})
        out.note(f"{said}; undo: elkkit rollback-dashboards {done.record}{flag}")
    if any(k[0] == "alert" for k in done.created):
        still = "do not run and " if disabled else ""
        out.note(f"the new rules {still}tell nobody yet: {'enable each, then ' if disabled else 'open each, '}Edit, "
                 "Actions, and choose a connector")  # fmt: skip
    if address:
        console.print(f"rules: {harmless(address)}", soft_wrap=True)
