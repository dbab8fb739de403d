"""Objects of a Kibana as a folder for git: one file an object, the same bytes as long as the object says the same."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from elkkit.contract import Contract
from elkkit.errors import InputError, from_os_error
from elkkit.kibana import TARGETS, bundle
from elkkit.kibana.folder import file_name, from_text, to_text
from elkkit.kibana.order import Key, key_of
from elkkit.stack.files import readable
from elkkit.stack.kibana import LARGEST, Kibana
from elkkit.stack.kibanalist import Listed, list_objects
from elkkit.words import close_to, did_you_mean

KINDS = ("dashboard", "search", "query", "index-pattern", "visualization", "lens", "map", "tag")
"""The types that are exported by `everything`; a Kibana that does not know one has none of it."""
Action: TypeAlias = Literal["new", "changed", "unchanged", "differs", "gone", "removed"]
_AT_ONCE = 1_000
"""Objects that are asked for in one request."""
_REGULAR = 2 * LARGEST
"""Bytes of a file that may be of an earlier export: indented, an object is somewhat larger."""


def _silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file, and what became of it, or would have."""

    path: PurePosixPath
    """In the folder."""
    type: str
    id: str
    title: str
    action: Action
    """`differs`: other bytes are there, which were kept. `gone`: of an earlier export, and not on the server now."""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"path": str(self.path), "type": self.type, "id": self.id, "title": self.title, "action": self.action}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did, or would do."""

    url: str
    kibana: str
    """Such as `Kibana 8.12.2`."""
    space: str
    folder: Path
    files: tuple[ExportedFile, ...]
    missing_references: tuple[Key, ...] = ()
    """What objects refer to and the server does not have."""
    left_out: tuple[tuple[Key, str], ...] = ()
    """Objects that no file can hold, and why."""
    dry_run: bool = False

    @property
    def refused(self) -> tuple[ExportedFile, ...]:
        """Files that differ; because of them nothing was written."""
        return tuple(f for f in self.files if f.action == "differs")

    @property
    def counts(self) -> dict[str, int]:
        """How many files of each action."""
        found = Counter(f.action for f in self.files)
        order: tuple[Action, ...] = ("new", "changed", "unchanged", "differs", "gone", "removed")
        return {action: found[action] for action in order if found[action]}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kibana": self.url,
            "space": self.space,
            "folder": readable(str(self.folder)),
            "dry_run": self.dry_run,
            "written": not self.dry_run and not self.refused,
            "counts": self.counts,
            "files": [f.as_dict() for f in self.files],
            "missing_references": [{"type": t, "id": i} for t, i in self.missing_references],
            "left_out": [{"type": t, "id": i, "why": why} for (t, i), why in self.left_out],
        }


# --- what is exported ------------------------------------------------------------------------------------------------


def own_keys(
    kibana: Kibana, contract: Contract, *, space: str | None = None, ids: Mapping[Key, str] | None = None
) -> list[Key]:
    """The objects of elkkit's bundles that a space has, by their ids there.

    `ids`: the ids of those that have another one there than in the bundle, by type and id of the bundle. One that is
    in neither is known by its origin, which Kibana keeps with a copy. Raises `InputError` where there is none.
    """
    kibana.require_space(space)
    known = dict.fromkeys(key_of(o) for target in TARGETS for o in bundle(contract, target))
    named = {key: (key[0], (ids or {}).get(key, key[1])) for key in known}
    there = kibana.get_many(named.values(), space=space)
    found = [key for key in dict.fromkeys(named.values()) if there[key] is not None]
    lost = {key for key, other in named.items() if there[other] is None}
    if lost and space not in (None, "default"):
        kinds = dict.fromkeys(kind for kind, _ in lost)
        listed = [one for kind in kinds for one in list_objects(kibana, kind, space=space)]
        found += [one.key for one in listed if (one.type, one.origin) in lost and one.key not in found]
    if not found:
        where = f"{kibana.connection.url}, space {space or 'default'}"
        raise InputError("there is nothing to export", why=f"none of elkkit's dashboards is in {where}",
                         hint="elkkit import-dashboards  puts them there; --all or --dashboard TITLE  exports "
                              "others")  # fmt: skip
    return found


def dashboard_keys(kibana: Kibana, names: Sequence[str], *, space: str | None = None) -> list[Key]:
    """The dashboards of those ids or titles. Raises `InputError` for a name of none, and of more than one."""
    kibana.require_space(space)
    listed = list_objects(kibana, "dashboard", space=space)
    return list(dict.fromkeys(_named(name, listed, kibana).key for name in names))


def _named(name: str, listed: Sequence[Listed], kibana: Kibana) -> Listed:
    ways: tuple[Callable[[Listed], bool], ...] = (
        lambda one: one.id == name,
        lambda one: one.title == name,
        lambda one: one.title.casefold() == name.casefold(),
    )
    for way in ways:
        found = [one for one in listed if way(one)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f'more than one dashboard is called "{name}"',
                             why=f"their ids are {', '.join(one.id for one in found[:10])}",
                             hint="name one by its id: --dashboard ID")  # fmt: skip
    titles = [one.title for one in listed]
    close = close_to(name, titles) or sorted(titles)[:5]
    why = f"it has {len(listed):,} dashboards" + (f"; {did_you_mean(close)}" if close else "")
    raise InputError(f'{kibana.connection.url} has no dashboard "{name}"', why=why,
                     hint="give its title as Kibana shows it, or its id, which ends its address there")  # fmt: skip


def everything(kibana: Kibana, *, space: str | None = None) -> list[Key]:
    """Every object of `KINDS` in a space. Raises `InputError` where there is none."""
    kibana.require_space(space)
    found = [one.key for kind in KINDS for one in list_objects(kibana, kind, space=space)]
    if not found:
        raise InputError("there is nothing to export",
                         why=f"{kibana.connection.url}, space {space or 'default'} has no dashboards, searches, data "
                             "views or parts of them",
                         hint="elkkit import-dashboards  puts some there; --space NAME  looks elsewhere")  # fmt: skip
    return found


# --- the folder ------------------------------------------------------------------------------------------------------


def export_folder(
    kibana: Kibana,
    keys: Sequence[Key] | None,
    folder: Path,
    *,
    space: str | None = None,
    overwrite: bool = False,
    prune: bool = False,
    dry_run: bool = False,
    tell: Callable[[str], None] = _silent,
) -> Exported:
    """Write objects, and all that they refer to, into a folder; `keys` None: everything.

    Where a file has other bytes nothing is written, unless `overwrite`: see `Exported.refused`. Files of an earlier
    export whose object is gone from the space are told, and with `prune` removed; other files are let alone. No file is
    ever half-written; all of them are complete before the first one is put in its place.
    """
    _check_folder(folder)
    objects, lost = _fetch(kibana, everything(kibana, space=space) if keys is None else keys, space, tell)
    wanted, left_out = _files(objects)
    files = [_compared(folder, path, item, data, overwrite=overwrite) for path, (item, data) in wanted.items()]
    files += _gone(kibana, folder, set(wanted), space, prune=prune)
    done = Exported(kibana.connection.url, kibana.server.kind, space or "default", folder,
                    tuple(sorted(files, key=lambda f: f.path)), lost, tuple(left_out), dry_run)  # fmt: skip
    if not dry_run and not done.refused:
        actions = {f.path: f.action for f in files}
        fresh = {path for path, action in actions.items() if action == "new"}
        _write(folder, {p: data for p, (_, data) in wanted.items() if actions[p] in ("new", "changed")}, fresh)
        for one in files:
            if one.action == "removed":
                _remove(folder / one.path)
    return done


def _fetch(
    kibana: Kibana, keys: Sequence[Key], space: str | None, tell: Callable[[str], None]
) -> tuple[list[dict[str, Any]], tuple[Key, ...]]:
    """Objects with all that they refer to, and what of that is not there."""
    found: dict[Key, dict[str, Any]] = {}
    lost: dict[Key, None] = {}
    for part in _parts(keys):
        tell(f"asking {kibana.connection.url} for {len(part):,} objects")
        export = kibana.export(part, deep=True, space=space)
        found |= {key_of(o): o for o in export.objects}
        lost |= dict.fromkeys([*export.missing, *export.missing_references])
    return list(found.values()), tuple(sorted(lost))


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]


def _files(
    objects: Sequence[dict[str, Any]],
) -> tuple[dict[PurePosixPath, tuple[dict[str, Any], bytes]], list[tuple[Key, str]]]:
    """The bytes of each file, and the objects that have none."""
    wanted: dict[PurePosixPath, tuple[dict[str, Any], bytes]] = {}
    left_out = []
    for item in objects:
        key = key_of(item)
        try:
            data = to_text(item).encode()
        except ValueError as error:
            left_out.append((key, str(error)))
            continue
        wanted[file_name(*key)] = item, data
    return wanted, left_out


def _compared(
    folder: Path, path: PurePosixPath, item: Mapping[str, Any], data: bytes, *, overwrite: bool
) -> ExportedFile:
    target = folder / path
    action: Action = "changed" if overwrite else "differs"
    try:
        if not os.path.lexists(target):
            action = "new"
        elif target.is_symlink() or not target.is_file():
            raise InputError(f"cannot write {readable(str(target))}", why="it is a link or a folder, and no file",
                             hint="move it away, or export into another folder")  # fmt: skip
        elif target.stat().st_size == len(data) and target.read_bytes() == data:
            action = "unchanged"
    except OSError as error:
        raise from_os_error("read", readable(str(target)), error) from error
    return ExportedFile(path, *key_of(dict(item)), _title(item), action)


def _title(item: Mapping[str, Any]) -> str:
    attributes = item.get("attributes")
    told = attributes.get("title") or attributes.get("name") if isinstance(attributes, Mapping) else None
    return told if isinstance(told, str) else str(item["id"])


def _gone(
    kibana: Kibana, folder: Path, wanted: set[PurePosixPath], space: str | None, *, prune: bool
) -> list[ExportedFile]:
    """Files of earlier exports whose objects the space does not have any more."""
    before = {key_of(item): (path, item) for path, item in _earlier(folder, wanted)}
    action: Action = "removed" if prune else "gone"
    gone = []
    for part in _parts(list(before)):
        there = kibana.get_many(part, space=space)
        gone += [ExportedFile(before[k][0], *k, _title(before[k][1]), action) for k in part if there[k] is None]
    return gone


def _earlier(folder: Path, wanted: set[PurePosixPath]) -> Iterator[tuple[PurePosixPath, dict[str, Any]]]:
    """Files that an export wrote: those that are called as it would call them. Others are a user's."""
    try:
        found = sorted(folder.glob("*/*.json"))
    except OSError as error:
        raise from_os_error("read", readable(str(folder)), error) from error
    for file in found:
        path = PurePosixPath(file.parent.name, file.name)
        if path in wanted or file.parent.is_symlink() or file.is_symlink() or not file.is_file():
            continue
        try:
            if file.stat().st_size <= _REGULAR:
                item = from_text(file.read_text("utf-8"))
                if file_name(*key_of(item)) == path:
                    yield path, item
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue  # no object of an export: not ours to judge


