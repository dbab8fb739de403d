"""Saved objects from whatever a person has: exports, arrays, single objects, folders of ours and of other tools."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shlex
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from elkkit.errors import InputError, from_os_error
from elkkit.kibana.bundle import read_lines
from elkkit.kibana.common import SavedObject
from elkkit.kibana.decoded import too_deep
from elkkit.kibana.folder import encoded, load, to_text
from elkkit.kibana.order import Key, in_order
from elkkit.kibana.problems import Problem
from elkkit.stack.files import STDIN, readable
from elkkit.stack.kibana import LARGEST as LARGEST_OBJECT

LARGEST = 4 * LARGEST_OBJECT
"""Bytes that are read in all. A whole export is at most 10,000 objects, some 50 MB; read, it takes about ten times as
much memory."""
MOST = 20 * 10_000
"""Objects, and lines, of one file; a whole export has 10,000. Else a file of nothing but `{}` would fill the memory."""
_ENDINGS = (".json", ".ndjson", ".json.gz", ".ndjson.gz")
_GZIP_MAGIC = b"\x1f\x8b"
_BOMS = ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
T = TypeVar("T", list[Any], range)
_KINDS = {str: "a text", list: "a list", bool: "true or false", type(None): "null"}
_EXPORT = "export again, in Kibana under Stack Management, Saved Objects, or with: elkkit export-dashboards DIR"


@dataclass(frozen=True, slots=True)
class Loaded:
    """One object, as Kibana takes it, and the file that it came from."""

    item: SavedObject
    file: str
    """As text, for people; `-` for standard input."""


@dataclass(slots=True)
class Sources:
    """What was read. Nothing of it is checked beyond being a JSON object: see `elkkit.kibana.validate`."""

    loaded: list[Loaded] = field(default_factory=list)
    """In the order of the sources; of a folder each object after what it refers to."""
    problems: list[Problem] = field(default_factory=list)
    """What keeps it from being imported; the object of each begins with its file."""
    repeated: list[tuple[Key, str, str]] = field(default_factory=list)
    """Objects that came again and are the same: key, first file, other file. They are in `loaded` once."""

    @property
    def objects(self) -> list[SavedObject]:
        """The objects alone."""
        return [one.item for one in self.loaded]


def read_sources(paths: Sequence[Path]) -> Sources:
    """The objects of files, of folders and of standard input (`-`).

    A file is NDJSON, one object, an array, or the `{"objects": [...]}` of Kibana's old export; it may be gzipped, have
    a BOM and Windows line ends, and hold JSON texts as values. Of a folder every `*.json` and `*.ndjson` is read,
    however deep; what is hidden is not, and no link that leads out of it. Raises `InputError` for a file that was named
    and holds no saved objects; of a folder's files that is a problem.
    """
    sources, first = Sources(), dict[Key, Loaded]()
    budget = _Budget()
    for path in paths:
        if str(path) != STDIN and path.is_dir():
            found, problems = _read_folder(path, budget)
        else:
            found, problems = _read_file(path, _shown(path), budget)
        sources.problems += problems
        for one in found:
            _add(sources, first, one)
    return sources


def _add(sources: Sources, first: dict[Key, Loaded], one: Loaded) -> None:
    """Take an object, unless it is there already."""
    key = _key(one.item)
    if key is None or key not in first:
        if key is not None:
            first[key] = one
        sources.loaded.append(one)
        return
    before = first[key]
    if _same(before.item, one.item):
        sources.repeated.append((key, before.file, one.file))
        return
    where = "the same file" if before.file == one.file else before.file
    why = f"it is in {where} too, and differs there: which one is meant?"
    sources.problems.append(Problem(f"{one.file}: {key[0]}:{key[1]}", "id", why))


def _same(one: SavedObject, other: SavedObject) -> bool:
    try:
        return to_text(one) == to_text(other)
    except ValueError:
        return one == other


def _key(item: SavedObject) -> Key | None:
    kind, ident = item.get("type"), item.get("id")
    return (kind, ident) if isinstance(kind, str) and isinstance(ident, str) else None


# --- folders ---------------------------------------------------------------------------------------------------------


def _read_folder(folder: Path, budget: _Budget) -> tuple[list[Loaded], list[Problem]]:
    problems: list[Problem] = []
    found: list[Loaded] = []
    files = list(_files(folder, problems))
    if not files and not problems:
        raise InputError(f"there are no saved objects in {_shown(folder)}",
                         why="it has no file *.json or *.ndjson, however deep",
                         hint="name one that an export wrote; elkkit export-dashboards DIR  writes one")  # fmt: skip
    for path in files:
        shown = _shown(path)
        try:
            objects, faults = _read_file(path, shown, budget)
        except InputError as error:
            if budget.spent:
                raise
            problems.append(Problem(shown, "", error.why or error.message))
            continue
        found += objects
        problems += faults
    return _ordered(found), problems


def _ordered(found: list[Loaded]) -> list[Loaded]:
    """Each after what it refers to; what has not the shape for that comes last."""
    by_key: dict[Key, list[Loaded]] = {}
    rest = []
    for one in found:
        key, links = _key(one.item), one.item.get("references", [])
        linked = isinstance(links, list) and all(
            isinstance(r, dict) and isinstance(r.get("type"), str) and isinstance(r.get("id"), str) for r in links
        )
        if key is not None and linked:
            by_key.setdefault(key, []).append(one)
        else:
            rest.append(one)
    sorted_ = in_order([same[0].item for same in by_key.values()])
    return [one for item in sorted_ for one in by_key[item["type"], item["id"]]] + rest


def _files(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """The files of a folder, in the order of their names, each once however many links lead to it."""
    root, seen = folder.resolve(), set[tuple[int, int]]()

    def refuse(error: OSError) -> None:
        problems.append(Problem(_shown(error.filename or folder), "", error.strerror or str(error)))

    for at, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        links = [path for name in folders if (path := Path(at, name)).is_symlink()]
        problems += [_leads_out(path, folder) for path in links if not path.resolve().is_relative_to(root)]
        for name in sorted(names):
            path = Path(at, name)
            if name.startswith(".") or not name.lower().endswith(_ENDINGS):
                continue
            try:
                if not path.resolve().is_relative_to(root):
                    problems.append(_leads_out(path, folder))
                    continue
                told = path.stat()
            except (OSError, RuntimeError) as error:  # a link that leads nowhere, or to itself
                problems.append(Problem(_shown(path), "", getattr(error, "strerror", None) or str(error)))
                continue
            if not stat.S_ISREG(told.st_mode):
                problems.append(Problem(_shown(path), "", "it is not a file"))
            elif (told.st_dev, told.st_ino) not in seen:
                seen.add((told.st_dev, told.st_ino))
                yield path


def _leads_out(path: Path, folder: Path) -> Problem:
    return Problem(_shown(path), "", f"it is a link that leads out of {_shown(folder)}, and was not followed")


# --- one file --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Budget:
    """How much may still be read."""

    left: int = LARGEST
    spent: bool = False


def _read_file(path: Path, shown: str, budget: _Budget) -> tuple[list[Loaded], list[Problem]]:
    values, problems = _values(_text(_bytes(path, shown, budget), shown), shown)
    objects: list[Loaded] = []
    for number, value in enumerate(values, 1):
        if isinstance(value, dict) and "exportedCount" in value and "type" not in value:
            continue  # the counts of an export
        try:
            objects.append(Loaded(_object(value), shown))
        except ValueError as error:
            problems.append(Problem(f"{shown}: {_name(value, number)}", "", str(error)))
    if not objects and not problems:
        raise _refused(shown, "it holds the counts of an export and no object: nothing was exported")
    return objects, problems


def _object(value: Any) -> SavedObject:
    """A value as an object that can be sent. Raises `ValueError` with what is wrong."""
    if not isinstance(value, dict):
        raise ValueError(f"it is no JSON object but {_KINDS.get(type(value), 'a number')}")
    if "type" not in value and "attributes" not in value:
        keys = ", ".join(sorted(value)[:5])
        raise ValueError(f"it is no saved object: it has {f'only {keys:.80}' if keys else 'nothing'}")
    item = encoded(value)
    try:
        size = len(json.dumps(item, allow_nan=False, separators=(",", ":")))
    except ValueError:
        raise ValueError("it holds NaN or Infinity, which is not JSON") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if too_deep(item):
        raise ValueError("it is nested too deeply")
    if size > LARGEST_OBJECT:
        raise ValueError(f"it has {size:,} bytes, and Kibana takes {LARGEST_OBJECT:,} in one request")
    return item


def _values(content: str, shown: str) -> tuple[list[Any], list[Problem]]:
    """Every value of a file, whichever way they are written."""
    start = content.lstrip()
    if not start:
        raise _refused(shown, "it is empty")
    if start.startswith("<"):
        title = re.search(r"<title[^>]*>\s*([^<]{1,80})", start[:20_000], re.IGNORECASE)
        named = f' with the title "{title[1].strip()}"' if title else ""
        raise _refused(shown, f"it is a web page{named}: a server or a proxy answered so in place of an export, often "
                              "to have somebody log in")  # fmt: skip
    try:
        return _few(_flat(load(content), shown), shown), []
    except ValueError as error:
        whole = error
    first = content[: len(content) - len(start)].count("\n") + 1
    end = start.find("\n")
    alone = read_lines(start if end < 0 else start[:end])[1]
    if start[0] not in "{[" or (alone and getattr(whole, "lineno", first + 1) > first):
        # it is no JSON at all, or one JSON text over many lines
        begins = "" if start[0] in "{[" else f"; it begins with {start[:40].splitlines()[0]!r}"
        raise _refused(shown, f"it is not JSON: {whole}{begins}")
    _few(range(content.count("\n")), shown)
    values, problems = read_lines(content)
    if alone and not values:
        raise _refused(shown, f"it is not JSON: {whole}")
    found = [inner for value in values for inner in _flat(value, shown)]
    return _few(found, shown), [Problem(f"{shown}: {p.object}", p.path, p.message) for p in problems]


def _few(values: T, shown: str) -> T:
    if len(values) > MOST:
        raise InputError(f"cannot read {shown}: that is too much",
                         why=f"it has {len(values):,} lines or objects, and {MOST:,} are read at most",
                         hint="split it: split -l 1000 FILE.ndjson PART")  # fmt: skip
    return values


def _flat(value: Any, shown: str) -> list[Any]:
    """The objects of an array, and of what Kibana's old export wrote."""
    if isinstance(value, dict) and "type" not in value and isinstance(value.get("objects"), list):
        value = value["objects"]
    if not isinstance(value, list):
        return [value]
    if not value:
        raise _refused(shown, "it holds an empty list")
    return value


