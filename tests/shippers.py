"""A real Logstash and a real Filebeat for the tests, by environment variable, or a skip."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from elkkit.assets import asset

LOGSTASH, FILEBEAT = os.environ.get("ELKKIT_LOGSTASH"), os.environ.get("ELKKIT_FILEBEAT")
"""Read now, since every test gets an environment without them."""
START = 300
"""Seconds that a shipper may take to do its first work on a busy machine."""


def logstash() -> Path:
    """Logstash's home folder, from `ELKKIT_LOGSTASH`, or a skip."""
    if not LOGSTASH:
        pytest.skip("no real Logstash here: ELKKIT_LOGSTASH names no folder")
    return Path(LOGSTASH)


def filebeat() -> Path:
    """The Filebeat program, from `ELKKIT_FILEBEAT`, or a skip."""
    if not FILEBEAT:
        pytest.skip("no real Filebeat here: ELKKIT_FILEBEAT names no program")
    return Path(FILEBEAT)


def filebeat_command(config: str | Path, data: Path, *options: str) -> list[str | Path]:
    """The words that start Filebeat with one of our files (or a file of the test), its state below `data`."""
    command: list[str | Path] = [
        filebeat(),
        "-e",
        "-c",
        asset("filebeat", config) if isinstance(config, str) else config,
    ]
    command += ["--strict.perms=false", "--path.home", data, "--path.data", data / "data", "-E", "http.enabled=false"]
    return [*command, *options]


def to_file(folder: Path) -> tuple[str, ...]:
    """Options that make Filebeat write its events into a folder, whatever its file says of outputs."""
    off = ("-E", "output.logstash.enabled=false", "-E", "output.elasticsearch.enabled=false")
    return (*off, "-E", f"output.file.path={folder}", "-E", "output.file.filename=out")


def filebeat_events(folder: Path) -> list[dict[str, Any]]:
    """What Filebeat wrote there so far, without a last line that is still being written."""
    paths = sorted(folder.glob("out*"))
    return [json.loads(row) for path in paths for row in path.read_bytes().split(b"\n")[:-1]]


def logstash_command(folder: Path) -> list[str | Path]:
    """The words that start Logstash with our settings, its state and queue below `folder`."""
    home, settings = logstash(), folder / "settings"
    if not settings.exists():
        shutil.copytree(home / "config", settings)
        for name in ("logstash.yml", "pipelines.yml"):
            shutil.copyfile(asset("logstash", "config", name), settings / name)
    command: list[str | Path] = [home / "bin" / "logstash", "--path.settings", settings]
    return [*command, "--path.data", folder / "queue", "--path.logs", folder / "logs"]


def through_logstash(config: Path, lines: list[bytes], work: Path, *, workers: int = 1, **variables: str) -> bytes:
    """What the stdin pipeline prints for some lines; in their order, with one worker."""
    command = [logstash() / "bin" / "logstash", "-f", config, "--path.data", work, "-w", str(workers)]
    done = subprocess.run(
        [*command, "--log.level", "error", "--api.enabled", "false"],
        input=b"".join(line + b"\n" for line in lines),
        capture_output=True,
        check=False,
        env={**os.environ, **variables},
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:].decode("utf-8", "replace")
    return done.stdout


def free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str | Path], log: Path, variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs until the block ends."""
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **variables}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(what, process: subprocess.Popen[bytes], log: Path, seconds: int = START):
    """Wait until `what()` gives something; fail with the program's own words where it ends before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        if process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.3)
    return pytest.fail(f"nothing within {seconds} s:\n{log.read_text(errors='replace')[-3000:]}")
