"""What `elkkit setup` finds out about a bad score: from simulations of the server, after every run and in a check."""

from __future__ import annotations

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from elkkit.cli.command import ElkkitGroup
from elkkit.cli.setup import register
from elkkit.contract import load_contract
from elkkit.render import elasticsearch as ours
from elkkit.stack import shapes
from elkkit.stack.elastic import Connection, connect
from elkkit.usecases import engine
from elkkit.usecases.setup import setup
from fakes.elasticsearch import Fake, serving

CONTRACT = load_contract()
STREAM = CONTRACT.stream
CUSTOM = "lane-eval@custom"
DOUBLE = {"type": "double"}


@pytest.fixture
def fake():
    with serving(Fake()) as fake:
        yield fake


@pytest.fixture
def cli(fake, monkeypatch):
    monkeypatch.setattr(engine, "open_elastic", lambda settings, **_: connect(Connection.from_settings(settings)))
    app = typer.Typer(cls=ElkkitGroup, rich_markup_mode=None)
    app.callback()(lambda: None)
    register(app)
    return lambda *words: CliRunner().invoke(app, ["setup", "--es-url", fake.url, *words])


def run(fake, **options):
    with connect(Connection(fake.url)) as elastic:
        return setup(elastic, CONTRACT, **options)


def verdicts(result) -> dict[str, str]:
    return {c.name: str(c.verdict) for c in result.checks}


def about(mapping, settings):
    return {"mappings": {"properties": {"metricscores": mapping} if mapping else {}}, "settings": {"index": settings}}


@pytest.mark.parametrize(
    ("mapping", "settings", "wrong"),
    [
        ({**DOUBLE, "ignore_malformed": False}, {"mode": "logsdb"}, None),
        ({**DOUBLE, "ignore_malformed": False}, {"mapping": {"ignore_malformed": True}}, None),
        (DOUBLE, {}, None),
        (DOUBLE, {"mapping": {"ignore_malformed": "false"}, "mode": "logsdb"}, None),
        (DOUBLE, {"mapping.ignore_malformed": "false", "mode": "logsdb"}, None),
        (DOUBLE, {"mode": "logsdb"}, "the index has ignore_malformed"),
        (DOUBLE, {"mapping": {"ignore_malformed": "true"}}, "the index has ignore_malformed"),
        ({**DOUBLE, "ignore_malformed": "true"}, {}, "metricscores has ignore_malformed"),
        ({"type": "keyword"}, {}, "is of the type keyword"),
        (None, {}, "has no mapping"),
    ],
)
def test_what_an_index_does_with_a_bad_number(mapping, settings, wrong):
    found = shapes.takes_bad_numbers(about(mapping, settings), "metricscores")
    assert (found is None) if wrong is None else (wrong in found)


def test_a_field_in_a_group_is_found():
    body = {"mappings": {"properties": {"a": {"properties": {"b": {"type": "float", "ignore_malformed": True}}}}}}
    assert shapes.takes_bad_numbers(body, "a.b") == "a.b has ignore_malformed"
    assert "no mapping" in shapes.takes_bad_numbers(body, "a.c")


@pytest.mark.parametrize("no_logsdb", [False, True])
def test_all_is_well_with_what_setup_puts_before_and_after(fake, no_logsdb):
    fake.no_logsdb = no_logsdb
    before = verdicts(run(fake, dry_run=True))
    assert before == {"a new index refuses a bad score": "ok", "ingest pipeline lane-eval marks a bad score": "ok"}
    assert fake.written == []
    after = verdicts(run(fake))
    assert after == {
        **before,
        f"{fake.streams[STREAM][0]} refuses a bad score": "ok",
        f"{STREAM} has its failure store off": "ok",
    }


