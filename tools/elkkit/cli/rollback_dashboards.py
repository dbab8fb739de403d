"""`elkkit rollback-dashboards`: take an import back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli import kibana_options as options
from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import ElkkitError, ExitCode, InputError, ServiceError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.stack.kibanamemory import Memory
    from elkkit.usecases.undoing import Undone


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "rollback-dashboards", kibana=True)
    def rollback_dashboards(
        out: Output,
        record: Annotated[
            str | None,
            typer.Argument(help="Which import.  [default: the last one]", metavar="[ID]", show_default=False),
        ] = None,
        space: options.OneSpace = "default",
        show: Annotated[bool, typer.Option("--list", help="Show what can be undone; ask no server.")] = False,
        force: Annotated[bool, typer.Option("--force", help="Also what was edited in Kibana since.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
        wait: options.Wait = 60.0,
    ) -> None:
        """Undo an import: what was there comes back, what was created is deleted.

        Objects that were edited in Kibana after the import are in the way: nothing is done
        then, unless you say --force. What is undone is put aside too, so it can come back.

        Examples:

          elkkit rollback-dashboards --kibana-url http://localhost:5601 --dry-run

          elkkit rollback-dashboards --list
        """  # fmt: skip
        from elkkit.usecases.undoing import find_record, rollback

        if show:
            _list(out, options.memory_of(out, space))
        memory = options.memory_of(out, space)
        found = find_record(memory, record)
        with options.open_kibana(out, wait) as kibana:
            done = rollback(kibana, memory, found, force=force, dry_run=dry_run, tell=out.note)
        finish(out, done, dry_run=dry_run, what=f"rolling back {found.id}")


def finish(out: Output, done: Undone, *, dry_run: bool, what: str) -> None:
    """Show what was taken back, and end the command."""
    errors = [] if dry_run and not done.refused else _errors(done, what)

    def people(console: Console) -> None:
        options.show_steps(console, done.steps, verbose=out.verbose)
        if errors:
            return
        said = options.counted({"restored": len(done.restored), "deleted": len(done.deleted)})
        if dry_run:
            out.note("nothing was written")
        elif done.own_record:
            flag = f" --space {done.space}" if done.space != "default" else ""
            out.note(f"{said}; undo: elkkit rollback-dashboards {done.own_record}{flag}")
        else:
            out.note("nothing was to be done")

    out.finish({"dry_run": dry_run, **done.as_dict()}, people, exit_code=ExitCode.NO if errors else ExitCode.DONE,
               errors=errors)  # fmt: skip


def _errors(done: Undone, what: str) -> list[ElkkitError]:
    if done.refused:
        first = done.refused[0]
        more = f", and {len(done.refused) - 1} more" if len(done.refused) > 1 else ""
        kept = f"{len(done.refused)} kept" if done.partly else "nothing was done"
        hint = "see what differs: elkkit diff-dashboards; or do it in spite of that: --force"
        return [InputError(f"{what}: {kept}", why=f'{first.type} "{first.title}": {first.why}{more}', hint=hint)]
    if done.failed:
        (kind, ident), why = next(iter(done.failed.items()))
        return [ServiceError(f"{what}: {len(done.failed)} objects failed", why=f"{kind} {ident}: {why}",
                             hint="run the same command again")]  # fmt: skip
    if done.differing:
        kind, ident = done.differing[0]
        return [ServiceError(f"{what}: {len(done.differing)} objects are not quite what they were",
                             why=f"{kind} {ident}: Kibana keeps it in another shape now",
                             hint="this happens after an update of Kibana; look at them there")]  # fmt: skip
    return []


def _list(out: Output, memory: Memory) -> None:
    records = memory.records()
    rows = [{"id": r.id, "what": r.what, "when": r.when, "kibana": r.kibana, "status": r.status,
             "created": len(r.created), "changed": len(r.existed)} for r in records]  # fmt: skip

    def people(console: Console) -> None:
        for row in rows:
            said = (f"{row['id']}  {row['what']}, {row['status']}: {row['created']} new, {row['changed']} that were "
                    f"there; {row['kibana']}")  # fmt: skip
            console.print(harmless(said), soft_wrap=True)
        if not rows:
            out.note(f"nothing is on record for the space {memory.space} of {memory.address}")

    out.finish({"kibana": memory.address, "space": memory.space, "records": rows}, people)
