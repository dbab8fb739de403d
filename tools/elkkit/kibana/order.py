"""Which objects must be on a server before which, and which can go there together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

from elkkit.kibana.common import SavedObject

Key: TypeAlias = tuple[str, str]
"""Type and id."""


def key_of(item: SavedObject) -> Key:
    """What an object is called."""
    return item["type"], item["id"]


def links_of(item: SavedObject) -> list[Key]:
    """What an object refers to."""
    return [(link["type"], link["id"]) for link in item.get("references", [])]


def line(item: SavedObject) -> bytes:
    """An object as a line of an import, without its end; lone surrogates, which no UTF-8 has, stay escapes."""
    return json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def in_order(objects: Sequence[SavedObject]) -> list[SavedObject]:
    """Each after what it refers to; where objects refer to each other, as they came."""
    known = {key_of(o): o for o in objects}
    graph = TopologicalSorter({k: [n for n in links_of(o) if n in known and n != k] for k, o in known.items()})
    try:
        return [known[k] for k in graph.static_order()]
    except CycleError:
        return list(objects)


def dependents(objects: Iterable[SavedObject], keys: Iterable[Key]) -> set[Key]:
    """These, and all that refers to them, however far away."""
    users: defaultdict[Key, list[Key]] = defaultdict(list)
    for item in objects:
        for link in links_of(item):
            users[link].append(key_of(item))
    found, open_ = set(keys), list(keys)
    while open_:
        for user in users[open_.pop()]:
            if user not in found:
                found.add(user)
                open_.append(user)
    return found


def batches(objects: Sequence[SavedObject], *, size: int, count: int) -> list[list[SavedObject]]:
    """Groups of at most `count` objects and `size` bytes, to be sent one after the other.

    What belongs together goes together, unless that alone is too much; then no object goes before what it refers to.
    One object that is too large is a group of its own.
    """
    made: list[list[SavedObject]] = []
    room, left = 0, 0
    for group in _connected(objects):
        sizes = [len(line(o)) + 1 for o in group]
        whole = sum(sizes)
        if whole > room or len(group) > left:
            made.append([])
            room, left = size, count
        for item, own in zip(group, sizes, strict=True):
            if made[-1] and (own > room or left == 0):
                made.append([])
                room, left = size, count
            made[-1].append(item)
            room, left = room - own, left - 1
    return made


def halves(objects: list[SavedObject]) -> tuple[list[SavedObject], list[SavedObject]]:
    """Two parts of a group that is in order, the first of which refers to nothing in the second."""
    middle = len(objects) // 2
    return objects[:middle], objects[middle:]


def _connected(objects: Sequence[SavedObject]) -> Iterator[list[SavedObject]]:
    """Groups that refer to nothing in each other, each in order."""
    known = {key_of(o): o for o in objects}
    near: Mapping[Key, set[Key]] = {k: set() for k in known}
    for key, item in known.items():
        for link in links_of(item):
            if link in known:
                near[key].add(link)
                near[link].add(key)
    seen: set[Key] = set()
    for key in known:
        if key in seen:
            continue
        group, open_ = {key}, [key]
        while open_:
            for other in near[open_.pop()] - group:
                group.add(other)
                open_.append(other)
        seen |= group
        yield in_order([o for k, o in known.items() if k in group])
