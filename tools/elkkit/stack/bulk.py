"""Create documents in a stream, each once: chunks that are sent again until each document has its answer.

What failed is told in the answer, never raised: one document must not stop the others, and an outage not the shipper.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elkkit.errors import ElkkitError
from elkkit.stack.conflicts import Conflict, Document, Present, compare
from elkkit.stack.elasticerrors import reason, worded
from elkkit.stack.streams import Kind, Stream

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

IN_FLIGHT = 2
"""Chunks that are sent at once: more do not make the server faster."""
BASE = 0.5
"""Seconds within which the first new attempt is made; doubled for each further one."""
CAP = 15.0
"""Most seconds between two attempts."""
_FAULTS = 5
"""Attempts for a document to which the server answers 500, which some errors of its own never stop being."""
_OUTAGE = 1.0
_FAILURES = 3
_KEPT = (
    "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.index,items.*.error.caused_by.reason,"
    "items.*.failure_store"
)
_PUT_ASIDE = "failure_store"
"""Our word for a document that the server took into its failure store: it answers 201 and tells no reason."""
_BUSY = (429, 502, 503, 504)
_DATA_STREAM_FLAG = (8, 13)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that was not taken, or may not have been, and why."""

    document: Document
    status: int
    """0 where nothing answered."""
    kind: str
    """The server's word for the error."""
    why: str


@dataclass(slots=True)
class Sent:
    """What became of the documents of one chunk."""

    documents: int
    created: int = 0
    already_there: int = 0
    not_compared: int = 0
    """Of those already there: how many could not be read for a comparison."""
    retried: int = 0
    """Documents that were sent more than once."""
    conflicting: list[Conflict] = field(default_factory=list)
    rejected: list[Refusal] = field(default_factory=list)
    unconfirmed: list[Refusal] = field(default_factory=list)


class _NoAnswerError(Exception):
    """A reply that says nothing about some of the documents."""


@dataclass(slots=True)
class _Attempts:
    """The attempts for one chunk so far."""

    made: int = 0
    sent: bool = False
    """The bulk request itself went out."""
    first_failure: float | None = None
    may_be_there: bool = False
    """An attempt got no answer, so it may have arrived."""
    counted: bool = False
    why: tuple[int, str, str] = (0, "", "")
    """Of the last failure: status, kind, reason."""

    def failed(self, status: int, kind: str, why: str) -> None:
        self.first_failure = self.first_failure or time.monotonic()
        self.why = (status, kind, why)


