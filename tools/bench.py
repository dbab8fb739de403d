"""Rows of `tools/bench`: ours against a peer, alternating in one process, the median of several rounds."""

from __future__ import annotations

import json
import logging
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from elkkit.cli.command import ElkkitGroup, command
from elkkit.cli.output import Output
from elkkit.errors import UsageError

ROUNDS = 5
LINES = 20_000


def alternate(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median seconds of both, taken in turn after one warm-up each."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for side, work in enumerate((ours, theirs)):
            start = time.perf_counter()
            work()
            seconds[side].append(time.perf_counter() - start)
    return statistics.median(seconds[0][1:]), statistics.median(seconds[1][1:])


def _json_lines() -> list[bytes]:
    from elkkit.line import MetricLogger

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.log"
        with MetricLogger(path, model_name="lane-a", model_version="1", service_name="s", run_id="r") as log:
            for i in range(LINES):
                log.log_metric("IoU", i / LINES, frame_id=f"scene-{i:06d}", frame_index=i, conditions=["day", "rain"])
        return path.read_bytes().splitlines()


def parse_json() -> dict[str, Any]:
    """Parser on JSON lines, against json.loads and the pattern that people write."""
    from elkkit.line import Parser

    lines, parser = _json_lines(), Parser.of()
    usual = re.compile(r"(?P<metrictype>\w+) : (?P<metricscores>[\d.]+)")

    def theirs() -> None:
        for line in lines:
            event = json.loads(line)
            match = usual.search(event["message"])
            if match:
                event["metrictype"], event["metricscores"] = match[1], float(match[2])

    ours, peer = alternate(lambda: [parser.parse(line) for line in lines], theirs)
    return _row(LINES / ours, LINES / peer, "lines/s", 1.0, f"{LINES:,} JSON lines; json.loads + re")


def log_call() -> dict[str, Any]:
    """One metric line, against python-json-logger's default formatter to the same kind of file."""
    from pythonjsonlogger.json import JsonFormatter

    from elkkit.line import MetricLogger

    with tempfile.TemporaryDirectory() as folder:
        log = MetricLogger(Path(folder) / "ours.log", model_name="lane-a", model_version="1", run_id="r")
        logger = logging.Logger("bench")
        handler = logging.FileHandler(Path(folder) / "theirs.log")
        handler.setFormatter(JsonFormatter("{asctime}{levelname}{name}{message}", style="{"))
        logger.addHandler(handler)
        extra = {"model.name": "lane-a", "model.version": "1", "run.id": "r", "frame.id": "f"}
        ours, peer = alternate(
            lambda: [log.log_metric("IoU", 0.83, frame_id="f") for _ in range(LINES // 4)],
            lambda: [logger.info("IoU : %r", 0.83, extra=extra) for _ in range(LINES // 4)],
        )
        log.close()
        handler.close()
    per = 1e6 / (LINES // 4)
    return _row(ours * per, peer * per, "µs/line", 0.7, "event.id and checks included on our side")


def startup() -> dict[str, Any]:
    """`elkkit --help`, against importing typer alone."""

    def run(*arguments: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # noqa: S603

    ours, peer = alternate(run("-m", "elkkit", "--help"), run("-c", "import typer"))
    return _row(ours, peer, "s", 1.6, "whole processes")


def _row(ours: float, theirs: float, unit: str, target: float, conditions: str) -> dict[str, Any]:
    ratio = ours / theirs
    return {"ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "unit": unit, "conditions": conditions}


ROWS: dict[str, Callable[[], dict[str, Any]]] = {f.__name__: f for f in (parse_json, log_call, startup)}
app = typer.Typer(cls=ElkkitGroup, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@command(app, "bench")
def bench(
    out: Output, rows: Annotated[list[str] | None, typer.Argument(help="Rows to run; all if none.")] = None
) -> None:
    """Measure elkkit against what people use otherwise."""
    if unknown := [r for r in rows or () if r not in ROWS]:
        raise UsageError(f"no such row: {unknown[0]}", why=f"there are {', '.join(ROWS)}", hint="tools/bench")
    data = {"rows": []}
    for name in rows or ROWS:
        with out.progress(name, None):
            data["rows"].append({"row": name, **ROWS[name]()})

    def people(console: Any) -> None:
        from rich.table import Table

        table = Table("row", "ours", "theirs", "unit", "ratio", "target", box=None)
        for r in data["rows"]:
            table.add_row(r["row"], f"{r['ours']:,.3g}", f"{r['theirs']:,.3g}", r["unit"], f"{r['ratio']:.2f}",
                          f"{r['target']:g}")  # fmt: skip
        console.print(table)

    out.finish(data, people)


if __name__ == "__main__":
    app(prog_name="tools/bench")
