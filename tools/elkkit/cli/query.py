"""`elkkit query`: the events that a KQL query asks for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elkkit.cli.asked import FromElastic, asked_fields, asked_moment, asked_query, from_elastic
from elkkit.cli.command import command
from elkkit.cli.output import RESULT_VERSION, Output, error_record, harmless, json_line, show_error, status_of
from elkkit.errors import ElkkitError, ExitCode

if TYPE_CHECKING:
    from elkkit.contract import Contract
    from elkkit.usecases.query import Asked, Found

Record = Mapping[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "query", elastic=True)
    def query(
        out: Output,
        kql: Annotated[str, typer.Argument(metavar="KQL", help="What to find, as in Kibana's Discover.")],
        files: Annotated[list[str] | None, typer.Argument(help="Log files, gzip or not; - is standard input.")] = None,
        es: FromElastic = False,
        since: Annotated[
            str | None,
            typer.Option("--since", metavar="TIME", help="Not those before: 15m, 2h, 1d, or 2026-11-22T10:00Z."),
        ] = None,
        until: Annotated[
            str | None, typer.Option("--until", metavar="TIME", help="Not those after; written likewise.")
        ] = None,
        fields: Annotated[
            str | None,
            typer.Option("--fields", metavar="A,B,...", help="Only these fields, as columns; in JSON also outcome."),
        ] = None,
        limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Stop after N events.")] = None,
        explain: Annotated[
            bool, typer.Option("--explain", help="Print the query as Elasticsearch takes it; read nothing.")
        ] = False,
    ) -> None:
        """Find events by KQL, in logs or in Elasticsearch: the same ones in both.

        Every line takes part: text and malformed lines too, where they match. Lines come in the order of the files;
        documents by @timestamp, then by id. Events without @timestamp pass --since and --until; times are UTC.
        Marks: ~ not a finite number, ! malformed, . ordinary text.

        Exit 0 if any event was found, 1 if none was, as grep does.

        Examples:

          elkkit query 'metrictype : IoU and metricscores < 0.5' run.log

          elkkit query --es 'model.name : lane-* and not frame.lane_free : true' --since 1d

          elkkit query 'message : timeout*' a.log b.log.gz --json | jq .data.counts

          elkkit query --explain '@timestamp >= now-15m'
        """
        from elkkit.line.canary import asks_for_canaries
        from elkkit.usecases.query import Asked, Found

        contract, now = out.settings.contract(), datetime.now(UTC)
        if not explain:
            es = from_elastic(out, es, files, needs_one=True)
        moments = {
            name: None if text is None else asked_moment(text, now, f"--{name}", "query")
            for name, text in (("since", since), ("until", until))
        }
        columns = () if fields is None else asked_fields(contract, fields, "query")
        asked = Asked(
            asked_query(contract, kql, out), **moments, limit=limit, canaries=asks_for_canaries(contract, kql)
        )
        if explain:
            _explain(out, contract, asked)
        found = Found()
        with (_documents if es else _lines)(out, contract, asked, found, files or ()) as records:
            shown = _json_events if out.json else _rows
            shown(out, contract, files or (), columns, _started(records), found)
        code = max((e.exit_code for e in found.failed), default=ExitCode.DONE if found.matched else ExitCode.NO)
        what = "documents" if es else "lines"
        out.note(f"{found.matched:,} matched; {found.read:,} {what} {'there' if es else 'read'}")
        if not out.json:
            for error in found.failed:
                show_error(error)
        sys.stdout.flush()
        raise typer.Exit(code)


def _explain(out: Output, contract: Contract, asked: Asked) -> None:
    from elkkit.usecases.query import stored_query

    query = stored_query(asked, {name: field.type for name, field in contract.fields.items()})
    text = json.dumps(query, indent=2, ensure_ascii=False)
    lines = [harmless(line) for line in text.split("\n")]  # JSON has no line feed within a text
    out.finish({"query": query}, lambda _console: out.write("".join(f"{line}\n" for line in lines).encode()))


# --- where events come from -------------------------------------------------------------------------------------------


@contextmanager
def _lines(
    out: Output, contract: Contract, asked: Asked, found: Found, files: Sequence[str]
) -> Iterator[Iterable[Record]]:
    from elkkit.usecases.query import query_files

    if "-" in files and sys.stdin is not None and sys.stdin.isatty():
        out.note("reading what is typed; end it with Ctrl-D")
    yield query_files(files, contract, asked, found, lambda text: out.note(f"note: {text}"))


@contextmanager
def _documents(
    out: Output, contract: Contract, asked: Asked, found: Found, _files: Sequence[str]
) -> Iterator[Iterable[Record]]:
    from elkkit.usecases.engine import open_elastic
    from elkkit.usecases.query import query_elastic

    with open_elastic(out.settings, tell=out.note) as elastic:
        out.step(f"reading {contract.stream} at {elastic.where}")
        with closing(query_elastic(elastic, contract, asked, found)) as records:  # lets go of the server's snapshot
            yield records


def _started(records: Iterable[Record]) -> Iterator[Record]:
    """The same records, after the first was read: what cannot begin fails before anything is printed."""
    rest = iter(records)
    first = next(rest, None)
    return rest if first is None else chain([first], rest)


# --- how they are shown -----------------------------------------------------------------------------------------------


def _rows(
    out: Output, contract: Contract, files: Sequence[str], columns: Sequence[str], records: Iterator[Record], _: Found
) -> None:
    from elkkit.cli.rows import Rows

    rows = Rows(out, contract, files, columns)
    for record in records:
        out.write(rows.line(record))


def _json_events(
    out: Output, _: Contract, _files: Sequence[str], columns: Sequence[str], records: Iterator[Record], found: Found
) -> None:
    """One envelope, written as it grows: there may be more events than memory holds."""
    render = _chosen(columns)
    out.write(b'{"elkkit_result_version":%d,"command":"query","data":{"events":[' % RESULT_VERSION)
    between = b"\n"
    try:
        for record in records:
            out.write(between + json_line(render(record)).rstrip())
            between = b",\n"
    except ElkkitError as error:  # the envelope has begun, so it must end
        found.failed.append(error)
    code = max((e.exit_code for e in found.failed), default=ExitCode.DONE if found.matched else ExitCode.NO)
    rest = {
        "status": "partial" if found.matched and code else status_of(code),
        "exit_code": int(code),
        "errors": [error_record(e) for e in found.failed],
    }
    out.write(b'\n],"counts":' + json_line(found.as_dict()).rstrip() + b"}," + json_line(rest)[1:])


def _chosen(columns: Sequence[str]) -> Callable[[Record], Record]:
    """Records whole, or those fields of them that were asked for, and the outcome."""
    if not columns:
        return lambda record: record
    names = [name for name in columns if name != "outcome"]
    return lambda r: {"outcome": r["outcome"], **{name: r[name] for name in names if name in r}}
