"""`elkkit setup` on an Elasticsearch with all its modules (a fake that speaks HTTP), and the comparisons behind it."""

from __future__ import annotations

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from elkkit.cli.command import ElkkitGroup
from elkkit.cli.setup import register
from elkkit.contract import extend, load_contract
from elkkit.errors import ConfigError, NotAllowedError
from elkkit.render import elasticsearch as ours
from elkkit.stack import shapes
from elkkit.stack.elastic import Connection, connect
from elkkit.usecases import engine
from elkkit.usecases.setup import setup
from fakes.elasticsearch import Fake, serving

CONTRACT = load_contract()
STREAM = "logs-lane.eval-default"
WIDER = extend(CONTRACT, fields={"model.backbone": {}})
NAMES = [
    ("ILM policy", "lane-eval@lifecycle"),
    ("component template", "lane-eval@mappings"),
    ("component template", "lane-eval@settings"),
    ("component template", "lane-eval@custom"),
    ("index template", "logs-lane.eval"),
    ("ingest pipeline", "lane-eval-object"),
    ("ingest pipeline", "lane-eval"),
    ("data stream", STREAM),
]


@pytest.fixture
def fake():
    with serving(Fake()) as fake:
        yield fake


def run(fake, contract=CONTRACT, **options):
    with connect(Connection(fake.url)) as elastic:
        return setup(elastic, contract, **options)


def actions(result) -> dict[str, str]:
    return {f"{o.kind} {o.name}": o.action for o in result.objects}


# --- the use case ----------------------------------------------------------------------------------------------------


def test_a_fresh_server_gets_everything_and_then_nothing(fake):
    result = run(fake)
    assert [(o.kind, o.name) for o in result.objects] == NAMES
    assert {o.action for o in result.objects} == {"created"}
    assert result.stream.write_index == fake.streams[STREAM][0]
    assert fake.kept["_component_template"]["lane-eval@mappings"] == ours.mappings_body(CONTRACT)
    settings = fake.kept["_component_template"]["lane-eval@settings"]["template"]["settings"]["index"]
    assert settings["mode"] == "logsdb"
    assert settings["lifecycle"] == {"name": "lane-eval@lifecycle"}
    assert [x.what for x in result.left_out] == ["roles"]
    assert [c.verdict for c in result.checks] == ["ok"] * 4
    assert fake.options[STREAM] == {"failure_store": {"enabled": False}}

    before, fake.asked = fake.snapshot(), []
    again = run(fake)
    assert set(actions(again).values()) == {"unchanged", "kept"}
    assert not again.to_do
    assert fake.written == []
    assert fake.snapshot() == before


def test_what_setup_puts_is_what_the_files_hold(fake):
    """Whoever installs the files by hand is told that nothing is to do."""
    old = Fake("8.11.0")
    with serving(old):
        run(old)
    files = {
        ("_component_template", "lane-eval@mappings"): ours.mappings_template,
        ("_component_template", "lane-eval@settings"): ours.settings_template,
        ("_component_template", "lane-eval@custom"): ours.custom_template,
        ("_index_template", "logs-lane.eval"): ours.index_template,
        ("_ilm/policy", "lane-eval@lifecycle"): ours.lifecycle_policy,
        ("_ingest/pipeline", "lane-eval-object"): ours.object_pipeline,
        ("_ingest/pipeline", "lane-eval"): ours.pipeline,
    }
    assert {(k, n): b for k, kept in old.kept.items() for n, b in kept.items()} == {
        at: json.loads(file(CONTRACT)) for at, file in files.items()
    }


def test_the_policy_rolls_over_and_deletes_and_the_template_names_it_without_an_alias(fake):
    run(fake)
    phases = fake.kept["_ilm/policy"]["lane-eval@lifecycle"]["policy"]["phases"]
    assert phases["hot"]["actions"]["rollover"] == {"max_age": "30d", "max_primary_shard_size": "25gb"}
    assert phases["delete"]["min_age"] == "730d"
    assert phases["delete"]["actions"] == {"delete": {}}
    assert set(phases) == {"hot", "delete"}
    settings = shapes.settings(fake.indices[fake.streams[STREAM][0]]["settings"])
    assert settings["index.lifecycle.name"] == "lane-eval@lifecycle"
    assert "index.lifecycle.rollover_alias" not in settings, "a data stream needs none, and fails with one"
    assert run(fake).objects[0].action == "unchanged", "though the server gives it back with defaults of its own"


