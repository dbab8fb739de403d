"""Look at everything between a scoring script and a dashboard, in seconds, and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from elkkit.contract import load_contract
from elkkit.errors import ConfigError, ElkkitError, ExitCode
from elkkit.usecases import doctor_local as local
from elkkit.usecases.findings import Check, State, counts, fail, failed, ok, skip

if TYPE_CHECKING:
    from elkkit.contract import Contract
    from elkkit.settings import Settings
    from elkkit.stack.elastic import Connection
    from elkkit.stack.kibanawire import KibanaConnection

PATIENCE = 5.0
"""Seconds for one answer of a service; they are asked side by side, so that dead ones do not add up."""
Look = Callable[[], Sequence[Check]]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks in the order in which they are shown."""

    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> ExitCode:
        """1 where something is wrong."""
        return ExitCode.NO if any(c.state is State.FAIL for c in self.checks) else ExitCode.DONE

    def as_dict(self, settings: Settings) -> dict[str, Any]:
        """`data` of the command's JSON."""
        return {"counts": counts(self.checks), "checks": [c.as_dict() for c in self.checks],
                "settings": settings.shown()}  # fmt: skip


def examine(settings: Settings, *, logs: Sequence[str] = (), offline: bool = False) -> Diagnosis:
    """Ask everything that can be asked. `logs`: the scorers' files; `offline`: no service is asked.

    Nothing is raised for what is wrong: that is what the checks tell.
    """
    try:
        contract, own = settings.contract(), ok("contract", "")
    except ConfigError as error:
        contract, own = load_contract(), failed("contract", error)
    looks: list[tuple[str, Look]] = [
        ("settings", lambda: [local.origins(settings)]),
        ("contract", lambda: [own] if own.state is State.FAIL else local.consistency(contract)),
        ("assets", local.assets),
        ("a test line", lambda: [local.a_line(contract)]),
        ("models", local.models),
        ("log files", lambda: local.log_files(logs, settings["log_files"])),
    ]
    services = _services(settings, contract)
    if offline:
        looks += [(name, _skipped(name)) for name, _ in services]
    else:
        looks += services
    with ThreadPoolExecutor(len(looks), "doctor") as pool:
        asked = [(name, pool.submit(look)) for name, look in looks]
        return Diagnosis(tuple(check for name, answer in asked for check in _answered(name, answer)))


def _skipped(name: str) -> Look:
    return lambda: [skip(name, "not asked: --offline")]


def _answered(name: str, answer: Future[Sequence[Check]]) -> Iterator[Check]:
    """A look's checks; one that breaks is a check that failed, and the others go on."""
    try:
        yield from answer.result()
    except ElkkitError as error:
        yield failed(name, error)
    except Exception as error:  # an answer that nobody foresaw must not hide what the other checks found
        yield fail(name, f"elkkit could not look at it: {type(error).__name__}: {error}",
                   "report this with the version that elkkit --version prints")  # fmt: skip


# --- services --------------------------------------------------------------------------------------------------------


def _services(settings: Settings, contract: Contract) -> list[tuple[str, Look]]:
    return [
        ("Elasticsearch", lambda: _elasticsearch(settings, contract)),
        ("Logstash", lambda: _counters(settings, "Logstash")),
        ("Filebeat", lambda: _counters(settings, "Filebeat")),
        ("Kibana", lambda: _kibana(settings, contract)),
    ]


def elastic_connection(settings: Settings) -> tuple[Connection | None, bool]:
    """The Elasticsearch that commands would use now without starting one, and whether it is the embedded one."""
    from elkkit.stack import embedded
    from elkkit.stack.elastic import Connection

    connection = Connection.from_settings(settings)
    if connection is not None:
        return connection, False
    engine = embedded.running()
    return (Connection(url=engine.url, timeout=settings["timeout"]), True) if engine else (None, False)


def _elasticsearch(settings: Settings, contract: Contract) -> Sequence[Check]:
    from elkkit.stack.elastic import connect
    from elkkit.usecases.doctor_elastic import NAME, checks

    connection, embedded = elastic_connection(settings)
    if connection is None:
        return [skip(NAME, "none runs: none is configured, and the embedded one is not started",
                     "elkkit up -d, or --es-url URL")]  # fmt: skip
    with connect(_patient(connection), embedded=embedded) as elastic:
        return list(checks(elastic, contract))


def _kibana(settings: Settings, contract: Contract) -> Sequence[Check]:
    from elkkit.stack.kibana import connect
    from elkkit.stack.kibanawire import KibanaConnection
    from elkkit.usecases.doctor_kibana import NAME, checks

    connection: KibanaConnection | None = KibanaConnection.from_settings(settings)
    if connection is None:
        return [skip(NAME, "none is configured", "--kibana-url URL")]
    with connect(replace(connection, timeout=min(PATIENCE, connection.timeout))) as kibana:
        return list(checks(kibana, contract))


def _counters(settings: Settings, name: Any) -> Sequence[Check]:
    from elkkit.stack.monitoring import Counters, option
    from elkkit.usecases import doctor_shippers as shippers

    counters = Counters.from_settings(name, settings)
    if counters is None:
        return [skip(name, "not configured: its counters have no address", f"{option(name)} URL")]
    counters = counters.within(PATIENCE)
    if name == "Logstash":
        return shippers.logstash(counters.get("/"), counters.get("/_node/stats/pipelines"))
    return shippers.filebeat(counters.get("/"), counters.get("/stats"))


def _patient(connection: Connection) -> Connection:
    return replace(connection, timeout=min(PATIENCE, connection.timeout))
