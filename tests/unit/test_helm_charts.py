"""The committed Helm values: of their schemas, with the generated files inside, and at one with each other."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import yaml
from jsonschema import Draft202012Validator

import lscl
from elkkit.assets import asset
from elkkit.contract import load_contract
from elkkit.contract.extend import extend
from elkkit.render import filebeat, generate_all, helm, logstash
from elkkit.render.helm_options import KINDS, SIZES
from elkkit.usecases.helm_values import faults

CONTRACT = load_contract()
FILES = {p: t for p, t in generate_all(CONTRACT).items() if p.startswith("helm-values/")}
VALUES = {p: yaml.safe_load(t) for p, t in FILES.items()}
HELM_ACTION = re.compile(r'\{\{ "\{\{" \}\}')


def of(kind: str, size: str, chart: str) -> dict:
    return VALUES[helm.path(kind, size, chart)]


def undo_tpl(text: str) -> str:
    """What Helm's own templates make of a text of ours; any other action of theirs would be a mistake."""
    assert "{{" not in HELM_ACTION.sub("", text)
    return HELM_ACTION.sub("{{", text)


def leaves(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_there_is_a_file_for_every_chart_kind_and_size():
    assert set(FILES) == {helm.path(k, s, c) for k in KINDS for s in SIZES for c in helm.CHARTS[k]}


# --- schemas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES)
def test_values_are_of_their_schema(path):
    assert faults(path.rsplit("/", 1)[1].removesuffix(".yaml"), FILES[path]) == []


def test_schemas_are_schemas_and_let_nothing_unknown_in():
    folder = asset("helm-values", "schemas")
    assert {p.stem for p in folder.glob("*.json")} == {"types", *(c for k in KINDS for c in helm.CHARTS[k])}
    for path in folder.glob("*.json"):
        schema = json.loads(path.read_text("utf-8"))
        Draft202012Validator.check_schema(schema)
        for part in objects(schema):
            if part.get("type") == "object" and "properties" in part and "propertyNames" not in part:
                assert "additionalProperties" in part, path.name


def objects(value):
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)


@pytest.mark.parametrize(
    ("chart", "old", "new"),
    [
        ("eck-stack", 'version: "9.5.0"', 'version: "7.17.0"'),
        ("eck-stack", "readOnly: true}", "readOnly: false}"),
        ("eck-stack", "privileged: false", "privileged: true"),
        ("eck-stack", "  type: filebeat\n", "  type: filebeat\n  image: evil/filebeat\n"),
        ("eck-stack", 'storage: "20Gi"', "storage: 20"),
        ("eck-stack", "queue.type: persisted", "queue.type: memory"),
        ("eck-stack", "enabled: true", "enabled: true\n  enabled_: true"),
    ],
)
def test_a_schema_finds_what_is_wrong(chart, old, new):
    text = FILES[helm.path("eck", "small", chart)]
    assert text.count(old) >= 1
    assert faults(chart, text.replace(old, new)) != []


def test_a_text_that_is_no_yaml_is_a_fault():
    assert faults("eck-stack", "a: [")[0].startswith("not YAML")
    assert faults("eck-stack", "just text")[0].startswith("the whole")


# --- what is inside --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("contract", [
    CONTRACT,
    extend(CONTRACT, dataset="pose.eval", namespace="night", metrics={"PCK ä/(x)": {"aliases": ["pck_0.2"]}}),
], ids=["ours", "extended"])  # fmt: skip
def test_values_hold_the_generated_files(size, contract):
    text = helm.values(contract, "eck", size)["eck-stack"]
    eck = yaml.safe_load(text)
    assert eck["eck-logstash"]["pipelines"][0]["config.string"] == logstash.pipeline(contract, helm.ON_ECK)
    assert eck["eck-logstash"]["config"] == yaml.safe_load(logstash.settings(contract, everywhere=True))
    inside = text[text.index("  config:\n", text.index("eck-beats:")) + 10 : text.index("  serviceAccount:")]
    assert re.sub(r"(?m)^ {4}", "", inside) == filebeat.kubernetes(contract)
    assert eck["eck-beats"]["config"] == yaml.safe_load(filebeat.kubernetes(contract))

    classic = {chart: yaml.safe_load(t) for chart, t in helm.values(contract, "classic", size).items()}
    shipper = classic["logstash"]
    assert undo_tpl(shipper["logstashPipeline"]["logstash.conf"]) == logstash.pipeline(contract, helm.ON_CLASSIC)
    assert undo_tpl(shipper["logstashConfig"]["logstash.yml"]) == logstash.settings(contract, everywhere=True)
    assert classic["filebeat"]["daemonset"]["filebeatConfig"]["filebeat.yml"] == filebeat.kubernetes(contract)


