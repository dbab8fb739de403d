"""Elasticsearch: templates of the stream, retention, and the ingest pipelines that do what the Logstash filter does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from elkkit.contract import Contract, Field
from elkkit.line.parser import MAX_NESTING
from elkkit.render.judging import ANYTHING, PARSED, engine_patterns, line_fields, shipper_fields
from elkkit.render.templates import NOTE, render

NAME = "lane-eval"
OBJECT_PIPELINE = f"{NAME}-object"
PRIORITY = 200
"""Above 100, the priority of Elasticsearch's own template for `logs-*-*`."""
LONGEST_KEYWORD = 1024
WORK = "elkkit_work"
"""What the pipeline keeps while it works on a document; gone when it ends."""
ALL = "elkkit_all"
"""Set to true by a shipper that wants ordinary text kept too."""
_EDGE = " \t\r\ufeff"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"


def _meta(contract: Contract) -> dict[str, Any]:
    return {"generated_by": NOTE, "managed_by": "elkkit", "contract_version": contract.version}


# --- templates -------------------------------------------------------------------------------------------------------


def _mapping(contract: Contract, field: Field, *, bare: bool) -> dict[str, Any]:
    kind = field.bare_type if bare else field.type
    mapping: dict[str, Any] = {"type": kind}
    if kind == "constant_keyword":
        mapping["value"] = contract.dataset
    elif kind == "keyword":
        mapping["ignore_above"] = LONGEST_KEYWORD
    elif kind == "double":
        mapping["ignore_malformed"] = False  # logsdb would keep the document without its score, and say nothing
    return mapping


def properties(contract: Contract, *, bare: bool = False) -> dict[str, Any]:
    """The mapping of every field, nested as Elasticsearch takes it; `bare` for a server without its modules."""
    root: dict[str, Any] = {}
    for field in contract.fields.values():
        at = root
        *groups, last = [field.name] if field.name.startswith("@") else field.name.split(".")
        for group in groups:
            at = at.setdefault(group, {"properties": {}})["properties"]
        at[last] = _mapping(contract, field, bare=bare)
    return root


def _mappings(contract: Contract, *, bare: bool = False) -> dict[str, Any]:
    return {"_meta": _meta(contract), "dynamic": False, "properties": properties(contract, bare=bare)}


def mappings_template(contract: Contract) -> str:
    """Component template `lane-eval@mappings`."""
    return _json({"template": {"mappings": _mappings(contract)}, "_meta": _meta(contract)})


def settings_template(contract: Contract) -> str:
    """Component template `lane-eval@settings`, for every server from 8.0."""
    index = {
        "lifecycle": {"name": f"{NAME}@lifecycle"},
        "codec": "best_compression",
        "mapping": {"ignore_malformed": False},
        "sort": {"field": ["@timestamp"], "order": ["desc"]},
    }
    return _json({"template": {"settings": {"index": index}}, "_meta": _meta(contract)})


def logsdb_settings_template(contract: Contract) -> str:
    """The same for servers that have logsdb (8.17 and later): less disk, and an order of documents of its own."""
    index = {
        "lifecycle": {"name": f"{NAME}@lifecycle"},
        "mode": "logsdb",
        "mapping": {"ignore_malformed": False},
    }
    return _json({"template": {"settings": {"index": index}}, "_meta": _meta(contract)})


def custom_template(contract: Contract) -> str:
    """Component template `lane-eval@custom`: empty, for the user's own settings, and never overwritten."""
    return _json({"template": {}, "_meta": {**_meta(contract), "for": "your own settings and mappings"}})


def index_template(contract: Contract) -> str:
    """Index template of the data streams `logs-<dataset>-*`."""
    return _json(
        {
            "index_patterns": [f"logs-{contract.dataset}-*"],
            "data_stream": {},
            "priority": PRIORITY,
            "composed_of": [f"{NAME}@mappings", f"{NAME}@settings", f"{NAME}@custom"],
            "ignore_missing_component_templates": [f"{NAME}@custom"],
            "_meta": _meta(contract),
        }
    )


def bare_index_template(contract: Contract) -> str:
    """The one template of a bare Elasticsearch, without its modules: the stream's name is a plain index there."""
    return _json(
        {
            "index_patterns": [f"logs-{contract.dataset}-*"],
            "priority": PRIORITY,
            "template": {
                "settings": {"index": {"mapping": {"ignore_malformed": False}, "number_of_replicas": 0}},
                "mappings": _mappings(contract, bare=True),
            },
            "_meta": _meta(contract),
        }
    )


