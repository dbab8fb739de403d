"""Formulas of Lens: `average(metricscores, kql='model.name : "a"') / count()`, with other names of fields."""

from __future__ import annotations

import re
from collections.abc import Mapping

from elkkit.kql import KqlError
from elkkit.kql.rename import rename as rename_query

_PIECE = re.compile(
    r"""(?P<text>"(?:\\"|[^"])*"|'(?:\\'|[^'])*')|(?P<call>[A-Za-z_-]+)\(|(?P<option>[A-Za-z_]+)\s*=\s*
    |(?P<number>-?\d+(?:\.\d+)?(?![\w.@\[\]-]))|(?P<name>[\w.@\[\]-]+)""",
    re.VERBOSE | re.ASCII,
)
_PLAIN = re.compile(r"[A-Za-z_@][\w.@\[\]]*", re.ASCII)
"""A name that needs no quotation marks; one with a minus would read as a subtraction."""


def rename(text: str, fields: Mapping[str, str]) -> tuple[str, list[str]]:
    """The formula of other fields, and what in it keeps its form: Lucene, broken KQL, names that no formula can hold.

    A field stands for itself, in quotation marks or without; a text behind `kql=` is a query.
    """
    done, at, left, option = [], 0, [], None
    for piece in _PIECE.finditer(text):
        found, new = piece[0], None
        if piece["option"]:
            option = piece["option"]
            continue
        if option is None and not piece["call"] and not piece["number"]:
            old = found[1:-1] if piece["text"] else found
            if old in fields and (new := _name(fields[old], found)) is None:
                left.append(old)
        elif option in ("kql", "lucene"):
            mark = found[0] if piece["text"] else ""
            query = found[1:-1].replace(f"\\{mark}", mark) if mark else found
            try:
                asked = rename_query(query, fields) if option == "kql" else query
                if asked != query:
                    mark = mark or "'"
                    new = mark + asked.replace(mark, f"\\{mark}") + mark
            except KqlError:
                left.append(query)
            if option == "lucene":
                left.append(query)
        option = None
        if new is not None:
            done += [text[at : piece.start()], new]
            at = piece.end()
    return "".join([*done, text[at:]]), left


def _name(name: str, was: str) -> str | None:
    """The name as it can stand in place of another, None where it cannot."""
    if was[0] not in "\"'" and _PLAIN.fullmatch(name):
        return name
    mark = was[0] if was[0] in "\"'" else '"'
    for each in (mark, "'" if mark == '"' else '"'):
        other = "'" if each == '"' else '"'
        if re.fullmatch(rf"[\w.@\[\] {other}-]*", name, re.ASCII):
            return each + name + each
    return None
