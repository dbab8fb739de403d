"""The process of the embedded Elasticsearch: its command line, how it is known again, and whether it is ready."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from elkkit.errors import ConfigError, UnreachableError
from elkkit.stack.embedded import files
from elkkit.stack.embedded.files import Place, Release
from elkkit.stack.embedded.java import UNWANTED, Java

ANSWER_SECONDS = 5.0
"""How long a node may take to say how it is."""
_LOOK = 0.03
_FLAGS = (
    "-XX:+UseSerialGC",  # the least memory and the quickest start
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false",  # its library is not published
    "-Dlog4j2.disable.jmx=true",
    "-Dfile.encoding=UTF-8",
)


@dataclass(frozen=True, slots=True)
class Record:
    """What `engine.json` says of the node that was started last; the node itself may be long gone."""

    pid: int
    token: str
    version: str
    url: str | None = None
    """Absent until it was ready."""

    def write(self, place: Place) -> None:
        """Save it. Raises `OSError`."""
        files.write(place.record, orjson.dumps(asdict(self)))


def read_record(place: Place) -> Record | None:
    """What was saved last; None where nothing sensible was."""
    try:
        record = Record(**orjson.loads(place.record.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    sound = isinstance(record.pid, int) and record.pid > 1 and record.token and isinstance(record.token, str)
    return record if sound and record.version in {r.version for r in files.RELEASES} else None


def alive(record: Record) -> bool:
    """The process is ours: its command line has the token. The number alone may by now be somebody else's."""
    return _says(record.pid, _mark(record.token))


def lives(pid: int, home: Path) -> bool:
    """The node with this home is alive in this process."""
    return _says(pid, f"-Des.path.home={home}")


def _mark(token: str) -> str:
    return f"-Delkkit.token={token}"


def _says(pid: int, word: str) -> bool:
    return f" {word} " in f" {_command_line(pid)} "


def _command_line(pid: int) -> str:
    """The words of a process; none for one that has ended, also while its parent has not noticed."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ")
        return ""
    asked = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, errors="replace", check=False).stdout  # noqa: S603


def health(url: str, token: str, seconds: float) -> str | None:
    """The cluster's health, or None while nothing answers there or it is another cluster."""
    import http.client
    from urllib.parse import urlsplit

    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=seconds)  # past any proxy
    try:
        connection.request("GET", "/_cluster/health")
        told = orjson.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if not isinstance(told, dict) or told.get("cluster_name") != files.cluster_name(token):
        return None
    # replicas have no place on one node: such an index is yellow for good, and complete
    if told.get("status") == "yellow" and not told.get("initializing_shards"):
        return "green"
    return str(told.get("status"))


def checked_heap(heap: str) -> str:
    """A heap size as Java takes it: `512m`, `2g`. Raises `ConfigError`."""
    found = re.fullmatch(r"([1-9]\d{0,6})([mMgG])", heap)
    if found is None or int(found[1]) * (1 if found[2] in "mM" else 1024) < 128:
        raise ConfigError("the heap's size is wrong", why=f"{heap!r} is not 128m or more, in m or g",
                          hint="elkkit up --heap 512m")  # fmt: skip
    return heap


def command(place: Place, release: Release, java: Java, heap: str, token: str, classes: Path) -> list[str]:
    """The words that start a node."""
    home = place.home(release.version)
    native = ["--enable-native-access=ALL-UNNAMED"] if java.version >= 21 else []
    return [
        str(java.program), f"-Xms{heap}", f"-Xmx{heap}", *_FLAGS, *native,
        f"-XX:ErrorFile={home / 'logs' / 'crash-%p.log'}", f"-Djava.io.tmpdir={home / 'tmp'}", f"-Des.path.home={home}",
        f"-Delkkit.lease={place.lease}", f"-Delkkit.keep={place.keep}", _mark(token),
        "-cp", f"{classes}{os.pathsep}{release.folder}/lib/*", "ElkkitNode",
    ]  # fmt: skip


def spawn(words: list[str], home: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a node; what Java says goes to a new log. Raises `UnreachableError`, `OSError`."""
    environment = {n: v for n, v in os.environ.items() if n not in UNWANTED}
    if sys.platform.startswith("linux"):
        environment["LC_ALL"] = "C.UTF-8"  # Java 17 reads the names of files by it
    with open(log, "wb") as out:
        try:
            return subprocess.Popen(  # noqa: S603
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=home, env=environment,
                start_new_session=True,  # Ctrl-C is for elkkit: the node ends when its users are gone
            )  # fmt: skip
        except OSError as error:
            raise UnreachableError("cannot start Java", why=f"{words[0]}: {error.strerror}",
                                   hint="try another one: JAVA_HOME=/path/to/java elkkit up") from error  # fmt: skip


def await_ready(
    place: Place, record: Record, process: subprocess.Popen[bytes] | None, seconds: float
) -> Record | str | None:
    """Wait until a node is green: its record with the address, saved.

    None when it ended before; after `seconds` what is the matter. `process`: the node, where it is a child of ours.
    """
    ports = place.home(record.version) / "logs" / "http.ports"
    status, end = None, time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None if process else not alive(record):
            return None
        url = record.url or _address(ports)
        status = health(url, record.token, ANSWER_SECONDS) if url else None
        if url and status == "green":
            ready = replace(record, url=url)
            if ready != read_record(place):
                ready.write(place)
            return ready
        time.sleep(_LOOK)
    return f"its health is {status}" if status else "it did not answer"


def _address(ports: Path) -> str | None:
    """Where a node listens, from the file that it writes."""
    with suppress(OSError):
        for word in ports.read_text("ascii", "replace").split():
            if re.fullmatch(r"127\.0\.0\.1:\d+", word):
                return f"http://{word}"
    return None


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Whether something came true in so many seconds."""
    end = time.monotonic() + seconds
    while not (is_done := done()) and time.monotonic() < end:
        time.sleep(_LOOK)
    return is_done
