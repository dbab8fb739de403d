"""`elkkit import-alerts`: rules that watch the models, planned, written, drifted and undone, on fake Kibanas."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.contract import Contract, extend, load_contract
from elkkit.errors import ConfigError, ElkkitError, InputError, NotAllowedError, ServiceError, StorageError, UsageError
from elkkit.kibana import alerts as pure
from elkkit.kibana.alerts import CUSTOM, METRIC, SOURCE, adjusted, read_alerts, rule_key, rule_object, unfit
from elkkit.kibana.plan import counts
from elkkit.kql import parse, to_query
from elkkit.stack import kibanarules
from elkkit.stack.kibana import Kibana, KibanaConnection, connect
from elkkit.stack.kibanamemory import Memory
from elkkit.usecases import alerts
from elkkit.usecases.alerts import apply, load_rules, refusals, rollback, survey
from elkkit.usecases.dashboards import SpacePlan
from fakes.kibana import FakeKibana, Fault

CONTRACT = load_contract()
RULES = load_rules(CONTRACT)
SOURCE_ID = "elkkit-lane-eval"
IOU, P95, SILENT = (rule_key(CONTRACT, r, "default") for r in RULES)
GOOD = """
[[rules]]
id = "r"
title = "t"
measure = "mean"
metric = "IoU"
below = 0.2
window = "5m"
interval = "1m"
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "state"))


@pytest.fixture
def fake() -> Iterator[FakeKibana]:
    with FakeKibana("8.3.3") as running:
        yield running


@pytest.fixture
def kibana(fake: FakeKibana) -> Iterator[Kibana]:
    with connect(KibanaConnection(fake.url, timeout=5)) as found:
        yield found


def done(kibana: Kibana, rules=RULES, *, disabled=False, **options: Any):
    work = survey(kibana, CONTRACT, rules, **options)
    assert not refusals(work), refusals(work)
    return apply(kibana, work, disabled=disabled)


def actions(work: SpacePlan) -> list[str]:
    return [s.action for s in work.steps]


def last_record(kibana: Kibana, space: str = "default"):
    memory = Memory(kibana.connection.url, space)
    return memory, memory.records()[0]


def writes(fake: FakeKibana) -> list[tuple[str, str]]:
    return [(m, p) for m, p in fake.asked if m not in ("GET", "HEAD")]


def newer(fake: FakeKibana, version: str = "8.17.1") -> None:
    """Let it be a Kibana that has custom threshold rules, with the data view of the dashboards."""
    fake.version = version
    made = {"type": "index-pattern", "id": SOURCE_ID, "attributes": {"title": "logs-lane.eval-*"}, "references": [],
            "stamp": "8.0.0"}  # fmt: skip
    fake.store.put(made, "default")


# --- the spec --------------------------------------------------------------------------------------------------------


def test_the_three_questions_are_there():
    assert [(r.id, r.measure, r.metric, r.comparator, r.threshold, r.window) for r in RULES] == [
        ("mean-iou", "mean", "IoU", "<", 0.25, "15m"),
        ("p95-inference-time", "p95", "Inference_time", ">", 0.1, "15m"),
        ("silent-model", "silent", None, "<", 1, "10m"),
    ]
    assert CONTRACT.metrics["Inference_time"].unit == "s"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('metric = "IoU"', 'metric = "IoV"', "metric"),
        ('measure = "mean"', 'measure = "sum"', "measure"),
        ('window = "5m"', 'window = "5 minutes"', "window"),
        ('window = "5m"', 'window = "30s"', "window"),
        ('interval = "1m"', 'interval = "0m"', "interval"),
        ("below = 0.2", "above = 0.2", "above"),
        ("below = 0.2", "below = 0", "below"),
        ("below = 0.2", "below = nan", "below"),
        ("below = 0.2", "below = true", "below"),
        ("below = 0.2", "below = 0.2\nabove = 0.3", "below"),
        ("below = 0.2", "", "below"),
        ('id = "r"', 'id = "../r"', "id"),
        ('title = "t"', 'title = "${nothing}"', "title"),
        ('title = "t"', 'title = "t"\nwhat = 1', "what"),
        ("[[rules]]", "[[rules]]]", "not TOML"),
    ],
)
def test_a_wrong_spec_is_refused_by_the_name_of_its_key(old, new, named):
    assert len(read_alerts(GOOD, CONTRACT)) == 1
    with pytest.raises(ConfigError) as caught:
        read_alerts(GOOD.replace(old, new), CONTRACT, "alerts.toml")
    assert named in str(caught.value)
    assert "alerts.toml" in caught.value.message


