"""Files of the embedded Elasticsearch: its jars in the cache, its home with the data in the state folder."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from elkkit.errors import UnreachableError
from elkkit.folders import cache_folder, private, state_folder
from elkkit.stack.embedded import java as javas
from elkkit.stack.embedded import maven
from elkkit.stack.embedded.java import Java
from elkkit.stack.embedded.lease import alone

_FILES = Path(__file__).with_name("launcher")
LAUNCHER = _FILES / "ElkkitNode.java"
_ECJ = "org.eclipse.jdt:ecj:3.43.0"  # the last line of it that runs on Java 17
_ECJ_PIN = {"ecj-3.43.0.jar": "c786468c65e906498e7e36ece4e0d04c6d3dd34c9a61b34a3a5b512801911a82"}
_MODULE = "transport-netty4"
_SIZES = "sizes.json"
_LIBRARIES = ("/usr/lib/*-linux-gnu*", "/lib/*-linux-gnu*", "/usr/lib64", "/lib64", "/usr/lib", "/lib",
              "/opt/homebrew/lib", "/usr/local/lib")  # fmt: skip
_SETTINGS = """\
cluster.name: {cluster}
discovery.type: single-node
network.host: 127.0.0.1
http.port: 19200-19299
transport.port: 19300-19399
node.portsfile: true
node.attr.zstd: "{zstd}"
action.auto_create_index: false
cluster.routing.allocation.disk.threshold_enabled: false
"""
_LOGGING = """\
status = error
appender.rolling.type = RollingFile
appender.rolling.name = rolling
appender.rolling.fileName = ${sys:es.logs.base_path}/elasticsearch.log
appender.rolling.filePattern = ${sys:es.logs.base_path}/elasticsearch-%i.log
appender.rolling.layout.type = PatternLayout
appender.rolling.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
appender.rolling.policies.type = Policies
appender.rolling.policies.size.type = SizeBasedTriggeringPolicy
appender.rolling.policies.size.size = 10MB
appender.rolling.strategy.type = DefaultRolloverStrategy
appender.rolling.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.rolling.ref = rolling
"""


@dataclass(frozen=True, slots=True)
class Release:
    """A version of Elasticsearch that elkkit can start."""

    version: str
    java: int
    """The oldest Java that runs it."""

    @property
    def coordinates(self) -> tuple[str, str]:
        """What Maven is asked for."""
        return (f"org.elasticsearch:elasticsearch:{self.version}", f"org.elasticsearch.plugin:{_MODULE}:{self.version}")

    @property
    def pins(self) -> dict[str, str]:
        """The SHA-256 of each of its jars."""
        return maven.read_pins(_FILES / f"jars-{self.version}.sha256")

    @property
    def folder(self) -> Path:
        """Where its jars are."""
        return cache_folder() / "engines" / f"elasticsearch-{self.version}"


RELEASES = (Release("9.2.0", java=21), Release("8.19.9", java=17))
"""Newest first."""
DOWNLOAD = "41 MB"
"""How much is fetched the first time."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one user's (or one test's) embedded Elasticsearch: at most one runs there."""

    root: Path

    @classmethod
    def of(cls, state: Path | None) -> Place:
        """The place in a state folder; None is the user's."""
        return cls((state or state_folder()).absolute() / "elasticsearch")

    @property
    def lease(self) -> Path:
        """The file that users of the node hold a shared lock on."""
        return self.root / "lease"

    @property
    def keep(self) -> Path:
        """The file that says that the node stays without users."""
        return self.root / "keep"

    @property
    def starting(self) -> Path:
        """The file that whoever starts a node has locked."""
        return self.root / "starting"

    @property
    def record(self) -> Path:
        """What is known of the node that was started last."""
        return self.root / "engine.json"

    def home(self, version: str) -> Path:
        """Home folder of one version: configuration, data and logs."""
        return self.root / version

    def data(self, version: str) -> Path:
        """Data folder of one version."""
        return self.home(version) / "data"

    def token(self) -> str:
        """A random word that is this place's alone; the same for all nodes that run here. Raises `OSError`."""
        path = self.root / "token"
        with suppress(FileNotFoundError):
            if (token := path.read_text("ascii").strip()).isalnum():
                return token
        token = secrets.token_hex(8)
        write(path, token.encode())
        return token

    def with_data(self) -> list[Release]:
        """Versions that have stored an index here, newest first."""
        return [r for r in RELEASES if any((self.data(r.version) / "indices").glob("*"))]


def write(path: Path, data: bytes) -> None:
    """Replace a file at once, so that nobody reads half of it. Raises `OSError`."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


# --- jars ------------------------------------------------------------------------------------------------------------


def broken_size(release: Release) -> str | None:
    """A jar that is missing or has not its size; None when all have."""
    try:
        sizes = orjson.loads((release.folder / _SIZES).read_bytes())
        return next((name for name, size in sizes.items() if not _has_size(release.folder / name, size)), None)
    except (OSError, ValueError, AttributeError):
        return _SIZES


def broken_content(release: Release) -> str | None:
    """A jar whose content is not what it should be; None when all are well. Reads them all. Raises `OSError`."""
    there = {p.name: p for p in release.folder.glob("**/*.jar")}
    wrong = (n for n, d in release.pins.items() if n not in there or maven.sha256(there[n]) != d)
    return next(wrong, None)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


@contextmanager
def fresh_folder(target: Path, tell: Callable[[str], None]) -> Iterator[Path]:
    """A folder to fill that becomes `target` at the end: whole, or not at all. One process at a time."""
    private(target.parent)
    lock = target.with_name(f".{target.name}.lock")
    with alone(lock, lambda: tell("another elkkit is fetching; waiting for it")):
        for left in target.parent.glob(f".{target.name}~*"):  # of one that was killed: nobody else is in here
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}~", dir=target.parent))
        try:
            yield work
            new, old = work / "new", work / "old"
            if new.is_dir():
                if target.exists():
                    target.rename(old)  # a node that runs from it goes on with the files that it has open
                new.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def install(release: Release, *, program: Path, java: Java, tell: Callable[[str], None], again: bool = False) -> None:
    """Fetch and verify the jars, unless they are there by now; `again`: even then.

    Raises `UnreachableError`, `StorageError`, `OSError`.
    """
    with fresh_folder(release.folder, tell) as work:
        if broken_size(release) is None and not again:
            return
        tell(f"fetching Elasticsearch {release.version} with Maven (about {DOWNLOAD}, once)")
        maven.fetch(release.coordinates, release.pins, work / "jars", maven=program, java=java, tell=tell)
        _arrange(work / "jars", work / "new")


def _arrange(jars: Path, home: Path) -> None:
    """Verified jars as a node wants them: the transport is a module in a folder of its own."""
    module = home / "modules" / _MODULE
    module.mkdir(parents=True)
    (home / "lib").mkdir()
    sizes = {}
    for jar in sorted(jars.iterdir()):
        inside = module if jar.name.startswith((f"{_MODULE}-", "netty-")) else home / "lib"
        sizes[str((inside / jar.name).relative_to(home))] = jar.stat().st_size
        jar.rename(inside / jar.name)
    (transport,) = module.glob(f"{_MODULE}-*.jar")
    name = "plugin-descriptor.properties"
    with zipfile.ZipFile(transport) as archive:
        text = archive.read(f"META-INF/es-plugins/{_MODULE}/{name}").decode()
    # without its module's name it is loaded from the class path, where the rest is
    (module / name).write_text("".join(t for t in text.splitlines(True) if not t.startswith("modulename")), "utf-8")
    (home / _SIZES).write_bytes(orjson.dumps(sizes))


# --- the launcher ----------------------------------------------------------------------------------------------------


def _classes(release: Release) -> Path:
    """Named after the source, so that a new elkkit compiles its own."""
    return release.folder.with_name(f"{release.folder.name}-launcher-{maven.sha256(LAUNCHER)[:12]}")


def launcher(release: Release, *, java: Java, program: Path | None, tell: Callable[[str], None]) -> Path:
    """The folder with the compiled launcher, made at the first call; `program` is Maven, which brings a compiler.

    Raises `StorageError`, `UnreachableError`, `InternalError`, `OSError`.
    """
    classes = _classes(release)
    if not (classes / "ElkkitNode.class").is_file():
        with fresh_folder(classes, tell) as work:
            if not (classes / "ElkkitNode.class").is_file():
                (work / "new").mkdir()
                javas.compile_file(
                    LAUNCHER, release.folder / "lib", work / "new", java=java, release=release.java,
                    other_compiler=lambda: eclipse_compiler(java, program, tell),
                )  # fmt: skip
    return classes


def eclipse_compiler(java: Java, program: Path | None, tell: Callable[[str], None]) -> Path:
    """The jar of a compiler that any Java runs, fetched once. Raises `UnreachableError`, `StorageError`."""
    ((name, digest),) = _ECJ_PIN.items()
    folder = cache_folder() / "engines" / "ecj"
    jar = folder / name
    if not jar.is_file() or maven.sha256(jar) != digest:
        if program is None:
            raise UnreachableError(
                "cannot compile the launcher of Elasticsearch", why=f"{java} has no compiler, and there is no Maven",
                hint="install a Java development kit, or Maven, then: elkkit up",
            )  # fmt: skip
        with fresh_folder(folder, tell) as work:
            tell("fetching a Java compiler with Maven (3 MB, once)")
            maven.fetch([_ECJ], _ECJ_PIN, work / "new", maven=program, java=java, tell=tell)
    return jar


# --- the home --------------------------------------------------------------------------------------------------------


def prepare_home(home: Path, release: Release, token: str) -> None:
    """Everything that a node reads at its start, but the data. Raises `OSError`."""
    for name in ("config", "data", "logs", "plugins", "tmp"):
        private(home / name)
    for stale in ("http.ports", "transport.ports"):
        (home / "logs" / stale).unlink(missing_ok=True)
    zstd = link_zstd(home)
    settings = _SETTINGS.format(cluster=cluster_name(token), zstd=str(zstd).lower())
    write(home / "config" / "elasticsearch.yml", settings.encode())
    write(home / "config" / "log4j2.properties", _LOGGING.encode())
    _link(home / "modules", release.folder / "modules")


def cluster_name(token: str) -> str:
    """The cluster's name: how a node of this place is known."""
    return f"elkkit-{token}"


def link_zstd(home: Path) -> bool:
    """Link the system's compression library to where Elasticsearch looks for it; False where there is none."""
    system, machine = os.uname().sysname.lower(), os.uname().machine
    platform = f"{system}-{ {'x86_64': 'x64', 'arm64': 'aarch64'}.get(machine, machine) }"
    name, link = ("libzstd.dylib", "libzstd.dylib") if system == "darwin" else ("libzstd.so.1", "libzstd.so")
    found = (p / name for folder in _LIBRARIES for p in sorted(Path("/").glob(folder[1:])) if (p / name).exists())
    target = next((p for p in found if system == "darwin" or _is_for(p, machine)), None)
    folder = private(home / "lib" / "platform" / platform)
    if target is None:
        (folder / link).unlink(missing_ok=True)
        return False
    _link(folder / link, target)
    return True


def _is_for(library: Path, machine: str) -> bool:
    """A Linux library is for this kind of processor, not a foreign one that is installed too."""
    known = {"x86_64": 62, "aarch64": 183}  # e_machine of ELF
    with suppress(OSError), open(library, "rb") as file:
        head = file.read(20)
        return head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") == known.get(machine)
    return False


def _link(link: Path, target: Path) -> None:
    if not (link.is_symlink() and link.readlink() == target):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
