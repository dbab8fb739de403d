"""`elkkit serve`: the scoring service on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, envelope, harmless
from elkkit.cli.stopping import Stopping
from elkkit.errors import ExitCode, ServiceError

if TYPE_CHECKING:
    from elkkit_scoring.service_local import Served


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "serve")
    def serve(
        out: Output,
        models: Annotated[
            list[str], typer.Argument(metavar="MODEL...", help="An .onnx file, its card, or a bundled one.")
        ],
        port: Annotated[
            int, typer.Option("--port", min=0, max=65535, help="On this machine only; 0: a free one.")
        ] = 5001,
        workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Processes that score.")] = 1,
        threads: Annotated[
            int, typer.Option("--threads", min=0, max=256, help="Threads per prediction; 0: the cores shared.")
        ] = 0,
        log: Annotated[Path | None, typer.Option("--log", "-l", help="File that gets the metric lines too.")] = None,
        run_id: Annotated[
            str | None, typer.Option("--run-id", help="Id of this run. [ELKKIT_RUN_ID; default: a new one]")
        ] = None,
        service: Annotated[str | None, typer.Option("--service", help="service.name of the lines.")] = None,
    ) -> None:
        """Serve models over HTTP, as Azure ML does, on this machine only.

        POST /score takes {"image": "<base64>", "mask": "<base64>", "model": "lane-a"} with Content-Type:
        application/json; scoring/README.md has the rest. /metrics is for Prometheus. Each score is a line on standard
        output, everything else is on standard error. Ctrl-C ends it after the requests that it has.

        Examples:

          elkkit serve lane-a lane-b

          elkkit serve mine.onnx --port 0 --workers 4 --log scores.log
        """
        from elkkit_scoring.service_local import Plan, plan_for, require_server, serving

        require_server()
        paths, names = plan_for(models, threads=threads)
        plan = Plan(paths, names, port, workers, threads, service, run_id or out.settings["run_id"], log)
        stopping = Stopping(at_once=True)  # a start is broken off, a server that answers ends in good order
        with stopping, serving(plan) as served:
            stopping.at_once = False
            _tell(out, served)
            by_itself = served.wait(lambda: stopping.asked)
        if by_itself:
            why = f"it ended with {served.process.returncode}; its own words are above"
            raise ServiceError("the server ended by itself", why=why, hint="start it again with the same command")
        out.note("the server has ended")


def _tell(out: Output, served: Served) -> None:
    if out.json:  # a program reads that it can begin
        out.write(envelope(out.command, as_data(served), ExitCode.DONE, []) + b"\n")
        sys.stdout.flush()
    out.note(f"serving {harmless(', '.join(served.plan.names))} at {served.url}, run {harmless(served.run_id)}")
    if served.metrics_url:
        out.note(f"for Prometheus: {served.metrics_url}")
    else:
        out.note("no /metrics: prometheus-client is not installed (pip install 'elkkit[serve]')")
    out.note("On this machine only, without authentication: any local user reaches it. Ctrl-C ends it.")


def as_data(served: Served) -> dict[str, Any]:
    """The result for `--json`."""
    return {
        "url": served.url,
        "metrics_url": served.metrics_url,
        "run_id": served.run_id,
        "models": list(served.plan.names),
        "workers": served.plan.workers,
        "log": None if served.plan.log is None else str(served.plan.log),
    }
