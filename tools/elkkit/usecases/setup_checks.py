"""Whether a bad score would be refused or marked, and never stored as if nothing were wrong; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ExitCode, ServiceError
from elkkit.render import elasticsearch as ours
from elkkit.stack import shapes
from elkkit.stack.elastic import Elastic, reason
from elkkit.stack.objects import IngestPipeline, ServerObject
from elkkit.stack.streams import Kind, Stream

_FIELD = "metricscores"
_BAD, _GOOD = "0,8312", 0.8312


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAIL = "fail"
    SKIP = "skip"
    """It could not be asked."""
    NOTE = "note"
    """It is as somebody wants it, and worth knowing."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer."""

    name: str
    verdict: Verdict
    why: str = ""
    """What was found; empty where all is well."""
    hint: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """For JSON."""
        return {"name": self.name, "verdict": str(self.verdict), "why": self.why, "hint": self.hint}


class BadScoreError(ServiceError):
    """A bad score would be stored as if nothing were wrong: the answer is no."""

    exit_code = ExitCode.NO
    code = "bad_score"

    @classmethod
    def of(cls, check: Check) -> BadScoreError:
        """Of a check that failed."""
        return cls(f"it is not so that {check.name}", why=check.why, hint=check.hint)


def check_scores(
    elastic: Elastic,
    contract: Contract,
    stream: Stream,
    then: Mapping[str, Any],
    objects: Sequence[ServerObject],
    *,
    pending: bool,
) -> tuple[Check, ...]:
    """Ask what the server would do with a bad score. The client's errors pass through: use it within `asking`.

    `then`: what a new index would get, as the server simulates it. `pending`: the objects are not put yet, so the
    pipeline is sent along to be simulated.
    """
    return tuple(_checks(elastic, contract, stream, then, objects, pending=pending))


def _checks(
    elastic: Elastic,
    contract: Contract,
    stream: Stream,
    then: Mapping[str, Any],
    objects: Sequence[ServerObject],
    *,
    pending: bool,
) -> Iterator[Check]:
    custom = f"elkkit's own templates do not: look at the component template {ours.name(contract)}@custom"
    yield _verdict("a new index refuses a bad score", shapes.takes_bad_numbers(then, _FIELD), custom)
    if stream.write_index is not None:
        about = elastic.client.indices.get(index=stream.write_index)[stream.write_index]
        why = shapes.takes_bad_numbers(about, _FIELD)
        yield _verdict(f"{stream.write_index} refuses a bad score", why, "elkkit setup --rollover  starts a new one")
    for one in objects:
        if isinstance(one, IngestPipeline) and one.name == ours.name(contract):
            yield _pipeline(elastic, contract, stream, one, pending=pending)
    if stream.kind is Kind.DATA_STREAM and stream.indices and (found := _failure_store(elastic, stream)):
        yield found


def _verdict(name: str, why: str | None, hint: str) -> Check:
    return Check(name, Verdict.OK) if why is None else Check(name, Verdict.FAIL, why, hint)


def _pipeline(elastic: Elastic, contract: Contract, stream: Stream, pipeline: ServerObject, *, pending: bool) -> Check:
    """Let the server run the pipeline over a good line and a bad one."""
    from elasticsearch import ApiError

    name = f"ingest pipeline {pipeline.name} marks a bad score"
    metric = next(iter(contract.metrics), "IoU")
    texts = [f"{metric} : {_GOOD}", f"{metric} : {_BAD}"]
    docs = [{"_index": stream.name, "_id": str(i), "_source": {"message": t}} for i, t in enumerate(texts)]
    which: dict[str, Any] = {"pipeline": dict(pipeline.wanted)} if pending else {"id": pipeline.name}
    try:
        told = elastic.client.ingest.simulate(docs=docs, **which)
    except ApiError as error:
        if error.status_code == 403:
            return Check(name, Verdict.SKIP, f"these credentials may not simulate pipelines: {reason(error.body)}")
        raise
    good, bad = (((d or {}).get("doc") or {}).get("_source") for d in told["docs"])
    again = "elkkit setup  puts it as it should be"
    if good is None or good.get(_FIELD) != _GOOD:
        return Check(name, Verdict.FAIL, f"of the line {texts[0]!r} it does not make the score {_GOOD}", again)
    if bad is None:
        return Check(name, Verdict.FAIL, f"it drops the line {texts[1]!r} and says nothing", again)
    if _FIELD in bad:
        return Check(name, Verdict.FAIL, f"of the line {texts[1]!r} it makes the score {bad[_FIELD]}", again)
    if contract.malformed_tag not in _tags(bad):
        why = f"the line {texts[1]!r} does not get the tag {contract.malformed_tag}"
        return Check(name, Verdict.FAIL, why, again)
    return Check(name, Verdict.OK)


def _tags(source: Mapping[str, Any]) -> Sequence[str]:
    tags = source.get("tags", ())
    return (tags,) if isinstance(tags, str) else tags


def _failure_store(elastic: Elastic, stream: Stream) -> Check | None:
    """Whether the stream puts aside what it refuses, which its user may want; None where a server has no such thing."""
    told = elastic.client.indices.get_data_stream(name=stream.name)
    store = told["data_streams"][0].get("failure_store")
    if not isinstance(store, Mapping) or "enabled" not in store:
        return None
    name = f"{stream.name} has its failure store off"
    if not store["enabled"]:
        return Check(name, Verdict.OK)
    why = "it is on: a server answers success for what it puts there. elkkit ship counts it as rejected; Filebeat and "
    url = f"{elastic.server.url}/_data_stream/{stream.name}/_options"
    body = """-H 'Content-Type: application/json' -d '{"failure_store":{"enabled":false}}'"""
    return Check(name, Verdict.NOTE, f"{why}Logstash do not notice", f"to switch it off: curl -X PUT '{url}' {body}")
