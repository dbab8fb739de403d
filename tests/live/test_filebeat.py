"""The Filebeat files in a real Filebeat (`ELKKIT_FILEBEAT`), started, since its own check does not look at inputs."""

from __future__ import annotations

import json

import pytest

import opensearch_node
import shippers
from elkkit.contract import load_contract
from shippers import filebeat_command, filebeat_events, to_file

CONTRACT = load_contract()
ID = "0a46c03b90b5b8b6ae31d4b74b34c00e"
LINES = ["IoU : 0.5", json.dumps({"message": "IoU : 0.25", "event.id": ID}), "%{message} ${HOME} {{x}}", "{'a': 1"]


@pytest.mark.full
@pytest.mark.parametrize("config", ["filebeat.yml", "filebeat-elasticsearch.yml"])
def test_short_files_and_files_that_begin_alike_are_read_as_they_are(tmp_path, config):
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("a.log", "b.log"):
        (logs / name).write_text("".join(f"{line}\n" for line in LINES))
    command = filebeat_command(config, tmp_path, *to_file(tmp_path))
    log = tmp_path / "filebeat.log"
    with shippers.running(command, log, {"ELKKIT_LOG_FILES": str(logs / "*.log*")}) as process:
        found = shippers.wait_for(lambda: len(e := filebeat_events(tmp_path)) >= 8 and e, process, log)
    assert sorted(e["message"] for e in found) == sorted(LINES * 2)
    assert all("_id" not in e["@metadata"] for e in found)
    assert {e["log"]["file"]["path"] for e in found} == {str(logs / n) for n in ("a.log", "b.log")}
    assert not {"agent", "ecs", "input"} & {k for e in found for k in e}


@pytest.mark.full
def test_container_logs_lose_their_prefix_and_are_joined(tmp_path):
    pods = tmp_path / "pods"
    containers = tmp_path / "containers"
    pods.mkdir()
    containers.mkdir()
    stamp = "2026-11-22T10:00:00.123456789Z stdout"
    (pods / "0.log").write_text(f"{stamp} F IoU : 0.5\n{stamp} P Reca\n{stamp} F ll : 0.25\n")
    (containers / "lane-detection_x.log").symlink_to(pods / "0.log")
    command = filebeat_command("filebeat-kubernetes.yml", tmp_path, *to_file(tmp_path))
    log = tmp_path / "filebeat.log"
    variables = {"ELKKIT_CONTAINERS": str(containers / "*lane-detection*.log"), "NODE_NAME": "here"}
    with shippers.running(command, log, variables) as process:
        found = shippers.wait_for(lambda: len(e := filebeat_events(tmp_path)) >= 2 and e, process, log)
    assert [e["message"] for e in found] == ["IoU : 0.5", "Recall : 0.25"]
    assert {e["@timestamp"] for e in found} == {"2026-11-22T10:00:00.123Z"}


@pytest.mark.full
@pytest.mark.timeout(400)
def test_straight_into_the_stream_by_the_ingest_pipeline(tmp_path):
    shippers.filebeat()
    logs = tmp_path / "logs"
    logs.mkdir()
    ids = [f"{n:032x}" for n in range(500)]
    rows = [json.dumps({"message": f"IoU : {n / 500}", "event.id": i}) for n, i in enumerate(ids)]
    (logs / "scores.log").write_text("\n".join([*rows, "Recall : 0.25", "ordinary text", "Recall : 0,25", ""]))
    with opensearch_node.running(tmp_path / "opensearch") as node, opensearch_node.elasticsearch_front(node) as url:
        opensearch_node.install(node, CONTRACT)

        variables = {"ELKKIT_LOG_FILES": str(logs / "*.log*"), "ELKKIT_ELASTICSEARCH_URL": url}
        for registry, wanted in (("first", 502), ("second", 504)):
            log = tmp_path / f"{registry}.log"
            (tmp_path / registry).mkdir()
            command = filebeat_command("filebeat-elasticsearch.yml", tmp_path / registry)
            with shippers.running(command, log, variables) as process:
                shippers.wait_for(lambda n=wanted: node.stored(CONTRACT.stream, n), process, log)
        body = {"size": 1000, "query": {"exists": {"field": "event.id"}}}
        hits = node.call("POST", f"/{CONTRACT.stream}/_search", body)["hits"]["hits"]
        assert sorted(h["_id"] for h in hits) == ids
        assert node.stored(CONTRACT.stream, 504) == 504, (
            "500 lines with an id once, two plain lines twice, no ordinary text"
        )
