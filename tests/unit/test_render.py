"""The generated files: up to date, complete, and safe to hand to the engines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from elkkit.assets import assets_root
from elkkit.contract import load_contract
from elkkit.contract.extend import extend
from elkkit.errors import InternalError
from elkkit.render import OUTPUTS, elasticsearch, generate_all
from elkkit.render.templates import NOTE, ascii_only, helm_template, lscl, ruby_string
from elkkit.render.tree import difference, stale, write

CONTRACT = load_contract()
FILES = generate_all(CONTRACT)


def test_committed_files_are_up_to_date():
    assert "".join(difference(assets_root(), FILES)) == ""


def test_generating_twice_gives_the_same():
    assert generate_all(CONTRACT) == FILES
    assert len(FILES) == len(OUTPUTS)


@pytest.mark.parametrize("path", [p for p in FILES if not p.startswith("kibana/")])  # bodies of APIs: nowhere to say it
def test_every_file_says_that_it_is_generated(path):
    if path.endswith(".json"):
        assert NOTE in json.dumps(json.loads(FILES[path]))
    else:
        assert FILES[path].splitlines()[0] == f"# {NOTE}"
    assert FILES[path].endswith("\n")


@pytest.mark.parametrize("path", FILES)
def test_no_file_names_a_machine(path):
    assert not re.search(r"/work\b|/root\b|/home/|\b(?:10|172|192)\.\d+\.\d+\.\d+", FILES[path])


def test_check_shows_changed_missing_and_stale_files(tmp_path):
    for folder in ("logstash", "filebeat", "helm-values", "kibana"):
        (tmp_path / folder).mkdir()
    changed = write(tmp_path, FILES)
    assert changed == list(FILES)
    assert list(difference(tmp_path, FILES)) == []
    assert write(tmp_path, FILES) == []

    first, second, *_ = FILES
    (tmp_path / first).write_text("{}\n")
    (tmp_path / second).unlink()
    (tmp_path / "logstash" / "old.conf").write_text(f"# {NOTE}\n")
    (tmp_path / "logstash" / "mine.conf").write_text("# mine\n")
    (tmp_path / "logstash" / "not-text").write_bytes(b"\xff\xfe")
    diff = "".join(difference(tmp_path, FILES))
    assert f"--- a/{first}" in diff
    assert f"+++ b/{second}" in diff
    assert "--- a/logstash/old.conf" in diff
    assert "mine" not in diff
    assert stale(tmp_path, FILES) == ["logstash/old.conf"]
    assert sorted(write(tmp_path, FILES)) == sorted([first, second, "logstash/old.conf"])
    assert list(difference(tmp_path, FILES)) == []


def test_the_command(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "elkkit.render", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert run("--check").returncode == 0
    assert run("--help").stdout.startswith("usage: tools/render")
    assert run("--nonsense").returncode == 2


# --- strings of other languages --------------------------------------------------------------------------------------


def test_strings_that_a_language_cannot_hold_are_refused():
    assert lscl('say "a"') == "'say \"a\"'"
    for wrong in ("both ' and \"", "ends with \\", "${HOME}"):
        with pytest.raises(InternalError):
            lscl(wrong)
    for wrong in ("til~de", "two \\\\ slashes", "ends with \\"):
        with pytest.raises(InternalError):
            ruby_string(wrong)
    assert ascii_only("[\ufeff\u00a0é]") == r"[\ufeff\u00a0\u00e9]"
    with pytest.raises(InternalError):
        ascii_only("\U0001f6a6")


def test_helm_gives_back_what_it_was_given():
    written = helm_template("a {{ b }} {{{c")
    assert re.sub(r'\{\{ "\{\{" \}\}', "{{", written) == "a {{ b }} {{{c"


# --- Elasticsearch ---------------------------------------------------------------------------------------------------


def mapped(properties: dict, above: str = "") -> dict[str, dict]:
    found = {}
    for name, mapping in properties.items():
        if "properties" in mapping:
            found |= mapped(mapping["properties"], f"{above}{name}.")
        else:
            found[f"{above}{name}"] = mapping
    return found


def test_mappings_hold_every_field_and_nothing_else():
    template = json.loads(elasticsearch.mappings_template(CONTRACT))
    mappings = template["template"]["mappings"]
    found = mapped(mappings["properties"])
    assert {n: m["type"] for n, m in found.items()} == {f.name: f.type for f in CONTRACT.fields.values()}
    assert mappings["dynamic"] is False
    assert found["metricscores"] == {"type": "double", "ignore_malformed": False}
    assert found["event.dataset"] == {"type": "constant_keyword", "value": "lane.eval"}


def test_bare_template_uses_only_types_of_a_bare_server():
    body = json.loads(elasticsearch.bare_mappings_template(CONTRACT))
    kinds = {m["type"] for m in mapped(body["template"]["mappings"]["properties"]).values()}
    assert not kinds & {"constant_keyword", "match_only_text", "scaled_float", "wildcard", "unsigned_long"}
    assert "data_stream" not in json.loads(elasticsearch.bare_index_template(CONTRACT))


def test_index_template_wins_over_the_built_in_one_and_takes_the_stream():
    body = json.loads(elasticsearch.index_template(CONTRACT))
    assert body["priority"] > 100
    assert body["data_stream"] == {}
    assert body["index_patterns"] == ["logs-lane.eval-*"]
    parts = {p.rsplit("/", 1)[1].removesuffix(".json") for p in FILES if "/component_template/" in p}
    assert set(body["composed_of"]) == parts


def test_file_names_are_the_ids_that_the_files_use():
    inner = elasticsearch.object_pipeline_name(CONTRACT)
    pipelines = [p.rsplit("/", 1)[1] for p in FILES if "/ingest_pipeline/" in p]
    assert pipelines == [f"{inner}.json", f"{elasticsearch.name(CONTRACT)}.json"]
    called = {s["pipeline"]["name"] for s in json.loads(FILES[path_of(pipelines[1])])["processors"] if "pipeline" in s}
    assert called == {inner}
    settings = json.loads(elasticsearch.settings_template(CONTRACT))["template"]["settings"]["index"]
    assert f"{settings['lifecycle']['name']}.json" in [p.rsplit("/", 1)[1] for p in FILES]


def path_of(name: str) -> str:
    return next(p for p in FILES if p.endswith(f"/{name}"))


def test_no_text_of_a_line_reaches_a_template_of_the_pipeline():
    """Mustache is filled in only with the server's own words."""
    for name in ("lane-eval.json", "lane-eval-object.json"):
        used = re.findall(r"\{\{\{?([^}]*)\}", FILES[path_of(name)])
        assert set(used) <= {"_ingest.timestamp", "_ingest.on_failure_message"}


