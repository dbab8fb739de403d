"""How the Kibana fares that shows the events: its state, elkkit's objects in it, and the data view's fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from elkkit.contract import Contract
from elkkit.kibana.order import key_of
from elkkit.kibana.plan import Step, plan
from elkkit.kibana.uses import FieldInfo
from elkkit.stack.kibana import Kibana
from elkkit.stack.kibanafields import FieldList, fields_of
from elkkit.stack.kibanamemory import Memory
from elkkit.usecases.dashboards import Choice, fetch, gather, target_for
from elkkit.usecases.findings import Check, fail, ok, skip, warn

NAME = "Kibana"
SPACE = "default"
_NUMBERS = frozenset({"double", "number", "float", "half_float", "scaled_float"})


def checks(kibana: Kibana, contract: Contract) -> Iterator[Check]:
    """All checks of one Kibana that answers. Raises what a `Kibana` raises."""
    server = kibana.server
    if not server.ready:
        hint = "read its log; elkkit import-dashboards --wait 120  waits for it"
        yield fail(NAME, f"{server.kind} answers and is not ready: {server.level}", hint)
        return
    text = f"{server.kind} at {kibana.connection.url}, {server.level}"
    yield ok(NAME, text)
    yield objects(_steps(kibana, contract))
    pattern = f"logs-{contract.dataset}-*"
    yield data_view(fields_of(kibana, pattern), pattern)


def _steps(kibana: Kibana, contract: Contract) -> list[Step]:
    """What an import would do; the server is asked what it has, and not what it would think of an import."""
    memory = Memory(kibana.connection.url, SPACE)
    own = {key_of(o): o for o in gather(contract, Choice(), target_for(kibana.server)).objects}
    ids = memory.ids
    there = fetch(kibana, [(kind, ids.get((kind, ident), ident)) for kind, ident in own], SPACE)
    return plan(list(own.values()), there, memory.entries, ids=ids)


def objects(steps: Sequence[Step]) -> Check:
    """Of elkkit's own objects: those that are there, and as elkkit wrote them."""
    name = f"{NAME} objects"
    found = {action: [s for s in steps if s.action == action] for action in ("create", "update", "drifted")}
    if len(found["create"]) == len(steps):
        return fail(name, "none of elkkit's dashboards is there", "elkkit import-dashboards")
    if missing := found["create"]:
        text = f"{len(missing)} of {len(steps)} are not there, such as {missing[0].type} {missing[0].title!r}"
        return fail(name, text, "elkkit import-dashboards")
    if drifted := found["drifted"]:
        text = f"{len(drifted)} of {len(steps)} differ from what elkkit wrote, such as {drifted[0].title!r}"
        return warn(name, text, "elkkit diff-dashboards  shows what differs")
    if older := found["update"]:
        return warn(name, f"{len(older)} of {len(steps)} are of an older elkkit", "elkkit import-dashboards")
    return ok(name, f"{len(steps)} there, each as elkkit wrote it")


def data_view(found: FieldList, pattern: str) -> Check:
    """Whether Kibana sees the fields that every panel needs."""
    name = f"{NAME} fields"
    if found.fields is None:
        return skip(name, f"this Kibana does not tell them: {found.why}")
    if not found.fields:
        return fail(name, f"Kibana sees no index that matches {pattern}", "elkkit setup; is Kibana's Elasticsearch the "
                    "one of --es-url?")  # fmt: skip
    score: FieldInfo | None = found.fields.get("metricscores")
    if score is None:
        return fail(name, f"no index of {pattern} has metricscores", "elkkit setup --check  compares the templates")
    if score.type not in _NUMBERS:
        text = f"metricscores is {score.type}, which no panel can take a mean of"
        return fail(name, text, "elkkit setup, then elkkit setup --rollover")
    kind = found.fields.get("metrictype")
    if kind is None or not kind.aggregatable:
        return fail(name, "metrictype cannot be counted by", "elkkit setup, then elkkit setup --rollover")
    return ok(name, f"{len(found.fields)} in {pattern}, scores are numbers")