def test_the_same_id_twice_is_refused():
    with pytest.raises(ConfigError, match="twice"):
        read_alerts(GOOD * 2, CONTRACT)


def test_thresholds_and_windows_can_be_others():
    found = adjusted(RULES, CONTRACT, below=0.3, above=0.05, window="2h", silent="30m")
    assert [(r.threshold, r.window) for r in found] == [(0.3, "2h"), (0.05, "2h"), (1, "30m")]
    assert adjusted(RULES, CONTRACT) == RULES


@pytest.mark.parametrize(
    "options",
    [{"below": 25}, {"below": 0}, {"above": -1}, {"above": float("inf")}, {"window": "15"}, {"window": "10s"},
     {"silent": "1y"}, {"silent": "٣m"}, {"models": [""]}, {"models": ["a\nb"]}, {"models": ["x" * 300]}],
    ids=str,
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(UsageError) as caught:
        adjusted(RULES, CONTRACT, **options)
    assert caught.value.why
    assert caught.value.hint


def test_a_limit_on_the_good_side_is_refused():
    assert unfit(CONTRACT.metrics["IoU"], "above", 0.5)
    assert unfit(CONTRACT.metrics["Inference_time"], "below", 0.5)
    assert unfit(CONTRACT.metrics["Lane_share"], "below", 0.5) is None
    assert unfit(CONTRACT.metrics["Lane_share"], "above", 0.5) is None


def test_named_models_get_rules_of_their_own():
    found = adjusted(RULES, CONTRACT, models=["lane-a", "lane-b", "lane-a"])
    assert [r.model for r in found] == [None, None, None, "lane-a", "lane-b"]
    assert len({rule_key(CONTRACT, r, "default") for r in found}) == 5


# --- ids and bodies --------------------------------------------------------------------------------------------------


def test_ids_are_fixed_uuids_of_their_own_in_each_space_and_dataset():
    other = extend(CONTRACT, dataset="pose.eval")
    keys = [rule_key(c, r, s) for c in (CONTRACT, other) for s in ("default", "a", "b") for r in RULES]
    assert len(set(keys)) == len(keys)
    assert all(uuid.UUID(ident).version == 4 for _, ident in keys)
    assert keys[0] == ("alert", "af20e6a1-0cb3-42b8-a90d-9074c6de8456")  # changing it would double everybody's rules


def body_of(number: int, kind: str) -> dict[str, Any]:
    return rule_object(CONTRACT, RULES[number], kind, "default")["attributes"]


def matching(field, value):
    return {"bool": {"should": [{"match_phrase": {field: value}}], "minimum_should_match": 1}}


NO_CANARY = {"bool": {"must_not": matching("tags", CONTRACT.canary_tag)}}


def and_no_canary(query):
    return {"bool": {"filter": [query, NO_CANARY]}}


def test_a_metric_rule_as_8_3_takes_it():
    found = body_of(0, METRIC)
    assert (found["rule_type_id"], found["consumer"]) == (METRIC, "infrastructure")
    assert found["schedule"] == {"interval": "1m"}
    params = found["params"]
    assert params["criteria"] == [{"aggType": "avg", "metric": "metricscores", "comparator": "<", "threshold": [0.25],
                                   "timeSize": 15, "timeUnit": "m"}]  # fmt: skip
    assert params["groupBy"] == ["model.name"]
    assert params["sourceId"] == SOURCE_ID
    assert json.loads(params["filterQuery"]) == and_no_canary(matching("metrictype", "IoU"))
    assert (params["alertOnNoData"], params["alertOnGroupDisappear"]) == (False, False)
    assert body_of(1, METRIC)["params"]["criteria"][0] == {
        "aggType": "p95", "metric": "metricscores", "comparator": ">", "threshold": [0.1], "timeSize": 15,
        "timeUnit": "m"}  # fmt: skip


def test_a_custom_rule_as_8_13_takes_it():
    found = body_of(1, CUSTOM)
    assert (found["rule_type_id"], found["consumer"]) == (CUSTOM, "logs")
    assert found["params"] == {
        "criteria": [{"comparator": ">", "threshold": [0.1], "timeSize": 15, "timeUnit": "m",
                      "metrics": [{"name": "A", "aggType": "p95", "field": "metricscores"}]}],
        "groupBy": ["model.name"], "alertOnNoData": False, "alertOnGroupDisappear": False,
        "searchConfiguration": {
            "index": SOURCE_ID,
            "query": {"language": "kuery", "query": 'metrictype : "Inference_time" and not tags : "_canary"'},
        },
    }  # fmt: skip


@pytest.mark.parametrize("kind", [METRIC, CUSTOM])
def test_a_model_that_falls_silent_is_a_group_that_disappears(kind):
    params = body_of(2, kind)["params"]
    (criterion,) = params["criteria"]
    assert (criterion["comparator"], criterion["threshold"]) == ("<", [1])
    assert "metric" not in criterion
    assert params["alertOnGroupDisappear"]
    query = params.get("filterQuery") or to_query(params["searchConfiguration"]["query"]["query"])
    assert (json.loads(query) if isinstance(query, str) else query) == NO_CANARY
    named = adjusted(RULES, CONTRACT, models=["lane-a"])[-1]
    params = rule_object(CONTRACT, named, kind, "default")["attributes"]["params"]
    assert "groupBy" not in params
    assert params["alertOnNoData"]
    assert "lane-a" in json.dumps(params)


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=60))
def test_any_name_of_a_model_is_asked_for_as_it_is(name):
    rule = adjusted(RULES, CONTRACT, models=[name])[-1]
    parse(rule.query)
    params = rule_object(CONTRACT, rule, METRIC, "default")["attributes"]["params"]
    assert json.loads(params["filterQuery"]) == and_no_canary(matching("model.name", name))


