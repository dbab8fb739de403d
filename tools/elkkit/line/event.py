"""One event: the fields of one line, checked against the contract before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, SupportsFloat, TypeAlias

from elkkit.contract import Contract
from elkkit.errors import InputError
from elkkit.line.fields import TEXT_TYPES, fit_value
from elkkit.line.identity import event_id, subject
from elkkit.line.parser import Parser

Score: TypeAlias = "SupportsFloat | None"

MAX_KEYWORD = 1024
"""Longest text of a keyword field; Elasticsearch ignores or refuses much longer ones."""
_EXACT_INTEGER = 2**53


def score_text(score: Score, contract: Contract) -> str:
    """The text of a score in a line: the shortest that reads back to the same 64-bit number.

    `score` is a Python or numpy number; None and NaN mean undefined and are written `nan`. Raises `InputError` for
    what is no number, and for numbers that the line's grammar cannot hold (magnitudes from 1e308).
    """
    value = _python_number(score)
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    text = repr(value)
    if not Parser.of(contract).is_number(text):
        why = "the line's grammar holds up to 40 digits and magnitudes below 1e308, since engines differ beyond that"
        raise InputError(f"the score {text:.80} cannot be logged", why=why, hint="log it in another unit")
    return text


def _python_number(score: Score) -> int | float:
    """The score as a Python number, never another one than was given."""
    value: Any = math.nan if score is None else score
    try:
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) <= _EXACT_INTEGER or int(float(value)) == value:
                return int(value)
            why = "it is not a 64-bit floating-point number, so it would be changed on the way"
        elif not isinstance(value, bool | str | bytes):
            return float(value)
        else:
            why = f"{type(score).__name__} is not a number"
    except (TypeError, ValueError, OverflowError) as error:
        why = str(error)
    raise InputError(f"the score {_shown(score)} cannot be logged", why=why, hint="pass one float, or nan")


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python prints no integer of thousands of digits
        return f"of type {type(value).__name__}"


def timestamp_text(moment: datetime | None = None) -> str:
    """A moment as the line writes it: UTC, milliseconds, `Z`."""
    moment = (moment or datetime.now(UTC)).astimezone(UTC)
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{moment.microsecond // 1000:03d}Z"


def field_value(contract: Contract, name: str, value: Any) -> Any:
    """A field's value as the line holds it. Raises `InputError` where the contract has no such field or type."""
    field = contract.fields.get(name)
    if field is None:
        hint = "add it to elkkit.toml as a field of your own, or leave it out"
        raise InputError(f"the field {name!r:.80} cannot be logged", why="the contract has no such field", hint=hint)
    if hasattr(value, "item") and not isinstance(value, list | tuple):
        value = value.item()
    if field.many and isinstance(value, list | tuple):
        return [_single(name, field.type, item) for item in value]
    return _single(name, field.type, value)


def _single(name: str, kind: str, value: Any) -> Any:
    """The value, where reading gives back just that."""
    if kind == "date" and isinstance(value, datetime):
        return timestamp_text(value)
    if kind in TEXT_TYPES and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    read = fit_value(kind, value)
    if read is None or read != value or (isinstance(value, str) and not _is_writable(value)):
        why = f"{_shown(value)} does not fit the type {kind}"
        raise InputError(f"the field {name} cannot be logged", why=why, hint="see the field table in the README")
    return value


def _is_writable(text: str) -> bool:
    """Whether a text is neither empty nor too long, and has a form in UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return 0 < len(text) <= MAX_KEYWORD


def make_event(
    contract: Contract,
    metric: str,
    score: Score,
    *,
    timestamp: datetime | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The event of one score: contract fields in the contract's order, the score only inside `message`.

    `metric` is written under its canonical name. `event.id` is set when the fields say what was scored (`frame.id` or
    `http.request.id`). Raises `InputError` for names, numbers and values that the line cannot hold.
    """
    name = Parser.of(contract).written_name(metric)
    given = {k: field_value(contract, k, v) for k, v in (fields or {}).items() if v is not None}
    given["@timestamp"] = timestamp_text(timestamp)
    given["message"] = f"{name} : {score_text(score, contract)}"
    given["event.dataset"] = contract.dataset
    what = subject(frame_id=given.get("frame.id"), request_id=given.get("http.request.id"))
    if what is not None:
        given["event.id"] = event_id(
            run_id=given.get("run.id"),
            service=given.get("service.name"),
            model=given.get("model.name"),
            version=given.get("model.version"),
            subject=what,
            metric=name,
        )
    return {k: given[k] for k in contract.fields if k in given}
