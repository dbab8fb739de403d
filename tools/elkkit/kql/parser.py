"""Text to meaning."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from elkkit.kql.ast import Node
from elkkit.kql.errors import KqlError, KqlSyntaxError

if TYPE_CHECKING:
    from lark import Token

MAX_DEPTH = 64
MAX_LENGTH = 100_000

_NOT = re.compile(r"not[ \t\r\n\u00a0]", re.IGNORECASE | re.ASCII)


def parse(text: str) -> Node:
    """The meaning of a KQL text.

    Raises `KqlSyntaxError` where Kibana refuses it, `KqlError` where it is too long or too deep.
    """
    return read(text)[0]


def read(text: str) -> tuple[Node, list[Token]]:
    """The meaning of a KQL text, and the tokens it is made of, with their positions. Raises what `parse` raises."""
    if len(text) > MAX_LENGTH:
        why = f"it has {len(text):,} characters, and at most {MAX_LENGTH:,} are read"
        raise KqlError("the query is too long", why=why, hint="ask it in parts", text=text)
    from lark.exceptions import UnexpectedInput, UnexpectedToken

    from elkkit.kql.grammar import grammar

    reader = grammar().parse_interactive(text)
    tokens: list[Token] = []
    depth = 0
    try:
        for token in reader.iter_parse():
            tokens.append(token)
            if token.type in ("_OPEN", "_GROUP"):
                depth += 1
                if depth > MAX_DEPTH:
                    raise _too_deep(text, token.start_pos or 0)
            elif token.type in ("_CLOSE", "_UNGROUP"):
                depth -= 1
        node: Node = reader.feed_eof()  # type: ignore[no-untyped-call]
    except UnexpectedInput as error:
        position = error.pos_in_stream or 0
        if isinstance(error, UnexpectedToken):
            if error.token.type == "$END":
                position = len(text)
            elif tokens and tokens[-1] is error.token:
                tokens.pop()
        raise _fault(text, position, tokens) from None
    return node, tokens


def _too_deep(text: str, position: int) -> KqlError:
    why = f"more than {MAX_DEPTH} brackets are open at character {position + 1}"
    hint = "leave out brackets that change nothing"
    return KqlError("the query is nested too deep", why=why, hint=hint, text=text, position=position)


def _fault(text: str, position: int, tokens: list[Token]) -> KqlSyntaxError:
    """The error at a position, after all that was read before it."""
    from elkkit.kql.grammar import KIBANAS_NAMES, grammar

    before = grammar().parse_interactive("")
    for token in tokens:
        before.feed_token(token)
    may_stand: set[str] = before.accepts()  # type: ignore[no-untyped-call]
    expected = {name for terminal in may_stand for name in KIBANAS_NAMES[terminal]}
    last = tokens[-1].type if tokens else None
    if last not in ("_AND", "_OR", "_NOT"):  # those take all the space after them
        expected.add("whitespace")
    if last == "RANGE":  # Kibana has another name for a value that only one may be
        expected = {"literal", "whitespace"}
    elif "value" in expected and not _among_values(tokens):
        expected.add("field name")
    if tokens and position > (tokens[-1].end_pos or 0):  # space was passed that would belong to those two
        expected -= {"AND", "OR"}
    hint: str | None = None
    if "QUOTED" in may_stand and text.startswith('"', position):
        hint = 'close the quotation; a quotation mark inside is written \\"'
    elif text.startswith("*", position):
        hint = "a star inside quotation marks is an ordinary character; leave them out"
    elif _NOT.match(text, position):
        hint = "not stands before an expression or bracket; quote a value with it"
    elif text.startswith("\\", position):
        hint = "a backslash in a value is written twice"
    return KqlSyntaxError(text, position, expected, hint)


def _among_values(tokens: list[Token]) -> bool:
    """What follows is a value of a field: behind its colon, or in brackets that were opened there."""
    open_ones = [False]
    before = None
    for token in tokens:
        if token.type == "_OPEN":
            open_ones.append(open_ones[-1] or before == "_COLON")
        elif token.type == "_GROUP":
            open_ones.append(False)
        elif token.type in ("_CLOSE", "_UNGROUP"):
            open_ones.pop()
        before = token.type
    return open_ones[-1] or before == "_COLON"
