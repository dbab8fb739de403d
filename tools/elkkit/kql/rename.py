"""The same query of other fields: in the text only the names change, and all at once, so two may change places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from elkkit.kql.ast import And, MatchAll, Name, Nested, Node, Not, Or, Wildcard
from elkkit.kql.parser import read

if TYPE_CHECKING:
    from lark import Token

_PLAIN = re.compile(r"(?!(?:and|or|.*not)$)[\w.@\-/+#$%]+", re.IGNORECASE)
"""A name that needs no quotation marks."""


def rename(text: str, fields: Mapping[str, str]) -> str:
    """The text with other field names; values, spaces and brackets stay as they are written.

    Names with a star, and those in a nested group that would leave it, stay too: see `kept`. Raises what `parse`
    raises.
    """
    from elkkit.kql.grammar import TRIMMED

    _, tokens = read(text)
    done, at = [], 0
    for token, prefix in _names(tokens):
        new = _renamed_name(_meant(token), fields, prefix)
        start, end = token.start_pos, token.end_pos
        if new is None or start is None or end is None:
            continue
        core = text[start:end].strip(TRIMMED)
        begin = text.index(core, start)
        done += [text[at:begin], _written(new, quoted=token.type == "QUOTED")]
        at = begin + len(core)
    return "".join([*done, text[at:]])


def renamed(node: Node, fields: Mapping[str, str]) -> Node:
    """The meaning with other field names."""
    return _renamed(node, fields, "")


def kept(node: Node, fields: Mapping[str, str]) -> list[str]:
    """Names that mean a field of the map and keep their old form nevertheless: patterns, and names in nested groups."""
    return list(dict.fromkeys(str(name) for name in _kept(node, fields, "")))


def _names(tokens: list[Token]) -> Iterator[tuple[Token, str]]:
    """The tokens that are names of fields, with the nested group that each stands in, ended by a dot."""
    groups = [""]
    for i, token in enumerate(tokens[:-1]):
        if token.type == "_UNGROUP":
            groups.pop()
        if token.type not in ("QUOTED", "UNQUOTED") or tokens[i + 1].type not in ("_COLON", "RANGE"):
            continue
        yield token, groups[-1]
        if i + 2 < len(tokens) and tokens[i + 2].type == "_GROUP":
            groups.append(f"{groups[-1]}{_meant(token)}.")


def _meant(token: Token) -> Name:
    from elkkit.kql.grammar import literal, name

    return name(literal(token))


def _renamed_name(name: Name, fields: Mapping[str, str], prefix: str) -> str | None:
    """The new name, None where it stays. In a nested group names begin with the group's."""
    if isinstance(name, Wildcard):
        return None
    new = fields.get(prefix + name)
    if new is None or new == prefix + name or not new.startswith(prefix):
        return None
    return new.removeprefix(prefix)


def _written(name: str, *, quoted: bool) -> str:
    if not quoted and _PLAIN.fullmatch(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _renamed(node: Node, fields: Mapping[str, str], prefix: str) -> Node:
    if isinstance(node, And | Or):
        return replace(node, parts=tuple(_renamed(part, fields, prefix) for part in node.parts))
    if isinstance(node, Not):
        return Not(_renamed(node.part, fields, prefix))
    if isinstance(node, Nested):
        own = _renamed_name(node.field, fields, prefix)
        return Nested(node.field if own is None else own, _renamed(node.part, fields, f"{prefix}{node.field}."))
    if isinstance(node, MatchAll) or node.field is None:
        return node
    own = _renamed_name(node.field, fields, prefix)
    return node if own is None else replace(node, field=own)


def _kept(node: Node, fields: Mapping[str, str], prefix: str) -> Iterator[Name]:
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from _kept(part, fields, prefix)
    elif isinstance(node, Not):
        yield from _kept(node.part, fields, prefix)
    elif isinstance(node, Nested):
        yield from _kept(node.part, fields, f"{prefix}{node.field}.")
    elif not isinstance(node, MatchAll) and node.field is not None:
        name = node.field
        if isinstance(name, Wildcard):
            if any(name.matches(old) and not name.matches(new) for old, new in fields.items()):
                yield name
        elif prefix and not fields.get(prefix + name, prefix).startswith(prefix):
            yield prefix + name