def _name(value: Any, number: int) -> str:
    key = _key(value) if isinstance(value, dict) else None
    return f"{key[0]}:{key[1]}" if key else f"object {number}"


# --- bytes -----------------------------------------------------------------------------------------------------------


def _bytes(path: Path, shown: str, budget: _Budget) -> bytes:
    """A file in full, unpacked; never more than the budget has."""
    try:
        if shown == STDIN:
            data = sys.stdin.buffer.read(budget.left + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(budget.left + 1)
        if data.startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(budget.left + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _refused(shown, f"it is a gzip file that is not whole: {error}") from None
    except ValueError as error:  # a NUL in the name
        raise InputError(f"cannot read {shown}", why=str(error), hint="check the path") from None
    except OSError as error:
        raise from_os_error("read", shown, error) from error
    if len(data) > budget.left:
        budget.spent = True
        raise InputError(f"cannot read {shown}: that is too much",
                         why=f"{LARGEST:,} bytes are read at most, of all files together; ten times that is what they "
                             "take in memory",
                         hint="name fewer files at once, or split it: split -l 1000 FILE.ndjson PART")  # fmt: skip
    budget.left -= len(data)
    return data


def _text(data: bytes, shown: str) -> str:
    """The text of a file, without a BOM."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            raise _wrong_encoding(shown, name, "it begins with that encoding's mark")
    if data.startswith(b"PK\x03\x04"):
        raise _refused(shown, "it is a ZIP archive", hint="unpack it, and name the folder kibana in it")
    if (at := data[:1000].find(0)) >= 0:
        if at <= 1 and data[at ^ 1 : (at ^ 1) + 1].isascii():
            raise _wrong_encoding(shown, "UTF-16BE" if at == 0 else "UTF-16LE", f"byte {at} is zero")
        raise _refused(shown, f"it is no text: byte {at} is zero")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        why = f"byte {error.start} (0x{data[error.start]:02x}, in line {number}) belongs to no character of UTF-8"
        raise _wrong_encoding(shown, "WINDOWS-1252", why, "Windows-1252 or Latin-1, probably") from None


def _wrong_encoding(shown: str, name: str, why: str, called: str | None = None) -> InputError:
    return InputError(f"cannot read {shown}: it is not UTF-8", why=f"it is {called or name}: {why}",
                      hint=f"iconv -f {name} -t UTF-8 {shlex.quote(shown)} > NEW.ndjson")  # fmt: skip


def _refused(shown: str, why: str, hint: str = _EXPORT) -> InputError:
    return InputError(f"there are no saved objects in {shown}", why=why, hint=hint)


def _shown(path: Path) -> str:
    return readable(str(path))
