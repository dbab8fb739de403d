"""The whole life of an import, against the Kibana of ELKKIT_KIBANA_URL, else against a fake one of each version.

It works in spaces of its own, which it makes and deletes; where there are none, on objects with ids of their own.
Nothing else may change.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from elkkit.contract import load_contract
from elkkit.kibana import bundle
from elkkit.kibana.order import key_of
from elkkit.stack.kibana import Kibana, KibanaConnection, connect
from elkkit.stack.kibanalist import list_objects
from elkkit.usecases.dashboards import target_for
from fakes.kibana import FakeKibana
from importing import VERSIONS, Ran, run, write

pytestmark = pytest.mark.full

KINDS = ("index-pattern", "search", "query", "visualization", "lens", "dashboard", "tag", "map")
REAL = {n: v for n, v in os.environ.items() if n.startswith("ELKKIT_") and n not in ("ELKKIT_CACHE", "ELKKIT_STATE")}
"""How a real one is reached; the tests' own environment is empty."""
Key = tuple[str, str]


@dataclass
class Place:
    """Where a test may write."""

    kibana: Kibana
    files: list[Path]
    """None: the bundle of elkkit itself."""
    prefix: str
    """Its objects' ids begin with that, where there are no spaces."""
    spaces: list[str]
    others: dict[Any, Any] = field(default_factory=dict)

    def __call__(self, command: str, *words: object, space: str | None = None) -> Ran:
        named = ["--space", space or self.spaces[0]] if self.spaces else []
        files = self.files if command in ("import", "diff") else []
        url = ["--kibana-url", self.kibana.connection.url]
        return run(f"{command}-dashboards", *files, *url, *named, *words, "--json")

    def here(self, space: str | None = None) -> dict[Key, dict[str, Any]]:
        """What the test made, as it is exported."""
        space = space or (self.spaces[0] if self.spaces else None)
        return {k: o for k, o in everything(self.kibana, space).items() if space or k[1].startswith(self.prefix)}

    def elsewhere(self) -> dict[Any, Any]:
        """All that the test must leave alone: in full, with the version of each."""
        known = [s.id for s in self.kibana.spaces() or []] or [None]
        return {(space, *k): o for space in known if space not in self.spaces
                for k, o in everything(self.kibana, space).items() if not k[1].startswith(self.prefix)}  # fmt: skip


def everything(kibana: Kibana, space: str | None) -> dict[Key, dict[str, Any]]:
    listed = [one.key for kind in KINDS for one in list_objects(kibana, kind, space=space)]
    return {key_of(o): o for o in kibana.export(listed, space=space).objects} if listed else {}


@pytest.fixture(params=["real"] if "ELKKIT_KIBANA_URL" in REAL else VERSIONS)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "state"))
    if request.param == "real":
        for name, value in REAL.items():
            monkeypatch.setenv(name, value)
        yield from made(REAL["ELKKIT_KIBANA_URL"], tmp_path)
        return
    with FakeKibana(request.param) as fake:
        theirs = {"type": "index-pattern", "attributes": {"title": "theirs-*"}, "references": [], "stamp": None}
        fake.store.put({**theirs, "id": "theirs"}, "default")
        yield from made(fake.url, tmp_path)


def made(url: str, folder: Path) -> Iterator[Place]:
    from elkkit.settings import load_settings

    connection = KibanaConnection.from_settings(load_settings({"kibana_url": url}))
    assert connection is not None
    prefix = f"elkkit-test-{uuid.uuid4().hex[:8]}"
    with connect(connection, wait=60) as kibana:
        found = Place(kibana, [], prefix, [])
        if kibana.spaces() is None:
            objects = bundle(load_contract(), target_for(kibana.server))
            names = {o["id"] for o in objects}
            for item in objects:
                item["id"] = f"{prefix}-{item['id']}"
                for link in item["references"]:
                    assert link["id"] in names
                    link["id"] = f"{prefix}-{link['id']}"
            found.files = [write(folder / "own.ndjson", *objects)]
        found.others = found.elsewhere()
        try:
            for name in [f"{prefix}-{n}" for n in "ab"] if not found.files else []:
                kibana.wire.ask("POST", "/api/spaces/space", what="make a space", json_body={"id": name, "name": name})
                found.spaces.append(name)
            yield found
        finally:
            for name in found.spaces:
                kibana.wire.ask("DELETE", f"/api/spaces/space/{name}", what="delete the space")
            if not found.spaces:
                kibana.delete(found.here())
        assert found.elsewhere() == found.others


def attributes_of(objects: dict[Key, dict[str, Any]]) -> dict[Key, str]:
    """What must come back byte for byte."""
    return {k: json.dumps([o["attributes"], o["references"]]) for k, o in objects.items()}


