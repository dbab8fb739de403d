"""What options ask for, of files and of Elasticsearch alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from elkkit.cli.output import Output
from elkkit.errors import UsageError
from elkkit.words import close_to, did_you_mean

if TYPE_CHECKING:
    from elkkit.contract import Contract
    from elkkit.kql import Node

FromElastic = Annotated[
    bool,
    typer.Option("--es", help="Read the stream in Elasticsearch, not files.", rich_help_panel="Elasticsearch"),
]
"""The option that says so."""


def from_elastic(out: Output, es: bool, files: Sequence[str] | None, *, needs_one: bool) -> bool:
    """Whether Elasticsearch is read and not files. Raises `UsageError` for both, and for none where one is needed."""
    es = es or out.settings.values["es_url"].origin == "--es-url"
    if es and files:
        raise UsageError("files and --es exclude each other", why="what is read comes from the one or from the other",
                         hint=f"elkkit {out.command} --es, or elkkit {out.command} FILES")  # fmt: skip
    if needs_one and not es and not files:
        raise UsageError(f"there is nothing to {out.command}", why="neither files nor --es were given",
                         hint=f"elkkit {out.command} FILES, or elkkit {out.command} --es")  # fmt: skip
    return es


def asked_query(contract: Contract, text: str, out: Output) -> Node:
    """What a query asks; a name that no field has is worth a note, since it matches nothing. Raises `KqlError`."""
    from elkkit.kql import field_names, matching_fields, parse, to_predicate

    node = parse(text)
    types = {name: field.type for name, field in contract.fields.items()}
    for name in dict.fromkeys(field_names(node)):
        known = any(field in types for field in matching_fields(name, types))
        if not known and not any(field.startswith(f"{name}.") for field in types):
            out.note(f"note: {name} is none of the contract's fields{_near(str(name), types)}")
    to_predicate(node, contract)  # refuses what Elasticsearch would, in our words
    return node


def asked_since(text: str, now: datetime) -> int:
    """The moment of `elkkit tail --since`, in milliseconds since 1970. Raises `UsageError`."""
    return asked_moment(text, now, "--since", "tail")


def asked_moment(text: str, now: datetime, option: str, command: str) -> int:
    """The moment that an option of a command gives, in milliseconds since 1970. Raises `UsageError`."""
    import re

    from elkkit.kql import event_moment

    ago = re.fullmatch(r"([0-9]{1,9})([smhdw])", text, re.ASCII)
    try:
        if ago:
            units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
            text = (now - timedelta(**{units[ago[2]]: int(ago[1])})).isoformat()
    except OverflowError:
        text = "0001-01-01"
    moment = event_moment(text)
    if moment is None:
        why = f"{text!r:.80} is neither a time such as 2026-11-22T10:00Z nor one ago such as 15m, 2h or 1d"
        hint = f"elkkit {command} {option} 15m FILE; times are UTC"
        raise UsageError(f"{option} is wrong", why=why, hint=hint)
    return moment


def asked_fields(contract: Contract, text: str, command: str = "tail") -> tuple[str, ...]:
    """The fields that were asked for, each once. Raises `UsageError`."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known = [*contract.fields, "file", "offset", "outcome"]
    for name in names:
        if name not in known:
            raise UsageError(
                "--fields is wrong",
                why=f"{name!r:.80} is none of the contract's fields{_near(name, known)}",
                hint=f"its fields are {', '.join(known)}",
            )
    if not names:
        hint = f"elkkit {command} --fields @timestamp,message"
        raise UsageError("--fields is wrong", why="it names no field", hint=hint)
    return names


def _near(name: str, known: Iterable[str]) -> str:
    """The names that may have been meant."""
    close = close_to(name, known) or [k for k in known if name.lower() in k.lower().split(".")][:3]
    return f"; {did_you_mean(close)}" if close else ""


def asked_metrics(contract: Contract, names: Sequence[str], out: Output) -> frozenset[str]:
    """Canonical names of the metrics that were asked for."""
    from elkkit.contract.model import ASCII_LOWER

    spellings = contract.spellings()
    found = {name: spellings.get(name.translate(ASCII_LOWER), name) for name in names}
    for name in found:
        if name.translate(ASCII_LOWER) not in spellings:
            close = close_to(name, spellings, 1)
            meant = f"; {did_you_mean([spellings[close[0]]])}" if close else "; elkkit config show --json lists them"
            out.note(f"note: {name} is none of the contract's metrics{meant}")
    return frozenset(found.values())
