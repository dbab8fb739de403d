"""Everything that is generated from the contract, in order: one file each, from the contract to its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from elkkit.contract import Contract
from elkkit.render import elasticsearch, filebeat, helm, kibana, logstash

__all__ = ["OUTPUTS", "Generator", "generate_all"]

Generator: TypeAlias = Callable[[Contract], str]

_ELASTICSEARCH = "logstash/elasticsearch"
OUTPUTS: tuple[tuple[str, Generator], ...] = (
    (f"{_ELASTICSEARCH}/component_template/lane-eval@mappings.json", elasticsearch.mappings_template),
    (f"{_ELASTICSEARCH}/component_template/lane-eval@settings.json", elasticsearch.settings_template),
    (f"{_ELASTICSEARCH}/component_template/lane-eval@custom.json", elasticsearch.custom_template),
    (f"{_ELASTICSEARCH}/index_template/logs-lane.eval.json", elasticsearch.index_template),
    (f"{_ELASTICSEARCH}/ilm_policy/lane-eval@lifecycle.json", elasticsearch.lifecycle_policy),
    (f"{_ELASTICSEARCH}/ingest_pipeline/lane-eval-object.json", elasticsearch.object_pipeline),
    (f"{_ELASTICSEARCH}/ingest_pipeline/lane-eval.json", elasticsearch.pipeline),
    (f"{_ELASTICSEARCH}/logsdb/component_template/lane-eval@settings.json", elasticsearch.logsdb_settings_template),
    (f"{_ELASTICSEARCH}/bare/component_template/lane-eval@mappings.json", elasticsearch.bare_mappings_template),
    (f"{_ELASTICSEARCH}/bare/component_template/lane-eval@settings.json", elasticsearch.bare_settings_template),
    (f"{_ELASTICSEARCH}/bare/index_template/logs-lane.eval.json", elasticsearch.bare_index_template),
    ("logstash/pipeline/lane-eval.conf", logstash.current),
    ("logstash/pipeline-8.3/lane-eval.conf", logstash.old_names),
    ("logstash/pipeline-laptop/lane-eval.conf", logstash.laptop),
    ("logstash/pipeline-stdin/lane-eval.conf", logstash.try_out),
    ("logstash/config/logstash.yml", logstash.settings),
    ("logstash/config/pipelines.yml", logstash.pipelines),
    ("filebeat/filebeat.yml", filebeat.to_logstash),
    ("filebeat/filebeat-elasticsearch.yml", filebeat.to_elasticsearch),
    ("filebeat/filebeat-kubernetes.yml", filebeat.kubernetes),
    ("kibana/data-view.json", kibana.data_view),
    *kibana.BUNDLES,
    *helm.OUTPUTS,
)


def generate_all(contract: Contract) -> dict[str, str]:
    """The text of every generated file by its path."""
    return {path: generate(contract) for path, generate in OUTPUTS}
