"""Why the embedded Elasticsearch did not start, from its logs, in words for people."""

from __future__ import annotations

import errno
import re
import shlex
from pathlib import Path

from elkkit.errors import ConfigError, ElkkitError, StorageError, UnreachableError

JAVA_LOG, LOG = "java.log", "elasticsearch.log"
"""What Java itself said, and what Elasticsearch logged; both in the folder of logs."""
_TAIL = 64 * 1024
_LONGEST_REASON = 300
_SOME_DATA = 128 * 1024
_STOPPED = "the embedded Elasticsearch did not start"


def tail(path: Path) -> str:
    """The end of a log; empty where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def failure(home: Path, code: int | None, heap: str, since: int) -> ElkkitError:
    """The error for a node that ended with this exit code; `since`: where its part of Elasticsearch's log begins."""
    logs = home / "logs"
    java = tail(logs / JAVA_LOG)
    logged = _since(logs / LOG, since)
    text = java + logged
    shown = shlex.quote(str(logs / JAVA_LOG))
    if "No space left on device" in text or "Disk quota exceeded" in text or _is_full(logs):
        why = _line(text, "No space left|quota exceeded") or f"{home} takes no more data"
        return StorageError(f"{_STOPPED}: no space is left on the disk", why=why,
                            hint=f"free some space in {home}, then: elkkit up")  # fmt: skip
    if re.search(
        r"insufficient memory|Could not reserve enough space|OutOfMemoryError|too large|Cannot allocate", java
    ):
        why = _line(java, "insufficient memory|Could not reserve|OutOfMemory|too large|Cannot allocate")
        return UnreachableError(f"{_STOPPED}: there is no memory for a heap of {heap}", why=why, hint=_smaller(heap))
    if "Invalid maximum heap size" in java or "Invalid initial heap size" in java or "Too small" in java:
        return ConfigError(f"a heap of {heap} is not possible", why=_line(java, "heap size|Too small"),
                           hint="elkkit up --heap 512m")  # fmt: skip
    if "UnsupportedClassVersionError" in java:
        return ConfigError(f"{_STOPPED}: this Java is too old for it", why=_line(java, "UnsupportedClassVersion"),
                           hint="JAVA_HOME=/path/to/newer/java elkkit up")  # fmt: skip
    if "failed to obtain node locks" in text or "LockObtainFailed" in text:
        hint = f"elkkit status  shows what runs; else see who uses it: fuser {home / 'data' / 'node.lock'}"
        return UnreachableError(f"{_STOPPED}: another one uses its data", why=f"{home / 'data'} is locked", hint=hint)
    if code == -9:
        return UnreachableError(f"{_STOPPED}: the system ended it (signal 9)", why="most often for want of memory",
                                hint=_smaller(heap))  # fmt: skip
    if code == 143:  # SIGTERM
        return UnreachableError(_STOPPED, why="it was ended while it started, perhaps by elkkit down", hint="elkkit up")
    return UnreachableError(_STOPPED, why=last_error(java, logged) or f"Java ended with {code} and said nothing",
                            hint=f"see {shown}, and {LOG} beside it")  # fmt: skip


def late(home: Path, seconds: float, state: str, since: int) -> ElkkitError:
    """The error for a node that was not ready in time."""
    log = home / "logs" / LOG
    said = last_error("", _since(log, since))
    return UnreachableError(
        f"the embedded Elasticsearch was not ready within {seconds:.0f} s, and was ended",
        why=f"{state}; it said: {said}" if said else state, hint=f"see {log}, and {JAVA_LOG} beside it",
    )  # fmt: skip


def _since(path: Path, start: int) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""


def last_error(java: str, logged: str) -> str:
    """The most telling line: the cause of the exception that ended it, else the last line that is an error."""
    causes = re.findall(r"^(?:Caused by: |Exception in thread \S+ )(.+)$", java, re.MULTILINE)
    errors = re.findall(r"^\[[^\]]+\]\[(?:ERROR|FATAL)\s*\]\S* (.+)$", logged, re.MULTILINE)
    lines = [line.strip() for line in java.splitlines() if line.strip() and not re.match(r"WARNING|\s*at ", line)]
    found = (causes[-1:] or errors[-1:] or lines[:1] or [""])[0]
    return re.sub(r"^(?:[a-z]\w*\.)+(?=[A-Z])", "", found)[:_LONGEST_REASON]


def _line(text: str, pattern: str) -> str:
    found = re.search(rf"^.*(?:{pattern}).*$", text, re.MULTILINE)
    return re.sub(r"^#\s*|^Caused by: ", "", found[0].strip())[:_LONGEST_REASON] if found else ""


def _is_full(folder: Path) -> bool:
    """A full disk takes no log either, so that nothing tells of it; a quota shows only when one writes."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_SOME_DATA))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


def _smaller(heap: str) -> str:
    if heap in ("256m", "128m"):
        return "close other programs, then: elkkit up"
    return f"elkkit up --heap {'256m' if heap == '512m' else '512m'}"
