"""A line's event as Elasticsearch takes it: the id, and the bytes that create it in a bulk request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from elkkit.contract import Contract
from elkkit.line.parser import Parsed

WHY = "elkkit_rejected"
"""Key of a rejected line that says why; no parser takes it for a field."""
_FROM_MESSAGE = ("metrictype", "metricscores", "metricraw", "error.message")
"""What reading the message again gives back."""


def document(
    parsed: Parsed,
    *,
    shipper: Mapping[str, Any],
    dataset: str,
    other_id: Callable[[], str],
    read_at: Callable[[], str],
) -> tuple[str, bytes]:
    """The id of a line's event, and its two lines of a bulk request: create under that id, and the fields.

    `shipper`: the fields that whoever reads the file knows better than the line. `other_id` gives an id to a line
    without a valid `event.id`, `read_at` a moment to one without `@timestamp`; each is asked only then.
    """
    fields = parsed.fields
    event = {**fields, **shipper, "event.dataset": dataset}
    identity = fields.get("event.id")
    if identity is None:
        identity = event["event.id"] = other_id()
    if "@timestamp" not in fields:
        event["@timestamp"] = read_at()
    return identity, b'{"create":{"_id":"%b"}}\n%b' % (identity.encode(), orjson.dumps(event))


def fields_of(operation: bytes) -> dict[str, Any]:
    """The fields of what `document` made."""
    found: dict[str, Any] = orjson.loads(operation[operation.index(b"\n") + 1 :])
    return found


def line_again(operation: bytes, contract: Contract, why: str) -> bytes:
    """The line from which `document` makes the same event under the same id again, with its line feed.

    `why` it has to be sent again stands beside the fields, for people.
    """
    event = fields_of(operation)
    for name in _FROM_MESSAGE:
        event.pop(name, None)
    tags = [tag for tag in event.pop("tags", ()) if tag != contract.malformed_tag]
    return orjson.dumps({**event, **({"tags": tags} if tags else {}), WHY: why}) + b"\n"
