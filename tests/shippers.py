"""A real Logstash and a real Filebeat for the tests, by environment variable, or a skip."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

LOGSTASH, FILEBEAT = os.environ.get("ELKKIT_LOGSTASH"), os.environ.get("ELKKIT_FILEBEAT")
"""Read now, since every test gets an environment without them."""
START = 120
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
