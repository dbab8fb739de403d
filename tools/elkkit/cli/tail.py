"""`elkkit tail`: the scores of growing logs, as they come."""

from __future__ import annotations

import os
import select
import signal
import stat as modes
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, counts_text, envelope, json_line, show_error
from elkkit.errors import ElkkitError, ExitCode, UsageError, from_os_error

if TYPE_CHECKING:
    from elkkit.contract import Contract
    from elkkit.kql import Matcher
    from elkkit.stack.follow import Follower
    from elkkit.usecases.tail import TailCounts, Wanted

_BATCH = 1000
_PATIENCE = 0.25


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "tail")
    def tail(
        out: Output,
        files: Annotated[list[str] | None, typer.Argument(help="Log files, gzip or not; - is standard input.")] = None,
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

        Examples:

          elkkit tail lane-detection-service-*.log --metric IoU

          elkkit tail a.log --query 'metrictype : IoU and metricscores < 0.5'

          kubectl logs -f deploy/lane-a | elkkit tail --json - | jq .metricscores
        """
        from elkkit.cli.rows import Rows
        from elkkit.line.parser import Parser
        from elkkit.stack.follow import Follower
        from elkkit.usecases.tail import TailCounts, Wanted
        from elkkit.usecases.tail import tail as tail_lines

        contract = out.settings.contract()
        names = files or ["-"]
        wanted = Wanted(
            everything,
            frozenset(model or ()),
            _metrics(contract, metric or (), out),
            None if query is None else _query(contract, query, out),
            None if since is None else _since(since, datetime.now(UTC)),
        )
        counts = TailCounts()
        columns = () if fields is None else _fields(contract, fields)
        last = _last(lines or ("10" if since is None else "all"))
        if "-" in names and sys.stdin is not None and sys.stdin.isatty():
            out.note("reading what is typed; to follow a log, name it: elkkit tail FILE")
        render = _json(columns) if out.json else Rows(out, contract, names, columns).line
        with (
            Follower(names, last=last, following=follow, notice=_notice(out), output=_output_fd()) as follower,
            _Stopping(follower) as stopping,
        ):
            pending: list[bytes] = []
            shown = 0
            try:
                for record in tail_lines(follower.lines(), Parser.of(contract), wanted, counts):
                    if record is not None:
                        pending.append(render(record))
                    if record is None or len(pending) >= _BATCH:
                        pending.extend(_error(out, error) for error in follower.failed[shown:])
                        shown = len(follower.failed)
                        _write(out, b"".join(pending), stopping)
                        pending.clear()
            except KeyboardInterrupt:  # while the output takes no more
                _drop_output()
            finally:
                _summarize(out, counts, wanted)
        code = max((e.exit_code for e in follower.failed), default=ExitCode.DONE)
        raise typer.Exit(ExitCode.INTERRUPTED if stopping.asked else code)


def _last(lines: str) -> int | None:
    if lines == "all":
        return None
    if lines.isascii() and lines.isdigit() and len(lines) < 19:
        return int(lines)
    why = f"{lines!r:.80} is neither a number nor all"
    raise UsageError("--lines is wrong", why=why, hint="elkkit tail --lines 100 FILE, or --lines all")


def _query(contract: Contract, text: str, out: Output) -> Matcher:
    """What the query asks of a line; a name that no field has is worth a note, since it matches nothing."""
    from elkkit.kql import field_names, matcher, matching_fields, parse

    node = parse(text)
    types = {name: field.type for name, field in contract.fields.items()}
    for name in dict.fromkeys(field_names(node)):
        known = any(field in types for field in matching_fields(name, types))
        if not known and not any(field.startswith(f"{name}.") for field in types):
            out.note(f"note: {name} is none of the contract's fields{_near(str(name), types)}")
    return matcher(node, contract)


def _since(text: str, now: datetime) -> int:
    """The moment, in milliseconds since 1970."""
    import re

    from elkkit.kql import event_moment

    ago = re.fullmatch(r"([0-9]{1,9})([smhdw])", text, re.ASCII)
    try:
        if ago:
            units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
            text = (now - timedelta(**{units[ago[2]]: int(ago[1])})).isoformat()
    except OverflowError:
        text = "0001-01-01"
    moment = event_moment(text)
    if moment is None:
        why = f"{text!r:.80} is neither a time such as 2026-11-22T10:00Z nor one ago such as 15m, 2h or 1d"
        raise UsageError("--since is wrong", why=why, hint="elkkit tail --since 15m FILE; times are UTC")
    return moment


def _fields(contract: Contract, text: str) -> tuple[str, ...]:
    """The fields that were asked for, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known = [*contract.fields, "file", "offset", "outcome"]
    for name in names:
        if name not in known:
            raise UsageError(
                "--fields is wrong",
                why=f"{name!r:.80} is none of the contract's fields{_near(name, known)}",
                hint=f"its fields are {', '.join(known)}",
            )
    if not names:
        raise UsageError("--fields is wrong", why="it names no field", hint="elkkit tail --fields @timestamp,message")
    return names


def _near(name: str, known: Iterable[str]) -> str:
    """The names that may have been meant."""
    import difflib

    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lower, 3)
    close = close or [k for k in lower if name.lower() in k.split(".")][:3]
    return f"; did you mean {' or '.join(lower[k] for k in close)}?" if close else ""


def _json(fields: Sequence[str]) -> Callable[[Mapping[str, Any]], bytes]:
    """Records as JSON lines: whole, or those fields of it that were asked for, and the outcome."""
    if not fields:
        return json_line
    names = [name for name in fields if name != "outcome"]
    return lambda r: json_line({"outcome": r["outcome"], **{name: r[name] for name in names if name in r}})


def _metrics(contract: Contract, names: Sequence[str], out: Output) -> frozenset[str]:
    """Canonical names of the metrics that were asked for."""
    from elkkit.contract.model import ASCII_LOWER

    spellings = contract.spellings()
    found = {name: spellings.get(name.translate(ASCII_LOWER), name) for name in names}
    for name in found:
        if name.translate(ASCII_LOWER) not in spellings:
            import difflib

            close = difflib.get_close_matches(name.translate(ASCII_LOWER), spellings, 1)
            meant = f"; did you mean {spellings[close[0]]}?" if close else "; elkkit config show --json lists them"
            out.note(f"note: {name} is none of the contract's metrics{meant}")
    return frozenset(found.values())


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


def _write(out: Output, data: bytes, stopping: _Stopping) -> None:
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


class _Stopping:
    """Ctrl-C and SIGTERM end the following in good order; a second one at once."""

    def __init__(self, follower: Follower) -> None:
        self.asked = False
        self._follower = follower
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # a shell's background job ignores Ctrl-C
                with suppress(ValueError):  # not in the main thread
                    self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, _number: int, _frame: object) -> None:
        again, self.asked = self.asked, True
        self._follower.stop()
        if again:
            raise KeyboardInterrupt
