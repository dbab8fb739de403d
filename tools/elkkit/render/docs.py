"""Tables of fields and metrics, put between markers into every README that has them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from elkkit.contract import Contract, Metric
from elkkit.errors import InputError, from_os_error

Table: TypeAlias = Callable[[Contract], str]

FOLDERS = (".", "filebeat", "helm-values", "kibana", "logstash", "scoring", "tools")
"""Where READMEs are looked for, with the folders below (the root's own only in the root)."""


def fields(contract: Contract) -> str:
    """The fields of an event."""
    rows = []
    for field in contract.fields.values():
        name = f"`{field.name}`" + (", may be a list" if field.many else "")
        example = json.dumps(field.example, ensure_ascii=False)
        rows.append((name, field.type, field.source, field.short, f"`{example}`"))
    return _table(("field", "type", "set by", "meaning", "example"), rows)


def metrics(contract: Contract) -> str:
    """The metrics, their spellings and directions."""
    rows = [
        (f"`{m.name}`", ", ".join(f"`{a}`" for a in m.aliases), m.unit, m.better, _range(m), m.defined)
        for m in contract.metrics.values()
    ]
    return _table(("metric", "also read from", "unit", "better", "range", "meaning"), rows)


TABLES: dict[str, Table] = {"fields": fields, "metrics": metrics}


def filled(text: str, contract: Contract, name: str = "README.md") -> str:
    """A page with what stands between its markers made anew. Raises `InputError` for a marker without its end."""
    for key, table in TABLES.items():
        start, end = f"<!-- elkkit:{key} -->", f"<!-- /elkkit:{key} -->"
        if text.count(start) != text.count(end) or text.count(start) > 1:
            hint = f"write {start} and {end} once each, on lines of their own"
            raise InputError(f"cannot fill in {name}", why=f"its markers for {key} do not pair", hint=hint)
        before, found, rest = text.partition(start)
        if found:
            text = f"{before}{start}\n{table(contract)}{end}{rest.partition(end)[2]}"
    return text


def pages(root: Path, contract: Contract) -> dict[str, str]:
    """Every README below `root` that has markers, by its path, as it should be."""
    found = {}
    for folder in FOLDERS:
        paths = [root / "README.md"] if folder == "." else sorted((root / folder).rglob("README.md"))
        for path in paths:
            try:
                text = path.read_text("utf-8")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise from_os_error("read", path, error) from error
            name = path.relative_to(root).as_posix()
            if "<!-- elkkit:" in text:
                found[name] = filled(text, contract, name)
    return found


def _range(metric: Metric) -> str:
    low, high = metric.range
    if math.isinf(low) and math.isinf(high):
        return "any"
    return f"{low:g} to {high:g}" if math.isfinite(high) else f"from {low:g}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; a bar inside a cell would start another one."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
