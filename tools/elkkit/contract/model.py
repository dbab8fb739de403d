"""What the contract holds, as frozen values."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

Better = Literal["higher", "lower", "none"]
ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event."""

    name: str
    type: str
    """Elasticsearch's type."""
    bare_type: str
    """The type where the server lacks that one."""
    source: str
    """Who sets it: scorer, parser or shipper."""
    short: str
    example: object
    many: bool = False
    """The value may be a list."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: how it is spelled, read and judged."""

    name: str
    aliases: tuple[str, ...]
    unit: str
    better: Better
    range: tuple[float, float]
    format: str
    defined: str
    tolerance_px: int | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """The canonical name and its aliases."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class Judge:
    """One of the ordered patterns that decide what a line is."""

    outcome: str
    pattern: str
    own: bool


@dataclass(frozen=True, eq=False)  # compared by identity, so that what is built from one can be cached
class Contract:
    """Everything that a name is taken from."""

    version: int
    dataset: str
    namespace: str
    own_metrics: Literal["any", "listed"]
    malformed_tag: str
    invalid_id_tag: str
    invalid_field_tag: str
    long_line_tag: str
    canary_tag: str
    fields: Mapping[str, Field]
    metrics: Mapping[str, Metric]
    patterns: Mapping[str, str]
    judges: tuple[Judge, ...]
    colour: str
    levels: tuple[str, ...]

    @property
    def stream(self) -> str:
        """The data stream that events go to."""
        return f"logs-{self.dataset}-{self.namespace}"

    def spellings(self) -> dict[str, str]:
        """Every name and alias in lower case, with its canonical name."""
        return {s.translate(ASCII_LOWER): m.name for m in self.metrics.values() for s in m.spellings}

    def metric(self, name: str) -> Metric:
        """The metric of that canonical name; a team's own metric has no unit, direction or bounds."""
        known = self.metrics.get(name)
        return known or Metric(name, (), "", "none", (-math.inf, math.inf), "g", "A metric of your own.")


def make_metric(name: str, table: Mapping[str, Any]) -> Metric:
    """Build a metric from its TOML table."""
    low, high = table.get("range", (-math.inf, math.inf))
    return Metric(
        name=name,
        aliases=tuple(table.get("aliases", ())),
        unit=table.get("unit", ""),
        better=table.get("better", "none"),
        range=(float(low), float(high)),
        format=table.get("format", "g"),
        defined=table.get("defined", "A metric of your own."),
        tolerance_px=table.get("tolerance_px"),
    )


def make_field(name: str, table: Mapping[str, Any]) -> Field:
    """Build a field from its TOML table."""
    return Field(
        name=name,
        type=table["type"],
        bare_type=table.get("bare", table["type"]),
        source=table.get("from", "scorer"),
        short=table["short"],
        example=table["example"],
        many=table.get("many", False),
    )


@cache
def load_contract() -> Contract:
    """The contract as it is shipped."""
    raw = tomllib.loads(files("elkkit.contract").joinpath("contract.toml").read_text("utf-8"))
    return Contract(
        version=raw["version"],
        dataset=raw["dataset"],
        namespace=raw["namespace"],
        own_metrics=raw["own_metrics"],
        malformed_tag=raw["malformed_tag"],
        invalid_id_tag=raw["invalid_id_tag"],
        invalid_field_tag=raw["invalid_field_tag"],
        long_line_tag=raw["long_line_tag"],
        canary_tag=raw["canary_tag"],
        fields=MappingProxyType({n: make_field(n, t) for n, t in raw["fields"].items()}),
        metrics=MappingProxyType({n: make_metric(n, t) for n, t in raw["metrics"].items()}),
        patterns=MappingProxyType(dict(raw["patterns"])),
        judges=tuple(Judge(j["outcome"], j["pattern"], j.get("own", False)) for j in raw["judge"]),
        colour=raw["text"]["colour"],
        levels=tuple(raw["text"]["levels"]),
    )
