"""What elkkit remembers of its imports into a Kibana: what each object was, and what was there before it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from elkkit.errors import ElkkitError, ServiceError, StorageError, from_os_error
from elkkit.folders import private, state_folder
from elkkit.kibana.common import SavedObject
from elkkit.kibana.order import Key, key_of
from elkkit.kibana.plan import Entry

FORMAT = 1
KEPT = 50
"""So many records of a space are kept; the oldest go."""
_ELSEWHERE = "free or choose another folder: ELKKIT_STATE"
Status = Literal["begun", "done", "partial", "undone"]


@dataclass(slots=True)
class Record:
    """One change of a space that can be undone; its texts are beside it: `before.ndjson`, `sent.ndjson`."""

    id: str
    what: str
    """import, remove, rollback or alerts."""
    when: str
    """ISO 8601, UTC."""
    kibana: str
    """Such as `Kibana 8.12.2`."""
    touched: list[Key]
    """What was to be changed, by the ids of the server."""
    existed: list[Key]
    """Those of them that were there before; they are in `before.ndjson`."""
    status: Status = "begun"
    after: dict[str, str] = field(default_factory=dict)
    """Fingerprints of what was there when it was done, by `type:id`."""
    remembered: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """What was remembered before, by `type:id` of the file; None for nothing."""
    folder: Path | None = None

    @property
    def created(self) -> list[Key]:
        """What was not there before."""
        return [k for k in self.touched if k not in set(self.existed)]

    def read(self, name: str) -> list[dict[str, Any]]:
        """The objects of one of its texts. Raises `StorageError`."""
        path = self._folder() / name
        try:
            return [json.loads(row) for row in path.read_bytes().splitlines() if row.strip()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise from_os_error("read", path, error) from error
        except (ValueError, RecursionError) as error:
            raise _damaged(path, error) from error

    def objects(self, name: str) -> list[SavedObject]:
        """`read`, of which each is a saved object. Raises `StorageError`."""
        found = self.read(name)
        if all(isinstance(o, dict) and isinstance(o.get("type"), str) and isinstance(o.get("id"), str)
               and isinstance(o.get("attributes"), dict) for o in found):  # fmt: skip
            return found
        raise _damaged(self._folder() / name, ValueError("a line of it is no saved object"))

    def before(self) -> dict[Key, SavedObject]:
        """What was there before. Raises `StorageError` where that is not whole: the rest would seem to be created."""
        name = "before.ndjson"
        found = {key_of(o): o for o in self.objects(name)}
        if set(found) != set(self.existed):
            why = ValueError(f"it holds {len(found)} objects, and {len(self.existed)} were put aside")
            raise _damaged(self._folder() / name, why)
        return found

    def save(self, **texts: Iterable[bytes]) -> None:
        """Write it, and such texts as `before=lines`, so that no crash leaves half of one."""
        folder = self._folder()
        for name, lines in texts.items():
            _write(folder / f"{name}.ndjson", b"".join(row + b"\n" for row in lines))
        told = {k: v for k, v in asdict(self).items() if k != "folder"} | {"format": FORMAT}
        _write(folder / "record.json", json.dumps(told, indent=1, sort_keys=True).encode())

    def _folder(self) -> Path:
        if self.folder is None:  # pragma: no cover - every record that `Memory` gives has one
            raise ValueError("this record is not kept anywhere")
        return self.folder


class Memory:
    """What is remembered of one space of one Kibana."""

    def __init__(self, url: str, space: str | None = None) -> None:
        """`url`: of the Kibana; credentials in it are not kept."""
        parts = urlsplit(url)
        address = f"{parts.scheme}://{(parts.hostname or '').lower()}:{parts.port or ''}{parts.path.rstrip('/')}"
        self.address = address
        self.space = space or "default"
        self.folder = state_folder() / "kibana" / _name(address.partition("//")[2], address) / _name(self.space)
        self.entries: dict[Key, Entry] = {}
        """By type and id in the file."""
        self._load()

    @property
    def ids(self) -> dict[Key, str]:
        """The ids there of objects that have another one than in the file."""
        return {k: e.there for k, e in self.entries.items() if e.there != k[1]}

    def save(self) -> None:
        """Write the entries. Raises `StorageError`."""
        told = {"format": FORMAT, "kibana": self.address, "space": self.space,
                "entries": {_text(k): asdict(e) for k, e in sorted(self.entries.items())}}  # fmt: skip
        with _storing(self.folder):
            private(self.folder)
            _write(self.folder / "memory.json", json.dumps(told, indent=1).encode())

    def _load(self) -> None:
        path = self.folder / "memory.json"
        try:
            told = json.loads(path.read_bytes())
            if told.get("format") != FORMAT:
                raise StorageError(f"cannot read {path}", why=f"its format is {told.get('format')}, not {FORMAT}",
                                   hint="use the elkkit that wrote it, or a newer one")  # fmt: skip
            self.entries = {_key(k): _entry(e) for k, e in told["entries"].items()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise from_os_error("read", path, error, hint=_ELSEWHERE) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _damaged(path, error) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep every other elkkit of this user from changing the space meanwhile. Raises `ServiceError`."""
        with _storing(self.folder):
            private(self.folder)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise from_os_error("lock", self.folder / "lock", error) from error
                what = f'cannot change the space "{self.space}" of {self.address}'
                hint = "wait until it has ended, then run the same command again"
                raise ServiceError(what, why="another elkkit is changing it", hint=hint) from None
            self._load()
            yield
        finally:
            os.close(lock)

    # --- what can be undone ------------------------------------------------------------------------------------------

    def begin(
        self, what: str, kibana: str, touched: Iterable[Key], before: Mapping[Key, bytes], sent: Iterable[bytes] = ()
    ) -> Record:
        """A new record, on disk before anything is changed; `before` are the objects that are there, as lines."""
        now = datetime.now(UTC)
        above = self.folder / "undo"
        with _storing(above):
            private(above)
            number = 0
            while True:
                ident = f"{now:%Y%m%d-%H%M%S}" + (f"-{number}" if number else "")
                try:
                    (above / ident).mkdir(mode=0o700)
                    break
                except FileExistsError:
                    number += 1
        record = Record(ident, what, now.isoformat(timespec="seconds"), kibana, sorted(touched), sorted(before),
                        folder=above / ident)  # fmt: skip
        record.save(before=before.values(), sent=sent)
        self._forget_old()
        return record

    def records(self) -> list[Record]:
        """All, the newest first. What cannot be read is left out: it never began."""
        above = self.folder / "undo"
        found = []
        for folder in sorted(above.iterdir(), key=_age, reverse=True) if above.is_dir() else []:
            with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                told = json.loads((folder / "record.json").read_bytes())
                told.pop("format")
                for name in ("touched", "existed"):
                    told[name] = [(t, i) for t, i in told[name]]
                found.append(Record(**told, folder=folder))
        return found

    def _forget_old(self) -> None:
        for record in self.records()[KEPT:]:
            if record.folder:
                shutil.rmtree(record.folder, ignore_errors=True)

    def remember(self, entries: Mapping[Key, Entry | None], record: Record | None = None) -> None:
        """Set entries, None to forget one, and note in `record` what was there before."""
        for key, entry in entries.items():
            if record is not None and _text(key) not in record.remembered:
                old = self.entries.get(key)
                record.remembered[_text(key)] = asdict(old) if old else None
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry

    def recall(self, record: Record, own: Record | None = None) -> None:
        """Remember what was remembered before a record, and note in `own` what was until now."""
        told = {_key(text): _entry(old) if old else None for text, old in record.remembered.items()}
        self.remember(told, own)


