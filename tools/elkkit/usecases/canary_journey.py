"""One canary from the log to the dashboard: which hops there are by the settings, and what became of it at each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from elkkit.contract import Contract
from elkkit.errors import ElkkitError, UsageError
from elkkit.settings import Settings
from elkkit.stack.monitoring import Counters, option
from elkkit.usecases.canary import Canary, Hop, Journey, Station, follow, refuse_unfit, ship, write
from elkkit.usecases.canary_counters import FilebeatStation, LogstashStation, NotAsked
from elkkit.usecases.canary_stores import ElasticStation, KibanaStation, SearchStation
from elkkit.usecases.doctor import PATIENCE, elastic_connection
from elkkit.usecases.doctor_local import named_logs

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic
    from elkkit.stack.kibana import Kibana

Tell = Callable[[str], None]


def chosen_log(given: Sequence[str], settings: Settings) -> str:
    """The log that the canary goes to: the one that was named, else the newest that the settings mean.

    Raises `UsageError` where that is none or several.
    """
    if len(given) > 1:
        raise UsageError("a canary goes to one log", why=f"{len(given)} are named",
                         hint=f"elkkit doctor --canary --log {given[0]}")  # fmt: skip
    files = named_logs(given, settings["log_files"])
    if not files:
        why = "no log is named" if not settings["log_files"] else f"no file matches {settings['log_files']}"
        raise UsageError("there is no log for the canary", why=why,
                         hint="elkkit doctor --canary --log FILE, one that Filebeat reads; without Filebeat: "
                              "--canary --ship")  # fmt: skip
    return max(files, key=lambda f: Path(f).stat().st_mtime) if len(files) > 1 else files[0]


def journey(
    settings: Settings,
    contract: Contract,
    *,
    log: str | None,
    wait: float,
    tell: Tell = lambda _text: None,
) -> Journey:
    """Write a canary to `log` (None: send it as `elkkit ship` would) and follow it for at most `wait` seconds.

    Raises `UsageError` where no hop can be looked at, `InputError` for a log that does not fit, and what reaching
    Elasticsearch raises where the canary is to be sent there.
    """
    with ExitStack() as stack:
        elastic = _elastic(settings, stack, needed=log is None)
        stations = _stations(settings, contract, elastic, stack, shipped=log is None)
        if all(s.lost for s in stations):
            if isinstance(elastic, _Unreached):
                raise elastic.error
            raise UsageError(
                "there is nothing that the canary could be looked for in", why="no service is configured",
                hint="elkkit doctor --canary --log FILE --es-url URL --logstash-url URL --filebeat-url URL",
            )  # fmt: skip
        if log is not None:
            refuse_unfit(Path(log))
        for station in stations:
            station.begin()
        start = time.monotonic()
        if log is None:
            assert isinstance(elastic, _Reached)
            canary = ship(contract, elastic.elastic)
            took = time.monotonic() - start
            first = Hop("ship", "passed", took, f"sent to {elastic.elastic.where}, no log in between")
        else:
            canary = write(contract, log)
            start = time.monotonic()
            first = Hop("log", "passed", 0.0, f"{len(canary.line)} bytes at offset {canary.offset:,}")
        tell(f"canary {canary.id} is on its way; waiting at most {wait:g} s")
        return Journey(canary, (first, *follow(canary, stations, wait=wait, start=start)))


class _Reached:
    """An Elasticsearch that answers."""

    def __init__(self, elastic: Elastic) -> None:
        self.elastic = elastic


class _Unreached:
    """One that does not, which the canary tells at its hop."""

    def __init__(self, error: ElkkitError) -> None:
        self.error = error


def _elastic(settings: Settings, stack: ExitStack, *, needed: bool) -> _Reached | _Unreached | None:
    from elkkit.stack.elastic import connect

    connection, embedded = elastic_connection(settings)
    if connection is None:
        if needed:
            raise UsageError("there is no Elasticsearch to send the canary to",
                             why="none is configured, and the embedded one is not started",
                             hint="elkkit up -d, or --es-url URL")  # fmt: skip
        return None
    try:
        patient = replace(connection, timeout=min(PATIENCE, connection.timeout))
        return _Reached(stack.enter_context(connect(patient, embedded=embedded)))
    except ElkkitError as error:
        if needed:
            raise
        return _Unreached(error)


def _stations(
    settings: Settings,
    contract: Contract,
    elastic: _Reached | _Unreached | None,
    stack: ExitStack,
    *,
    shipped: bool,
) -> list[Station]:
    found: list[Station] = []
    if not shipped:
        found += [_counting("Filebeat", settings), _counting("Logstash", settings)]
    if isinstance(elastic, _Reached):
        found += [ElasticStation(elastic.elastic, contract), SearchStation(elastic.elastic, contract)]
        found.append(_kibana(settings, contract, elastic.elastic, stack))
    elif elastic is not None:
        found += [Broken("Elasticsearch", elastic.error), NotAsked("Kibana", "Elasticsearch does not answer")]
    else:
        found += [NotAsked("Elasticsearch", "none is configured: --es-url URL"),
                  NotAsked("Kibana", "not looked at without Elasticsearch")]  # fmt: skip
    return found


def _counting(name: str, settings: Settings) -> Station:
    if name == "Filebeat":
        counters = Counters.from_settings("Filebeat", settings)
        return FilebeatStation(counters) if counters else NotAsked(name, f"not asked: {option('Filebeat')} URL")
    counters = Counters.from_settings("Logstash", settings)
    return LogstashStation(counters) if counters else NotAsked(name, f"not asked: {option('Logstash')} URL")


def _kibana(settings: Settings, contract: Contract, elastic: Elastic, stack: ExitStack) -> Station:
    from elkkit.stack.kibana import connect
    from elkkit.stack.kibanawire import KibanaConnection

    connection = KibanaConnection.from_settings(settings)
    if connection is None:
        return NotAsked("Kibana", "not asked: --kibana-url URL")
    patient = replace(connection, timeout=min(PATIENCE, connection.timeout))
    try:
        kibana: Kibana = stack.enter_context(connect(patient))
    except ElkkitError as error:
        return Broken("Kibana", error)
    return KibanaStation(kibana, elastic, contract)


class Broken:
    """A hop that did not answer before the canary was written."""

    names_event = True
    lost = True

    def __init__(self, name: str, error: ElkkitError) -> None:
        self.name = name
        self.passed: float | None = None
        self._error = error

    def begin(self) -> None:
        """It has failed already."""

    def look(self, canary: Canary, now: float) -> None:
        """It has failed already."""

    def tell(self, start: float, *, beyond: bool) -> Hop:  # noqa: ARG002
        """What it said."""
        error = self._error
        return Hop(self.name, "stopped", None, str(error), error.hint)