def test_retention_of_the_users_own_is_a_policy_named_in_custom(fake):
    mine = {"template": {"settings": {"index": {"lifecycle": {"name": "short"}}}}}
    fake.kept["_component_template"]["lane-eval@custom"] = mine
    run(fake)
    settings = shapes.settings(fake.indices[fake.streams[STREAM][0]]["settings"])
    assert settings["index.lifecycle.name"] == "short"
    assert not run(fake).to_do


def test_dry_run_writes_nothing_and_says_what_would_be(fake):
    result = run(fake, dry_run=True)
    assert result.to_do
    assert set(actions(result).values()) == {"created"}
    assert fake.written == []
    run(fake)
    before, fake.asked = fake.snapshot(), []
    result = run(fake, WIDER, dry_run=True, rollover=True)
    assert fake.written == []
    assert fake.snapshot() == before
    changed = {o.name: [d.name for d in o.differences] for o in result.objects if o.action == "changed"}
    assert changed["lane-eval@mappings"] == ["field model.backbone"]
    assert set(changed) == {"lane-eval@mappings", "lane-eval-object"}  # the pipeline reads the field
    assert [d.text for d in result.rollover.fields] == ["model.backbone: (none) -> keyword (ignore_above=1024)"]
    assert result.rollover.needed


def test_a_changed_mapping_needs_a_rollover_and_gets_it_on_demand(fake):
    run(fake)
    first = fake.streams[STREAM][0]
    told = run(fake, WIDER)
    assert told.rollover.needed
    assert told.stream.write_index == first
    assert [d.name for d in told.rollover.fields] == ["model.backbone"]
    assert run(fake, WIDER).to_do, "as long as it is not done, it is to do"

    done = run(fake, WIDER, rollover=True)
    assert done.rollover.done
    assert not done.rollover.needed
    assert done.rollover.new_index == done.stream.write_index != first
    assert first in done.stream.indices
    assert "model.backbone" in shapes.mappings(fake.indices[done.rollover.new_index]["mappings"])
    assert run(fake, WIDER, rollover=True).rollover.new_index is None, "it is not done twice"


def test_mode_order_and_compression_need_a_rollover_too(fake):
    run(fake)
    index = fake.indices[fake.streams[STREAM][0]]
    index["settings"] = {"index": {"mode": "standard", "codec": "best_compression", "sort": {"field": ["x"]}}}
    fields = {d.name: (d.have, d.want) for d in run(fake).rollover.fields}
    assert fields == {
        "index.mode": ("standard", "logsdb"),
        "index.codec": ("best_compression", "default"),
        "index.sort.field": ("x", "(none)"),
    }


def test_custom_is_the_users(fake):
    run(fake)
    custom = {"template": {"mappings": {"properties": {"note": {"type": "text"}}}}}
    fake.kept["_component_template"]["lane-eval@custom"] = custom
    result = run(fake, dry_run=True)
    assert actions(result)["component template lane-eval@custom"] == "kept"
    assert [d.text for d in result.rollover.fields] == ["note: (none) -> text"]
    wider = run(fake, WIDER, dry_run=True)
    assert [d.name for d in wider.rollover.fields] == ["model.backbone", "note"]
    run(fake, WIDER, rollover=True)
    assert fake.kept["_component_template"]["lane-eval@custom"] == custom


@pytest.mark.parametrize(
    ("kind", "name", "body"),
    [
        ("_component_template", "lane-eval@mappings", {"template": {"mappings": {"dynamic": True}}}),
        ("_index_template", "logs-lane.eval", {"index_patterns": ["logs-lane.eval-x"], "composed_of": []}),
        ("_ingest/pipeline", "lane-eval", {"description": "mine", "processors": []}),
        ("_ilm/policy", "lane-eval@lifecycle", {"policy": {"phases": {"hot": {}, "delete": {"actions": {}}}}}),
    ],
)
def test_what_others_made_is_refused_and_untouched(fake, kind, name, body):
    fake.kept[kind][name] = body
    before = fake.snapshot()
    with pytest.raises(ConfigError, match=re.escape(name)) as caught:
        run(fake)
    assert f"{fake.url}/{kind}/{name}" in caught.value.hint
    assert fake.snapshot() == before
    result = run(fake, dry_run=True)
    assert [e.message for e in result.refused] == [caught.value.message]
    assert [o.name for o in result.objects if o.action == "not ours"] == [name]


