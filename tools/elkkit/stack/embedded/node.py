"""A real Elasticsearch of the user's own, on the loopback address: started once, shared, and gone with its users.

Every process that uses the node holds a lease (`elkkit.stack.embedded.lease`); the node ends itself when the last one
is gone, however that process ended, unless `keep` told it to stay. Nothing here prints: `tell` gets one line a step.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from elkkit.assets import asset
from elkkit.errors import ElkkitError, UnreachableError, from_os_error
from elkkit.folders import private
from elkkit.stack.embedded import files, process
from elkkit.stack.embedded.failure import JAVA_LOG, LOG, failure, late
from elkkit.stack.embedded.files import RELEASES, Place, Release
from elkkit.stack.embedded.java import Java, find_javas
from elkkit.stack.embedded.lease import alone, lease
from elkkit.stack.embedded.maven import find_maven
from elkkit.stack.embedded.process import Record, alive, read_record, wait_until

HEAP = "512m"
READY_SECONDS = 60.0
"""How long a start may take, from Java's start to green."""
STOP_SECONDS = 20.0
"""How long a node may take to end before it is killed; it loses nothing that it acknowledged."""


class EngineMissingError(UnreachableError):
    """There is no Elasticsearch to use, and none can be started."""

    code = "no_engine"


@dataclass(frozen=True, slots=True)
class Engine:
    """A running node of ours."""

    url: str
    version: str
    pid: int
    home: Path
    data: Path
    log: Path
    kept: bool
    """It stays when its users are gone."""


def _silent(_text: str) -> None:
    return None


# --- what there is ---------------------------------------------------------------------------------------------------


def running(state: Path | None = None) -> Engine | None:
    """Our node, if it is alive and answers within 5 seconds. Starts nothing; stale files are no error."""
    place = Place.of(state)
    record = read_record(place)
    if record is None or record.url is None or not alive(record):
        return None
    return _engine(place, record) if process.health(record.url, record.token, process.ANSWER_SECONDS) else None


def installed(state: Path | None = None) -> bool:
    """The jars are there, so that a start needs no download."""
    choice = would_start(state)
    return choice is not None and files.broken_size(choice[0]) is None


def would_start(state: Path | None = None) -> tuple[Release, Java] | None:
    """What a start would use now: the version and the Java; None without a Java for any."""
    return choose(Place.of(state), find_javas())


def choose(place: Place, javas: Sequence[Java]) -> tuple[Release, Java] | None:
    """A version that has data here goes first: nobody's data vanish with a new Java. Else the first Java decides."""
    for release in place.with_data():
        for java in javas:
            if java.version >= release.java:
                return release, java
    for java in javas:
        for release in RELEASES:
            if java.version >= release.java:
                return release, java
    return None


def _engine(place: Place, record: Record) -> Engine:
    home = place.home(record.version)
    return Engine(
        url=record.url or "", version=record.version, pid=record.pid, home=home, data=place.data(record.version),
        log=home / "logs" / LOG, kept=place.keep.exists(),
    )  # fmt: skip


# --- using and ending it ---------------------------------------------------------------------------------------------


@contextmanager
def using(
    *,
    install: bool,
    tell: Callable[[str], None] = _silent,
    heap: str = HEAP,
    state: Path | None = None,
    ready_seconds: float = READY_SECONDS,
) -> Iterator[Engine]:
    """Use the node that runs, or start one; it stays alive until the block ends.

    `install`: jars that are missing may be downloaded. `state` replaces the user's state folder. `heap` is for a node
    that is started. Raises `EngineMissingError`, `UnreachableError`, `StorageError`, `ConfigError`.
    """
    place = Place.of(state)
    process.checked_heap(heap)
    with _disk(place.root):
        private(place.root)
        held = lease(place.lease, seconds=STOP_SECONDS + 10)
        try:
            held.__enter__()
        except TimeoutError:
            record = read_record(place)
            raise UnreachableError(
                "the embedded Elasticsearch is ending, and does not end",
                why=f"process {record.pid if record else '?'} holds {place.lease}", hint="elkkit down, then once more",
            ) from None  # fmt: skip
    try:
        with _disk(place.root):
            engine = _ensure(place, install, tell, heap, ready_seconds)
        yield engine
    finally:
        held.__exit__(None, None, None)
        _reap()


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error("write", error.filename or folder, error) from error


def _ensure(place: Place, install: bool, tell: Callable[[str], None], heap: str, seconds: float) -> Engine:
    if (engine := running(place.root.parent)) is not None:
        return engine
    with alone(place.starting, lambda: tell("another elkkit is starting Elasticsearch; waiting for it")):
        record = read_record(place)
        if record is not None and alive(record):  # started by now, or by one that died before it was ready
            ready = process.await_ready(place, record, None, seconds)
            if isinstance(ready, str):
                raise UnreachableError("the embedded Elasticsearch runs and is not ready", why=ready,
                                       hint="elkkit down  ends it; the next command starts it anew")  # fmt: skip
            if ready is not None:
                return _engine(place, ready)
        place.keep.unlink(missing_ok=True)  # it was meant for a node that is gone
        return _start_mended(place, install, tell, heap, seconds)


def keep(engine: Engine) -> None:
    """Let the node stay when its users are gone. Raises `StorageError`."""
    place = Place(engine.home.parent)
    with _disk(place.root):
        place.keep.touch(mode=0o600)


def down(seconds: float = STOP_SECONDS, state: Path | None = None) -> Engine | None:
    """End our node, also for its other users; None when there was none. Its data stay.

    Raises `UnreachableError` when it does not end, not even killed.
    """
    place = Place.of(state)
    record = read_record(place)
    if record is None or not alive(record):
        return None
    engine = replace(_engine(place, record), kept=False)
    with _disk(place.root):
        place.keep.unlink(missing_ok=True)
    for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        if alive(record):
            with suppress(ProcessLookupError):
                os.kill(record.pid, number)
        if wait_until(lambda: not alive(record), limit):
            _reap()
            return engine
    raise UnreachableError("the embedded Elasticsearch does not end", why=f"process {record.pid} is still there",
                           hint=f"see it with: ps -fp {record.pid}")  # fmt: skip


def delete_data(state: Path | None = None) -> None:
    """Delete what our node stored, of every version. Raises `UnreachableError` while one runs, `StorageError`."""
    place = Place.of(state)
    if not place.root.is_dir():
        return
    with _disk(place.root), alone(place.starting, lambda: None):
        record = read_record(place)
        if record is not None and alive(record):
            raise UnreachableError("the data were not deleted", why="another command started Elasticsearch meanwhile",
                                   hint="elkkit down --delete-data")  # fmt: skip
        for release in RELEASES:
            if place.data(release.version).is_dir():
                shutil.rmtree(place.data(release.version))


def ended(engine: Engine, seconds: float = 0) -> bool:
    """The node's process is gone; waits for that at most so many seconds."""
    gone = wait_until(lambda: not process.lives(engine.pid, engine.home), seconds)
    _reap()
    return gone


# --- starting it -----------------------------------------------------------------------------------------------------

_children: list[subprocess.Popen[bytes]] = []


def _reap() -> None:
    """Take notice of the ends of nodes that this process started; no zombie stays."""
    _children[:] = [c for c in _children if c.poll() is None]


def _start_mended(place: Place, install: bool, tell: Callable[[str], None], heap: str, seconds: float) -> Engine:
    """Start a node. Where that fails over a damaged jar, put it right and start once more."""
    release, java = _provide(place, install, tell)
    try:
        return _start(place, release, java, heap, tell, seconds)
    except ElkkitError:
        wrong = files.broken_content(release)
        if wrong is None:
            raise
        _mend(release, java, wrong, install, tell)
        return _start(place, release, java, heap, tell, seconds)


def _start(
    place: Place, release: Release, java: Java, heap: str, tell: Callable[[str], None], seconds: float
) -> Engine:
    """Start a node and wait until it is green. Whatever happens before that ends it again."""
    token, home = place.token(), place.home(release.version)
    classes = files.launcher(release, java=java, program=find_maven(), tell=tell)
    files.prepare_home(home, release, token)
    since = _size(home / "logs" / LOG)
    tell(f"starting Elasticsearch {release.version} on Java {java.version}")
    words = process.command(place, release, java, heap, token, classes)
    child = process.spawn(words, home, home / "logs" / JAVA_LOG)
    try:
        record = Record(child.pid, token, release.version)
        record.write(place)
        ready = process.await_ready(place, record, child, seconds)
        if ready is None:
            raise failure(home, child.poll(), heap, since)
        if isinstance(ready, str):
            raise late(home, seconds, ready, since)
    except BaseException:
        child.kill()
        child.wait()
        place.record.unlink(missing_ok=True)
        raise
    _children.append(child)
    return _engine(place, ready)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


# --- what it is started from -----------------------------------------------------------------------------------------

_FILES_DO = "elkkit compare FILES works without"


def _provide(place: Place, install: bool, tell: Callable[[str], None]) -> tuple[Release, Java]:
    """A version whose jars are there, and a Java that runs it. Raises `EngineMissingError` and what Maven may."""
    javas = find_javas()
    choice = choose(place, javas)
    if choice is None:
        raise _no_java(javas)
    release, java = choice
    newest = max(j.version for j in javas)
    if release not in (stored := place.with_data()):
        for lost in (r for r in stored if r.java > newest):
            tell(f"the data of Elasticsearch {lost.version} need Java {lost.java}; starting {release.version} without")
    wrong = files.broken_size(release)
    if wrong is not None:
        if release.folder.exists():
            _mend(release, java, wrong, install, tell)
        else:
            files.install(release, program=_maven(install), java=java, tell=tell)
    return release, java


def _mend(release: Release, java: Java, wrong: str, install: bool, tell: Callable[[str], None]) -> None:
    tell(f"{wrong} of Elasticsearch {release.version} is damaged; mending it")
    files.install(release, program=_maven(install), java=java, tell=tell, again=True)


def _maven(install: bool) -> Path:
    found = find_maven()
    if found is None:
        raise EngineMissingError(
            "no Elasticsearch runs, and Maven, which fetches the embedded one, is not on the PATH",
            why=_FILES_DO, hint=_ways_out(),
        )  # fmt: skip
    if not install:
        raise EngineMissingError(
            "no Elasticsearch runs, and the embedded one is not fetched yet", why=_FILES_DO,
            hint=f"elkkit up  fetches it (about {files.DOWNLOAD}, once) and starts it; or {_docker()}",
        )  # fmt: skip
    return found


def _no_java(javas: Sequence[Java]) -> EngineMissingError:
    oldest = min(r.java for r in RELEASES)
    there = f"{max(javas, key=lambda j: j.version)} is too old" if javas else "there is no Java"
    return EngineMissingError(f"no Elasticsearch runs, and the embedded one needs Java {oldest} or later: {there}",
                              why=_FILES_DO, hint=_ways_out())  # fmt: skip


def _ways_out() -> str:
    if platform.system() == "Darwin":
        install = "brew install openjdk maven"
    elif shutil.which("dnf"):
        install = "sudo dnf install java-21-openjdk-headless maven"
    else:
        install = "sudo apt-get install default-jre-headless maven"
    return f"{install}, then: elkkit up; or {_docker()}"


def _docker() -> str:
    compose = shlex.quote(str(asset("compose.yaml")))
    return f"docker compose -f {compose} up -d, then: export ELKKIT_ES_URL=http://127.0.0.1:9200"