def test_the_committed_filebeat_is_the_one_of_its_own_folder():
    own = generate_all(CONTRACT)["filebeat/filebeat-kubernetes.yml"]
    assert of("classic", "small", "filebeat")["daemonset"]["filebeatConfig"]["filebeat.yml"] == own


def test_an_own_stream_and_an_own_elasticsearch_reach_the_pipeline():
    given = {"elasticsearch.name": "scores", "logstash.name": "pipe"}
    charts = helm.values(replace(CONTRACT, dataset="pose.eval"), "classic", "small", given)
    text = undo_tpl(yaml.safe_load(charts["logstash"])["logstashPipeline"]["logstash.conf"])
    (_, output) = lscl.read(text).of("elasticsearch")
    assert output.settings["hosts"] == ["https://scores-master:9200"]
    assert output.settings["data_stream_dataset"] == "pose.eval"
    assert yaml.safe_load(charts["kibana"])["elasticsearchHosts"] == "https://scores-master:9200"
    assert yaml.safe_load(charts["filebeat"])["daemonset"]["extraEnvs"][1]["value"] == "pipe:5044"


# --- at one with each other ------------------------------------------------------------------------------------------


def variables(container: dict) -> dict[str, str]:
    return {e["name"]: e.get("value") for e in container["env"]}


@pytest.mark.parametrize("size", SIZES)
def test_everything_finds_everything_under_eck(size):
    eck = of("eck", size, "eck-stack")
    name = eck["eck-elasticsearch"]["fullnameOverride"]
    assert eck["eck-kibana"]["elasticsearchRef"]["name"] == name
    assert [r["name"] for r in eck["eck-logstash"]["elasticsearchRefs"]] == [name]
    service = eck["eck-logstash"]["services"][0]
    port = service["service"]["spec"]["ports"][0]["port"]
    spec = eck["eck-beats"]["daemonSet"]["podTemplate"]["spec"]
    at = f"{eck['eck-logstash']['fullnameOverride']}-ls-{service['name']}:{port}"
    assert variables(spec["containers"][0])["ELKKIT_LOGSTASH"] == at == filebeat.LOGSTASH_ON_ECK
    beats = next(lscl.read(eck["eck-logstash"]["pipelines"][0]["config.string"]).of("beats"))
    assert beats.settings["port"] == f"${{ELKKIT_BEATS_PORT:{port}}}"
    mounted = {m["name"] for m in spec["containers"][0]["volumeMounts"]} | {"beat-data"}
    assert mounted == {v["name"] for v in spec["volumes"]}
    binding = eck["eck-beats"]["clusterRoleBinding"]
    assert binding["roleRef"]["name"] == eck["eck-beats"]["clusterRole"]["name"]
    assert binding["subjects"][0]["name"] == eck["eck-beats"]["serviceAccount"]["name"] == spec["serviceAccountName"]
    versions = {eck[part]["version"] for part in ("eck-elasticsearch", "eck-kibana", "eck-logstash", "eck-beats")}
    assert len(versions) == 1


@pytest.mark.parametrize("size", SIZES)
def test_everything_finds_everything_with_the_older_charts(size):
    elastic, kibana, shipper, beat = (of("classic", size, chart) for chart in helm.CHARTS["classic"])
    master = f"{elastic['clusterName']}-{elastic['nodeGroup']}"
    assert kibana["elasticsearchHosts"] == f"https://{master}:9200"
    for where in (elastic, shipper):
        secrets = {e["valueFrom"]["secretKeyRef"]["name"] for e in where["extraEnvs"]}
        assert secrets == {f"{master}-credentials"}
    assert kibana["elasticsearchCertificateSecret"] == shipper["secretMounts"][0]["secretName"] == f"{master}-certs"
    port = shipper["service"]["ports"][0]["port"]
    assert port == shipper["extraPorts"][0]["containerPort"]
    told = variables({"env": beat["daemonset"]["extraEnvs"]})
    assert told["ELKKIT_LOGSTASH"] == f"{shipper['fullnameOverride']}:{port}"
    text = undo_tpl(shipper["logstashPipeline"]["logstash.conf"])
    output = next(lscl.read(text).of("elasticsearch"))
    assert output.settings["cacert"] == f"{shipper['secretMounts'][0]['path']}ca.crt"


