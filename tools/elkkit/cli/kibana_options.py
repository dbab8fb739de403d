"""What the commands that speak to Kibana ask for alike, and how they show what is done with objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from elkkit.cli.output import Output, cut, harmless
from elkkit.errors import ConfigError, UnreachableError, UsageError
from elkkit.words import close_to, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.stack.kibana import Kibana, KibanaConnection
    from elkkit.stack.kibanamemory import Memory
    from elkkit.usecases.dashboards import Choice, Gathered

T = TypeVar("T", bound=str)

Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Saved objects: NDJSON files, or folders of an export.  [default: elkkit's own]",
                   metavar="[FILE|DIR]...", show_default=False),
]  # fmt: skip
Spaces = Annotated[
    str, typer.Option("--space", metavar="NAME,...", help="Spaces of Kibana.  [default: default]", show_default=False)
]
OneSpace = Annotated[
    str, typer.Option("--space", metavar="NAME", help="Space of Kibana.  [default: default]", show_default=False)
]
Only = Annotated[
    str | None, typer.Option("--only", metavar="PART,...", help="data-views, searches or dashboards only.")
]
Bundle = Annotated[
    str | None, typer.Option("--bundle", metavar="NAME", help="classic or lens, not what fits the server.")
]
MapRef = Annotated[
    list[str] | None, typer.Option("--map-ref", metavar="ID=ID", help="Let references lead to another object.")
]
IndexPattern = Annotated[
    str | None, typer.Option("--index-pattern", metavar="PATTERN", help="Look at these indices, such as logstash-*.")
]
DataView = Annotated[str | None, typer.Option("--data-view", metavar="ID", help="Use your data view of this id.")]
TimeField = Annotated[str | None, typer.Option("--time-field", metavar="FIELD", help="The time of these indices.")]
MapField = Annotated[
    list[str] | None,
    typer.Option("--map-field", metavar="OLD=NEW", help="Use another field; auto: as the server's fields suggest."),
]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="For Kibana to become ready.  [default: 60]",
                        show_default=False),
]  # fmt: skip
_INDENT = 13
_FOLDED = 6
"""So many objects of a type are named one by one."""
_CHANGES = 8
_LONGEST = 400
"""Characters of one entry; `--json` has all of them."""
_STYLES = {
    "create": "green", "update": "green", "drifted": "yellow", "blocked": "red", "unsupported": "red",
    "remove": "yellow", "orphan": "yellow", "restore": "green", "delete": "yellow", "edited": "red", "used": "red",
    "foreign": "yellow",
}  # fmt: skip
_NAMES = {
    "index-pattern": "data view", "query": "saved query", "search": "saved search", "alert": "rule",
    "infrastructure-ui-source": "metrics source",
}  # fmt: skip
_SAME = frozenset({"unchanged", "same"})
_NAMED = frozenset({"drifted", "edited"})
"""What is named one by one, however many there are."""


def open_kibana(out: Output, wait: float = 60.0) -> Kibana:
    """The Kibana of the settings, ready; use it as a context. Raises `ConfigError` where none is named."""
    from elkkit.stack.kibana import connect

    connection = _connection(out)
    kibana = connect(connection, wait=wait, tell=out.note)
    if not kibana.server.ready:
        kibana.close()
        raise UnreachableError(f"{connection.url} is not ready", why=f"its status is {kibana.server.level}",
                               hint="wait for it: --wait 60")  # fmt: skip
    out.step(f"{kibana.server.kind} at {kibana.connection.url}")
    return kibana


def _connection(out: Output) -> KibanaConnection:
    from elkkit.stack.kibana import KibanaConnection

    connection = KibanaConnection.from_settings(out.settings)
    if connection is None:
        raise ConfigError("no Kibana is named", why="neither --kibana-url nor ELKKIT_KIBANA_URL is set",
                          hint=f"elkkit {out.command} --kibana-url http://localhost:5601")  # fmt: skip
    return connection


def memory_of(out: Output, space: str) -> Memory:
    """What is remembered of one space of the Kibana of the settings. Raises `ConfigError` where none is named."""
    from elkkit.stack.kibanamemory import Memory

    named = spaces_of(space)
    if len(named) > 1:
        raise UsageError("this command takes one space", why=f"there are {len(named)}",
                         hint=f"elkkit {out.command} --space {named[0]}")  # fmt: skip
    return Memory(_connection(out).url, named[0])


def words(text: str | None, option: str, known: Sequence[T]) -> tuple[T, ...]:
    """The words of a list such as `a,b`. Raises `UsageError` for one that is not known."""
    given = [w.strip() for w in (text or "").split(",") if w.strip()]
    for word in given:
        if word not in known:
            near = close_to(word, known)
            raise UsageError(f"{option} does not know {word!r}", why=f"it knows {', '.join(known)}",
                             hint=did_you_mean(near) if near else f"{option} {known[0]}")  # fmt: skip
    return tuple(k for k in known if k in given)


def pairs(given: Iterable[str] | None, option: str, example: str) -> dict[str, str]:
    """`a=b` texts as a mapping. Raises `UsageError`."""
    made: dict[str, str] = {}
    for text in given or ():
        old, _, new = text.partition("=")
        if not old or not new:
            raise UsageError(f"{option} was not understood", why=f"{text!r} is not of the form {example}",
                             hint=f"{option} {example}")  # fmt: skip
        if made.get(old, new) != new:
            raise UsageError(f"{option} contradicts itself", why=f"{old} is given twice",
                             hint=f"{option} {text}")  # fmt: skip
        made[old] = new
    return made


def spaces_of(text: str) -> list[str]:
    """The spaces of `--space a,b`."""
    return list(dict.fromkeys(s.strip() for s in text.split(",") if s.strip())) or ["default"]


def choice_of(
    paths: Sequence[Path] | None,
    only: str | None,
    bundle: str | None,
    map_ref: list[str] | None,
    map_field: list[str] | None,
    **more: Any,
) -> Choice:
    """What the options ask for. Raises `UsageError`."""
    from elkkit.kibana import TARGETS
    from elkkit.usecases.dashboards import PARTS, Choice
    from elkkit.usecases.retargeting import AUTO

    if bundle and paths:
        raise UsageError("--bundle and files exclude each other", why="a bundle is elkkit's own",
                         hint="leave one of them out")  # fmt: skip
    named = words(bundle, "--bundle", tuple(TARGETS))
    return Choice(
        paths=tuple(paths or ()),
        bundle=named[0] if named else None,
        only=words(only, "--only", tuple(PARTS)),
        map_ref=pairs(map_ref, "--map-ref", "old-id=new-id"),
        map_fields=pairs([t for t in map_field or () if t != AUTO], "--map-field", "model.name=labels.app"),
        auto_fields=AUTO in (map_field or ()),
        **more,
    )


def gathered_of(out: Output, choice: Choice) -> Gathered | None:
    """The objects of a user's files, so that a bad one is told before anybody waits for a server; None without any."""
    from elkkit.usecases.dashboards import gather

    return gather(out.settings.contract(), choice, "lens") if choice.paths else None


