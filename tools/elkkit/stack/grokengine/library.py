"""Elasticsearch's grok library in a Java of its own: the code of the ingest node, without a server."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from elkkit.errors import ElkkitError
from elkkit.folders import cache_folder
from elkkit.stack.embedded import java as javas
from elkkit.stack.embedded import maven
from elkkit.stack.embedded.files import eclipse_compiler, fresh_folder
from elkkit.stack.embedded.java import Java
from elkkit.stack.grokengine.answer import LIMIT, Answer, Grok, NotAtHandError, RefusedError, dotted
from elkkit.stack.grokengine.talk import Talk

_HERE = Path(__file__).parent
_SOURCE = _HERE / "ElkkitGrok.java"
_VERSION = "8.19.9"
_PINS = _HERE / f"jars-{_VERSION}.sha256"
_COORDINATES = f"org.elasticsearch:elasticsearch-grok:{_VERSION}"
_OLDEST_JAVA = 17
_STARTING = 60.0
_NUMBERS = {"Double": float, "Float": float, "Long": int, "Integer": int}


def installed(*, tell: Callable[[str], None]) -> tuple[Java, Path]:
    """A Java and the folder with the library and our launcher, fetched by Maven at the first call.

    Raises `NotAtHandError`.
    """
    java = next((j for j in javas.find_javas() if j.version >= _OLDEST_JAVA), None)
    if java is None:
        raise NotAtHandError("no Elasticsearch grok library", why=f"it needs Java {_OLDEST_JAVA} or later",
                             hint="install a Java development kit")  # fmt: skip
    folder = cache_folder() / "engines" / f"elasticsearch-grok-{_VERSION}-{maven.sha256(_SOURCE)[:12]}"
    pins = maven.read_pins(_PINS)
    try:
        if not _whole(folder, pins):
            _install(folder, pins, java, tell)
    except (ElkkitError, OSError) as error:
        raise NotAtHandError("no Elasticsearch grok library", why=str(error),
                             hint=error.hint if isinstance(error, ElkkitError) else None) from error  # fmt: skip
    return java, folder


def _whole(folder: Path, pins: dict[str, str]) -> bool:
    there = (folder / "lib").is_dir() and (folder / "classes" / "ElkkitGrok.class").is_file()
    return there and maven.damaged(folder / "lib", pins) is None


def _install(folder: Path, pins: dict[str, str], java: Java, tell: Callable[[str], None]) -> None:
    program = maven.find_maven()
    if program is None:
        raise NotAtHandError("it is not here yet", why="there is no Maven (mvn) to fetch it with",
                             hint="install Maven, then run it again")  # fmt: skip
    with fresh_folder(folder, tell) as work:
        if _whole(folder, pins):  # another elkkit was quicker
            return
        tell("fetching Elasticsearch's grok library with Maven (2 MB, once)")
        new = work / "new"
        (new / "classes").mkdir(parents=True)
        maven.fetch([_COORDINATES], pins, new / "lib", maven=program, java=java, tell=tell)
        javas.compile_file(
            _SOURCE, new / "lib", new / "classes", java=java, release=_OLDEST_JAVA,
            other_compiler=lambda: eclipse_compiler(java, program, tell),
        )  # fmt: skip


class LibraryEngine:
    """The library with one set of patterns."""

    name = "grok"

    def __init__(self, grok: Grok, *, limit: float = LIMIT, tell: Callable[[str], None]) -> None:
        """Start it. Raises `NotAtHandError`, and `RefusedError` where it does not take a pattern."""
        self.version = _VERSION
        java, folder = installed(tell=tell)
        self._limit = limit
        self._work = Path(tempfile.mkdtemp(prefix="elkkit-grok-"))
        try:
            setup = self._work / "patterns.tsv"
            rows = [f"def\t{name}\t{_base64(p)}" for name, p in grok.definitions.items()]
            setup.write_text("\n".join([*rows, *(f"pat\t{_base64(p)}" for p in grok.patterns)]), "ascii")
            environment = {n: v for n, v in os.environ.items() if n not in javas.UNWANTED}
            words = [
                str(java.program), "-Xmx256m", "-XX:+UseSerialGC", "-cp",
                f"{folder / 'classes'}{os.pathsep}{folder / 'lib'}/*",
                "ElkkitGrok", str(setup), str(round(limit * 1000)),
            ]  # fmt: skip
            self._talk = Talk(words, environment, lambda _row: True)
        except BaseException:
            shutil.rmtree(self._work, ignore_errors=True)
            raise
        try:
            first = self._talk.answer(_STARTING)
            if first.startswith(b"refused\t"):
                raise RefusedError("Elasticsearch's grok library refuses the pattern", why=_text(first.split(b"\t")[1]))
        except BaseException:
            self.close()
            raise

    def read(self, texts: Sequence[str]) -> list[Answer]:
        """An answer for each text. Raises `NotAtHandError` where the program has gone."""
        rows = [_base64(t).encode() for t in texts]
        return [_answer(row) for row in self._talk.ask(rows, _STARTING + self._limit * 10)]

    def close(self) -> None:
        """End it."""
        self._talk.close()
        shutil.rmtree(self._work, ignore_errors=True)


def _answer(row: bytes) -> Answer:
    first, *rest = row.split(b"\t")
    if first == b"-":
        return Answer()
    if first == b"slow":
        return Answer(slow=True)
    if first == b"failed":
        return Answer(failed=_text(rest[0]))
    fields = {}
    for name, kind, value in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        text = _text(value)
        fields[dotted(_text(name))] = _NUMBERS.get(kind.decode(), str)(text)
    return Answer(pattern=int(first), fields=fields)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode()


def _text(data: bytes) -> str:
    return base64.b64decode(data).decode("utf-8", "replace")
