"""Let objects look at other indices than those they were made for, and say which panels would stay empty there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ElkkitError, InputError, UsageError
from elkkit.kibana.common import SavedObject
from elkkit.kibana.fields_used import EmptyPanel, empty_panels, fields_used, suggest
from elkkit.kibana.retarget import retarget
from elkkit.kibana.uses import Use
from elkkit.stack.kibana import Kibana
from elkkit.stack.kibanafields import FieldList, fields_of
from elkkit.usecases.dashboards import Choice, Gathered

AUTO = "auto"
"""In place of a map of fields: the one that the server's own field list suggests."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What panels would show of the indices that are there now."""

    pattern: str | None
    """The index pattern of the objects' one data view; None where there is none or several."""
    empty: tuple[EmptyPanel, ...] = ()
    suggested: Mapping[str, str] | None = None
    """Fields that would do in place of others, where some are missing."""
    unknown: str | None = None
    """Why nothing can be said."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        panels = [
            {"object": p.object, "title": p.title, "dashboards": list(p.dashboards), "why": [str(r) for r in p.reasons]}
            for p in self.empty
        ]
        told = {"index_pattern": self.pattern, "empty_panels": panels, "suggested_fields": dict(self.suggested or {})}
        return told | ({"unknown": self.unknown} if self.unknown else {})


def aim(
    gathered: Gathered, choice: Choice, contract: Contract, kibana: Kibana | None = None, space: str | None = None
) -> Gathered:
    """The objects as the options of the choice want them; unchanged where it has none. Raises `InputError`."""
    if not choice.retargets:
        return gathered
    fields: Mapping[str, str] = choice.map_fields or {}
    if choice.auto_fields:
        fields = {**_suggested(gathered.objects, choice, contract, kibana, space), **fields}
    objects, problems = retarget(gathered.objects, index_pattern=choice.index_pattern, time_field=choice.time_field,
                                 data_view_id=choice.data_view_id, fields=fields)  # fmt: skip
    if choice.data_view_id is not None:  # it is the user's own, and stays as it is
        objects = [o for o in objects if (o.get("type"), o.get("id")) != ("index-pattern", choice.data_view_id)]
    renamed = frozenset(n for n in (*fields.values(), choice.time_field) if n)
    return replace(gathered, objects=objects, problems=(*gathered.problems, *problems), renamed=renamed)


def outlook(gathered: Gathered, contract: Contract, kibana: Kibana, space: str | None = None) -> Outlook:
    """Which panels would be empty, by the fields that the server lists for the objects' index pattern."""
    pattern = pattern_of(gathered.objects)
    if pattern is None:
        return Outlook(None, unknown="the objects do not have one data view")
    try:
        found = fields_of(kibana, pattern, space)
    except (ElkkitError, UnicodeError) as error:  # worth a note, and no reason to import nothing
        return Outlook(pattern, unknown=getattr(error, "why", None) or str(error))
    if not found.fields:
        return Outlook(pattern, unknown=found.why or "no index matches it")
    empty = tuple(empty_panels(gathered.objects, found.fields))
    return Outlook(pattern, empty, _suggest(gathered.objects, found, contract) if empty else {})


def pattern_of(objects: Iterable[SavedObject]) -> str | None:
    """The index pattern of the one data view among the objects."""
    views = [o for o in objects if o["type"] == "index-pattern"]
    title = views[0]["attributes"].get("title") if len(views) == 1 else None
    return title if isinstance(title, str) else None


def _suggested(
    objects: list[SavedObject], choice: Choice, contract: Contract, kibana: Kibana | None, space: str | None
) -> dict[str, str]:
    pattern = choice.index_pattern or pattern_of(objects)
    if kibana is None:
        raise UsageError("--map-field auto needs a server", why="it goes by the fields that are there",
                         hint="leave --offline out, or name the fields: --map-field OLD=NEW")  # fmt: skip
    if pattern is None:
        raise InputError("--map-field auto does not know which indices are meant",
                         why="the objects do not have one data view",
                         hint="name them: --index-pattern PATTERN")  # fmt: skip
    found = fields_of(kibana, pattern, space)
    if not found.fields:
        raise InputError(f"--map-field auto finds no fields of {pattern}", why=found.why or "no index matches it",
                         hint="ship some lines first, or name the fields: --map-field OLD=NEW")  # fmt: skip
    return _suggest(objects, found, contract)


def _suggest(objects: Iterable[SavedObject], found: FieldList, contract: Contract) -> dict[str, str]:
    wanted: dict[str, set[Use]] = {}
    for item in objects:
        for name, uses in fields_used(item).items():
            wanted.setdefault(name, set()).update(uses)
    exact = {f.name for f in contract.fields.values() if f.type in ("keyword", "constant_keyword")}
    return suggest(found.fields or {}, wanted, exact)
