"""Which fields objects use and how, and which panels an index pattern's fields would leave empty."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elkkit.kibana.decoded import Found, decode
from elkkit.kibana.places import own_panels, places
from elkkit.kibana.places_queries import filters, queries
from elkkit.kibana.spec import META
from elkkit.kibana.uses import FieldInfo, Kind, Use
from elkkit.kql import And, KqlError, MatchAll, Nested, Node, Not, Or, Wildcard, field_names, parse

KEYWORD = ".keyword"
"""How Elasticsearch calls the exact twin of a text that it mapped by itself."""
_PANELS = frozenset({"lens", "visualization", "search"})
_NEEDED = (Use.GROUPED, Use.MEASURED, Use.TIMED)
"""Without such a field Kibana shows an error in place of the panel."""


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """Why a panel would show nothing."""

    field: str
    why: str
    """In words that follow the field's name: "is not there"."""
    instead: str | None = None
    """The field that may be meant."""

    def __str__(self) -> str:
        return f"{self.field} {self.why}" + (f": {self.instead} would do" if self.instead else "")


@dataclass(frozen=True, slots=True)
class EmptyPanel:
    """A panel, or a dashboard's control, that would be empty or show an error."""

    object: str
    """`type:id` of the object that holds it: its own, or the dashboard's."""
    title: str
    dashboards: tuple[str, ...]
    """Titles of the dashboards it stands on, of those that were given."""
    reasons: tuple[Reason, ...]
    """At least one."""


def fields_used(item: Mapping[str, Any]) -> dict[str, frozenset[Use]]:
    """Every field that an object names, and for what; a pattern of names with its stars.

    What cannot be read (Lucene, scripts) names none. Raises nothing for an object that `validate` finds whole.
    """
    found: dict[str, set[Use]] = {}
    for uses in parts_used(item).values():
        for field, named in uses.items():
            found.setdefault(field, set()).update(named)
    return {field: frozenset(uses) for field, uses in found.items()}


def parts_used(item: Mapping[str, Any]) -> dict[str, dict[str, frozenset[Use]]]:
    """`fields_used` by the title of a dashboard's own panel or control; "" for the object itself."""
    used: dict[str, dict[str, set[Use]]] = {}
    for place in places(decode(item, [])):
        for field in place.names if place.kind is not Kind.KQL else _in_query(place.value):
            used.setdefault(place.part, {}).setdefault(field, set()).add(place.use)
    return {part: {f: frozenset(uses) for f, uses in fields.items()} for part, fields in used.items()}


def suggest(
    known: Mapping[str, FieldInfo], wanted: Mapping[str, Collection[Use]], exact: Collection[str] = ()
) -> dict[str, str]:
    """Fields to use in place of some that are text: `{"metrictype": "metrictype.keyword"}`. Only what is beyond doubt.

    `wanted` are fields with what is done with them (`fields_used`), `exact` those that the panels take for whole values
    even where they only filter by them: the contract's fields of type keyword.
    """
    found = {}
    for field, uses in wanted.items():
        twin, info = known.get(field + KEYWORD), known.get(field)
        if twin is None or twin.type != "keyword" or not twin.aggregatable or Use.MEASURED in uses or Use.TIMED in uses:
            continue
        grouped = Use.GROUPED in uses or Use.SORTED in uses or (field in exact and Use.FILTERED in uses)
        if info is None or (grouped and not info.aggregatable):
            found[field] = field + KEYWORD
    return found


def empty_panels(objects: Iterable[Mapping[str, Any]], known: Mapping[str, FieldInfo]) -> list[EmptyPanel]:
    """Panels that would be empty or fail where the indices have these fields, in the order of the objects.

    A panel fails where a field is not there or is of a kind that does not fit; it is empty where its query asks for a
    field that is not there. Whether any document has a field is not known here.
    """
    whole = [decode(item, []) for item in objects]
    placed: dict[tuple[str, str], list[str]] = {}
    for found in whole:
        if found.type == "dashboard":
            for link in found.references:
                placed.setdefault((link["type"], link["id"]), []).append(str(found.attributes.get("title", found.id)))
    empty = []
    for found in whole:
        title = str(found.attributes.get("title", found.id))
        if found.type == "dashboard":
            for part, reasons in _by_part(found, known).items():
                empty.append(EmptyPanel(found.name, part or title, (title,), reasons))
        elif found.type in _PANELS:
            on = tuple(dict.fromkeys(placed.get((found.type, found.id), ())))
            if reasons := _by_part(found, known).get("", ()):
                empty.append(EmptyPanel(found.name, title, on, reasons))
    return empty