def test_the_type_is_chosen_by_what_the_server_has():
    both = {METRIC, CUSTOM}
    assert pure.choose((8, 3, 3), {METRIC}) == METRIC
    assert pure.choose((8, 12, 2), both) == METRIC  # its custom rules have no percentile
    assert pure.choose((8, 13, 0), both) == CUSTOM
    assert pure.choose((9, 1, 0), both, METRIC) == METRIC  # no rule can change its type and keep its actions
    assert pure.choose((9, 1, 0), {CUSTOM}, METRIC) == CUSTOM
    assert pure.choose((8, 2, 0), both) is None
    assert pure.choose((9, 1, 0), {".es-query"}) is None


def test_a_body_says_when_actions_run_only_to_servers_that_ask():
    item = rule_object(CONTRACT, RULES[0], METRIC, "default")
    assert pure.create_body(item, (8, 3, 3))["notify_when"] == "onActionGroupChange"
    assert "notify_when" not in pure.create_body(item, (8, 6, 0))
    assert pure.create_body(item, (8, 6, 0), disabled=True)["enabled"] is False


# --- on a server -----------------------------------------------------------------------------------------------------


def test_a_fresh_server_gets_the_rules_and_then_nothing(fake, kibana):
    work = survey(kibana, CONTRACT, RULES)
    assert actions(work) == ["create"] * 4
    assert not writes(fake)
    assert not fake.alerts.kept
    applied = apply(kibana, work)
    assert applied.whole
    assert applied.created == [(SOURCE, SOURCE_ID), IOU, P95, SILENT]
    assert set(fake.alerts.kept) == {IOU[1], P95[1], SILENT[1]}
    assert all(r["enabled"] and r["actions"] == [] for r in fake.alerts.kept.values())
    assert fake.store.get(SOURCE, SOURCE_ID, "default").attributes["metricAlias"] == "logs-lane.eval-*"
    before, fake.asked = copy.deepcopy(fake.alerts.kept), []
    again = survey(kibana, CONTRACT, RULES)
    assert again.same
    assert apply(kibana, again).record is None
    assert not writes(fake)
    assert fake.alerts.kept == before


def test_8_12_gets_metric_rules_since_its_custom_ones_have_no_percentile():
    with FakeKibana("8.12.2") as fake, connect(KibanaConnection(fake.url)) as kibana:
        assert len(done(kibana).created) == 4
        assert {r["rule_type_id"] for r in fake.alerts.kept.values()} == {METRIC}
        assert {r["notify_when"] for r in fake.alerts.kept.values()} == {None}
        assert survey(kibana, CONTRACT, RULES).same


