"""`elkkit setup --remove`: what setup made goes, in the right order; documents, and what others own or use, stay."""

from __future__ import annotations

import json
import sys

import pytest
import typer
from typer.testing import CliRunner

from elkkit.cli import setup_remove
from elkkit.cli.command import ElkkitGroup
from elkkit.cli.setup import register
from elkkit.contract import extend, load_contract
from elkkit.stack.elastic import Connection, connect
from elkkit.usecases import engine
from elkkit.usecases.setup import setup
from elkkit.usecases.setup_removal import removal, remove
from fakes.elasticsearch import Fake, serving

CONTRACT = load_contract()
STREAM = CONTRACT.stream
ORDER = [
    "DELETE /_index_template/logs-lane.eval",
    "DELETE /_component_template/lane-eval@mappings",
    "DELETE /_component_template/lane-eval@settings",
    "DELETE /_component_template/lane-eval@custom",
    "DELETE /_ingest/pipeline/lane-eval",
    "DELETE /_ingest/pipeline/lane-eval-object",
    "DELETE /_ilm/policy/lane-eval@lifecycle",
    "DELETE /_security/role/lane-eval-writer",
    "DELETE /_security/role/lane-eval-importer",
    "DELETE /_security/role/lane-eval-viewer",
]


@pytest.fixture
def fake():
    with serving(Fake()) as fake:
        fake.secured = True
        with connect(Connection(fake.url)) as elastic:
            setup(elastic, CONTRACT)
        fake.asked = []
        yield fake


def plan(fake, contract=CONTRACT):
    with connect(Connection(fake.url)) as elastic:
        return removal(elastic, contract)


def take(fake, contract=CONTRACT):
    with connect(Connection(fake.url)) as elastic:
        return remove(elastic, removal(elastic, contract))


def fates(result) -> dict[str, str]:
    return {r.name: str(r.fate) for r in result.removals}


def drop_stream(fake) -> None:
    """As the user does it, who wants to lose the documents."""
    for index in fake.streams.pop(STREAM):
        del fake.indices[index]


def left(fake) -> list[str]:
    return [name for kept in fake.kept.values() for name in kept]


def test_all_goes_in_the_order_in_which_nothing_is_used_any_more(fake):
    drop_stream(fake)
    before = fake.snapshot()
    dry = plan(fake)
    assert set(fates(dry).values()) == {"remove"}
    assert fake.written == []
    assert fake.snapshot() == before

    done = take(fake)
    assert set(fates(done).values()) == {"removed"}
    assert fake.written == ORDER
    assert left(fake) == []

    fake.asked = []
    again = take(fake)
    assert set(fates(again).values()) == {"absent"}
    assert fake.written == []


def test_what_a_stream_uses_stays_and_so_do_its_documents(fake):
    streams, indices = json.dumps(fake.streams), json.dumps(fake.indices)
    foreseen, done = fates(plan(fake)), fates(take(fake))
    assert {n: "removed" if f == "remove" else f for n, f in foreseen.items()} == done
    assert {n for n, f in done.items() if f == "in use"} == {
        "logs-lane.eval", "lane-eval@mappings", "lane-eval@settings", "lane-eval@custom", "lane-eval@lifecycle",
    }  # fmt: skip
    assert {n for n, f in done.items() if f == "removed"} == {
        "lane-eval", "lane-eval-object", "lane-eval-writer", "lane-eval-importer", "lane-eval-viewer",
    }  # fmt: skip
    assert (json.dumps(fake.streams), json.dumps(fake.indices)) == (streams, indices)
    assert all(w in ORDER for w in fake.written)
    drop_stream(fake)
    assert set(fates(take(fake)).values()) == {"removed", "absent"}
    assert left(fake) == []


def test_the_stream_of_another_namespace_counts_too(fake):
    drop_stream(fake)
    with connect(Connection(fake.url)) as elastic:
        setup(elastic, extend(CONTRACT, namespace="prod"))
    found = take(fake)
    assert found.streams == ("logs-lane.eval-prod",)
    assert fates(found)["logs-lane.eval"] == "in use"


def test_another_dataset_is_left_alone(fake):
    pose = extend(CONTRACT, dataset="pose.eval")
    with connect(Connection(fake.url)) as elastic:
        setup(elastic, pose)
    drop_stream(fake)
    take(fake)
    assert len(left(fake)) == len(ORDER)
    assert not any("lane" in name for name in left(fake))


def test_what_others_made_is_not_touched(fake):
    drop_stream(fake)
    theirs = {
        "_ingest/pipeline": ("lane-eval", {"description": "mine", "processors": []}),
        "_security/role": ("lane-eval-viewer", {"cluster": ["all"], "metadata": {}}),
        "_ilm/policy": ("lane-eval@lifecycle", {"policy": {"phases": {"hot": {}, "delete": {"actions": {}}}}}),
    }
    for kind, (name, body) in theirs.items():
        fake.kept[kind][name] = body
    done = take(fake)
    assert {n for n, f in fates(done).items() if f == "not ours"} == {name for name, _ in theirs.values()}
    assert sorted(left(fake)) == sorted(name for name, _ in theirs.values())
    assert {kind: fake.kept[kind][name] for kind, (name, _) in theirs.items()} == {k: b for k, (_, b) in theirs.items()}


def test_settings_of_the_users_own_stay(fake):
    drop_stream(fake)
    custom = fake.kept["_component_template"]["lane-eval@custom"]
    custom["template"] = {"mappings": {"properties": {"note": {"type": "text"}}}}
    assert fates(take(fake))["lane-eval@custom"] == "kept"
    assert left(fake) == ["lane-eval@custom"]


