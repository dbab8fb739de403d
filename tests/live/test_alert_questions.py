"""What each alert rule asks, asked of a real Elasticsearch that holds known documents: the number that is compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import embedded_node
from elkkit.contract import load_contract
from elkkit.kibana.alerts import CUSTOM, METRIC, AlertRule, adjusted, rule_object, seconds
from elkkit.kql import to_query
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.usecases.alerts import load_rules
from elkkit.usecases.setup import setup

pytestmark = pytest.mark.full

CONTRACT = load_contract()
TYPES = {name: field.type for name, field in CONTRACT.fields.items()}
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ODD = 'lane "x" and (not *) \\ : y'
"""A model whose name is full of what KQL reads."""
RULES = {(r.id, r.model): r for r in adjusted(load_rules(CONTRACT), CONTRACT, models=["lane-a", "lane-z", ODD])}
MEAN, P95, SILENT = (RULES[name, None] for name in ("mean-iou", "p95-inference-time", "silent-model"))


def events() -> Iterator[dict[str, Any]]:
    """Of lane-a all is recent; lane-b fell silent 12 minutes ago; another metric and older scores are in the way."""

    def event(model: str, metric: str, minutes: float, **more: Any) -> dict[str, Any]:
        moment = (NOW - timedelta(minutes=minutes)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"@timestamp": moment, "metrictype": metric, "model": {"name": model}, "message": "m", **more}

    for score in (0.1, 0.2, 0.3):
        yield event("lane-a", "IoU", 5, metricscores=score)
        yield event("lane-b", "IoU", 14, metricscores=score + 0.5)
    yield event("lane-a", "IoU", 5, metricraw="nan")  # in no mean
    yield event("lane-a", "IoU", 16, metricscores=1.0)  # before the window
    yield event("lane-a", "F1", 5, metricscores=1.0)  # another metric
    yield event(ODD, "IoU", 1, metricscores=0.5)
    for model in ("lane-a", "lane-b", "elkkit-canary"):  # in no rule's eyes
        for metric in ("IoU", "Inference_time"):
            yield event(model, metric, 1, metricscores=1e9, tags=[CONTRACT.canary_tag])
    for model, slow in (("lane-a", 10), ("lane-b", 2)):
        for i in range(100):
            yield event(model, "Inference_time", 12, metricscores=0.2 if i < slow else 0.01)


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elastic]:
    with (
        embedded_node.running(tmp_path_factory.mktemp("engine")) as engine,
        connect(Connection(engine.url)) as found,
    ):
        setup(found, CONTRACT)
        rows = [part for one in events() for part in ({"create": {"_index": CONTRACT.stream}}, one)]
        assert not found.client.bulk(operations=rows, refresh=True).body["errors"]
        yield found


def parts_of(rule: AlertRule, kind: str) -> tuple[Mapping[str, Any], list[dict[str, Any]], Mapping[str, Any]]:
    """The rule's parameters, its filters, and its aggregation, read from what Kibana is given."""
    params = rule_object(CONTRACT, rule, kind, "default")["attributes"]["params"]
    (criterion,) = params["criteria"]
    filters: list[dict[str, Any]] = []
    if kind == CUSTOM:
        (measure,) = criterion["metrics"]
        field = measure.get("field")
        filters.append(to_query(params["searchConfiguration"]["query"]["query"], TYPES))
    else:
        measure, field = criterion, criterion.get("metric")
        if "filterQuery" in params:
            filters.append(json.loads(params["filterQuery"]))
        if field:
            filters.append({"exists": {"field": field}})
    if measure["aggType"] == "count":
        return params, filters, {}
    if measure["aggType"] == "p95":
        return params, filters, {"value": {"percentiles": {"field": field, "percents": [95]}}}
    return params, filters, {"value": {measure["aggType"]: {"field": field}}}


def asked(elastic: Elastic, rule: AlertRule, kind: str, now: datetime = NOW) -> dict[str, float | int | None]:
    """By model, or under `*`, the number that the rule compares at a moment.

    As Kibana does it: the last two windows are searched, grouped, and the last one is measured.
    """
    params, filters, measure = parts_of(rule, kind)
    (criterion,) = params["criteria"]
    window = timedelta(seconds=seconds(f"{criterion['timeSize']}{criterion['timeUnit']}"))
    last, both = ({"range": {"@timestamp": {"gte": (now - n * window).isoformat(), "lte": now.isoformat()}}}
                  for n in (1, 2))  # fmt: skip
    aggs: dict[str, Any] = {"current": {"filter": last, "aggs": measure}}
    if groups := params.get("groupBy"):
        (field,) = groups
        by = {"composite": {"size": 100, "sources": [{"g": {"terms": {"field": field}}}]}, "aggs": aggs}
        aggs = {"groups": by}
    answer = elastic.client.search(index=f"logs-{CONTRACT.dataset}-*", size=0,
                                   query={"bool": {"filter": [both, *filters]}}, aggs=aggs).body  # fmt: skip
    assert answer["_shards"]["failed"] == 0
    found = answer["aggregations"]
    rows = found["groups"]["buckets"] if groups else [{"key": {"g": "*"}, **found}]
    return {row["key"]["g"]: _value(row["current"]) for row in rows}


def _value(current: Mapping[str, Any]) -> float | int | None:
    if "value" not in current:
        count: int = current["doc_count"]
        return count
    told = current["value"]
    number: float | None = told["values"]["95.0"] if "values" in told else told["value"]
    return number


def fires(rule: AlertRule, value: float | int | None) -> bool:
    if value is None:
        return False
    return value < rule.threshold if rule.comparator == "<" else value > rule.threshold


@pytest.mark.parametrize("kind", [METRIC, CUSTOM])
def test_the_mean_is_of_one_metric_of_each_model_in_the_window(elastic, kind):
    found = asked(elastic, MEAN, kind)
    assert found == {"lane-a": pytest.approx(0.2), "lane-b": pytest.approx(0.7), ODD: 0.5}
    assert [m for m, v in found.items() if fires(MEAN, v)] == ["lane-a"]


@pytest.mark.parametrize("kind", [METRIC, CUSTOM])
def test_the_p95_is_neither_a_mean_nor_a_maximum(elastic, kind):
    found = asked(elastic, P95, kind)
    assert found == {"lane-a": pytest.approx(0.2), "lane-b": pytest.approx(0.01)}
    assert [m for m, v in found.items() if fires(P95, v)] == ["lane-a"]


@pytest.mark.parametrize("kind", [METRIC, CUSTOM])
def test_a_model_that_fell_silent_is_still_a_group_without_lines(elastic, kind):
    found = asked(elastic, SILENT, kind)
    assert found["lane-b"] == 0
    assert found["lane-a"] == 5
    assert [m for m, v in found.items() if fires(SILENT, v)] == ["lane-b"]
    later = asked(elastic, SILENT, kind, NOW + timedelta(hours=1))
    assert later == {}  # which is why the rule has to remember the groups that it saw
    assert rule_object(CONTRACT, SILENT, kind, "default")["attributes"]["params"]["alertOnGroupDisappear"]


@pytest.mark.parametrize("kind", [METRIC, CUSTOM])
def test_a_named_model_is_counted_even_if_it_never_sent_a_line(elastic, kind):
    counted = {m: asked(elastic, RULES["silent-model", m], kind)["*"] for m in ("lane-a", "lane-z", ODD)}
    assert counted == {"lane-a": 5, "lane-z": 0, ODD: 1}
    assert fires(RULES["silent-model", "lane-z"], 0)
