"""What each grok engine at hand makes of log lines, and where they differ from the contract's reading."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

from elkkit.contract import Contract
from elkkit.errors import ElkkitError, InputError, UnreachableError, UsageError, from_os_error
from elkkit.grok import grok_patterns
from elkkit.grok.own import OwnPattern, own_pattern, read_patterns
from elkkit.line.parser import Parsed, Parser
from elkkit.settings import Settings
from elkkit.stack import embedded
from elkkit.stack.elastic import Connection, connect
from elkkit.stack.files import RawLine, read_lines
from elkkit.stack.grokengine import (
    LIMIT,
    Answer,
    Grok,
    GrokEngine,
    IngestEngine,
    LibraryEngine,
    LogstashEngine,
    NotAtHandError,
    RefusedError,
)
from elkkit.usecases.grok_verdict import Reading, Verdict, compared, of_contract
from elkkit.usecases.parse import judge

Name = Literal["grok", "elasticsearch", "logstash"]
ENGINES: tuple[Name, ...] = ("grok", "elasticsearch", "logstash")
"""Beside Python's own parser, whose reading is the one that others are compared with."""
MOST_SLOW = 5
"""So many lines may take too long before an engine is not asked any more."""
_CHUNK_LINES, _CHUNK_BYTES = 500, 4 * 1024 * 1024
_PATTERN_FILE = 1024 * 1024
_PART = 20
"""Lines of one request while a pattern may yet turn out slow."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One line: the contract's reading and those of the engines."""

    file: str | None
    number: int
    text: str
    contract: Reading
    engines: dict[str, tuple[Reading, Verdict]]

    @property
    def differs(self) -> bool:
        """An engine reads it differently."""
        return any(v.differs for _, v in self.engines.values())

    def as_dict(self, longest: int) -> dict[str, Any]:
        """For JSON; the text is cut to so many characters."""
        return {
            **({"file": self.file} if self.file is not None else {}),
            "line": self.number,
            "text": self.text[:longest],
            "differs": self.differs,
            "contract": self.contract.as_dict(),
            "engines": {n: {**r.as_dict(), "verdict": str(v)} for n, (r, v) in self.engines.items()},
        }


@dataclass
class GrokCounts:
    """What was seen so far."""

    lines: int = 0
    differ: int = 0
    verdicts: dict[str, Counter[Verdict]] = field(default_factory=dict)
    """Of each engine."""
    failed: list[ElkkitError] = field(default_factory=list)
    """Files that could not be read, and engines that went away."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        engines = {name: {str(v): n for v, n in found.items()} for name, found in self.verdicts.items()}
        return {"lines": self.lines, "agree": self.lines - self.differ, "differ": self.differ, "engines": engines}


# --- a pattern of the user's own -------------------------------------------------------------------------------------


def user_pattern(given: Sequence[str], *, score: str | None, name: str | None) -> OwnPattern:
    """Patterns from the command line, each a text or the path of a file of patterns. Raises `UsageError`."""
    patterns: list[str] = []
    definitions: dict[str, str] = {}
    for text in given:
        if "%{" in text or "(?" in text:
            patterns.append(text)
            continue
        found, named = read_patterns(_lines_of(text))
        patterns += found
        definitions |= named
    return own_pattern(patterns, definitions, score=score, name=name)


def _lines_of(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            data = file.read(_PATTERN_FILE + 1)
        if len(data) > _PATTERN_FILE:
            raise InputError(f"cannot read the patterns in {path}", why=f"it is larger than {_PATTERN_FILE:,} bytes",
                             hint="a file of patterns has one in each line")  # fmt: skip
        return data.decode("utf-8").splitlines()
    except ValueError as error:  # a NUL in the name, or bytes that are no text
        raise InputError(f"cannot read the patterns in {path}", why=str(error), hint="check the path") from None
    except OSError as error:
        hint = "a pattern holds %{NAME:field}; anything else is taken for a file of patterns"
        raise from_os_error("read the patterns in", path, error, hint=hint) from error


# --- engines ---------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """The engines that take part, and why others do not."""

    contract: Contract
    own: OwnPattern | None
    engines: list[GrokEngine] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """Engines that do not take the pattern, and why."""
    slow: Counter[str] = field(default_factory=Counter)
    stopped: dict[str, str] = field(default_factory=dict)
    """Engines that are not asked any more, and why."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: every engine, and what is the matter with it."""
        there: dict[str, Any] = {e.name: {"at_hand": True, "version": e.version} for e in self.engines}
        there |= {n: {"at_hand": True, "refuses": why} for n, why in self.refused.items()}
        there |= {n: {"at_hand": False, "why": why} for n, why in self.missing.items()}
        return {"contract": {"at_hand": True}, **{n: there[n] for n in ENGINES if n in there}}


