"""Runs elkkit's dashboard commands against a fake Kibana, and looks at what they did."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from elkkit.cli import app
from fakes.kibana import FakeKibana

VERSIONS = ["7.10.2", "8.3.3", "8.12.2"]
MODERN = VERSIONS[1:]
PRODUCTS = [*VERSIONS, "opensearch"]
READING = ("_export", "_bulk_get", "_fields_for_wildcard", "data_views/fields")
Key = tuple[str, str]


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["data"]
        return found

    @property
    def error(self) -> dict[str, str]:
        """The three lines of its one error."""
        rows = [row.partition(": ") for row in self.err.splitlines()]
        found = {k: v for k, _, v in rows if k in ("error", "why", "hint")}
        assert [k for k, _, _ in rows if k in ("error", "why", "hint")] == ["error", "why", "hint"], self.err
        return found

    def counts(self, space: int = 0) -> dict[str, int]:
        found: dict[str, int] = self.data["spaces"][space]["counts"]
        return found

    def steps(self, action: str, space: int = 0) -> list[dict[str, Any]]:
        return [s for s in self.data["spaces"][space]["steps"] if s["action"] == action]

    @property
    def record(self) -> str:
        """What undoes it."""
        found: str = self.data["applied"][0]["record"]
        return found


def run(*arguments: object, env: Mapping[str, str] | None = None) -> Ran:
    """A command in this process; nothing but its own errors may end it."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.stderr or "--debug" in arguments
    assert result.exit_code != 70, result.stdout + result.stderr
    return Ran(result.exit_code, result.stdout, result.stderr)


def to(kibana: FakeKibana, command: str, *arguments: object, **options: Any) -> Ran:
    """`elkkit COMMAND-dashboards --kibana-url …`, for people."""
    return run(f"{command}-dashboards", "--kibana-url", kibana.url, *arguments, **options)


def told(kibana: FakeKibana, command: str, *arguments: object, **options: Any) -> Ran:
    """The same with `--json`."""
    return to(kibana, command, *arguments, "--json", **options)


def made(version: str) -> FakeKibana:
    """A fake of a version, or of OpenSearch Dashboards; not yet begun."""
    return FakeKibana("7.10.2", product="opensearch") if version == "opensearch" else FakeKibana(version)


# --- what the server has ---------------------------------------------------------------------------------------------


def kept(kibana: FakeKibana, space: str | None = None) -> dict[Key, Any]:
    """Attributes and references of every object."""
    return {k: (copy.deepcopy(s.attributes), copy.deepcopy(s.references), s.origin)
            for k, s in sorted(kibana.store.kept.items()) if space in (None, s.space)}  # fmt: skip


def written(kibana: FakeKibana, since: int = 0) -> list[tuple[str, str]]:
    """Requests that may have changed something; the question before an import is an import too."""
    return [(m, p) for m, p in kibana.asked[since:]
            if m != "GET" and not any(name in p for name in READING)]  # fmt: skip


def edit(kibana: FakeKibana, key: Key, change: Callable[[dict[str, Any]], Any]) -> None:
    """What somebody does to an object in the browser."""
    saved = kibana.store.kept[key]
    attributes = copy.deepcopy(saved.attributes)
    change(attributes)
    kibana.store.update(*key, {"attributes": attributes}, saved.space)


def retitle(kibana: FakeKibana, key: Key, title: str = "mine") -> None:
    edit(kibana, key, lambda a: a.update(title=title))


# --- files -----------------------------------------------------------------------------------------------------------


def view(ident: str = "dv", title: str = "logs-*") -> dict[str, Any]:
    return {"type": "index-pattern", "id": ident, "attributes": {"title": title, "timeFieldName": "@timestamp"},
            "references": [], "migrationVersion": {"index-pattern": "7.6.0"}}  # fmt: skip


def search(ident: str = "s", on: str = "dv", title: str = "a search") -> dict[str, Any]:
    source = {"indexRefName": "kibanaSavedObjectMeta.searchSourceJSON.index", "filter": [],
              "query": {"query": "", "language": "kuery"}}  # fmt: skip
    attributes = {"title": title, "columns": ["message"], "sort": [["@timestamp", "desc"]],
                  "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)}}  # fmt: skip
    return {"type": "search", "id": ident, "attributes": attributes, "migrationVersion": {"search": "7.9.3"},
            "references": [{"name": source["indexRefName"], "type": "index-pattern", "id": on}]}  # fmt: skip


def board(ident: str = "d", *shown: str, title: str = "a dashboard") -> dict[str, Any]:
    panels = [{"version": "7.10.0", "panelIndex": str(i), "panelRefName": f"panel_{i}", "embeddableConfig": {},
               "gridData": {"x": 0, "y": i * 4, "w": 24, "h": 4, "i": str(i)}} for i in range(len(shown))]  # fmt: skip
    attributes = {"title": title, "panelsJSON": json.dumps(panels), "optionsJSON": "{}", "timeRestore": False,
                  "kibanaSavedObjectMeta": {"searchSourceJSON": "{}"}}  # fmt: skip
    return {"type": "dashboard", "id": ident, "attributes": attributes, "migrationVersion": {"dashboard": "7.9.3"},
            "references": [{"name": f"panel_{i}", "type": "search", "id": s} for i, s in enumerate(shown)]}  # fmt: skip


def small() -> list[dict[str, Any]]:
    """A data view, two searches and a dashboard."""
    return [view(), search(), search("t", title="another"), board("d", "s", "t")]


def write(path: Path, *objects: Any) -> Path:
    path.write_text("".join(json.dumps(o) + "\n" for o in objects), "utf-8")
    return path