# --- writing ---------------------------------------------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    """Before a server is asked: what is there must be a folder, or nothing."""
    shown = readable(str(folder))
    if "\0" in str(folder):
        raise InputError(f"cannot export into {shown}", why="there is a zero byte in its name", hint="check the path")
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"cannot export into {shown}", why="it is no folder",
                         hint="elkkit export-dashboards DIR  makes the folder where there is none")  # fmt: skip


def _write(folder: Path, contents: Mapping[PurePosixPath, bytes], fresh: set[PurePosixPath]) -> None:
    """Put files in their places, once all of them are complete beside. `fresh`: those that were not there."""
    beside: dict[Path, Path] = {}
    at = folder
    try:
        for path, data in contents.items():
            at = folder / path
            _own_folder(folder, path.parts[0])
            half = at.with_name(f".elkkit-{secrets.token_hex(8)}")
            beside[at] = half
            with half.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path in contents:
            at = folder / path
            if path in fresh and os.path.lexists(at):
                raise InputError(f"cannot write {readable(str(at))}", why="somebody else wrote it just now",
                                 hint="run the same command again")  # fmt: skip
            beside[at].replace(at)
    except OSError as error:
        raise from_os_error("write", readable(str(at)), error) from error
    finally:
        for half in beside.values():
            half.unlink(missing_ok=True)


def _own_folder(folder: Path, name: str) -> None:
    """The folder of a type. A link there would lead what is written to wherever somebody wants it."""
    made = folder / name
    if made.is_symlink():
        raise InputError(f"cannot write into {readable(str(made))}", why="it is a link",
                         hint="remove the link, or export into another folder")  # fmt: skip
    made.mkdir(parents=True, exist_ok=True)


def _remove(path: Path) -> None:
    """Remove a file, and its folder where that is empty then."""
    try:
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    except OSError as error:
        raise from_os_error("remove", readable(str(path)), error) from error