def _age(folder: Path) -> tuple[str, int]:
    """`20261122-101500-2` comes after `20261122-101500`."""
    day, _, rest = folder.name.partition("-")
    time, _, number = rest.partition("-")
    return f"{day}-{time}", int(number) if number.isdigit() else 0


def _text(key: Key) -> str:
    return f"{key[0]}:{key[1]}"


def _key(text: str) -> Key:
    kind, _, ident = text.partition(":")
    return kind, ident


def _entry(told: Mapping[str, Any]) -> Entry:
    """Raises `TypeError` for what was not written by `Memory.save`."""
    entry = Entry(**told)
    if not all(isinstance(v, bool if k == "ours" else str) for k, v in asdict(entry).items()):
        raise TypeError("an entry holds what is no text")
    return entry


def _name(text: str, whole: str | None = None) -> str:
    """A folder's name that no path can hide in."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")[:60]
    if plain == text and whole is None:
        return plain
    return f"{plain}-{hashlib.sha256((whole or text).encode()).hexdigest()[:8]}".lstrip("-")


def _write(path: Path, data: bytes) -> None:
    """Write beside, then rename. Raises `StorageError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with _storing(path):
        try:
            with beside.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error("write", path, error, hint=_ELSEWHERE) from error


def _damaged(path: Path, error: Exception) -> ElkkitError:
    return StorageError(f"cannot read {path}", why=f"it is damaged: {error}",
                        hint="restore it, or move it away: what it remembers is then not known any more")  # fmt: skip
