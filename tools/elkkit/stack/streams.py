"""The stream of events as a server holds it: a data stream, or on the bare engine a write alias over plain indices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic


class Kind(StrEnum):
    """What stands behind a stream's name."""

    DATA_STREAM = "data stream"
    ALIAS = "alias"
    INDEX = "index"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Stream:
    """What stands behind a stream's name now."""

    name: str
    kind: Kind
    indices: tuple[str, ...] = ()
    """Oldest first."""

    @property
    def write_index(self) -> str | None:
        """Where new documents go."""
        return self.indices[-1] if self.indices else None

    @property
    def older(self) -> tuple[str, ...]:
        """Indices that take no new documents: an `_id` in them does not refuse its twin in the newest one."""
        return self.indices[:-1]


def find_stream(elastic: Elastic, name: str) -> Stream:
    """What stands behind a stream's name. The client's errors pass through: use it within `asking`.

    Needs the privilege `view_index_metadata`.
    """
    from elasticsearch import NotFoundError

    try:
        found = elastic.client.indices.resolve_index(name=name, filter_path="*.name,*.indices,*.backing_indices")
    except NotFoundError:
        return Stream(name, Kind.ABSENT)
    for stream in found.get("data_streams", ()):
        if stream["name"] == name:
            return Stream(name, Kind.DATA_STREAM, _tuple(stream.get("backing_indices", ())))
    for alias in found.get("aliases", ()):
        if alias["name"] == name:
            return Stream(name, Kind.ALIAS, _in_order_of_writing(elastic, name))
    exact = any(index["name"] == name for index in found.get("indices", ()))
    return Stream(name, Kind.INDEX, (name,)) if exact else Stream(name, Kind.ABSENT)


def _in_order_of_writing(elastic: Elastic, alias: str) -> tuple[str, ...]:
    told = elastic.client.indices.get_alias(name=alias)
    writes = {index: about["aliases"][alias].get("is_write_index", False) for index, about in told.items()}
    return tuple(sorted(writes, key=lambda index: (writes[index], index)))


def _tuple(names: str | list[str] | tuple[()]) -> tuple[str, ...]:
    """The server writes a single name without its list."""
    return (names,) if isinstance(names, str) else tuple(names)
