"""`elkkit render`: the stack's files, made for one's own cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import ElkkitError, ExitCode, InputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.render.helm_options import Kind, Size
    from elkkit.usecases.helm_values import HelmValues

_T = TypeVar("_T", bound=str)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Make the stack's files for your own cluster.", no_args_is_help=True)
    app.add_typer(group, name="render")

    @command(group, "helm-values", full_name="render helm-values")
    def helm_values(
        out: Output,
        set_: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="KEY=VALUE", help="Set something; repeat for more. See --keys."),
        ] = None,
        kind: Annotated[str, typer.Option(help="eck, classic or monitoring.", metavar="KIND")] = "eck",
        size: Annotated[str, typer.Option(help="small or production.", metavar="SIZE")] = "small",
        chart: Annotated[str | None, typer.Option("--chart", metavar="NAME", help="Only this chart's values.")] = None,
        folder: Annotated[
            Path | None, typer.Option("--out", metavar="DIR", help="Write CHART.yaml for each chart; it is made.")
        ] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that differ.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")] = False,
        keys: Annotated[bool, typer.Option("--keys", help="Show what can be set; -v: in which form.")] = False,
    ) -> None:
        """Write values for Helm charts, with elkkit's pipeline and Filebeat inside.

        The metrics, fields and stream of your elkkit.toml are in them. Every value is checked
        for its type and stays that one value; the result is checked against a schema.

        Examples:

          elkkit render helm-values --keys

          elkkit render helm-values --set storage_class=ssd > values.yaml

          elkkit render helm-values --kind classic --size production --out values
        """
        from elkkit.render.helm_options import KINDS, SIZES
        from elkkit.usecases import helm_values as use

        chosen, how_big = _one_of("--kind", kind, KINDS), _one_of("--size", size, SIZES)
        if keys:
            _keys(out, chosen, how_big)
        if (overwrite or dry_run) and folder is None:
            raise UsageError("--overwrite and --dry-run are for --out DIR", why="without it no file is written",
                             hint="elkkit render helm-values --out DIR --dry-run")  # fmt: skip
        rendered = use.render_values(out.settings.contract(), chosen, how_big, use.read_options(chosen, set_ or []))
        rendered = _only(rendered, chart)
        if folder is None:
            _print(out, rendered)
        else:
            _write(out, use.write_values(rendered, folder, overwrite=overwrite, dry_run=dry_run), folder, dry_run)


def _one_of(option: str, given: str, known: tuple[_T, ...]) -> _T:
    for one in known:
        if one == given:
            return one
    from elkkit.words import close_to, did_you_mean

    close = close_to(given, known)
    why = did_you_mean(close) if close else f"there are {', '.join(known)}"
    hint = f"elkkit render helm-values {option} {(*close, *known)[0]}"
    raise UsageError(f"{option} cannot be {given!r:.80}", why=why, hint=hint)


def _only(rendered: HelmValues, chart: str | None) -> HelmValues:
    from dataclasses import replace

    if chart is None:
        return rendered
    found = _one_of("--chart", chart, tuple(f.chart for f in rendered.files))
    return replace(rendered, files=tuple(f for f in rendered.files if f.chart == found))


def _print(out: Output, rendered: HelmValues) -> None:
    if len(rendered.files) > 1 and not out.json:
        charts = ", ".join(f.chart for f in rendered.files)
        raise UsageError(f"{rendered.kind} has values for {len(rendered.files)} charts", why=f"they are {charts}",
                         hint=f"elkkit render helm-values --kind {rendered.kind} --out DIR; or name one: --chart "
                              f"{rendered.files[0].chart}")  # fmt: skip
    # written as it is: a console would fold its lines
    out.finish(rendered.as_dict(), lambda _: out.write(rendered.files[0].text.encode()))


def _write(out: Output, done: HelmValues, folder: Path, dry_run: bool) -> None:
    errors: list[ElkkitError] = []
    if done.refused:
        names = ", ".join(f"{f.chart}.yaml" for f in done.refused)
        errors.append(InputError("nothing was written: files are there that differ", why=names,
                                 hint="see how with -v, then run the same command again with --overwrite"))  # fmt: skip

    def people(console: Console) -> None:
        for one in done.files:
            console.print(f"{one.action:<10}{harmless(one.path)}", soft_wrap=True)
            if out.verbose and one.difference:
                for line in one.difference.splitlines():
                    console.print(harmless(line), soft_wrap=True)
        if dry_run:
            out.note("nothing was written")
        elif not done.refused:
            out.note(f"next: {_install(done, folder)}")

    code = ExitCode.NO if done.refused else ExitCode.DONE
    out.finish(done.as_dict() | {"dry_run": dry_run, "written": not dry_run and not done.refused}, people,
               exit_code=code, errors=errors)  # fmt: skip


def _install(done: HelmValues, folder: Path) -> str:
    """The command that brings the first chart to the cluster; the others are in the README."""
    chart = done.files[0].chart
    owner = "prometheus-community" if done.kind == "monitoring" else "elastic"
    where = "monitoring" if done.kind == "monitoring" else done.options.get("namespace") or "lane"
    release = {"eck": "lane", "classic": chart, "monitoring": "monitoring"}[done.kind]
    path = shlex.quote(str(folder / f"{chart}.yaml"))
    return f"helm install {release} {owner}/{chart} -n {where} --create-namespace -f {path}"


def _keys(out: Output, kind: Kind, size: Size) -> None:
    from elkkit.render.helm_options import options_of
    from elkkit.usecases.helm_values import describe

    rows: list[dict[str, Any]] = [
        {"key": o.name, "default": o.default(kind, size), "about": o.about, "type": o.type, "value": describe(o)}
        for o in options_of(kind).values()
    ]

    def people(console: Console) -> None:
        from rich.table import Table

        heads = ["key", "default", "what it is", *(["a value is"] if out.verbose else [])]
        table = Table(*heads, box=None, pad_edge=False)
        table.columns[0].no_wrap = True
        for row in rows:
            default = "-" if row["default"] is None else str(row["default"])
            default = default.lower() if isinstance(row["default"], bool) else default
            table.add_row(row["key"], default, row["about"], *([row["value"]] if out.verbose else []))
        console.print(table)

    out.finish({"kind": kind, "size": size, "keys": rows}, people)
