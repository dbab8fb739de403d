"""A saved object as a file for git: one JSON text, and the name of its file. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from elkkit.kibana.common import SavedObject, text
from elkkit.kibana.decoded import JSON_FIELDS, OF_DATA_VIEWS
from elkkit.kibana.semantics import VOLATILE

STRIPPED = VOLATILE - {"originId"} | {"sort", "score"}
"""What a server writes beside the attributes and says nothing of the object. `originId` does: by it Kibana knows an
object again that has another id in another space. `sort` is where a search of 8.x came by."""
DEEPEST = 200
"""JSON in a text that is nested deeper stays a text: what could be read must not depend on Python's stack."""
_MAPS: Mapping[str, type] = {"layerListJSON": list, "mapStateJSON": dict}
_CACHE = "fields"
_LONGEST = 100
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))})
_SURROGATES = re.compile("[\ud800-\udfff]")
# what a terminal obeys, or what reorders or hides text there: the file is read in reviews
_HARMFUL = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def to_text(item: Mapping[str, Any]) -> str:
    """An object as its file has it: keys in order, JSON texts as values, nothing that a server writes by itself.

    A text that is not JSON of its kind, or would lose something (a key that is there twice, a number beyond what JSON
    readers hold), stays as it is. Of a data view's `fields` only scripted ones are kept: the rest is what Kibana 7 read
    from Elasticsearch, and it writes that anew with every look. Raises `ValueError` for what no JSON can hold.
    """
    kept = {k: v for k, v in item.items() if k not in STRIPPED}
    for above, last, kind in _places(kept):
        if isinstance(value := above[last], str):
            try:
                read = load(value)
            except ValueError:
                continue
            if isinstance(read, kind) and _depth(read) <= DEEPEST:
                above[last] = read
    attributes = kept.get("attributes")
    if (
        kept.get("type") == "index-pattern"
        and isinstance(attributes, dict)
        and isinstance(attributes.get(_CACHE), list)
    ):
        attributes[_CACHE] = [f for f in attributes[_CACHE] if not isinstance(f, dict) or f.get("scripted")]
    if _depth(kept) > DEEPEST + 10:
        raise ValueError("it is nested too deeply")
    return _escaped(_HARMFUL, json.dumps(kept, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def from_text(content: str) -> SavedObject:
    """The object of a file, as Kibana takes it: the inverse of `to_text`. Raises `ValueError`."""
    value = load(content.removeprefix("\ufeff"))
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__} where an object belongs")
    return encoded(value)


def encoded(item: Mapping[str, Any]) -> SavedObject:
    """An object with JSON texts where it has the values that they hold; other tools write them so too.

    Raises `ValueError` for one that is nested too deeply.
    """
    made = dict(item)
    for above, last, _ in _places(made):
        if isinstance(above[last], dict | list):
            if _depth(above[last]) > DEEPEST:
                raise ValueError(f"{last} is nested too deeply")
            # a text for a server, and UTF-8 has no lone surrogates
            above[last] = _escaped(_SURROGATES, text(above[last]))
    return made


def file_name(kind: str, ident: str) -> PurePosixPath:
    """`<type>/<id>.json`: a path that stays in its folder, is another for every object, and is one on every system.

    Letters, digits, `_`, `.` and `-` stay readable, the rest is percent-encoded; `~` and a hash follow where that
    changed anything, where the name is cut, and where it has capitals, which some file systems do not tell apart.
    """
    return PurePosixPath(_part(kind), f"{_part(ident)}.json")


def load(content: str) -> Any:
    """JSON, read so that nothing of it is lost in silence. Raises `ValueError`."""
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _places(item: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, type]]:
    """Where an object holds JSON texts that are there: mapping, key, kind. What is on the way is copied."""
    attributes = item.get("attributes")
    if not isinstance(attributes, dict):
        return
    item["attributes"] = attributes = dict(attributes)
    known = {**JSON_FIELDS, **(_MAPS if item.get("type") == "map" else {})}
    copied: dict[str, dict[str, Any]] = {}
    for path, kind in known.items():
        if path in OF_DATA_VIEWS and item.get("type") != "index-pattern":
            continue
        first, _, last = path.rpartition(".")
        above = attributes
        if first:
            if not isinstance(attributes.get(first), dict):
                continue
            if first not in copied:
                copied[first] = attributes[first] = dict(attributes[first])
            above = copied[first]
        if last in above:
            yield above, last, kind


def _depth(value: Any) -> int:
    """How deep lists and objects lie in each other; 0 for a plain value."""
    deepest, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        deepest += 1
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [k for k, _ in pairs]
        twice = next(k for k in names if names.count(k) > 1)
        raise ValueError(f"{twice!r:.80} is there twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    if math.isinf(found := float(number)):
        raise ValueError(f"{number:.40} is more than a number can be")
    return found


def _escaped(which: re.Pattern[str], content: str) -> str:
    """JSON with some characters of its texts as escapes; they stand nowhere else in it."""
    if _SURROGATES.search(content):  # two halves that met only now are one character
        content = content.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return which.sub(lambda m: f"\\u{ord(m[0]):04x}", content)


def _part(name: str) -> str:
    """One part of a path."""
    data = name.encode("utf-8", "surrogatepass")
    shown = "".join(chr(b) if chr(b) in _PLAIN else f"%{b:02x}" for b in data[: _LONGEST + 1])
    if shown.startswith((".", "-")) or shown.lower().partition(".")[0] in _RESERVED:
        shown = f"%{ord(shown[0]):02x}{shown[1:]}"  # hidden, read as an option, or a device of Windows
    if shown.endswith("."):
        shown = f"{shown[:-1]}%2e"
    if len(shown) > _LONGEST:
        shown = re.sub("%[0-9a-f]?$", "", shown[:_LONGEST])
    if shown == name and name == name.lower() and name:
        return name
    mark = base64.b32encode(hashlib.sha256(data).digest()[:10]).decode().lower()
    return f"{shown or 'empty'}~{mark}"
