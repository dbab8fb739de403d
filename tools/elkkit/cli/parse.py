"""`elkkit parse`: what each line of a log is."""

from __future__ import annotations

from typing import Annotated

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output
from elkkit.errors import ExitCode


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "parse")
    def parse(
        out: Output,
        files: Annotated[list[str] | None, typer.Argument(help="Log files, gzip or not; - is standard input.")] = None,
    ) -> None:
        """Print one JSON object for each line of a log: its outcome and its fields.

        Outcomes: scored, not_finite (NaN, inf), malformed (looks like a score and is none), not_a_score.

        Examples:

          elkkit parse lane-detection-service-1.log

          kubectl logs deploy/lane-a | elkkit parse - | jq 'select(.outcome == "malformed")'
        """
        import orjson

        from elkkit.cli.output import RESULT_VERSION, counts_text, error_record, json_line, show_error, status_of
        from elkkit.line.parser import Parser
        from elkkit.usecases.parse import ParseCounts, parse_files

        counts = ParseCounts()
        records = parse_files(files or ["-"], Parser.of(out.settings.contract()), counts)
        if out.json:  # one envelope, written as it grows: a log may be larger than memory
            out.write(b'{"elkkit_result_version":%d,"command":"parse","data":{"lines":[' % RESULT_VERSION)
            for i, record in enumerate(records):
                out.write((b",\n" if i else b"\n") + json_line(record).rstrip())
        else:
            for record in records:
                out.write(json_line(record))
        code = max((e.exit_code for e in counts.failed), default=ExitCode.DONE)
        if out.json:
            rest = {
                "status": "partial" if code and counts.outcomes else status_of(code),
                "exit_code": int(code),
                "errors": [error_record(e) for e in counts.failed],
            }
            out.write(b'\n],"counts":' + orjson.dumps(counts.as_dict()) + b"}," + orjson.dumps(rest)[1:] + b"\n")
        for name in counts.unterminated:
            out.note(f"note: the last line of {name} has no line feed; it may have been cut off")
        out.note(counts_text(counts.as_dict()))
        if not out.json:
            for error in counts.failed:
                show_error(error)
        raise typer.Exit(code)
