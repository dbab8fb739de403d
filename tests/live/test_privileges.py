"""The roles of `elkkit setup` on a real engine behind a guard: enough for what each is for, and each privilege needed.

No Elasticsearch with security can be had here, nor has OpenSearch any without its own plugin. So the engine is real and
answers every call, and `privileges.py` stands in for its security, by the documented privilege of each call.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import embedded_node
from elkkit.cli import app
from elkkit.contract import Contract, extend, load_contract
from elkkit.line.logger import metric_logger
from elkkit.render.roles import RoleKind, privileges
from elkkit.stack.arrivals import Arrivals
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.usecases.setup import setup
from privileges import KEY, Guard, guarding, needs

pytestmark = pytest.mark.full

NUMBERS = itertools.count()
FOR_SHIPPERS = {"auto_configure"}
"""Filebeat and Logstash may meet a stream that setup has not made: another namespace's."""


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elastic]:
    with (
        embedded_node.running(tmp_path_factory.mktemp("state")) as engine,
        connect(Connection(engine.url), embedded=True) as elastic,
    ):
        yield elastic


@pytest.fixture
def contract(elastic: Elastic) -> Contract:
    made = extend(load_contract(), dataset=f"guard{next(NUMBERS)}.eval")
    setup(elastic, made)
    return made


@pytest.fixture
def run(contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A command of elkkit, with the key that the guard takes."""
    own = tmp_path / "elkkit.toml"
    own.write_text(f'dataset = "{contract.dataset}"\n')
    monkeypatch.setenv("ELKKIT_API_KEY", KEY)

    def command(guard: Guard, *words: str):
        return CliRunner().invoke(app, [*words, "--es-url", guard.url, "--config", str(own)])

    return command


def log(path: Path, model: str, scores: list[float]) -> str:
    with metric_logger(path, model_name=model, run_id="r", contract=load_contract()) as logger:
        for i, score in enumerate(scores):
            logger.log_metric("IoU", score, frame_id=f"f{i}")
    return str(path)


def test_a_writer_can_ship_compare_and_look_into_older_indices(elastic, contract, run, tmp_path):
    role = privileges(contract, RoleKind.WRITER)
    path = log(tmp_path / "a.log", "a", [0.5, 0.6, 0.7])
    with guarding(elastic.server.url, role) as guard:
        first = run(guard, "ship", path, "--json")
        assert json.loads(first.stdout)["data"]["created"] == 3, first.output
        again = json.loads(run(guard, "ship", path, "--json").stdout)["data"]
        assert (again["already_there"], again["not_compared"]) == (3, 0)
        elastic.client.indices.rollover(alias=contract.stream)
        older = json.loads(run(guard, "ship", path, "--json").stdout)["data"]
        assert (older["already_there"], older["created"]) == (3, 0)
        assert guard.denied == []
        granted = {*role["cluster"], *role["indices"][0]["privileges"]}
        assert guard.used == granted - FOR_SHIPPERS, "what nobody needs is not granted"


def test_a_viewer_can_tail_compare_and_query(elastic, contract, run, tmp_path):
    role = privileges(contract, RoleKind.VIEWER)
    for model, scores in (("a", [0.5, 0.6, 0.7, 0.8]), ("b", [0.4, 0.6, 0.6, 0.7])):
        path = log(tmp_path / f"{model}.log", model, scores)
        with guarding(elastic.server.url, privileges(contract, RoleKind.WRITER)) as guard:
            assert run(guard, "ship", path).exit_code == 0
    with guarding(elastic.server.url, role) as guard:
        compared = run(guard, "compare", "--es", "--json")
        assert compared.exit_code in (0, 1), compared.output
        assert json.loads(compared.stdout)["data"], compared.output
        tailed = run(guard, "tail", "--es", "--no-follow", "--json")
        assert len(tailed.stdout.splitlines()) == 8, tailed.output
        asked = run(guard, "query", "model.name : a", "--es", "--json")
        assert asked.exit_code == 0, asked.output
        with connect(Connection(guard.url, api_key=KEY)) as viewer:
            arrivals = Arrivals(viewer, contract.stream, ["message"], beginning={"match_all": {}}, interval=0.05)
            seen = 0
            for round_ in arrivals.documents():
                seen += round_ is not None
                if round_ is None and seen >= 8:
                    break
        assert guard.denied == []
        assert guard.used == {*role["cluster"], *role["indices"][0]["privileges"]}


@pytest.mark.parametrize("kind", [RoleKind.VIEWER, RoleKind.IMPORTER])
def test_others_cannot_write(elastic, contract, run, tmp_path, kind):
    with guarding(elastic.server.url, privileges(contract, kind)) as guard:
        done = run(guard, "ship", log(tmp_path / "a.log", "a", [0.5]))
    assert done.exit_code == 4, done.output
    assert guard.denied
    elastic.client.indices.refresh(index=contract.stream)
    assert elastic.client.count(index=contract.stream)["count"] == 0


def test_another_dataset_is_out_of_reach(elastic, contract, run, tmp_path):
    other = extend(contract, dataset=f"guard{next(NUMBERS)}.eval")
    setup(elastic, other)
    with guarding(elastic.server.url, privileges(other, RoleKind.WRITER)) as guard:
        assert run(guard, "ship", log(tmp_path / "a.log", "a", [0.5])).exit_code == 4
    assert any(contract.stream in denied for denied in guard.denied)


def test_a_key_that_is_none_is_refused(elastic, contract, run, tmp_path, monkeypatch):
    monkeypatch.setenv("ELKKIT_API_KEY", "bm9uZTpub25l")
    with guarding(elastic.server.url, privileges(contract, RoleKind.WRITER)) as guard:
        assert run(guard, "ship", log(tmp_path / "a.log", "a", [0.5])).exit_code == 4


@pytest.mark.parametrize("missing", ["create_doc", "read", "view_index_metadata", "maintenance", "monitor"])
def test_what_a_role_without_one_privilege_loses(elastic, contract, run, tmp_path, missing):
    """The guard does guard: without any of its privileges the writer's role is refused something."""
    role: dict[str, Any] = copy.deepcopy(privileges(contract, RoleKind.WRITER))
    for privileges_of in (role["cluster"], role["indices"][0]["privileges"]):
        if missing in privileges_of:
            privileges_of.remove(missing)
    path = log(tmp_path / "a.log", "a", [0.5])
    with guarding(elastic.server.url, privileges(contract, RoleKind.WRITER)) as guard:
        run(guard, "ship", path)
    elastic.client.indices.rollover(alias=contract.stream)
    with guarding(elastic.server.url, role) as guard:
        run(guard, "ship", path)
        run(guard, "ship", log(tmp_path / "b.log", "b", [0.5]))
    assert any(denied.endswith(f": {missing}") for denied in guard.denied), guard.denied


def test_a_call_that_the_table_does_not_know_is_refused():
    assert needs("DELETE", "/logs-lane.eval-default", b"") is None
    assert needs("PUT", "/_cluster/settings", b"") is None
    assert needs("POST", "/logs-x/_delete_by_query", b"") is None
