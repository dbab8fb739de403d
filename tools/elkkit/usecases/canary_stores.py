"""Elasticsearch and Kibana as hops of a canary: they are asked for this very event."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from elkkit.contract import Contract
from elkkit.errors import ElkkitError
from elkkit.kibana.common import identity
from elkkit.stack.kibanamemory import Memory
from elkkit.stack.reading import flatten
from elkkit.stack.streams import Kind, find_stream
from elkkit.usecases.canary import Canary, Hop, same_bits

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic
    from elkkit.stack.kibana import Kibana

_INTERNAL = {"x-elastic-internal-origin": "kibana"}


class _Store(ABC):
    """Something that has the event or has not."""

    names_event = True
    lost = False
    name = ""

    def __init__(self) -> None:
        self.passed: float | None = None
        self._error: ElkkitError | None = None

    def begin(self) -> None:  # noqa: B027 - nothing to see yet, for any of them
        """The event is not there before it is written."""

    def look(self, canary: Canary, now: float) -> None:
        """Ask for the event."""
        try:
            found = self._has(canary)
        except ElkkitError as error:
            self._error = error
            return
        self._error = None
        if found:
            self.passed = now

    @abstractmethod
    def _has(self, canary: Canary) -> bool:
        """Whether it has the event."""

    def _hop(self, state: Any, start: float, text: str, hint: str | None = None) -> Hop:
        return Hop(self.name, state, None if self.passed is None else max(0.0, self.passed - start), text, hint)

    def _failed(self, start: float, error: ElkkitError) -> Hop:
        return self._hop("stopped", start, str(error), error.hint)


class ElasticStation(_Store):
    """The document is in the stream, as it was written."""

    name = "Elasticsearch"

    def __init__(self, elastic: Elastic, contract: Contract) -> None:
        super().__init__()
        self._elastic = elastic
        self._contract = contract
        self._other_id: str | None = None
        self._wrong: list[str] = []
        self._absent = False

    def _has(self, canary: Canary) -> bool:
        from elasticsearch import NotFoundError

        with self._elastic.asking("look for the canary"):
            stream = find_stream(self._elastic, self._contract.stream)
            self._absent = stream.kind is Kind.ABSENT
            if stream.write_index is None:
                return False
            try:  # by its id, which needs no refresh
                told = self._elastic.client.get(index=stream.write_index, id=canary.id)
                source, self._other_id = told["_source"], None
            except NotFoundError:
                query = {"term": {"event.id": canary.id}}
                hits = self._elastic.client.search(index=stream.name, query=query, size=1)["hits"]["hits"]
                if not hits:
                    return False
                source = hits[0]["_source"]
                self._other_id = None if hits[0]["_id"] == canary.id else str(hits[0]["_id"])
        self._wrong = differences(source, canary, self._contract)
        return True

    def tell(self, start: float, *, beyond: bool) -> Hop:  # noqa: ARG002
        """Whether it is there, and as it was written."""
        if self.passed is not None and self._wrong:
            return self._hop("stopped", start, f"it arrived changed: {'; '.join(self._wrong)}",
                             "the pipeline is not elkkit's of this version: elkkit setup --check, and compare "
                             "Logstash's pipeline with logstash/pipeline/")  # fmt: skip
        if self.passed is not None and self._other_id is not None:
            return self._hop("stopped", start, f"it is there under another id, {self._other_id}: a line that is sent "
                             "twice counts twice", "document_id in Logstash's output is not elkkit's")  # fmt: skip
        if self.passed is not None:
            return self._hop("passed", start, "indexed under its own id, the score equal bit for bit")
        if self._error is not None:
            return self._failed(start, self._error)
        if self._absent:
            return self._hop("stopped", start, f"there is no stream {self._contract.stream}", "elkkit setup")
        return self._hop("stopped", start, f"no event of its id in {self._contract.stream} at {self._elastic.where}",
                         "do the shippers send to this Elasticsearch and this stream? Their logs say what it "
                         "answers")  # fmt: skip


def differences(source: Mapping[str, Any], canary: Canary, contract: Contract) -> list[str]:
    """What of a stored event is not as the canary was written."""
    fields = flatten(source)
    found = []
    if fields.get("metrictype") != canary.metric:
        found.append(f"metrictype is {fields.get('metrictype')!r:.60} and was {canary.metric!r}")
    if not same_bits(fields.get("metricscores"), canary.score):
        found.append(f"the score is {fields.get('metricscores')!r:.60} and was {canary.score!r}")
    tags = fields.get("tags")
    if contract.canary_tag not in (tags if isinstance(tags, list) else [tags]):
        found.append(f"it has lost its tag {contract.canary_tag}, so it is counted")
    return found


class SearchStation(_Store):
    """A query finds it, as every panel and comparison would if it were no canary."""

    name = "search"

    def __init__(self, elastic: Elastic, contract: Contract) -> None:
        super().__init__()
        self._elastic = elastic
        self._contract = contract

    def _has(self, canary: Canary) -> bool:
        with self._elastic.asking("search for the canary"):
            told = self._elastic.client.search(index=self._contract.stream, query=looks_for(canary), size=0,
                                               ignore_unavailable=True)  # fmt: skip
        return hits(told.body) > 0

    def tell(self, start: float, *, beyond: bool) -> Hop:
        """Whether it is found."""
        if self.passed is not None or beyond:
            return self._hop("passed", start, "found by a query")
        if self._error is not None:
            return self._failed(start, self._error)
        return self._hop("stopped", start, "indexed, and no query finds it",
                         "GET the stream's _settings: is refresh_interval long or -1?")  # fmt: skip


class KibanaStation(_Store):
    """What Kibana's data view shows has the event: asked through Kibana where it passes questions on."""

    name = "Kibana"

    def __init__(self, kibana: Kibana, elastic: Elastic, contract: Contract) -> None:
        super().__init__()
        self._kibana = kibana
        self._elastic = elastic
        own = identity(contract)
        self._key = ("index-pattern", Memory(kibana.connection.url, "default").ids.get(("index-pattern", own), own))
        self._view: Mapping[str, Any] | None = None
        self._through = False

    def _has(self, canary: Canary) -> bool:
        if self._view is None:
            found = self._kibana.get_many([self._key])[self._key]
            self._view = None if found is None else found.get("attributes") or {}
        if self._view is None:
            return False
        query = looks_for(canary, str(self._view.get("timeFieldName") or ""))
        told = self._ask(str(self._view.get("title")), query)
        self._through = told is not None
        if told is None:
            with self._elastic.asking("search for the canary"):
                told = self._elastic.client.search(index=str(self._view.get("title")), query=query, size=0).body
        return hits(told) > 0

    def _ask(self, pattern: str, query: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The answer through Kibana's own connection, as its console asks; None where it passes nothing on."""
        body = json.dumps({"query": query, "size": 0}).encode()
        answer = self._kibana.wire.send(
            "POST", "/api/console/proxy", what="search for the canary", body=body, content_type="application/json",
            query={"path": f"/{pattern}/_search", "method": "POST"}, headers=_INTERNAL,
        )  # fmt: skip
        told = answer.body
        return told if answer.status == 200 and isinstance(told, Mapping) and "hits" in told else None

    def tell(self, start: float, *, beyond: bool) -> Hop:  # noqa: ARG002
        """Whether the data view shows it, and how that was asked."""
        title = self._view.get("title") if self._view else None
        if self.passed is not None:
            how = "asked through Kibana" if self._through else "its pattern, asked of Elasticsearch"
            return self._hop("passed", start, f"its data view {title} finds it ({how})")
        if self._error is not None:
            return self._failed(start, self._error)
        if self._view is None:
            return self._hop("stopped", start, f"it has no data view {self._key[1]}", "elkkit import-dashboards")
        where = "through Kibana" if self._through else "of Elasticsearch"
        return self._hop("stopped", start, f"its data view {title}, asked {where}, does not find it",
                         "does Kibana use this Elasticsearch, and its data view this stream?")  # fmt: skip


def looks_for(canary: Canary, time_field: str = "") -> dict[str, Any]:
    """The query for this event; with a time field as Discover asks it, around the moment when it was written."""
    asked: list[dict[str, Any]] = [{"term": {"event.id": canary.id}}]
    if time_field:
        around = {"gte": f"{canary.moment}||-15m", "lte": f"{canary.moment}||+15m"}
        asked.append({"range": {time_field: around}})
    return {"bool": {"filter": asked}}


def hits(told: Mapping[str, Any]) -> int:
    """How many documents an answer of a search has, of any version."""
    found = told.get("hits")
    total = found.get("total") if isinstance(found, Mapping) else None
    value = total.get("value") if isinstance(total, Mapping) else total
    return int(value) if isinstance(value, int) else 0
