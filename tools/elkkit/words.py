"""Words for what a person may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def close_to(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that look like this one, the closest first; capitals make no difference."""
    lower = {k.lower(): k for k in known}
    return [lower[found] for found in difflib.get_close_matches(name.lower(), lower, most)]


def did_you_mean(names: Iterable[str]) -> str:
    """`did you mean a or b?`"""
    return f"did you mean {' or '.join(names)}?"
