"""Moments as Elasticsearch reads them in a query: a text is a span, from its first millisecond to its last."""

from __future__ import annotations

import re
from calendar import monthrange
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from elkkit.errors import UsageError

_DATE = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?)?"
    r"(?P<time>T(?:(?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?)?"
    r"(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?",
    re.ASCII,
)
_MILLISECONDS = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_STEP = re.compile(r"([+-])([0-9]{0,6})([yMwdhHms])|/([yMwdhHms])", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_OFFSET = re.compile(r"Z|[+-][0-9]{2}(?::?[0-9]{2})?", re.ASCII)
_CLOCK = frozenset("hHms")  # units that last the same on every day
_SPANS = {"w": "weeks", "d": "days", "h": "hours", "H": "hours", "m": "minutes", "s": "seconds"}
# the parts of a date that a unit's rounding puts to their first value, from the largest
_FIRST = {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
_ROUNDED = {"y": 0, "M": 1, "w": 2, "d": 2, "h": 3, "H": 3, "m": 4, "s": 5}


def event_moment(text: object) -> int | None:
    """Milliseconds since 1970 of an event's time, finer digits cut off as Elasticsearch does; None for no moment."""
    if isinstance(text, str):
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(text)
            return _milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return None


def time_zone(name: str) -> tzinfo:
    """The zone of a name such as `Europe/Berlin`, or of an offset such as `+01:00`. Raises `UsageError`."""
    from zoneinfo import ZoneInfo

    with suppress(ValueError, OSError, KeyError):  # a name that is not known is a KeyError
        if name == "UTC":
            return UTC
        return _zone(name, UTC) if _OFFSET.fullmatch(name) else ZoneInfo(name)
    raise UsageError("the time zone is wrong", why=f"{name!r:.80} is neither a zone's name nor an offset",
                     hint="a zone is written Europe/Berlin, UTC or +01:00")  # fmt: skip


def span(text: str, now: datetime, zone: tzinfo = UTC) -> tuple[int, int] | None:
    """First and last millisecond of what a query's text names, or None where it names no moment.

    `2026-11-22` is that day, so `> "2026-11-22"` begins with the next one; `2026-11` and `2026` are their first days,
    as on the server. Times are of `zone` unless they say otherwise. Also milliseconds since 1970, and date math:
    `now-15m`, `now/d`, `2026-11-22||+1M/M`.
    """
    if text.startswith("now"):
        anchor, steps = (now, now), text[3:]
    else:
        date, math, steps = text.partition("||")
        found = _span(date, zone)
        if found is None:
            return None
        anchor = (found[0], found[0]) if math else found
    try:
        low, high = (_walk(moment, steps, zone, up=up) for moment, up in zip(anchor, (False, True), strict=True))
        return (_milliseconds(low), _milliseconds(high))
    except (ValueError, OverflowError):
        return None


def _span(text: str, zone: tzinfo) -> tuple[datetime, datetime] | None:
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            if not _MILLISECONDS.fullmatch(text):
                return None
            moment = (_EPOCH + int(text) * _MS).replace(tzinfo=zone)  # the server, too, takes these for local time
            return moment, moment
        parts = {name: int(value) for name, value in found.groupdict().items() if value and name in _PARTS}
        fraction = found["fraction"]
        milliseconds = int((fraction or "0").ljust(3, "0")[:3])
        low = datetime(
            parts["year"],
            parts.get("month", 1),
            parts.get("day", 1),
            parts.get("hour", 0),
            parts.get("minute", 0),
            parts.get("second", 0),
            milliseconds * 1000,
            tzinfo=_zone(found["zone"], zone),
        )
        if fraction is not None:
            return low, low
        unit = _PARTS[max(parts, key=list(_PARTS).index)]
        try:
            return low, _add(low, 1, unit) - _MS
        except (ValueError, OverflowError):  # the last one that there is, such as 9999-12-31
            return low, datetime.max.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


# what a date's last part makes of it: a year or month alone is its first day, even where its end is asked for
_PARTS = {"year": "d", "month": "d", "day": "d", "hour": "h", "minute": "m", "second": "s"}


def _zone(text: str | None, other: tzinfo) -> tzinfo:
    if text is None:
        return other
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _walk(moment: datetime, steps: str, zone: tzinfo, *, up: bool) -> datetime:
    """The moment after date math; rounding up ends at the unit's last millisecond. Raises `ValueError`."""
    moment, at = moment.astimezone(zone), 0
    while at < len(steps):
        found = _STEP.match(steps, at)
        if found is None:
            raise ValueError(steps)
        sign, count, unit, rounded = found.groups()
        if rounded:
            moment = _floor(moment, rounded)
            if up:
                moment = _add(moment, 1, rounded) - _MS
        else:
            moment = _add(moment, int(f"{sign}{count or 1}"), unit)
        at = found.end()
    return moment


def _add(moment: datetime, count: int, unit: str) -> datetime:
    if unit in _CLOCK:  # also over a change to summer time
        return (moment.astimezone(UTC) + timedelta(**{_SPANS[unit]: count})).astimezone(moment.tzinfo)
    if unit in _SPANS:
        return moment + timedelta(**{_SPANS[unit]: count})
    months = moment.year * 12 + moment.month - 1 + count * (12 if unit == "y" else 1)
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise ValueError(year)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


def _floor(moment: datetime, unit: str) -> datetime:
    if unit == "w":
        moment -= timedelta(days=moment.weekday())
    month, day, hour, minute, second, _ = (
        first if i >= _ROUNDED[unit] else getattr(moment, name) for i, (name, first) in enumerate(_FIRST.items())
    )
    return moment.replace(month=month, day=day, hour=hour, minute=minute, second=second, microsecond=0)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS
