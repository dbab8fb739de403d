"""The canary: one marked line that goes the whole road, so that a person sees where the road ends.

    canary = write(contract, log)               # or `ship`, straight to Elasticsearch
    hops = follow(canary, stations, wait=45, start=…)

A hop is passed where its evidence says so. Elasticsearch and Kibana are asked for this very event; the counters of
Filebeat and Logstash do not name events, so theirs count only what went through since the canary was written.
"""

from __future__ import annotations

import os
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Literal, Protocol

from elkkit.contract import Contract
from elkkit.errors import InputError, from_os_error
from elkkit.line import MetricLogger, Parser
from elkkit.line.document import document
from elkkit.line.event import make_event, timestamp_text

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

RUN = "elkkit-canary"
"""`run.id` and `service.name` of every canary; `elkkit runs delete` of it removes them."""
OWN_METRIC = "Canary"
PAUSE = 0.15
"""Seconds between two looks."""
LATE = 1.5
"""Seconds that counters get once the canary has arrived: they are told later than what they count."""
State = Literal["passed", "stopped", "not reached", "skipped", "unsure"]


@dataclass(frozen=True, slots=True)
class Canary:
    """The line that was written."""

    id: str
    metric: str
    score: float
    line: bytes
    log: str | None
    """None where it was not written to a log."""
    offset: int | None
    moment: str
    """`@timestamp`."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One part of the road, and what became of the canary there."""

    name: str
    state: State
    seconds: float | None
    """Since it was written; None where it was not seen."""
    text: str
    hint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "state": self.state, "seconds": None if self.seconds is None else
                round(self.seconds, 3), "text": self.text, "hint": self.hint}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Journey:
    """Every hop, in order."""

    canary: Canary
    hops: tuple[Hop, ...]

    @property
    def stopped_at(self) -> Hop | None:
        """Where it ended before its goal."""
        return next((h for h in self.hops if h.state == "stopped"), None)

    @property
    def seconds(self) -> float | None:
        """From the writer to the last hop that saw it."""
        return max((h.seconds for h in self.hops if h.seconds is not None), default=None)

    def as_dict(self) -> dict[str, Any]:
        """`data` of the command's JSON."""
        canary, stopped = self.canary, self.stopped_at
        hops, before = [], 0.0
        for hop in self.hops:
            row = hop.as_dict()
            row["since_previous"] = None if hop.seconds is None else round(max(0.0, hop.seconds - before), 3)
            before = max(before, hop.seconds or 0.0)
            hops.append(row)
        return {
            "canary": {"event.id": canary.id, "metric": canary.metric, "score": canary.score, "log": canary.log,
                       "offset": canary.offset},
            "arrived": stopped is None,
            "stopped_at": stopped.name if stopped else None,
            "hops": hops,
        }  # fmt: skip


class Station(Protocol):
    """One hop while the canary is on its way. What fails in it is told by `tell`, never raised."""

    name: str
    names_event: bool
    """It is asked for this very event; counters are not."""
    lost: bool
    """Nothing will be seen of it, so there is no use in waiting for it."""
    passed: float | None
    """The moment by the clock of `follow`, or None."""

    def begin(self) -> None:
        """See how it is before the canary is written."""

    def look(self, canary: Canary, now: float) -> None:
        """Look for the canary."""

    def tell(self, start: float, *, beyond: bool) -> Hop:
        """What became of the canary there; `beyond`: a later hop has it."""


# --- writing ---------------------------------------------------------------------------------------------------------


def make(contract: Contract) -> tuple[str, float, dict[str, Any]]:
    """A canary's metric, score and event: a metric and a model of nobody, and a number of 17 digits."""
    metric = OWN_METRIC if contract.own_metrics == "any" else next(iter(contract.metrics))
    score = SystemRandom().random()
    fields = {
        "run.id": RUN, "service.name": RUN, "http.request.id": uuid.uuid4().hex, "log.level": "info",
        "tags": [contract.canary_tag],
    }  # fmt: skip
    return metric, score, make_event(contract, metric, score, fields=fields)


