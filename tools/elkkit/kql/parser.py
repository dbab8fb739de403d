"""Text to meaning, by recursive descent."""

from __future__ import annotations

import re

from elkkit.kql.ast import And, Exists, Is, KqlError, MatchAll, Name, Nested, Node, Not, Operator, Or, Range, Value
from elkkit.kql.ast import Wildcard as Pattern

MAX_DEPTH = 64
MAX_LENGTH = 100_000

_SPACE = re.compile(r"[ \t\r\n\u00a0]*")
_AND_OR = re.compile(r"(?:and|or)[ \t\r\n\u00a0]", re.IGNORECASE | re.ASCII)
_NOT = re.compile(r"not[ \t\r\n\u00a0]+", re.IGNORECASE | re.ASCII)
_PLAIN = re.compile(r'[^ \t\r\n\u00a0\\():<>"*{}nN]+')  # nothing in it can end an unquoted value
_SPECIAL = frozenset('\\():<>"*{}')
_ESCAPE = re.compile(r"\\(?:(and|or|not)|([trn])|u([0-9a-fA-F]{4})|(.))", re.IGNORECASE | re.ASCII | re.DOTALL)
_QUOTED_ESCAPE = re.compile(r'\\(?:([trn])|u([0-9a-fA-F]{4})|([\\"]))')
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}
# what JavaScript's trim() takes away
_TRIMMED = "\t\n\x0b\x0c\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_OPERATORS: dict[str, Operator] = {"<=": "lte", ">=": "gte", "<": "lt", ">": "gt"}

_AFTER = {"AND", "OR", "whitespace"}
_AFTER_NAME = {'":"', '"<"', '"<="', '">"', '">="'}


def parse(text: str) -> Node:
    """The meaning of a KQL text. Raises `KqlError` where Kibana refuses it, or where it is too long or too deep."""
    if len(text) > MAX_LENGTH:
        why = f"it has {len(text):,} characters, and at most {MAX_LENGTH:,} are read"
        raise KqlError("the query is too long", why=why, hint="ask it in parts")
    return _Reader(text).query()


