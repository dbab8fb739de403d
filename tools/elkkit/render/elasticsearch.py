"""Elasticsearch: templates of the stream, retention, and the ingest pipelines that do what the Logstash filter does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elkkit.contract import Contract, Field
from elkkit.line.parser import MAX_NESTING
from elkkit.render.judging import ANYTHING, PARSED, engine_patterns, line_fields, shipper_fields
from elkkit.render.templates import NOTE, render

PRIORITY = 200
"""Above 100, the priority of Elasticsearch's own template for `logs-*-*`."""
LONGEST_KEYWORD = 1024
WORK = "elkkit_work"
"""What the pipeline keeps while it works on a document; gone when it ends."""
ALL = "elkkit_all"
"""Set to true by a shipper that wants ordinary text kept too."""
_EDGE = " \t\r\ufeff"
FAILURE_STORE_OFF = {"failure_store": {"enabled": False}}
"""Options of a data stream: what a server refuses is refused, not put aside with an answer of success."""
OWNER = "elkkit"
"""`_meta.managed_by` of everything that elkkit puts on a server."""


def name(contract: Contract) -> str:
    """What the objects of a dataset are called: `lane-eval` for `lane.eval`. Two datasets never share one."""
    return contract.dataset.replace(".", "-")  # a dataset holds no hyphen


def object_pipeline_name(contract: Contract) -> str:
    """The pipeline that reads one JSON object of a line."""
    return f"{name(contract)}-object"


def index_template_name(contract: Contract) -> str:
    """The index template, one for all namespaces of the dataset."""
    return f"logs-{contract.dataset}"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the server that templates are for can do."""

    bare: bool = False
    """It lacks its modules, as the embedded one does: fewer types, no data streams."""
    logsdb: bool = False
    best_compression: bool = True
    lifecycle: bool = True
    """It has ILM."""
    failure_store: bool = False
    """It can put what it refuses aside and answer that all went well, which is switched off."""


_FULL = Abilities()
_LOGSDB = Abilities(logsdb=True)
_BARE = Abilities(bare=True, best_compression=False, lifecycle=False)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"


def _meta(contract: Contract) -> dict[str, Any]:
    return {"generated_by": NOTE, "managed_by": OWNER, "contract_version": contract.version}


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


def mappings_body(contract: Contract, abilities: Abilities = _FULL) -> dict[str, Any]:
    """Component template `lane-eval@mappings`."""
    fields = properties(contract, bare=abilities.bare)
    mappings = {"_meta": _meta(contract), "dynamic": False, "properties": fields}
    return {"template": {"mappings": mappings}, "_meta": _meta(contract)}


def settings_body(contract: Contract, abilities: Abilities = _FULL) -> dict[str, Any]:
    """Component template `lane-eval@settings`."""
    index: dict[str, Any] = {}
    if abilities.lifecycle:
        index["lifecycle"] = {"name": f"{name(contract)}@lifecycle"}
    if abilities.logsdb:
        index["mode"] = "logsdb"
    elif abilities.best_compression:
        index["codec"] = "best_compression"
    index["mapping"] = {"ignore_malformed": False}
    if abilities.logsdb and abilities.bare:
        index["mapping"]["source"] = {"mode": "stored"}  # a synthetic source is not the bytes that were sent
    if not abilities.logsdb:
        index["sort"] = {"field": ["@timestamp"], "order": ["desc"]}
    if abilities.bare:
        index["number_of_replicas"] = 0  # one node, always
    template: dict[str, Any] = {"settings": {"index": index}}
    if abilities.failure_store:
        template["data_stream_options"] = FAILURE_STORE_OFF
    return {"template": template, "_meta": _meta(contract)}


def custom_body(contract: Contract) -> dict[str, Any]:
    """Component template `lane-eval@custom`: empty, for the user's own settings, and never overwritten."""
    return {"template": {}, "_meta": {**_meta(contract), "for": "your own settings and mappings"}}


def index_template_body(contract: Contract, abilities: Abilities = _FULL) -> dict[str, Any]:
    """Index template of the data streams `logs-<dataset>-*`, or of the indices behind an alias of that name."""
    return {
        "index_patterns": [f"logs-{contract.dataset}-*"],
        **({} if abilities.bare else {"data_stream": {}}),
        "priority": PRIORITY,
        "composed_of": [f"{name(contract)}@{part}" for part in ("mappings", "settings", "custom")],
        "_meta": _meta(contract),
    }


def mappings_template(contract: Contract) -> str:
    """Component template `lane-eval@mappings`."""
    return _json(mappings_body(contract))


def settings_template(contract: Contract) -> str:
    """Component template `lane-eval@settings`, for every server from 8.0."""
    return _json(settings_body(contract))


def logsdb_settings_template(contract: Contract) -> str:
    """The same for servers that have logsdb (8.17 and later): less disk, and an order of documents of its own."""
    return _json(settings_body(contract, _LOGSDB))


def custom_template(contract: Contract) -> str:
    """Component template `lane-eval@custom`."""
    return _json(custom_body(contract))


def index_template(contract: Contract) -> str:
    """Index template of the data streams `logs-<dataset>-*`."""
    return _json(index_template_body(contract))


def bare_mappings_template(contract: Contract) -> str:
    """Component template `lane-eval@mappings` of an Elasticsearch without its modules."""
    return _json(mappings_body(contract, _BARE))


def bare_settings_template(contract: Contract) -> str:
    """Component template `lane-eval@settings` of an Elasticsearch without its modules and native compression."""
    return _json(settings_body(contract, _BARE))


def bare_index_template(contract: Contract) -> str:
    """Index template of a bare Elasticsearch, where the stream's name is an alias."""
    return _json(index_template_body(contract, _BARE))


def lifecycle_body(contract: Contract) -> dict[str, Any]:
    """ILM policy `lane-eval@lifecycle`: a new backing index each month or 25 GB, kept for two years."""
    phases = {
        "hot": {"actions": {"rollover": {"max_age": "30d", "max_primary_shard_size": "25gb"}}},
        "delete": {"min_age": "730d", "actions": {"delete": {}}},
    }
    return {"policy": {"phases": phases, "_meta": _meta(contract)}}


def lifecycle_policy(contract: Contract) -> str:
    """ILM policy `lane-eval@lifecycle`."""
    return _json(lifecycle_body(contract))


# --- ingest pipelines ------------------------------------------------------------------------------------------------


def _script(template: str, params: Mapping[str, Any] | None = None, **extra: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"lang": "painless", "source": render(template)}
    return {"script": {**extra, **body, **({"params": dict(params)} if params else {})}}


def _colour(contract: Contract, **extra: Any) -> dict[str, Any]:
    away = {"field": f"{WORK}.text", "target_field": f"{WORK}.content", "pattern": contract.colour, "replacement": ""}
    return {"gsub": {**extra, **away}}


def pipeline_body(contract: Contract) -> dict[str, Any]:
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
        *({"pipeline": {"name": object_pipeline_name(contract), "if": object_if}} for _ in range(MAX_NESTING)),
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
    return {"description": about, "version": contract.version, "processors": processors, "on_failure": failed}


def object_pipeline_body(contract: Contract) -> dict[str, Any]:
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
    about = f"Reads one JSON object of a line, for the pipeline {name(contract)}. {NOTE}"
    return {"description": about, "version": contract.version, "processors": processors}


def pipeline(contract: Contract) -> str:
    """Ingest pipeline `lane-eval`."""
    return _json(pipeline_body(contract))


def object_pipeline(contract: Contract) -> str:
    """Ingest pipeline `lane-eval-object`."""
    return _json(object_pipeline_body(contract))