def write(contract: Contract, log: str) -> Canary:
    """Append a canary to a log that is there, as `elkkit.metric_logger` appends: one whole line in one write.

    Raises `InputError` for a log that is not there, is no ordinary file or ends in the middle of a line, and
    `StorageError`.
    """
    path = Path(log)
    refuse_unfit(path)
    metric, score, event = make(contract)
    before = path.stat().st_size
    tags = {"tags": [contract.canary_tag]}
    with MetricLogger(path, run_id=RUN, service_name=RUN, contract=contract, extra=tags) as logger:
        event = logger.log_metric(metric, score, request_id=event["http.request.id"])
    offset, line = _found(path, before, event["event.id"])
    return Canary(event["event.id"], metric, score, line, str(path), offset, event["@timestamp"])


def refuse_unfit(path: Path) -> None:
    """Raise `InputError` for a log that no canary can be appended to."""
    what = f"cannot write a canary to {path}"
    try:
        with path.open("rb") as file:
            if not path.is_file():
                raise InputError(
                    what, why="it is no ordinary file", hint="name the log that Filebeat reads: --log FILE"
                )
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
            if size and file.read(1) != b"\n":
                raise InputError(what, why="its last line has no line feed, and would be glued to the canary",
                                 hint=f"let the scorer end its line; if it is dead: echo >> {path}")  # fmt: skip
    except OSError as error:
        hint = "name a log that Filebeat reads: --log FILE"
        raise from_os_error("write a canary to", path, error, hint=hint) from error


def _found(path: Path, before: int, identity: str) -> tuple[int, bytes]:
    """Where the line is: others may have written just before it."""
    with path.open("rb") as file:
        file.seek(before)
        offset = before
        for line in file:
            if identity.encode() in line:
                return offset, line
            offset += len(line)
    raise InputError(f"the canary is not in {path}", why="the log was rotated or cut while it was written",
                     hint="run the same command again")  # fmt: skip


def ship(contract: Contract, elastic: Elastic) -> Canary:
    """Send a canary as `elkkit ship` would, without a log. Raises what `Elastic.asking` raises."""
    import orjson

    from elkkit.errors import ServiceError

    metric, score, event = make(contract)
    line = orjson.dumps(event)
    shipper = {"host.name": socket.gethostname()}
    identity, operation = document(Parser.of(contract).parse(line), shipper=shipper, dataset=contract.dataset,
                                   other_id=lambda: uuid.uuid4().hex, read_at=timestamp_text)  # fmt: skip
    with elastic.asking("send the canary"):
        rows: Any = operation.split(b"\n")  # bytes are sent as they are
        told = elastic.client.bulk(index=contract.stream, operations=rows)
    (item,) = told["items"]
    if (error := item["create"].get("error")) is not None:
        raise ServiceError(f"{elastic.where} refused the canary", why=error.get("reason"),
                           hint="elkkit setup --check  compares the templates")  # fmt: skip
    return Canary(identity, metric, score, line + b"\n", None, None, event["@timestamp"])


def same_bits(one: object, other: float) -> bool:
    """Whether a stored number is the very number that was written."""
    return isinstance(one, int | float) and struct.pack(">d", float(one)) == struct.pack(">d", other)


# --- following -------------------------------------------------------------------------------------------------------


def follow(
    canary: Canary,
    stations: Sequence[Station],
    *,
    wait: float,
    start: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Hop, ...]:
    """Look at every station until the last of which there is hope has the canary, or `wait` seconds are over.

    A hop for each, in order.

    `start`: the moment by `clock` when it was written.
    """
    hopeful = [s for s in stations if not s.lost]
    while hopeful:
        for station in hopeful:
            if station.passed is None:
                station.look(canary, clock())
        now, arrived = clock(), hopeful[-1].passed
        if arrived is not None and (now - arrived > LATE or all(s.passed is not None for s in hopeful)):
            break
        if now - start > wait:
            break
        pause(PAUSE)
    return tuple(_told(stations, start))


def _told(stations: Sequence[Station], start: float) -> Iterator[Hop]:
    """A hop for each; after the one where it stopped, none was reached."""
    stopped = False
    for place, station in enumerate(stations):
        beyond = any(s.names_event and s.passed is not None for s in stations[place + 1 :])
        hop = station.tell(start, beyond=beyond)
        if stopped and hop.state != "skipped":
            hop = Hop(hop.name, "not reached", None, "")
        stopped = stopped or hop.state == "stopped"
        yield hop
