"""`elkkit tail`: the scores of growing logs, as they come."""

from __future__ import annotations

import os
import select
import stat as modes
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elkkit.cli.asked import FromElastic, asked_fields, asked_metrics, asked_query, asked_since, from_elastic
from elkkit.cli.command import command
from elkkit.cli.output import Output, counts_text, envelope, json_line, show_error
from elkkit.cli.stopping import Stopping
from elkkit.errors import ElkkitError, ExitCode, UsageError, from_os_error

if TYPE_CHECKING:
    from elkkit.contract import Contract
    from elkkit.kql import Matcher, Node
    from elkkit.usecases.tail import TailCounts, Wanted

_BATCH = 1000
_PATIENCE = 0.25


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "tail", elastic=True)
    def tail(
        out: Output,
        files: Annotated[list[str] | None, typer.Argument(help="Log files, gzip or not; - is standard input.")] = None,
        es: FromElastic = False,
        lines: Annotated[
            str | None,
            typer.Option(
                "--lines",
                "-n",
                metavar="N",
                help="Begin with the last N lines of each file, or all.  [default: 10; with --since: all]",
            ),
        ] = None,
        follow: Annotated[
            bool, typer.Option("--follow/--no-follow", "-f", help="Wait for more, or stop at the end.")
        ] = True,
        everything: Annotated[bool, typer.Option("--all", "-a", help="Ordinary log text too.")] = False,
        model: Annotated[
            list[str] | None, typer.Option("--model", metavar="NAME[:VERSION]", help="Only this model; repeatable.")
        ] = None,
        metric: Annotated[list[str] | None, typer.Option("--metric", help="Only this metric; repeatable.")] = None,
        query: Annotated[
            str | None, typer.Option("--query", metavar="KQL", help="Only lines that match, as in Kibana's Discover.")
        ] = None,
        since: Annotated[
            str | None,
            typer.Option(
                "--since",
                metavar="TIME",
                help="Not those before: 15m, 2h, 1d, or 2026-11-22T10:00Z. Lines without @timestamp are kept.",
            ),
        ] = None,
        fields: Annotated[
            str | None,
            typer.Option("--fields", metavar="A,B,...", help="Only these fields, as columns; in JSON also outcome."),
        ] = None,
    ) -> None:
        """Show the scores of logs as they are written; through rotation, and before the file is there.

        Follows until Ctrl-C (exit 130), the end of standard input, or until whoever reads the output has seen enough
        (exit 0); in a pipe too. Standard input that is followed is shown whole. Times are UTC. Marks: ~ not a finite
        number, ! malformed, . ordinary text. With --json one object per line, as elkkit parse prints.

        With --es, begins with the last N documents that are asked for, by @timestamp; later ones come in the order in
        which they arrive, however old they are.

        Examples:

          elkkit tail lane-detection-service-*.log --metric IoU

          elkkit tail a.log --query 'metrictype : IoU and metricscores < 0.5'

          elkkit tail --es --model lane-a:3 --since 15m

          kubectl logs -f deploy/lane-a | elkkit tail --json - | jq .metricscores
        """
        from elkkit.line.canary import asks_for_canaries
        from elkkit.usecases.tail import TailCounts, Wanted

        contract = out.settings.contract()
        stored = from_elastic(out, es, files, needs_one=False)
        node = None if query is None else asked_query(contract, query, out)
        wanted = Wanted(
            everything,
            frozenset(model or ()),
            asked_metrics(contract, metric or (), out),
            None if node is None else _matcher(node, contract),
            None if since is None else asked_since(since, datetime.now(UTC)),
            asks_for_canaries(contract, query),
        )
        columns = () if fields is None else asked_fields(contract, fields)
        last = _last(lines or ("10" if since is None else "all"))
        shown = _Shown(out, contract, wanted, columns, TailCounts())
        if stored:
            _show_documents(shown, node, last=last, follow=follow)
        else:
            _show_lines(shown, files or ["-"], last=last, follow=follow)


@dataclass(frozen=True)
class _Shown:
    """What is shown, and how."""

    out: Output
    contract: Contract
    wanted: Wanted
    columns: tuple[str, ...]
    counts: TailCounts


def _show_lines(shown: _Shown, names: Sequence[str], *, last: int | None, follow: bool) -> None:
    from elkkit.line.parser import Parser
    from elkkit.stack.follow import Follower
    from elkkit.usecases.tail import tail

    out = shown.out
    if "-" in names and sys.stdin is not None and sys.stdin.isatty():
        out.note("reading what is typed; to follow a log, name it: elkkit tail FILE")
    with Follower(names, last=last, following=follow, notice=_notice(out), output=_output_fd()) as follower:
        records = tail(follower.lines(), Parser.of(shown.contract), shown.wanted, shown.counts)
        _show(shown, records, follower.stop, names, follower.failed)