@pytest.mark.parametrize("size", SIZES)
def test_traps_of_the_older_charts_are_handled(size):
    elastic, _, shipper, beat = (of("classic", size, chart) for chart in helm.CHARTS["classic"])
    assert elastic["secret"] == {"enabled": False}, "the chart makes up a new password at each upgrade"
    yellow = "yellow" in elastic["clusterHealthCheckParams"]
    assert yellow == (elastic["replicas"] == 1), "one node never gets green"
    assert elastic["minimumMasterNodes"] > elastic["replicas"] / 2
    assert (elastic["antiAffinity"] == "hard") == (size == "production")
    assert shipper["persistence"]["enabled"] is True, "off by default, and the queue dies with the pod"
    assert list(shipper["logstashPipeline"]) == ["logstash.conf"], "the image's own pipeline would run too"
    assert "api.http.host" in shipper["logstashConfig"]["logstash.yml"], "the probes come from outside"
    assert beat["daemonset"]["secretMounts"] == [], "the defaults name secrets that the pod need not have"
    assert "valueFrom" not in json.dumps(beat["daemonset"]["extraEnvs"])
    assert {r for rule in beat["clusterRoleRules"] for r in rule["resources"]} >= {"jobs", "replicasets"}
    assert "container: " not in beat["daemonset"]["filebeatConfig"]["filebeat.yml"].partition("parsers")[0]


