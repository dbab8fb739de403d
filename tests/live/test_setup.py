"""`elkkit setup` on real servers: the bare engine with its write alias, and OpenSearch's data streams.

Each test has a dataset of its own, so that none meets what another one left.
"""

from __future__ import annotations

import itertools
import json

import pytest
from elasticsearch import BadRequestError

import embedded_node
import opensearch_node
from elkkit.contract import extend, load_contract
from elkkit.errors import ConfigError
from elkkit.render import elasticsearch as ours
from elkkit.stack import shapes
from elkkit.stack.elastic import Connection, connect
from elkkit.usecases.setup import setup
from elkkit.usecases.setup_removal import removal, remove

NUMBERS = itertools.count()
OWN_FIELD = {"model.backbone": {}}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    with (
        embedded_node.running(tmp_path_factory.mktemp("state")) as engine,
        connect(Connection(engine.url), embedded=True) as elastic,
    ):
        yield elastic


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """OpenSearch as an Elasticsearch 8.19: data streams and pipelines, but neither ILM nor logsdb."""
    with (
        opensearch_node.running(tmp_path_factory.mktemp("opensearch") / "home") as node,
        opensearch_node.elasticsearch_front(node) as url,
        connect(Connection(url)) as elastic,
    ):
        yield elastic


