"""What a command shows: data on standard output, everything else on standard error; for people or as JSON."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson

from elkkit.errors import ElkkitError, ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.settings import Settings

RESULT_VERSION = 1
Status = Literal["success", "partial", "error"]
# C0 and C1 controls, and what reorders or hides text on a screen
_HARMFUL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_LONGEST = 1_500
"""Characters of one line on standard error; a file may hold a title of megabytes."""
_JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def harmless(text: object) -> str:
    """Text from outside with control characters made visible, so that a terminal obeys none of it."""
    return _HARMFUL.sub(lambda m: m[0].encode("unicode_escape").decode(), str(text))


def cut(text: str, longest: int) -> str:
    """Text of at most so many characters; what is too long loses its middle, since an error's end says most."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - longest // 3 - 3]} … {text[-(longest // 3) :]}"


def error_record(error: ElkkitError) -> dict[str, str | None]:
    """An error as the envelope holds it."""
    message = f"{error.message}: {error.why}" if error.why else error.message
    return {"code": error.code, "message": harmless(message), "hint": harmless(error.hint) if error.hint else None}


def status_of(exit_code: int) -> Status:
    """How an exit code reads in the envelope."""
    return {ExitCode.DONE: "success", ExitCode.NO: "partial"}.get(ExitCode(exit_code), "error")  # type: ignore[return-value]


def envelope(
    command: str, data: Mapping[str, Any], exit_code: int, errors: Sequence[ElkkitError], status: Status | None = None
) -> bytes:
    """The one JSON object that every command prints with `--json`."""
    result = {
        "elkkit_result_version": RESULT_VERSION,
        "command": command,
        "status": status or status_of(exit_code),
        "exit_code": int(exit_code),
        "data": data,
        "errors": [error_record(e) for e in errors],
    }
    return _dumps(result)


def json_line(record: Mapping[str, Any]) -> bytes:
    """One record of a stream of JSON lines."""
    return _dumps(record) + b"\n"


def _dumps(value: Mapping[str, Any]) -> bytes:
    """JSON that a terminal does not obey: what it would is escaped, which changes no value."""
    text = orjson.dumps(value, option=_JSON_OPTIONS)
    if text.isascii() and b"\x7f" not in text:
        return text
    return _HARMFUL.sub(lambda m: f"\\u{ord(m[0]):04x}", text.decode()).encode()


def counts_text(counts: Mapping[str, int]) -> str:
    """Counts for people: `4 read, 1 scored, 0 not finite`."""
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())


def show_error(error: ElkkitError) -> None:
    """Three lines on standard error: what failed, why, and the next command."""
    for name, text in (("error", error.message), ("why", error.why), ("hint", error.hint)):
        if text:
            print(f"{name}: {cut(harmless(text), _LONGEST)}", file=sys.stderr)


@dataclass
class Output:
    """How one run of a command talks: made from the options that every command takes."""

    command: str
    json: bool = False
    quiet: bool = False
    verbose: int = 0
    settings: Settings = field(default=None, repr=False)  # type: ignore[assignment]

    def write(self, data: bytes) -> None:
        """Bytes of data to standard output."""
        sys.stdout.buffer.write(data)

    def finish(
        self,
        data: Mapping[str, Any],
        people: Callable[[Console], None],
        *,
        exit_code: ExitCode = ExitCode.DONE,
        errors: Sequence[ElkkitError] = (),
        status: Status | None = None,
    ) -> None:
        """Show a command's result, as JSON or by `people`, and end with its exit code."""
        import typer

        if self.json:
            self.write(envelope(self.command, data, exit_code, errors, status) + b"\n")
        else:
            people(self.console())
            for error in errors:
                show_error(error)
        sys.stdout.flush()
        raise typer.Exit(exit_code)

    def note(self, text: str) -> None:
        """Something worth knowing, on standard error; `-q` hides it."""
        if not self.quiet:
            print(cut(harmless(text), _LONGEST), file=sys.stderr)

    def warn(self, text: str) -> None:
        """Something that may be wrong, on standard error; never hidden."""
        print(f"warning: {harmless(text)}", file=sys.stderr)

    def step(self, text: str) -> None:
        """What is being done, on standard error, with `-v`."""
        if self.verbose:
            print(harmless(text), file=sys.stderr)

    def console(self, *, stderr: bool = False) -> Console:
        """A console that colours only where that is wanted."""
        from rich.console import Console

        class Piped(Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # whoever reads has seen enough: `ElkkitGroup` ends with 0

        color = self.settings["color"] if self.settings else "auto"
        stream = sys.stderr if stderr else sys.stdout
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        forced = bool(os.environ.get("FORCE_COLOR")) and not plain
        on = color == "always" or (color == "auto" and not plain and (forced or stream.isatty()))
        width = None if stream.isatty() or os.environ.get("COLUMNS") else 100
        return Piped(
            file=stream, force_terminal=on, no_color=not on, color_system="auto" if on else None,
            highlight=False, markup=False, emoji=False, width=width, soft_wrap=False,
        )  # fmt: skip

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A progress bar on standard error where that is a terminal; yields a function that is told what is done."""
        if self.quiet or self.json or not sys.stderr.isatty():
            yield lambda _done: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console(stderr=True), transient=True) as bar:
            task = bar.add_task(harmless(what), total=total)
            yield lambda done: bar.update(task, completed=done)
