"""KQL's grammar for lark, and what its rules mean. Imported when the first query is read: lark takes a while to load.

After Kibana's parsing expression grammar, where a value without quotation marks ends before what would be a keyword:
before space with `and ` or `or ` after it, and before `not ` even within a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from lark import Lark, Token, Transformer, v_args

from elkkit.kql.ast import And, Exists, Is, MatchAll, Name, Nested, Node, Not, Operator, Or, Range, Value
from elkkit.kql.ast import Wildcard as Pattern

_GRAMMAR = r"""
query: any_of?
?any_of: all_of | all_of (_OR all_of)+ -> either
?all_of: one_of | one_of (_AND one_of)+ -> both
?one_of: part | _NOT part -> negation
?part: _OPEN any_of _CLOSE
    | literal -> anywhere
    | literal RANGE literal -> bound
    | literal _COLON value -> bind
    | literal _COLON _GROUP any_of _UNGROUP -> nested

?any_value: all_values | all_values (_OR all_values)+ -> either
?all_values: one_value | one_value (_AND one_value)+ -> both
?one_value: value | _NOT value -> negation
?value: _OPEN any_value _CLOSE
    | literal -> anywhere

?literal: QUOTED -> quoted | UNQUOTED -> unquoted

_OPEN: "("
_CLOSE: ")"
_GROUP: "{"
_UNGROUP: "}"
_COLON: ":"
RANGE: /[<>]=?/
_OR.2: /<s>++or<s>++/i
_AND.2: /<s>++and<s>++/i
_NOT.2: /not<s>++/i
_SPACE.1: /<s>++/
QUOTED: /"(?:[^"\\]++|\\["\\]|\\)*+"/
UNQUOTED: /(?:[^ \t\r\n\u00a0\\():<>"*{}nN]++|(?!(?i:not)<s>)[nN]|<s>++(?!(?i:and|or)<s>)|\*|<escape>)++/
%ignore _SPACE
"""
_SPACE = r"[ \t\r\n\u00a0]"
_ESCAPE = r'\\(?:(?i:and|or|not)|[trn]|u[0-9a-fA-F]{4}|[\\():<>"*{}])'
_PIECE = re.compile(
    r"\\(?:(?P<word>(?i:and|or|not))|(?P<control>[trn])|u(?P<code>[0-9a-fA-F]{4})|(?P<itself>.))|(?P<star>\*)"
)
_QUOTED_PIECE = re.compile(r'\\(?:(?P<control>[trn])|u(?P<code>[0-9a-fA-F]{4})|(?P<itself>[\\"]))')
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}
# what JavaScript's trim() takes away
TRIMMED = "\t\n\x0b\x0c\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_OPERATORS: dict[str, Operator] = {"<=": "lte", ">=": "gte", "<": "lt", ">": "gt"}

KIBANAS_NAMES = {
    "_OPEN": ('"("',), "_CLOSE": ('")"',), "_GROUP": ('"{"',), "_UNGROUP": ('"}"',), "_COLON": ('":"',),
    "RANGE": ('"<"', '"<="', '">"', '">="'), "_OR": ("OR",), "_AND": ("AND",), "_NOT": ("NOT",),
    "QUOTED": ("value",), "UNQUOTED": ("value",), "$END": ("end of input",),
}  # fmt: skip
"""What Kibana's errors call each terminal."""


@cache
def grammar() -> Lark:
    """The parser, made once; it may be shared by threads."""
    text = _GRAMMAR.replace("<escape>", _ESCAPE).replace("<s>", _SPACE)
    return Lark(
        text, start="query", parser="lalr", lexer="contextual", transformer=_Meaning(), maybe_placeholders=False
    )


_Literal = tuple[Value, bool]
"""A value, and whether it is quoted."""


def literal(token: Token) -> _Literal:
    """What a token `QUOTED` or `UNQUOTED` stands for."""
    if token.type == "QUOTED":
        return _QUOTED_PIECE.sub(_unescaped, token[1:-1]), True
    parts = _parts(token)
    if len(parts) > 1:
        return Pattern(tuple(parts)), False
    return _CONSTANTS.get(parts[0], parts[0]), False


def name(literal: _Literal) -> Name:
    """What a literal stands for where a field's name is wanted."""
    value, _ = literal
    if isinstance(value, str | Pattern):
        return value
    return "null" if value is None else str(value).lower()


@v_args(inline=True)
class _Meaning(Transformer[Token, Node]):
    """What each rule of the grammar stands for; lark calls these from the inside out."""

    def query(self, node: Node | None = None) -> Node:
        return MatchAll() if node is None else node

    def either(self, *parts: Node) -> Node:
        return Or(parts)

    def both(self, *parts: Node) -> Node:
        return And(parts)

    def negation(self, part: Node) -> Node:
        return Not(part)

    def anywhere(self, literal: _Literal) -> Node:
        return Is(None, *literal)

    def bound(self, field: _Literal, operator: Token, literal: _Literal) -> Node:
        return Range(name(field), _OPERATORS[operator], literal[0])

    def bind(self, field: _Literal, values: Node) -> Node:
        return _bound_to(name(field), values)

    def nested(self, field: _Literal, part: Node) -> Node:
        return Nested(str(name(field)), part)

    def quoted(self, token: Token) -> _Literal:
        return literal(token)

    def unquoted(self, token: Token) -> _Literal:
        return literal(token)


def _bound_to(field: Name, values: Node) -> Node:
    """Values, so far of any field, as those of one; they are no deeper than brackets may be."""
    if isinstance(values, Or):
        return Or(_all_bound_to(field, values.parts))
    if isinstance(values, And):
        return And(_all_bound_to(field, values.parts))
    if isinstance(values, Not):
        return Not(_bound_to(field, values.part))
    assert isinstance(values, Is)
    if isinstance(values.value, Pattern) and values.value.is_all:  # a lone star is every value
        return MatchAll() if isinstance(field, Pattern) and field.is_all else Exists(field)
    return Is(field, values.value, values.quoted)


def _all_bound_to(field: Name, parts: Sequence[Node]) -> tuple[Node, ...]:
    return tuple(_bound_to(field, part) for part in parts)


def _parts(text: str) -> list[str]:
    """An unquoted value without its escapes and the space around it, split at its stars."""
    parts, read, at = [""], [], 0
    for found in _PIECE.finditer(text):
        read.append(text[at : found.start()])
        at = found.end()
        if found["star"]:
            parts[-1] = "".join(read)
            parts.append("")
            read = []
        else:
            read.append(found["word"] or _unescaped(found))
    parts[-1] = "".join([*read, text[at:]])
    parts[0] = parts[0].lstrip(TRIMMED)
    parts[-1] = parts[-1].rstrip(TRIMMED)
    return parts


def _unescaped(found: re.Match[str]) -> str:
    """The character of an escape; half a surrogate pair, which no text holds, becomes the replacement character."""
    if found["control"]:
        return _CONTROLS[found["control"]]
    if not found["code"]:
        return found["itself"]
    char = chr(int(found["code"], 16))
    return "\ufffd" if "\ud800" <= char <= "\udfff" else char