def test_rules_can_be_made_that_do_not_run_yet(fake, kibana):
    done(kibana, disabled=True)
    assert not any(r["enabled"] for r in fake.alerts.kept.values())
    done(kibana, adjusted(RULES, CONTRACT, below=0.5))
    assert not fake.alerts.kept[IOU[1]]["enabled"]  # an update leaves that to people
    assert fake.alerts.kept[IOU[1]]["params"]["criteria"][0]["threshold"] == [0.5]


@pytest.mark.parametrize("version", ["8.3.3", "8.17.1"])
def test_an_update_keeps_what_people_added(fake, kibana, version):
    if version != "8.3.3":
        newer(fake, version)
        kibana.look()
    done(kibana)
    rule = fake.alerts.kept[IOU[1]]
    action = {"id": "c", "group": "x", "params": {"level": "warn"}, "connector_type_id": ".server-log"}
    if version == "8.3.3":
        rule |= {"actions": [action], "throttle": "1h", "notify_when": "onThrottleInterval"}
    else:
        own = {"uuid": "u", "frequency": {"summary": False, "notify_when": "onActiveAlert", "throttle": None}}
        rule |= {"actions": [action | own], "alert_delay": {"active": 3}}
    kept = {k: copy.deepcopy(rule.get(k)) for k in ("actions", "throttle", "notify_when", "alert_delay")}
    assert survey(kibana, CONTRACT, RULES).same
    work = survey(kibana, CONTRACT, adjusted(RULES, CONTRACT, below=0.3))
    assert counts(work.steps)["update"] == 1
    assert apply(kibana, work).updated == [IOU]
    assert {k: fake.alerts.kept[IOU[1]].get(k) for k in kept} == kept
    assert fake.alerts.kept[IOU[1]]["params"]["criteria"][0]["threshold"] == [0.3]


def test_a_difference_is_told_by_its_place(kibana):
    done(kibana)
    work = survey(kibana, CONTRACT, adjusted(RULES, CONTRACT, above=0.2))
    (step,) = [s for s in work.steps if s.action == "update"]
    assert [c.text for c in step.changes] == ["params.criteria.0.threshold.0: 0.1 -> 0.2"]


def test_an_edit_in_kibana_is_drift_and_stays(fake, kibana):
    done(kibana)
    fake.alerts.kept[IOU[1]]["params"]["criteria"][0]["threshold"] = [0.4]
    work = survey(kibana, CONTRACT, RULES)
    assert actions(work) == ["unchanged", "drifted", "unchanged", "unchanged"]
    (refusal,) = refusals(work)
    assert "edited there" in refusal.why
    assert "--on-conflict" in refusal.hint
    assert done(kibana, on_conflict="skip").record is None
    assert fake.alerts.kept[IOU[1]]["params"]["criteria"][0]["threshold"] == [0.4]
    assert done(kibana, on_conflict="overwrite").updated == [IOU]
    assert survey(kibana, CONTRACT, RULES).same


def test_a_rule_of_that_id_that_elkkit_did_not_make_is_not_taken_over(fake, kibana):
    done(kibana)
    Memory(kibana.connection.url).folder.joinpath("memory.json").unlink()
    assert survey(kibana, CONTRACT, RULES).same  # what is the same is the same, whoever made it
    fake.alerts.kept[IOU[1]]["name"] = "mine"
    work = survey(kibana, CONTRACT, RULES)
    assert actions(work)[1] == "drifted"
    assert "no record" in work.steps[1].why


def test_a_source_that_was_pointed_elsewhere_is_drift(fake, kibana):
    done(kibana)
    fake.store.get(SOURCE, SOURCE_ID, "default").attributes["metricAlias"] = "other-*"
    assert actions(survey(kibana, CONTRACT, RULES))[0] == "drifted"


def test_a_rule_that_was_deleted_comes_back(fake, kibana):
    done(kibana)
    del fake.alerts.kept[SILENT[1]]
    work = survey(kibana, CONTRACT, RULES)
    assert [(s.action, "deleted" in s.why) for s in work.steps][-1] == ("create", True)
    assert apply(kibana, work).created == [SILENT]