def open_bench(
    stack: ExitStack,
    settings: Settings,
    own: OwnPattern | None,
    *,
    only: Sequence[Name] = (),
    limit: float = LIMIT,
    tell: Callable[[str], None],
) -> Bench:
    """Start the engines at hand; they end with the stack. `only`: just these, which must be at hand.

    Raises `UnreachableError` where an engine that was asked for is missing, or none takes an own pattern that could be
    asked; `UsageError` where every engine refuses the pattern; `ConfigError`.
    """
    contract = settings.contract()
    connection = Connection.from_settings(settings)
    bench = Bench(contract, own)
    grok = Grok(own.patterns, own.definitions) if own else None

    def library() -> GrokEngine:
        return LibraryEngine(grok or _contract_grok(contract), limit=limit, tell=tell)

    def elasticsearch() -> GrokEngine:
        return _ingest(connection, settings, contract, grok)

    def logstash() -> GrokEngine:
        return LogstashEngine(contract, grok, limit=limit)

    makers: dict[Name, Callable[[], GrokEngine]] = {
        "grok": library,
        "elasticsearch": elasticsearch,
        "logstash": logstash,
    }
    hints: list[str] = []
    for name in only or ENGINES:
        try:
            engine = makers[name]()
        except RefusedError as error:
            bench.refused[name] = error.why or error.message
        except (NotAtHandError, ElkkitError) as error:
            bench.missing[name] = str(error)
            hints += [error.hint] if error.hint else []
        else:
            stack.callback(engine.close)
            bench.engines.append(engine)
    if only and bench.missing:
        absent, why = next(iter(bench.missing.items()))
        raise UnreachableError(f"the engine {absent} is not at hand", why=why, hint=hints[0] if hints else None)
    if own and not bench.engines:
        _nobody(bench, hints)
    return bench


def _nobody(bench: Bench, hints: Sequence[str]) -> None:
    if bench.refused:
        raise UsageError("the pattern cannot be used", why="; ".join(f"{n}: {w}" for n, w in bench.refused.items()),
                         hint="see what an engine knows: https://www.elastic.co/docs/reference/logstash/plugins/"
                              "plugins-filters-grok")  # fmt: skip
    why = "; ".join(f"{n}: {w}" for n, w in bench.missing.items())
    raise UnreachableError("no engine that reads grok patterns is at hand", why=why, hint=hints[0] if hints else None)


def _contract_grok(contract: Contract) -> Grok:
    patterns = grok_patterns(contract)
    return Grok((*patterns.matches, *patterns.malformed), patterns.definitions)


def _ingest(connection: Connection | None, settings: Settings, contract: Contract, grok: Grok | None) -> GrokEngine:
    if connection is None:
        engine = embedded.running()
        if engine is None:
            raise NotAtHandError("no Elasticsearch", why="no address is given, and none runs here",
                                 hint="name one: --es-url URL")  # fmt: skip
        connection = Connection(url=engine.url, timeout=settings["timeout"])
    elastic = connect(connection)
    try:
        return IngestEngine(elastic, contract, grok)
    except BaseException:
        elastic.close()
        raise


# --- lines -----------------------------------------------------------------------------------------------------------


