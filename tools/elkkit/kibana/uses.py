"""Where an object names a field, and what it wants of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

_NUMBERS = frozenset(
    {"long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float", "unsigned_long",
     "histogram", "aggregate_metric_double"}
)  # fmt: skip
_DATES = frozenset({"date", "date_nanos"})


class Use(StrEnum):
    """What an object does with a field."""

    GROUPED = "grouped"
    """Its values are counted or make groups."""
    MEASURED = "measured"
    """Its numbers or dates are averaged and the like."""
    TIMED = "timed"
    """It is the time."""
    SORTED = "sorted"
    FILTERED = "filtered"
    SHOWN = "shown"
    """Its value is shown as it is kept, which any type allows."""
    DESCRIBED = "described"
    """It has a format, a label or the like."""


class Kind(StrEnum):
    """How a place holds names of fields."""

    NAME = "name"
    """A text that is a name."""
    NAMES = "names"
    """A text with names, separated by commas."""
    KEY = "key"
    """The name is the key; the value is something else."""
    KQL = "kql"
    FORMULA = "formula"
    """A formula of Lens; its fields are those of the columns that are its steps."""
    OPAQUE = "opaque"
    """Any value that is not read here, in which a field may be named: Lucene, scripts, formulas."""
    INDEX = "index"
    """The text is an index pattern."""


@dataclass(frozen=True, slots=True)
class Place:
    """One spot of a decoded object: `holder[key]`."""

    path: str
    kind: Kind
    use: Use
    holder: Any
    """A dict or a list."""
    key: Any
    source: str | None = None
    """Of which data view the fields are: the name of a reference, an id or an index pattern; None for the object's."""
    part: str = ""
    """Title of the dashboard's own panel or control in which it stands."""

    @property
    def value(self) -> Any:
        """What stands there: the name of a field, of several, or a query."""
        return self.key if self.kind is Kind.KEY else self.holder[self.key]

    @property
    def names(self) -> list[str]:
        """The fields that are named, where that is told without reading a query."""
        if self.kind is Kind.NAMES:
            return [name.strip() for name in self.value.split(",") if name.strip()]
        return [self.value] if self.kind in (Kind.NAME, Kind.KEY) else []


Places: TypeAlias = Iterator[Place]


def name_at(path: str, use: Use, holder: Any, key: Any, source: str | None = None) -> Places:
    """The place of a name, or of each name in a list; none where no text stands."""
    value = holder.get(key) if isinstance(holder, dict) else None
    where = f"{path}.{key}"
    if isinstance(value, str) and value:
        yield Place(where, Kind.NAME, use, holder, key, source)
    elif isinstance(value, list):
        for i, name in enumerate(value):
            if isinstance(name, str) and name:
                yield Place(f"{where}[{i}]", Kind.NAME, use, value, i, source)


def dicts(value: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a list, each with its number; nothing for any other value."""
    for i, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict):
            yield i, item


def entries(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of an object, each with its key; nothing for any other value."""
    for key, item in list(value.items()) if isinstance(value, dict) else ():
        if isinstance(item, dict):
            yield str(key), item


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A field as an index pattern's indices have it."""

    type: str
    """Elasticsearch's type; `conflict` where the indices disagree."""
    searchable: bool
    aggregatable: bool

    def suits(self, use: Use) -> str | None:
        """None, or why it does not: "is text, by which nothing can be grouped"."""
        if self.type == "conflict":
            fits = use in (Use.FILTERED, Use.SHOWN, Use.DESCRIBED) or (self.aggregatable and use is not Use.MEASURED)
            return None if fits else "has another type in each index"
        if use is Use.MEASURED and self.type not in _NUMBERS | _DATES:
            return f"is {self.type}, and a number is needed"
        if use is Use.TIMED and self.type not in _DATES:
            return f"is {self.type}, and a date is needed"
        if use in (Use.GROUPED, Use.MEASURED, Use.TIMED) and not self.aggregatable:
            return f"is {self.type}, by which nothing can be grouped or counted"
        if use is Use.SORTED and not self.aggregatable:
            return f"is {self.type}, by which nothing can be sorted"
        return None
