"""What is wrong with a query, in three lines that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from elkkit.errors import UsageError

QUOTE_IT = 'put a value with special characters in double quotes: "a (b)"'
_MESSAGE = "the query is not KQL: "
_BEFORE = 20  # columns of the query that are shown before the fault, and from it on
_AFTER = 27
_INDENT = len("error: ") - len("why: ")


class KqlError(UsageError):
    """A query that Kibana or Elasticsearch would refuse.

    `text` is the query and `position` the index of the character at fault; None where the text is well-formed but
    cannot be asked.
    """

    def __init__(
        self,
        message: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        text: str | None = None,
        position: int | None = None,
    ) -> None:
        super().__init__(message, why=why, hint=hint)
        self.text = text
        self.position = position

    def as_kibana(self) -> str:
        """The error as Kibana words it."""
        return self.why or self.message


class KqlSyntaxError(KqlError):
    """A text that is no KQL: the character at `position` (from 0) of `text` is none of what may stand there.

    The message ends with the text around it, and `why` with a caret that stands under it where both are shown.
    """

    text: str
    position: int

    def __init__(self, text: str, position: int, expected: set[str], hint: str | None = None) -> None:
        self.expected = tuple(sorted(expected))
        """As Kibana orders them: what is in quotation marks, words in capitals, the others."""
        before = _within(_BEFORE, reversed(text[:position]))[::-1]
        after = _within(_AFTER, iter(text[position:]))
        start, end = position - len(before), position + len(after)
        shown = ("…" if start else "") + "".join(before)
        found = f"{_visible(text[position])} is not expected" if position < len(text) else "it ends too early"
        column = _INDENT + len(_MESSAGE) + _columns(shown)
        # the place fits at the left of any query, what was found at the right of the caret
        why = f"at character {position + 1}".ljust(column) + f"^ {found}"
        shown += "".join(after) + ("…" if end < len(text) else "")
        super().__init__(f"{_MESSAGE}{shown}", why=why, hint=hint or self._hint(), text=text, position=position)

    def _hint(self) -> str:
        """What may stand there, and how to mean the text itself."""
        operators = {'"<"', '"<="', '">"', '">="'}
        names = [name for name in self.expected if name not in {"whitespace", "field name", *operators}]
        if operators & set(self.expected):
            names.append("a comparison")
        names = ["the end" if n == "end of input" else "a value" if n in ("value", "literal") else n for n in names]
        if "a value" in names:
            names.sort(key="a value".__ne__)
            return f"{' or '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)} may stand there"
        return QUOTE_IT

    def as_kibana(self) -> str:
        """The error as Kibana words it, with a line that points at the position."""
        found = "end of input" if self.position >= len(self.text) else f'"{self.text[self.position]}"'
        return f"Expected {', '.join(self.expected)} but {found} found.\n{self.text}\n{'-' * self.position}^"


def _within(columns: int, text: Iterator[str]) -> list[str]:
    """The first characters, as they are shown, that take so many columns together."""
    shown: list[str] = []
    for char in map(_visible, text):
        columns -= _columns(char)
        if columns < 0:
            break
        shown.append(char)
    return shown


def _visible(char: str) -> str:
    """A character as a terminal shows it, so that columns can be counted; harmless in any case."""
    if char.isprintable():
        return char
    return " " if char == "\u00a0" else char.encode("unicode_escape").decode()


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
