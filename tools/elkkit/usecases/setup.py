"""Prepare a server for the events: templates, retention, pipelines and the stream; what others own is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ConfigError
from elkkit.render import elasticsearch as ours
from elkkit.stack import shapes
from elkkit.stack.elastic import Elastic, reason
from elkkit.stack.objects import (
    ComponentTemplate,
    Found,
    IndexTemplate,
    IngestPipeline,
    LifecyclePolicy,
    ServerObject,
    State,
    has_lifecycle,
)
from elkkit.stack.shapes import Difference
from elkkit.stack.streams import Kind, Stream, find_stream

Tell = Callable[[str], None]
_ACTIONS = {
    State.ABSENT: "created",
    State.SAME: "unchanged",
    State.DIFFERENT: "changed",
    State.YOURS: "kept",
    State.NOT_OURS: "not ours",
    State.NEWER: "newer",
}
_ABOVE_ALL = 1 << 40
"""A priority that no template has, for one that is only simulated."""


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
class LeftOut:
    """What this server does not get, and why."""

    what: str
    why: str


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
        wanted, left_out = _wanted(elastic, contract)
        found = [(o, o.find(elastic.client)) for o in wanted]
        stream = find_stream(elastic, contract.stream)
        refused = tuple(_refusals(elastic, contract, found, stream))
        if refused and not dry_run:
            raise refused[0]
        objects = [SetUp(o.kind, o.name, _ACTIONS[f.state], f.differences) for o, f in found]
        if not dry_run:
            for i, (one, about) in enumerate(found):
                if objects[i].to_do:
                    tell(f"putting {one.kind} {one.name}")
                    if not one.apply(elastic.client, about.state):
                        objects[i] = SetUp(one.kind, one.name, "unchanged")
        if refused:
            need = Rollover()
        else:
            made, stream = _with_stream(elastic, stream, dry_run=dry_run)
            objects.append(made)
            pending = dry_run and any(o.to_do for o in objects)
            fields = () if made.to_do else _lacks(elastic, stream, found if pending else None)
            need = Rollover(fields)
        if need.needed and rollover and not dry_run:
            tell(f"rolling {contract.stream} over")
            told = elastic.client.indices.rollover(alias=contract.stream)
            need = Rollover(need.fields, str(told["new_index"]))
            stream = find_stream(elastic, contract.stream)
    server = {"url": elastic.server.url, "version": elastic.server.version_text, "kind": elastic.server.kind,
              "bare": elastic.server.bare, "embedded": elastic.embedded}  # fmt: skip
    return SetupResult(server, stream, tuple(objects), left_out, need, dry_run, refused)


# --- what the server should have -------------------------------------------------------------------------------------


def _wanted(elastic: Elastic, contract: Contract) -> tuple[list[ServerObject], tuple[LeftOut, ...]]:
    """The objects for this server in the order in which they are put, and what it cannot have."""
    abilities, left_out = _abilities(elastic, contract)
    name = ours.name(contract)
    objects: list[ServerObject] = []
    if abilities.lifecycle:
        objects.append(LifecyclePolicy(f"{name}@lifecycle", ours.lifecycle_body(contract)))
    objects += [
        ComponentTemplate(f"{name}@mappings", ours.mappings_body(contract, abilities)),
        ComponentTemplate(f"{name}@settings", ours.settings_body(contract, abilities)),
        ComponentTemplate(f"{name}@custom", ours.custom_body(contract), yours=True),
        IndexTemplate(ours.index_template_name(contract), ours.index_template_body(contract, abilities)),
    ]
    if not abilities.bare:
        objects += [
            IngestPipeline(ours.object_pipeline_name(contract), ours.object_pipeline_body(contract)),
            IngestPipeline(name, ours.pipeline_body(contract)),
        ]
    return objects, left_out


def _abilities(elastic: Elastic, contract: Contract) -> tuple[ours.Abilities, tuple[LeftOut, ...]]:
    server, left_out = elastic.server, []
    lifecycle = not server.bare and has_lifecycle(elastic.client, f"{ours.name(contract)}@lifecycle")
    if server.bare:
        replaced = sorted({f.type for f in contract.fields.values() if f.type != f.bare_type})
        left_out = [
            LeftOut("data stream", "this engine has none; the stream is a write alias over indices"),
            LeftOut("ILM policy", "this engine has no ILM; nothing is deleted or rolled over by itself"),
            LeftOut("ingest pipelines", "this engine has no ingest processors; elkkit ship parses by itself"),
            LeftOut(f"field types {', '.join(replaced)}", "this engine lacks them; keyword and text stand in"),
        ]
    elif not lifecycle:
        left_out.append(LeftOut("ILM policy", "this server has no ILM; nothing is deleted or rolled over by itself"))
    with_logsdb = ours.Abilities(server.bare, logsdb=True, best_compression=server.zstd, lifecycle=False)
    refusal = _no_logsdb(elastic, contract, with_logsdb)
    if refusal:
        left_out.append(LeftOut("logsdb", refusal))
    if not server.zstd:
        left_out.append(LeftOut("best_compression", "this engine's library libzstd is not there"))
    abilities = ours.Abilities(server.bare, logsdb=not refusal, best_compression=server.zstd, lifecycle=lifecycle)
    return abilities, tuple(left_out)


def _no_logsdb(elastic: Elastic, contract: Contract, abilities: ours.Abilities) -> str | None:
    """Why indices cannot have the mode logsdb, or None where they can. Some distributions lack it at any version."""
    from elasticsearch import BadRequestError

    server = elastic.server
    if not server.logsdb:
        return "this engine's library libzstd is not there" if not server.zstd else "this server is older than 8.17"
    try:
        bodies = ours.settings_body(contract, abilities), ours.mappings_body(contract, abilities)
        _simulated(elastic, *(body["template"] for body in bodies))
    except BadRequestError as error:
        return f"this server refuses it: {reason(error.body)}"
    return None


def _simulated(elastic: Elastic, *templates: Any) -> Any:
    """What an index would get of templates that are only simulated."""
    told = elastic.client.indices.simulate_template(
        body={"index_patterns": ["elkkit-simulated-*"], "priority": _ABOVE_ALL, "template": shapes.merged(*templates)}
    )
    return told["template"]


# --- what belongs to others ------------------------------------------------------------------------------------------


def _refusals(
    elastic: Elastic, contract: Contract, found: Sequence[tuple[ServerObject, Found]], stream: Stream
) -> Iterator[ConfigError]:
    """Why this cannot be done without touching what is not elkkit's."""
    url = elastic.server.url
    other = "set another dataset in elkkit.toml"
    for one, about in found:
        if about.state is State.NOT_OURS:
            yield ConfigError(
                f"there is another {one.kind} named {one.name}", why="elkkit did not make it, and leaves it as it is",
                hint=f"curl '{url}/{one.path}'  shows it; remove it, or {other}",
            )  # fmt: skip
        elif about.state is State.NEWER:
            number = one.version(about.body or {})
            yield ConfigError(
                f"{one.kind} {one.name} was put there by a newer elkkit",
                why=f"it has version {number} of the contract, and this elkkit has {contract.version}",
                hint="bring this elkkit up to date: pip install -U elkkit",
            )
    yield from _rivals(elastic, contract, other)
    in_the_way = _in_the_way(elastic, stream)
    if in_the_way:
        yield ConfigError(
            f"{stream.name} is there already, as {in_the_way}",
            why=f"on this server it would have to be {_article(_kind_here(elastic))}, and elkkit deletes nothing",
            hint=f"curl '{url}/{stream.name}/_count'  counts what is in it; elkkit setup --namespace NAME  leaves it",
        )


