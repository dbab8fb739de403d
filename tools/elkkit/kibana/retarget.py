"""The same objects for another index pattern, whose fields may have other names. Structural: no text is searched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from elkkit.errors import InputError
from elkkit.kibana import formula
from elkkit.kibana.common import SavedObject
from elkkit.kibana.decoded import JSON_FIELDS, Found, decode
from elkkit.kibana.fields_used import KEYWORD
from elkkit.kibana.places import KNOWN_TYPES, own_panels, places
from elkkit.kibana.places_panels import read_vega
from elkkit.kibana.problems import Problem
from elkkit.kibana.uses import Kind, Place, Use, dicts, entries
from elkkit.kql import KqlError, parse
from elkkit.kql.rename import kept, rename

_ID_KEYS = frozenset({"index", "indexPattern", "indexPatternId", "currentIndexPatternId", "dataViewId"})
_WORDS = frozenset({"label", "title", "name", "description", "customLabel", "customDescription", "text", "markdown",
                    "id", "alias"})  # fmt: skip
"""Keys of what people read, where a field's name is just a word."""
_VALUES = frozenset({"params", "value"})
"""Keys of a filter's `meta` that hold what is looked for."""
_BY_HAND = "change it by hand"


@dataclass(frozen=True, slots=True)
class _Change:
    """What becomes of one data view and its fields."""

    own: str | None
    """The id it has; None where no object refers to one."""
    title: str | None
    """The index pattern it has; None where it is not among the objects."""
    new_id: str | None
    new_title: str | None
    time_field: str | None
    fields: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)

    @property
    def renames_index(self) -> bool:
        """The index pattern becomes another."""
        return self.title is not None and self.new_title not in (None, self.title)

    def tell(self, found: Found, path: str, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(found.name, path, message))


def retarget(
    objects: Sequence[Mapping[str, Any]],
    *,
    index_pattern: str | None = None,
    data_view_id: str | None = None,
    time_field: str | None = None,
    fields: Mapping[str, str] | None = None,
    data_view: str | None = None,
) -> tuple[list[SavedObject], list[Problem]]:
    """Objects that look at other indices, and what in them could not be changed. Those that are given stay as they are.

    `index_pattern`, `data_view_id` and `time_field` are what the data view is to have; `fields` gives the new name of
    each field that has another one, all at once, so that two may change places. None changes nothing. `data_view` is
    the id of the data view that is meant, where the objects bring several. What is shown as it is kept stays `a` where
    `a` becomes `a.keyword`, its exact twin: both are the same value, and old versions of Kibana show only the first.

    A problem names what is not read here (Lucene, scripts, formulas, Vega in Hjson, Timelion) and holds something that
    should change. Raises `InputError` for several data views, and for an index pattern or a name that cannot be one.
    """
    _names_are_names(index_pattern, data_view_id, time_field, fields or {})
    change = _change(objects, index_pattern, data_view_id, time_field, fields or {}, data_view)
    return [_retargeted(item, change) for item in objects], change.problems


def _names_are_names(
    index_pattern: str | None, data_view_id: str | None, time_field: str | None, fields: Mapping[str, str]
) -> None:
    if index_pattern is not None and not re.fullmatch(r'[^\s\\/?"<>|\x00-\x1f]+', index_pattern):
        raise InputError("this is no index pattern", why="it is empty, or holds a blank or one of \\ / ? \" < > |",
                         hint="name one such as logstash-*: --index-pattern PATTERN")  # fmt: skip
    named = [data_view_id, time_field, *fields, *fields.values()]
    if any(name is not None and (not name.strip() or re.search(r"[\x00-\x1f]", name)) for name in named):
        raise InputError("this is no name of a field or data view", why="it is empty or holds a control character",
                         hint="give both names: --map-field OLD=NEW")  # fmt: skip


