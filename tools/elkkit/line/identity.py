"""`event.id`: the same score has the same id wherever and however often it is read, so it counts once."""

from __future__ import annotations

import hashlib
import re

import orjson

_EVENT_ID = re.compile(r"[0-9a-f]{32}")


def subject(*, frame_id: str | None = None, request_id: str | None = None) -> str | None:
    """What was scored: a request of a service if there is one, else a frame of a batch run."""
    if request_id is not None:
        return f"r:{request_id}"
    return f"f:{frame_id}" if frame_id is not None else None


def event_id(
    *,
    run_id: str | None,
    service: str | None,
    model: str | None,
    version: str | None,
    subject: str,
    metric: str,
) -> str:
    """First 32 hex digits of SHA-256 of the compact JSON array of what identifies a score."""
    key = orjson.dumps([1, run_id, service, model, version, subject, metric])
    return hashlib.sha256(key).hexdigest()[:32]


def is_event_id(value: object) -> bool:
    """Whether a value read from a line can be trusted as a document id."""
    return isinstance(value, str) and _EVENT_ID.fullmatch(value) is not None
