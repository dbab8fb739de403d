"""`elkkit compare`: which model is better, by how much, and how sure that is."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from elkkit.cli.asked import FromElastic, asked_query, from_elastic
from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from elkkit.contract import Contract
    from elkkit.kql import Node
    from elkkit.scores import MetricComparison, ModelScores
    from elkkit.usecases.compare import CompareResult

_SIGN = "Differences are the first named minus the second; intervals are 95 % bootstrap, p is Holm's over the pairs."

_MALFORMED = "elkkit tail --es --no-follow --query 'error.message : *' shows them"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "compare", elastic=True)
    def compare(
        out: Output,
        files: Annotated[list[str] | None, typer.Argument(help="Log files, gzip or not; - is standard input.")] = None,
        es: FromElastic = False,
        metric: Annotated[
            list[str] | None, typer.Option("--metric", metavar="NAME", help="Only this metric; may be repeated.")
        ] = None,
        run: Annotated[
            list[str] | None,
            typer.Option("--run", metavar="RUN", help="Only this run, by id or name; may be repeated."),
        ] = None,
        query: Annotated[
            str | None, typer.Option("--query", metavar="KQL", help="Only scores that match, as in Kibana's Discover.")
        ] = None,
        everything: Annotated[
            bool, typer.Option("--all", help="Tables of every metric, not of the first only.")
        ] = False,
    ) -> None:
        """Say which model is better, by how much, and how sure that is.

        Models are paired frame by frame. "better" needs a 95 % interval without 0 and p < 0.05 after Holm's correction
        over all pairs of a metric; which direction is better is the contract's to say.

        Examples:

          elkkit compare lane-detection-service-*.log

          elkkit compare --metric IoU --json run.log.gz | jq '.data.metrics[0].pairs'

          elkkit compare --es --run night-1 --query 'frame.conditions : rain'
        """
        contract = out.settings.contract()
        stored = from_elastic(out, es, files, needs_one=True)
        node = None if query is None else asked_query(contract, query, out)
        limits: Limits = {"metrics": metric or (), "runs": run or ()}
        result = (
            _of_elastic(out, contract, node, limits) if stored else _of_files(out, contract, files or (), node, limits)
        )
        _tell(out, result)
        out.finish(result.as_dict(), lambda console: show_comparison(console, result, everything=everything))


class Limits(TypedDict):
    """What limits a comparison, from files or not."""

    metrics: Sequence[str]
    runs: Sequence[str]


def _of_files(
    out: Output, contract: Contract, files: Sequence[str], query: Node | None, limits: Limits
) -> CompareResult:
    out.step(f"reading {len(files)} file{'s' if len(files) > 1 else ''}")
    with out.progress("lines", None) as progress:
        from elkkit.kql import to_predicate
        from elkkit.usecases.compare import compare_files

        matches = None if query is None else to_predicate(query, contract)
        return compare_files(files, contract, query=matches, progress=progress, **limits)


def _of_elastic(out: Output, contract: Contract, query: Node | None, limits: Limits) -> CompareResult:
    from elkkit.usecases.engine import open_elastic

    with open_elastic(out.settings, tell=out.note) as elastic:
        out.step(f"reading {contract.stream} at {elastic.where}")
        with out.progress("documents", None) as progress:
            from elkkit.usecases.compare import compare_elastic

            return compare_elastic(elastic, contract, query=query, progress=progress, **limits)


def _tell(out: Output, result: CompareResult) -> None:
    """What is worth knowing about the input, on standard error."""
    counts = result.counts
    files = result.source["kind"] == "files"
    for note in result.notes:
        out.note(f"note: {note}")
    if n := counts["malformed"]:
        what = "line" if files else "document"
        warning = (
            f"one {what} looks like a score and is none" if n == 1 else f"{n:,} {what}s look like scores and are none"
        )
        why = f"elkkit parse {shlex.quote(result.malformed_in[0])} shows why" if files else _MALFORMED
        out.warn(f"{warning} ({why})")
    told = [f"{counts['read']:,} {'lines' if files else 'documents'} read"]
    told += [f"{counts[k]:,} {k.replace('_', ' ')}" for k in counts if k != "read" and (counts[k] or k == "scored")]
    out.note(", ".join(told))


def show_comparison(console: Console, result: CompareResult, *, everything: bool = False) -> None:
    """Print a comparison for people: the answer in sentences, then tables as wide as the console."""
    for text in result.summary:
        _print_wrapped(console, text)
    tables = result.metrics if everything else result.shown
    if len(result.models) < 2:
        console.print()
        console.print(_one_model(tables))
    else:
        detailed = tables if everything or result.chosen else tables[:1]
        if len(tables) > len(detailed):
            console.print()
            console.print(_means(tables, result))
        for one in detailed:
            console.print()
            console.print(_scores_table(one))
            console.print(_pairs_table(one))
        _print_wrapped(console, f"\n{_SIGN}")
    hidden = len(result.metrics) - len(tables)
    if hidden and not everything:
        _print_wrapped(console, f"{hidden} more metric{'s' if hidden > 1 else ''}: --all, or --metric NAME.")


def _print_wrapped(console: Console, text: str) -> None:
    lead = text[: len(text) - len(text.lstrip("\n"))]
    width = max(20, console.width)
    for line in textwrap.wrap(harmless(text[len(lead) :]), width, subsequent_indent="  ", break_on_hyphens=False):
        console.print(lead + line, soft_wrap=True)
        lead = ""


def _table(first: str, *numbers: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(harmless(first), overflow="fold")
    for header in numbers:
        table.add_column(harmless(header), justify="right", no_wrap=True)
    return table


def _title(one: MetricComparison) -> str:
    direction = f"{one.metric.better} is better" if one.metric.better != "none" else "no direction"
    unit = f"{one.metric.unit}, " if one.metric.unit else ""
    return f"{one.metric.name} ({unit}{direction})"


_COLUMNS = ("n", "undef.", "mean", "median", "p05", "p95")


def _score_cells(one: MetricComparison, scores: ModelScores) -> list[str]:
    from elkkit.scores.words import number

    counts = [f"{scores.n:,}", f"{scores.undefined:,}"]
    d = scores.description
    if d is None:
        return [*counts, "-", "-", "-", "-"]
    return [*counts, *(number(one.metric, v) for v in (d.mean, d.median, d.p05, d.p95))]


def _one_model(tables: tuple[MetricComparison, ...]) -> Table:
    table = _table("metric", *_COLUMNS)
    for one in tables:
        table.add_row(harmless(one.metric.name), *_score_cells(one, one.models[0]))
    return table


def _means(tables: tuple[MetricComparison, ...], result: CompareResult) -> Table:
    """Means side by side; with their n where it differs, since they are then of different frames."""
    from rich.table import Table

    from elkkit.scores.words import name, number

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("mean", no_wrap=True)
    for model in result.models:
        table.add_column(harmless(name(model)), justify="right", overflow="fold")
    for one in tables:
        differ = len({m.n for m in one.models}) > 1
        cells = [
            "-" if m.description is None
            else number(one.metric, m.description.mean) + (f" (n {m.n:,})" if differ else "")
            for m in one.models
        ]  # fmt: skip
        table.add_row(harmless(one.metric.name), *cells)
    return table


def _scores_table(one: MetricComparison) -> Table:
    from elkkit.scores.words import name

    table = _table(_title(one), *_COLUMNS)
    for scores in one.models:
        table.add_row(harmless(name(scores.model)), *_score_cells(one, scores))
    return table


def _pairs_table(one: MetricComparison) -> Table:
    from elkkit.scores.words import difference, p_text, pair_words

    table = _table("pair", "frames", "difference", "95 % interval", "p")
    for pair in one.pairs:
        cells = [f"{pair.n:,}", "-", "-", "-"]
        if pair.p_adjusted is not None:
            by, low, high = difference(one.metric, pair)
            cells[1:] = [by, f"{low} to {high}", p_text(pair.p_adjusted)]
        table.add_row(harmless(pair_words(pair)), *cells)
    return table