def test_what_others_use_stays(fake):
    drop_stream(fake)
    fake.kept["_index_template"]["theirs"] = {"index_patterns": ["x"], "composed_of": ["lane-eval@settings"]}
    call = {"pipeline": {"name": "lane-eval", "if": "true"}}
    fake.kept["_ingest/pipeline"]["route"] = {"processors": [{"foreach": {"field": "a", "processor": call}}]}
    fake.users["anna"] = {"roles": ["lane-eval-writer"]}
    fake.role_mappings["ops"] = {"roles": ["lane-eval-viewer"]}
    done = {r.name: r.why for r in take(fake).removals if r.fate == "in use"}
    assert done == {
        "lane-eval@settings": "index template theirs uses it",
        "lane-eval": "ingest pipeline route uses it",
        "lane-eval-object": "ingest pipeline lane-eval uses it",
        "lane-eval@lifecycle": "index template theirs uses it",
        "lane-eval-writer": "user anna uses it",
        "lane-eval-viewer": "role mapping ops uses it",
    }


def test_a_pipeline_that_an_index_names_stays(fake):
    drop_stream(fake)
    fake.indices["other"] = {"settings": {"index": {"final_pipeline": "lane-eval-object"}}, "mappings": {}}
    done = {r.name: r.why for r in take(fake).removals if r.fate == "in use"}
    assert done == {"lane-eval-object": "index other uses it"}


def test_the_server_has_the_last_word(fake):
    """Between the plan and its doing somebody begins to use a thing, another one goes, a third is replaced."""
    drop_stream(fake)
    with connect(Connection(fake.url)) as elastic:
        foreseen = removal(elastic, CONTRACT)
        fake.kept["_index_template"]["theirs"] = {"index_patterns": ["x"], "composed_of": ["lane-eval@mappings"]}
        del fake.kept["_ingest/pipeline"]["lane-eval-object"]
        fake.kept["_ingest/pipeline"]["lane-eval"] = {"description": "mine", "processors": []}
        done = remove(elastic, foreseen)
    found = {r.name: (str(r.fate), r.why) for r in done.removals}
    fate, why = found["lane-eval@mappings"]
    assert fate == "in use"
    assert "still in use by index templates [theirs]" in why
    assert found["lane-eval-object"][0] == "absent"
    assert found["lane-eval"][0] == "not ours"
    assert fake.kept["_ingest/pipeline"]["lane-eval"]["description"] == "mine"


def test_roles_that_may_not_be_seen_are_said_to_be_left(fake):
    drop_stream(fake)
    fake.lacking = {"manage_security"}
    done = take(fake)
    assert "manage_security" in next(x.why for x in done.left_out if x.what == "roles")
    assert sorted(left(fake)) == ["lane-eval-importer", "lane-eval-viewer", "lane-eval-writer"]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(fake, monkeypatch):
    monkeypatch.setattr(engine, "open_elastic", lambda settings, **_: connect(Connection.from_settings(settings)))
    app = typer.Typer(cls=ElkkitGroup, rich_markup_mode=None)
    app.callback()(lambda: None)
    register(app)
    return lambda *words, **more: CliRunner().invoke(app, ["setup", "--es-url", fake.url, "--remove", *words], **more)


def test_without_a_terminal_a_yes_is_needed(cli, fake):
    drop_stream(fake)
    for words in ([], ["--json"]):
        assert cli(*words).exit_code == 2
    assert "hint: elkkit setup --remove --yes" in cli().stderr
    assert fake.written == []
    done = cli("--yes")
    assert done.exit_code == 0
    assert "removed    index template logs-lane.eval" in done.stdout.splitlines()
    assert left(fake) == []
    assert cli().exit_code == 0, "where nothing is to do, nothing is asked"
    assert "nothing is to do" in cli().stderr


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_on_a_terminal_it_asks(cli, fake, monkeypatch, answer, code):
    class Terminal:
        """A standard stream that says that it is a terminal."""

        def __init__(self, stream):
            self._stream = stream

        def isatty(self):
            return True

        def __getattr__(self, name):
            return getattr(self._stream, name)

    class Sys:
        """`sys` as the command sees it."""

        def __getattr__(self, name):
            found = getattr(sys, name)
            return Terminal(found) if name in ("stdin", "stderr") else found

    monkeypatch.setattr(setup_remove, "sys", Sys())
    drop_stream(fake)
    done = cli(input=answer)
    assert done.exit_code == code
    assert "Remove 10 objects from" in done.stderr
    assert bool(left(fake)) is (code != 0)


def test_a_dry_run_and_the_way_to_go_on(cli, fake):
    dry = cli("--dry-run")
    assert dry.exit_code == 0
    assert "remove     ingest pipeline lane-eval" in dry.stdout.splitlines()
    assert f"in use     index template logs-lane.eval: {STREAM} uses it" in dry.stdout.splitlines()
    assert fake.written == []
    done = cli("--yes")
    assert done.exit_code == 1, "not all is gone"
    assert f"curl -X DELETE '{fake.url}/_data_stream/{STREAM}'" in done.stderr
    assert "API keys keep their privileges" in done.stderr
    told = json.loads(cli("--yes", "--json").stdout)
    assert told["data"]["streams"] == [STREAM]
    assert {o["action"] for o in told["data"]["objects"]} == {"in use", "absent"}


def test_names_of_a_server_cannot_drive_the_terminal(cli, fake):
    fake.users["an\x1b[2Jna"] = {"roles": ["lane-eval-writer"]}
    done = cli("--dry-run")
    assert "\x1b" not in done.output
    assert "user an\\x1b[2Jna uses it" in done.stdout
