"""What an import of saved objects would do: the objects, checked, against what a Kibana has. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from elkkit.contract import Contract
from elkkit.errors import ElkkitError, InputError
from elkkit.kibana import TARGETS, Problem, bundle, known_fields, limits_of, validate
from elkkit.kibana.bundle import Target
from elkkit.kibana.common import SavedObject
from elkkit.kibana.order import Key, batches, halves, key_of, line, links_of
from elkkit.kibana.plan import REFUSED, OnConflict, Step, copies, counts, localised, orphans, plan
from elkkit.kibana.validate import shape
from elkkit.stack.kibana import MOST, Kibana, KibanaServer, status_of
from elkkit.stack.kibana import Problem as ServerProblem
from elkkit.stack.kibanamemory import Memory
from elkkit.stack.kibanaprobe import probe

Tell: TypeAlias = Callable[[str], None]
Part: TypeAlias = Literal["data-views", "searches", "dashboards"]
PARTS: Mapping[Part, frozenset[str]] = {
    "data-views": frozenset({"index-pattern"}),
    "searches": frozenset({"search", "query"}),
    "dashboards": frozenset({"dashboard", "visualization", "lens", "map", "tag"}),
}
OWN = "elkkit "
"""What the source of elkkit's own objects begins with; a file's is its absolute path."""
BATCH_BYTES = 20_000_000
"""Well below what Kibana takes in one request, which is 25 MiB."""
TOO_LARGE = 413
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """What a user wants imported, and how."""

    paths: tuple[Path, ...] = ()
    """Files and folders; none: elkkit's own bundle."""
    bundle: Target | None = None
    """Of elkkit's own; None: the one that fits the server."""
    only: tuple[Part, ...] = ()
    on_conflict: OnConflict = "fail"
    map_ref: Mapping[str, str] = field(default_factory=dict)
    """Ids that references lead to, and the ids to use instead; either may be `type:id`."""
    index_pattern: str | None = None
    """What the data view is to look at, instead of what it says."""
    data_view_id: str | None = None
    time_field: str | None = None
    map_fields: Mapping[str, str] = field(default_factory=dict)
    """Fields that have another name there."""
    auto_fields: bool = False
    """Also those that the server's field list suggests."""
    prune: bool = False
    """Remove what an earlier import of the same source left behind."""
    check: bool = True
    """Leave out of the plan what the check finds fault with."""

    @property
    def retargets(self) -> bool:
        """The objects are to look at something else than they were made for."""
        named = (self.index_pattern, self.data_view_id, self.time_field)
        return any(n is not None for n in named) or bool(self.map_fields) or self.auto_fields


@dataclass(frozen=True, slots=True)
class Gathered:
    """The objects to be imported, as they are in the file."""

    objects: list[SavedObject]
    source: str
    """What they are remembered by."""
    own: Target | None
    """Which bundle of elkkit's own it is."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with files, apart from what `validate` finds."""
    renamed: frozenset[str] = frozenset()
    """Fields that the contract does not have, and the user does."""


@dataclass(slots=True)
class SpacePlan:
    """What is done in one space."""

    space: str
    steps: list[Step]
    objects: dict[Key, SavedObject]
    """By type and id in the file."""
    there: dict[Key, SavedObject]
    """What the server has, by its ids."""
    ids: dict[Key, str]
    """Ids there that are others than in the file."""
    memory: Memory
    source: str
    on_conflict: OnConflict
    copied: frozenset[Key] = frozenset()
    """Copies that no file has, made since the original was edited there."""

    @property
    def refused(self) -> list[Step]:
        """What keeps the plan from being carried out."""
        if self.on_conflict == "skip":
            return []
        allowed = REFUSED if self.on_conflict == "fail" else REFUSED - {"drifted"}
        return [s for s in self.steps if s.action in allowed]

    @property
    def writes(self) -> list[Step]:
        """What is written."""
        actions = {"create", "update"} | ({"drifted"} if self.on_conflict == "overwrite" else set())
        return [s for s in self.steps if s.action in actions]

    @property
    def removes(self) -> list[Step]:
        """What is removed."""
        return [s for s in self.steps if s.action == "remove"]

    def source_of(self, key: Key) -> str:
        """What an object is remembered by."""
        return f"{self.source} (copy)" if key in self.copied else self.source

    @property
    def same(self) -> bool:
        """The server has what the file has."""
        return all(s.action == "unchanged" for s in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"space": self.space, "counts": counts(self.steps), "steps": [s.as_dict() for s in self.steps]}