def test_the_same_without_our_mark_is_taken_as_it_is(fake):
    body = ours.mappings_body(CONTRACT)
    del body["_meta"]
    fake.kept["_component_template"]["lane-eval@mappings"] = body
    assert actions(run(fake))["component template lane-eval@mappings"] == "unchanged"
    assert "_meta" not in fake.kept["_component_template"]["lane-eval@mappings"]


@pytest.mark.parametrize(
    ("patterns", "priority", "refused"),
    [
        (["logs-lane.*"], 500, True),
        (["logs-lane.eval-default"], 201, True),
        (["logs-lane.eval-prod"], 500, False),  # another namespace's
        (["logs-lane.eval-prod"], 200, True),  # two of one priority: the server would refuse elkkit's
        (["logs-*-*"], 100, False),
        (["other", "*-default"], 200, True),
        (["logs-pose.eval-*"], 500, False),
    ],
)
def test_a_template_that_would_win_is_named(fake, patterns, priority, refused):
    fake.kept["_index_template"]["rival"] = {"index_patterns": patterns, "priority": priority, "composed_of": []}
    if not refused:
        assert run(fake).stream.write_index
        return
    with pytest.raises(ConfigError, match="index template rival is in the way"):
        run(fake)
    assert fake.written == []


def test_a_newer_elkkit_is_not_undone(fake):
    run(fake)
    for body in (
        fake.kept["_component_template"]["lane-eval@settings"],
        fake.kept["_index_template"]["logs-lane.eval"],
    ):
        body["_meta"]["contract_version"] += 1
    fake.kept["_ingest/pipeline"]["lane-eval"]["version"] += 1
    fake.kept["_ilm/policy"]["lane-eval@lifecycle"]["policy"]["_meta"]["contract_version"] += 1
    fake.asked = []
    with pytest.raises(ConfigError, match="newer elkkit") as caught:
        run(fake)
    assert "pip install -U elkkit" in caught.value.hint
    assert fake.written == []
    assert list(actions(run(fake, dry_run=True)).values()).count("newer") == 4


def test_an_older_elkkits_objects_are_brought_up_to_date(fake):
    run(fake)
    fake.kept["_component_template"]["lane-eval@settings"]["_meta"]["contract_version"] = 0
    assert actions(run(fake))["component template lane-eval@settings"] == "changed"
    body = fake.kept["_component_template"]["lane-eval@settings"]
    assert body["_meta"]["contract_version"] == CONTRACT.version


@pytest.mark.parametrize("where", ["indices", "aliases"])
def test_something_else_of_the_streams_name_is_refused(fake, where):
    getattr(fake, where)[STREAM] = "some-index"
    with pytest.raises(ConfigError, match=f"{STREAM} is there already, as an (index|alias)") as caught:
        run(fake)
    assert "elkkit setup --namespace" in caught.value.hint
    assert fake.written == []


def test_two_datasets_share_nothing_and_two_namespaces_the_templates(fake):
    run(fake)
    pose = run(fake, extend(CONTRACT, dataset="pose.eval"))
    assert {o.action for o in pose.objects} == {"created"}
    assert not {o.name for o in pose.objects} & {name for _, name in NAMES}
    inner = fake.kept["_ingest/pipeline"]["pose-eval"]
    assert "pose-eval-object" in json.dumps(inner)
    assert "lane" not in json.dumps(fake.kept["_index_template"]["logs-pose.eval"])
    prod = run(fake, extend(CONTRACT, namespace="prod"))
    assert [o.name for o in prod.objects if o.action == "created"] == ["logs-lane.eval-prod"]