def _show_documents(shown: _Shown, query: Node | None, *, last: int | None, follow: bool) -> None:
    from elkkit.stack.arrivals import Arrivals
    from elkkit.usecases.engine import open_elastic
    from elkkit.usecases.tail import beginning, tail_documents

    out, contract = shown.out, shown.contract
    with open_elastic(out.settings, tell=out.note) as elastic:
        out.step(f"reading {contract.stream} at {elastic.where}")
        arrivals = Arrivals(
            elastic, contract.stream, list(contract.fields), last=last, following=follow,
            beginning=beginning(shown.wanted, query, contract, elastic.server),
            notice=_notice(out), output=_output_fd(),
        )  # fmt: skip
        records = tail_documents(arrivals.documents(), contract, shown.wanted, shown.counts)
        _show(shown, records, arrivals.stop, (), ())


def _show(
    shown: _Shown,
    records: Iterable[Mapping[str, Any] | None],
    stop: Callable[[], None],
    names: Sequence[str],
    failed: Sequence[ElkkitError],
) -> None:
    """Print records as they come; `failed` grows by the sources that ended before their end."""
    from elkkit.cli.rows import Rows

    out = shown.out
    render = _json(shown.columns) if out.json else Rows(out, shown.contract, names, shown.columns).line
    with Stopping(stop) as stopping:
        pending: list[bytes] = []
        told = 0
        try:
            for record in records:
                if record is not None:
                    pending.append(render(record))
                if record is None or len(pending) >= _BATCH:
                    pending.extend(_error(out, error) for error in failed[told:])
                    told = len(failed)
                    _write(out, b"".join(pending), stopping)
                    pending.clear()
        except KeyboardInterrupt:  # while the output takes no more
            _drop_output()
        finally:
            _summarize(out, shown.counts, shown.wanted)
    code = max((e.exit_code for e in failed), default=ExitCode.DONE)
    raise typer.Exit(ExitCode.INTERRUPTED if stopping.asked else code)


def _matcher(node: Node, contract: Contract) -> Matcher:
    from elkkit.kql import to_predicate

    return to_predicate(node, contract)


def _json(fields: Sequence[str]) -> Callable[[Mapping[str, Any]], bytes]:
    """Records as JSON lines: whole, or those fields of it that were asked for, and the outcome."""
    if not fields:
        return json_line
    names = [name for name in fields if name != "outcome"]
    return lambda r: json_line({"outcome": r["outcome"], **{name: r[name] for name in names if name in r}})


def _last(lines: str) -> int | None:
    if lines == "all":
        return None
    if lines.isascii() and lines.isdigit() and len(lines) < 19:
        return int(lines)
    why = f"{lines!r:.80} is neither a number nor all"
    raise UsageError("--lines is wrong", why=why, hint="elkkit tail --lines 100 FILE, or --lines all")


# --- beginning and ending ---------------------------------------------------------------------------------------------


def _output_fd() -> int | None:
    try:
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # not a real file, as in a test
        return None


def _drop_output() -> None:
    """Let nothing block or fail on standard output any more."""
    fd = _output_fd()
    if fd is not None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fd)
        os.close(null)


def _write(out: Output, data: bytes, stopping: Stopping) -> None:
    """Write so that a reader who takes nothing cannot keep us from stopping."""
    fd = _output_fd()
    size, poll = len(data), None
    if data and fd is not None and hasattr(select, "poll") and not modes.S_ISREG(os.fstat(fd).st_mode):
        size, poll = select.PIPE_BUF, select.poll()  # what may be written without blocking
        poll.register(fd, select.POLLOUT)
    try:
        for start in range(0, len(data), size or 1):
            while poll is not None and not poll.poll(_PATIENCE * 1000):
                if stopping.asked:
                    raise KeyboardInterrupt
            out.write(data[start : start + size])
            sys.stdout.flush()
    except BrokenPipeError:
        raise  # its reader has seen enough
    except OSError as error:
        _drop_output()
        raise from_os_error("write", "standard output", error) from error


def _error(out: Output, error: ElkkitError) -> bytes:
    """A source that failed while others go on: a line of its own in JSON, else on standard error."""
    if out.json:
        return envelope(out.command, {}, error.exit_code, [error]) + b"\n"
    show_error(error)
    return b""


def _notice(out: Output) -> Callable[[str], None]:
    def notice(text: str) -> None:
        out.note(f"note: {text}")

    return notice


def _summarize(out: Output, counts: TailCounts, wanted: Wanted) -> None:
    parts = counts_text(counts.as_dict())
    hidden = []
    if counts.text_hidden:
        hidden.append(f"{counts.text_hidden:,} of text (see them with --all)")
    if counts.filtered:
        plain = wanted.query is None and wanted.since is None
        hidden.append(f"{counts.filtered:,} {'of other models or metrics' if plain else 'filtered out'}")
    out.note(f"{parts}; not shown: {', '.join(hidden)}" if hidden else parts)
