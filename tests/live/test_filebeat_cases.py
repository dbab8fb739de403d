"""The cases beside Filebeat's files, through a real Filebeat (`ELKKIT_FILEBEAT`): what it sends on of each line.

`ELKKIT_GOLDEN=generate` writes the expected files anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import shippers
from elkkit.assets import asset
from golden_cases import FILEBEAT_DYNAMIC, GENERATE, expected_path
from roads import flat

pytestmark = pytest.mark.full
CASES = {
    "lines.log": ("filebeat.yml", "filebeat-elasticsearch.yml"),
    "containers.log": ("filebeat-kubernetes.yml",),
    "docker.log": ("filebeat-kubernetes.yml",),
}


def sent(config: str, case: Path, work: Path) -> list[dict[str, Any]]:
    """The fields of each event but those that differ from run to run, in the order of the file."""
    logs = work / "logs"
    logs.mkdir()
    shutil.copyfile(case, logs / "lane-detection-0.log")
    variables = {"ELKKIT_LOG_FILES": f"{logs}/*.log*", "ELKKIT_CONTAINERS": f"{logs}/*.log", "NODE_NAME": "here"}
    command = shippers.filebeat_command(config, work, *shippers.to_file(work))
    log = work / "filebeat.log"
    want = len(json.loads(expected_path(case).read_text("utf-8"))) if expected_path(case).exists() else 1
    with shippers.running(command, log, variables) as process:
        shippers.wait_for(lambda: len(shippers.filebeat_events(work)) >= want, process, log)
    events = [flat(e) for e in shippers.filebeat_events(work)]  # a stop sends what was read
    events.sort(key=lambda e: e["log.offset"])
    return [{k: v for k, v in sorted(e.items()) if k not in FILEBEAT_DYNAMIC} for e in events]


@pytest.mark.parametrize(("case", "config"), [(case, config) for case, configs in CASES.items() for config in configs])
def test_what_is_sent_of_each_line(tmp_path, case, config):
    path = asset("filebeat", "cases", case)
    found = sent(config, path, tmp_path)
    if GENERATE:
        rows = ",\n".join(f"  {json.dumps(e)}" for e in found)
        expected_path(path).write_text(f"[\n{rows}\n]\n", "utf-8")
    assert found == json.loads(expected_path(path).read_text("utf-8"))
