"""Which Elasticsearch is used; starting, ending and looking at the embedded one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from elkkit.contract import Contract
from elkkit.errors import ElkkitError, ExitCode
from elkkit.settings import Settings
from elkkit.stack import embedded
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.stack.embedded import Engine
from elkkit.stack.embedded.files import RELEASES, Place
from elkkit.stack.reading import no_canaries

HEAP = embedded.HEAP
After = Literal["ended", "used", "kept"]
_LOOK = 0.2
_LEAVING = 5.0
"""Seconds that the node gets to end after its last user, before we say that others use it."""


def _silent(_text: str) -> None:
    return None


@contextmanager
def open_elastic(
    settings: Settings, *, install: bool = False, tell: Callable[[str], None] = _silent
) -> Iterator[Elastic]:
    """The Elasticsearch that the settings name, else the embedded one, which is started where it does not run.

    `install`: its jars may be downloaded. Raises what `connect` and `embedded.using` raise.
    """
    connection = Connection.from_settings(settings)
    if connection is not None:
        with connect(connection) as elastic:
            yield elastic
        return
    with embedded.using(install=install, tell=tell) as engine:
        tell(f"using the embedded Elasticsearch {engine.version} at {engine.url}")
        with connect(Connection(url=engine.url, timeout=settings["timeout"]), embedded=True) as elastic:
            yield elastic


# --- up --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Up:
    """An Elasticsearch that can be used now."""

    url: str
    version: str
    origin: str | None
    """Where the address comes from, such as `ELKKIT_ES_URL`; None for the embedded one."""
    engine: Engine | None
    started: bool
    """It was started now."""

    @property
    def stays(self) -> bool:
        """It does not end with this command."""
        return self.engine is None or self.engine.kept

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "url": self.url,
            "version": self.version,
            "embedded": self.engine is not None,
            "origin": self.origin,
            "started": self.started,
            "stays": self.stays,
            **({"engine": engine_dict(self.engine)} if self.engine else {}),
        }

    def wait(self, asked: Callable[[], bool]) -> bool:
        """Wait until `asked` says so, or until the node has ended by itself: then True."""
        while self.engine is not None and not asked():
            if embedded.ended(self.engine):
                return True
            time.sleep(_LOOK)
        return False

    def after(self) -> After:
        """What became of the node once the block has ended."""
        if self.engine is None or embedded.ended(self.engine, _LEAVING):
            return "ended"
        now = embedded.running()
        return "kept" if now is not None and now.kept else "used"


@contextmanager
def up(
    settings: Settings, *, detach: bool = False, heap: str = HEAP, tell: Callable[[str], None] = _silent
) -> Iterator[Up]:
    """An Elasticsearch that can be used until the block ends; `detach` lets the embedded one stay after it.

    Raises what `open_elastic` raises.
    """
    connection = Connection.from_settings(settings)
    if connection is not None:
        with connect(connection) as elastic:
            origin = settings.values["es_url"].origin
            yield Up(elastic.server.url, elastic.server.version_text, origin, None, started=False)
        return
    before = embedded.running()
    with embedded.using(install=True, tell=tell, heap=heap) as engine:
        if detach and not engine.kept:
            embedded.keep(engine)
        now = embedded.running() or engine
        yield Up(now.url, now.version, None, now, started=before is None or before.pid != now.pid)


# --- down ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Data:
    """A folder with the data of one version."""

    version: str
    folder: Path
    size: int
    """Bytes."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"version": self.version, "folder": str(self.folder), "bytes": self.size}


@dataclass(frozen=True, slots=True)
class Down:
    """What was ended and deleted."""

    engine: Engine | None
    kept: tuple[Data, ...]
    """Data that are still there."""
    deleted: tuple[Data, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "stopped": engine_dict(self.engine) if self.engine else None,
            "data": [d.as_dict() for d in self.kept],
            "deleted": [d.as_dict() for d in self.deleted],
        }


def stored() -> tuple[Data, ...]:
    """Data of the embedded Elasticsearch, one folder for each version that has stored any."""
    place = Place.of(None)
    folders = [(r.version, place.data(r.version)) for r in RELEASES]
    return tuple(Data(version, folder, folder_size(folder)) for version, folder in folders if folder.is_dir())


