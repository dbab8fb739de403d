"""The cases in `logstash/cases`: their lines, and how what became of a line is written down."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from elkkit.assets import asset
from elkkit.line.parser import Parsed

CASES = sorted(asset("logstash", "cases").glob("*.log"))
GENERATE = os.environ.get("ELKKIT_GOLDEN") == "generate"
DYNAMIC = frozenset({"error.message"})
"""Fields that are worded differently from road to road."""
FILEBEAT_DYNAMIC = frozenset(
    {"@metadata.beat", "@metadata.type", "@metadata.version", "@timestamp", "host.name", "log.file.path"}
    | {"log.file.device_id", "log.file.inode"}
)
"""Fields of Filebeat's events that differ from run to run and from machine to machine."""


def case_lines(case: Path) -> list[bytes]:
    """The lines of a case as bytes, without their line feeds."""
    return case.read_bytes().removesuffix(b"\n").split(b"\n")


def expected_path(case: Path) -> Path:
    """The file that says what becomes of a case's lines."""
    return case.with_name(f"{case.name}-expected.json")


def expectation(parsed: Parsed) -> dict[str, Any]:
    """What is written down of a line: its outcome, and the event's fields where it becomes one."""
    fields = {} if parsed.outcome == "not_a_score" else parsed.fields
    return {"outcome": str(parsed.outcome), **{k: v for k, v in sorted(fields.items()) if k not in DYNAMIC}}


def shown(expectations: list[dict[str, Any]]) -> str:
    """The text of an expected file: one line for each line of the case."""
    rows = ",\n".join(f"  {json.dumps(e, ensure_ascii=True)}" for e in expectations)
    return f"[\n{rows}\n]\n"
