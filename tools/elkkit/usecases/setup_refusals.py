"""Why a server cannot be set up without touching what is not elkkit's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from elkkit.contract import Contract
from elkkit.errors import ConfigError
from elkkit.render import elasticsearch as ours
from elkkit.stack import shapes
from elkkit.stack.elastic import Elastic
from elkkit.stack.objects import Found, ServerObject, State
from elkkit.stack.streams import Kind, Stream


def refusals(
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
            why=f"on this server it would have to be {_article(kind_here(elastic))}, and elkkit deletes nothing",
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


def kind_here(elastic: Elastic) -> Kind:
    """What a stream is on this server."""
    return Kind.ALIAS if elastic.server.bare else Kind.DATA_STREAM


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind in (Kind.ALIAS, Kind.INDEX) else f"a {kind}"


def _in_the_way(elastic: Elastic, stream: Stream) -> str | None:
    """What stands where the stream should be."""
    if stream.kind not in (Kind.ABSENT, kind_here(elastic)):
        return _article(stream.kind)
    first = f"{stream.name}-000001"
    if stream.kind is Kind.ABSENT and elastic.server.bare and elastic.client.indices.exists(index=first):
        return f"the index {first} without its alias"
    return None
