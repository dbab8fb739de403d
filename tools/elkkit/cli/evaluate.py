"""`elkkit evaluate`: a benchmark's own numbers from files, without a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit_scoring.evaluate import Evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "evaluate")
    def evaluate(
        out: Output,
        predictions: Annotated[Path, typer.Argument(metavar="PRED", help="Folder or file of predictions.")],
        truth: Annotated[Path, typer.Argument(metavar="GT", help="Folder or file of labels.")],
        data_format: Annotated[
            Literal["mask", "bdd", "tusimple", "culane"],
            typer.Option("--format", "-f", help="Form of both, and whose numbers are wanted."),
        ],
        lists: Annotated[
            list[Path] | None, typer.Option("--list", help="culane: only the frames of this list; one row each.")
        ] = None,
        iou: Annotated[float | None, typer.Option("--iou", help="culane: IoU of a match.  [default: 0.5]")] = None,
        tolerance: Annotated[
            int | None, typer.Option("--tolerance", metavar="PX", help="mask: of F1_tolerant.  [default: 5]")
        ] = None,
        leave_out: Annotated[
            list[str] | None,
            typer.Option("--leave-out", metavar="CLASS", help='bdd: a class, such as "road curb"; repeatable.'),
        ] = None,
        allow_missing: Annotated[
            bool, typer.Option("--allow-missing", help="A frame without prediction has no predicted lane.")
        ] = False,
    ) -> None:
        """Compute a benchmark's own numbers from predictions and labels.

        mask: PNG masks of 0 and 255, by name. bdd: BDD100K's masks or its JSON; F1 at 1, 2 and 5 px by class. tusimple:
        JSON lines; accuracy, FP, FN. culane: .lines.txt; F1 of lanes 30 px wide. An undefined number is "-", and null
        in JSON. -v adds each frame.

        Examples:

          elkkit evaluate out/masks data/masks --format mask

          elkkit evaluate pred.json test_label.json --format tusimple --json

          elkkit evaluate out/ CULane/ --format culane --list CULane/list/test.txt
        """
        from elkkit_scoring.evaluate import Options
        from elkkit_scoring.evaluate import evaluate as run

        options = Options(tolerance, iou, tuple(lists or ()), tuple(leave_out or ()), allow_missing)
        with out.progress("frames compared", None) as progress:
            found = run(predictions, truth, data_format, options, lambda done, _total: progress(done))
        for note in found.notes:
            out.note(f"note: {note}")
        if found.missing:
            what = f"{len(found.missing):,} frame{'s' if len(found.missing) > 1 else ''} without prediction"
            out.warn(f"{what}, counted as predicted without lanes")
        out.note(f"{len(found.frames):,} frame{'s' if len(found.frames) > 1 else ''} compared")
        per_frame = out.verbose > 0
        out.finish(found.as_dict(per_frame=per_frame), lambda console: _people(console, found, per_frame=per_frame))


_FIRST = {"mask": "metric", "bdd": "class", "tusimple": "frames", "culane": "list"}


def _people(console: Console, found: Evaluation, *, per_frame: bool) -> None:
    _print_table(console, _FIRST[found.format], found.numbers)
    if found.summary:
        console.print()
        for name, value in found.summary.items():
            console.print(f"{name.replace('_', ' ')}: {_text(value)}", soft_wrap=True)
    if per_frame:
        console.print()
        _print_table(console, "frame", found.frames)


def _print_table(console: Console, first: str, rows: Mapping[str, Mapping[str, float | int]]) -> None:
    """One line a row; where a terminal is too narrow for all columns, they are spread over several tables."""
    from rich.table import Table

    columns = list(next(iter(rows.values()), {}))
    label = min(max(len(harmless(name)) for name in (*rows, first)), max(console.width // 3, 12))
    while columns:
        taken, room = 0, console.width - label
        while taken < len(columns) and (taken == 0 or room >= _width(columns[taken]) + 2):
            room -= _width(columns[taken]) + 2
            taken += 1
        shown, columns = columns[:taken], columns[taken:]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column(first, overflow="fold", min_width=min(label, 12))
        for name in shown:
            table.add_column(harmless(name), justify="right", no_wrap=True)
        for name, row in rows.items():
            table.add_row(harmless(name), *(_text(row[column]) for column in shown))
        console.print(table)
        if columns:
            console.print()


def _width(heading: str) -> int:
    return max(len(heading), 8)


def _text(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if math.isnan(value) else f"{value:.4f}"
