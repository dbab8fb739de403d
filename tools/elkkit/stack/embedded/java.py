"""The Javas of this machine, and the compiler for the one Java file that elkkit has."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elkkit.errors import InternalError, StorageError

FOLDERS = (
    "/usr/lib/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "~/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "/usr/local/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
)
"""Where Javas are that neither JAVA_HOME nor PATH names: Linux packages, macOS, Homebrew, SDKMAN, IDEs."""
_ASKING = 10.0
_COMPILING = 120.0


@dataclass(frozen=True, slots=True)
class Java:
    """One Java."""

    program: Path
    version: int
    """The feature version: 17."""

    @property
    def home(self) -> Path:
        """What JAVA_HOME would be."""
        return self.program.resolve().parent.parent

    @property
    def compiler(self) -> Path | None:
        """Its `javac`; None for a Java that only runs programs."""
        for folder in (self.program.parent, self.program.resolve().parent):
            if (found := folder / "javac").is_file():
                return found
        return None

    def __str__(self) -> str:
        return f"Java {self.version} ({self.program})"


def find_javas(environment: Mapping[str, str] | None = None, folders: Iterable[str] | None = None) -> list[Java]:
    """Javas that answer: of JAVA_HOME, then of PATH, then others with the newest first."""
    variables = os.environ if environment is None else environment
    named = _javas(_named(variables))
    others = sorted(_javas(_others(FOLDERS if folders is None else folders)), key=lambda j: -j.version)
    found: dict[Path, Java] = {}
    for java in [*named, *others]:
        found.setdefault(java.program.resolve(), java)
    return list(found.values())


def _named(variables: Mapping[str, str]) -> Iterator[Path]:
    if home := variables.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java", path=variables.get("PATH", "")):
        yield Path(on_path)


def _others(folders: Iterable[str]) -> Iterator[Path]:
    for pattern in folders:
        with suppress(OSError, RuntimeError):  # no home folder
            path = Path(pattern).expanduser()
            yield from sorted(Path(path.anchor).glob(f"{path.relative_to(path.anchor)}/bin/java"))


def _javas(programs: Iterable[Path]) -> list[Java]:
    return [Java(p, version) for p in programs if p.is_file() and (version := _version(p))]


def _version(program: Path) -> int | None:
    """The feature version. A Java says it in a file, which is quicker than asking; 1.8 is version 8."""
    try:
        told = (program.resolve().parent.parent / "release").read_text("utf-8", "replace")
        found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', told, re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) if found else _asked(program)


def _asked(program: Path) -> int | None:
    import subprocess

    try:
        done = subprocess.run(  # noqa: S603
            [program, "-version"], capture_output=True, text=True, errors="replace", check=False, timeout=_ASKING,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None  # macOS has a `java` that only says that there is none
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found else None


def compile_file(
    source: Path, jars: Path, into: Path, *, java: Java, release: int, other_compiler: Callable[[], Path]
) -> None:
    """Compile one Java file against a folder of jars.

    `release`: the oldest Java that must run it. `other_compiler` gives the jar of Eclipse's compiler, which runs on a
    Java that has none of its own. Raises `StorageError`, `InternalError`.
    """
    import subprocess

    paths = ["-proc:none", "-nowarn", "-d", str(into), str(source)]
    if java.compiler:
        command = [str(java.compiler), "--release", str(release), "-cp", f"{jars}/*", *paths]
    else:  # it neither knows `*` nor, without a development kit, `--release`
        on_path = os.pathsep.join(str(j) for j in sorted(jars.glob("*.jar")))
        command = [str(java.program), "-jar", str(other_compiler()), f"-{release}", "-cp", on_path, *paths]
    environment = {n: v for n, v in os.environ.items() if n not in UNWANTED}
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_COMPILING,
            stdin=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InternalError("cannot compile the launcher of Elasticsearch", why=f"{command[0]} did not end",
                            hint="run it again; if it stays, report it") from None  # fmt: skip
    if done.returncode:
        words = (done.stderr + done.stdout).strip()
        if "No space left" in words:
            raise StorageError("cannot compile the launcher of Elasticsearch", why="no space is left on the disk",
                               hint=f"free some space in {into}, then run it again")  # fmt: skip
        raise InternalError("cannot compile the launcher of Elasticsearch", why=words[-600:] or f"{java} failed",
                            hint="try another Java: JAVA_HOME=/path/to/java elkkit up")  # fmt: skip


UNWANTED = frozenset({"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"})
"""Variables that change every Java; a person set them for other programs."""