def test_a_server_without_ilm_and_logsdb_is_told_so(fake):
    fake.lacks = re.compile("/_ilm/")
    fake.no_logsdb = True
    result = run(fake)
    assert {x.what for x in result.left_out} == {"ILM policy", "logsdb", "roles"}
    assert "unknown setting [index.mode]" in next(x.why for x in result.left_out if x.what == "logsdb")
    index = fake.kept["_component_template"]["lane-eval@settings"]["template"]["settings"]["index"]
    assert "lifecycle" not in index
    assert "mode" not in index
    assert index["codec"] == "best_compression"
    assert not run(fake).to_do


def test_what_is_not_allowed_is_said_in_the_servers_words(fake):
    fake.forbidden = re.compile("PUT /_component_template/")
    with pytest.raises(NotAllowedError) as caught:
        run(fake)
    assert "is unauthorized for API key" in caught.value.why
    assert STREAM in caught.value.message
    assert fake.streams == {}


def test_another_elkkit_may_be_faster(fake):
    """What appears between reading and putting is not overwritten: the same is fine, something else is an error."""

    def meanwhile(path):
        if path.endswith("@settings"):
            fake.before_put = lambda _: None
            fake.kept["_component_template"]["lane-eval@settings"] = theirs

    theirs = ours.settings_body(CONTRACT, ours.Abilities(logsdb=True, failure_store=True))
    fake.before_put = meanwhile
    assert actions(run(fake))["component template lane-eval@settings"] == "unchanged"

    fake.kept["_component_template"].pop("lane-eval@settings")
    theirs = {"template": {"settings": {"index": {"number_of_shards": 7}}}}
    fake.before_put = meanwhile
    with pytest.raises(Exception, match="already exists"):
        run(fake)
    assert fake.kept["_component_template"]["lane-eval@settings"] == theirs


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(fake, monkeypatch):
    monkeypatch.setattr(engine, "open_elastic", lambda settings, **_: connect(Connection.from_settings(settings)))
    app = typer.Typer(cls=ElkkitGroup, rich_markup_mode=None)
    app.callback()(lambda: None)
    register(app)
    return lambda *words: CliRunner().invoke(app, ["setup", "--es-url", fake.url, *words])


def test_the_command_says_where_it_goes_and_what_comes_next(cli, fake):
    done = cli()
    assert done.exit_code == 0
    assert done.stderr.splitlines()[0] == f"setting up {STREAM} at {fake.url}"
    assert done.stderr.splitlines()[-1] == "next: elkkit ship FILES"
    assert done.stdout.splitlines()[1] == "created    component template lane-eval@mappings"
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert cli("--check").exit_code == 0
    assert "created" not in cli().stdout


def test_check_exits_with_1_and_dry_run_with_0(cli, fake):
    assert cli("--check").exit_code == 1
    dry = cli("--dry-run")
    assert dry.exit_code == 0
    assert "create     component template lane-eval@mappings" in dry.stdout
    assert dry.stderr.splitlines()[-1] == "next: elkkit setup"
    assert fake.written == []


def test_the_envelope_of_setup(cli, fake):
    data = json.loads(cli("--json").stdout)["data"]
    assert data["stream"] == {
        "name": STREAM, "kind": "data stream", "indices": fake.streams[STREAM], "write_index": fake.streams[STREAM][0],
    }  # fmt: skip
    assert data["server"]["url"] == fake.url
    assert data["objects"][0] == {"kind": "ILM policy", "name": "lane-eval@lifecycle", "action": "created"}
    assert data["rollover"] == {"needed": False, "done": False, "new_index": None, "fields": []}


def test_the_command_names_the_rollover(cli, fake, tmp_path):
    cli()
    own = tmp_path / "elkkit.toml"
    own.write_text('[fields."model.backbone"]\nshort = "the backbone"\n')
    told = cli("--config", str(own))
    assert told.exit_code == 0
    assert "elkkit setup --rollover" in told.stderr
    assert "           model.backbone: (none) -> keyword (ignore_above=1024)" in told.stdout.splitlines()
    assert cli("--config", str(own), "--check").exit_code == 1
    done = cli("--config", str(own), "--rollover")
    assert f"rollover   new index {fake.streams[STREAM][1]}" in done.stdout
    assert cli("--config", str(own), "--check").exit_code == 0
    assert "no rollover is needed" in cli("--config", str(own), "--rollover").stderr


