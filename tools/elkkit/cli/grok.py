"""`elkkit grok test`: what each grok engine at hand makes of log lines, and where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.usecases.grok_test import Bench, GrokCounts, Judged
    from elkkit.usecases.grok_verdict import Reading, Verdict

_LONGEST_JSON, _WIDTH = 1000, 80
_READING = 34


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Try grok patterns on log lines.", no_args_is_help=True)
    app.add_typer(group, name="grok")

    @group.callback()
    def _keep_group() -> None:
        """Try grok patterns on log lines."""

    @command(group, "test", full_name="grok test", elastic=True)
    def test(
        out: Output,
        files: Annotated[list[str] | None, typer.Argument(help="Log files, gzip or not; - is standard input.")] = None,
        pattern: Annotated[
            list[str] | None,
            typer.Option(
                "--pattern",
                "-p",
                metavar="P",
                help="A pattern of your own, or a file of them; repeatable, the first that matches counts.",
            ),
        ] = None,
        score: Annotated[
            str | None,
            typer.Option("--score", metavar="FIELD", help="The field of your pattern that is the score, if unclear."),
        ] = None,
        name: Annotated[
            str | None,
            typer.Option("--name", metavar="FIELD", help="The one that is the metric's name.  [default: metrictype]"),
        ] = None,
        engine: Annotated[
            list[str] | None,
            typer.Option("--engine", metavar="NAME", help="Only grok, elasticsearch or logstash; repeatable."),
        ] = None,
        limit: Annotated[
            float, typer.Option("--limit", metavar="SECONDS", help="How long a pattern may take for one line.")
        ] = 1.0,
        differing: Annotated[bool, typer.Option("--differing", "-d", help="Show only lines that differ.")] = False,
    ) -> None:
        """Show what each engine at hand makes of each line, and where they differ from the contract's reading.

        Engines: Elasticsearch's grok library (by Java and Maven, fetched once), the ingest pipeline of a running
        Elasticsearch (--es-url; nothing is stored), and a real Logstash where ELKKIT_LOGSTASH names its folder. With
        --pattern they read the lines, as they are, by your pattern instead of the contract's. Exits with 1 where an
        engine differs.

        Examples:

          elkkit grok test scores.log

          elkkit grok test -p '%{WORD:metrictype} : %{NUMBER:metricscores:float}' scores.log
        """  # fmt: skip
        from elkkit.usecases.grok_test import GrokCounts, judge_lines, open_bench, user_pattern

        if not pattern and (score or name):
            raise UsageError("--score and --name say what the fields of a pattern are", why="there is no --pattern",
                             hint="elkkit grok test --help")  # fmt: skip
        if not 0.01 <= limit <= 60:
            raise UsageError("the limit is wrong", why="it must be 0.01 to 60 seconds", hint="--limit 1")
        own = user_pattern(pattern, score=score, name=name) if pattern else None
        counts = GrokCounts()
        with ExitStack() as stack:
            only = _engines(engine or [])
            bench = open_bench(stack, out.settings, own, only=only, limit=limit, tell=out.note)
            _tell_engines(out, bench)
            lines = judge_lines(files or ["-"], bench, counts)
            if out.json:
                _write_json(out, bench, lines, differing)
            else:
                _show(out, lines, differing)
            code = _code(bench, counts)
            if out.json:
                _end_json(out, bench, counts, code)
            else:
                _summary(out, bench, counts)
        raise typer.Exit(code)


def _engines(names: list[str]) -> list[Any]:
    from elkkit.usecases.grok_test import ENGINES

    for name in names:
        if name not in ENGINES:
            raise UsageError(f"there is no engine {name}", why=f"engines: {', '.join(ENGINES)}",
                             hint="elkkit grok test --engine grok")  # fmt: skip
    return list(dict.fromkeys(names))


def _code(bench: Bench, counts: GrokCounts) -> ExitCode:
    if counts.failed:
        return max((e.exit_code for e in counts.failed), default=ExitCode.DONE)
    return ExitCode.NO if counts.differ or bench.refused else ExitCode.DONE


def _tell_engines(out: Output, bench: Bench) -> None:
    there = [f"{e.name} {e.version}" for e in bench.engines]
    out.note(f"asked: {', '.join(there) or 'nobody but the contract, so nothing can differ'}")
    for name, why in bench.missing.items():
        out.note(f"not at hand: {name} ({why})")
    for name, why in bench.refused.items():
        out.warn(f"{name} refuses the pattern: {why}")


# --- for people ------------------------------------------------------------------------------------------------------


def _show(out: Output, lines: Iterable[Judged], differing: bool) -> None:
    console = out.console()
    width = max(60, min(console.width, 160)) if console.is_terminal else _WIDTH
    for judged in lines:
        if judged.differs or not differing:
            for row in _rows(judged, width):
                _print(console, row)


def _rows(judged: Judged, width: int) -> list[str]:
    """One row where all agree; else the line and a row for each reading."""
    where = f"{judged.file}:{judged.number}" if judged.file is not None else f"{judged.number:>6}"
    text = " ".join(harmless(judged.text[:width]).split("\t"))
    if not judged.differs:
        return [_cut(f"{where}    {_fitted(judged.contract.shown(), _READING)}  {text}", width)]
    rows = [_cut(f"{where}  {text}", width), _cut(_row(" ", judged.contract, "contract"), width)]
    groups: dict[tuple[str, str], list[str]] = {}
    first: dict[tuple[str, str], tuple[Reading, Verdict]] = {}
    for name, (reading, verdict) in judged.engines.items():
        key = (str(verdict), reading.shown() + (reading.why or ""))
        groups.setdefault(key, []).append(name)
        first[key] = (reading, verdict)
    for key, names in groups.items():
        reading, verdict = first[key]
        if verdict.differs:
            rows.append(_cut(_row("!", reading, f"{', '.join(names)}: {verdict}"), width))
        else:
            rows.append(
                _cut(_row(" ", reading, ", ".join(names) + ("" if verdict == "same" else f": {verdict}")), width)
            )
    return rows


def _row(mark: str, reading: Reading, who: str) -> str:
    shown = reading.shown() or reading.why or "-"
    return f"        {mark} {_fitted(shown, _READING)}  {who}"


def _fitted(text: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    text = harmless(text)
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _cut(text: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    text = harmless(text)
    return text.rstrip() if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _print(console: Console, row: str) -> None:
    console.print(row, soft_wrap=True, style="bold" if row.lstrip().startswith("!") else None)


def _summary(out: Output, bench: Bench, counts: GrokCounts) -> None:
    from elkkit.cli.output import show_error

    console = out.console()
    if not counts.lines:
        out.note("there are no lines to read")
    else:
        many = "line" if counts.lines == 1 else "lines"
        console.print(f"\n{counts.lines:,} {many}: {counts.lines - counts.differ:,} agree, {counts.differ:,} differ")
    for name, found in counts.verdicts.items():
        parts = [f"{n:,} {v}" for v, n in found.items() if v.differs or v == "not asked"]
        if parts:
            console.print(harmless(f"  {name}: {', '.join(parts)}"), soft_wrap=True)
    for name, why in bench.stopped.items():
        out.warn(f"{name} was not asked to the end: {why}")
    for error in counts.failed:
        show_error(error)


# --- JSON ------------------------------------------------------------------------------------------------------------


def _write_json(out: Output, bench: Bench, lines: Iterable[Judged], differing: bool) -> None:
    """One envelope, written as it grows: a log may be larger than memory."""
    import orjson

    from elkkit.cli.output import RESULT_VERSION, json_line

    out.write(b'{"elkkit_result_version":%d,"command":"grok test","data":{"engines":' % RESULT_VERSION)
    out.write(orjson.dumps(bench.as_dict()) + b',"lines":[')
    first = True
    for judged in lines:
        if judged.differs or not differing:
            out.write((b"\n" if first else b",\n") + json_line(judged.as_dict(_LONGEST_JSON)).rstrip())
            first = False


def _end_json(out: Output, bench: Bench, counts: GrokCounts, code: ExitCode) -> None:
    import orjson

    from elkkit.cli.output import error_record, status_of

    rest: Mapping[str, Any] = {
        "counts": {**counts.as_dict(), "stopped": bench.stopped},
    }
    end = {"status": status_of(code), "exit_code": int(code), "errors": [error_record(e) for e in counts.failed]}
    out.write(b"\n]," + orjson.dumps(rest)[1:] + b"," + orjson.dumps(end)[1:] + b"\n")
