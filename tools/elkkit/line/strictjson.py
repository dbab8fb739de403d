"""One JSON object from bytes, by RFC 8259 and nothing looser: no NaN, no lone surrogate, no invalid UTF-8."""

from __future__ import annotations

import json
from typing import Any

import orjson


class NotJSONError(ValueError):
    """The bytes are no single valid JSON value."""


def _refuse(constant: str) -> float:
    raise NotJSONError(f"{constant} is not JSON")


def loads(raw: bytes | str) -> Any:
    """Read one JSON value; a duplicate key's last value wins. Raises `NotJSONError`."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _loads_slowly(raw)


def _integer(digits: str) -> int | float:
    """As orjson and the other engines: beyond 64 bits it is a 64-bit floating-point number."""
    short = int(digits) if len(digits) <= 20 else None
    return short if short is not None and -(2**63) <= short < 2**64 else float(digits)


def _loads_slowly(raw: bytes | str) -> Any:
    """Read what orjson refuses though it is valid, such as a number beyond 64 bits."""
    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        value = json.loads(text, parse_constant=_refuse, parse_int=_integer)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate has no UTF-8
    except (ValueError, RecursionError) as error:
        raise NotJSONError(str(error)) from None
    return value
