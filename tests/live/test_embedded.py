"""The embedded Elasticsearch as a real process: its life, its end, two at once, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

import embedded_node
from elkkit.errors import UnreachableError
from elkkit.stack import embedded
from elkkit.stack.embedded import EngineMissingError, files, node
from elkkit.stack.embedded.files import RELEASES, Place
from elkkit.stack.embedded.java import Java, find_javas
from elkkit.stack.embedded.process import lives

pytestmark = pytest.mark.full

USER = """
import sys, threading
from pathlib import Path
from elkkit.stack import embedded
with embedded.using(install=True, state=Path(sys.argv[1])) as engine:
    print(engine.pid, engine.url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Iterator[Path]:
    """A state folder of one's own, with nothing left running in it."""
    embedded_node.available()
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path))
    yield tmp_path
    embedded.down(state=tmp_path)


def elkkit(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "elkkit", *arguments], capture_output=True, text=True, check=False,
        env=environment() | changed, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


@contextmanager
def program(*words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def user(state: Path):
    """Another process that uses the engine; its first line is process number and address."""
    return program("-c", USER, str(state))


def soon(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def home_of(state: Path) -> Path:
    return Place.of(state).home(embedded.would_start(state)[0].version)


def create(url: str, name: str, documents: int = 0) -> Elasticsearch:
    client = Elasticsearch(url)
    client.indices.create(index=name, settings={"number_of_replicas": 0})
    if documents:
        lines = [line for i in range(documents) for line in ({"create": {"_id": str(i)}}, {"n": i})]
        assert not client.bulk(index=name, operations=lines)["errors"]
    return client


# --- its life --------------------------------------------------------------------------------------------------------


def test_it_starts_is_shared_and_ends_with_its_user(state):
    told = []
    with embedded.using(install=True, state=state, tell=told.append) as engine:
        assert told[-1].startswith("starting Elasticsearch")
        assert embedded.running(state) == engine
        with embedded.using(install=False, state=state, tell=told.append) as again:
            assert again == engine
        assert embedded.running(state) == engine  # its inner user is gone, the outer one is not
        assert sum(line.startswith("starting") for line in told) == 1
    assert embedded.ended(engine, 20)
    assert embedded.running(state) is None


def test_it_starts_quickly(state):
    """About 3 s on two idle cores; the limit leaves room for a busy machine."""
    with embedded_node.running(state):
        pass
    begin = time.monotonic()
    with embedded_node.running(state):
        assert time.monotonic() - begin < 20


def test_it_is_reached_on_the_loopback_address_only(state):
    with embedded_node.running(state) as engine:
        port = f":{int(engine.url.rpartition(':')[2]):04X}"
        tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        listening = [line.split()[1] for table in tables for line in table if line.split()[3] == "0A"]
        ours = [address for address in listening if address.endswith(port)]
    loopback = ("0100007F", "0000000000000000FFFF00000100007F")
    assert ours
    assert [a for a in ours if not a.startswith(loopback)] == []


def test_the_death_of_its_user_leaves_no_process(state):
    with user(state) as process:
        pid = int(process.stdout.readline().split()[0])
        home = home_of(state)
        assert lives(pid, home)
        process.kill()
        assert soon(lambda: not lives(pid, home))


def test_it_outlives_one_of_two_users(state):
    with user(state) as first:
        pid, url = first.stdout.readline().split()
        with embedded.using(install=False, state=state) as engine:
            assert (str(engine.pid), engine.url) == (pid, url)
            first.kill()
            first.wait()
            time.sleep(2)
            assert embedded.running(state) == engine
        assert embedded.ended(engine, 20)


def test_two_that_start_at_once_get_the_same(state):
    with user(state) as first, user(state) as second:
        assert first.stdout.readline() == second.stdout.readline() != ""


def test_two_threads_that_start_at_once_get_the_same(state):
    got, go = [], threading.Barrier(3)

    def use() -> None:
        with embedded.using(install=True, state=state) as engine:
            got.append(engine)
            go.wait(60)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    go.wait(60)
    for thread in threads:
        thread.join()
    assert got[0] == got[1]
    assert embedded.ended(got[0], 20)


def test_two_users_of_a_machine_do_not_collide(state):
    with embedded_node.running(state / "a") as a, embedded_node.running(state / "b") as b:
        assert a.url != b.url
        create(a.url, "only-here")
        assert not Elasticsearch(b.url).indices.exists(index="only-here")
        assert embedded.down(state=state / "b").pid == b.pid
        assert embedded.running(state / "a") == a


def test_what_was_acknowledged_survives_a_kill(state):
    with embedded.using(install=True, state=state) as engine:
        create(engine.url, "kept", documents=500)
        os.kill(engine.pid, signal.SIGKILL)
        assert embedded.ended(engine, 10)
        with embedded.using(install=False, state=state) as again:
            assert again.pid != engine.pid
            client = Elasticsearch(again.url)
            client.indices.refresh(index="kept")
            assert client.count(index="kept")["count"] == 500


def test_a_stale_record_with_a_foreign_process_starts_a_new_one(state):
    with embedded_node.running(state):
        pass
    place = Place.of(state)
    record = json.loads(place.record.read_text())
    with program("-c", "import sys; sys.stdin.read()") as other:
        place.record.write_text(json.dumps(record | {"pid": other.pid}))
        place.keep.touch()  # of the old one, and not meant for the new one
        with embedded_node.running(state) as engine:
            assert engine.pid != other.pid
            assert not engine.kept
        assert other.poll() is None


def test_a_start_that_takes_too_long_is_ended_and_says_where_its_log_is(state):
    with pytest.raises(UnreachableError, match=r"was not ready within 0 s") as caught:
        embedded.using(install=True, state=state, ready_seconds=0.3).__enter__()
    assert str(home_of(state) / "logs") in caught.value.hint
    assert not Place.of(state).record.exists()
    running = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(state) not in running


def test_folders_are_private_and_names_may_be_odd(state):
    with embedded_node.running(state / "ä b") as engine:
        create(engine.url, "x", documents=1)
        folders = [engine.data, engine.home, engine.home.parent, state / "ä b"]
        assert [oct(f.stat().st_mode & 0o777) for f in folders] == ["0o700"] * 4


# --- what goes wrong -------------------------------------------------------------------------------------------------


def own_cache(tmp_path: Path, monkeypatch) -> Path:
    """A copy of the fetched jars that a test may damage."""
    release, _ = embedded.would_start()
    with embedded_node.running(tmp_path / "first"):  # fetched and compiled, if they were not
        pass
    engines = release.folder.parent
    for folder in engines.glob(f"{release.folder.name}*"):
        shutil.copytree(folder, tmp_path / "cache" / "engines" / folder.name)
    monkeypatch.setenv("ELKKIT_CACHE", str(tmp_path / "cache"))
    return next((tmp_path / "cache").glob("engines/*/lib/lucene-core-*.jar"))


def needs_maven() -> None:
    if shutil.which("mvn") is None:
        pytest.skip("no Maven here")


def test_a_jar_cut_in_half_is_noticed_and_mended(state, monkeypatch):
    needs_maven()
    jar = own_cache(state, monkeypatch)
    whole, told = jar.read_bytes(), []
    jar.write_bytes(whole[: len(whole) // 2])
    with monkeypatch.context() as patch:
        patch.setattr(node, "find_maven", lambda: None)
        with pytest.raises(EngineMissingError, match="Maven, which fetches the embedded one"):
            embedded.using(install=True, state=state).__enter__()
    with embedded.using(install=True, state=state, tell=told.append):
        assert jar.read_bytes() == whole
    assert told[0].endswith("is damaged; mending it")


def test_a_jar_damaged_inside_is_found_after_a_failed_start(state, monkeypatch):
    needs_maven()
    jar = own_cache(state, monkeypatch)
    whole, told = jar.read_bytes(), []
    jar.write_bytes(bytes(len(whole)))
    with embedded.using(install=True, state=state, tell=told.append):
        assert jar.read_bytes() == whole
    assert f"{jar.name} of Elasticsearch" in told[1]


def test_a_java_without_a_compiler_will_do(tmp_path):
    """As Debian's package `maven` brings it: the compiler then comes through Maven."""
    needs_maven()
    release, java = embedded.would_start()
    with embedded_node.running(tmp_path / "first"):
        pass
    bare = tmp_path / "runtime" / "bin" / "java"
    bare.parent.mkdir(parents=True)
    bare.write_text(f'#!/bin/sh\nexec "{java.program}" "$@"\n')
    bare.chmod(0o755)
    runtime = Java(bare, java.version)
    assert runtime.compiler is None
    told = []
    jar = files.eclipse_compiler(java, Path(shutil.which("mvn")), told.append)
    files.javas.compile_file(
        files.LAUNCHER, release.folder / "lib", tmp_path, java=runtime, release=release.java,
        other_compiler=lambda: jar,
    )  # fmt: skip
    assert (tmp_path / "ElkkitNode.class").stat().st_size > 1000


def test_a_heap_that_the_machine_has_not(state):
    done = elkkit("up", "-d", "--heap", "900g")
    assert done.returncode == 3
    error, why, hint = done.stderr.splitlines()[-3:]
    assert error == "error: the embedded Elasticsearch did not start: there is no memory for a heap of 900g"
    assert why.startswith("why: ")
    assert hint == "hint: elkkit up --heap 512m"
    assert elkkit("status").returncode == 1


def test_data_that_another_node_uses(state):
    with embedded_node.running(state):
        Place.of(state).record.rename(state / "away")
        with pytest.raises(UnreachableError, match="another one uses its data") as caught:
            embedded.using(install=False, state=state).__enter__()
        assert "node.lock" in caught.value.hint
        (state / "away").rename(Place.of(state).record)


def test_the_newer_version_runs_on_a_newer_java(state, monkeypatch):
    newer = next((j for j in find_javas() if j.version >= RELEASES[0].java), None)
    if newer is None:
        pytest.skip("no Java 21 or later here")
    monkeypatch.setenv("JAVA_HOME", str(newer.home))
    with embedded_node.running(state) as engine:
        assert engine.version == RELEASES[0].version
        create(engine.url, "x", documents=1)


# --- as commands -----------------------------------------------------------------------------------------------------


def test_up_detached_status_and_down(state):
    done = elkkit("up", "-d")
    assert done.returncode == 0, done.stderr
    assert "is up: http://127.0.0.1:" in done.stdout
    assert "without authentication" in done.stderr
    time.sleep(1.5)  # its launcher has looked for users, and there is none
    found = json.loads(elkkit("status", "--json").stdout)["data"]
    assert found["engine"]["kept"] is True
    assert (found["documents"], found["origin"]) == (None, None)
    again = elkkit("up")  # does not wait
    assert (again.returncode, "was up already" in again.stdout) == (0, True)
    done = elkkit("down")
    assert (done.returncode, done.stdout) == (
        0, f"ended Elasticsearch {found['version']} (process {found['engine']['pid']})\n",
    )  # fmt: skip
    done = elkkit("down")
    assert (done.returncode, done.stdout) == (0, "no embedded Elasticsearch was running\n")
    assert elkkit("status").returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_in_the_foreground_ends_in_good_order(state, number):
    with program("-m", "elkkit", "up", "--json") as process:
        data = json.loads(process.stdout.readline())["data"]
        assert data["started"] is True
        process.send_signal(number)
        assert process.wait(20) == 0
        assert "Elasticsearch has ended; its data stay" in process.stderr.read()
    assert not lives(data["engine"]["pid"], Path(data["engine"]["home"]))


def test_up_in_the_foreground_notices_down(state):
    with program("-m", "elkkit", "up", "--json") as process:
        process.stdout.readline()
        assert elkkit("down").returncode == 0
        assert process.wait(20) == 0
        assert "by elkkit down or by itself" in process.stderr.read()


def test_up_of_one_that_another_process_uses_lets_it_stay(state):
    with user(state) as process:
        pid = int(process.stdout.readline().split()[0])
        assert elkkit("up", "-d").returncode == 0
    time.sleep(1.5)
    assert embedded.running(state).pid == pid


def test_a_configured_one_is_used_instead(state):
    with embedded_node.running(state / "other") as engine:
        done = elkkit("up", ELKKIT_ES_URL=engine.url)
        assert done.returncode == 0
        assert f"answers at {engine.url} (ELKKIT_ES_URL)" in done.stdout
        assert embedded.running(state) is None
        assert elkkit("status", "--es-url", engine.url).returncode == 0
    assert elkkit("status", "--es-url", engine.url).returncode == 3


def test_data_are_deleted_only_with_a_yes(state):
    with embedded_node.running(state) as engine:
        create(engine.url, "precious", documents=1)
    done = elkkit("down", "--delete-data")
    assert done.returncode == 2
    assert "hint: elkkit down --delete-data --yes" in done.stderr
    assert any((engine.data / "indices").iterdir())
    assert elkkit("down", "--delete-data", "--yes").returncode == 0
    assert not engine.data.exists()
    with embedded_node.running(state) as engine:
        assert not Elasticsearch(engine.url).indices.exists(index="precious")
