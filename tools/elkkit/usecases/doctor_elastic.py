"""How the Elasticsearch fares that the events are in; nothing is changed. Raised errors are checks that failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ElkkitError
from elkkit.stack.elastic import Elastic
from elkkit.stack.reading import Query, all_of, exists, no_canaries
from elkkit.stack.streams import Kind, Stream, find_stream
from elkkit.usecases.findings import Check, fail, failed, ok, skip, warn
from elkkit.usecases.setup import SetupResult, setup
from elkkit.usecases.setup_checks import Check as BadScoreCheck
from elkkit.usecases.setup_checks import Verdict

NAME = "Elasticsearch"
_WRITES, _READS = ("create_doc",), ("read", "view_index_metadata")
_NO_SUCH_ADDRESS = (400, 404, 405, 410)
_BYTES = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40, "pb": 1 << 50}
_DISK = "cluster.routing.allocation.disk"


def checks(elastic: Elastic, contract: Contract) -> Iterator[Check]:
    """All checks of one server that answers."""
    modules = ", without modules" if elastic.server.bare else ""
    embedded = " (embedded)" if elastic.embedded else ""
    yield ok(NAME, f"{elastic.server.version_text}{modules} at {elastic.server.url}{embedded}")
    steps: tuple[tuple[str, Callable[[Elastic, Contract], Iterator[Check]]], ...] = (
        ("templates", _templates),
        ("privileges", _privileges),
        ("ILM", _lifecycle),
        ("disk", _disk),
        ("events", _events),
    )
    for name, step in steps:
        try:
            with elastic.asking(f"look at its {name}"):
                yield from step(elastic, contract)
        except ElkkitError as error:
            yield failed(f"{NAME} {name}", error)


# --- templates and the stream ----------------------------------------------------------------------------------------


def _templates(elastic: Elastic, contract: Contract) -> Iterator[Check]:
    yield from setup_checks(setup(elastic, contract, dry_run=True))


def setup_checks(result: SetupResult) -> Iterator[Check]:
    """What `elkkit setup` would do."""
    name = f"{NAME} templates"
    if result.refused:
        yield failed(name, result.refused[0])
        return
    stream = f"{NAME} stream"
    to_do = [o for o in result.objects if o.to_do]
    objects = [o for o in to_do if o.kind not in (Kind.ALIAS, Kind.DATA_STREAM)]
    if objects:
        first = objects[0]
        what = "is not there" if first.action == "created" else "is not as elkkit's"
        more = f", and {len(objects) - 1} more" if len(objects) > 1 else ""
        yield fail(name, f"{first.kind} {first.name} {what}{more}", "elkkit setup --dry-run  shows all; elkkit setup")
    else:
        yield ok(name, f"{len(result.objects)} objects are as elkkit's")
    if len(objects) < len(to_do):
        yield fail(stream, f"there is no {result.stream.name}", "elkkit setup")
    elif result.rollover.needed:
        text = f"{result.stream.write_index} has an older mapping than the templates"
        yield warn(stream, text, "elkkit setup --rollover")
    else:
        count = len(result.stream.indices)
        indices = "1 index" if count == 1 else f"{count} indices"
        yield ok(stream, f"{result.stream.name}, {result.stream.kind} over {indices}")
    yield from _bad_scores(result.checks)


def _bad_scores(found: Sequence[BadScoreCheck]) -> Iterator[Check]:
    """Whether a score that is none would be refused or marked: the faults, or one line that all is well."""
    name = f"{NAME} bad scores"
    wrong = [c for c in found if c.verdict is Verdict.FAIL]
    for one in wrong:
        yield fail(name, f"it is not so that {one.name}: {one.why}", one.hint or "elkkit setup --check")
    passed = sum(c.verdict is Verdict.OK for c in found)
    if passed and not wrong:
        yield ok(name, f"refused or marked, by {passed} simulation{'s' if passed > 1 else ''}")


# --- privileges ------------------------------------------------------------------------------------------------------


def _privileges(elastic: Elastic, contract: Contract) -> Iterator[Check]:
    from elasticsearch import ApiError

    name, off = f"{NAME} privileges", "security is off: whoever reaches it may do everything"
    if elastic.server.bare:
        yield ok(name, off)
        return
    try:
        told = elastic.client.security.has_privileges(
            index=[{"names": [contract.stream], "privileges": [*_WRITES, *_READS]}]
        )
    except ApiError as error:
        if error.status_code not in _NO_SUCH_ADDRESS and "ecurity is not enabled" not in str(error.message):
            raise
        yield ok(name, off)
        return
    has = told.get("index", {}).get(contract.stream, {})
    yield privileges({str(p): bool(v) for p, v in has.items()}, str(told.get("username", "")), contract)


def privileges(has: Mapping[str, bool], user: str, contract: Contract) -> Check:
    """Of these credentials on the stream."""
    name, who = f"{NAME} privileges", user or "these credentials"
    lacks = [p for p in (*_READS, *_WRITES) if not has.get(p)]
    if any(p in _READS for p in lacks):
        hint = "give that user or API key the role elkkit setup makes for readers"
        return fail(name, f"{who} may not {', '.join(lacks)} on {contract.stream}", hint)
    if lacks:
        hint = "to ship, use the writer's API key: ELKKIT_API_KEY"
        return warn(name, f"{who} may read {contract.stream} and not write it", hint)
    return ok(name, f"{who} may read and write {contract.stream}")


# --- ILM -------------------------------------------------------------------------------------------------------------


def _lifecycle(elastic: Elastic, contract: Contract) -> Iterator[Check]:
    from elasticsearch import ApiError

    name = f"{NAME} ILM"
    if elastic.server.bare:
        yield skip(name, "this engine has none")
        return
    try:
        told = elastic.client.ilm.explain_lifecycle(index=contract.stream)
    except ApiError as error:
        if error.status_code not in (*_NO_SUCH_ADDRESS, 500):
            raise
        yield skip(name, "this server has none, or no stream yet")
        return
    yield lifecycle(told.get("indices", {}))


def lifecycle(indices: Mapping[str, Any]) -> Check:
    """From `_ilm/explain`."""
    name = f"{NAME} ILM"
    stuck = [(n, i) for n, i in sorted(indices.items()) if i.get("step") == "ERROR"]
    if stuck:
        index, about = stuck[0]
        why = (about.get("step_info") or {}).get("reason", "it does not say why")
        return fail(name, f"{index} is stuck in {about.get('phase')}/{about.get('action')}: {why}",
                    f"mend the cause, then: POST {index}/_ilm/retry")  # fmt: skip
    unmanaged = [n for n, i in sorted(indices.items()) if not i.get("managed")]
    if unmanaged:
        text = f"{unmanaged[0]} has no policy: it is neither rolled over nor deleted by itself"
        return warn(name, text, "elkkit setup, then elkkit setup --rollover")
    phases = sorted({str(i.get("phase")) for i in indices.values()})
    return ok(name, f"{len(indices)} managed, {', '.join(phases)}") if indices else skip(name, "there is no index yet")


# --- disk ------------------------------------------------------------------------------------------------------------


def _disk(elastic: Elastic, contract: Contract) -> Iterator[Check]:
    stream = find_stream(elastic, contract.stream)
    if blocked := _blocked(elastic, stream):
        yield fail(f"{NAME} disk", f"{blocked} takes no events since the disk ran full (flood stage)",
                   "free space: Elasticsearch lifts the block by itself")  # fmt: skip
        return
    told = elastic.client.cluster.get_settings(include_defaults=True, flat_settings=True)
    settings = {**told.get("defaults", {}), **told.get("persistent", {}), **told.get("transient", {})}
    nodes = elastic.client.nodes.stats(metric="fs", filter_path="nodes.*.name,nodes.*.fs.total").get("nodes", {})
    yield disk(settings, nodes)


def _blocked(elastic: Elastic, stream: Stream) -> str | None:
    if stream.kind is Kind.ABSENT:
        return None
    told = elastic.client.indices.get_settings(index=stream.name, name="index.blocks.*", flat_settings=True)
    key = "index.blocks.read_only_allow_delete"
    return next((n for n, b in sorted(told.items()) if b.get("settings", {}).get(key) == "true"), None)


def disk(settings: Mapping[str, Any], nodes: Mapping[str, Any]) -> Check:
    """From the cluster's settings with defaults, flat, and `_nodes/stats/fs`."""
    name = f"{NAME} disk"
    if str(settings.get(f"{_DISK}.threshold_enabled", "true")) == "false":
        return skip(name, "its watermarks are switched off")
    worst: tuple[float, str, int, int] | None = None
    for about in nodes.values():
        total = about.get("fs", {}).get("total", {})
        size, free = int(total.get("total_in_bytes", 0)), int(total.get("available_in_bytes", 0))
        if size and (worst is None or free / size < worst[0]):
            worst = (free / size, str(about.get("name", "a node")), free, size)
    if worst is None:
        return skip(name, "it does not tell how full its disks are")
    share, node, free, size = worst
    said = f"{node} has {share:.0%} free"
    for mark, state in (("flood_stage", fail), ("high", fail), ("low", warn)):
        least = free_at(settings, mark, size)
        if least is not None and free < least:
            then = {"flood_stage": "it takes no events", "high": "it moves shards away",
                    "low": "it takes no new shards"}[mark]  # fmt: skip
            return state(name, f"{said}, beyond the {mark.replace('_', ' ')} watermark: {then}",
                         "free space on that disk, or delete old runs: elkkit runs list")  # fmt: skip
    return ok(name, f"{said}, below every watermark")


