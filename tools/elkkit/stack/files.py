"""Lines out of files, gzip files and standard input, as bytes and with bounded memory."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from elkkit.errors import InputError, from_os_error

MAX_LINE = 10 * 1024 * 1024
"""Longest line that is kept whole, in bytes (as Filebeat's message_max_bytes); of a longer one the head is kept."""
STDIN = "-"
_GZIP_MAGIC = b"\x1f\x8b"


class _Readable(Protocol):
    def readline(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class RawLine:
    """One line of a file, without its line feed."""

    number: int
    """From 1."""
    offset: int
    """Of its first byte, in the uncompressed file."""
    data: bytes
    ended: bool
    """A line feed followed. A line without one may still be being written."""
    cut: bool
    """Only the head is in `data`, since the line is longer than `MAX_LINE`."""


def distinct_files(files: Sequence[str], notes: list[str]) -> list[str]:
    """The files, each once and known to be readable, before hours go into the first of them.

    `notes` is told of files that were named twice. Raises `InputError` for what is no readable file.
    """
    seen: dict[Any, str] = {}
    for name in files:
        if name == STDIN:
            key: Any = STDIN
        else:
            try:
                found = Path(name).stat()
                if stat.S_ISDIR(found.st_mode):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                if not os.access(name, os.R_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except ValueError as error:  # a NUL in the name
                raise InputError(f"cannot read {name}", why=str(error), hint="check the path") from None
            except OSError as error:
                raise from_os_error("read", name, error) from error
            key = (found.st_dev, found.st_ino)
        if key in seen:
            notes.append(f"{readable(name)} is {readable(seen[key])}, and was read once")
        else:
            seen[key] = name
    return list(seen.values())


def readable(name: str) -> str:
    """A file's name as text, also where its bytes are none."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_lines(path: str | Path, *, max_line: int = MAX_LINE) -> Iterator[RawLine]:
    """Every line of a file, of a gzip file (known by its content), or of standard input (`-`).

    Raises `InputError` where the file cannot be opened, or stops being readable; lines before that were yielded.
    """
    if str(path) == STDIN:
        yield from _lines(sys.stdin.buffer, max_line)
        return
    try:
        with open(path, "rb") as file:
            yield from _lines(_unzipped(file), max_line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        hint = "what came before was read; get the file again from where it was written"
        raise InputError(f"cannot read all of {path}", why=str(error), hint=hint) from None
    except OSError as error:
        raise from_os_error("read", path, error) from error


def _unzipped(file: io.BufferedReader) -> _Readable:
    if file.peek(2)[:2] == _GZIP_MAGIC:
        return gzip.open(file)
    return file


def _lines(file: _Readable, max_line: int) -> Iterator[RawLine]:
    number = offset = 0
    while data := file.readline(max_line + 1):
        start, cut = offset, False
        offset += len(data)
        number += 1
        if not data.endswith(b"\n") and len(data) > max_line:
            data, cut = data[:max_line], True
            rest = data
            while not rest.endswith(b"\n") and (rest := file.readline(max_line)):
                offset += len(rest)
            yield RawLine(number, start, data, rest.endswith(b"\n"), cut)
            continue
        ended = data.endswith(b"\n")
        yield RawLine(number, start, data[:-1] if ended else data, ended, cut)
