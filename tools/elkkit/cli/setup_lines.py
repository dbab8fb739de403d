"""How `elkkit setup` shows what is done with an object: a word, and text that is wrapped beside it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from elkkit.cli.output import harmless

if TYPE_CHECKING:
    from rich.console import Console

_INDENT = 11


def line(console: Console, first: str, text: str, *, style: str | None = None) -> None:
    """Show one."""
    from rich.text import Text

    width = max(40, console.width)
    room = textwrap.wrap(harmless(text), width - _INDENT, break_long_words=False, break_on_hyphens=False)
    indent = " " * _INDENT
    whole = Text.assemble((first.ljust(_INDENT), style or ""), f"\n{indent}".join(room))
    console.print(whole, soft_wrap=True)
