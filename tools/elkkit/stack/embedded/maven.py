"""Jars by Maven, each with the SHA-256 that elkkit knows of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elkkit.errors import ElkkitError, StorageError, UnreachableError

if TYPE_CHECKING:
    from elkkit.stack.embedded.java import Java

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>elkkit</groupId><artifactId>elkkit</artifactId><version>1</version><packaging>pom</packaging><dependencies>
{}</dependencies></project>
"""
_DEPENDENCY = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version><scope>runtime</scope>"
    "</dependency>\n"
)
_FETCHING = 1800.0
"""Seconds for Maven as a whole; it has its own, shorter limits for one answer."""
_LONGEST_REASON = 400


def find_maven() -> Path | None:
    """The program `mvn` on the PATH."""
    found = shutil.which("mvn")
    return Path(found) if found else None


def read_pins(path: Path) -> dict[str, str]:
    """File names and their SHA-256, from a file as `sha256sum` writes it."""
    lines = (line.split() for line in path.read_text("ascii").splitlines() if not line.startswith("#"))
    return {name.lstrip("*"): digest for digest, name in lines}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises `OSError`."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(folder: Path, pins: Mapping[str, str]) -> str | None:
    """The first file that is missing, is not what it should be, or should not be there; None when all is well."""
    there = {p.name: p for p in folder.iterdir()}
    for name in sorted(pins.keys() | there.keys()):
        if name not in pins or name not in there or sha256(there[name]) != pins[name]:
            return name
    return None


def fetch(
    coordinates: Sequence[str],
    pins: Mapping[str, str],
    into: Path,
    *,
    maven: Path,
    java: Java,
    tell: Callable[[str], None],
) -> None:
    """Put the jars of coordinates (`group:artifact:version`) and what they need into an empty folder of our own.

    A jar that is not what it should be may lie in the user's local repository: then all is fetched once more, past it.
    Raises `UnreachableError` in Maven's words, `StorageError`.
    """
    own = into.with_name(into.name + "-repository")
    try:
        _run(coordinates, into, maven, java, ())
        wrong = damaged(into, pins)
        if wrong:
            tell(f"{wrong} of Maven's local repository is damaged; fetching it anew")
            shutil.rmtree(into)
            _run(coordinates, into, maven, java, (f"-Dmaven.repo.local={own}",))
            wrong = damaged(into, pins)
        if wrong:
            raise UnreachableError(
                f"Maven gave a wrong {wrong}", why="its SHA-256 is not the one that elkkit knows, fetched anew as well",
                hint="see whether a proxy or mirror changes files (~/.m2/settings.xml), then: elkkit up",
            )  # fmt: skip
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _run(coordinates: Sequence[str], into: Path, maven: Path, java: Java, options: Sequence[str]) -> None:
    import subprocess
    import tempfile

    # a folder of its own: Maven also reads `.mvn/` of the folder that it is called in
    with tempfile.TemporaryDirectory(prefix="maven-", dir=into.parent) as work:
        pom = Path(work) / "pom.xml"
        pom.write_text(_POM.format("".join(_DEPENDENCY.format(*c.split(":")) for c in coordinates)), "ascii")
        command = [str(maven), "-B", "-q", "-ntp", "--strict-checksums", "-f", str(pom), *options, _COPY]
        try:
            done = subprocess.run(  # noqa: S603
                [*command, f"-DoutputDirectory={into}", "-DincludeScope=runtime"],
                capture_output=True, text=True, errors="replace", check=False, timeout=_FETCHING, cwd=work,
                stdin=subprocess.DEVNULL, env={**os.environ, "JAVA_HOME": str(java.home)},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UnreachableError("cannot fetch Elasticsearch: Maven did not end", why=f"within {_FETCHING:.0f} s",
                                   hint="see what keeps it: mvn --version, ~/.m2/settings.xml") from None  # fmt: skip
    if done.returncode:
        raise _failed(done.stdout + done.stderr, into)
    into.mkdir(exist_ok=True)


def _failed(output: str, into: Path) -> ElkkitError:
    why = words(output)
    if "No space left on device" in output:
        hint = f"free about 100 MB in {into.parent.parent} and in ~/.m2, then: elkkit up"
        return StorageError("cannot fetch Elasticsearch", why="Maven: No space left on device", hint=hint)
    if "checksum" in why.lower():
        hint = "see whether a proxy or mirror changes files (~/.m2/settings.xml), then: elkkit up"
    else:
        hint = "see that Maven reaches its repository (proxy and mirror: ~/.m2/settings.xml), then: elkkit up"
    return UnreachableError("cannot fetch Elasticsearch with Maven", why=why, hint=hint)


def words(output: str) -> str:
    """Why Maven failed, in its own words: the innermost part of its first error."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    errors = [e.strip() for e in re.findall(r"^\[(?:ERROR|FATAL)\] ?(.+)$", plain, re.MULTILINE) if e.strip()]
    lines = errors or [line.strip() for line in plain.splitlines() if line.strip()][-3:]
    if not lines:
        return "it said nothing"
    first = lines[0].split(" -> [Help")[0]
    start = max(first.rfind("Could not transfer"), first.rfind("Could not find artifact"), first.rfind("Cannot access"))
    text = first[start:] if start > 0 else first if errors else " ".join(lines)
    return text if len(text) <= _LONGEST_REASON else f"{text[:100]} … {text[-(_LONGEST_REASON - 103) :]}"