def target_for(server: KibanaServer) -> Target:
    """The bundle that fits a server best."""
    if server.product != "Kibana" or server.flavour == "oss" or server.version < (8, 3, 0):
        return "classic"
    return "lens"


def limits_for(server: KibanaServer) -> Mapping[str, str] | None:
    """The newest stamps that a server takes; None where that is not known."""
    return limits_of("7.10" if server.product != "Kibana" else server.version_text)


def gather(contract: Contract, choice: Choice, target: Target) -> Gathered:
    """The objects that a user chose. Raises `InputError` for what is no saved object at all."""
    problems: tuple[Problem, ...] = ()
    if choice.paths:
        from elkkit.usecases.saved_objects import read_sources

        sources = read_sources(choice.paths)
        objects, problems = list(sources.objects), tuple(sources.problems)
        source, own = " ".join(sorted(str(p.absolute()) for p in choice.paths)), None
    else:
        own = choice.bundle or target
        objects, source = bundle(contract, own), f"{OWN}{contract.dataset}"
    _refuse_no_objects(objects, problems)
    kinds = frozenset[str]().union(*(PARTS[p] for p in choice.only))
    if kinds:
        objects = [o for o in objects if o.get("type") in kinds]
    if not objects and not problems:
        raise InputError("there is nothing to import", why="no object is of the kinds that were asked for",
                         hint="leave --only out, or name another file")  # fmt: skip
    return Gathered([_mapped(o, choice.map_ref) for o in objects], source, own, problems)


def check(
    contract: Contract,
    gathered: Gathered,
    *,
    limits: Mapping[str, str] | None = None,
    outside: Iterable[Key] = (),
) -> tuple[list[Problem], list[Problem]]:
    """What is wrong with the objects themselves, and what a server with those limits cannot hold."""
    fields = known_fields(contract) | gathered.renamed if gathered.own else None
    known = list(outside)
    wrong = [*gathered.problems, *validate(gathered.objects, fields=fields, outside=known)]
    faults = set(wrong)
    newer = [p for p in validate(gathered.objects, fields=fields, outside=known, limits=limits) if p not in faults]
    return wrong, newer


def survey(
    kibana: Kibana,
    contract: Contract,
    gathered: Gathered,
    choice: Choice,
    space: str = "default",
) -> SpacePlan:
    """The plan for one space, by what the server has and says."""
    kibana.require_space(space)
    memory = Memory(kibana.connection.url, space)
    objects = {key_of(o): o for o in gathered.objects if _named(o)}
    ids = memory.ids
    outside = {n for o in objects.values() for n in links_of(o)} - set(objects)
    gone = _left_behind(contract, gathered, choice, memory, objects)
    asked = [*objects, *outside, *gone]
    there = fetch(kibana, [_there(k, ids) for k in asked], space)
    limits = limits_for(kibana.server)
    wrong, newer = check(contract, gathered, limits=limits, outside=[k for k in outside if _there(k, ids) in there])
    blocked = _by_object(wrong) if choice.check else {}
    unsupported = _by_object(newer)

    def steps() -> list[Step]:
        rows = list(objects.values())
        return plan(rows, there, memory.entries, ids=ids, blocked=blocked, unsupported=unsupported)

    found, copied = steps(), frozenset[Key]()
    new = [objects[s.key] for s in found if s.action == "create"]
    if new:
        _ask(kibana, new, there, ids, blocked, unsupported, space)
        found = steps()
    if choice.on_conflict == "copy" and (edited := [s.key for s in found if s.action == "drifted"]):
        made = {key_of(o): o for o in copies(list(objects.values()), edited)}
        there |= fetch(kibana, [_there(k, ids) for k in made], space)
        unknown = [o for k, o in made.items() if _there(k, ids) not in there]
        if unknown:
            _ask(kibana, unknown, there, ids, blocked, unsupported, space)
        objects |= made
        copied = frozenset(made)
        found = steps()
    found += orphans(gone, there, memory.entries, prune=choice.prune, force=choice.on_conflict == "overwrite")
    return SpacePlan(space, found, objects, there, ids, memory, gathered.source, choice.on_conflict, copied)


