"""A running Elasticsearch's own ingest node, asked with `_simulate`: nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ElkkitError
from elkkit.render import elasticsearch
from elkkit.stack.elastic import Elastic, reason
from elkkit.stack.grokengine.answer import Answer, Grok, NotAtHandError, RefusedError, flat

_TEXT = "elkkit_text"
"""The field that holds the text, so that a pattern with a field `message` does not run into it."""
_NO_MATCH = "Provided Grok expressions do not match"
_SLOW = "interrupted after"


class IngestEngine:
    """An ingest node: with the contract's pipeline as it is installed there, or with patterns of somebody's own."""

    name = "elasticsearch"

    def __init__(self, elastic: Elastic, contract: Contract, grok: Grok | None = None) -> None:
        """`grok`: patterns instead of the pipeline. Raises `NotAtHandError` where the pipeline is not there."""
        self.version = elastic.server.version_text
        self._elastic = elastic
        self._contract = contract
        self._grok = grok
        if elastic.server.bare:
            raise NotAtHandError("no ingest node", why=f"{elastic.where} is an Elasticsearch without ingest processors",
                                 hint="name a complete one: --es-url URL")  # fmt: skip
        if grok is None:
            self._see_pipeline()

    def _see_pipeline(self) -> None:
        from elasticsearch import NotFoundError

        name = elasticsearch.name(self._contract)
        try:
            with self._elastic.asking("read the ingest pipeline"):
                try:
                    self._elastic.client.ingest.get_pipeline(id=name)
                except NotFoundError:
                    raise NotAtHandError("no ingest pipeline", why=f"{self._elastic.where} has no pipeline {name}",
                                         hint="elkkit setup  puts it there") from None  # fmt: skip
        except NotAtHandError:
            raise
        except ElkkitError as error:
            raise NotAtHandError(error.message, why=error.why, hint=error.hint) from error

    def read(self, texts: Sequence[str]) -> list[Answer]:
        """An answer for each text. Raises `NotAtHandError`, and `RefusedError` where it does not take a pattern."""
        from elasticsearch import ApiError, BadRequestError

        sources = [{_TEXT: t} if self._grok else {"message": t, elasticsearch.ALL: True} for t in texts]
        docs = [{"_index": self._contract.stream, "_source": s} for s in sources]
        try:
            with self._elastic.asking("simulate the pipeline"):
                try:
                    told = self._simulate(docs)
                except BadRequestError as error:
                    if self._grok:
                        why = reason(error.body)
                        raise RefusedError("Elasticsearch refuses the pattern", why=why) from error
                    raise
        except (NotAtHandError, RefusedError):
            raise
        except (ElkkitError, ApiError) as error:
            told_why = error.why if isinstance(error, ElkkitError) else None
            raise NotAtHandError("the ingest node gave no answer", why=told_why or str(error)) from error
        if not isinstance(told, list) or len(told) != len(texts):
            raise NotAtHandError("the ingest node gave another number of answers", why="than there were lines")
        return [self._answer(one) for one in told]

    def _simulate(self, docs: list[dict[str, Any]]) -> Any:
        ingest = self._elastic.client.ingest
        if self._grok is None:
            return ingest.simulate(id=elasticsearch.name(self._contract), docs=docs)["docs"]
        processor = {
            "field": _TEXT,
            "patterns": list(self._grok.patterns),
            "pattern_definitions": dict(self._grok.definitions),
        }
        return ingest.simulate(docs=docs, pipeline={"processors": [{"grok": processor}]})["docs"]

    def _answer(self, told: Any) -> Answer:
        if not isinstance(told, dict):
            return Answer(failed="it dropped the line")
        if isinstance(error := told.get("error"), dict):
            why = str(error.get("reason", "it did not say why"))
            if _SLOW in why:
                return Answer(slow=True)
            return Answer() if self._grok and why.startswith(_NO_MATCH) else Answer(failed=why)
        source = told.get("doc", {}).get("_source")
        if not isinstance(source, dict):
            return Answer(failed="its answer holds no document")
        fields = flat(source)
        fields.pop(_TEXT, None)
        if self._grok is None and _SLOW in str(fields.get("error.message", "")):
            return Answer(slow=True)
        return Answer(fields=fields)

    def close(self) -> None:
        """Let go of its connections."""
        self._elastic.close()
