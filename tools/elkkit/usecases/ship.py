"""Send log files to Elasticsearch: each line once, however often it is sent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elkkit.contract import Contract
from elkkit.errors import ConfigError, ElkkitError, UnreachableError
from elkkit.line.parser import Outcome, Parser
from elkkit.stack.bulk import Sender, Senders, Sent
from elkkit.stack.conflicts import Conflict, Document
from elkkit.stack.growing import FollowedLine
from elkkit.stack.rejects import Rejects
from elkkit.stack.streams import Kind, Stream, find_stream
from elkkit.usecases.outgoing import Maker, each_once, is_whole, read, shown_name
from elkkit.usecases.parse import judge_strictly
from elkkit.usecases.shipped import Reason, RefusedError, ShipResult

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

CHUNK = 5_000
"""Most documents in one request."""
CHUNK_BYTES = 5_000_000
"""Bytes from which a request is sent with fewer."""
GIVE_UP = 120.0
"""Seconds for which a chunk is tried again unless told otherwise; following goes on without end."""
EXAMPLES = 20
"""Conflicting documents that are kept to be shown."""
REASONS = 10
"""Kinds of refusal that are shown."""
_IDLE = 1.0
_LAST_WAIT = 5.0
_LOOK = 0.1
_TELL_EVERY = 1000
_MOST_REASONS = 100


@dataclass(frozen=True, slots=True)
class ShipOptions:
    """How to ship."""

    follow: bool = False
    everything: bool = False
    """Ordinary log text too."""
    skip_malformed: bool = False
    give_up: float | None = None
    """Seconds after which what fails is given up; None: `GIVE_UP`, or without end when following."""
    rejected: Path | None = None
    """A file for the lines that were not taken; it must not exist, or be empty."""
    dry_run: bool = False


class Stop:
    """Asks a shipment to end in good order; may be used from a signal handler."""

    def __init__(self) -> None:
        self.asked = False
        """It was asked to end. No `Event`: its lock may be held where the signal comes."""
        self._then: Callable[[], None] = lambda: None

    def ask(self) -> None:
        """End soon."""
        self.asked = True
        self._then()

    def then(self, call: Callable[[], None]) -> None:
        """Call this too when asked, and nothing that was given before."""
        self._then = call


def ship(
    elastic: Elastic,
    files: Sequence[str],
    contract: Contract,
    options: ShipOptions = ShipOptions(),
    *,
    stop: Stop | None = None,
    progress: Callable[[int], None] = lambda _lines: None,
    notice: Callable[[str], None] = lambda _text: None,
    detail: Callable[[str], None] = lambda _text: None,
) -> ShipResult:
    """Send the lines of `files` (`-`: standard input) to the contract's stream.

    `progress` is told the number of lines read, `notice` what a person should know (from any thread), `detail` what
    they may want to know. Raises `ElkkitError` before anything is sent: where the stream is not there, the server
    says no, or the file for what is rejected cannot be used. What fails later is in the result.
    """
    stop = stop or Stop()
    stream = _stream(elastic, contract, detail)
    failed: list[ElkkitError] = []
    with Rejects(options.rejected, contract) as rejects:
        work = _Shipment(contract, elastic, stream, options, rejects, stop, progress, notice)
        with closing(
            read(each_once(files, notice), follow=options.follow, stop=stop.then, notice=notice, failed=failed)
        ) as lines:
            work.run(lines)
        return work.result(failed)


def _stream(elastic: Elastic, contract: Contract, detail: Callable[[str], None]) -> Stream | None:
    """What stands behind the stream's name, or None where it may not be seen."""
    from elasticsearch import AuthorizationException

    name = contract.stream
    with elastic.asking(f"find the stream {name}"):
        try:
            stream = find_stream(elastic, name)
        except AuthorizationException:
            detail(f"these credentials may not see what stands behind {name}; sending to it all the same")
            return None
    if stream.kind in (Kind.DATA_STREAM, Kind.ALIAS):
        detail(f"{name} is {'a data stream' if stream.kind is Kind.DATA_STREAM else 'an alias'} "
               f"over {len(stream.indices)} {'index' if len(stream.indices) == 1 else 'indices'}")  # fmt: skip
        return stream
    if stream.kind is Kind.ABSENT:
        why = "Elasticsearch would make it up from the first line, and guess the types of its fields"
        raise ConfigError(f"{elastic.server.url} has no stream {name}", why=why, hint="elkkit setup")
    why = "it is a plain index, whose fields may have any type and which cannot be rolled over"
    raise ConfigError(f"{name} is no stream", why=why, hint="delete or rename that index, then: elkkit setup")