@pytest.fixture(params=["bare", "full"])
def elastic(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def contract():
    return extend(load_contract(), dataset=f"lane{next(NUMBERS)}.eval")


def actions(result) -> set[str]:
    return {o.action for o in result.objects}


def everything(elastic) -> str:
    """Templates, pipelines, and every index with its settings and mappings."""
    client = elastic.client
    found = [
        client.cluster.get_component_template().body,
        client.indices.get_index_template().body,
        client.options(ignore_status=404).ingest.get_pipeline().body,
        client.indices.get(index="*,.ds-*", expand_wildcards="all").body,
    ]
    return json.dumps(found, sort_keys=True)


def store(elastic, stream, **fields) -> None:
    body = {"@timestamp": "2026-11-22T10:00:00.123Z", "message": "IoU : 0.5", "metrictype": "IoU", **fields}
    elastic.client.index(index=stream, document=body, op_type="create", refresh=True)


def count(elastic, stream, query=None) -> int:
    return elastic.client.count(index=stream, query=query or {"match_all": {}})["count"]


@pytest.mark.full
def test_fresh_then_unchanged(elastic, contract):
    before = everything(elastic)
    dry = setup(elastic, contract, dry_run=True)
    assert dry.to_do
    assert everything(elastic) == before, "a dry run writes nothing"

    result = setup(elastic, contract)
    assert actions(result) == {"created"}
    assert [(o.kind, o.name) for o in dry.objects] == [(o.kind, o.name) for o in result.objects]
    assert result.stream.kind == ("alias" if elastic.server.bare else "data stream")
    after = everything(elastic)
    assert after != before

    again = setup(elastic, contract)
    assert actions(again) == {"unchanged", "kept"}
    assert not again.to_do
    assert not again.rollover.fields
    assert again.stream == result.stream
    assert not setup(elastic, contract, dry_run=True).to_do
    assert everything(elastic) == after


@pytest.mark.full
def test_every_field_of_the_contract_is_mapped_in_the_stream(elastic, contract):
    index = setup(elastic, contract).stream.write_index
    found = shapes.mappings(elastic.client.indices.get_mapping(index=index)[index]["mappings"])
    kinds = {n: text.split(" ")[0] for n, text in found.items() if not n.startswith("(")}
    wanted = {f.name: f.bare_type if elastic.server.bare else f.type for f in contract.fields.values()}
    assert kinds == wanted
    assert found["(dynamic)"] == "false"


@pytest.mark.full
def test_a_new_field_waits_for_a_rollover_and_no_document_is_lost(elastic, contract):
    setup(elastic, contract)
    store(elastic, contract.stream, model={"backbone": "old"})
    wider = extend(contract, fields=OWN_FIELD)
    would = setup(elastic, wider, dry_run=True)
    told = setup(elastic, wider)
    assert [d.as_dict() for d in told.rollover.fields] == [
        {"name": "model.backbone", "have": "(none)", "want": "keyword (ignore_above=1024)"}
    ]
    assert would.rollover == told.rollover, "a dry run foresees what the server then says"
    first = told.stream.write_index

    done = setup(elastic, wider, rollover=True)
    assert done.rollover.new_index == done.stream.write_index
    assert done.stream.older == (first,)
    store(elastic, contract.stream, model={"backbone": "resnet"})
    assert count(elastic, contract.stream) == 2
    assert count(elastic, first) == 1
    assert count(elastic, contract.stream, {"term": {"model.backbone": "resnet"}}) == 1
    assert not setup(elastic, wider, rollover=True).to_do
    assert setup(elastic, wider).stream == done.stream


@pytest.mark.full
def test_custom_is_kept_and_counted_in(elastic, contract):
    setup(elastic, contract)
    name = f"{ours.name(contract)}@custom"
    mine = {"mappings": {"properties": {"note": {"type": "keyword"}, "metricraw": {"type": "long"}}}}
    elastic.client.cluster.put_component_template(name=name, template=mine)
    result = setup(elastic, contract)
    assert {o.name: o.action for o in result.objects}[name] == "kept"
    assert {d.name: d.want for d in result.rollover.fields} == {"note": "keyword", "metricraw": "long"}
    assert setup(elastic, extend(contract, fields=OWN_FIELD), dry_run=True).rollover.fields == (
        *(shapes.Difference(n, "(none)" if n != "metricraw" else "keyword (ignore_above=1024)", w)
          for n, w in (("metricraw", "long"), ("model.backbone", "keyword (ignore_above=1024)"), ("note", "keyword"))),
    )  # fmt: skip
    assert not setup(elastic, contract, rollover=True).rollover.needed
    kept = elastic.client.cluster.get_component_template(name=name)["component_templates"][0]["component_template"]
    assert shapes.template(kept["template"]) == shapes.template(mine)


@pytest.mark.full
def test_others_templates_are_refused_and_untouched(elastic, contract):
    name = f"{ours.name(contract)}@settings"
    elastic.client.cluster.put_component_template(name=name, template={"settings": {"number_of_shards": 2}})
    before = everything(elastic)
    with pytest.raises(ConfigError, match=name):
        setup(elastic, contract)
    assert everything(elastic) == before
    elastic.client.cluster.delete_component_template(name=name)

    rival = f"rival-{contract.dataset}"
    elastic.client.indices.put_index_template(name=rival, index_patterns=[f"logs-{contract.dataset}-*"], priority=999)
    try:
        before = everything(elastic)
        with pytest.raises(ConfigError, match=f"{rival} is in the way"):
            setup(elastic, contract)
        assert everything(elastic) == before
    finally:
        elastic.client.indices.delete_index_template(name=rival)


@pytest.mark.full
def test_an_index_of_the_streams_name_is_left_alone(elastic, contract):
    elastic.client.indices.create(index=contract.stream)
    store(elastic, contract.stream)
    with pytest.raises(ConfigError, match="is there already, as an index"):
        setup(elastic, contract)
    assert count(elastic, contract.stream) == 1
    other = extend(contract, namespace="other")
    assert setup(elastic, other).stream.name == other.stream


@pytest.mark.full
def test_the_first_index_without_its_alias_is_left_alone(bare, contract):
    setup(bare, contract)
    bare.client.indices.delete_alias(index=f"{contract.stream}-000001", name=contract.stream)
    with pytest.raises(ConfigError, match="without its alias"):
        setup(bare, contract)


@pytest.mark.full
def test_a_second_namespace_uses_the_same_templates(elastic, contract):
    setup(elastic, contract)
    result = setup(elastic, extend(contract, namespace="b"))
    assert [o.name for o in result.objects if o.action == "created"] == [f"logs-{contract.dataset}-b"]


@pytest.mark.full
def test_a_pipeline_that_somebody_changed_is_mended(full, contract):
    setup(full, contract)
    name = ours.name(contract)
    body = full.client.ingest.get_pipeline(id=name)[name]
    body["processors"] = body["processors"][:-1]
    full.client.ingest.put_pipeline(id=name, body=body)
    result = setup(full, contract)
    assert [o.name for o in result.objects if o.action == "changed"] == [name]
    made = full.client.ingest.get_pipeline(id=name)[name]
    assert made["processors"] == ours.pipeline_body(contract)["processors"]


@pytest.mark.full
def test_what_a_server_lacks_is_told(bare, full, contract):
    assert [x.what for x in setup(full, contract, dry_run=True).left_out] == ["ILM policy", "logsdb", "roles"]
    left = [x.what for x in setup(bare, contract, dry_run=True).left_out]
    assert left[-1] == "roles"
    assert left[:4] == [
        "data stream",
        "ILM policy",
        "ingest pipelines",
        "field types constant_keyword, match_only_text",
    ]
    assert ("logsdb" in left) is not bare.server.logsdb


@pytest.mark.full
def test_the_bare_engine_keeps_the_bytes_that_were_sent(bare, contract):
    index = setup(bare, contract).stream.write_index
    settings = bare.client.indices.get_settings(index=index, flat_settings=True)[index]["settings"]
    assert settings["index.number_of_replicas"] == "0"
    if bare.server.logsdb:
        assert settings["index.mode"] == "logsdb"
        assert settings["index.mapping.source.mode"] == "stored"
    text = '{"metricscores":0.10,"@timestamp":"2026-11-22T10:00:00.123Z","tags":["b","a","b"]}'
    bare.client.bulk(operations=['{"create":{"_id":"x"}}', text], index=contract.stream, refresh=True)
    answer = bare.client.transport.perform_request(
        "GET", f"/{index}/_search?filter_path=hits.hits._source", headers={"accept": "application/json"}
    )
    assert answer.body["hits"]["hits"][0]["_source"] == json.loads(text)


# --- bad scores ------------------------------------------------------------------------------------------------------


def verdicts(result) -> dict[str, str]:
    return {c.name.split(" ")[0]: str(c.verdict) for c in result.checks}


@pytest.mark.full
def test_a_bad_score_is_refused_and_the_check_says_so(elastic, contract):
    before = setup(elastic, contract, dry_run=True)
    result = setup(elastic, contract)
    assert set(verdicts(before).values()) == set(verdicts(result).values()) == {"ok"}
    assert len(result.checks) == (2 if elastic.server.bare else 3), "the index template, the index, the pipeline"
    store(elastic, contract.stream, metricscores=0.5)
    with pytest.raises(BadRequestError):
        store(elastic, contract.stream, metricscores="0,83")
    assert count(elastic, contract.stream) == 1


@pytest.mark.full
def test_what_the_check_warns_of_is_what_the_server_then_does(elastic, contract):
    """With a template of the user's a bad score is taken in silence: the check has foreseen it."""
    setup(elastic, contract)
    mine = {"mappings": {"properties": {"metricscores": {"type": "double"}}},
            "settings": {"index": {"mapping": {"ignore_malformed": True}}}}  # fmt: skip
    elastic.client.cluster.put_component_template(name=f"{ours.name(contract)}@custom", template=mine)
    result = setup(elastic, contract, dry_run=True)
    first = result.stream.write_index
    assert {n: v for n, v in verdicts(result).items() if n in ("a", first)} == {"a": "fail", first: "ok"}
    setup(elastic, contract, rollover=True)
    store(elastic, contract.stream, metricscores="0,83")
    assert count(elastic, contract.stream, {"exists": {"field": "_ignored"}}) == 1
    again = setup(elastic, contract)
    assert list(verdicts(again).values()).count("fail") == 2
    assert not again.sound


@pytest.mark.full
def test_an_index_without_our_settings_would_swallow_it(bare, contract):
    """The default of logsdb that `ignore_malformed: false` is there against, or the same where there is no logsdb."""
    swallowing = {"index.mode": "logsdb"} if bare.server.logsdb else {"index.mapping.ignore_malformed": True}
    about = {"settings": swallowing, "mappings": {"properties": {"metricscores": {"type": "double"}}}}
    name = f"plain-{contract.dataset}"
    bare.client.indices.create(index=name, body=about)
    store(bare, name, metricscores="0,83", **{"host.name": "h"})
    assert count(bare, name, {"exists": {"field": "_ignored"}}) == 1
    for asked in (about, bare.client.indices.get(index=name)[name]):
        assert "ignore_malformed" in shapes.takes_bad_numbers(asked, "metricscores")


@pytest.mark.full
def test_the_pipeline_check_finds_a_pipeline_that_is_silent(full, contract, monkeypatch):
    """The real pipeline passes; one that takes any number from the line, as a plain grok does, is found."""
    setup(full, contract)
    name = ours.name(contract)
    grok = {"grok": {"field": "message", "patterns": ["%{WORD:metrictype} : %{NUMBER:metricscores:double}"]}}
    silent = {**ours.pipeline_body(contract), "processors": [grok]}
    monkeypatch.setattr(ours, "pipeline_body", lambda _contract: silent)
    for dry_run in (True, False):
        result = setup(full, contract, dry_run=dry_run)
        (found,) = [c for c in result.checks if c.name.startswith("ingest")]
        assert found.verdict == "fail"
        assert "makes the score 0.0" in found.why
    monkeypatch.undo()
    setup(full, contract)
    assert full.client.ingest.get_pipeline(id=name)[name]["processors"] == ours.pipeline_body(contract)["processors"]


# --- taking it away --------------------------------------------------------------------------------------------------


def fates(result) -> dict[str, str]:
    return {r.name: str(r.fate) for r in result.removals}


@pytest.mark.full
def test_what_setup_made_goes_and_documents_stay(elastic, contract):
    before = everything(elastic)
    setup(elastic, contract)
    store(elastic, contract.stream, metricscores=0.5)
    client, bare = elastic.client, elastic.server.bare
    in_between = everything(elastic)
    foreseen = removal(elastic, contract)
    assert everything(elastic) == in_between
    templates = {n for n in fates(foreseen) if "@" in n or n.startswith("logs-")}
    assert {n for n, f in fates(foreseen).items() if f == "in use"} == templates
    done = remove(elastic, foreseen)
    assert {n: f for n, f in fates(done).items() if f != "in use"} == {
        n: "removed" for n in fates(foreseen) if n not in templates
    }
    assert count(elastic, contract.stream) == 1
    assert set(fates(remove(elastic, removal(elastic, contract))).values()) <= {"in use", "absent"}

    assert done.holding == ((f"{contract.stream}-000001",) if bare else (f"_data_stream/{contract.stream}",))
    for path in done.holding:
        client.perform_request("DELETE", f"/{path}", headers={"accept": "application/json"})
    last = remove(elastic, removal(elastic, contract))
    assert set(fates(last).values()) <= {"removed", "absent"}
    assert everything(elastic) == before
    assert set(fates(remove(elastic, removal(elastic, contract))).values()) == {"absent"}


@pytest.mark.full
def test_a_server_that_refuses_to_remove_is_heard(full, contract):
    """A plan from before the stream came: the server knows better, and nothing is forced."""
    setup(full, contract)
    full.client.indices.delete_data_stream(name=contract.stream)
    foreseen = removal(full, contract)
    assert set(fates(foreseen).values()) == {"remove"}
    full.client.indices.create_data_stream(name=contract.stream)
    done = {r.name: r for r in remove(full, foreseen).removals}
    template = done[ours.index_template_name(contract)]
    assert template.fate == "in use"
    assert contract.stream in template.why
    assert done[f"{ours.name(contract)}@mappings"].fate == "in use"
    assert full.client.indices.get_index_template(name=template.name)["index_templates"]


@pytest.mark.full
def test_what_is_not_ours_or_holds_the_users_settings_stays(elastic, contract):
    setup(elastic, contract)
    name = ours.name(contract)
    mine = {"mappings": {"properties": {"note": {"type": "keyword"}}}}
    elastic.client.cluster.put_component_template(name=f"{name}@custom", template=mine)
    if not elastic.server.bare:
        elastic.client.ingest.put_pipeline(id=name, body={"description": "mine", "processors": []})
        elastic.client.indices.delete_data_stream(name=contract.stream)
    else:
        elastic.client.indices.delete(index=f"{contract.stream}-000001")
    done = fates(remove(elastic, removal(elastic, contract)))
    assert done.pop(f"{name}@custom") == "kept"
    assert done.pop(name, "not ours") == "not ours"
    assert set(done.values()) == {"removed"}
    kept = elastic.client.cluster.get_component_template(name=f"{name}@custom")["component_templates"][0]
    assert shapes.template(kept["component_template"]["template"]) == shapes.template(mine)
