"""Sizes for people."""

from __future__ import annotations


def size_text(size: int) -> str:
    """Bytes for people: `812 B`, `4.1 MB`; a kB is 1000 bytes."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError
