"""The embedded engine without an engine: which Java and version, what is ours, and every error in words."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from elkkit.errors import ConfigError, StorageError, UnreachableError
from elkkit.folders import cache_folder, private, state_folder
from elkkit.settings import load_settings
from elkkit.stack import embedded
from elkkit.stack.embedded import EngineMissingError, failure, files, lease, maven, node, process
from elkkit.stack.embedded.files import RELEASES, Place
from elkkit.stack.embedded.java import Java, find_javas
from elkkit.usecases import engine as usecase

ES9, ES8 = RELEASES


def java(version: int) -> Java:
    return Java(Path(f"/java{version}/bin/java"), version)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    """A state and a cache folder of one's own, and no Java and no Maven in sight."""
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ELKKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("elkkit.stack.embedded.java.FOLDERS", ())
    return tmp_path / "state"


# --- folders ---------------------------------------------------------------------------------------------------------


def test_folders_follow_the_variables_and_are_private(tmp_path, monkeypatch):
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path / "a" / "s"))
    monkeypatch.setenv("ELKKIT_CACHE", str(tmp_path / "c"))
    assert (state_folder(), cache_folder()) == (tmp_path / "a" / "s", tmp_path / "c")
    before = os.umask(0)
    try:
        private(state_folder())
    finally:
        os.umask(before)
    assert [p.stat().st_mode & 0o777 for p in (tmp_path / "a", state_folder())] == [0o700, 0o700]
    monkeypatch.delenv("ELKKIT_STATE")
    assert state_folder().parts[-1] == "elkkit"


# --- Java ------------------------------------------------------------------------------------------------------------


def test_javas_are_found_in_order_and_each_once(tmp_path):
    first = program(tmp_path / "first/bin/java", "exit 1")
    (tmp_path / "first/release").write_text('IMPLEMENTOR="x"\nJAVA_VERSION="21.0.3"\n')
    on_path = program(tmp_path / "path/java", "echo 'openjdk version \"17.0.1\" 2021' >&2")
    old = program(tmp_path / "jvm/old/bin/java", "echo 'java version \"1.8.0_292\"' >&2")
    program(tmp_path / "jvm/stub/bin/java", "echo 'Unable to locate a Java Runtime.' >&2; exit 1")
    new = program(tmp_path / "jvm/zulu/bin/java", "echo 'openjdk version \"25\" 2025' >&2")
    (tmp_path / "jvm/again").symlink_to(tmp_path / "first")
    variables = {"JAVA_HOME": str(tmp_path / "first"), "PATH": str(on_path.parent)}
    found = find_javas(variables, [f"{tmp_path}/jvm/*"])
    assert [(j.program, j.version) for j in found] == [(first, 21), (on_path, 17), (new, 25), (old, 8)]
    assert found[0].compiler is None
    program(tmp_path / "first/bin/javac", "")
    assert found[0].compiler == tmp_path / "first/bin/javac"
    assert found[0].home == tmp_path / "first"


def test_a_java_home_that_leads_nowhere_is_passed_over(tmp_path):
    assert find_javas({"JAVA_HOME": str(tmp_path / "gone"), "PATH": ""}, []) == []


@pytest.mark.parametrize(
    ("versions", "expected"),
    [([17], (ES8, 17)), ([21], (ES9, 21)), ([17, 25], (ES8, 17)), ([11, 25], (ES9, 25)), ([11], None), ([], None)],
)
def test_the_first_java_decides_the_version(tmp_path, versions, expected):
    choice = node.choose(Place.of(tmp_path), [java(v) for v in versions])
    assert (choice and (choice[0], choice[1].version)) == expected


def test_data_decide_before_java(tmp_path):
    place = Place.of(tmp_path)
    (place.data(ES8.version) / "_state").mkdir(parents=True)
    assert node.choose(place, [java(21)])[0] == ES9  # no index, so nothing is lost
    (place.data(ES8.version) / "indices" / "uuid").mkdir(parents=True)
    assert node.choose(place, [java(21)])[0] == ES8
    (place.data(ES9.version) / "indices" / "uuid").mkdir(parents=True)
    assert node.choose(place, [java(17), java(21)]) == (ES9, java(21))
    assert node.choose(place, [java(17)])[0] == ES8


# --- what is missing -------------------------------------------------------------------------------------------------


def test_without_java_one_sentence_and_both_ways_out(state):
    with pytest.raises(EngineMissingError) as caught, embedded.using(install=True):
        pass
    error = caught.value
    assert error.message == "no Elasticsearch runs, and the embedded one needs Java 17 or later: there is no Java"
    assert re.search(r"(apt-get|dnf|brew) install .*maven.*, then: elkkit up", error.hint)
    assert re.search(r"docker compose -f \S+/compose\.yaml up -d, then: export ELKKIT_ES_URL=http://127", error.hint)
    assert error.why == "elkkit compare FILES works without"
    assert (error.code, error.exit_code) == ("no_engine", 3)


def test_an_old_java_is_named(state, tmp_path):
    old = program(tmp_path / "programs/java", "echo 'openjdk version \"11.0.2\"' >&2")
    with pytest.raises(EngineMissingError, match=rf"needs Java 17 or later: Java 11 \({old}\) is too old"):
        embedded.using(install=True).__enter__()


def test_without_maven_it_is_named(state, tmp_path):
    program(tmp_path / "programs/java", "echo 'openjdk version \"17\"' >&2")
    with pytest.raises(EngineMissingError, match="Maven, which fetches the embedded one, is not on the PATH"):
        embedded.using(install=True).__enter__()
    assert not embedded.installed()


def test_nothing_is_downloaded_unless_wanted(state, tmp_path):
    program(tmp_path / "programs/java", "echo 'openjdk version \"17\"' >&2")
    program(tmp_path / "programs/mvn", f": > {tmp_path}/called; exit 1")
    with pytest.raises(EngineMissingError, match="not fetched yet") as caught:
        embedded.using(install=False).__enter__()
    assert caught.value.hint.startswith("elkkit up  fetches it (about 41 MB, once)")
    assert not (tmp_path / "called").exists()
    with pytest.raises(UnreachableError, match="cannot fetch Elasticsearch with Maven: it said nothing"):
        embedded.using(install=True).__enter__()


# --- jars ------------------------------------------------------------------------------------------------------------


def test_every_jar_has_a_pin():
    for release in RELEASES:
        pins = release.pins
        assert len(pins) == 47
        assert all(re.fullmatch(r"[0-9a-f]{64}", d) and n.endswith(".jar") for n, d in pins.items())
        assert f"elasticsearch-{release.version}.jar" in pins
        assert f"transport-netty4-{release.version}.jar" in pins


def fake_maven(folder: Path, *contents: str) -> Path:
    """A Maven that copies `a.jar` with one content after the other, and notes how it was called."""
    for i, content in enumerate(contents):
        (folder / f"content{i}").write_text(content)
    text = f"""n=$(cat {folder}/n 2>/dev/null || echo 0); echo $((n + 1)) > {folder}/n; echo "$@" >> {folder}/calls
for a in "$@"; do case $a in -DoutputDirectory=*) out=${{a#*=}};; esac; done
mkdir -p $out; cp {folder}/content$n $out/a.jar"""
    return program(folder / "mvn", text)


def fetch(folder: Path, told: list[str], program: Path) -> None:
    pins = {"a.jar": hashlib.sha256(b"right").hexdigest()}
    maven.fetch(["g:a:1"], pins, folder / "jars", maven=program, java=java(17), tell=told.append)


def test_a_damaged_jar_is_fetched_anew_past_the_local_repository(tmp_path):
    told = []
    fetch(tmp_path, told, fake_maven(tmp_path, "wrong", "right"))
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert "--strict-checksums" in first
    assert "maven.repo.local" not in first
    assert f"-Dmaven.repo.local={tmp_path}/jars-repository" in second
    assert told == ["a.jar of Maven's local repository is damaged; fetching it anew"]
    assert (tmp_path / "jars" / "a.jar").read_text() == "right"
    assert not list(tmp_path.glob("maven-*"))


def test_a_jar_that_stays_wrong_is_an_error_that_names_it(tmp_path):
    with pytest.raises(UnreachableError, match=r"Maven gave a wrong a\.jar: its SHA-256 is not the one"):
        fetch(tmp_path, [], fake_maven(tmp_path, "wrong", "wrong"))