def test_each_space_has_its_own(fake, kibana):
    fake.spaces["team"] = {"id": "team", "name": "team"}
    done(kibana)
    applied = done(kibana, space="team")
    assert len(applied.created) == 4 - 1 + 1
    assert {r["space"] for r in fake.alerts.kept.values()} == {"default", "team"}
    assert len(fake.alerts.kept) == 6
    with pytest.raises(InputError, match="no space"):
        survey(kibana, CONTRACT, RULES, space="nowhere")


def test_a_newer_server_gets_rules_that_look_through_the_data_view(fake, kibana):
    newer(fake)
    kibana.look()
    assert done(kibana).created == [IOU, P95, SILENT]
    assert {r["rule_type_id"] for r in fake.alerts.kept.values()} == {CUSTOM}
    assert fake.store.get(SOURCE, SOURCE_ID, "default") is None
    assert survey(kibana, CONTRACT, RULES).same


def test_a_rule_keeps_its_type_when_kibana_is_updated(fake, kibana):
    done(kibana)
    newer(fake)
    kibana.look()
    assert survey(kibana, CONTRACT, RULES).same
    done(kibana, adjusted(RULES, CONTRACT, below=0.3))
    assert {r["rule_type_id"] for r in fake.alerts.kept.values()} == {METRIC}
    fake.alerts.types = [CUSTOM]  # the old type has gone: the new one comes only if that is wanted
    work = survey(kibana, CONTRACT, RULES)
    assert set(actions(work)) == {"drifted"}
    assert "actions" in work.steps[0].why
    assert done(kibana, on_conflict="overwrite").whole
    assert {r["rule_type_id"] for r in fake.alerts.kept.values()} == {CUSTOM}


def test_without_the_data_view_a_newer_server_gets_nothing(fake, kibana):
    fake.version = "8.17.1"
    kibana.look()
    work = survey(kibana, CONTRACT, RULES)
    assert actions(work) == ["blocked"] * 3
    assert "import-dashboards" in work.steps[0].why
    assert refusals(work)


# --- servers that cannot ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", ["kibana", "opensearch"])
def test_a_server_without_rules_says_which_has_them(product):
    with FakeKibana("7.10.2", product=product) as fake, connect(KibanaConnection(fake.url)) as kibana:
        work = survey(kibana, CONTRACT, RULES)
        assert actions(work) == ["unsupported"] * 3
        assert "Kibana 8.3 and later" in work.steps[0].why
        (refusal,) = refusals(work)
        assert "3 unsupported" in refusal.message
        assert not writes(fake)


def test_an_older_server_is_told_from_one_without_the_type(fake, kibana):
    fake.version = "8.2.0"
    kibana.look()
    assert "Kibana 8.3" in survey(kibana, CONTRACT, RULES).steps[0].why
    fake.version = "8.3.3"
    kibana.look()
    fake.alerts.types = [".es-query", ".index-threshold"]
    work = survey(kibana, CONTRACT, RULES)
    assert actions(work) == ["unsupported"] * 3  # a count or an unfiltered mean would be another question
    assert METRIC in work.steps[0].why


def test_a_server_that_cannot_keep_rules_says_what_is_missing(fake, kibana):
    fake.alerts.encryption_key = False
    work = survey(kibana, CONTRACT, RULES)
    assert actions(work)[1:] == ["blocked"] * 3
    assert "xpack.encryptedSavedObjects.encryptionKey" in work.steps[1].why
    assert len(refusals(work)) == 1
    fake.alerts.encryption_key, fake.alerts.secure = True, False
    assert "API keys" in survey(kibana, CONTRACT, RULES).steps[1].why


def test_credentials_that_may_not_write_rules_are_found_out_first(fake, kibana):
    fake.alerts.consumers = ["logs"]
    work = survey(kibana, CONTRACT, RULES)
    assert actions(work)[1:] == ["blocked"] * 3
    assert '"infrastructure"' in work.steps[1].why
    assert not writes(fake)


# --- errors ----------------------------------------------------------------------------------------------------------


def failure(call, *arguments: Any, **options: Any) -> ElkkitError:
    with pytest.raises(ElkkitError) as caught:
        call(*arguments, **options)
    error = caught.value
    assert error.message
    assert error.why
    assert error.hint
    assert "\n" not in f"{error.message}{error.why}{error.hint}"
    return error