class _Reader:
    """A text and how far it was read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.after_name = False  # what was read last may also have been the name of a field

    def query(self) -> Node:
        """The whole text."""
        self._space()
        if self.at == len(self.text):
            return MatchAll()
        node = self._or(None)
        self._space()
        if self.at < len(self.text):
            raise self._unexpected(_AFTER | {"end of input"})
        return node

    # --- and, or, not ------------------------------------------------------------------------------------------------

    def _or(self, field: Name | None) -> Node:
        """Alternatives; of values, where they belong to a field."""
        parts = [self._and(field)]
        while self._word("or"):
            parts.append(self._and(field))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self, field: Name | None) -> Node:
        parts = [self._not(field)]
        while self._word("and"):
            parts.append(self._not(field))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self, field: Name | None) -> Node:
        found = _NOT.match(self.text, self.at)
        if not found:
            return self._one(field, {"NOT"})
        self.at = found.end()
        return Not(self._one(field, set()))

    def _word(self, word: str) -> bool:
        """Skip `and` or `or` with the space that must stand on both sides; that space may also be all there is."""
        start = self._after_space()
        found = _AND_OR.match(self.text, start) if start > self.at else None
        if not found or found[0][:-1].lower() != word:
            return False
        self.at = self._after_space(found.end())
        self.after_name = False
        return True

    def _one(self, field: Name | None, expected: set[str]) -> Node:
        if self.text.startswith("(", self.at):
            return self._group("(", ")", field)
        if field is None:
            return self._expression(expected)
        value, quoted = self._value({'"("', "value"} | expected)
        return _is(field, value, quoted)

    def _group(self, opening: str, closing: str, field: Name | None) -> Node:
        """What stands in brackets."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            why = f"more than {MAX_DEPTH} brackets are open at character {self.at + 1}"
            hint = "leave out brackets that change nothing"
            raise KqlError("the query is nested too deep", why=why, hint=hint, text=self.text, position=self.at)
        assert self.text.startswith(opening, self.at)
        self.at += 1
        self._space()
        node = self._or(field)
        self._space()
        if not self.text.startswith(closing, self.at):
            raise self._unexpected(_AFTER | {f'"{closing}"'})
        self.at += 1
        self.after_name = False
        self.depth -= 1
        return node

    # --- a field and its value ---------------------------------------------------------------------------------------

    def _expression(self, expected: set[str]) -> Node:
        name, quoted = self._value({'"("', "value"} | expected)
        end = self.at
        self._space()
        if self.text.startswith(":", self.at):
            self.at += 1
            self._space()
            return self._field_value(_name(name))
        operator = self.text[self.at : self.at + 2]
        operator = operator if operator in _OPERATORS else operator[:1]
        if operator in _OPERATORS:
            self.at += len(operator)
            self._space()
            bound, _ = self._value({"literal"})
            return Range(_name(name), _OPERATORS[operator], bound)
        self.at = end
        self.after_name = True
        return _is(None, name, quoted)

    def _field_value(self, field: Name) -> Node:
        if self.text.startswith("(", self.at):
            return self._group("(", ")", field)
        if self.text.startswith("{", self.at):
            return Nested(str(field), self._group("{", "}", None))
        value, quoted = self._value({'"("', '"{"', "value"})
        return _is(field, value, quoted)

    def _value(self, expected: set[str]) -> tuple[Value, bool]:
        """A quoted or an unquoted value, and which of them."""
        self.after_name = False
        if self.text.startswith('"', self.at):
            return self._quoted(), True
        start = self.at
        parts = self._unquoted()
        if self.at == start:
            raise self._unexpected(expected | {"whitespace"})
        if len(parts) > 1:
            return Pattern(tuple(parts)), False
        return (_CONSTANTS[parts[0]] if parts[0] in _CONSTANTS else parts[0]), False

    def _quoted(self) -> str:
        parts: list[str] = []
        at = self.at + 1
        while at < len(self.text) and self.text[at] != '"':
            escape = _QUOTED_ESCAPE.match(self.text, at)
            if escape:
                control, code, itself = escape.groups()
                parts.append(_CONTROLS[control] if control else _character(code) if code else itself)
                at = escape.end()
                continue
            end = min((i for i in (self.text.find('"', at + 1), self.text.find("\\", at + 1)) if i >= 0), default=None)
            if end is None:
                at = len(self.text)
                break
            parts.append(self.text[at:end])
            at = end
        if at >= len(self.text):
            hint = 'close the quotation; a quotation mark inside is written \\"'
            raise KqlError.unexpected(self.text, len(self.text), {'"\\""'}, hint)
        self.at = at + 1
        return "".join(parts)

    def _unquoted(self) -> list[str]:
        """The text up to what ends an unquoted value, without space around it, split at its stars."""
        parts = [""]
        read: list[str] = []
        text = self.text
        while self.at < len(text):
            plain = _PLAIN.match(text, self.at)
            if plain:
                read.append(plain[0])
                self.at = plain.end()
                continue
            after = self._after_space()
            if after > self.at:
                if _AND_OR.match(text, after):
                    break
                read.append(text[self.at : after])
                self.at = after
                continue
            char = text[self.at]
            if char == "*":
                parts[-1] = "".join(read)
                parts.append("")
                read = []
            elif char == "\\":
                escape = _ESCAPE.match(text, self.at)
                escaped = _unescape(escape) if escape else None
                if escape is None or escaped is None:
                    break
                read.append(escaped)
                self.at = escape.end() - 1
            elif char in _SPECIAL or _NOT.match(text, self.at):  # Kibana ends a value at any `not `, `cannot ` too
                break
            else:
                read.append(char)
            self.at += 1
        parts[-1] = "".join(read)
        parts[0] = parts[0].lstrip(_TRIMMED)
        parts[-1] = parts[-1].rstrip(_TRIMMED)
        return parts

    # --- small parts -------------------------------------------------------------------------------------------------

    def _after_space(self, start: int | None = None) -> int:
        found = _SPACE.match(self.text, self.at if start is None else start)
        assert found  # it matches nothing, too
        return found.end()

    def _space(self) -> None:
        self.at = self._after_space()

    def _unexpected(self, expected: set[str]) -> KqlError:
        """The error at what was read so far; after a value without a field, an operator might have followed too."""
        if self.after_name:
            expected = expected | _AFTER_NAME
        hint = None
        if self.text.startswith("*", self.at):
            hint = "a star inside quotation marks is an ordinary character; leave them out to use it as a wildcard"
        elif _NOT.match(self.text, self.at):
            hint = "not belongs before an expression or a bracket; put a value with it in double quotes"
        elif self.text.startswith("\\", self.at):
            hint = "a backslash in a value is written twice"
        return KqlError.unexpected(self.text, self.at, expected, hint)


def _unescape(escape: re.Match[str]) -> str | None:
    """The character or word that an escape stands for, or None for one that has no meaning."""
    word, control, code, other = escape.groups()
    if control:  # upper case is no escape
        return _CONTROLS.get(control)
    if code:
        return _character(code)
    return word or (other if other in _SPECIAL else None)


def _character(code: str) -> str:
    """The character of a code; half a surrogate pair, which no text holds, becomes the replacement character."""
    char = chr(int(code, 16))
    return "\ufffd" if "\ud800" <= char <= "\udfff" else char


def _name(value: Value) -> Name:
    if isinstance(value, str | Pattern):
        return value
    return "null" if value is None else str(value).lower()


def _is(field: Name | None, value: Value, quoted: bool) -> Node:
    """A value of a field, where a lone star is every value."""
    if field is not None and isinstance(value, Pattern) and value.is_all:
        return MatchAll() if isinstance(field, Pattern) and field.is_all else Exists(field)
    return Is(field, value, quoted)
