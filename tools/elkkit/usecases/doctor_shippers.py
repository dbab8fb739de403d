"""What the counters of Logstash and Filebeat say of how they fare: pure, from their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from elkkit.render.logstash import PIPELINE_ID
from elkkit.stack.monitoring import number
from elkkit.usecases.findings import Check, fail, ok, skip, warn

_EMPTY = 64
"""Bytes up to which a dead letter queue holds nothing: each of its files begins with one."""
_NEARLY_FULL = 0.8
_BEHIND = 10_000
"""Events in Filebeat's hands from which it does not keep up."""


# --- Logstash --------------------------------------------------------------------------------------------------------


def logstash(root: Mapping[str, Any], stats: Mapping[str, Any]) -> list[Check]:
    """From its `/` and `/_node/stats/pipelines`."""
    if "version" not in root or "pipelines" not in stats:
        return [fail("Logstash", "what answers there is no Logstash", "check --logstash-url: its API, not a port of "
                     "Beats")]  # fmt: skip
    state = root.get("status", "green")
    found = [ok("Logstash", f"{root['version']} answers, status {state}") if state == "green" else
             warn("Logstash", f"{root['version']} answers, status {state}", "read Logstash's log")]  # fmt: skip
    pipelines = {n: p for n, p in stats["pipelines"].items() if isinstance(p, Mapping) and not n.startswith(".")}
    own = our_pipeline(pipelines)
    if own is None:
        there = ", ".join(pipelines) or "none"
        text = f"it runs no pipeline of elkkit's (there is {there}); one that fails to start is not in the list"
        return [*found, fail("Logstash pipeline", text, "read Logstash's log; logstash/README.md says how to start it")]
    return [*found, *_pipeline(*own)]


