"""Templates, mappings and settings in a form in which what a server gives back equals what it was given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

Shape = Mapping[str, str]
"""Dotted names with their values as text."""
NONE = "(none)"
_LONGEST = 200
_STATIC = {"index.mode": "standard", "index.codec": "default", "index.sort.field": NONE, "index.sort.order": NONE}
"""Settings that only a new index can get, with what they are where they are not set."""
_NUMBERS = ("byte", "short", "integer", "long", "unsigned_long", "half_float", "float", "double", "scaled_float")
_SOURCE_MODE = "index.mapping.source.mode"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be; `(none)` where it is missing."""

    name: str
    have: str
    want: str

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"name": self.name, "have": self.have, "want": self.want}

    @property
    def text(self) -> str:
        """For people, long values cut."""
        return f"{self.name}: {_cut(self.have)} -> {_cut(self.want)}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def differences(have: Shape, want: Shape) -> tuple[Difference, ...]:
    """What differs, sorted by name."""
    names = sorted({*have, *want})
    pairs = ((n, have.get(n, NONE), want.get(n, NONE)) for n in names)
    return tuple(Difference(n, h, w) for n, h, w in pairs if h != w)


def word(value: Any) -> str:
    """A value as text; servers give `false` and 1 back as they were sent, or as texts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict | list):
        return word(value[0])
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)


def flat(value: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Nested objects as dotted names; lists of objects by their index."""
    found: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            found |= flat(item, f"{above}{name}.") if item else {f"{above}{name}": "{}"}
        elif isinstance(item, list) and any(isinstance(i, Mapping) for i in item):
            found |= flat({str(i): part for i, part in enumerate(item)}, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = word(item)
    return found


def settings(body: Mapping[str, Any]) -> dict[str, str]:
    """Settings of an index or a template by their full names."""
    return {n if n.startswith("index.") else f"index.{n}": v for n, v in flat(body).items()}


def mappings(body: Mapping[str, Any]) -> dict[str, str]:
    """Each field's dotted name with its mapping in one text: `keyword (ignore_above=1024)`."""
    rest = {n: v for n, v in body.items() if n not in ("properties", "_meta", "_data_stream_timestamp")}
    return {f"({n})": word(v) for n, v in rest.items()} | dict(_fields(body.get("properties", {}), ""))


def _fields(properties: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    for name, mapping in properties.items():
        inner = mapping.get("properties")
        kind = mapping.get("type", "object")
        rest = {n: v for n, v in mapping.items() if n not in ("type", "properties")}
        if inner is None or kind != "object" or rest:
            more = ", ".join(f"{n}={word(v)}" for n, v in sorted(rest.items()))
            yield f"{above}{name}", f"{kind} ({more})" if more else str(kind)
        if inner:
            yield from _fields(inner, f"{above}{name}.")


def template(body: Mapping[str, Any]) -> dict[str, str]:
    """What a component or index template gives an index."""
    return {
        **{f"setting {n}": v for n, v in settings(body.get("settings") or {}).items()},
        **{f"field {n}": v for n, v in mappings(body.get("mappings") or {}).items()},
        **{f"alias {n}": v for n, v in flat(body.get("aliases") or {}).items()},
        **flat({n: v for n, v in body.items() if n not in ("settings", "mappings", "aliases")}),
    }


# --- what an index has, and what a new one would get -----------------------------------------------------------------


def index_differences(have: Mapping[str, Any], want: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What a new index would have that this one has not; both as `{"settings":…, "mappings":…}`.

    Only what an index cannot change once it is there: fields, order, mode and compression.
    """
    set_now, set_then = settings(have.get("settings") or {}), settings(want.get("settings") or {})
    static = dict(_STATIC)
    if _SOURCE_MODE in set_then:  # else the server decides, by its licence
        static[_SOURCE_MODE] = NONE
    found = {n: set_now.get(n, otherwise) for n, otherwise in static.items()}
    wanted = {n: set_then.get(n, otherwise) for n, otherwise in static.items()}
    now, then = mappings(have.get("mappings") or {}), mappings(want.get("mappings") or {})
    if then.get("(dynamic)", "true") not in ("false", "strict"):
        now = {n: v for n, v in now.items() if n in then}  # documents may have added fields, as they would again
    return differences(found | now, wanted | then)


def takes_bad_numbers(about: Mapping[str, Any], field: str) -> str | None:
    """Why an index would take a document whose number is none and not say so, or None where it refuses it.

    `about` is an index or a template as `{"settings":…, "mappings":…}`; `field` is a dotted name.
    """
    at: Any = about.get("mappings") or {}
    for part in field.split("."):
        at = (at.get("properties") or {}).get(part) or {}
    kind = at.get("type")
    if kind is None:
        return f"{field} has no mapping: any value is stored, and none is found"
    if kind not in _NUMBERS:
        return f"{field} is of the type {kind}, which takes any text"
    own = at.get("ignore_malformed")
    if own is not None:
        return f"{field} has ignore_malformed" if word(own) == "true" else None
    of_index = settings(about.get("settings") or {})
    logsdb = of_index.get("index.mode") == "logsdb"  # it does so unless told otherwise
    if of_index.get("index.mapping.ignore_malformed", word(logsdb)) == "true":
        return f"the index has ignore_malformed, and {field} does not say otherwise"
    return None


def merged(*templates: Mapping[str, Any]) -> dict[str, Any]:
    """Templates laid over each other as Elasticsearch does it: the later one wins, field by field."""
    result: dict[str, Any] = {"settings": {}, "mappings": {}}
    for one in templates:
        result["settings"] |= settings(one.get("settings") or {})
        result["mappings"] = _over(result["mappings"], one.get("mappings") or {})
    return result


def _over(below: Any, above: Any) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    if isinstance(kind := above.get("type"), str) and kind != "object":  # a field, which is replaced as a whole
        return above
    return {**below, **{n: _over(below[n], v) if n in below else v for n, v in above.items()}}


# --- index patterns --------------------------------------------------------------------------------------------------


def patterns_meet(one: str, other: str) -> bool:
    """Whether there is a name that both index patterns, with their `*`, take; a plain name is a pattern too."""

    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(one) or j == len(other):
            return not one[i:].strip("*") and not other[j:].strip("*")
        if one[i] == "*":
            return meet(i + 1, j) or meet(i, j + 1)
        if other[j] == "*":
            return meet(i, j + 1) or meet(i + 1, j)
        return one[i] == other[j] and meet(i + 1, j + 1)

    return meet(0, 0)
