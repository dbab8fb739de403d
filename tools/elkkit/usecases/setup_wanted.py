"""What a server should have for a contract's stream, after what the server can do; what it cannot have, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elkkit.contract import Contract
from elkkit.render import elasticsearch as ours
from elkkit.render.roles import RoleKind, role_body, role_name
from elkkit.stack import shapes
from elkkit.stack.elastic import Elastic, Server, reason
from elkkit.stack.objects import (
    ComponentTemplate,
    IndexTemplate,
    IngestPipeline,
    LifecyclePolicy,
    ServerObject,
    has_lifecycle,
)
from elkkit.stack.security import Role, access

_ABOVE_ALL = 1 << 40
"""A priority that no template has, for one that is only simulated."""
_LOGSDB_NEEDS_ZSTD = "this engine's library libzstd is not there"
_FAILURE_STORE = ((8, 19), (9, 1))
"""The first server of each major version that has failure stores."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What this server does not get, and why."""

    what: str
    why: str


def wanted(elastic: Elastic, contract: Contract) -> tuple[list[ServerObject], tuple[LeftOut, ...]]:
    """The objects for this server in the order in which they are put, and what it cannot have.

    The client's errors pass through: use it within `asking`. Nothing is changed.
    """
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
    may = access(elastic)
    if may.manages:
        objects += [Role(role_name(contract, kind), role_body(contract, kind)) for kind in RoleKind]
    else:
        left_out = [*left_out, LeftOut("roles", may.why)]
    return objects, tuple(left_out)


def simulated(elastic: Elastic, *templates: Any) -> Any:
    """What an index would get of templates that are only simulated, laid over each other in this order."""
    told = elastic.client.indices.simulate_template(
        body={"index_patterns": ["elkkit-simulated-*"], "priority": _ABOVE_ALL, "template": shapes.merged(*templates)}
    )
    return told["template"]


def _abilities(elastic: Elastic, contract: Contract) -> tuple[ours.Abilities, list[LeftOut]]:
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
        left_out.append(LeftOut("best_compression", _LOGSDB_NEEDS_ZSTD))
    return ours.Abilities(
        server.bare,
        logsdb=not refusal,
        best_compression=server.zstd,
        lifecycle=lifecycle,
        failure_store=_has_failure_store(elastic),
    ), left_out


def _no_logsdb(elastic: Elastic, contract: Contract, abilities: ours.Abilities) -> str | None:
    """Why indices cannot have the mode logsdb, or None where they can. Some distributions lack it at any version."""
    from elasticsearch import BadRequestError

    server = elastic.server
    if not server.logsdb:
        return _LOGSDB_NEEDS_ZSTD if not server.zstd else "this server is older than 8.17"
    try:
        bodies = ours.settings_body(contract, abilities), ours.mappings_body(contract, abilities)
        simulated(elastic, *(body["template"] for body in bodies))
    except BadRequestError as error:
        return f"this server refuses it: {reason(error.body)}"
    return None


def _has_failure_store(elastic: Elastic) -> bool:
    """Whether data streams can have a failure store here; where they cannot, there is none to switch off."""
    from elasticsearch import BadRequestError

    if elastic.server.bare or not _may_have_failure_store(elastic.server):
        return False
    template: Mapping[str, Any] = {"data_stream_options": ours.FAILURE_STORE_OFF}
    body = {"index_patterns": ["elkkit-simulated-*"], "priority": _ABOVE_ALL, "data_stream": {}, "template": template}
    try:
        elastic.client.indices.simulate_template(body=body)
    except BadRequestError:
        return False
    return True


def _may_have_failure_store(server: Server) -> bool:
    of_its_major = [first for first in _FAILURE_STORE if first[0] == server.version[0]]
    return server.version >= (of_its_major[0] if of_its_major else _FAILURE_STORE[-1])
