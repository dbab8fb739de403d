"""Prepare a server for the events: templates, retention, pipelines, roles, stream; what others own stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ConfigError
from elkkit.stack import shapes
from elkkit.stack.elastic import Elastic
from elkkit.stack.objects import ComponentTemplate, Found, ServerObject, State
from elkkit.stack.shapes import Difference
from elkkit.stack.streams import Kind, Stream, find_stream
from elkkit.usecases.setup_checks import Check, Verdict, check_scores
from elkkit.usecases.setup_refusals import kind_here, refusals
from elkkit.usecases.setup_wanted import LeftOut, simulated, wanted

__all__ = ["LeftOut", "Rollover", "SetUp", "SetupResult", "setup"]

Tell = Callable[[str], None]
_ACTIONS = {
    State.ABSENT: "created",
    State.SAME: "unchanged",
    State.DIFFERENT: "changed",
    State.YOURS: "kept",
    State.NOT_OURS: "not ours",
    State.NEWER: "newer",
}


@dataclass(frozen=True, slots=True)
class SetUp:
    """One object and what was done with it, or would be."""

    kind: str
    name: str
    action: str
    """created, changed, unchanged, kept (it is the user's), not ours, newer."""
    differences: tuple[Difference, ...] = ()

    @property
    def to_do(self) -> bool:
        """Something is done."""
        return self.action in ("created", "changed")


@dataclass(frozen=True, slots=True)
class Rollover:
    """Whether the stream needs a new index to have what the templates say."""

    fields: tuple[Difference, ...] = ()
    """What the index that is written to has, and a new one would have."""
    new_index: str | None = None
    """The one that was made."""

    @property
    def needed(self) -> bool:
        """It is needed and was not done."""
        return bool(self.fields) and not self.done

    @property
    def done(self) -> bool:
        """A new index was made."""
        return self.new_index is not None


@dataclass(frozen=True)
class SetupResult:
    """What `elkkit setup` did, or with a dry run would do."""

    server: dict[str, Any]
    stream: Stream
    """As it is now, or with a dry run would be."""
    objects: tuple[SetUp, ...]
    left_out: tuple[LeftOut, ...]
    rollover: Rollover
    dry_run: bool
    refused: tuple[ConfigError, ...] = ()
    """Why nothing can be done; only with a dry run, since else the first is raised."""
    checks: tuple[Check, ...] = ()
    """Whether a bad score would be refused, or marked; none where something was refused."""

    @property
    def sound(self) -> bool:
        """No check failed."""
        return all(c.verdict is not Verdict.FAIL for c in self.checks)

    @property
    def to_do(self) -> bool:
        """Something is to do, or with a dry run would be."""
        return any(o.to_do for o in self.objects) or self.rollover.needed or bool(self.refused)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        stream = self.stream
        rollover = self.rollover
        return {
            "server": self.server,
            "stream": {"name": stream.name, "kind": str(stream.kind), "indices": list(stream.indices),
                       "write_index": stream.write_index},
            "dry_run": self.dry_run,
            "objects": [
                {"kind": o.kind, "name": o.name, "action": o.action,
                 **({"differences": [d.as_dict() for d in o.differences]} if o.differences else {})}
                for o in self.objects
            ],
            "left_out": [{"what": x.what, "why": x.why} for x in self.left_out],
            "rollover": {"needed": rollover.needed, "done": rollover.done, "new_index": rollover.new_index,
                         "fields": [d.as_dict() for d in rollover.fields]},
            "checks": [c.as_dict() for c in self.checks],
        }  # fmt: skip


def setup(
    elastic: Elastic,
    contract: Contract,
    *,
    dry_run: bool = False,
    rollover: bool = False,
    tell: Tell = lambda _: None,
) -> SetupResult:
    """Put what a server lacks for this contract's stream. Documents and indices that are there are never changed.

    `dry_run` writes nothing. `rollover` starts a new index where the one that is written to lacks something.
    Raises `ConfigError` where something of these names belongs to someone else, before anything is written.
    """
    with elastic.asking(f"set up {contract.stream}"):
        tell("reading what the server can do and has")
        objects_wanted, left_out = wanted(elastic, contract)
        found = [(o, o.find(elastic.client)) for o in objects_wanted]
        stream = find_stream(elastic, contract.stream)
        refused = tuple(refusals(elastic, contract, found, stream))
        if refused and not dry_run:
            raise refused[0]
        objects = [SetUp(o.kind, o.name, _ACTIONS[f.state], f.differences) for o, f in found]
        if not dry_run:
            for i, (one, about) in enumerate(found):
                if objects[i].to_do:
                    tell(f"putting {one.kind} {one.name}")
                    if not one.apply(elastic.client, about.state):
                        objects[i] = SetUp(one.kind, one.name, "unchanged")
        need, checks = Rollover(), tuple[Check, ...]()
        if not refused:
            made, stream = _with_stream(elastic, stream, dry_run=dry_run)
            objects.append(made)
            pending = found if dry_run and any(o.to_do for o in objects) else None
            then = _of_a_new_index(elastic, stream, pending)
            need = Rollover(() if made.to_do else _lacks(elastic, stream, then))
            if need.needed and rollover and not dry_run:
                tell(f"rolling {contract.stream} over")
                told = elastic.client.indices.rollover(alias=contract.stream)
                need = Rollover(need.fields, str(told["new_index"]))
                stream = find_stream(elastic, contract.stream)
            tell("asking what the server would do with a bad score")
            checks = check_scores(elastic, contract, stream, then, [o for o, _ in found], pending=pending is not None)
    server = {"url": elastic.server.url, "version": elastic.server.version_text, "kind": elastic.server.kind,
              "bare": elastic.server.bare, "embedded": elastic.embedded}  # fmt: skip
    return SetupResult(server, stream, tuple(objects), left_out, need, dry_run, refused, checks)


# --- the stream ------------------------------------------------------------------------------------------------------


def _with_stream(elastic: Elastic, stream: Stream, *, dry_run: bool) -> tuple[SetUp, Stream]:
    """Make the stream where it is absent; its templates are there by now."""
    from elasticsearch import BadRequestError

    kind = kind_here(elastic)
    if stream.kind is not Kind.ABSENT:
        return SetUp(kind, stream.name, "unchanged"), stream
    if dry_run:
        return SetUp(kind, stream.name, "created"), Stream(stream.name, kind)
    action = "created"
    try:
        if kind is Kind.ALIAS:
            elastic.client.indices.create(
                index=f"{stream.name}-000001", aliases={stream.name: {"is_write_index": True}}
            )
        else:
            elastic.client.indices.create_data_stream(name=stream.name)
    except BadRequestError:  # another elkkit may have been faster
        if find_stream(elastic, stream.name).kind is not kind:
            raise
        action = "unchanged"
    return SetUp(kind, stream.name, action), find_stream(elastic, stream.name)


def _of_a_new_index(
    elastic: Elastic, stream: Stream, pending: Sequence[tuple[ServerObject, Found]] | None
) -> Mapping[str, Any]:
    """What a new index would get: `settings` and `mappings`.

    `pending`: the objects, where some are not put yet; else the server says it by itself.
    """
    if pending is None:
        # of a name that is not taken: some servers refuse to simulate what is there
        told = elastic.client.indices.simulate_index_template(name=f"{stream.name}-simulated")
        return dict(told["template"])
    parts = [
        (about.body if about.state is State.YOURS else one.wanted) or {}
        for one, about in pending
        if isinstance(one, ComponentTemplate)
    ]
    return dict(simulated(elastic, *(part.get("template") or {} for part in parts)))


def _lacks(elastic: Elastic, stream: Stream, then: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What a new index would have and the one that is written to has not."""
    index = stream.write_index
    if index is None:
        return ()
    return shapes.index_differences(elastic.client.indices.get(index=index)[index], then)