def test_a_jar_that_nobody_knows_is_refused(tmp_path):
    (tmp_path / "a.jar").write_bytes(b"right")
    pins = {"a.jar": hashlib.sha256(b"right").hexdigest()}
    assert maven.damaged(tmp_path, pins) is None
    (tmp_path / "b.jar").touch()
    assert maven.damaged(tmp_path, pins) == "b.jar"


def test_maven_is_called_with_our_java_where_no_project_is(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/gone")
    text = f'echo "$JAVA_HOME" > {tmp_path}/java; pwd > {tmp_path}/where; mkdir -p {tmp_path}/jars'
    with pytest.raises(UnreachableError):
        fetch(tmp_path, [], program(tmp_path / "mvn", text))
    assert (tmp_path / "java").read_text() == "/java17\n"
    assert Path((tmp_path / "where").read_text().strip()) != Path.cwd()


def test_a_full_disk_under_maven(tmp_path):
    text = "echo '[ERROR] Failed to execute goal x: /a.jar: No space left on device -> [Help 1]'; exit 1"
    with pytest.raises(StorageError, match="Maven: No space left on device"):
        fetch(tmp_path, [], program(tmp_path / "mvn", text))


def test_mavens_own_words():
    output = (
        "\x1b[1;31m[ERROR] x\x1b[m\n[ERROR] Plugin p:1 or one of its dependencies could not be resolved: Could not "
        "transfer artifact p:pom:1 from/to central (https://repo): Connection refused -> [Help 1]\n[ERROR] \n"
    )
    assert maven.words(output.split("\n", 1)[1]) == (
        "Could not transfer artifact p:pom:1 from/to central (https://repo): Connection refused"
    )
    assert maven.words("The JAVA_HOME environment variable is not defined correctly\n").startswith("The JAVA_HOME")
    long = maven.words(f"[ERROR] begin {'x' * 1000} the end")
    assert long.startswith("begin")
    assert long.endswith("the end")
    assert len(long) < 420


def test_sizes_are_looked_at(state):
    assert files.broken_size(ES8) == "sizes.json"
    (ES8.folder / "lib").mkdir(parents=True)
    (ES8.folder / "lib" / "a.jar").write_bytes(b"12345")
    (ES8.folder / "sizes.json").write_text('{"lib/a.jar": 5}')
    assert files.broken_size(ES8) is None
    (ES8.folder / "lib" / "a.jar").write_bytes(b"12")
    assert files.broken_size(ES8) == "lib/a.jar"
    (ES8.folder / "lib" / "a.jar").unlink()
    assert files.broken_size(ES8) == "lib/a.jar"
    (ES8.folder / "sizes.json").write_text("[1")
    assert files.broken_size(ES8) == "sizes.json"


def test_a_file_is_replaced_whole(tmp_path):
    (tmp_path / "x").write_text("old")
    files.write(tmp_path / "x", b"new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"x": "new"}


# --- the node's files and process ------------------------------------------------------------------------------------


def test_the_node_listens_on_the_loopback_address_only(state):
    home = Place.of(None).home(ES8.version)
    private(home / "logs")
    (home / "logs" / "http.ports").write_text("127.0.0.1:1\n")
    files.prepare_home(home, ES8, "abc")
    settings = dict(line.split(": ") for line in (home / "config/elasticsearch.yml").read_text().splitlines())
    assert settings["network.host"] == "127.0.0.1"
    assert settings["cluster.name"] == "elkkit-abc"
    assert settings["http.port"] == "19200-19299"
    assert not (home / "logs" / "http.ports").exists()  # of a node that is gone
    linked = (home / "lib" / "platform").glob("*/libzstd.*")
    assert settings["node.attr.zstd"] == f'"{str(any(p.exists() for p in linked)).lower()}"'
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("heap", ["512m", "1g", "2G", "128M"])
def test_heaps(heap):
    assert process.checked_heap(heap) == heap


@pytest.mark.parametrize("heap", ["", "512", "64m", "0g", "-1g", "1t", "512m -Xint", "１g"])
def test_heaps_that_are_none(heap):
    with pytest.raises(ConfigError, match="the heap's size is wrong"):
        process.checked_heap(heap)


def record(place: Place, **changed: object) -> None:
    private(place.root)
    values = {"pid": os.getpid(), "token": "abc", "version": ES8.version, "url": "http://127.0.0.1:9"}
    place.record.write_text(json.dumps(values | changed))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "token": "a", "version": "8.19.9"}',
     '{"pid": "9", "token": "a", "version": "8.19.9"}', '{"pid": 99, "token": "a", "version": "../.."}',
     '{"pid": 99, "token": "", "version": "8.19.9"}', '{"pid": 99, "token": "a", "version": "8.19.9", "x": 1}'],
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_none(state, text):
    place = Place.of(None)
    private(place.root)
    place.record.write_text(text)
    assert process.read_record(place) is None
    assert embedded.running() is None
    assert embedded.down() is None