class Sender:
    """Sends chunks to one stream; several threads may."""

    def __init__(
        self,
        elastic: Elastic,
        stream: Stream | None,
        name: str,
        *,
        give_up: float | None,
        notice: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """`stream` is what stands behind `name`, None where the credentials may not see it.

        `give_up`: seconds after a chunk's first failure in which it is tried again; None: without end. `notice` is
        told of outages, from any thread.
        """
        self._elastic = elastic
        self._name = name
        self._give_up = give_up
        self._present = Present(elastic, stream, notice)
        self._outage = _Outage(elastic.server.url, notice)
        self._random = random.Random()  # noqa: S311
        self._options: dict[str, Any] = {}
        if stream is not None and stream.kind is Kind.ALIAS:
            self._options = {"require_alias": True}  # or a name that went away would be created, with guessed types
        elif stream is not None and stream.kind is Kind.DATA_STREAM and elastic.server.version >= _DATA_STREAM_FLAG:
            self._options = {"require_data_stream": True}
        self.halt = threading.Event()
        """Nothing more is tried: set by whoever wants to end, and where it is of no use."""
        self.gave_up = False
        """A chunk was tried until its time was over."""
        self.forbidden: ElkkitError | None = None
        """The server said no to these credentials."""

    def send(self, documents: Sequence[Document]) -> Sent:
        """Send until each document has its answer, its time is over, or `halt` is set; raises no client error."""
        sent = Sent(len(documents))
        self._deliver(list(documents), sent, _Attempts())
        return sent

    def _deliver(self, documents: list[Document], sent: Sent, attempts: _Attempts) -> None:
        from elasticsearch import ApiError, TransportError, UnsupportedProductError

        while documents:
            if self.halt.is_set() or (attempts.first_failure is not None and not self._wait(attempts)):
                status, kind, why = attempts.why if attempts.made else (0, "not_sent", "it was not sent any more")
                sent.unconfirmed += [Refusal(d, status, kind, why) for d in documents]
                return
            try:
                documents = self._attempt(documents, sent, attempts)
            except ApiError as error:
                if not self._again(error, documents, sent, attempts):
                    return
            except (TransportError, UnsupportedProductError, _NoAnswerError) as error:
                attempts.may_be_there |= attempts.sent
                attempts.failed(0, "no_answer", self._why(error))
            if not documents:
                self._outage.over()
            elif attempts.first_failure is not None:
                self._outage.goes_on(attempts.why[2])

    def _wait(self, attempts: _Attempts) -> bool:
        """Back off; False where there is no sense in a further attempt."""
        delay = self._random.uniform(0, min(CAP, BASE * 2 ** min(attempts.made - 1, 10)))
        if self._give_up is not None and attempts.first_failure is not None:
            left = attempts.first_failure + self._give_up - time.monotonic()
            if left <= 0:
                self.gave_up = True
                self.halt.set()
                return False
            delay = min(delay, left)
        return not self.halt.wait(delay)

    def _again(self, error: Any, documents: list[Document], sent: Sent, attempts: _Attempts) -> bool:
        """Whether a request that was refused as a whole is to be sent again; else its documents are dealt with."""
        status = error.status_code
        kind, why = _kind(error.body), reason(error.body) or str(error.message)
        if status in (408, 500, *_BUSY):
            attempts.may_be_there |= attempts.sent and status != 429
            attempts.failed(status, kind or f"http_{status}", why)
            return True
        if status in (400, 413) and len(documents) > 1:  # too large, or one document spoils the request
            half = len(documents) // 2
            for part in (documents[:half], documents[half:]):
                self._deliver(part, sent, _Attempts(may_be_there=attempts.may_be_there, counted=attempts.counted))
            return False
        if status == 401 or (status == 403 and "cluster_block" not in kind):
            self.forbidden = worded(error, "send the documents", self._elastic.server.url)
            self.halt.set()
        refusals = [Refusal(d, status, kind or f"http_{status}", why) for d in documents]
        unsure = attempts.may_be_there and self.forbidden is not None
        (sent.unconfirmed if unsure else sent.rejected).extend(refusals)
        return False

    def _attempt(self, documents: list[Document], sent: Sent, attempts: _Attempts) -> list[Document]:
        """Send once; gives back what has to be sent again. The client's errors pass through."""
        attempts.made += 1
        there = self._present.in_older(documents, again=attempts.first_failure is not None)
        if there:
            for document in documents:
                if document.id in there:
                    self._judge(document, there, sent)
            documents[:] = [d for d in documents if d.id not in there]
            if not documents:
                return []
        if attempts.sent and not attempts.counted:
            sent.retried += len(documents)
            attempts.counted = True
        attempts.sent = True
        answer = self._client(attempts).bulk(
            index=self._name, operations=[d.operation for d in documents], filter_path=_KEPT, **self._options
        )
        items = answer.get("items", ())
        if len(items) != len(documents):
            raise _NoAnswerError(f"it answered for {len(items):,} of {len(documents):,} documents")
        if answer.get("errors") is False and not any(map(_put_aside, items)):
            sent.created += len(documents)
            return []
        return self._sort(documents, items, sent, attempts)

    def _client(self, attempts: _Attempts) -> Any:
        client, timeout = self._elastic.client, self._elastic.connection.timeout
        if self._give_up is None or attempts.first_failure is None:
            return client
        left = attempts.first_failure + self._give_up - time.monotonic()
        return client.options(request_timeout=max(1.0, min(timeout, left)))

    def _sort(
        self, documents: list[Document], items: Sequence[dict[str, Any]], sent: Sent, attempts: _Attempts
    ) -> list[Document]:
        """Count each document's answer; gives back what has to be sent again."""
        left: list[Document] = []
        there: dict[str, list[Document]] = {}
        for document, item in zip(documents, items, strict=True):
            told: dict[str, Any] = next(iter(item.values()), {})
            status, error = told.get("status", 0), told.get("error") or {}
            if _put_aside(item):
                sent.rejected.append(Refusal(document, status, _PUT_ASIDE, self._why_put_aside))
            elif status in (200, 201):
                sent.created += 1
            elif status == 409:
                there.setdefault(error.get("index", self._name), []).append(document)
            elif status in _BUSY or (status == 500 and attempts.made < _FAULTS):
                attempts.failed(status, _kind(error), reason(error))
                left.append(document)
            else:
                sent.rejected.append(Refusal(document, status, _kind(error), reason(error)))
        for index, those in there.items():
            left += self._compare(index, those, sent, attempts)
        return left

    def _compare(self, index: str, documents: list[Document], sent: Sent, attempts: _Attempts) -> list[Document]:
        """Tell those that are there already from those that contradict; gives back what is not there after all."""
        from elasticsearch import ApiError, TransportError, UnsupportedProductError

        try:
            stored = self._present.stored(index, [d.id for d in documents])
        except (ApiError, TransportError, UnsupportedProductError) as error:
            attempts.failed(getattr(error, "status_code", 0), "no_answer", self._why(error))
            return documents
        if stored is None:
            sent.already_there += len(documents)
            sent.not_compared += len(documents)
            return []
        gone = []
        for document in documents:
            if document.id in stored:
                self._judge(document, stored, sent)
            else:  # deleted in between
                attempts.failed(409, "version_conflict", "it was deleted while it was sent")
                gone.append(document)
        return gone

    @property
    def _why_put_aside(self) -> str:
        return f"it is in the failure store and not in the stream: GET {self._name}::failures/_search tells why"

    @staticmethod
    def _judge(document: Document, stored: Any, sent: Sent) -> None:
        conflict = compare(document, stored[document.id])
        if conflict is None:
            sent.already_there += 1
        else:
            sent.conflicting.append(conflict)

    def _why(self, error: Exception) -> str:
        if isinstance(error, _NoAnswerError):
            return str(error)
        told = worded(error, "send", self._elastic.server.url)
        return told.why or told.message


def _put_aside(item: dict[str, Any]) -> bool:
    """Whether a document went to the failure store, which the server calls a success."""
    told: dict[str, Any] = next(iter(item.values()), {})
    return told.get(_PUT_ASIDE) == "used"


def _kind(body: Any) -> str:
    """The server's word for an error."""
    error = body.get("error", body) if isinstance(body, dict) else None
    return str(error.get("type", "")) if isinstance(error, dict) else ""


class _Outage:
    """Tells once that the server takes nothing, and once that it does again."""

    def __init__(self, url: str, notice: Callable[[str], None]) -> None:
        self._url = url
        self._notice = notice
        self._since: float | None = None
        self._failures = 0
        self._told = False
        self._lock = threading.Lock()

    def goes_on(self, why: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._since = self._since or now
            self._failures += 1
            tell = not self._told and (self._failures >= _FAILURES or now - self._since >= _OUTAGE)
            self._told |= tell
        if tell:
            self._notice(f"{self._url} did not take documents: {why}; trying again")

    def over(self) -> None:
        with self._lock:
            since, told = self._since, self._told
            self._since, self._told, self._failures = None, False, 0
        if told and since is not None:
            self._notice(f"{self._url} takes documents again, after {time.monotonic() - since:,.0f} s")


class Senders:
    """Threads that send chunks; they end with the process, since a request that hangs must not keep it."""

    def __init__(self, sender: Sender, threads: int = IN_FLIGHT) -> None:
        self._chunks: queue.SimpleQueue[list[Document]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Sent | BaseException] = queue.SimpleQueue()
        self._sender = sender
        self._threads = threads
        self.in_flight: list[int] = []
        """Sizes of the chunks that have no answer yet."""
        for number in range(threads):
            threading.Thread(target=self._work, name=f"ship-{number}", daemon=True).start()

    def _work(self) -> None:
        while chunk := self._chunks.get():
            try:
                self._done.put(self._sender.send(chunk))
            except BaseException as error:
                self._done.put(error)

    @property
    def free(self) -> bool:
        """A chunk that is given now is sent at once."""
        return len(self.in_flight) < self._threads

    def give(self, chunk: list[Document]) -> None:
        """Send a chunk."""
        self.in_flight.append(len(chunk))
        self._chunks.put(chunk)

    def take(self, seconds: float) -> Sent | None:
        """What became of a chunk; None where none is done within that time."""
        try:
            sent = self._done.get(timeout=seconds) if seconds > 0 else self._done.get_nowait()
        except queue.Empty:
            return None
        if isinstance(sent, BaseException):
            raise sent
        self.in_flight.remove(sent.documents)
        return sent

    def close(self) -> None:
        """Let the threads end when they have nothing left to do."""
        for _ in range(self._threads):
            self._chunks.put([])