def _by_part(found: Found, known: Mapping[str, FieldInfo]) -> dict[str, tuple[Reason, ...]]:
    """Why it would show nothing, by part of a dashboard."""
    reasons: dict[str, dict[Reason, None]] = {}
    for place in places(found):
        for field in place.names:
            if (reason := _unfit(field, place.use, known)) is not None:
                reasons.setdefault(place.part, {})[reason] = None
    for part, value in _asked(found):
        for reason in _unmet(value, known):
            reasons.setdefault(part, {})[reason] = None
    return {part: tuple(all_of) for part, all_of in reasons.items()}


def _unfit(field: str, use: Use, known: Mapping[str, FieldInfo]) -> Reason | None:
    if field in META or use not in (*_NEEDED, Use.SORTED):
        return None
    info = known.get(field)
    if info is None:
        # Kibana leaves out an order by a field that is not there
        return None if use is Use.SORTED else Reason(field, "is not there", _twin(field, use, known))
    why = info.suits(use)
    return Reason(field, why, _twin(field, use, known)) if why else None


def _twin(field: str, use: Use, known: Mapping[str, FieldInfo]) -> str | None:
    twin = known.get(field + KEYWORD)
    return field + KEYWORD if twin is not None and twin.suits(use) is None else None


# --- what it asks for ------------------------------------------------------------------------------------------------


def _asked(found: Found) -> Iterator[tuple[str, dict[str, Any]]]:
    """What all of an object is asked through: its query and filters, by part of a dashboard."""
    attributes = found.attributes
    if isinstance(source := found.at("kibanaSavedObjectMeta.searchSourceJSON"), dict):
        yield "", source
    if found.type == "lens":
        yield "", _of_lens(attributes)
    if found.type == "dashboard":
        for _, _, part, held in own_panels(attributes):
            if isinstance(inner := held.get("attributes"), dict):
                yield part, _of_lens(inner)
            data = held["savedVis"].get("data") if isinstance(held.get("savedVis"), dict) else None
            if isinstance(data, dict) and isinstance(data.get("searchSource"), dict):
                yield part, data["searchSource"]


def _of_lens(attributes: Mapping[str, Any]) -> dict[str, Any]:
    state = attributes.get("state")
    return {k: state[k] for k in ("query", "filters") if k in state} if isinstance(state, dict) else {}


def _unmet(asked: dict[str, Any], known: Mapping[str, FieldInfo]) -> Iterator[Reason]:
    """The fields without which nothing is found, where that is sure."""
    source = {k: asked[k] for k in ("query", "filter", "filters") if k in asked}
    for place in queries({"query": source.get("query")}, ""):
        if place.kind is Kind.KQL:
            yield from _without(place.value, known)
    for each in filters(source):
        meta = each["meta"]
        field = meta.get("key")
        plain = meta.get("type") in ("phrase", "phrases", "range", "exists", None)
        if not plain or meta.get("negate") or meta.get("disabled") or not isinstance(field, str):
            continue
        if not _there(field, known):
            yield Reason(field, "is not there, and a filter asks for it")


def _without(text: str, known: Mapping[str, FieldInfo]) -> Iterator[Reason]:
    try:
        node = parse(text)
    except KqlError:
        return
    if _sure(node, known) is False:
        for name in dict.fromkeys(field_names(node)):
            if not _there(name, known):
                twin = f"{name}{KEYWORD}"
                yield Reason(str(name), "is not there, and the query asks for it", twin if twin in known else None)


def _there(name: str | Wildcard, known: Mapping[str, FieldInfo]) -> bool:
    if isinstance(name, Wildcard):
        return any(name.matches(field) for field in (*known, *META))
    return name in known or name in META


def _sure(node: Node, known: Mapping[str, FieldInfo]) -> bool | None:
    """Whether every event matches, or none does, whatever is in the fields; None where that depends."""
    if isinstance(node, MatchAll):
        return True
    if isinstance(node, Not):
        inner = _sure(node.part, known)
        return None if inner is None else not inner
    if isinstance(node, And | Or):
        parts = [_sure(part, known) for part in node.parts]
        decided = isinstance(node, Or)
        if decided in parts:
            return decided
        return None if None in parts else not decided
    if isinstance(node, Nested) or node.field is None or _there(node.field, known):
        return None
    return False


def _in_query(text: str) -> list[str]:
    try:
        return [str(name) for name in field_names(parse(text))]
    except KqlError:
        return []