def fetch(kibana: Kibana, keys: Iterable[Key], space: str) -> dict[Key, SavedObject]:
    """Objects as the server would export them; those that are not there are left out."""
    wanted = list(dict.fromkeys(keys))
    try:
        return {key_of(o): o for start in range(0, len(wanted), MOST)
                for o in kibana.export(wanted[start : start + MOST], space=space).objects}  # fmt: skip
    except InputError:  # a type that this server does not have, or does not export
        found = kibana.get_many(wanted, space=space)
        return {k: o for k, o in found.items() if o is not None}


def _ask(
    kibana: Kibana,
    new: Sequence[SavedObject],
    there: dict[Key, SavedObject],
    ids: dict[Key, str],
    blocked: dict[Key, str],
    unsupported: dict[Key, str],
    space: str,
) -> None:
    """Ask the server what it thinks of new objects: it may know them by other ids, or not know their type."""
    found: list[Key] = []
    for group in batches(new, size=BATCH_BYTES, count=MOST - 1):
        sent = [localised(o, ids) for o in group]
        names = {key_of(o): key_of(own) for o, own in zip(sent, group, strict=True)}
        for problem in _probed(kibana, sent, space):
            key = names.get((problem.type, problem.id), (problem.type, problem.id))
            if problem.kind == "conflict" and problem.destination:
                ids[key] = problem.destination
                found.append((problem.type, problem.destination))
            elif problem.kind == "unsupported_type":
                unsupported[key] = problem.why
            elif problem.kind == "ambiguous_conflict":
                blocked[key] = problem.why
    if found:
        there |= fetch(kibana, found, space)


def _probed(kibana: Kibana, objects: list[SavedObject], space: str) -> list[ServerProblem]:
    """`probe`, in parts where a proxy takes no more at once."""
    try:
        return list(probe(kibana, map(line, objects), space=space))
    except ElkkitError as error:
        if status_of(error) != TOO_LARGE or len(objects) < 2:
            raise
    return [p for part in halves(objects) for p in _probed(kibana, part, space)]


def _left_behind(
    contract: Contract, gathered: Gathered, choice: Choice, memory: Memory, objects: Mapping[Key, SavedObject]
) -> dict[Key, SavedObject | None]:
    """Objects of an earlier import of the same source that the present one does not have."""
    if choice.only:
        return {}
    gone: dict[Key, SavedObject | None] = {
        k: None for k, e in memory.entries.items() if e.source == gathered.source and k not in objects
    }
    if gathered.own:  # the other bundle may have been imported elsewhere, or by hand
        for target in TARGETS:
            gone |= {key_of(o): o for o in bundle(contract, target) if key_of(o) not in objects}
    return gone


def _refuse_no_objects(objects: Sequence[Any], problems: Sequence[Problem]) -> None:
    """Raise `InputError` for what is no saved object: some Kibanas never answer to one."""
    faults = [*problems, *(p for number, o in enumerate(objects, 1) for p in shape(o, number))]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError("not all of this is saved objects", why=f"{faults[0]}{more}",
                         hint="export it anew from Kibana: Stack Management, Saved Objects, Export")  # fmt: skip


def _mapped(item: SavedObject, refs: Mapping[str, str]) -> SavedObject:
    """An object whose references lead to where `--map-ref` says."""
    if not refs or not isinstance(item.get("references"), list):
        return item
    made = []
    for link in item["references"]:
        target = refs.get(f"{link.get('type')}:{link.get('id')}", refs.get(str(link.get("id"))))
        made.append({**link, "id": target.removeprefix(f"{link.get('type')}:")} if target else link)
    return {**item, "references": made}


def _there(key: Key, ids: Mapping[Key, str]) -> Key:
    return key[0], ids.get(key, key[1])


def _named(item: object) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(k), str) for k in ("type", "id"))


def _by_object(problems: Iterable[Problem]) -> dict[Key, str]:
    """For each object its first faults, in one sentence."""
    grouped: dict[Key, list[str]] = {}
    for problem in problems:
        kind, _, ident = problem.object.partition(":")
        named = problem.path and not problem.path.startswith("references[")  # a reference is told by its target
        said = f"{problem.path}: {problem.message}" if named else problem.message
        rows = grouped.setdefault((kind, ident), [])
        if said not in rows:
            rows.append(said)
    return {
        k: "; ".join(said[:_SHOWN]) + (f"; and {len(said) - _SHOWN} more" if len(said) > _SHOWN else "")
        for k, said in grouped.items()
    }