def _change(
    objects: Sequence[Mapping[str, Any]],
    index_pattern: str | None,
    data_view_id: str | None,
    time_field: str | None,
    fields: Mapping[str, str],
    chosen: str | None,
) -> _Change:
    views = [o for o in objects if o.get("type") == "index-pattern" and (chosen is None or o.get("id") == chosen)]
    if len(views) > 1:
        names = ", ".join(sorted(str(view.get("id")) for view in views))
        raise InputError("it is not clear which data view is meant", why=f"there are {names}",
                         hint="import the objects of one data view at a time")  # fmt: skip
    attributes = views[0].get("attributes") if views else None
    attributes = attributes if isinstance(attributes, Mapping) else {}
    own: str | None
    if views:
        own = str(views[0].get("id"))
    else:
        linked = {i for o in objects for kind, i in _links(o) if kind == "index-pattern"}
        own = chosen if chosen is not None else next(iter(linked)) if len(linked) == 1 else None
        if len(linked) > 1 and chosen is None:
            raise InputError("it is not clear which data view is meant",
                             why=f"the objects refer to {', '.join(sorted(linked))}",
                             hint="import the objects of one data view at a time")  # fmt: skip
    title, old_time = attributes.get("title"), attributes.get("timeFieldName")
    named = {old_time: time_field} if time_field and isinstance(old_time, str) else {}
    mapping = {old: new for old, new in (named | dict(fields)).items() if old != new}
    title = title if isinstance(title, str) else None
    change = _Change(own, title, data_view_id, index_pattern, time_field, mapping)
    if index_pattern is not None and not views:
        change.problems.append(Problem(f"index-pattern:{own or ''}", "", "its index pattern cannot be changed: the "
                               "data view is not among the objects"))  # fmt: skip
    return change