@pytest.mark.parametrize("size", SIZES)
def test_every_pod_keeps_what_it_must_not_lose(size):
    eck = of("eck", size, "eck-stack")
    assert eck["eck-elasticsearch"]["volumeClaimDeletePolicy"] == "DeleteOnScaledownOnly"
    (claim,) = eck["eck-logstash"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "logstash-data"
    (pipeline,) = eck["eck-logstash"]["pipelines"]
    used = sum(int(pipeline[k].removesuffix("mb")) for k in ("queue.max_bytes", "dead_letter_queue.max_bytes"))
    size_of = claim["spec"]["resources"]["requests"]["storage"]
    assert used < int(size_of.removesuffix("Gi")) * 1024 * 0.9
    spec = eck["eck-beats"]["daemonSet"]["podTemplate"]["spec"]
    registry = next(v["hostPath"] for v in spec["volumes"] if v["name"] == "beat-data")
    assert registry == {"path": "/var/lib/elkkit-filebeat-lane", "type": "DirectoryOrCreate"}
    for chart in ("elasticsearch", "logstash"):
        assert of("classic", size, chart)["persistence"]["enabled"] is True
    stack = of("monitoring", size, "kube-prometheus-stack")
    assert stack["grafana"]["persistence"]["enabled"] is True
    spec = stack["prometheus"]["prometheusSpec"]
    storage = spec["storageSpec"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
    assert int(spec["retentionSize"].removesuffix("MB")) < int(storage.removesuffix("Gi")) * 1024


def test_production_survives_the_loss_of_a_node():
    eck = of("eck", "production", "eck-stack")
    (nodes,) = eck["eck-elasticsearch"]["nodeSets"]
    assert nodes["count"] >= 3
    affinity = nodes["podTemplate"]["spec"]["affinity"]["podAntiAffinity"]
    assert "requiredDuringSchedulingIgnoredDuringExecution" in affinity
    for part, kind in (("eck-kibana", "kibana"), ("eck-logstash", "logstash")):
        assert eck[part]["count"] >= 2
        (manifest,) = eck[part]["extraObjects"]
        budget = yaml.safe_load(manifest)
        assert budget["kind"] == "PodDisruptionBudget"
        assert budget["spec"]["maxUnavailable"] < eck[part]["count"]
        labels = {f"{kind}.k8s.elastic.co/name": eck[part]["fullnameOverride"]}
        assert budget["spec"]["selector"]["matchLabels"] == labels
    assert of("classic", "production", "elasticsearch")["replicas"] >= 3
    assert of("eck", "small", "eck-stack")["eck-elasticsearch"]["nodeSets"][0]["count"] == 1


@pytest.mark.parametrize("path", FILES)
def test_no_password_is_in_a_file(path):
    words = [str(leaf) for leaf in leaves(VALUES[path])]
    assert not [w for w in words if re.search(r"(?i)(password|secret|token) *[:=] *[^$\s{]", w) and "\n" not in w]
    assert "prom-operator" not in FILES[path]
    assert "changeme" not in FILES[path]


@pytest.mark.parametrize("path", [p for p in FILES if "/monitoring/" not in p])
def test_every_container_says_what_it_takes(path):
    found = [part["resources"] for part in objects(VALUES[path]) if "resources" in part and "limits" in str(part)]
    sized = [r for r in found if isinstance(r, dict) and "limits" in r]
    assert sized
    assert all(r["limits"]["memory"] and r["requests"]["cpu"] and r["requests"]["memory"] for r in sized)


# --- monitoring ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", ["eck", "classic"])
def test_the_exporters_are_where_prometheus_looks(stack):
    charts = {c: yaml.safe_load(t) for c, t in helm.values(CONTRACT, "monitoring", "small", {"stack": stack}).items()}
    assert all(faults(c, t) == [] for c, t in helm.values(CONTRACT, "monitoring", "small", {"stack": stack}).items())
    modules = charts["prometheus-json-exporter"]["configuration"]["structuredConfig"]["modules"]
    jobs = charts["kube-prometheus-stack"]["prometheus"]["prometheusSpec"]["additionalScrapeConfigs"]
    for job in jobs:
        assert job["params"]["module"] == [job["job_name"]]
        assert modules[job["job_name"]]["metrics"]
        targets = {r.get("target_label"): r for r in job["relabel_configs"]}
        assert targets["__address__"]["replacement"] == "prometheus-json-exporter.lane.svc:7979"
        assert targets["__param_target"]["source_labels"] == ["__meta_kubernetes_pod_ip"]
    secured = any("additionalVolumes" in c for c in charts.values())
    assert secured == (stack == "eck"), "the older chart's Logstash answers without TLS"
    at = charts["prometheus-elasticsearch-exporter"]["es"]["uri"]
    assert at == {"eck": "https://elasticsearch-es-http.lane.svc:9200",
                  "classic": "https://elasticsearch-master.lane.svc:9200"}[stack]  # fmt: skip


def test_labels_that_prometheus_looks_for_are_those_of_the_pods():
    def kept(stack: str) -> dict[str, tuple[str, str]]:
        text = helm.values(CONTRACT, "monitoring", "small", {"stack": stack})["kube-prometheus-stack"]
        jobs = yaml.safe_load(text)["prometheus"]["prometheusSpec"]["additionalScrapeConfigs"]
        first = {job["job_name"]: job["relabel_configs"][0] for job in jobs}
        prefix = "__meta_kubernetes_pod_label_"
        return {j: (r["source_labels"][0].removeprefix(prefix), r["regex"]) for j, r in first.items()}

    eck = of("eck", "small", "eck-stack")
    assert kept("eck") == {
        "logstash": ("logstash_k8s_elastic_co_name", eck["eck-logstash"]["fullnameOverride"]),
        "filebeat": ("beat_k8s_elastic_co_name", eck["eck-beats"]["fullnameOverride"]),
    }
    ((label, value),) = of("classic", "small", "filebeat")["daemonset"]["labels"].items()
    assert kept("classic") == {
        "logstash": ("app", of("classic", "small", "logstash")["fullnameOverride"]),
        "filebeat": (re.sub(r"[./]", "_", label), value),
    }


def test_counters_that_are_asked_for_can_be_reached():
    port = filebeat_http()["http.port"]
    jobs = of("monitoring", "small", "kube-prometheus-stack")["prometheus"]["prometheusSpec"]["additionalScrapeConfigs"]
    rules = [rule for job in jobs for rule in job["relabel_configs"]]
    targets = {r["replacement"] for r in rules if r.get("target_label") == "__param_target"}
    assert targets == {"https://$1:9600/_node/stats", f"http://$1:{port}/stats"}
    eck = of("eck", "small", "eck-stack")
    container = eck["eck-beats"]["daemonSet"]["podTemplate"]["spec"]["containers"][0]
    assert variables(container)["ELKKIT_HTTP_HOST"] == "0.0.0.0"
    assert filebeat_http()["http.host"] == "${ELKKIT_HTTP_HOST:localhost}"


def filebeat_http() -> dict:
    return yaml.safe_load(filebeat.kubernetes(CONTRACT))


def test_grafana_has_no_password_of_the_charts():
    for size in SIZES:
        admin = of("monitoring", size, "kube-prometheus-stack")["grafana"]["admin"]
        assert admin["existingSecret"] == "grafana-admin"
        assert "adminPassword" not in FILES[helm.path("monitoring", size, "kube-prometheus-stack")]