def retitle(place: Place, key: Key, title: str, space: str | None = None) -> None:
    """What somebody does in the browser."""
    path = f"/api/saved_objects/{key[0]}/{quote(key[1], safe='')}"
    space = space or (place.spaces[0] if place.spaces else None)
    place.kibana.wire.ask("PUT", path, what="edit", json_body={"attributes": {"title": title}}, space=space)


def dashboard(place: Place, space: str | None = None) -> Key:
    return min(k for k in place.here(space) if k[0] == "dashboard")


def test_the_life_of_an_import(place, tmp_path):
    assert place("import", "--dry-run").counts().keys() == {"create"}
    assert place.here() == {}
    first = place("import")
    assert first.code == 0
    assert list(first.counts()) == ["create"]
    whole = place.here()
    assert len(whole) == first.counts()["create"] > 50
    assert len(first.data["dashboards"]) == 3
    again = place("import")
    assert (again.code, again.counts()) == (0, {"unchanged": len(whole)})
    assert place.here() == whole  # with the very versions
    assert place("diff").code == 0

    key = dashboard(place)
    retitle(place, key, "mine \U0001f600")
    edited = place.here()
    drifted = place("import")
    assert (drifted.code, drifted.counts()) == (1, {"drifted": 1, "unchanged": len(whole) - 1})
    assert [c["path"] for c in drifted.steps("drifted")[0]["changes"]] == ["title"]
    assert place("diff").code == 1
    assert place("import", "--on-conflict", "skip").code == 0
    assert place.here() == edited

    assert place("import", "--on-conflict", "overwrite").code == 0
    assert attributes_of(place.here()) == attributes_of(whole)
    assert place("import").counts() == {"unchanged": len(whole)}
    undone = place("rollback")
    assert (undone.code, undone.data["differing"]) == (0, [])
    assert attributes_of(place.here()) == attributes_of(edited)
    assert place("import").counts()["drifted"] == 1

    copied = place("import", "--on-conflict", "copy")
    assert (copied.code, len(copied.data["applied"][0]["created"])) == (0, 1)
    assert place("import", "--on-conflict", "copy").data["applied"][0]["created"] == []
    assert place("rollback").code == 0
    assert attributes_of(place.here()) == attributes_of(edited)

    shutil.rmtree(tmp_path / "state")  # whoever imported is gone
    retitle(place, key, json.loads(attributes_of(whole)[key])[0]["title"])
    assert place("import").counts() == {"unchanged": len(whole)}


def test_removal_and_back(place):
    place("import")
    whole = place.here()
    key = dashboard(place)
    retitle(place, key, "mine")
    edited = place.here()
    kept = place("remove", "--yes")
    assert kept.code == 1
    left = set(place.here())
    assert key in left
    assert {k[0] for k in left} >= {"dashboard", "index-pattern"}
    for item in place.here().values():  # what is left is whole
        assert {(r["type"], r["id"]) for r in item["references"]} <= left
    assert place("remove", "--yes", "--force").code == 0
    assert place.here() == {}
    assert place("rollback").code == 0
    assert place("rollback").code == 0
    assert attributes_of(place.here()) == attributes_of(edited)
    assert place("rollback", "--force").code == 0
    assert place.here() == {}
    assert len(whole) == len(edited)


def test_two_spaces(place, tmp_path):
    if not place.spaces:
        found = place("import", space="elsewhere") if not place.files else run(
            "import-dashboards", *place.files, "--kibana-url", place.kibana.connection.url, "--space", "x")  # fmt: skip
        assert found.code == 2
        assert place.here() == {}
        return
    a, b = place.spaces
    both = ",".join(place.spaces)
    assert place("import", space=both).code == 0
    there = place.here(a), place.here(b)
    assert not set(there[0]) & set(there[1])
    for objects in there:
        for item in objects.values():
            assert {(r["type"], r["id"]) for r in item["references"]} <= set(objects)
    for forget in (False, True):
        if forget:
            shutil.rmtree(tmp_path / "state")
        again = place("import", space=both)
        assert (again.code, list(again.counts(0)), list(again.counts(1))) == (0, ["unchanged"], ["unchanged"])
    key = dashboard(place, b)
    retitle(place, key, "mine", b)
    assert place("import", "--on-conflict", "overwrite", space=both).code == 0
    assert {k: o.get("originId") for k, o in place.here(b).items()} == {
        k: o.get("originId") for k, o in there[1].items()}  # fmt: skip
    shutil.rmtree(tmp_path / "state")
    assert list(place("import", space=both).counts(1)) == ["unchanged"]
    assert place("remove", "--yes", space=b).code == 0
    assert place.here(b) == {}
    assert attributes_of(place.here(a)) == attributes_of(there[0])