def _links(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for _, link in dicts(item.get("references")):
        if isinstance(link.get("type"), str) and isinstance(link.get("id"), str):
            yield link["type"], link["id"]


# --- one object ------------------------------------------------------------------------------------------------------


def _retargeted(item: Mapping[str, Any], change: _Change) -> SavedObject:
    if not isinstance(item.get("type"), str) or not isinstance(item.get("id"), str):
        return deepcopy(dict(item))
    name = f"{item['type']}:{item['id']}"
    if not isinstance(item.get("attributes"), dict):
        return deepcopy(dict(item))
    try:
        found = decode(item, [])
        _rewrite(found, change)
        new = deepcopy({k: v for k, v in item.items() if k != "attributes"})
        new["attributes"] = _encoded(found)
    except RecursionError:
        change.problems.append(Problem(name, "attributes", "it is nested too deeply to be changed"))
        return dict(item)
    if change.own is not None and change.new_id is not None:
        _relink(new.get("references"), change.own, change.new_id)
        if (item["type"], item["id"]) == ("index-pattern", change.own):
            new["id"] = change.new_id
    return new


def _rewrite(found: Found, change: _Change) -> None:
    """Change the decoded object in place."""
    if (found.type, found.id) == ("index-pattern", change.own):
        _data_view(found, change)
    vegas = [(p, text) for p in _all_params(found) if (text := read_vega(p)) is not None]
    sources = _sources(found, change)
    all_of = [(place, _is_ours(place, sources, change)) for place in places(found)]
    seen = {(id(p.holder), None if p.kind is Kind.KEY else p.key) for p, _ in all_of}
    keys: dict[int, tuple[dict[str, Any], dict[str, Use]]] = {}
    for place, ours in all_of:
        if place.kind is Kind.INDEX:
            if change.renames_index and place.value == change.title:
                place.holder[place.key] = change.new_title
            elif change.title is None and (change.fields or change.new_title):
                change.tell(
                    found, place.path, f"whether this is the index pattern that changes is not known: {_BY_HAND}"
                )
        elif not ours:
            continue
        elif place.kind is Kind.KEY:
            keys.setdefault(id(place.holder), (place.holder, {}))[1][place.key] = place.use
        else:
            _rename(found, place, change)
    for holder, names in keys.values():
        _rename_keys(holder, names, change.fields)
    for params, text in vegas:
        changed = params["spec"] != json.loads(text)
        params["spec"] = json.dumps(params["spec"], indent=2, ensure_ascii=False) if changed else text
    if change.own is not None and change.new_id is not None:
        _new_ids(found.attributes, change.own, change.new_id)
    if sources[None]:
        for path in _left(found.attributes, "attributes", seen, change, known=found.type in KNOWN_TYPES):
            change.tell(found, path, f"it names what should change, in a place that is not known here: {_BY_HAND}")


def _data_view(found: Found, change: _Change) -> None:
    """The data view itself; its fields' names are places like others."""
    attributes: Any = found.attributes
    if change.time_field is not None and "timeFieldName" not in attributes:
        attributes["timeFieldName"] = change.time_field
    if not change.renames_index:
        return
    name = attributes.get("name")
    attributes["title"] = change.new_title
    if isinstance(name, str):
        attributes["name"] = change.new_title if name == change.title else f"{name} ({change.new_title})"
    if isinstance(cached := attributes.get("fields"), list):  # 7.10 keeps those of the old indices here
        attributes["fields"] = [f for f in cached if isinstance(f, dict) and f.get("scripted")]


def _all_params(found: Found) -> Iterator[Any]:
    """Parameters of Vega panels: the object's own, or a dashboard's."""
    states = [found.attributes.get("visState")] if found.type == "visualization" else []
    if found.type == "dashboard":
        states += [held.get("savedVis") for _, _, _, held in own_panels(found.attributes)]
    return (s["params"] for s in states if isinstance(s, dict) and s.get("type") == "vega" and "params" in s)


# --- whose field is it? ----------------------------------------------------------------------------------------------


def _sources(found: Found, change: _Change) -> dict[str | None, bool]:
    """Whether a reference, by its name, leads to the data view that changes; under None, whether the object does."""
    known: dict[str | None, bool] = {}
    lists: list[tuple[str, Any, set[str | None]]] = [("", list(found.references), {change.own})]
    held = [("", found.attributes)]
    held += [(f"{index}:", inner["attributes"]) for _, index, _, inner in own_panels(found.attributes)
             if isinstance(inner.get("attributes"), dict)]  # fmt: skip
    for prefix, attributes in held if found.type in ("lens", "dashboard") else ():
        state = attributes.get("state")
        state = state if isinstance(state, dict) else {}
        brought: set[str | None] = {
            own for own, view in entries(state.get("adHocDataViews")) if view.get("title") == change.title
        }
        lists.append((prefix, state.get("internalReferences") or [], brought))
        if prefix:
            lists.append((prefix, attributes.get("references") or [], {change.own}))
    for prefix, links, ours in lists:
        for _, link in dicts(links):
            if link.get("type") == "index-pattern":
                known[f"{prefix}{link.get('name')}"] = link.get("id") in ours
    known[None] = not known or any(known.values())
    if found.type == "index-pattern":
        known[None] = found.id == change.own
    return known


def _is_ours(place: Place, sources: Mapping[str | None, bool], change: _Change) -> bool:
    source = place.source
    if source in sources:
        return sources[source]
    if source is None or source in (change.own, change.title):
        return True
    # what names a reference that is not there is broken anyway; any other text is another index pattern or id
    return sources[None] and bool(re.match(r"(\d+:)?(indexpattern-datasource|controlGroup_|control_|metrics_)", source))


# --- changes ---------------------------------------------------------------------------------------------------------


def _rename(found: Found, place: Place, change: _Change) -> None:
    fields, value = change.fields, place.value
    if place.kind is Kind.NAME:
        place.holder[place.key] = _new_name(value, place.use, fields)
    elif place.kind is Kind.NAMES:
        names = re.split(r"(\s*,\s*)", value)
        place.holder[place.key] = "".join(_new_name(name, place.use, fields) for name in names)
    elif place.kind is Kind.KQL:
        try:
            for name in kept(parse(value), fields):
                change.tell(found, place.path, f"the query asks for {name}, which no renaming can reach: {_BY_HAND}")
            place.holder[place.key] = rename(value, fields)
        except KqlError as error:
            change.tell(found, place.path, f"it is not KQL, so its fields keep their names: {error}")
    elif place.kind is Kind.FORMULA:
        text, left = formula.rename(value, fields)
        place.holder[place.key] = text
        span = place.holder.get("location")
        if isinstance(span, dict) and (span.get("min"), span.get("max")) == (0, len(value)):
            span["max"] = len(text)
        for part in left:
            if named := _mentions(part, change):
                change.tell(found, place.path, f"it names {', '.join(named)}, which stays there: {_BY_HAND}")
    elif named := _mentions(value, change):
        change.tell(found, place.path, f"it names {', '.join(named)}, and is not read here: {_BY_HAND}")


def _new_name(name: str, use: Use, fields: Mapping[str, str]) -> str:
    new = fields.get(name, name)
    return name if use is Use.SHOWN and new == name + KEYWORD else new


def _rename_keys(holder: dict[str, Any], names: Mapping[str, Use], fields: Mapping[str, str]) -> None:
    """Keys in their old order. Where a field takes the name of one that keeps it, that one's value stays."""
    old = dict(holder)
    staying = {key for key in old if key not in names or _new_name(key, names[key], fields) == key}
    holder.clear()
    for key, value in old.items():
        new = _new_name(key, names[key], fields) if key in names else key
        if new == key or new not in staying:
            holder[new] = value
    for key, value in old.items():
        if key not in staying and names[key] is Use.DESCRIBED and fields[key] == key + KEYWORD:
            holder.setdefault(key, deepcopy(value))  # both are looked at


def _mentions(value: object, change: _Change) -> list[str]:
    """Which of the names that should change a text has as a word, or anything else as a part."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    named = [old for old in change.fields if re.search(rf"(?<![\w.])(?:doc\.)?{re.escape(old)}(?![\w.]|-\w)", text)]
    if change.renames_index and change.title is not None and change.title in text:
        named.append(change.title)
    return named


def _relink(links: object, own: str, new: str) -> None:
    for _, link in dicts(links):
        if link.get("type") == "index-pattern" and link.get("id") == own:
            link["id"] = new


def _new_ids(value: Any, own: str, new: str) -> None:
    """Ids of the data view that stand in an object itself, as in old filters and in panels by value."""
    if isinstance(value, dict):
        _relink(value.get("references"), own, new)
        for key, inner in value.items():
            if key in _ID_KEYS and inner == own:
                value[key] = new
            elif key == "index_pattern" and isinstance(inner, dict) and inner.get("id") == own:
                inner["id"] = new
            else:
                _new_ids(inner, own, new)
    elif isinstance(value, list):
        for inner in value:
            _new_ids(inner, own, new)


def _left(value: Any, path: str, seen: set[tuple[int, Any]], change: _Change, *, known: bool) -> Iterator[str]:
    """Paths of texts that are just a name that should change, where nobody thought of it.

    Of a type that is not known here, any text that holds such a name.
    """
    if (id(value), None) in seen:  # by field: what is left are values
        return
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        where = f"{path}[{key}]" if isinstance(value, list) else f"{path}.{key}"
        if (id(value), key) in seen or key in _WORDS or (key in _VALUES and path.endswith(".meta")):
            continue
        if not isinstance(inner, str):
            yield from _left(inner, where, seen, change, known=known)
        elif (inner in change.fields or (change.renames_index and inner == change.title)) or (
            not known and _mentions(inner, change)
        ):
            yield where


# --- back to texts ---------------------------------------------------------------------------------------------------


def _encoded(found: Found) -> dict[str, Any]:
    """The attributes with JSON in texts again; a text that means what it did stays as it was, to the byte."""
    attributes: dict[str, Any] = deepcopy(dict(found.attributes))
    for path in JSON_FIELDS:
        *above, last = path.split(".")
        now, then = _inside(attributes, above), _inside(found.raw["attributes"], above)
        if now is None or then is None or not isinstance(text := then.get(last), str):
            continue
        if last not in now:  # it could not be read
            now[last] = text
        elif not isinstance(now[last], str):
            same = json.loads(text) == now[last]
            now[last] = text if same else _text(now[last])
    return attributes


def _text(value: object) -> str:
    """JSON in its old order; half a surrogate pair, which no file holds, stays an escape."""
    written = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if any("\ud800" <= char <= "\udfff" for char in written):
        written = json.dumps(value, separators=(",", ":"))
    return written


def _inside(attributes: Any, above: Sequence[str]) -> Any:
    for key in above:
        attributes = attributes.get(key) if isinstance(attributes, Mapping) else None
    return attributes if isinstance(attributes, Mapping) else None
