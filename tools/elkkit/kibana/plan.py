"""What an import does with each object: pure, from the objects, what the server has, and what is remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from elkkit.kibana.common import SavedObject
from elkkit.kibana.difference import Change, changes
from elkkit.kibana.order import Key, dependents, key_of, links_of
from elkkit.kibana.semantics import digest, meaning

Action: TypeAlias = Literal["create", "update", "unchanged", "drifted", "blocked", "unsupported", "orphan", "remove"]
ACTIONS: tuple[Action, ...] = (
    "create", "update", "unchanged", "drifted", "blocked", "unsupported", "orphan", "remove",
)  # fmt: skip
OnConflict: TypeAlias = Literal["fail", "skip", "overwrite", "copy"]
ON_CONFLICT: tuple[OnConflict, ...] = ("fail", "skip", "overwrite", "copy")
REFUSED: frozenset[Action] = frozenset({"drifted", "blocked", "unsupported"})
"""What keeps an import from being carried out, unless it is told how to go on."""
_NO_RECORD = "it is there already and differs, and there is no record that elkkit wrote it"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is remembered of one object that was imported."""

    there: str
    """Its id on the server."""
    sent: str
    """Fingerprint of what was sent."""
    kept: str
    """Fingerprint of what the server made of it."""
    source: str
    """Where it came from, such as `elkkit lens`, or a file."""
    when: str
    """ISO 8601, UTC."""
    ours: bool = True
    """False: it was there already, just so, and elkkit did not write it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One object, and what is done with it, or would be."""

    type: str
    id: str
    title: str
    action: Action
    why: str = ""
    there: str | None = None
    """Its id on the server, where that is another."""
    changes: tuple[Change, ...] = field(default=(), repr=False)
    """From what the server has to what it gets."""

    @property
    def key(self) -> Key:
        """What it is called in the file."""
        return self.type, self.id

    @property
    def key_there(self) -> Key:
        """What it is called on the server."""
        return self.type, self.there or self.id

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told: dict[str, Any] = {"type": self.type, "id": self.id, "title": self.title, "action": self.action}
        if self.why:
            told["why"] = self.why
        if self.there:
            told["id_on_server"] = self.there
        return told | ({"changes": [c.as_dict() for c in self.changes]} if self.changes else {})


def plan(
    objects: Sequence[SavedObject],
    there: Mapping[Key, SavedObject],
    remembered: Mapping[Key, Entry],
    *,
    ids: Mapping[Key, str] | None = None,
    blocked: Mapping[Key, str] | None = None,
    unsupported: Mapping[Key, str] | None = None,
) -> list[Step]:
    """One step for each object, in their order.

    `there` is what the server has, by its own ids; `ids` are the ids there of objects that have another one; `blocked`
    and `unsupported` say of some objects why they cannot be imported.
    """
    ids, unsupported = ids or {}, unsupported or {}
    steps = [_step(o, there, remembered, ids, blocked or {}, unsupported) for o in objects]
    return _block_dependents(objects, steps, there)


def _step(
    item: SavedObject,
    there: Mapping[Key, SavedObject],
    remembered: Mapping[Key, Entry],
    ids: Mapping[Key, str],
    blocked: Mapping[Key, str],
    unsupported: Mapping[Key, str],
) -> Step:
    key = key_of(item)
    base = Step(*key, title_of(item), "create", there=ids.get(key))
    if key in unsupported:
        return replace(base, action="unsupported", why=unsupported[key])
    if key in blocked:
        return replace(base, action="blocked", why=blocked[key])
    found, entry = there.get(base.key_there), remembered.get(key)
    if found is None:
        return replace(base, why=f"it was deleted there since {entry.when}" if entry else "")
    wanted, has = meaning(localised(item, ids)), meaning(found)
    if wanted == has:
        return replace(base, action="unchanged")
    differs = changes(has, wanted)
    if entry is None:
        return replace(base, action="drifted", why=_NO_RECORD, changes=differs)
    if digest(has) == entry.kept:
        if digest(wanted) == entry.sent:
            return replace(base, action="unchanged")
        return replace(base, action="update", changes=differs)
    return replace(base, action="drifted", why=f"it was edited there since {entry.when}", changes=differs)


def _block_dependents(objects: Sequence[SavedObject], steps: Sequence[Step], there: Collection[Key]) -> list[Step]:
    """What refers to an object that cannot get there, and is not there, cannot get there either."""
    absent = {s.key for s in steps if s.key_there not in there}
    cause = {s.key for s in steps if s.action in ("blocked", "unsupported")} & absent
    found = dependents((o for o in objects if key_of(o) in absent), cause)
    links = {key_of(o): links_of(o) for o in objects}
    made = []
    for step in steps:
        first = next((k for k in links[step.key] if k in found), None)
        if first and step.action not in ("blocked", "unsupported", "unchanged"):
            why = f"it refers to {first[0]} {first[1]}, which cannot be imported"
            step = replace(step, action="blocked", why=why)
        made.append(step)
    return made


def orphans(
    gone: Mapping[Key, SavedObject | None],
    there: Mapping[Key, SavedObject],
    remembered: Mapping[Key, Entry],
    *,
    prune: bool = False,
    force: bool = False,
) -> list[Step]:
    """Objects of an earlier import that the present one does not have and the server still has.

    `gone`: those, each with what it was, where that is known. With `prune` they are removed; one that was edited there
    stays unless `force`.
    """
    steps = []
    for key, item in gone.items():
        entry = remembered.get(key)
        where = (key[0], entry.there if entry else key[1])
        found = there.get(where)
        if found is None:
            continue
        same = digest(meaning(found)) == entry.kept if entry else item is not None and meaning(item) == meaning(found)
        step = Step(*key, title_of(found), "orphan", there=where[1] if where != key else None)
        if not same:
            why = "it was edited there" if entry else "there is no record that elkkit wrote it"
            step = replace(step, action="remove" if prune and force else "orphan", why=why)
        elif prune:
            step = replace(step, action="remove")
        steps.append(step)
    return steps


def localised(item: SavedObject, ids: Mapping[Key, str]) -> SavedObject:
    """An object as it is called in a space where objects have other ids."""
    if not ids:
        return item
    key = key_of(item)
    made = dict(item)
    if key in ids:
        made["id"] = ids[key]
        made["originId"] = item.get("originId", item["id"])
    if item.get("references"):
        made["references"] = [{**r, "id": ids.get((r["type"], r["id"]), r["id"])} for r in item["references"]]
    return made


def copies(objects: Sequence[SavedObject], keys: Collection[Key]) -> list[SavedObject]:
    """Copies of these objects and of all that refers to them, under ids that are the same each time."""
    wanted = dependents(objects, keys)
    ids = {k: f"{k[1]}-copy-{digest(meaning(o))[:8]}" for o in objects if (k := key_of(o)) in wanted}
    made = []
    for item in objects:
        if key_of(item) in ids:
            copied = {k: v for k, v in localised(item, ids).items() if k != "originId"}
            name = "name" if item["type"] == "tag" else "title"
            attributes = dict(copied["attributes"])
            attributes[name] = f"{attributes.get(name, '')} (copy)"
            made.append({**copied, "attributes": attributes})
    return made


def title_of(item: SavedObject) -> str:
    """What people know it by."""
    attributes = item.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    return str(attributes.get("title") or attributes.get("name") or item.get("id"))


def counts(steps: Sequence[Step]) -> dict[str, int]:
    """How many steps of each action."""
    found = Counter(s.action for s in steps)
    return {a: found[a] for a in ACTIONS if found[a]}
