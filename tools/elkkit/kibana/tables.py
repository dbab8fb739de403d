"""A spec's TOML, read table by table and key by key: one that nobody reads is an error."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from string import Template
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ConfigError
from elkkit.kql import KqlError, Wildcard, field_names, parse

META = frozenset({"_id", "_ignored", "_index", "_score", "_source"})
"""Elasticsearch's own fields, which no mapping lists."""
TEXT_TYPES = frozenset({"text", "match_only_text"})
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_COLOUR = re.compile(r"#[0-9a-f]{6}")


class Table:
    """A TOML table that is read key by key; a key that nobody reads is an error."""

    def __init__(self, origin: str, path: str, raw: object, contract: Contract) -> None:
        self.origin, self.path, self.contract = origin, path, contract
        if not isinstance(raw, dict):
            raise self.wrong("", "it is not a table")
        self.left: dict[str, Any] = dict(raw)

    def wrong(self, key: str, why: str) -> ConfigError:
        """The error that names the key."""
        where = ".".join(part for part in (self.path, key) if part)
        return ConfigError(
            f"{self.origin}: {where} is wrong", why=why, hint="kibana/README.md  tells the keys of a spec"
        )

    def text(self, key: str, default: str | None = None) -> str:
        """A text in which `${…}` names something of the contract."""
        value = self.left.pop(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text is needed" if value is None else f"{value!r} is not a text")
        try:
            return Template(value).substitute(variables(self.contract))
        except (KeyError, ValueError) as error:
            names = ", ".join(sorted(variables(self.contract)))
            raise self.wrong(key, f"{error} stands for nothing; there are {names}") from None

    def id(self, taken: Collection[str] = ()) -> str:
        """The id, which none of those taken has."""
        value = self.text("id")
        if not _ID.fullmatch(value):
            raise self.wrong("id", f"{value!r} is not lower-case letters, digits and single hyphens")
        if value in taken:
            raise self.wrong("id", f"{value!r} is there twice")
        return value

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number from low to high."""
        value = self.left.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"{value!r} is not a whole number from {low} to {high}")
        return value

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> Any:
        """One of the options."""
        value = self.left.pop(key, default)
        if value not in options:
            raise self.wrong(key, f"{value!r} is none of {', '.join(options)}")
        return value

    def colour(self) -> str | None:
        """`#rrggbb`, or None where there is none."""
        value = self.left.pop("colour", None)
        if value is not None and not (isinstance(value, str) and _COLOUR.fullmatch(value)):
            raise self.wrong("colour", f"{value!r} is not such as #6092c0")
        return value

    def items(self, key: str) -> list[Any]:
        """A list; empty where there is none."""
        value = self.left.pop(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, f"{value!r} is not a list")
        return value

    def tables(self, key: str) -> list[Table]:
        """The tables of a list, each with its place."""
        above = f"{self.path}.{key}" if self.path else key
        return [Table(self.origin, f"{above}[{i}]", raw, self.contract) for i, raw in enumerate(self.items(key))]

    def query(self, key: str = "query") -> str:
        """KQL on the contract's fields; empty where there is none."""
        text = self.text(key, "")
        try:
            names = list(field_names(parse(text)))
        except KqlError as error:
            raise self.wrong(key, str(error)) from None
        for name in names:
            if not isinstance(name, Wildcard):
                self.known(key, str(name))
        return text

    def known(self, key: str, name: object) -> str:
        """A field of the contract or of Elasticsearch itself."""
        if not isinstance(name, str) or (name not in self.contract.fields and name not in META):
            raise self.wrong(key, f"the contract has no field {name!r}")
        return name

    def grouped(self, key: str, name: object) -> str:
        """A field that any server can count by."""
        field = self.known(key, name)
        if field in META or self.contract.fields[field].bare_type in TEXT_TYPES:
            raise self.wrong(key, f"{field} cannot be counted by: it is a text or Elasticsearch's own")
        return field

    def done(self) -> None:
        """Raise for a key that nobody has read."""
        if self.left:
            raise self.wrong(min(self.left), "there is no such key")


def variables(contract: Contract) -> dict[str, str]:
    """What `${…}` may name in a spec."""
    by_merit = {b: ", ".join(m.name for m in contract.metrics.values() if m.better == b) for b in ("higher", "lower")}
    return {
        "dataset": contract.dataset,
        "malformed_tag": contract.malformed_tag,
        "canary_tag": contract.canary_tag,
        "higher_is_better": by_merit["higher"],
        "lower_is_better": by_merit["lower"],
    }


def read_toml(text: str, origin: str) -> dict[str, Any]:
    """The whole file. Raises `ConfigError` that names its line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not TOML", why=str(error), hint="mend the line that it names") from None