def judge_lines(files: Sequence[str], bench: Bench, counts: GrokCounts) -> Iterator[Judged]:
    """Every line of the files, as each engine reads it; in pieces, so that a file may be larger than memory."""
    parser = Parser.of(bench.contract)
    names = [e.name for e in bench.engines]
    counts.verdicts = {name: Counter() for name in [*names, *bench.refused]}
    for file in files:
        for chunk in _chunks(file, counts):
            where = file if len(files) > 1 else None
            for judged in _judge_chunk(chunk, where, parser, bench, counts):
                counts.lines += 1
                counts.differ += judged.differs
                for name, (_, verdict) in judged.engines.items():
                    counts.verdicts[name][verdict] += 1
                yield judged


def _chunks(file: str, counts: GrokCounts) -> Iterator[list[RawLine]]:
    chunk: list[RawLine] = []
    size = 0
    try:
        for line in read_lines(file):
            chunk.append(line)
            size += len(line.data)
            if len(chunk) >= _CHUNK_LINES or size >= _CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    except ElkkitError as error:
        counts.failed.append(error)
    if chunk:
        yield chunk


def _judge_chunk(
    chunk: Sequence[RawLine], file: str | None, parser: Parser, bench: Bench, counts: GrokCounts
) -> Iterator[Judged]:
    parsed = [judge(parser, line) for line in chunk]
    texts = [line.data.decode("utf-8", "replace") for line in chunk]
    answers = {e.name: _ask(e, chunk, texts, parsed, bench, counts) for e in bench.engines}
    for i, line in enumerate(chunk):
        engines = {}
        for name, found in answers.items():
            engines[name] = compared(parser, bench.own, parsed[i], found[i], from_library=name == "grok")
        for name, why in bench.refused.items():
            engines[name] = (Reading("", why=why), Verdict.FAILED)
        yield Judged(file, line.number, texts[i], of_contract(parsed[i]), engines)


def _ask(
    engine: GrokEngine, chunk: Sequence[RawLine], texts: Sequence[str], parsed: Sequence[Parsed], bench: Bench,
    counts: GrokCounts,
) -> list[Answer | None]:  # fmt: skip
    """Answers in the order of the lines; None for one that the engine was not asked about."""
    own = bench.own is not None
    whole = own or engine.name != "grok"
    seen = [text if whole else _judged_text(bench, parsed[i]) for i, text in enumerate(texts)]
    asked = {i: text for i, text in enumerate(seen) if text is not None and not chunk[i].cut}
    found: list[Answer | None] = [None] * len(chunk)
    todo = list(asked)
    while todo and engine.name not in bench.stopped:
        # a few at first, and after a slow one: a pattern that backtracks must not cost its limit for each of 500 lines
        part, todo = (todo, []) if not bench.slow[engine.name] and own is False else (todo[:_PART], todo[_PART:])
        try:
            answers = engine.read([asked[i] for i in part])
        except ElkkitError as error:
            bench.stopped[engine.name] = error.why or error.message
            if isinstance(error, RefusedError):
                bench.refused[engine.name] = error.why or error.message
            counts.failed.append(error)
            answers = [Answer(failed=error.why or error.message)] * len(part)
        for i, answer in zip(part, answers, strict=True):
            found[i] = answer
            bench.slow[engine.name] += answer.slow
        if bench.slow[engine.name] >= MOST_SLOW:
            why = f"{bench.slow[engine.name]} lines took too long; the rest was not tried"
            bench.stopped.setdefault(engine.name, why)
    return found


def _judged_text(bench: Bench, parsed: Parsed) -> str | None:
    """The text that the contract's patterns judge; None where reading JSON has decided already.

    Behind objects and colour codes, which Logstash and the ingest node take off too before grok sees a line.
    """
    text = parsed.fields.get("message")
    if not isinstance(text, str) or str(parsed.fields.get("error.message", "")).startswith("not one JSON object"):
        return None
    return re.sub(bench.contract.colour, "", text)