# --- showing ---------------------------------------------------------------------------------------------------------


def show_steps(console: Console, steps: Sequence[Any], *, verbose: int) -> None:
    """A line for each object, many of one kind as a number; with `verbose` all, and what changes."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for step in steps:
        groups.setdefault((step.action, step.type, step.why), []).append(step)
    for (action, kind, why), rows in groups.items():
        said = f"; {why}" if why else ""
        if not verbose and (action in _SAME or (len(rows) > _FOLDED and action not in _NAMED)):
            show_line(console, action, f"{len(rows)} {plural(kind, len(rows))}{said}")
            continue
        for row in rows:
            show_line(console, action, f"{plural(kind, 1)} {row.title}{said}")
            if verbose:
                _show_changes(console, getattr(row, "changes", ()))


def show_reasons(console: Console, first: str, rows: Iterable[tuple[str, str]], *, many: str, verbose: int) -> None:
    """Names and why, those of one reason together unless `verbose`; `many` is what several are called."""
    groups: dict[str, list[str]] = {}
    for name, why in rows:
        groups.setdefault(why, []).append(name)
    for why, names in groups.items():
        if verbose or len(names) == 1:
            for name in names:
                show_line(console, first, f"{name}: {why}")
        else:
            show_line(console, first, f"{len(names)} {many}, such as {names[0]}: {why}")


def _show_changes(console: Console, found: Sequence[Any]) -> None:
    for change in found[:_CHANGES]:
        show_line(console, "", change.text)
    if len(found) > _CHANGES:
        show_line(console, "", f"and {len(found) - _CHANGES} more; --json shows all")


def show_line(console: Console, first: str, text: str) -> None:
    """A word, then text that is wrapped beside it."""
    from rich.text import Text

    shown = Text(cut(harmless(text), _LONGEST))
    rows = [str(row).rstrip() for row in shown.wrap(console, max(40, console.width) - _INDENT)] or [""]
    indent = " " * _INDENT
    console.print(Text.assemble((first.ljust(_INDENT), _STYLES.get(first, "")), f"\n{indent}".join(rows)),
                  soft_wrap=True)  # fmt: skip


def plural(kind: str, count: int) -> str:
    """A type's name for so many: 2 dashboards, 1 data view, 3 searches."""
    name = _NAMES.get(kind, kind)
    if count == 1 or name == "lens":
        return name
    return name[:-1] + "ies" if name.endswith("y") else name + ("es" if name.endswith("h") else "s")


def counted(counts: Mapping[str, int]) -> str:
    """Counts for people: `3 create, 51 unchanged`."""
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n) or "nothing"
