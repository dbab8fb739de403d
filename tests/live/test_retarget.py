"""Our panels over indices that Elasticsearch mapped by itself: the field check says which fail, the map mends them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from elasticsearch import ApiError
from elasticsearch.helpers import bulk, scan

import embedded_node
import panels
from elkkit.contract import load_contract
from elkkit.kibana import bundle
from elkkit.kibana.fields_used import FieldInfo, Use, empty_panels, fields_used, suggest
from elkkit.kibana.retarget import retarget
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.stack.kibanafields import fields_in
from elkkit.usecases.score import open_frames, score_models
from elkkit.usecases.setup import setup
from elkkit.usecases.ship import ship

pytestmark = pytest.mark.full

CONTRACT = load_contract()
BUNDLES = {target: bundle(CONTRACT, target) for target in ("classic", "lens")}
EXACT = {f.name for f in CONTRACT.fields.values() if f.bare_type == "keyword"}
PATTERN, INDEX = "logstash-*", "logstash-2026.11.22"
ZERO_IS_RIGHT = ("pipeline-health-ignored",)


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elastic]:
    """The documents of a scoring run in an index without any mapping of ours."""
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
        ship(found, [*map(str, scored.logs), str(odd)], CONTRACT)
        ours = f"logs-{CONTRACT.dataset}-*"
        found.client.indices.refresh(index=ours)
        documents = [hit["_source"] for hit in scan(found.client, index=ours)]
        assert len(documents) == scored.lines_written + 2
        found.client.indices.create(index=INDEX)
        bulk(found.client, ({"_index": INDEX, "_source": document} for document in documents), refresh=True)
        yield found


@pytest.fixture(scope="module")
def known(elastic: Elastic) -> dict[str, FieldInfo]:
    listed = fields_in(elastic, PATTERN)
    assert listed.why is None
    assert listed.fields is not None
    assert listed.fields["metrictype"] == FieldInfo("text", searchable=True, aggregatable=False)
    assert listed.fields["metrictype.keyword"] == FieldInfo("keyword", searchable=True, aggregatable=True)
    return listed.fields


def wanted(objects: Sequence[Any]) -> dict[str, set[Use]]:
    uses: dict[str, set[Use]] = {}
    for item in objects:
        for field, named in fields_used(item).items():
            uses.setdefault(field, set()).update(named)
    return uses


def shows_something(elastic: Elastic, item: dict[str, Any]) -> bool:
    """The panel's own search gives numbers, or lines, and none of them is null."""
    ask = {"lens": panels.lens, "visualization": panels.classic, "search": panels.discover}[item["type"]]
    body = ask(item, CONTRACT)
    try:
        answer = elastic.client.search(index=PATTERN, **body).body
    except ApiError as error:
        if error.status_code != 400:
            raise
        return False
    if item["type"] == "search":
        return bool(answer["hits"]["hits"])
    found = dict(panels.numbers(answer.get("aggregations", {})))
    none = [path for path, value in found.items() if value is None]
    return answer["hits"]["total"]["value"] > 0 and not none and bool(found) == ("aggs" in body)


def asked(objects: Sequence[Any]) -> list[Any]:
    """Every object that asks Elasticsearch for something, as a panel."""
    return [
        item
        for item in objects
        if item["type"] in ("lens", "search")
        or (item["type"] == "visualization" and json.loads(item["attributes"]["visState"])["aggs"])
    ]


@pytest.mark.parametrize("target", BUNDLES)
def test_the_field_check_names_exactly_the_panels_that_fail(elastic, known, target):
    moved, problems = retarget(BUNDLES[target], index_pattern=PATTERN)
    assert problems == []
    told = {panel.object for panel in empty_panels(moved, known) if not panel.object.startswith("dashboard:")}
    failed = {
        f"{item['type']}:{item['id']}"
        for item in asked(moved)
        if not item["id"].endswith(ZERO_IS_RIGHT) and not shows_something(elastic, item)
    }
    assert failed
    assert told - {f"visualization:{i['id']}" for i in moved if i["id"].endswith("-controls")} == failed


@pytest.mark.parametrize("target", BUNDLES)
def test_with_the_suggested_map_no_panel_is_empty(elastic, known, target):
    mapping = suggest(known, wanted(BUNDLES[target]), EXACT)
    assert mapping["metrictype"] == "metrictype.keyword"
    assert not {"metricscores", "message", "@timestamp"} & set(mapping)
    moved, problems = retarget(BUNDLES[target], index_pattern=PATTERN, fields=mapping)
    assert problems == []
    assert empty_panels(moved, known) == []
    for item in asked(moved):
        assert shows_something(elastic, item) or item["id"].endswith(ZERO_IS_RIGHT), item["id"]


def test_the_same_numbers_as_over_our_own_indices(elastic, known):
    for target in BUNDLES:
        moved, _ = retarget(
            BUNDLES[target], index_pattern=PATTERN, fields=suggest(known, wanted(BUNDLES[target]), EXACT)
        )
        for old, new in zip(asked(BUNDLES[target]), asked(moved), strict=True):
            if old["type"] == "search":
                continue
            ask = panels.lens if old["type"] == "lens" else panels.classic
            mine, theirs = (
                elastic.client.search(index=index, **(ask(item, CONTRACT) or {})).body
                for index, item in ((f"logs-{CONTRACT.dataset}-*", old), (PATTERN, new))
            )
            assert mine["hits"]["total"] == theirs["hits"]["total"], old["id"]
            numbers = [dict(panels.numbers(answer.get("aggregations", {}))) for answer in (mine, theirs)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-6), old["id"]


def test_an_index_that_is_not_there_says_so(elastic):
    listed = fields_in(elastic, "filebeat-*")
    assert listed.fields == {}
    assert listed.why == "no index matches filebeat-*"