def body() -> dict[str, Any]:
    return pure.create_body(rule_object(CONTRACT, RULES[0], METRIC, "default"), (8, 3, 3))


def test_errors_name_what_mends_them(fake, kibana):
    fake.alerts.consumers = []
    error = failure(kibanarules.create_rule, kibana, IOU[1], body())
    assert isinstance(error, NotAllowedError)
    assert "Infrastructure" in error.hint
    assert "Unauthorized to create" in error.why
    fake.alerts.consumers = ["infrastructure"]
    fake.alerts.encryption_key = False
    error = failure(kibanarules.create_rule, kibana, IOU[1], body())
    assert isinstance(error, ServiceError)
    assert "xpack.encryptedSavedObjects.encryptionKey" in error.hint
    fake.alerts.encryption_key = True
    assert "UUID" in failure(kibanarules.create_rule, kibana, "mine", body()).why
    kibanarules.create_rule(kibana, IOU[1], body())
    assert "id is taken" in failure(kibanarules.create_rule, kibana, IOU[1], body()).message
    wrong = body() | {"params": {"criteria": "x"}}
    assert "criteria" in failure(kibanarules.create_rule, kibana, P95[1], wrong).why
    update = pure.update_body(rule_object(CONTRACT, RULES[1], METRIC, "default"),
                              kibanarules.get(kibana, IOU), (8, 3, 3))  # fmt: skip
    assert "not there any more" in failure(kibanarules.update_rule, kibana, P95[1], update).message


def test_nothing_goes_into_a_space_that_is_not_there(fake, kibana):
    item = pure.source_object(CONTRACT)
    assert "no space" in failure(kibanarules.put_source, kibana, item, space="nowhere").message
    assert not fake.store.kept


@pytest.mark.parametrize(
    ("fault", "word"),
    [(Fault.FORBIDDEN, "privilege"), (Fault.CRASH, "log"), (Fault.UNAUTHORIZED, "ELKKIT_API_KEY"),
     (Fault.LOGIN_PAGE, "--kibana-url"), (Fault.GARBLED, "--kibana-url"), (Fault.BUSY, "later"),
     (Fault.BAD_GATEWAY, "again")],
)  # fmt: skip
def test_a_fault_while_the_plan_is_made_is_told(fake, kibana, fault, word):
    fake.fail(fault, only="rule_types")
    error = failure(survey, kibana, CONTRACT, RULES)
    assert word in error.hint
    assert "cannot upgrade" not in error.why


def test_a_failure_in_the_middle_says_what_is_there_and_can_be_undone(fake, kibana):
    work = survey(kibana, CONTRACT, RULES)
    fake.fail(Fault.FORBIDDEN, only=P95[1])
    with pytest.raises(NotAllowedError):  # it meets the last look before the writing
        apply(kibana, work)
    assert not fake.alerts.kept
    real = kibanarules.create_rule

    def refuses(kibana, ident, body, **options):
        if ident == P95[1]:
            raise NotAllowedError("no", why="no", hint="no")
        real(kibana, ident, body, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kibanarules, "create_rule", refuses)
        applied = apply(kibana, survey(kibana, CONTRACT, RULES))
    assert not applied.whole
    assert applied.created == [(SOURCE, SOURCE_ID), IOU]
    assert list(applied.failed) == [P95]
    memory, record = last_record(kibana)
    assert record.status == "partial"
    undone = rollback(kibana, memory, record)
    assert sorted(undone.deleted) == sorted([(SOURCE, SOURCE_ID), IOU])
    assert not fake.alerts.kept
    assert fake.store.get(SOURCE, SOURCE_ID, "default") is None


def test_an_answer_that_is_lost_after_the_writing_is_looked_up(fake, kibana):
    work = survey(kibana, CONTRACT, RULES)
    real = fake.answer

    def cut(method, target, headers, sent):
        reply = real(method, target, headers, sent)
        if method == "POST" and SILENT[1] in target:
            reply.status, reply.body = 502, b"<html><title>bad gateway</title></html>"
        return reply

    fake.answer = cut
    applied = apply(kibana, work)
    assert applied.created[-1] == SILENT
    assert not applied.unsure
    assert SILENT[1] in fake.alerts.kept
    assert survey(kibana, CONTRACT, RULES).same


