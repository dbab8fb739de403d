"""Roles and API keys of `elkkit setup`: made where there is security, of least privilege, and the key shown once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import elkkit
from elkkit.contract import extend, load_contract
from elkkit.errors import ConfigError, NotAllowedError, UsageError
from elkkit.render.roles import RoleKind, privileges, role_body, role_name
from elkkit.stack.elastic import Connection, connect
from elkkit.usecases.apikeys import make_key
from elkkit.usecases.setup import setup
from fakes.elasticsearch import Fake, serving

CONTRACT = load_contract()
ROLES = {"lane-eval-writer", "lane-eval-importer", "lane-eval-viewer"}
SECRET = "very-secret-1"
# what would let its holder change or delete what is there, or reach further than this dataset
TOO_MUCH = {
    "all", "manage", "write", "index", "create", "delete", "create_index", "delete_index", "manage_security",
    "manage_own_api_key", "manage_api_key", "manage_index_templates", "manage_ilm", "manage_ingest_pipelines",
    "manage_pipeline", "read_pipeline", "read_ilm",
}  # fmt: skip


@pytest.fixture
def fake():
    with serving(Fake()) as fake:
        fake.secured = True
        yield fake


def run(fake, contract=CONTRACT, **options):
    with connect(Connection(fake.url)) as elastic:
        return setup(elastic, contract, **options)


def roles(result) -> dict[str, str]:
    return {o.name: o.action for o in result.objects if o.kind == "role"}


def key_of(fake, role=RoleKind.WRITER, connection=None, **options):
    with connect(connection or Connection(fake.url, user="u", password="p")) as elastic:
        return make_key(elastic, CONTRACT, role, **options)


# --- what the roles allow --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RoleKind)
def test_a_role_reaches_its_own_dataset_and_one_space_and_no_more(kind):
    body = privileges(extend(CONTRACT, dataset="pose.eval"), kind, "team-a")
    assert [i["names"] for i in body["indices"]] == [["logs-pose.eval-*"]]
    granted = {p for i in body["indices"] for p in i["privileges"]} | set(body["cluster"])
    assert not granted & TOO_MUCH
    assert not any("*" in p for p in granted)
    for application in body["applications"]:
        assert application["application"] == "kibana-.kibana"
        assert application["resources"] == ["space:team-a"]
        assert all(re.fullmatch(r"feature_[a-zA-Z]+\.(all|read)", p) for p in application["privileges"])


def test_only_the_writer_writes_and_only_the_importer_changes_dashboards():
    bodies = {kind: privileges(CONTRACT, kind) for kind in RoleKind}
    index = {kind: set(body["indices"][0]["privileges"]) for kind, body in bodies.items()}
    assert {k for k, granted in index.items() if "create_doc" in granted} == {RoleKind.WRITER}
    assert {k for k, granted in index.items() if "read" in granted} == {RoleKind.WRITER, RoleKind.VIEWER}
    kibana = {k: [p for a in b["applications"] for p in a["privileges"]] for k, b in bodies.items()}
    assert {k for k, found in kibana.items() if any(p.endswith(".all") for p in found)} == {RoleKind.IMPORTER}
    assert kibana[RoleKind.WRITER] == []


# --- roles as objects of setup ---------------------------------------------------------------------------------------


def test_roles_are_made_then_unchanged_and_mended(fake):
    assert roles(run(fake, dry_run=True)) == dict.fromkeys(ROLES, "created")
    assert fake.kept["_security/role"] == {}
    result = run(fake)
    assert roles(result) == dict.fromkeys(ROLES, "created")
    assert "roles" not in [x.what for x in result.left_out]
    assert fake.kept["_security/role"]["lane-eval-writer"] == role_body(CONTRACT, RoleKind.WRITER)
    assert set(roles(run(fake)).values()) == {"unchanged"}
    assert not run(fake).to_do

    writer = fake.kept["_security/role"]["lane-eval-writer"]
    writer["indices"][0]["privileges"].append("delete")
    writer["description"] = "ours"
    found = run(fake, dry_run=True)
    (changed,) = [o for o in found.objects if o.action == "changed"]
    assert (changed.kind, changed.name) == ("role", "lane-eval-writer")
    assert "delete" in changed.differences[0].have
    run(fake)
    assert fake.kept["_security/role"]["lane-eval-writer"] == role_body(CONTRACT, RoleKind.WRITER)


def test_a_role_of_somebody_else_is_refused_and_untouched(fake):
    theirs = {"cluster": ["all"], "indices": [], "applications": [], "metadata": {"managed_by": "ops"}}
    fake.kept["_security/role"]["lane-eval-writer"] = theirs
    before = fake.snapshot()
    with pytest.raises(ConfigError, match="another role named lane-eval-writer") as caught:
        run(fake)
    assert f"{fake.url}/_security/role/lane-eval-writer" in caught.value.hint
    assert fake.snapshot() == before


@pytest.mark.parametrize(
    ("secured", "lacking", "why"),
    [
        (False, set(), "security is off on this server"),
        (True, {"manage_security"}, "these credentials lack the cluster privilege manage_security"),
    ],
)
def test_without_security_or_the_privilege_roles_are_left_out_and_the_rest_is_done(fake, secured, lacking, why):
    fake.secured, fake.lacking = secured, lacking
    result = run(fake)
    assert roles(result) == {}
    (left,) = [x for x in result.left_out if x.what == "roles"]
    assert left.why.startswith(why)
    assert not run(fake).to_do


@pytest.mark.parametrize(
    ("status", "reason", "on"),
    [
        (405, "Incorrect HTTP method for uri [/_security/user/_has_privileges]", False),
        (500, "Security is not enabled but a security rest handler is registered", False),
        (403, "action [has_privileges] is unauthorized", True),
    ],
)
def test_other_ways_in_which_servers_say_it(fake, monkeypatch, status, reason, on):
    body = {"error": {"root_cause": [], "type": "exception", "reason": reason}, "status": status}
    monkeypatch.setattr(fake, "_security", lambda *_: (status, body))
    left = {x.what: x.why for x in run(fake).left_out}
    assert ("security is off" in left["roles"]) is not on


def test_two_datasets_have_roles_of_their_own(fake):
    run(fake)
    assert set(roles(run(fake, extend(CONTRACT, dataset="pose.eval"))).values()) == {"created"}
    assert len(fake.kept["_security/role"]) == 6


# --- API keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RoleKind)
def test_a_key_has_the_privileges_of_its_role(fake, kind):
    made = key_of(fake, kind, expires="90d", space="team-a")
    (asked,) = fake.api_keys
    assert asked["role_descriptors"] == {role_name(CONTRACT, kind): privileges(CONTRACT, kind, "team-a")}
    assert asked["expiration"] == "90d"
    assert asked["metadata"] == {"managed_by": "elkkit", "role": str(kind)}
    assert made.key.api_key == SECRET
    assert SECRET not in repr(made)
    assert made.key.encoded not in repr(made)


@pytest.mark.parametrize(("text", "sent"), [("12h", "12h"), ("8w", "56d"), ("3600s", "3600s"), (None, None)])
def test_when_a_key_expires(fake, text, sent):
    key_of(fake, expires=text)
    assert fake.api_keys[0].get("expiration") == sent


@pytest.mark.parametrize("text", ["", "0d", "-1d", "90", "1y", "1d ", "\u0661d", "9999999d"])
def test_a_time_that_is_none(fake, text):
    with pytest.raises(UsageError, match="--expires is wrong"):
        key_of(fake, expires=text)
    assert fake.written == []


def test_a_name_that_no_space_has(fake):
    with pytest.raises(UsageError, match="--space is wrong"):
        key_of(fake, space="*")


def test_a_key_is_never_weaker_than_its_role_says(fake):
    fake.lacking = {"create_doc", "manage_own_api_key"}
    with pytest.raises(NotAllowedError) as caught:
        key_of(fake)
    assert "manage_own_api_key on the cluster, create_doc on logs-lane.eval-*" in caught.value.why
    assert fake.api_keys == []


def test_a_key_cannot_make_a_key(fake):
    with pytest.raises(ConfigError, match="an API key cannot make another one"):
        key_of(fake, connection=Connection(fake.url, api_key="a2V5"))
    assert fake.api_keys == []


def test_without_security_there_are_no_keys(fake):
    fake.secured = False
    with pytest.raises(ConfigError, match="has no API keys") as caught:
        key_of(fake)
    assert "security is off" in caught.value.why


def test_a_dry_run_makes_no_key(fake):
    made = key_of(fake, dry_run=True)
    assert made.key is None
    assert made.as_dict()["role_descriptors"]["lane-eval-writer"]["cluster"] == ["monitor"]
    assert fake.written == []


# --- the command, as a process: what reaches which stream, and the disk ----------------------------------------------


def command(fake, tmp_path: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    root = Path(elkkit.__file__).parents[1]
    home = {n: str(tmp_path) for n in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TMPDIR")}
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("ELKKIT_", "XDG_"))}
    environment = {**kept, **home, "ELKKIT_ES_PASSWORD": "p", "PYTHONPATH": str(root), "NO_COLOR": "1", **more}
    return subprocess.run(
        [sys.executable, "-m", "elkkit", "setup", "--es-url", fake.url, "--es-user", "u", *words],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_key_goes_to_standard_output_and_nowhere_else(fake, tmp_path):
    done = command(fake, tmp_path, "--api-key", "writer", "-vv")
    assert done.returncode == 0, done.stderr
    encoded = fake.api_keys[0]["encoded"]
    assert done.stdout == f"{encoded}\n"
    assert "id-1" in done.stderr
    assert "never expires" in done.stderr
    assert encoded not in done.stderr
    assert SECRET not in done.stderr
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and encoded.encode() in p.read_bytes()]

    told = json.loads(command(fake, tmp_path, "--api-key", "viewer", "--expires", "30d", "--json").stdout)
    data = told["data"]
    assert (data["role"], data["id"], data["api_key"]) == ("viewer", "id-2", "very-secret-2")
    assert data["encoded"] == fake.api_keys[1]["encoded"]
    assert data["expiration"] == 1_800_000_000_000
    assert "2027-01-15" in command(fake, tmp_path, "--api-key", "viewer", "--expires", "30d").stderr


def test_the_dry_run_of_a_key_shows_what_it_would_allow(fake, tmp_path):
    done = command(fake, tmp_path, "--api-key", "importer", "--dry-run")
    assert done.returncode == 0
    assert json.loads(done.stdout)["role_descriptors"]["lane-eval-importer"]["applications"]
    assert "nothing was made" in done.stderr
    assert fake.api_keys == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--api-key", "admin"], "'admin' is not one of 'writer', 'importer', 'viewer'"),
        (["--api-key", "writer", "--check"], "--api-key and --check exclude each other"),
        (["--remove", "--rollover"], "--remove and --rollover exclude each other"),
        (["--expires", "30d"], "--expires has no meaning without --api-key"),
        (["--space", "a"], "--space has no meaning without --api-key"),
        (["--yes"], "--yes has no meaning without --remove"),
    ],
)
def test_options_that_do_not_fit(fake, tmp_path, words, said):
    done = command(fake, tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert fake.asked == []


def test_who_lacks_what_a_key_needs_exits_with_4(fake, tmp_path):
    fake.lacking = {"monitor"}
    done = command(fake, tmp_path, "--api-key", "viewer")
    assert done.returncode == 4
    assert done.stdout == ""
