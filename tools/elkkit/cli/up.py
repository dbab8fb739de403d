"""`elkkit up`: start an Elasticsearch of one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, envelope, harmless
from elkkit.cli.stopping import Stopping
from elkkit.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.usecases.engine import Up


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "up", elastic=True)
    def up(
        out: Output,
        detach: Annotated[bool, typer.Option("--detach", "-d", help="Return; it stays until: elkkit down.")] = False,
        heap: Annotated[str, typer.Option("--heap", metavar="SIZE", help="Memory for its heap.")] = "512m",
    ) -> None:
        """Start an Elasticsearch of your own, on this machine only.

        The first time it is fetched with Maven (about 41 MB); it needs Java 17 or later. It
        runs until Ctrl-C, or with -d until: elkkit down. Its data stay. Other commands start
        it by themselves while they need it, once it is fetched.

        Examples:

          elkkit up

          elkkit up -d && elkkit setup && elkkit ship runs/*.log

          elkkit up --heap 2g
        """
        from elkkit.usecases.engine import up as use_case

        stopping = Stopping(at_once=True)  # a start is broken off, a node that runs ends in good order
        with stopping, _telling(out) as tell, use_case(out.settings, detach=detach, heap=heap, tell=tell) as found:
            tell(None)
            if found.stays:
                out.finish(found.as_dict(), lambda console: _show(console, found, out))
            stopping.at_once = False
            if out.json:  # a program reads that it can begin
                out.write(envelope(out.command, found.as_dict(), ExitCode.DONE, []) + b"\n")
            else:
                _show(out.console(), found, out)
            sys.stdout.flush()
            by_itself = found.wait(lambda: stopping.asked)
        if by_itself and found.engine:
            out.note("Elasticsearch has ended, by elkkit down or by itself; its log:")
            out.note(str(found.engine.log))
        else:
            out.note(_AFTER[found.after()])


_AFTER = {
    "ended": "Elasticsearch has ended; its data stay",
    "used": "other commands still use Elasticsearch; it ends with them",
    "kept": "Elasticsearch stays, as another command wants it; end it with: elkkit down",
}


def _show(console: Console, found: Up, out: Output) -> None:
    if found.engine is None:
        console.print(f"Elasticsearch {found.version} answers at {harmless(found.url)} ({harmless(found.origin)})")
        out.note("nothing to start: that one is used. Without the setting, the embedded one is.")
        return
    state = "is up" if found.started else "was up already"
    console.print(f"Elasticsearch {found.version} {state}: {found.url}")
    out.note("On this machine only, without authentication: any local user reaches it.")
    out.note(f"data: {found.engine.data}")
    out.note("It stays until: elkkit down" if found.stays else "Ctrl-C ends it, unless other commands use it.")


@contextmanager
def _telling(out: Output) -> Iterator[Callable[[str | None], None]]:
    """What is going on: one line that changes on a terminal, else a line each; None ends it."""
    if out.quiet or out.json or not sys.stderr.isatty():
        yield lambda text: out.note(text) if text and not out.json else None
        return
    with out.console(stderr=True).status("looking for Elasticsearch") as line:
        yield lambda text: line.update(harmless(text)) if text else line.stop()
