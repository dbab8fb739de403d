"""`elkkit model`: what an ONNX file is, described in a card, and its segmentation branch alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit_scoring.cut import Cut
    from elkkit_scoring.propose import Proposal

_MODEL = Annotated[Path, typer.Argument(help="An .onnx file.", show_default=False)]
_OUTPUT = Annotated[
    str | None, typer.Option("--output", metavar="NAME", help="Output that holds the lanes; default: by card or names.")
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Describe an ONNX model in a card; cut it to its lanes.", no_args_is_help=True)
    app.add_typer(group, name="model")

    @command(group, "inspect", full_name="model inspect")
    def inspect(
        out: Output,
        model: _MODEL,
        output: _OUTPUT = None,
        answers: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="KEY=VALUE", help="A value of the card, such as licence=MIT; repeatable."),
        ] = None,
    ) -> None:
        """Propose a model card from a graph: TOML, with the reason for each value; what no graph holds is asked for.

        Nothing is run. Exports of HybridNets and YOLOP are known by their outputs. Exits with 1 where `elkkit score`
        would refuse the graph. Needs the extra: pip install 'elkkit[models]'.

        Examples:

          elkkit model inspect mine.onnx > mine.toml

          elkkit model inspect mine.onnx --set licence=MIT --set output.line_width_px=8
        """
        from elkkit_scoring.propose import as_data, propose

        proposal = propose(model, output=output, answers=_answers(answers or []))
        _check(out, proposal)
        out.finish(
            {**as_data(proposal), "file": harmless(model)},
            lambda _console: out.write(proposal.toml().encode()),
            exit_code=ExitCode.NO if proposal.faults else ExitCode.DONE,
        )

    @command(group, "cut", full_name="model cut")
    def cut(
        out: Output,
        model: _MODEL,
        target: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The smaller .onnx file.")],
        output: _OUTPUT = None,
        runs: Annotated[int, typer.Option("--runs", min=1, max=10_000, help="Timed runs of each graph.")] = 20,
        force: Annotated[bool, typer.Option("--force", help="Overwrite --out and its card.")] = False,
    ) -> None:
        """Keep only the branch of a graph that finds lanes: heads for other tasks cost time on every frame.

        The masks of both graphs must be equal to the bit on random inputs, or nothing is written. Shows what was saved.
        The card beside the model is written anew beside --out. Needs the extra: pip install 'elkkit[models]'.

        Examples:

          elkkit model cut hybridnets.onnx --out lanes.onnx

          elkkit model cut mine.onnx --out lanes.onnx --output lane_logits
        """
        from elkkit_scoring.cut import cut_model

        with out.progress("runs timed", runs) as progress:
            done = cut_model(model, target, output=output, runs=runs, force=force, progress=progress)
        if not done.lane_px:
            out.warn("no pixel of the random inputs was lane, so equal masks show little")
        if done.card is None:
            out.note(f"next: {_inspect(done.out)}  proposes its card")
        out.finish(_cut_data(done), lambda console: _show_cut(console, done))


def _answers(given: Sequence[str]) -> dict[str, str]:
    answers = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {one} was not understood", why="it must be KEY=VALUE",
                             hint="elkkit model inspect --help")  # fmt: skip
        answers[key.strip()] = value.strip()
    return answers


def _check(out: Output, proposal: Proposal) -> None:
    """Say what is left to answer; a card that is complete is checked as `elkkit score` would."""
    for fault in proposal.faults:
        out.warn(f"elkkit score would refuse this graph: {fault}")
    if proposal.questions:
        count = len(proposal.questions)
        what = "1 key is" if count == 1 else f"{count} keys are"
        out.note(f"{what} left to answer (ASK in the card, or --set KEY=VALUE): {', '.join(proposal.questions)}")
    else:
        proposal.card()


def _inspect(path: Path) -> str:
    return f"elkkit model inspect {shlex.quote(str(path))} > {shlex.quote(str(path.with_suffix('.toml')))}"


def _cut_data(done: Cut) -> dict[str, Any]:
    data = asdict(done)
    for key in ("nodes", "size", "seconds"):
        data[f"{key}_before"], data[f"{key}_after"] = data.pop(key)
    paths = {key: None if data[key] is None else harmless(data[key]) for key in ("source", "out", "card")}
    return {**data, **paths, "removed": list(done.removed)}


def _show_cut(console: Console, done: Cut) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    (nodes, nodes_left), (size, size_left), (seconds, seconds_left) = done.nodes, done.size, done.seconds
    values = "so are the values" if not done.difference else f"values differ by at most {done.difference:.2g}"
    lane = f"{done.lane_px:,} of {done.pixels:,} pixels lane"
    rows = {
        "kept": done.output,
        "removed": f"{', '.join(done.removed) or 'no output'}; {nodes - nodes_left:,} of {nodes:,} nodes",
        "size": f"{size:,} -> {size_left:,} bytes ({_change(size, size_left)})",
        "median run": f"{seconds * 1000:.1f} -> {seconds_left * 1000:.1f} ms ({_change(seconds, seconds_left)}), "
                      f"of {done.runs} each, in turns",
        "masks": f"equal to the bit on {done.inputs} random inputs ({lane}); {values}",
        "written": ", ".join(str(path) for path in (done.out, done.card) if path),
    }  # fmt: skip
    for name, value in rows.items():
        table.add_row(name, harmless(value))
    console.print(table)


def _change(before: float, after: float) -> str:
    return f"{100 * (after - before) / before:+.1f} %"
