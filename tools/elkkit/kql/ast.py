"""What a KQL text means, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from elkkit.kql.errors import KqlError


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Text with `*` in it: what stands between the stars, so at least two parts."""

    parts: tuple[str, ...]

    @property
    def is_all(self) -> bool:
        """The pattern is one lone star."""
        return self.parts == ("", "")

    def matches(self, text: str) -> bool:
        """The whole text fits the pattern. Linear in the text, unlike a regular expression with many stars."""
        first, *middle, last = self.parts
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    def __str__(self) -> str:
        return "*".join(self.parts)


Value: TypeAlias = str | bool | Wildcard | None
"""A value as it was written: unquoted `true`, `false` and `null` are what they name."""
Name: TypeAlias = str | Wildcard
Operator: TypeAlias = Literal["gt", "gte", "lt", "lte"]


@dataclass(frozen=True, slots=True)
class MatchAll:
    """Every event: the empty query."""


@dataclass(frozen=True, slots=True)
class Is:
    """A field has a value; without a field, any field has."""

    field: Name | None
    value: Value
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A field's value lies on one side of a bound."""

    field: Name
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Exists:
    """A field has any value."""

    field: Name


@dataclass(frozen=True, slots=True)
class Not:
    """What the part does not match."""

    part: Node


@dataclass(frozen=True, slots=True)
class And:
    """What every part matches."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """What some part matches."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Nested:
    """One of the objects in a nested field; elkkit's mappings have no such field."""

    field: str
    part: Node


Node: TypeAlias = MatchAll | Is | Range | Exists | Not | And | Or | Nested


def field_names(node: Node) -> Iterator[Name]:
    """The fields that a query names, in its order; nothing for values without a field."""
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from field_names(part)
    elif isinstance(node, Not | Nested):
        yield from field_names(node.part)
    elif not isinstance(node, MatchAll) and node.field is not None:
        yield node.field


def matching_fields(name: Name, fields: Mapping[str, str]) -> list[str]:
    """The fields that a name or pattern means; the name itself where none is known, as Kibana sends it."""
    if isinstance(name, Wildcard):
        return [field for field in fields if name.matches(field)] or [str(name)]
    return [name]


def nested_error(node: Nested) -> KqlError:
    """Why a nested group cannot be asked: in Kibana's words."""
    inner = next(field_names(node.part), None)
    name = f"{node.field}.{inner}" if inner is not None else node.field
    return KqlError(
        "the query has a nested group",
        why=f'{name} is not a nested field but is in nested group "{node.field}" in the KQL expression.',
        hint=f"write it without braces, as in: {name} : value",
    )


@lru_cache(maxsize=256)
def split_words(pattern: Wildcard) -> tuple[str | Wildcard, ...]:
    """The clauses that Elasticsearch's query_string makes of a pattern: patterns, and the plain words between them."""
    words: list[list[str]] = [[""]]
    for i, part in enumerate(pattern.parts):
        if i:
            words[-1].append("")
        head, *rest = _words(part)
        words[-1][-1] += head
        words.extend([word] for word in rest)
    clauses: list[str | Wildcard] = []
    plain: list[str] = []
    for word in words:
        if len(word) == 1:
            plain += word if word[0] else []
            continue
        if plain:
            clauses.append(" ".join(plain))
            plain = []
        clauses.append(Wildcard(tuple(word)))
    return (*clauses, " ".join(plain)) if plain else tuple(clauses)


def _words(text: str) -> list[str]:
    """The words of a text, with an empty one where it begins or ends with space."""
    words = text.split()
    if not words:
        return ["", ""] if text else [""]
    return [""] * text[0].isspace() + words + [""] * text[-1].isspace()