def test_a_process_of_somebody_else_is_not_ours(state):
    """A stale record whose process number has been given to another program: that one must not be ended."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record(Place.of(None), pid=other.pid)
        assert embedded.running() is None
        assert embedded.down(seconds=0.1) is None
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_ours_is_known_by_its_token(state):
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "-Delkkit.token=abc", "x"])
    try:
        place = Place.of(None)
        record(place, pid=ours.pid)
        for _ in range(100):  # until the child is Python
            if process.alive(process.read_record(place)):
                break
            time.sleep(0.05)
        record(place, pid=ours.pid, token="ab")
        assert embedded.down(seconds=0.1) is None
        record(place, pid=ours.pid)
        place.keep.touch()
        ended = embedded.down()
        assert (ended.pid, ended.kept) == (ours.pid, False)
        assert not place.keep.exists()
        assert ours.wait(10) is not None
    finally:
        ours.kill()
        ours.wait()


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(self.server.told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"cluster_name": "elkkit-abc", "status": "green"}, "green"),
        ({"cluster_name": "elkkit-abc", "status": "yellow", "initializing_shards": 0}, "green"),
        ({"cluster_name": "elkkit-abc", "status": "yellow", "initializing_shards": 1}, "yellow"),
        ({"cluster_name": "elkkit-abc", "status": "red"}, "red"),
        ({"cluster_name": "elkkit-abd", "status": "green"}, None),
        (["green"], None),
    ],
)
def test_whoever_answers_at_our_address_must_be_our_cluster(monkeypatch, told, expected):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # loopback is never asked for through a proxy
    server = http.server.HTTPServer(("127.0.0.1", 0), Health)
    server.told = told
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert process.health(f"http://127.0.0.1:{server.server_port}", "abc", 5) == expected
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- locks -----------------------------------------------------------------------------------------------------------

TRY = """
import fcntl, sys
try:
    fcntl.lockf(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("free")
except OSError:
    print("held")
"""


def seen_from_outside(path: Path) -> str:
    return subprocess.run([sys.executable, "-c", TRY, path], capture_output=True, text=True, check=True).stdout.strip()


def test_a_lease_lasts_until_its_last_user_in_the_process_is_gone(tmp_path):
    path = tmp_path / "lease"
    with lease.lease(path, seconds=1):
        with lease.lease(path, seconds=1):
            assert seen_from_outside(path) == "held"
        assert seen_from_outside(path) == "held"
    assert seen_from_outside(path) == "free"


def test_a_lease_waits_for_a_node_that_ends(tmp_path):
    path = tmp_path / "lease"
    hold = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(); sys.stdin.read()"
    )
    node = subprocess.Popen([sys.executable, "-c", hold, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with node:
        node.stdout.readline()
        with pytest.raises(TimeoutError):
            lease.lease(path, seconds=0.2).__enter__()
        threading.Timer(0.3, node.stdin.close).start()
        with lease.lease(path, seconds=20):
            assert node.wait(10) == 0


def test_starters_go_one_by_one(tmp_path):
    told = []
    with open(tmp_path / "starting", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(0.3, lambda: fcntl.flock(other, fcntl.LOCK_UN)).start()
        with lease.alone(tmp_path / "starting", lambda: told.append("waits")):
            assert told == ["waits"]


# --- why it did not start --------------------------------------------------------------------------------------------

TRACE = """java.lang.IllegalStateException: outer
\tat org.elasticsearch.node.Node.<init>(Node.java:1)
Caused by: org.elasticsearch.Inner: the real reason
\tat x
"""


@pytest.mark.parametrize(
    ("java_log", "log", "code", "kind", "said"),
    [
        ("Could not reserve enough space for 1KB object heap\n", "", 1, UnreachableError,
         ["no memory for a heap of 1g", "Could not reserve", "--heap 512m"]),
        ("# There is insufficient memory for the Java Runtime Environment to continue.\n", "", 1, UnreachableError,
         ["no memory for a heap of 1g", "There is insufficient memory"]),
        ("", "", -9, UnreachableError, ["signal 9", "memory"]),
        ("Invalid maximum heap size: -Xmx1q\n", "", 1, ConfigError, ["a heap of 1g is not possible"]),
        ("Error: x\n\tjava.lang.UnsupportedClassVersionError: class file version 65.0\n", "", 1, ConfigError,
         ["too old", "version 65.0", "JAVA_HOME="]),
        ("Caused by: java.io.IOException: No space left on device\n", "", 1, StorageError,
         ["no space is left", "free some space"]),
        ("", "[2026][ERROR][o.e.x] java.io.IOException: No space left on device\n", 1, StorageError, ["no space"]),
        ("Caused by: java.lang.IllegalStateException: failed to obtain node locks, tried [/x]\n", "", 1,
         UnreachableError, ["another one uses its data", "is locked", "fuser"]),
        (TRACE, "", 1, UnreachableError, ["did not start: Inner: the real reason", "java.log"]),
        ("", "[2026][ERROR][o.e.Old] before\n[2026][WARN ][o.e.X] no\n[2026][ERROR][o.e.X] bad thing\n", 1,
         UnreachableError, ["did not start: bad thing"]),
        ("Error: Could not find or load main class ElkkitNode\n", "", 1, UnreachableError, ["Could not find or load"]),
        ("", "", 143, UnreachableError, ["ended while it started"]),
        ("", "", 1, UnreachableError, ["Java ended with 1 and said nothing"]),
    ],
)  # fmt: skip
def test_a_failed_start_is_told_in_words(tmp_path, java_log, log, code, kind, said):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "java.log").write_text(java_log)
    earlier = "[2025][ERROR][o.e.Old] No space left on device, a year ago\n"
    (tmp_path / "logs" / "elasticsearch.log").write_text(earlier + log)
    error = failure.failure(tmp_path, code, "1g", len(earlier))
    assert type(error) is kind
    text = f"{error} {error.hint}"
    assert [s for s in said if s not in text] == []


def test_a_full_disk_that_takes_no_log_either(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    (tmp_path / "logs").mkdir()
    assert type(failure.failure(tmp_path, 1, "1g", 0)) is StorageError


def test_a_state_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Exception, match=r"Not a directory|File exists") as caught:
        embedded.using(install=False, state=tmp_path / "file").__enter__()
    assert caught.value.exit_code == 2


# --- use cases -------------------------------------------------------------------------------------------------------


def test_status_without_any(state):
    found = usecase.status(load_settings({}))
    assert (found.url, found.exit_code, found.error) == (None, 1, None)
    assert (found.startable.possible, found.startable.javas, found.startable.maven) == (False, (), None)
    assert not state.exists()  # looking makes nothing


def test_status_of_a_configured_one_that_does_not_answer(state):
    found = usecase.status(load_settings({"es_url": "http://127.0.0.1:9"}))
    assert (found.url, found.origin, found.exit_code) == ("http://127.0.0.1:9", "--es-url", 3)
    assert isinstance(found.error, UnreachableError)


def test_down_without_any_touches_nothing(state):
    assert usecase.down() == usecase.Down(None, (), ())
    assert usecase.down(delete_data=True) == usecase.Down(None, (), ())
    assert not state.exists()


def test_down_deletes_data_only_when_told(state):
    place = Place.of(None)
    (place.data(ES8.version) / "indices").mkdir(parents=True)
    (place.data(ES8.version) / "indices" / "x").write_bytes(b"123")
    kept = usecase.Data(ES8.version, place.data(ES8.version), 3)
    assert usecase.down().kept == (kept,)
    assert usecase.down(delete_data=True).deleted == (kept,)
    assert not place.data(ES8.version).exists()
    assert place.home(ES8.version).exists()
