"""Every panel of both bundles, asked of a real Elasticsearch that holds a scoring run: none is empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import embedded_node
import panels
from elkkit.contract import load_contract
from elkkit.kibana import bundle
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.usecases.score import open_frames, score_models
from elkkit.usecases.setup import setup
from elkkit.usecases.ship import ship

pytestmark = pytest.mark.full

CONTRACT = load_contract()
OBJECTS = {t: bundle(CONTRACT, t) for t in ("classic", "lens")}
ASKED = [
    (target, item)
    for target, items in OBJECTS.items()
    for item in items
    if item["type"] == "lens"
    or (item["type"] == "visualization" and json.loads(item["attributes"]["visState"])["aggs"])
]
ZERO_IS_RIGHT = ("pipeline-health-ignored",)


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elastic]:
    """A real run of two models and some lines that cannot be parsed."""
    from elkkit_scoring.bundled import bundled_models

    logs = tmp_path_factory.mktemp("logs")
    scored = score_models(bundled_models()[:2], open_frames("scenes:40:7"), logs, run_id="panels", contract=CONTRACT)
    odd = logs / "odd.log"
    odd.write_text("IoU : 0,83\nIoU : 0.8.3\n", encoding="utf-8")
    with (
        embedded_node.running(tmp_path_factory.mktemp("engine")) as engine,
        connect(Connection(engine.url)) as found,
    ):
        setup(found, CONTRACT)
        shipped = ship(found, [*map(str, scored.logs), str(odd)], CONTRACT).as_dict()
        assert shipped["created"] == scored.lines_written + 2
        found.client.indices.refresh(index=f"logs-{CONTRACT.dataset}-*")
        yield found


def ask(elastic: Elastic, body: dict[str, Any]) -> dict[str, Any]:
    answer = elastic.client.search(index=f"logs-{CONTRACT.dataset}-*", **body).body
    assert answer["_shards"]["failed"] == 0, answer["_shards"]
    return answer


@pytest.mark.parametrize(("target", "item"), ASKED, ids=[f"{t}-{i['id']}" for t, i in ASKED])
def test_no_panel_is_empty(elastic, target, item):
    body = (panels.lens if item["type"] == "lens" else panels.classic)(item, CONTRACT)
    answer = ask(elastic, body)
    total = answer["hits"]["total"]["value"]
    if item["id"].endswith(ZERO_IS_RIGHT):
        assert total == 0
        return
    assert total > 0
    if "aggs" in body:
        found = dict(panels.numbers(answer["aggregations"]))
        assert found, "nothing to draw"
        assert [path for path, value in found.items() if value is None] == []


@pytest.mark.parametrize("item", [i for i in OBJECTS["classic"] if i["type"] == "search"], ids=lambda i: i["id"])
def test_no_saved_search_is_empty(elastic, item):
    hits = ask(elastic, panels.discover(item, CONTRACT))["hits"]["hits"]
    assert hits
    seen = {name for hit in hits for name in hit.get("fields", {})}
    assert set(item["attributes"]["columns"]) & seen


@pytest.mark.parametrize("item", [i for i in OBJECTS["classic"] if i["type"] == "query"], ids=lambda i: i["id"])
def test_every_saved_query_is_understood(elastic, item):
    ask(elastic, {"size": 0, "query": panels.query_of(item["attributes"]["query"]["query"], CONTRACT)})


def test_both_bundles_draw_the_same_numbers(elastic):
    """A panel is the same question in both shapes, whatever order the groups are asked in."""
    by_id = {i["id"]: i for i in OBJECTS["lens"] if i["type"] == "lens"}
    for item in OBJECTS["classic"]:
        if item["type"] != "visualization" or item["id"] not in by_id:
            continue
        mine = ask(elastic, panels.classic(item, CONTRACT))
        theirs = ask(elastic, panels.lens(by_id[item["id"]], CONTRACT))
        assert mine["hits"]["total"] == theirs["hits"]["total"], item["id"]
        assert values(mine) == pytest.approx(values(theirs), rel=1e-9), item["id"]


def values(answer: dict[str, Any]) -> list[float]:
    found = panels.numbers(answer.get("aggregations", {}))
    return sorted(value for path, value in found if value is not None and not path.endswith("/count"))


def test_the_worst_frames_are_the_worst(elastic):
    item = next(i for i in OBJECTS["classic"] if i["id"].endswith("-worst-frames") and i["type"] == "search")
    hits = ask(elastic, panels.discover(item, CONTRACT))["hits"]["hits"]
    scores = [hit["fields"]["metricscores"][0] for hit in hits]
    assert scores == sorted(scores)
    everything = {"metrictype": "IoU"}
    lowest = ask(elastic, {"size": 0, "query": {"term": everything}, "aggs": {"m": {"min": {"field": "metricscores"}}}})
    assert scores[0] >= lowest["aggregations"]["m"]["value"]
