"""Bundles: every object of a target, and the files that hold them, one object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from elkkit.assets import asset
from elkkit.contract import Contract
from elkkit.errors import from_os_error
from elkkit.kibana import classic, common, lens
from elkkit.kibana.common import SavedObject
from elkkit.kibana.problems import Problem
from elkkit.kibana.spec import Dashboard, Shared, read_dashboard, read_shared

Target: TypeAlias = Literal["classic", "lens"]
TARGETS: Mapping[Target, Callable[[Contract, Dashboard], list[SavedObject]]] = {
    "classic": classic.dashboard,
    "lens": lens.dashboard,
}
DASHBOARDS = ("model-comparison", "live-run", "pipeline-health")
DATA_VIEWS, SEARCHES, QUERIES = "data-views.ndjson", "searches.ndjson", "queries.ndjson"


def load_specs(contract: Contract) -> tuple[Shared, tuple[Dashboard, ...]]:
    """The specs as they are shipped. Raises `ConfigError` for one that does not fit the contract."""
    shared = read_shared(_spec("shared"), contract, "shared.toml")
    return shared, tuple(read_dashboard(_spec(name), contract, shared, f"{name}.toml") for name in DASHBOARDS)


def bundle_files(contract: Contract, target: Target) -> dict[str, list[SavedObject]]:
    """Objects by file name, in the order in which files are to be imported; no object is in two of them."""
    shared, dashboards = load_specs(contract)
    files = {
        DATA_VIEWS: [common.data_view(contract, shared)],
        SEARCHES: [common.search(contract, spec) for spec in shared.searches],
        QUERIES: [common.query(contract, spec) for spec in shared.queries],
    }
    return files | {f"{spec.id}.ndjson": TARGETS[target](contract, spec) for spec in dashboards}


def bundle(contract: Contract, target: Target) -> list[SavedObject]:
    """Every object of a target, each after what it refers to."""
    return [item for items in bundle_files(contract, target).values() for item in items]


def encode(objects: Iterable[Mapping[str, Any]]) -> str:
    """Objects as NDJSON: one a line, keys in order, the same bytes each time."""
    lines = (json.dumps(o, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for o in objects)
    return "".join(f"{line}\n" for line in lines)


def read_lines(text: str) -> tuple[list[Any], list[Problem]]:
    """The values of an NDJSON, and what is wrong with lines that have none.

    Blank lines are passed over, and so is an export's last line with its counts, which no Kibana takes back safely.
    """
    values: list[Any] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(f"line {number}", "", f"it is not JSON: {error}"))
            continue
        if not (isinstance(value, dict) and "exportedCount" in value and "type" not in value):
            values.append(value)
    return values, problems


def _spec(name: str) -> str:
    path = asset("kibana", "dashboards", f"{name}.toml")
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise from_os_error("read", path, error) from error