def free_at(settings: Mapping[str, Any], mark: str, size: int) -> int | None:
    """Free bytes below which a watermark is crossed on a disk of that size; None where it cannot be told."""
    text = str(settings.get(f"{_DISK}.watermark.{mark}", "")).strip().lower()
    if (percent := re.fullmatch(r"([0-9.]+)%", text)) or re.fullmatch(r"0\.[0-9]+|1\.0+", text):
        used = float(percent[1]) / 100 if percent else float(text)
        room = _bytes(str(settings.get(f"{_DISK}.watermark.{mark}.max_headroom", "")))
        return int(min(size * (1 - used), room if room is not None else size))
    return _bytes(text)


def _bytes(text: str) -> int | None:
    found = re.fullmatch(r"([0-9.]+)(b|kb|mb|gb|tb|pb)", text.strip().lower())
    return int(float(found[1]) * _BYTES[found[2]]) if found else None


# --- events ----------------------------------------------------------------------------------------------------------


def _events(elastic: Elastic, contract: Contract) -> Iterator[Check]:
    stream = find_stream(elastic, contract.stream)
    if stream.kind is Kind.ABSENT:
        yield skip(f"{NAME} events", "there is no stream yet")
        return
    health = elastic.client.cluster.health(index=contract.stream).body
    yield state_of_stream(health)
    ours = no_canaries(contract)
    asked: dict[str, Query] = {
        "ignored": {"filter": exists("_ignored")},
        "malformed": {"filter": {"term": {"tags": contract.malformed_tag}}},
        "newest": {"max": {"field": "@timestamp"}},
    }
    told = elastic.client.search(index=contract.stream, query=all_of(ours), size=0, track_total_hits=True,
                                 aggregations=asked)  # fmt: skip
    yield from events(int(told["hits"]["total"]["value"]), told["aggregations"], contract, datetime.now(UTC))