def test_a_users_template_that_would_swallow_scores_is_told_loudly(fake, cli):
    cli()
    mine = {"template": {"mappings": {"properties": {"metricscores": DOUBLE}},
                         "settings": {"index": {"mapping": {"ignore_malformed": True}}}}}  # fmt: skip
    fake.kept["_component_template"][CUSTOM] = mine
    for words in (["--check"], []):
        done = cli(*words)
        assert done.exit_code == 1
        assert "fail       a new index refuses a bad score: the index has ignore_malformed" in done.stdout
        error, why, hint = done.stderr.splitlines()[-3:]
        assert error == "error: it is not so that a new index refuses a bad score"
        assert why == "why: the index has ignore_malformed, and metricscores does not say otherwise"
        assert CUSTOM in hint
    told = json.loads(cli("--check", "--json").stdout)
    assert told["errors"][0]["code"] == "bad_score"
    assert {c["verdict"] for c in told["data"]["checks"]} == {"ok", "fail"}
    assert fake.kept["_component_template"][CUSTOM] == mine, "it is the user's"


def test_an_old_index_that_swallows_scores_is_told_until_it_is_rolled_over(fake):
    run(fake)
    old = fake.streams[STREAM][0]
    fields = fake.indices[old]["mappings"]["properties"]
    fields["metricscores"] = {"type": "double", "ignore_malformed": True}
    found = run(fake)
    assert verdicts(found)[f"{old} refuses a bad score"] == "fail"
    assert verdicts(found)["a new index refuses a bad score"] == "ok"
    assert not found.sound
    assert run(fake, rollover=True).sound


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        (lambda m: {"message": m, "metricscores": 0.0 if "," in m else 0.8312}, "makes the score 0.0"),
        (lambda m: {"message": m} if "," in m else {"metricscores": 0.8312}, "does not get the tag _malformed_score"),
        (lambda m: None if "," in m else {"metricscores": 0.8312}, "drops the line"),
        (lambda m: {"message": m, "tags": ["_malformed_score"]}, "does not make the score 0.8312"),
        (lambda _: None, "does not make the score 0.8312"),
        (lambda m: {"tags": "_malformed_score"} if "," in m else {"metricscores": 0.8312}, None),
    ],
)
def test_a_pipeline_that_is_silent_about_a_bad_score_is_found(fake, judge, why):
    run(fake)
    fake.judge = judge
    found = {c.name: c for c in run(fake).checks}["ingest pipeline lane-eval marks a bad score"]
    assert found.verdict == ("ok" if why is None else "fail")
    assert (why or "") in found.why


def test_who_may_not_simulate_is_told_that_it_was_not_asked(fake, cli):
    cli()
    fake.forbidden = re.compile("_ingest/pipeline/.*_simulate")
    done = cli("--check")
    assert done.exit_code == 0
    assert "skip" in done.stdout
    assert "unauthorized" in done.stdout


# --- the failure store -----------------------------------------------------------------------------------------------


def test_a_failure_store_that_is_on_is_told_and_is_the_users_business(fake, cli):
    fake.kept["_component_template"][CUSTOM] = {
        "template": {"data_stream_options": {"failure_store": {"enabled": True}}}
    }
    done = cli()
    assert done.exit_code == 0
    assert fake.options[STREAM] == {"failure_store": {"enabled": True}}
    assert "note       logs-lane.eval-default has its failure store off: it is on" in done.stdout
    assert f"{fake.url}/_data_stream/{STREAM}/_options" in done.stdout.replace("\n" + " " * 11, " ")
    assert cli("--check").exit_code == 0
    assert not any("_options" in written for written in fake.written)


@pytest.mark.parametrize(
    ("version", "switched"), [("8.18.9", False), ("8.19.0", True), ("9.0.8", False), ("9.1.0", True), ("10.0.0", True)]
)
def test_a_failure_store_is_switched_off_where_there_is_one(version, switched):
    with serving(Fake(version)) as fake:
        fake.no_failure_store = not switched
        result = run(fake)
        template = fake.kept["_component_template"]["lane-eval@settings"]["template"]
        assert ("data_stream_options" in template) is switched
        assert (f"{STREAM} has its failure store off" in verdicts(result)) is switched
        assert not run(fake).to_do


def test_a_server_of_that_version_without_one_is_not_sent_the_option(fake):
    fake.no_failure_store = True
    run(fake)
    assert fake.kept["_component_template"]["lane-eval@settings"] == ours.settings_body(
        CONTRACT, ours.Abilities(logsdb=True)
    )
