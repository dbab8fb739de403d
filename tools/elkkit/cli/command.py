"""What all commands share: their common options, and the one place where errors are shown."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from elkkit.cli.output import Output, envelope, show_error
from elkkit.errors import ElkkitError, ExitCode, InternalError, UsageError

# typer carries its own click; these are its usage error and the parent of all its errors
_CLICK_USAGE, _CLICK_ERROR = typer.BadParameter.__mro__[1:3]

_COMMON = {
    "as_json": Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", rich_help_panel="Common")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Data and errors only.", rich_help_panel="Common")],
    "verbose": Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say what is being done.", rich_help_panel="Common")
    ],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Common")],
    "config": Annotated[
        Path | None, typer.Option("--config", help="Settings file, instead of a search.", rich_help_panel="Common")
    ],
    "color": Annotated[
        str | None,
        typer.Option("--color", metavar="WHEN", help="auto, always or never.", rich_help_panel="Common"),
    ],
}
_DEFAULTS = {"as_json": False, "quiet": False, "verbose": 0, "debug": False, "config": None, "color": None}

_ELASTIC = {
    "es_url": Annotated[
        str | None,
        typer.Option("--es-url", metavar="URL", help="Elasticsearch, instead of the embedded one (ELKKIT_ES_URL).",
                     rich_help_panel="Elasticsearch"),
    ],
    "es_user": Annotated[
        str | None,
        typer.Option("--es-user", metavar="NAME", help="User; the password comes from ELKKIT_ES_PASSWORD, an API key "
                     "from ELKKIT_API_KEY.", rich_help_panel="Elasticsearch"),
    ],
    "ca_cert": Annotated[
        str | None,
        typer.Option("--ca-cert", metavar="FILE", help="Certificate authority to trust (ELKKIT_CA_CERT).",
                     rich_help_panel="Elasticsearch"),
    ],
    "fingerprint": Annotated[
        str | None,
        typer.Option("--fingerprint", metavar="SHA256", help="Certificate to trust (ELKKIT_FINGERPRINT).",
                     rich_help_panel="Elasticsearch"),
    ],
    "insecure": Annotated[
        bool | None,
        typer.Option("--insecure", help="Trust any certificate (ELKKIT_INSECURE).", rich_help_panel="Elasticsearch"),
    ],
    "timeout": Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="For one request (ELKKIT_TIMEOUT).  [default: 30]",
                     rich_help_panel="Elasticsearch"),
    ],
    "namespace": Annotated[
        str | None,
        typer.Option("--namespace", metavar="NAME", help="Of the stream (ELKKIT_NAMESPACE).  [default: default]",
                     rich_help_panel="Elasticsearch"),
    ],
}  # fmt: skip
"""Settings that commands which speak to Elasticsearch take as options too."""
_KIBANA = {
    "kibana_url": Annotated[
        str | None,
        typer.Option("--kibana-url", metavar="URL", help="Kibana or OpenSearch Dashboards (ELKKIT_KIBANA_URL).",
                     rich_help_panel="Kibana"),
    ],
    # the same credentials and certificates hold for both
    **{n: _ELASTIC[n] for n in ("es_user", "ca_cert", "fingerprint", "insecure", "timeout")},
}  # fmt: skip
"""The same for Kibana."""
_SHIPPERS = {
    "logstash_url": Annotated[
        str | None,
        typer.Option("--logstash-url", metavar="URL", help="Logstash's API (ELKKIT_LOGSTASH_URL).",
                     rich_help_panel="Shippers"),
    ],
    "filebeat_url": Annotated[
        str | None,
        typer.Option("--filebeat-url", metavar="URL", help="Filebeat's counters (ELKKIT_FILEBEAT_URL).",
                     rich_help_panel="Shippers"),
    ],
}  # fmt: skip
"""The same for what ships lines."""


class ElkkitGroup(TyperGroup):
    """Runs commands; every error of theirs is shown here, for people or as JSON, and becomes an exit code."""

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line."""
        argv = list(sys.argv[1:] if args is None else args)
        if sys.stdout is None:  # closed by the caller: what is printed is not wanted
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        if sys.stderr is None:
            sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        try:
            code = super().main(argv, prog_name, standalone_mode=False, **extra)
        except ElkkitError as error:
            code = _failed(error, argv)
        except _CLICK_ERROR as error:  # type: ignore[misc]
            code = _not_understood(error, argv)
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except SystemExit as error:
            code = error.code
        except Exception as error:
            code = _failed(_unexpected(error), argv)
        code = int(code) if isinstance(code, int) else 0
        if code == ExitCode.INTERRUPTED:
            print("interrupted", file=sys.stderr)
        if standalone_mode:
            sys.exit(code)
        return code

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run one command; a reader that closed the pipe has seen enough."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.DONE) from None
        return result