def lifecycle_policy(contract: Contract) -> str:
    """ILM policy `lane-eval@lifecycle`: a new backing index each month or 25 GB, kept for two years."""
    phases = {
        "hot": {"actions": {"rollover": {"max_age": "30d", "max_primary_shard_size": "25gb"}}},
        "delete": {"min_age": "730d", "actions": {"delete": {}}},
    }
    return _json({"policy": {"phases": phases, "_meta": _meta(contract)}})


# --- ingest pipelines ------------------------------------------------------------------------------------------------


def _script(template: str, params: Mapping[str, Any] | None = None, **extra: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"lang": "painless", "source": render(template)}
    return {"script": {**extra, **body, **({"params": dict(params)} if params else {})}}


def _colour(contract: Contract, **extra: Any) -> dict[str, Any]:
    away = {"field": f"{WORK}.text", "target_field": f"{WORK}.content", "pattern": contract.colour, "replacement": ""}
    return {"gsub": {**extra, **away}}


def pipeline(contract: Contract) -> str:
    """Ingest pipeline `lane-eval`: a raw line in `message` becomes an event, a marked line, or nothing."""
    patterns = engine_patterns(contract, lambda name: f"{WORK}.{name}", "double")
    undecided = f"ctx.{WORK}.outcome == null"
    end = {
        "dataset": contract.dataset,
        "malformed_tag": contract.malformed_tag,
        "invalid_id_tag": contract.invalid_id_tag,
        "shippers": shipper_fields(contract),
        "spellings": contract.spellings(),
    }
    object_if = f"{undecided} && ctx.{WORK}.plain == null && ctx.{WORK}.text.contains('{{')"
    ordinary = f"ctx.{WORK}.outcome == 'not_a_score' && ctx.{ALL} != true"
    clock = {"set": {"field": "@timestamp", "value": "{{{_ingest.timestamp}}}", "override": False}}
    processors = [
        {"remove": {"field": [WORK, *PARSED], "ignore_missing": True}},
        _script("begin.painless", tag="begin"),
        *({"pipeline": {"name": OBJECT_PIPELINE, "if": object_if}} for _ in range(MAX_NESTING)),
        _colour(contract, **{"if": undecided}),
        {
            "grok": {
                "if": undecided,
                "field": f"{WORK}.content",
                "patterns": list(patterns.judges),
                "pattern_definitions": dict(patterns.definitions),
            }
        },
        _script("end.painless", end, tag="end"),
        {"drop": {"if": ordinary}},
        clock,
        {"remove": {"field": [WORK, ALL, "agent", "ecs", "input"], "ignore_missing": True}},
    ]
    failed = [
        {"remove": {"field": [WORK, ALL, *PARSED], "ignore_missing": True}},
        {"append": {"field": "tags", "value": contract.malformed_tag, "allow_duplicates": False}},
        {"set": {"field": "error.message", "value": "the ingest pipeline failed: {{{_ingest.on_failure_message}}}"}},
        {"set": {"field": "event.dataset", "value": contract.dataset}},
        clock,
    ]
    about = f"Makes events of the lines that a scorer writes. {NOTE}"
    return _json({"description": about, "version": contract.version, "processors": processors, "on_failure": failed})


def object_pipeline(contract: Contract) -> str:
    """Ingest pipeline `lane-eval-object`: one JSON object of a line, if there is one; called by `lane-eval`."""
    patterns = engine_patterns(contract, lambda name: f"{WORK}.{name}", "double")
    params = {
        "edge": _EDGE,
        "invalid_id_tag": contract.invalid_id_tag,
        "invalid_field_tag": contract.invalid_field_tag,
        "fields": {f.name: {"type": f.type, "many": f.many} for f in line_fields(contract)},
    }
    processors = [
        _colour(contract),
        {
            "grok": {
                "field": f"{WORK}.content",
                "patterns": [patterns.object, ANYTHING],
                "pattern_definitions": dict(patterns.object_definitions),
            }
        },
        _script("object.painless", params, tag="object"),
    ]
    about = f"Reads one JSON object of a line, for the pipeline {NAME}. {NOTE}"
    return _json({"description": about, "version": contract.version, "processors": processors})