class _Shipment:
    """One run of `ship`."""

    def __init__(
        self,
        contract: Contract,
        elastic: Elastic,
        stream: Stream | None,
        options: ShipOptions,
        rejects: Rejects,
        stop: Stop,
        progress: Callable[[int], None],
        notice: Callable[[str], None],
    ) -> None:
        self._contract = contract
        self._elastic = elastic
        self._options = options
        self._rejects = rejects
        self._stop = stop
        self._progress = progress
        self._notice = notice
        give_up = options.give_up if options.give_up is not None or options.follow else GIVE_UP
        self._sender = Sender(elastic, stream, contract.stream, give_up=give_up, notice=notice)
        self._senders = Senders(self._sender)
        self._began = time.monotonic()
        self._building: list[Document] = []
        self._bytes = 0
        self._since = 0.0
        self._read = self._left_out = self._cut_off = self._not_sent = self._would_send = 0
        self._outcomes: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._conflicts: list[Conflict] = []
        self._reasons: dict[tuple[str, int, str], Reason] = {}

    # --- reading -----------------------------------------------------------------------------------------------------

    def run(self, lines: Iterable[FollowedLine | None]) -> None:
        """Read and send until the files end, or it is asked to end, or there is no sense in going on."""
        make = Maker(self._contract)
        parser = Parser.of(self._contract)
        try:
            for line in lines:
                if line is None:
                    self._idle()
                elif self._take(line, parser, make) and self._full():
                    self._flush()
                if self._ending:
                    break
            if not self._ending:
                self._flush()
            self._settle()
        except KeyboardInterrupt:  # asked a second time: at once
            self._stop.ask()
        finally:
            self._sender.halt.set()
            self._senders.close()
        self._abandon()
        if self._counts["created"] and not self._ending:
            self._refresh()

    @property
    def _ending(self) -> bool:
        return self._stop.asked or self._sender.gave_up or self._sender.forbidden is not None

    def _take(self, line: FollowedLine, parser: Parser, make: Maker) -> bool:
        """Count a line; True where it goes into the chunk that is being built."""
        parsed = judge_strictly(parser, line)
        make.saw(line)
        if not line.ended and not line.cut and not is_whole(parsed, line.data):
            self._cut_off += 1
            self._notice(
                f"the last line of {shown_name(line.file)} has no line feed and may be cut off: it is not sent"
            )
            return False
        outcome = parsed.outcome
        self._read += 1
        self._outcomes[outcome] += 1
        if not self._read % _TELL_EVERY:
            self._progress(self._read)
        skipped = outcome is Outcome.NOT_A_SCORE and not self._options.everything
        if skipped or (outcome is Outcome.MALFORMED and self._options.skip_malformed):
            self._left_out += 1
            return False
        if self._options.dry_run:
            self._would_send += 1
            return False
        if not self._building:
            self._since = time.monotonic()
        made = make.document(parsed, line)
        self._bytes += len(made.operation)
        self._building.append(made)
        return True

    def _full(self) -> bool:
        return len(self._building) >= CHUNK or self._bytes >= CHUNK_BYTES

    def _idle(self) -> None:
        """A round over all files is done: lines that have waited long enough go, and answers are counted."""
        self._progress(self._read)
        self._collect(0)
        if self._building and self._senders.free and time.monotonic() - self._since >= _IDLE:
            self._flush()

    # --- sending -----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send what was built, as soon as fewer than `IN_FLIGHT` chunks wait for an answer: the files are the queue."""
        if not self._building:
            return
        while not self._senders.free:
            self._collect(_LOOK)
            if self._ending:
                return
        self._senders.give(self._building)
        self._building, self._bytes = [], 0

    def _settle(self) -> None:
        """Wait for the answers that are missing; not long where it was asked to end."""
        until = None
        while self._senders.in_flight:
            if self._ending and until is None:
                self._sender.halt.set()
                until = time.monotonic() + _LAST_WAIT
            if until is not None and time.monotonic() > until:
                break
            self._collect(_LOOK)

    def _abandon(self) -> None:
        """Count what has no answer, and what was never sent."""
        self._collect(0)
        for size in self._senders.in_flight:
            self._counts["sent"] += size
            self._counts["unconfirmed"] += size
            self._reason("unconfirmed", 0, "no_answer", "it was interrupted before an answer came", "", size)
        self._not_sent += len(self._building)

    def _collect(self, seconds: float) -> None:
        """Count the answers that are there; wait for the first one, at most so many seconds."""
        while (sent := self._senders.take(seconds)) is not None:
            seconds = 0
            self._count(sent)

    def _count(self, sent: Sent) -> None:
        counts = self._counts
        counts["sent"] += sent.documents
        for name in ("created", "already_there", "not_compared", "retried"):
            counts[name] += getattr(sent, name)
        for name in ("conflicting", "rejected", "unconfirmed"):
            counts[name] += len(getattr(sent, name))
        self._conflicts += sent.conflicting[: EXAMPLES - len(self._conflicts)]
        for name, refusals in (("rejected", sent.rejected), ("unconfirmed", sent.unconfirmed)):
            for refusal in refusals:
                where = f"{shown_name(refusal.document.file)}:{refusal.document.offset}"
                self._reason(name, refusal.status, refusal.kind, refusal.why, where, 1)
            self._rejects.keep(refusals)

    def _reason(self, name: str, status: int, kind: str, why: str, where: str, count: int) -> None:
        if len(self._reasons) >= _MOST_REASONS and (name, status, kind) not in self._reasons:
            status, kind = 0, "other"
        if self._options.follow and (name, status, kind) not in self._reasons:  # the end may be far away
            self._notice(f"{name}: {where}: {why}" if where else f"{name}: {why}")
        known = self._reasons.setdefault((name, status, kind), Reason(status, kind, why, where))
        known.count += count

    def _refresh(self) -> None:
        """Let whoever asks next see everything."""
        from elasticsearch import ApiError, TransportError

        with suppress(ApiError, TransportError):  # not every key may, and a server does it by itself soon
            self._elastic.client.indices.refresh(index=self._contract.stream)

    # --- the result --------------------------------------------------------------------------------------------------

    def result(self, failed: Sequence[ElkkitError]) -> ShipResult:
        """What became of it all."""
        counts = self._counts
        return ShipResult(
            read=self._read,
            outcomes={str(o): self._outcomes[o] for o in _ORDER},
            sent=counts["sent"],
            created=counts["created"],
            already_there=counts["already_there"],
            conflicting=counts["conflicting"],
            rejected=counts["rejected"],
            unconfirmed=counts["unconfirmed"],
            retried=counts["retried"],
            seconds=time.monotonic() - self._began,
            left_out=self._left_out,
            not_sent=self._not_sent,
            would_send=self._would_send,
            cut_off=self._cut_off,
            not_compared=counts["not_compared"],
            stream=self._contract.stream,
            where=self._elastic.where,
            reasons=tuple(r.as_dict() for r in self._most_frequent()[:REASONS]),
            conflicts=tuple(_conflict(c) for c in self._conflicts),
            errors=(*failed, *self._rejects.failed, *self._errors()),
            interrupted=self._stop.asked,
        )

    def _most_frequent(self, *names: str) -> list[Reason]:
        found = [r for (name, _, _), r in self._reasons.items() if not names or name in names]
        return sorted(found, key=lambda r: -r.count)

    def _errors(self) -> list[ElkkitError]:
        """What went wrong with the documents, gravest last."""
        counts, found = self._counts, list[ElkkitError]()
        if n := counts["conflicting"]:
            found.append(
                RefusedError(
                    f"{n:,} {_documents(n)} there with another score", why="the same event.id was given to two scores",
                    hint="score again under a new run.id, or take the wrong line out of the log",
                )
            )  # fmt: skip
        if n := counts["rejected"]:
            saved = self._rejects.path
            hint = f"mend them, then: elkkit ship {saved}" if saved else "elkkit ship FILES --rejected FILE  keeps them"
            found.append(RefusedError(f"{n:,} {_documents(n)} rejected", why=self._why("rejected"), hint=hint))
        if (n := counts["unconfirmed"]) and not self._stop.asked:
            found.append(
                UnreachableError(
                    f"{n:,} {_documents(n)} unconfirmed, and sending was given up", why=self._why("unconfirmed"),
                    hint="run the same command again; what arrived counts once",
                )
            )  # fmt: skip
        if self._sender.forbidden is not None:
            found.append(self._sender.forbidden)
        return found

    def _why(self, name: str) -> str:
        """The reasons, in the server's words."""
        found = self._most_frequent(name)
        told = [f"{r.example}{f' ({r.where})' if r.where else ''}" for r in found[:1]]
        rest = sum(r.count for r in found[1:])
        return "".join(told) + (f"; {rest:,} more for {len(found) - 1} other reasons" if rest else "")


_ORDER = (Outcome.SCORED, Outcome.NOT_FINITE, Outcome.NOT_A_SCORE, Outcome.MALFORMED)


def _documents(count: int) -> str:
    return "document is" if count == 1 else "documents are"


def _conflict(conflict: Conflict) -> dict[str, Any]:
    about = conflict.document
    return {"id": about.id, "file": shown_name(about.file), "offset": about.offset,
            "stored": conflict.stored, "given": conflict.given}  # fmt: skip
