"""A reader of Logstash's configuration language, by its published grammar: enough to check files without a Logstash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<string>"[^"]*"|'[^']*')
    |(?P<regexp>/(?:\\.|[^/\\])+/)
    |(?P<field>(?:\[[^\[\],"'\s]+\])+)
    |(?P<operator>=>|==|!=|<=|>=|=~|!~|<|>|[{}(),\[\]!])
    |(?P<number>-?[0-9]+(?:\.[0-9]*)?(?![A-Za-z0-9_]))
    |(?P<word>[A-Za-z0-9_-]+)""",
    re.VERBOSE,
)
_COMPARISONS = frozenset({"==", "!=", "<=", ">=", "<", ">", "=~", "!~"})


class LSCLError(ValueError):
    """The text is not a configuration."""


@dataclass
class Plugin:
    """One plugin with its settings, under its conditions."""

    section: str
    name: str
    settings: dict[str, Any]
    conditions: tuple[str, ...] = ()


@dataclass
class Config:
    """What a file holds."""

    plugins: list[Plugin] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    """Fields that conditions look at."""

    def of(self, name: str) -> Iterator[Plugin]:
        """Plugins of one name."""
        return (p for p in self.plugins if p.name == name)


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                raise LSCLError(f"line {text.count(chr(10), 0, at) + 1}: {text[at : at + 40]!r}")
            if match.lastgroup != "space":
                self.tokens.append((str(match.lastgroup), match[0], text.count("\n", 0, at) + 1))
            at = match.end()
        self.at = 0
        self.config = Config()

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at][:2] if self.at < len(self.tokens) else ("end", "")

    def take(self, *wanted: str) -> str:
        kind, text = self.peek()
        if wanted and text not in wanted and kind not in wanted:
            line = self.tokens[self.at][2] if self.at < len(self.tokens) else "last"
            raise LSCLError(f"line {line}: {text!r} where {' or '.join(wanted)} belongs")
        self.at += 1
        return text

    # --- sections ----------------------------------------------------------------------------------------------------

    def file(self) -> Config:
        while self.peek()[0] != "end":
            section = self.take("input", "filter", "output")
            self.block(section, ())
        return self.config

    def block(self, section: str, conditions: tuple[str, ...]) -> None:
        self.take("{")
        while self.peek()[1] != "}":
            if self.peek()[1] == "if":
                self.branches(section, conditions)
            else:
                self.config.plugins.append(self.plugin(section, conditions))
        self.take("}")

    def branches(self, section: str, conditions: tuple[str, ...]) -> None:
        self.take("if")
        earlier = conditions
        while True:
            start = self.at
            self.condition()
            test = " ".join(t[1] for t in self.tokens[start : self.at])
            self.block(section, (*earlier, test))
            earlier = (*earlier, f"not {test}")
            if self.peek()[1] != "else":
                return
            self.take("else")
            if self.peek()[1] != "if":
                self.block(section, earlier)
                return
            self.take("if")

    def condition(self) -> None:
        self.operand()
        while self.peek()[1] in ("and", "or", "xor", "nand"):
            self.take()
            self.operand()

    def operand(self) -> None:
        if self.peek()[1] == "!":
            self.take()
            if self.peek()[1] == "(":
                self.operand()
            else:
                self.config.references.append(self.take("field"))
            return
        if self.peek()[1] == "(":
            self.take()
            self.condition()
            self.take(")")
            return
        self.value()
        if self.peek()[1] in _COMPARISONS:
            self.take()
            self.value("regexp")
        elif self.peek()[1] in ("in", "not"):
            if self.take() == "not":
                self.take("in")
            self.value()

    def value(self, *more: str) -> None:
        kind, text = self.peek()
        if kind == "field":
            self.config.references.append(text)
        self.take("field", "string", "number", *more)

    # --- plugins -----------------------------------------------------------------------------------------------------

    def plugin(self, section: str, conditions: tuple[str, ...]) -> Plugin:
        name = self.take("word")
        self.take("{")
        settings: dict[str, Any] = {}
        while self.peek()[1] != "}":
            key = self.take("word", "string")
            if key in settings:
                raise LSCLError(f"{name} has {key} twice")
            self.take("=>")
            settings[key] = self.setting()
        self.take("}")
        return Plugin(section, name, settings, conditions)

    def setting(self) -> Any:
        kind, text = self.peek()
        if kind == "string":
            return self.take()[1:-1]
        if kind == "number":
            return float(self.take())
        if kind == "word" and re.fullmatch(r"[A-Za-z_]\w+", text):
            return self.take()
        if text == "{":
            self.take()
            result = {}
            while self.peek()[1] != "}":
                key = self.take("string", "word", "number")
                self.take("=>")
                result[key.strip("\"'")] = self.setting()
            self.take("}")
            return result
        if kind == "field":  # an array of one bareword reads like a field reference
            raise LSCLError(f"{text} is no setting")
        self.take("[")
        items = []
        while self.peek()[1] != "]":
            items.append(self.setting())
            if self.peek()[1] != "]":
                self.take(",")
        self.take("]")
        return items


def read(text: str) -> Config:
    """Read a configuration. Raises `LSCLError`, naming the line."""
    return _Reader(text).file()
