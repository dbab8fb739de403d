"""A real Logstash, fed by standard input."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson

from elkkit.contract import Contract
from elkkit.errors import InternalError
from elkkit.render import logstash
from elkkit.render.templates import ascii_only, lscl
from elkkit.stack.grokengine.answer import LIMIT, Answer, Grok, NotAtHandError, RefusedError, flat
from elkkit.stack.grokengine.talk import Talk

VARIABLE = "ELKKIT_LOGSTASH"
_STARTING = 240.0
"""Seconds until the first answer: Logstash takes a minute to start on a small machine."""
_FOUND, _SLOW, _NONE = "elkkit", "_elkkit_slow", "_elkkit_none"
_PIPELINE = """\
input {{ stdin {{ }} }}
filter {{
  grok {{
    match => {{ "message" => [ {patterns} ] }}
    pattern_definitions => {{ {definitions} }}
    target => "{found}"
    timeout_millis => {limit}
    timeout_scope => "event"
    tag_on_timeout => "{slow}"
    tag_on_failure => ["{none}"]
  }}
}}
output {{ stdout {{ codec => json_lines }} }}
"""


def home() -> Path:
    """Logstash's folder, from `ELKKIT_LOGSTASH`. Raises `NotAtHandError`."""
    named = os.environ.get(VARIABLE)
    if not named:
        raise NotAtHandError("no Logstash", why=f"{VARIABLE} names no folder of one")
    folder = Path(named).expanduser()
    if not (folder / "bin" / "logstash").is_file():
        raise NotAtHandError("no Logstash", why=f"{VARIABLE} is {named}, and there is no bin/logstash in it")
    return folder.absolute()


class LogstashEngine:
    """A Logstash with the contract's filter, or with patterns of somebody's own."""

    name = "logstash"

    def __init__(self, contract: Contract, grok: Grok | None = None, *, limit: float = LIMIT) -> None:
        """Start it; its first answer takes a while. Raises `NotAtHandError`, `RefusedError`."""
        folder = home()
        self._grok = grok
        config = _config(grok, limit) if grok else logstash.try_out(contract)
        self.version = _version(folder)
        self._patience = _STARTING
        self._work = Path(tempfile.mkdtemp(prefix="elkkit-logstash-"))
        try:
            path = self._work / "pipeline.conf"
            path.write_text(config, "utf-8")
            words = [
                str(folder / "bin" / "logstash"), "-f", str(path), "--path.data", str(self._work / "data"),
                "--path.logs", str(self._work), "-w", "1",  # one worker keeps the order
                "--log.level", "error", "--api.enabled", "false",
            ]  # fmt: skip
            self._talk = Talk(words, {**os.environ, "ELKKIT_ALL": "true"}, lambda row: row.startswith(b'{"'))
        except BaseException:
            shutil.rmtree(self._work, ignore_errors=True)
            raise

    def read(self, texts: Sequence[str]) -> list[Answer]:
        """An answer for each text. Raises `NotAtHandError` where it has gone, `RefusedError` for a pattern."""
        try:
            rows = self._talk.ask([t.encode("utf-8", "replace") for t in texts], self._patience)
        except NotAtHandError as error:
            found = re.search(r"PatternError[^\n]*|pattern %\{[^\n]*not defined[^\n]*|[^\n]*premature end[^\n]*"
                              r"|RegexpError[^\n]*|SyntaxError[^\n]*", self._talk.said())  # fmt: skip
            if self._grok and found:
                raise RefusedError("Logstash refuses the pattern", why=found[0][:400]) from None
            raise NotAtHandError("Logstash gave no answer", why=_shortened(error)) from None
        self._patience = 60.0
        return [self._answer(row) for row in rows]

    def _answer(self, row: bytes) -> Answer:
        try:
            event = orjson.loads(row)
        except ValueError:
            return Answer(failed="its answer is not readable")
        tags = event.get("tags") or []
        if self._grok is None:
            return Answer(fields=flat(event))
        if _SLOW in tags:
            return Answer(slow=True)
        found = event.get(_FOUND)
        return Answer() if _NONE in tags else Answer(fields=flat(found) if isinstance(found, dict) else {})

    def close(self) -> None:
        """End it."""
        self._talk.close()
        shutil.rmtree(self._work, ignore_errors=True)


def _config(grok: Grok, limit: float) -> str:
    try:
        patterns = ", ".join(lscl(ascii_only(p)) for p in grok.patterns)
        definitions = " ".join(f'"{name}" => {lscl(ascii_only(p))}' for name, p in grok.definitions.items())
    except InternalError as error:
        raise RefusedError("a Logstash configuration cannot hold the pattern", why=str(error)) from None
    return _PIPELINE.format(
        patterns=patterns, definitions=definitions, found=_FOUND, slow=_SLOW, none=_NONE, limit=round(limit * 1000)
    )


def _version(folder: Path) -> str:
    """As its files tell, since asking the program takes ten seconds."""
    try:
        lock = (folder / "Gemfile.lock").read_text("utf-8")
    except (OSError, ValueError):
        lock = ""
    found = re.search(r"^ +logstash-core \((\d+\.\d+\.\d+)", lock, re.MULTILINE)
    return found[1] if found else "of unknown version"


def _shortened(error: NotAtHandError) -> str:
    why = error.why or error.message
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line or "FATAL" in line]
    return (telling or lines or [error.message])[-1][:400]