# --- undo ------------------------------------------------------------------------------------------------------------


def test_a_record_that_lost_what_was_there_deletes_nothing(fake, kibana):
    done(kibana)
    apply(kibana, survey(kibana, CONTRACT, adjusted(RULES, CONTRACT, below=0.4)))
    memory, record = last_record(kibana)
    (record.folder / "before.ndjson").unlink()
    with pytest.raises(StorageError, match="damaged"):
        rollback(kibana, memory, record)
    assert len(fake.alerts.kept) == 3


def test_undoing_an_undo_remembers_again(kibana):
    done(kibana)
    memory, record = last_record(kibana)
    undone = rollback(kibana, memory, record)
    again = next(r for r in memory.records() if r.id == undone.own_record)
    rollback(kibana, memory, again)
    assert actions(survey(kibana, CONTRACT, RULES)) == ["unchanged"] * 4
    assert len(Memory(kibana.connection.url).entries) == 4


def test_undo_deletes_what_was_created(fake, kibana):
    applied = done(kibana)
    memory, record = last_record(kibana)
    assert (record.id, record.what, record.status) == (applied.record, "alerts", "done")
    plan_only = rollback(kibana, memory, record, dry_run=True)
    assert [s.action for s in plan_only.steps] == ["delete"] * 4
    assert len(fake.alerts.kept) == 3
    undone = rollback(kibana, memory, record)
    assert undone.deleted[-1] == (SOURCE, SOURCE_ID)  # after the rules that look through it
    assert not fake.alerts.kept
    assert Memory(kibana.connection.url).entries == {}
    assert actions(survey(kibana, CONTRACT, RULES)) == ["create"] * 4
    assert memory.records()[1].status == "undone"


def test_undo_of_an_update_brings_the_former_rule_and_keeps_its_actions(fake, kibana):
    done(kibana)
    former = copy.deepcopy(fake.alerts.kept[IOU[1]]["params"])
    done(kibana, adjusted(RULES, CONTRACT, below=0.4))
    action = {"id": "c", "group": "x", "params": {}, "connector_type_id": ".server-log"}
    fake.alerts.kept[IOU[1]] |= {"actions": [action], "enabled": False}
    undone = rollback(kibana, *last_record(kibana))
    assert undone.restored == [IOU]
    assert not undone.differing
    assert fake.alerts.kept[IOU[1]]["params"] == former
    assert fake.alerts.kept[IOU[1]]["actions"] == [action]
    assert not fake.alerts.kept[IOU[1]]["enabled"]
    assert survey(kibana, CONTRACT, RULES).same


def test_a_rule_that_was_deleted_since_comes_back_with_its_actions(fake, kibana):
    done(kibana)
    fake.alerts.kept[IOU[1]]["actions"] = [{"id": "c", "group": "x", "params": {}, "connector_type_id": ".s"}]
    done(kibana, adjusted(RULES, CONTRACT, below=0.4))
    del fake.alerts.kept[IOU[1]]
    rollback(kibana, *last_record(kibana))
    assert fake.alerts.kept[IOU[1]]["params"]["criteria"][0]["threshold"] == [0.25]
    assert [a["id"] for a in fake.alerts.kept[IOU[1]]["actions"]] == ["c"]


def test_undo_keeps_what_was_edited_since_unless_it_is_forced(fake, kibana):
    done(kibana)
    fake.alerts.kept[P95[1]]["name"] = "mine"
    memory, record = last_record(kibana)
    undone = rollback(kibana, memory, record)
    assert [(s.key, s.action) for s in undone.refused] == [(P95, "edited"), ((SOURCE, SOURCE_ID), "used")]
    assert len(fake.alerts.kept) == 3
    assert rollback(kibana, memory, record, force=True).deleted
    assert not fake.alerts.kept


def test_undo_keeps_a_source_that_another_rule_looks_through(fake, kibana):
    done(kibana)
    memory, record = last_record(kibana)
    copied = copy.deepcopy(fake.alerts.kept[IOU[1]]) | {"id": str(uuid.uuid4()), "name": "a copy"}
    fake.alerts.kept[copied["id"]] = copied
    (refused,) = rollback(kibana, memory, record).refused
    assert (refused.action, refused.type) == ("used", SOURCE)
    assert "a copy" in refused.why


# --- the command -----------------------------------------------------------------------------------------------------


