"""Take away what `elkkit setup` made: never documents, indices or streams, nor what others own or still use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from elkkit.contract import Contract
from elkkit.render import elasticsearch as ours
from elkkit.stack.elastic import Elastic, reason
from elkkit.stack.objects import (
    Body,
    ComponentTemplate,
    IndexTemplate,
    IngestPipeline,
    LifecyclePolicy,
    ServerObject,
)
from elkkit.stack.security import Role, holders
from elkkit.usecases.setup_wanted import LeftOut, wanted

_ORDER = (IndexTemplate, ComponentTemplate, IngestPipeline, LifecyclePolicy, Role)
"""What uses others goes before them."""


class Fate(StrEnum):
    """What becomes of an object."""

    REMOVE = "remove"
    """It goes; only in a plan."""
    REMOVED = "removed"
    ABSENT = "absent"
    NOT_OURS = "not ours"
    """Somebody else made it."""
    KEPT = "kept"
    """It holds the user's own settings."""
    IN_USE = "in use"


@dataclass(frozen=True, slots=True)
class Removal:
    """One object and what becomes of it."""

    kind: str
    name: str
    fate: Fate
    why: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        why = {"why": self.why} if self.why else {}
        return {"kind": self.kind, "name": self.name, "action": str(self.fate), **why}


@dataclass(frozen=True)
class RemovalResult:
    """What is done, or was."""

    where: str
    removals: tuple[Removal, ...]
    left_out: tuple[LeftOut, ...]
    streams: tuple[str, ...]
    """That hold documents, and stay."""
    holding: tuple[str, ...]
    """Paths on the server of what would have to be deleted, documents and all: data streams, indices of an alias."""
    objects: tuple[ServerObject, ...] = ()
    dry_run: bool = True

    def count(self, fate: Fate) -> int:
        """How many objects have it."""
        return sum(r.fate is fate for r in self.removals)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "server": self.where,
            "dry_run": self.dry_run,
            "objects": [r.as_dict() for r in self.removals],
            "left_out": [{"what": x.what, "why": x.why} for x in self.left_out],
            "streams": list(self.streams),
            "holding": list(self.holding),
        }


def removal(elastic: Elastic, contract: Contract) -> RemovalResult:
    """What would be taken away, and what stays for which reason. Nothing is changed."""
    with elastic.asking("see what elkkit setup made"):
        objects, left_out = wanted(elastic, contract)
        inner = ours.object_pipeline_name(contract)  # another pipeline calls it
        objects.sort(key=lambda o: (_rank(o), o.name == inner))
        streams, holding = _streams(elastic, contract)
        plan = _Plan(elastic, objects, streams)
        removals = tuple(plan.fates())
    return RemovalResult(elastic.where, removals, left_out, streams, holding, tuple(objects))


def remove(elastic: Elastic, plan: RemovalResult, *, tell: Callable[[str], None] = lambda _: None) -> RemovalResult:
    """Do what a plan says. What the server refuses to remove since it is in use is told, and stays."""
    from elasticsearch import BadRequestError, NotFoundError

    done = list(plan.removals)
    with elastic.asking("take away what elkkit setup made"):
        for i, (one, about) in enumerate(zip(plan.objects, plan.removals, strict=True)):
            if about.fate is not Fate.REMOVE:
                continue
            # somebody may have put another one there since
            body = one.read(elastic.client)
            if body is None:
                done[i] = replace(about, fate=Fate.ABSENT)
                continue
            if stays := _belongs_to_others(one, body):
                done[i] = replace(about, fate=stays[0], why=stays[1])
                continue
            tell(f"removing {one.kind} {one.name}")
            try:
                one.delete(elastic.client)
                done[i] = replace(about, fate=Fate.REMOVED)
            except NotFoundError:
                done[i] = replace(about, fate=Fate.ABSENT)
            except BadRequestError as error:
                done[i] = replace(about, fate=Fate.IN_USE, why=reason(error.body))
    return replace(plan, removals=tuple(done), dry_run=False)


def _rank(one: ServerObject) -> int:
    return next(i for i, kind in enumerate(_ORDER) if isinstance(one, kind))