def _command_name(argv: Sequence[str]) -> str:
    return " ".join(w for w in argv[:2] if w.replace("-", "a").isalnum() and not w.startswith("-")) or "elkkit"


def _failed(error: ElkkitError, argv: Sequence[str]) -> int:
    if "--debug" in argv:
        traceback.print_exception(error.__cause__ or error)
    if "--json" in argv:
        sys.stdout.write(envelope(_command_name(argv[:1]), {}, error.exit_code, [error]).decode() + "\n")
    else:
        show_error(error)
    return error.exit_code


def _not_understood(error: Any, argv: Sequence[str]) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "elkkit"
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help())
        return ExitCode.USAGE
    message = error.format_message()
    return _failed(UsageError("the command line was not understood", why=message, hint=f"{command} --help"), argv)


def _unexpected(error: Exception) -> ElkkitError:
    if isinstance(error, MemoryError):
        return InternalError("out of memory", why=str(error) or None, hint="give the process more memory")
    where = traceback.extract_tb(error.__traceback__)[-1]
    why = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    hint = "run it again with --debug and report what it prints"
    ours = InternalError("elkkit failed where it should not", why=why, hint=hint)
    ours.__cause__ = error
    return ours


def command(
    app: typer.Typer,
    name: str,
    *,
    full_name: str | None = None,
    elastic: bool = False,
    kibana: bool = False,
    shippers: bool = False,
) -> Callable[[Callable[..., None]], Any]:
    """Register a command whose first parameter is its `Output`; the options that all commands take are added.

    `elastic`: also those that say how Elasticsearch is reached; they are in `Output.settings`. `kibana`: the same for
    Kibana, `shippers`: for Logstash and Filebeat; several may be given.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [p for n, p in signature.parameters.items() if n != "out"]
        flags = {**(_KIBANA if kibana else {}), **(_ELASTIC if elastic else {}), **(_SHIPPERS if shippers else {})}
        common = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(n), annotation=a)
            for n, a in {**flags, **_COMMON}.items()
        ]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            options = {n: given.pop(n) for n in _COMMON}
            options.pop("debug")  # read where errors are shown
            given_flags = {n: given.pop(n) for n in flags}
            function(_output(full_name or name, given_flags, **options), **given)

        run.__signature__ = signature.replace(parameters=[*own, *common])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *common]}
        app.command(name)(run)
        return function

    return register


def _output(
    name: str,
    flags: dict[str, Any],
    *,
    as_json: bool,
    quiet: bool,
    verbose: int,
    config: Path | None,
    color: str | None,
) -> Output:
    from elkkit.settings import load_settings

    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other", hint=f"elkkit {name} --help")
    settings = load_settings({**flags, "color": color}, config=config)
    if settings["color"] not in ("auto", "always", "never"):
        raise UsageError("the colour setting is wrong", why=f"{settings['color']!r} is none of auto, always, never",
                         hint=f"elkkit {name} --color auto")  # fmt: skip
    return Output(name, json=as_json, quiet=quiet, verbose=verbose, settings=settings)