def _rivals(elastic: Elastic, contract: Contract, other: str) -> Iterator[ConfigError]:
    """Index templates of others that would be used instead of elkkit's."""
    own, stream = ours.index_template_name(contract), contract.stream
    body = ours.index_template_body(contract)
    (pattern,) = body["index_patterns"]
    names = (stream, f"{stream}-000001") if elastic.server.bare else (stream,)
    for row in elastic.client.indices.get_index_template()["index_templates"]:
        name, template = row["name"], row["index_template"]
        priority, patterns = template.get("priority", 0), template["index_patterns"]
        if name == own or priority < ours.PRIORITY:
            continue
        # where two templates of one priority could take one name, the server refuses the second
        rival = any(shapes.patterns_meet(p, pattern) for p in patterns) if priority == ours.PRIORITY else any(
            shapes.patterns_meet(p, n) for p in patterns for n in names
        )  # fmt: skip
        if rival:
            yield ConfigError(
                f"index template {name} is in the way of {own}",
                why=f"it takes {', '.join(patterns)} with priority {priority}, and elkkit's takes {pattern} "
                f"with {ours.PRIORITY}",
                hint=f"curl '{elastic.server.url}/_index_template/{name}'  shows it; narrow it, or {other}",
            )


def _kind_here(elastic: Elastic) -> Kind:
    return Kind.ALIAS if elastic.server.bare else Kind.DATA_STREAM


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind in (Kind.ALIAS, Kind.INDEX) else f"a {kind}"


def _in_the_way(elastic: Elastic, stream: Stream) -> str | None:
    """What stands where the stream should be."""
    if stream.kind not in (Kind.ABSENT, _kind_here(elastic)):
        return _article(stream.kind)
    first = f"{stream.name}-000001"
    if stream.kind is Kind.ABSENT and elastic.server.bare and elastic.client.indices.exists(index=first):
        return f"the index {first} without its alias"
    return None


# --- the stream ------------------------------------------------------------------------------------------------------


def _with_stream(elastic: Elastic, stream: Stream, *, dry_run: bool) -> tuple[SetUp, Stream]:
    """Make the stream where it is absent; its templates are there by now."""
    from elasticsearch import BadRequestError

    kind = _kind_here(elastic)
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


def _lacks(
    elastic: Elastic, stream: Stream, pending: Sequence[tuple[ServerObject, Found]] | None
) -> tuple[Difference, ...]:
    """What a new index would have and the one that is written to has not.

    `pending`: the objects, where some are not put yet; else the server says what a new index would get.
    """
    client, index = elastic.client, stream.write_index
    if index is None:
        return ()
    if pending is None:
        # of a name that is not taken: some servers refuse to simulate what is there
        want = client.indices.simulate_index_template(name=f"{stream.name}-simulated")["template"]
    else:
        parts = [
            (about.body if about.state is State.YOURS else one.wanted) or {}
            for one, about in pending
            if isinstance(one, ComponentTemplate)
        ]
        want = _simulated(elastic, *(part.get("template") or {} for part in parts))
    have = client.indices.get(index=index)[index]
    return shapes.index_differences(have, want)