def down(*, delete_data: bool = False) -> Down:
    """End the embedded Elasticsearch, if it runs; `delete_data`: delete what it stored too, of every version.

    Raises `UnreachableError` when it does not end, `StorageError`.
    """
    engine = embedded.down()
    data = stored()
    if not delete_data:
        return Down(engine, data, ())
    embedded.delete_data()
    return Down(engine, (), data)


# --- status ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Startable:
    """What a start of the embedded Elasticsearch would use."""

    version: str | None
    """None without a Java for any."""
    java: str | None
    javas: tuple[str, ...]
    maven: str | None
    installed: bool
    """A start needs no download."""

    @property
    def possible(self) -> bool:
        """A start would work, perhaps after a download."""
        return self.version is not None and (self.installed or self.maven is not None)


@dataclass(frozen=True, slots=True)
class Status:
    """Which Elasticsearch a command would use now, and how it is."""

    url: str | None
    origin: str | None
    """Where the address comes from; None for the embedded one."""
    version: str | None
    cluster: str | None
    engine: Engine | None
    stream: str
    documents: int | None
    """In the stream; None where it is absent or could not be asked."""
    data: tuple[Data, ...]
    startable: Startable
    error: ElkkitError | None
    """Why it cannot be used, or where it has a version, why the stream could not be counted."""

    @property
    def exit_code(self) -> ExitCode:
        """0 when one answers, 1 when there is none, else the error's."""
        if self.error is not None and self.version is None:
            return self.error.exit_code
        return ExitCode.DONE if self.version is not None else ExitCode.NO

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        start = self.startable
        return {
            "url": self.url,
            "origin": self.origin,
            "version": self.version,
            "cluster": self.cluster,
            "engine": engine_dict(self.engine) if self.engine else None,
            "stream": self.stream,
            "documents": self.documents,
            "data": [d.as_dict() for d in self.data],
            "startable": {
                "possible": start.possible,
                "version": start.version,
                "java": start.java,
                "javas": list(start.javas),
                "maven": start.maven,
                "installed": start.installed,
            },
        }


def status(settings: Settings) -> Status:
    """Look, and start nothing. Raises `ConfigError` for settings that are wrong in themselves."""
    contract = settings.contract()
    stream = contract.stream
    connection = Connection.from_settings(settings)
    engine = embedded.running()
    origin = settings.values["es_url"].origin if connection else None
    if connection is None and engine is not None:
        connection = Connection(url=engine.url, timeout=settings["timeout"])
    documents, server, error = None, None, None
    if connection is not None:
        try:
            with connect(connection, embedded=origin is None) as elastic:
                server = elastic.server
                documents = _count(elastic, contract)
        except ElkkitError as failed:
            error = failed
    return Status(
        url=connection.url if connection else None, origin=origin, version=server.version_text if server else None,
        cluster=server.cluster if server else None, engine=engine, stream=stream, documents=documents, data=stored(),
        startable=_startable(), error=error,
    )  # fmt: skip


def _count(elastic: Elastic, contract: Contract) -> int | None:
    from elasticsearch import NotFoundError

    stream = contract.stream
    with elastic.asking(f"count the events of {stream}"):
        try:
            return int(elastic.client.count(index=stream, query=no_canaries(contract))["count"])
        except NotFoundError:
            return None


def _startable() -> Startable:
    from elkkit.stack.embedded.java import find_javas
    from elkkit.stack.embedded.maven import find_maven

    choice, maven = embedded.would_start(), find_maven()
    return Startable(
        version=choice[0].version if choice else None, java=str(choice[1]) if choice else None,
        javas=tuple(str(j) for j in find_javas()), maven=str(maven) if maven else None, installed=embedded.installed(),
    )  # fmt: skip


def engine_dict(engine: Engine) -> dict[str, Any]:
    """A node of ours for JSON."""
    return {
        "url": engine.url,
        "version": engine.version,
        "pid": engine.pid,
        "home": str(engine.home),
        "data": str(engine.data),
        "log": str(engine.log),
        "kept": engine.kept,
    }


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; what vanishes meanwhile is not counted."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total