def state_of_stream(health: Mapping[str, Any]) -> Check:
    """From `_cluster/health` of the stream."""
    name, status = f"{NAME} health", health.get("status")
    if status == "red":
        return fail(name, "red: a shard of the stream is not there, so events are missing and may be refused",
                    "GET _cluster/allocation/explain  says why")  # fmt: skip
    if status == "yellow" and health.get("number_of_nodes") != 1:
        return warn(name, "yellow: a copy of a shard is not there", "GET _cluster/allocation/explain  says why")
    why = ", one node has no place for copies" if status == "yellow" else ""
    return ok(name, f"{status}{why}")


def events(count: int, told: Mapping[str, Any], contract: Contract, now: datetime) -> Iterator[Check]:
    """From a count of all events and aggregations over them; canaries are in neither."""
    newest = told["newest"].get("value")
    if not count or newest is None:
        yield warn(f"{NAME} events", "there are none yet", "elkkit ship FILES, or start Filebeat")
    else:
        moment = datetime.fromtimestamp(newest / 1000, UTC)
        yield ok(f"{NAME} events", f"{count:,}, the newest {_ago((now - moment).total_seconds())}")
    if malformed := told["malformed"]["doc_count"]:
        yield warn(f"{NAME} malformed", f"{malformed:,} of {count:,} lines look like a score and are none",
                   f"elkkit query --es 'tags : \"{contract.malformed_tag}\"'")  # fmt: skip
    if ignored := told["ignored"]["doc_count"]:
        text = f"{ignored:,} events have a value that Elasticsearch left out of the index"
        yield warn(f"{NAME} ignored", text, "in Kibana: _ignored : *   shows them and the field")
    elif count:
        yield ok(f"{NAME} ignored", "no value was left out of the index")


def _ago(seconds: float) -> str:
    if seconds < 0:
        return f"{_span(-seconds)} in the future: a clock is wrong"
    return f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
