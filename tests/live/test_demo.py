"""The demo as a newcomer runs it: into a real Elasticsearch, a second time, and where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import embedded_node

pytestmark = pytest.mark.full
FRAMES = "24"


def demo(folder: Path, state: Path, **variables: str) -> tuple[dict[str, Any], str]:
    """`data` of the command's JSON, and what it says beside."""
    environment = {**os.environ, "ELKKIT_STATE": str(state), **variables}
    command = [sys.executable, "-m", "elkkit", "demo", "--frames", FRAMES, "--out", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["data"], done.stderr


def test_every_line_is_a_document_and_a_second_demo_adds_none(tmp_path):
    embedded_node.available()
    first, told = demo(tmp_path / "logs", tmp_path / "state")
    assert first["documents_found"] == first["lines_written"] == first["elasticsearch"]["created"] == 3 * 16 * 24
    assert first["source"]["kind"] == "elasticsearch"
    assert f"try: elkkit compare --es --run {first['run_id']}" in told
    again, _ = demo(tmp_path / "logs", tmp_path / "state")
    assert again["run_id"] == first["run_id"]
    assert again["written_now"] == again["elasticsearch"]["created"] == 0
    assert again["documents_found"] == again["elasticsearch"]["already_there"] == first["lines_written"]
    assert again["metrics"] == first["metrics"]
    other, _ = demo(tmp_path / "elsewhere", tmp_path / "state")
    assert other["run_id"] != first["run_id"], "times differ, so they must not meet under one id"
    assert other["documents_found"] == other["elasticsearch"]["created"] == first["lines_written"]


def test_without_an_engine_it_reads_the_files_and_says_so(tmp_path):
    nothing = {"PATH": str(tmp_path), "ELKKIT_CACHE": str(tmp_path / "cache")}
    data, told = demo(tmp_path / "logs", tmp_path / "state", **nothing)
    assert data["documents_found"] is None
    assert data["without_elasticsearch"]
    assert data["source"]["kind"] == "files"
    assert data["lines_parsed"] == data["lines_written"] == 3 * 16 * 24
    assert "compared from the log files, since there is no Elasticsearch" in told
    assert "docker compose" in told
    assert f"try: elkkit compare {tmp_path}/logs/*.log" in told
