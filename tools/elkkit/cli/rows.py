"""Scores and log lines as rows for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elkkit.cli.output import Output, harmless

if TYPE_CHECKING:
    from elkkit.contract import Contract, Metric

_MARKS = {"scored": " ", "not_finite": "~", "malformed": "!", "not_a_score": "."}
_STYLES = {"not_finite": "yellow", "malformed": "red", "not_a_score": "dim"}
_LONGEST = 500
_WIDEST = 40


def score_text(metric: Metric, score: float) -> str:
    """A score as people read it: in the metric's format, unless that would show next to nothing of it, or too much."""
    text = format(score, metric.format)
    digits = "".join(filter(str.isdigit, text)).lstrip("0")
    if abs(score) < 1 and len(digits) < 2:
        return f"{score:.3g}" if score else text
    return text if len(text) <= 12 else f"{score:.6g}"


class Rows:
    """Records as rows for people. On a terminal a row is one line of it; elsewhere nothing is shortened but text."""

    def __init__(self, out: Output, contract: Contract, files: Sequence[str], fields: Sequence[str] = ()) -> None:
        self._contract = contract
        known = {name: contract.fields.get(name) for name in fields}
        self._numbers = {name for name, field in known.items() if field and field.type in ("double", "long")}
        # as wide as the contract's example until a value is wider, since values to come are not known
        self._widths = {name: len(_value_text(field.example)) if field else 1 for name, field in known.items()}
        self._several = len(files) > 1
        short = {name: Path(name).name.removesuffix(".log") for name in files}
        self._labels = short if len(set(short.values())) == len(short) else {name: name for name in files}
        self._console = out.console()
        self._colour = self._console.color_system is not None
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        self._terminal = self._console.file.isatty()

    def line(self, record: Mapping[str, Any]) -> bytes:
        """One row with its line feed."""
        width = self._console.width if self._terminal else None
        row = self._columns(record) if self._widths else self._row(record, width)
        if width and _cells(row) > width:
            from rich.cells import set_cell_size

            row = set_cell_size(row, width - 1) + "…"
        style = _STYLES.get(record["outcome"])
        if self._colour and style:
            from rich.style import Style

            row = Style.parse(style).render(row)
        return f"{row}\n".encode(self._encoding, "replace")

    def _columns(self, record: Mapping[str, Any]) -> str:
        """The fields that were asked for, whole; numbers at the right of their column."""
        cells = [_MARKS[record["outcome"]]]
        for name, width in self._widths.items():
            value = record.get(name)
            text = "-" if value is None else _value_text(value)
            width = self._widths[name] = max(width, min(_cells(text), _WIDEST))
            cells.append(text.rjust(width) if name in self._numbers else _fit(text, width, cut=None))
        return " ".join(cells).rstrip()

    def _row(self, record: Mapping[str, Any], width: int | None) -> str:
        narrow = width if width is not None and self._several else None
        cell = [_clock(record.get("@timestamp")), _MARKS[record["outcome"]]]
        if self._several:
            cell.append(_fit(self._labels[record["file"]], 12, cut=narrow, keep_end=True))
        version = record.get("model.version")
        name = record.get("model.name", "-")
        model = f"{name}:{version}" if version is not None else name
        cell.append(_fit(model, 12 if narrow and narrow < 100 else 16, cut=width))
        name = record.get("metrictype")
        if name is None:
            return " ".join(
                [*cell, _text(record, None if width is None else width - sum(map(_cells, cell)) - len(cell))]
            )
        metric = self._contract.metric(name)
        score = record.get("metricscores")
        cell.append(_fit(name, 17, cut=width))
        cell.append(f"{record['metricraw'] if score is None else score_text(metric, score):>10}")
        cell.append(_fit("" if metric.unit == "ratio" or score is None else metric.unit, 2, cut=None))
        frame = record.get("frame.id", record.get("http.request.id", ""))
        room = None if width is None else max(8, width - sum(map(_cells, cell)) - len(cell))
        cell.append(_fit(frame, 0 if room is None else room, cut=room, keep_end=True).rstrip())
        return " ".join(cell).rstrip()


def _value_text(value: Any) -> str:
    """A field's value as it is, in one line."""
    if isinstance(value, list | tuple):
        return ",".join(map(_value_text, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return harmless(value).replace("\t", " ")


def _clock(timestamp: str | None) -> str:
    """Hours, minutes and seconds in UTC."""
    if timestamp is not None:
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(timestamp)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            return f"{moment:%H:%M:%S}Z"
    return "--:--:-- "


def _text(record: Mapping[str, Any], room: int | None) -> str:
    """The text of a line that is no score; of a malformed one, also why."""
    message = record.get("message", "(no message)")
    shown = harmless(message[:_LONGEST]).replace("\t", " ")
    if len(message) > _LONGEST:
        shown += f"… ({len(message):,} characters)"
    if record["outcome"] != "malformed":
        return shown
    why = f"  (malformed: {harmless(record.get('error.message', 'no reason given')[:_LONGEST])})"
    if room is not None:
        shown = _fit(shown, max(24, room - len(why)), cut=room).rstrip()
    return shown + why


def _fit(text: str, width: int, *, cut: int | None, keep_end: bool = False) -> str:
    """Text filled up to so many cells, and cut to them unless `cut` is None; ids differ at their end."""
    text = harmless(text).replace("\t", " ")
    if text.isascii():
        if len(text) <= width:
            return text.ljust(width)
        if cut is None:
            return text
        return "…" + text[1 - width :] if keep_end else text[: width - 1] + "…"
    from rich.cells import set_cell_size

    size = _cells(text)
    if size <= width or cut is None:
        return text + " " * max(0, width - size)
    if not keep_end:
        return set_cell_size(text, width - 1) + "…"
    text = text[-width:]
    while _cells(text) >= width:
        text = text[1:]
    return "…" + text + " " * (width - 1 - _cells(text))


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
