"""`elkkit tail`: the scores of growing logs, as they come."""

from __future__ import annotations

import os
import select
import signal
import stat as modes
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, envelope, harmless, json_line, show_error
from elkkit.errors import ElkkitError, ExitCode, UsageError, from_os_error

if TYPE_CHECKING:
    from elkkit.contract import Contract, Metric
    from elkkit.stack.follow import Follower
    from elkkit.usecases.tail import TailCounts

_MARKS = {"scored": " ", "not_finite": "~", "malformed": "!", "not_a_score": "."}
_STYLES = {"not_finite": "yellow", "malformed": "red", "not_a_score": "dim"}
_LONGEST = 500
_BATCH = 1000
_PATIENCE = 0.25


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "tail")
    def tail(
        out: Output,
        files: Annotated[list[str] | None, typer.Argument(help="Log files, gzip or not; - is standard input.")] = None,
        lines: Annotated[
            str, typer.Option("--lines", "-n", metavar="N", help="Begin with the last N lines of each file, or all.")
        ] = "10",
        follow: Annotated[
            bool, typer.Option("--follow/--no-follow", "-f", help="Wait for more, or stop at the end.")
        ] = True,
        everything: Annotated[bool, typer.Option("--all", "-a", help="Ordinary log text too.")] = False,
        model: Annotated[
            list[str] | None, typer.Option("--model", metavar="NAME[:VERSION]", help="Only this model; repeatable.")
        ] = None,
        metric: Annotated[list[str] | None, typer.Option("--metric", help="Only this metric; repeatable.")] = None,
    ) -> None:
        """Show the scores of logs as they are written; through rotation, and before the file is there.

        Follows until Ctrl-C (exit 130), the end of standard input, or until whoever reads the output has seen enough
        (exit 0); in a pipe too. Standard input that is followed is shown whole. Times are UTC. Marks: ~ not a finite
        number, ! malformed, . ordinary text. With --json one object per line, as elkkit parse prints.

        Examples:

          elkkit tail lane-detection-service-*.log --metric IoU

          kubectl logs -f deploy/lane-a | elkkit tail --json - | jq .metricscores
        """
        from elkkit.line.parser import Parser
        from elkkit.stack.follow import Follower
        from elkkit.usecases.tail import TailCounts, Wanted
        from elkkit.usecases.tail import tail as tail_lines

        contract = out.settings.contract()
        names = files or ["-"]
        wanted = Wanted(everything, frozenset(model or ()), _metrics(contract, metric or (), out))
        counts = TailCounts()
        last = _last(lines)
        if "-" in names and sys.stdin is not None and sys.stdin.isatty():
            out.note("reading what is typed; to follow a log, name it: elkkit tail FILE")
        render = json_line if out.json else Rows(out, contract, names).line
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
                _summarize(out, counts)
        code = max((e.exit_code for e in follower.failed), default=ExitCode.DONE)
        raise typer.Exit(ExitCode.INTERRUPTED if stopping.asked else code)


def _last(lines: str) -> int | None:
    if lines == "all":
        return None
    if lines.isascii() and lines.isdigit() and len(lines) < 19:
        return int(lines)
    why = f"{lines!r:.80} is neither a number nor all"
    raise UsageError("--lines is wrong", why=why, hint="elkkit tail --lines 100 FILE, or --lines all")


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


# --- one line ---------------------------------------------------------------------------------------------------------


def score_text(metric: Metric, score: float) -> str:
    """A score as people read it: in the metric's format, unless that would show next to nothing of it, or too much."""
    text = format(score, metric.format)
    digits = "".join(filter(str.isdigit, text)).lstrip("0")
    if abs(score) < 1 and len(digits) < 2:
        return f"{score:.3g}" if score else text
    return text if len(text) <= 12 else f"{score:.6g}"


class Rows:
    """Records as rows for people. On a terminal a row is one line of it; elsewhere nothing is shortened but text."""

    def __init__(self, out: Output, contract: Contract, files: Sequence[str]) -> None:
        self._contract = contract
        self._several = len(files) > 1
        short = {name: Path(name).name.removesuffix(".log") for name in files}
        self._labels = short if len(set(short.values())) == len(short) else {name: name for name in files}
        self._console = out.console()
        self._colour = self._console.color_system is not None
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        self._terminal = self._console.file.isatty()

    def line(self, record: Mapping[str, Any]) -> bytes:
        """One row with its line feed."""
        width = self._console.width if self._terminal else None
        row = self._row(record, width)
        if width and _cells(row) > width:
            from rich.cells import set_cell_size

            row = set_cell_size(row, width - 1) + "…"
        style = _STYLES.get(record["outcome"])
        if self._colour and style:
            from rich.style import Style

            row = Style.parse(style).render(row)
        return f"{row}\n".encode(self._encoding, "replace")

    def _row(self, record: Mapping[str, Any], width: int | None) -> str:
        narrow = width if width is not None and self._several else None
        cell = [_clock(record.get("@timestamp")), _MARKS[record["outcome"]]]
        if self._several:
            cell.append(_fit(self._labels[record["file"]], 12, cut=narrow, keep_end=True))
        version = record.get("model.version")
        name = record.get("model.name", "-")
        model = f"{name}:{version}" if version is not None else name
        cell.append(_fit(model, 12 if narrow and narrow < 100 else 16, cut=width))
        name = record.get("metrictype")
        if name is None:
            return " ".join(
                [*cell, _text(record, None if width is None else width - sum(map(_cells, cell)) - len(cell))]
            )
        metric = self._contract.metric(name)
        score = record.get("metricscores")
        cell.append(_fit(name, 17, cut=width))
        cell.append(f"{record['metricraw'] if score is None else score_text(metric, score):>10}")
        cell.append(_fit("" if metric.unit == "ratio" or score is None else metric.unit, 2, cut=None))
        frame = record.get("frame.id", record.get("http.request.id", ""))
        room = None if width is None else max(8, width - sum(map(_cells, cell)) - len(cell))
        cell.append(_fit(frame, 0 if room is None else room, cut=room, keep_end=True).rstrip())
        return " ".join(cell).rstrip()


def _clock(timestamp: str | None) -> str:
    """Hours, minutes and seconds in UTC."""
    if timestamp is not None:
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(timestamp)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            return f"{moment:%H:%M:%S}Z"
    return "--:--:-- "


def _text(record: Mapping[str, Any], room: int | None) -> str:
    """The text of a line that is no score; of a malformed one, also why."""
    message = record.get("message", "(no message)")
    shown = harmless(message[:_LONGEST]).replace("\t", " ")
    if len(message) > _LONGEST:
        shown += f"… ({len(message):,} characters)"
    if record["outcome"] != "malformed":
        return shown
    why = f"  (malformed: {harmless(record.get('error.message', 'no reason given')[:_LONGEST])})"
    if room is not None:
        shown = _fit(shown, max(24, room - len(why)), cut=room).rstrip()
    return shown + why


def _fit(text: str, width: int, *, cut: int | None, keep_end: bool = False) -> str:
    """Text filled up to so many cells, and cut to them unless `cut` is None; ids differ at their end."""
    text = harmless(text).replace("\t", " ")
    if text.isascii():
        if len(text) <= width:
            return text.ljust(width)
        if cut is None:
            return text
        return "…" + text[1 - width :] if keep_end else text[: width - 1] + "…"
    from rich.cells import set_cell_size

    size = _cells(text)
    if size <= width or cut is None:
        return text + " " * max(0, width - size)
    if not keep_end:
        return set_cell_size(text, width - 1) + "…"
    text = text[-width:]
    while _cells(text) >= width:
        text = text[1:]
    return "…" + text + " " * (width - 1 - _cells(text))


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


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


def _summarize(out: Output, counts: TailCounts) -> None:
    parts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.as_dict().items())
    hidden = []
    if counts.text_hidden:
        hidden.append(f"{counts.text_hidden:,} of text (see them with --all)")
    if counts.filtered:
        hidden.append(f"{counts.filtered:,} of other models or metrics")
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