@pytest.mark.parametrize("flag", [[], ["--dry-run"], ["--check"], ["--json", "--dry-run"]])
def test_a_refusal_is_2_however_it_is_asked(cli, fake, flag):
    fake.kept["_component_template"]["lane-eval@mappings"] = {"template": {"mappings": {"dynamic": True}}}
    done = cli(*flag)
    assert done.exit_code == 2
    if "--json" in flag:
        assert json.loads(done.stdout)["errors"][0]["code"] == "config"
    else:
        assert [w.partition(":")[0] for w in done.stderr.splitlines()[-3:]] == ["error", "why", "hint"]
    assert fake.written == []


def test_a_key_without_the_privilege_is_4(cli, fake):
    fake.forbidden = re.compile("PUT ")
    assert cli().exit_code == 4


def test_names_of_a_server_cannot_drive_the_terminal(cli, fake):
    rival = {"index_patterns": ["logs-lane\x1b[31m*", "logs-*"], "priority": 900, "composed_of": []}
    fake.kept["_index_template"]["ri\x1b[2Jval"] = rival
    done = cli("--dry-run")
    assert "\x1b" not in done.output
    assert "ri\\x1b[2Jval" in done.stderr


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_what_servers_give_back_equals_what_they_were_given():
    sent = {
        "index": {"mapping": {"ignore_malformed": False}, "sort": {"field": ["@timestamp"]}, "number_of_replicas": 0}
    }
    told = {"index": {"number_of_replicas": "0", "sort": {"field": "@timestamp"}, "mapping.ignore_malformed": "false"}}
    assert shapes.settings(sent) == shapes.settings(told)
    assert shapes.settings({"number_of_replicas": 0}) == {"index.number_of_replicas": "0"}


def test_mappings_by_field():
    body = {
        "dynamic": False, "_meta": {"a": 1}, "_data_stream_timestamp": {"enabled": True},
        "properties": {
            "type": {"properties": {"type": {"type": "keyword", "ignore_above": 5}}},
            "n": {"type": "nested", "properties": {"x": {"type": "long"}}},
            "off": {"type": "object", "enabled": False},
        },
    }  # fmt: skip
    assert shapes.mappings(body) == {
        "(dynamic)": "false", "type.type": "keyword (ignore_above=5)", "n": "nested", "n.x": "long",
        "off": "object (enabled=false)",
    }  # fmt: skip


def test_merging_replaces_fields_and_joins_objects():
    one = {"settings": {"index": {"mode": "logsdb"}}, "mappings": {"properties": {"type": {"properties": {
        "a": {"type": "keyword", "ignore_above": 5}}}}}}  # fmt: skip
    two = {"settings": {"index.mode": "standard"}, "mappings": {"dynamic": True, "properties": {"type": {"properties": {
        "a": {"type": "long"}, "b": {"type": "date"}}}}}}  # fmt: skip
    merged = shapes.merged(one, two)
    assert merged["settings"] == {"index.mode": "standard"}
    assert shapes.mappings(merged["mappings"]) == {"(dynamic)": "true", "type.a": "long", "type.b": "date"}


def test_fields_that_documents_added_need_no_rollover():
    have = {"mappings": {"properties": {"a": {"type": "long"}, "b": {"type": "text"}}}}
    for dynamic, names in ((True, []), ("runtime", []), (False, ["(dynamic)", "b"]), ("strict", ["(dynamic)", "b"])):
        want = {"mappings": {"dynamic": dynamic, "properties": {"a": {"type": "long"}}}}
        found = shapes.index_differences({"mappings": {**have["mappings"]}}, want)
        assert [d.name for d in found if d.name != "(dynamic)" or names] == names, dynamic


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("logs-*-*", "logs-lane.eval-*", True),
        ("logs-lane", "logs-lane.eval-*", False),
        ("*", "x", True),
        ("a*c", "*b*", True),
        ("a*c", "b*", False),
        ("", "*", True),
        ("logs-lane.eval-default", "logs-lane.eval-default", True),
        ("logs-lane.eval-default*", "logs-lane.eval-default", True),
        ("a" * 40 + "*" * 20, "*a" * 20 + "b", True),
    ],
)
def test_patterns_that_meet(one, other, meet):
    assert shapes.patterns_meet(one, other) is meet
    assert shapes.patterns_meet(other, one) is meet