def our_pipeline(pipelines: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The pipeline that runs elkkit's filter: by its name, else by the ids of its filters."""
    if PIPELINE_ID in pipelines:
        return PIPELINE_ID, pipelines[PIPELINE_ID]
    for name, pipeline in pipelines.items():
        if any(str(p.get("id", "")).startswith("elkkit-") for p in _plugins(pipeline, "filters")):
            return name, pipeline
    return None


def _plugins(pipeline: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    rows = (pipeline.get("plugins") or {}).get(kind) or []
    return [row for row in rows if isinstance(row, Mapping)]


def rejected(pipeline: Mapping[str, Any]) -> int:
    """Documents that Elasticsearch refused and that were not tried again."""
    return sum(number(p, "documents", "non_retryable_failures") for p in _plugins(pipeline, "outputs"))


def retried(pipeline: Mapping[str, Any]) -> int:
    """Documents and requests that failed and are tried again."""
    rows = _plugins(pipeline, "outputs")
    return sum(number(p, "documents", "retryable_failures") + number(p, "bulk_requests", "failures") for p in rows)


def _pipeline(name: str, pipeline: Mapping[str, Any]) -> Iterator[Check]:
    taken, sent = (number(pipeline, "events", w) for w in ("in", "out"))
    reloads = pipeline.get("reloads")
    told = reloads.get("last_error") if isinstance(reloads, Mapping) else None
    said = told.get("message") if isinstance(told, Mapping) else told
    if number(pipeline, "reloads", "failures") and said:
        yield fail("Logstash pipeline", f"{name} runs an older configuration, the new one does not load: {said}",
                   "mend the file, and read Logstash's log")  # fmt: skip
    else:
        yield ok("Logstash pipeline", f"{name} runs: {taken:,} events in, {sent:,} out")
    yield from _failures(pipeline)
    yield from _queue(pipeline)
    yield _dead_letters(pipeline)


def _failures(pipeline: Mapping[str, Any]) -> Iterator[Check]:
    refused, again = rejected(pipeline), retried(pipeline)
    if refused:
        text = f"Elasticsearch refused {refused:,} events since Logstash's start"
        hint = "Logstash's log says why; elkkit setup --check  compares the templates"
        yield fail("Logstash output", text, hint)
    elif again:
        text = f"{again:,} attempts failed since Logstash's start and are made again"
        yield warn("Logstash output", text, "is Elasticsearch reachable from Logstash, and quick enough?")
    else:
        yield ok("Logstash output", "Elasticsearch refused nothing since Logstash's start")
    failures = {str(p.get("id")): n for p in _plugins(pipeline, "filters") if (n := number(p, "failures"))}
    if failures:
        worst = max(failures, key=lambda n: failures[n])
        yield warn("Logstash filter", f"{worst} failed {failures[worst]:,} times",
                   "elkkit query --es 'tags : \"_malformed_score\"'  shows such lines")  # fmt: skip


def _queue(pipeline: Mapping[str, Any]) -> Iterator[Check]:
    queue = pipeline.get("queue") or {}
    kind, waiting = queue.get("type"), number(queue, "events_count") or number(queue, "events")
    size = number(queue, "queue_size_in_bytes") or number(queue, "capacity", "queue_size_in_bytes")
    most = number(queue, "max_queue_size_in_bytes") or number(queue, "capacity", "max_queue_size_in_bytes")
    if kind == "memory":
        text = "it is in memory: what Filebeat was told is safe dies with Logstash"
        yield warn("Logstash queue", text, "use logstash/config/logstash.yml: queue.type: persisted")
    elif most and size > _NEARLY_FULL * most:
        text = f"it is {size / most:.0%} full, {waiting:,} events wait; then Filebeat has to wait"
        yield warn("Logstash queue", text, "is Elasticsearch reachable from Logstash, and quick enough?")
    elif kind:
        yield ok("Logstash queue", f"{kind}, {waiting:,} events wait")


def _dead_letters(pipeline: Mapping[str, Any]) -> Check:
    name, queue = "Logstash dead letters", pipeline.get("dead_letter_queue")
    if not isinstance(queue, Mapping):
        return warn(name, "there is no dead letter queue: what Elasticsearch refuses is lost",
                    "use logstash/config/logstash.yml: dead_letter_queue.enable: true")  # fmt: skip
    size, dropped = number(queue, "queue_size_in_bytes"), number(queue, "dropped_events")
    if dropped:
        return fail(name, f"it is full: {dropped:,} events were lost", "empty it, or raise "
                    "dead_letter_queue.max_bytes in pipelines.yml")  # fmt: skip
    if size > _EMPTY:
        return fail(name, f"{size:,} bytes of events that Elasticsearch refused",
                    "logstash/README.md says how to read them and send them again")  # fmt: skip
    return ok(name, "empty")


# --- Filebeat --------------------------------------------------------------------------------------------------------


def filebeat(root: Mapping[str, Any], stats: Mapping[str, Any]) -> list[Check]:
    """From its `/` and `/stats`."""
    if root.get("beat") != "filebeat" or "libbeat" not in stats:
        name = root.get("beat")
        text = f"it is {name}" if isinstance(name, str) else "what answers there is no Filebeat"
        return [fail("Filebeat", text, "check --filebeat-url: http.port of its filebeat.yml")]
    return [ok("Filebeat", f"{root.get('version')} answers"), *_reading(stats), *_sending(stats)]


def _reading(stats: Mapping[str, Any]) -> Iterator[Check]:
    running, files = (number(stats, "filebeat", "harvester", n) for n in ("running", "open_files"))
    name = "Filebeat files"
    if errors := number(stats, "filebeat", "filestream", "scan_errors"):
        yield warn(name, f"{errors:,} times it could not look for files", "read Filebeat's log; check the rights of "
                   "the folder of the logs")  # fmt: skip
    elif running:
        yield ok(name, f"{running:,} are read, {files:,} open")
    elif number(stats, "filebeat", "events", "added") or number(stats, "filebeat", "harvester", "started"):
        yield ok(name, "none is open: nothing was written for some minutes")
    else:
        yield warn(name, "it has read no file since its start", "compare ELKKIT_LOG_FILES, where Filebeat runs, with "
                   "where the scorer writes")  # fmt: skip


def _sending(stats: Mapping[str, Any]) -> Iterator[Check]:
    events = ("libbeat", "output", "events")
    kind = stats["libbeat"].get("output", {}).get("type", "its output")
    published = number(stats, "libbeat", "pipeline", "events", "published")
    acked = number(stats, *events, "acked") + number(stats, *events, "duplicates")
    waiting = number(stats, "libbeat", "pipeline", "events", "active")
    lost = number(stats, *events, "dropped") + number(stats, *events, "dead_letter")
    errors = number(stats, "libbeat", "output", "write", "errors") + number(stats, *events, "failed")
    name = "Filebeat output"
    if lost:
        hint = "read Filebeat's log; elkkit setup --check  compares the templates"
        yield fail(name, f"{lost:,} events were refused by {kind} and given up", hint)
    elif waiting and not acked:
        hint = f"is {kind} reachable from Filebeat? filebeat test output"
        yield fail(name, f"{waiting:,} events wait and {kind} has acknowledged none", hint)
    elif waiting > _BEHIND:
        yield warn(name, f"{waiting:,} events wait for {kind}: it does not keep up", "look at it, and at Elasticsearch")
    elif errors and waiting:
        text = f"{waiting:,} events wait after {errors:,} failed attempts; {acked:,} were acknowledged by {kind}"
        yield warn(name, text, f"is {kind} reachable from Filebeat? filebeat test output")
    elif not published:
        yield skip(name, "it has sent nothing since its start")
    else:
        yield ok(name, f"{published:,} sent, {acked:,} acknowledged by {kind}, {waiting:,} on their way")
