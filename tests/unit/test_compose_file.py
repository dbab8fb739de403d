"""compose.yaml: of the specification, pinned, on the loopback address only, set up before the first line arrives.

The specification's own schema is no package that tests could depend on. `tests/compose.schema.json` is written by hand
for the part that is used; the file was checked against the whole one when it was written (helm-values/README.md).
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from elkkit.assets import asset
from elkkit.contract import load_contract
from elkkit.render import elasticsearch
from elkkit.render.logstash import PIPELINE_ID
from elkkit.stack.embedded.files import RELEASES

ROOT = Path(__file__).resolve().parents[2]
TEXT = asset("compose.yaml").read_text("utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
ONCE = {"setup"}
LASTING = [name for name in SERVICES if name not in ONCE]
SCHEMA = Draft202012Validator(json.loads((ROOT / "tests" / "compose.schema.json").read_text("utf-8")))
CONTRACT = load_contract()


def mounts(service: str) -> dict[str, str]:
    """What of this folder is mounted where, read-only or not."""
    found = {}
    for volume in SERVICES[service].get("volumes", []):
        if isinstance(volume, str) and volume.startswith("./"):
            source, target, _ = volume.split(":")
            found[target] = source.removeprefix("./")
    return found


def test_it_is_of_the_specification():
    assert [f"{list(e.absolute_path)}: {e.message}" for e in SCHEMA.iter_errors(COMPOSE)] == []


@pytest.mark.parametrize(
    ("service", "wrong"),
    [
        ("kibana", {"imagen": "x"}),
        ("kibana", {"image": "docker.elastic.co/kibana/kibana:latest"}),
        ("kibana", {"environment": {"TELEMETRY_OPTIN": False}}),
        ("filebeat", {"volumes": ["./filebeat/filebeat.yml:/usr/share/filebeat/filebeat.yml"]}),
        ("logstash", {"depends_on": {"setup": {"condition": "service_done"}}}),
        ("logstash", {"mem_limit": 1536}),
        ("kibana", {"healthcheck": {"test": "curl"}}),
    ],
)
def test_the_schema_finds_what_is_wrong(service, wrong):
    services = {**SERVICES, service: {**SERVICES[service], **wrong}}
    assert not SCHEMA.is_valid({**COMPOSE, "services": services})


def test_all_are_of_one_pinned_version():
    tags = {s["image"].rpartition(":")[2] for s in SERVICES.values()}
    assert tags == {RELEASES[0].version}
    assert set(SERVICES) == {"elasticsearch", "kibana", "logstash", "filebeat", *ONCE}


def test_ports_are_bound_to_the_loopback_address():
    assert {name for name in SERVICES if "ports" in SERVICES[name]} == {"elasticsearch", "kibana"}
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\$\{ELKKIT_[A-Z]+_PORT:-(\d+)\}:\1", port), port
        assert "network_mode" not in service


@pytest.mark.parametrize("name", LASTING)
def test_each_has_a_healthcheck_and_comes_back(name):
    assert "curl -fsS http" in SERVICES[name]["healthcheck"]["test"][1].replace("'", "")
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_each_waits_for_what_it_needs():
    assert SERVICES["kibana"]["depends_on"] == {"elasticsearch": {"condition": "service_healthy"}}
    assert SERVICES["setup"]["depends_on"] == {"elasticsearch": {"condition": "service_healthy"}}
    # `up --wait` takes the end of a container for a fault unless a lasting one waits for that end
    assert SERVICES["logstash"]["depends_on"] == {"setup": {"condition": "service_completed_successfully"}}
    assert SERVICES["filebeat"]["depends_on"] == {"logstash": {"condition": "service_healthy"}}
    assert SERVICES["logstash"]["healthcheck"]["test"][1].endswith(f"/_node/pipelines/{PIPELINE_ID}")


def test_what_must_not_be_lost_is_in_a_volume():
    kept = {v.partition(":")[0]: v.partition(":")[2] for s in SERVICES.values() for v in s.get("volumes", [])
            if isinstance(v, str) and not v.startswith(".")}  # fmt: skip
    assert kept == {
        "elasticsearch": "/usr/share/elasticsearch/data",
        "logstash": "/usr/share/logstash/data",
        "filebeat": "/usr/share/filebeat/data",
    }
    assert set(kept) == set(COMPOSE["volumes"])


def test_what_is_mounted_is_there_and_in_the_wheel():
    bundled = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    bundled = bundled["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    sources = [source for name in SERVICES for source in mounts(name).values()]
    assert len(sources) == 5
    for source in sources:
        assert (ROOT / source).exists(), source
        above = [source, *map(str, Path(source).parents)]
        assert any(bundled.get(a) == f"elkkit/_assets/{a}" for a in above), source


def test_logstash_and_filebeat_run_our_files_and_find_each_other():
    pipelines = yaml.safe_load((ROOT / mounts("logstash")["/usr/share/logstash/config/pipelines.yml"]).read_text())
    folder = mounts("logstash")["/usr/share/logstash/pipeline"]
    assert pipelines[0]["path.config"] == "${LOGSTASH_PIPELINE:/usr/share/logstash/pipeline}/*.conf"
    text = (ROOT / folder / "lane-eval.conf").read_text("utf-8")
    assert "ssl" not in text.partition("filter {")[0]
    assert '"${ELKKIT_BEATS_HOST:127.0.0.1}"' in text
    assert SERVICES["logstash"]["environment"]["ELKKIT_BEATS_HOST"] == "0.0.0.0"
    beat = yaml.safe_load((ROOT / mounts("filebeat")["/usr/share/filebeat/filebeat.yml"]).read_text())
    assert beat["output.logstash"]["hosts"] == ["${ELKKIT_LOGSTASH:127.0.0.1:5044}"]
    assert SERVICES["filebeat"]["environment"]["ELKKIT_LOGSTASH"] == "logstash:5044"
    assert "--strict.perms=false" in SERVICES["filebeat"]["command"]


def test_the_scorers_logs_are_read_and_not_written():
    (bind,) = [v for v in SERVICES["filebeat"]["volumes"] if isinstance(v, dict)]
    assert bind["source"] == "${ELKKIT_LOGS:-./logs}"
    assert bind["read_only"] is True
    assert bind["bind"]["create_host_path"] is False
    beat = yaml.safe_load(asset("filebeat", "filebeat.yml").read_text("utf-8"))
    assert beat["filebeat.inputs"][0]["paths"] == [f"${{ELKKIT_LOG_FILES:{bind['target']}/*.log*}}"]


def test_security_is_off_and_the_file_says_why_that_is_acceptable():
    assert SERVICES["elasticsearch"]["environment"]["xpack.security.enabled"] == "false"
    assert "loopback" in TEXT.partition("services:")[0]
    assert not re.search(r"(?i)password[:=] *\S|ELASTIC_PASSWORD", TEXT.partition("services:")[2])


def test_variables_all_have_defaults():
    for variable in re.findall(r"(?<!\$)\$(?:\{[^}]*\}|\w+)", TEXT):
        assert re.fullmatch(r"\$\{ELKKIT_[A-Z_]+:-[^}]+\}", variable), variable


# --- the set-up ------------------------------------------------------------------------------------------------------

CURL = """#!/bin/bash
# stands for Elasticsearch: $THERE names what it has; what is put is written down
method=GET
while [ $# -gt 0 ]; do
  case $1 in
    -X) method=$2; shift ;;
    --data-binary) body=$2; shift ;;
    -o|-w|-H) shift ;;
    http*) url=$1 ;;
  esac
  shift