def command(*arguments: str) -> tuple[int, dict[str, Any], str]:
    result = CliRunner().invoke(app, ["import-alerts", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout), result.stderr


def test_the_command_plans_makes_and_says_where(fake):
    code, told, _ = command("--kibana-url", fake.url, "--dry-run")
    assert (code, told["data"]["counts"]) == (0, {"create": 4})
    assert not fake.alerts.kept
    assert told["data"]["applied"] is None
    code, told, _ = command("--kibana-url", fake.url, "--below", "0.3", "--silent", "30m", "--model", "lane-a")
    assert code == 0
    assert len(told["data"]["applied"]["created"]) == 5
    assert told["data"]["rules"].startswith(f"{fake.url}/app/")
    assert fake.alerts.kept[IOU[1]]["params"]["criteria"][0]["threshold"] == [0.3]
    code, told, _ = command("--kibana-url", fake.url, "--below", "0.3", "--silent", "30m", "--model", "lane-a")
    assert (code, told["data"]["counts"]) == (0, {"unchanged": 5})


def test_the_command_shows_people_the_plan_and_the_next_step(fake):
    arguments = ["import-alerts", "--kibana-url", fake.url]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0
    assert "metric" in first.stdout
    assert "rules: " in first.stdout
    assert "connector" in first.stderr
    assert "rollback-dashboards" in first.stderr
    again = CliRunner().invoke(app, arguments)
    assert "unchanged" in again.stdout
    assert "connector" not in again.stderr


def test_the_command_keeps_edits_and_exits_with_one(fake):
    command("--kibana-url", fake.url)
    fake.alerts.kept[IOU[1]]["name"] = "mine \x1b[31m\u202e"
    code, told, _ = command("--kibana-url", fake.url)
    assert code == 1
    assert told["data"]["counts"]["drifted"] == 1
    assert "nothing was written" in told["errors"][0]["message"]
    shown = CliRunner().invoke(app, ["import-alerts", "--kibana-url", fake.url, "-v"])
    assert "\x1b[31m" not in shown.stdout + shown.stderr
    assert "\u202e" not in shown.stdout + shown.stderr


def test_the_command_says_what_was_written_before_it_failed(fake, monkeypatch):
    real = kibanarules.create_rule

    def refuses(kibana, ident, body, **options):
        if ident == P95[1]:
            raise NotAllowedError("cannot", why="no privilege", hint="ask for it")
        real(kibana, ident, body, **options)

    monkeypatch.setattr(kibanarules, "create_rule", refuses)
    code, told, _ = command("--kibana-url", fake.url)
    assert code == 4
    assert told["data"]["applied"]["failed"][0]["object"] == f"alert:{P95[1]}"
    (error,) = told["errors"]
    assert "2 were written" in error["message"]
    assert "rollback-dashboards" in error["hint"]


@pytest.mark.parametrize(
    "arguments",
    [["--below", "7"], ["--above", "nan"], ["--window", "1x"], ["--silent", ""], ["--on-conflict", "copy"],
     ["--space", "a,b"], ["--model", " "]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_options_are_usage_errors(fake, arguments):
    code, told, _ = command("--kibana-url", fake.url, *arguments)
    assert code == 2
    assert told["errors"][0]["hint"]
    assert not writes(fake)


def test_without_an_address_the_command_says_how_to_name_one():
    code, told, _ = command()
    assert code == 2
    assert "--kibana-url" in told["errors"][0]["hint"]


def test_the_spec_is_in_the_wheel():
    assert '"kibana/alerts.toml"' in (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")


def test_contracts_of_teams_have_their_own_source(kibana):
    other: Contract = extend(CONTRACT, dataset="pose.eval")
    work = survey(kibana, other, alerts.load_rules(other))
    assert work.steps[0].id == "elkkit-pose-eval"
    assert work.objects[SOURCE, "elkkit-pose-eval"]["attributes"]["metricAlias"] == "logs-pose.eval-*"


def test_filters_are_what_kibanas_own_kql_gives():
    types = {n: f.type for n, f in CONTRACT.fields.items()}
    for rule in RULES[:2]:
        params = rule_object(CONTRACT, rule, METRIC, "default")["attributes"]["params"]
        assert json.loads(params["filterQuery"]) == to_query(params["filterQueryText"], types)