def _streams(elastic: Elastic, contract: Contract) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Streams of every namespace that the index template is for, and the paths of what holds their documents."""
    (pattern,) = ours.index_template_body(contract)["index_patterns"]
    told = elastic.client.indices.resolve_index(name=pattern, expand_wildcards="all")
    data_streams = [s["name"] for s in told.get("data_streams", ())]
    aliases = told.get("aliases", ())
    behind = {i for a in aliases for i in _listed(a.get("indices", ()))}
    names = sorted({*data_streams, *(a["name"] for a in aliases)})
    return tuple(names), (*(f"_data_stream/{s}" for s in sorted(data_streams)), *sorted(behind))


def _listed(names: Any) -> Sequence[str]:
    """The server writes a single name without its list."""
    return (names,) if isinstance(names, str) else names


def _belongs_to_others(one: ServerObject, body: Body) -> tuple[Fate, str] | None:
    """What becomes of an object that elkkit did not make, or of one that it made for the user, who has used it."""
    if one.yours:
        untouched = one.is_ours(body) and one.shape(body) == one.shape(one.wanted)
        return None if untouched else (Fate.KEPT, "it holds settings of yours")
    return None if one.is_ours(body) else (Fate.NOT_OURS, "elkkit did not make it")


class _Plan:
    """Decides in order: what stays keeps what it uses."""

    def __init__(self, elastic: Elastic, objects: Sequence[ServerObject], streams: Sequence[str]) -> None:
        self._client = elastic.client
        self._objects = objects
        self._streams = streams
        self._going: set[tuple[str, str]] = set()

    def fates(self) -> Iterator[Removal]:
        """Of each object."""
        for one in self._objects:
            body = one.read(self._client)
            found = Removal(one.kind, one.name, *self._fate(one, body))
            if found.fate is Fate.REMOVE:
                self._going.add((one.kind, one.name))
            yield found

    def _fate(self, one: ServerObject, body: Body | None) -> tuple[Fate, str]:
        if body is None:
            return Fate.ABSENT, ""
        if stays := _belongs_to_others(one, body):
            return stays
        users = self._users(one, body)
        if users:
            more = f" and {len(users) - 3} more" if len(users) > 3 else ""
            return Fate.IN_USE, f"{', '.join(users[:3])}{more} {'uses' if len(users) == 1 else 'use'} it"
        return Fate.REMOVE, ""

    def _users(self, one: ServerObject, body: Body) -> list[str]:
        if isinstance(one, IndexTemplate):
            return list(self._streams)
        if isinstance(one, ComponentTemplate):
            rows = self._client.indices.get_index_template()["index_templates"]
            using = [r["name"] for r in rows if one.name in r["index_template"].get("composed_of", ())]
            return [f"index template {n}" for n in sorted(using) if not self._goes(IndexTemplate.kind, n)]
        if isinstance(one, IngestPipeline):
            return self._callers(one.name)
        if isinstance(one, LifecyclePolicy):
            by: Mapping[str, Any] = body.get("in_use_by") or {}
            templates = [t for t in by.get("composable_templates", ()) if not self._goes(IndexTemplate.kind, t)]
            return [*by.get("data_streams", ()), *(by.get("indices", ()) if not by.get("data_streams") else ()),
                    *(f"index template {t}" for t in templates)]  # fmt: skip
        return holders(self._client, one.name)

    def _goes(self, kind: str, name: str) -> bool:
        return (kind, name) in self._going

    def _callers(self, name: str) -> list[str]:
        """Pipelines that call one, and indices that send every document through it."""
        pipelines: Mapping[str, Any] = self._client.ingest.get_pipeline().body
        calling = [n for n, about in sorted(pipelines.items()) if _calls(about, name)]
        found = [f"ingest pipeline {n}" for n in calling if not self._goes(IngestPipeline.kind, n)]
        keys = ["index.default_pipeline", "index.final_pipeline"]
        told = self._client.indices.get_settings(index="*", name=keys, expand_wildcards="all", flat_settings=True)
        settings = sorted((index, about.get("settings", {})) for index, about in told.body.items())
        return found + [f"index {index}" for index, about in settings if name in about.values()]


def _calls(value: Any, name: str) -> bool:
    """Whether a pipeline processor anywhere in a pipeline names that one."""
    if isinstance(value, Mapping):
        called = value.get("pipeline")
        if isinstance(called, Mapping) and called.get("name") == name:
            return True
        return any(_calls(v, name) for v in value.values())
    return isinstance(value, list) and any(_calls(v, name) for v in value)