done
if [ $method = PUT ]; then
  [[ $FAIL && $url == *$FAIL ]] && exit 22
  [ -f "${body#@}" ] || exit 26
  echo "${url#http://elasticsearch:9200/} ${body#@}" >> "$PUT"
elif [[ " $THERE " == *" ${url##*/} "* ]]; then printf 200
else printf 404
fi
"""


def set_up(tmp_path: Path, *, there: str = "", fail: str = "") -> tuple[int, list[list[str]]]:
    """Run the script as the container does, against a curl that writes down what it is asked."""
    (tmp_path / "curl").write_text(CURL)
    (tmp_path / "curl").chmod(0o755)
    (script,) = SERVICES["setup"]["command"]
    assert "$" not in script.replace("$$", "")
    put = tmp_path / "put"
    put.write_text("")
    entry = SERVICES["setup"]["entrypoint"]
    assert entry == ["/bin/bash", "-euc"]
    done = subprocess.run(
        ["bash", entry[1], script.replace("$$", "$")], cwd=ROOT / mounts("setup")["/elkkit"], check=False,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PUT": str(put), "THERE": there, "FAIL": fail}, capture_output=True,
    )  # fmt: skip
    return done.returncode, [line.split() for line in put.read_text().splitlines()]


def test_everything_is_put_under_its_name_and_the_index_template_last(tmp_path):
    code, put = set_up(tmp_path)
    assert code == 0
    folder = asset("logstash", "elasticsearch")
    ours = {p.relative_to(folder).as_posix() for p in folder.rglob("*.json")}
    assert {file for _, file in put} == {f for f in ours if not f.startswith(("bare/", "logsdb/"))}
    apis = {"ilm_policy": "_ilm/policy", "component_template": "_component_template",
            "ingest_pipeline": "_ingest/pipeline", "index_template": "_index_template"}  # fmt: skip
    for name, file in put:
        kind, _, rest = file.partition("/")
        assert name == f"{apis[kind]}/{rest.removesuffix('.json')}"
    assert put[-1][0].startswith("_index_template/")
    order = [file for _, file in put]
    inner, outer = elasticsearch.object_pipeline_name(CONTRACT), elasticsearch.name(CONTRACT)
    assert order.index(f"ingest_pipeline/{inner}.json") < order.index(f"ingest_pipeline/{outer}.json")


def test_what_is_there_stays(tmp_path):
    assert set_up(tmp_path, there="logs-lane.eval") == (0, [])
    code, put = set_up(tmp_path, there="lane-eval@custom")
    assert code == 0
    assert len(put) == 6
    assert not [name for name, _ in put if name.endswith("@custom")]


def test_a_refusal_ends_it_before_the_index_template(tmp_path):
    code, put = set_up(tmp_path, fail="lane-eval@mappings")
    assert code != 0
    assert [name for name, _ in put] == ["_ilm/policy/lane-eval@lifecycle"]