def test_a_contract_of_ones_own_renders():
    own = extend(
        CONTRACT,
        dataset="road.signs",
        own_metrics="listed",
        metrics={"mAP@0.5": {"better": "higher", "aliases": ["m-AP/50 (COCO)"]}},
        fields={"model.backbone": {}, "frame.weight": {"type": "double"}, "run.started": {"type": "date"}},
    )
    files = generate_all(own)
    assert '"m-ap/50 (coco)" => "mAP@0.5"' in files["logstash/pipeline/lane-eval.conf"]
    assert 'data_stream_dataset => "road.signs"' in files["logstash/pipeline/lane-eval.conf"]
    assert "bad_own" not in files["logstash/elasticsearch/ingest_pipeline/lane-eval.json"].replace("work.bad_own", "")
    assert "model.backbone" in files["logstash/elasticsearch/ingest_pipeline/lane-eval-object.json"]


def test_data_view_shows_small_scores():
    view = json.loads(FILES["kibana/data-view.json"])["data_view"]
    assert view["title"] == "logs-lane.eval-*"
    assert set(view["fieldFormats"]) == {"metricscores"}
    assert view["fieldFormats"]["metricscores"]["params"]["pattern"] == "0,0.[000000]"  # Kibana's own has 3 decimals


# --- Filebeat and Logstash -------------------------------------------------------------------------------------------

FILEBEATS = [p for p in FILES if p.startswith("filebeat/")]


@pytest.mark.parametrize("path", FILEBEATS)
def test_filebeat_loses_no_file_and_parses_nothing(path):
    config = yaml.safe_load(FILES[path])
    (source,) = config["filebeat.inputs"]
    assert source["type"] == "filestream"
    assert source["id"].startswith("elkkit-")
    assert source["file_identity.native"] is None
    assert "file_identity.native" in source
    assert source["prospector.scanner.fingerprint.enabled"] is False
    assert "ndjson" not in FILES[path]
    assert len([k for k in config if k.startswith("output.")]) == 1
    assert config["setup.template.enabled"] is False


def test_filebeat_ids_differ():
    ids = [yaml.safe_load(FILES[p])["filebeat.inputs"][0]["id"] for p in FILEBEATS if "elasticsearch" not in p]
    assert len(set(ids)) == len(ids)


def test_settings_keep_acknowledged_lines():
    settings = yaml.safe_load(FILES["logstash/config/logstash.yml"])
    assert settings["queue.type"] == "persisted"
    assert settings["dead_letter_queue.enable"] is True
    assert settings["api.http.host"] == "127.0.0.1"
    (pipeline,) = yaml.safe_load(FILES["logstash/config/pipelines.yml"])
    assert pipeline["queue.type"] == "persisted"
    assert Path(pipeline["path.config"]).name == "*.conf"
