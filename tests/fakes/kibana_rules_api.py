"""Rules of a fake Kibana, and the sources that metric rules look through, as a real 8.3.3 answered."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fakes.kibana_rules import Object, RefusedError

if TYPE_CHECKING:
    from fakes.kibana import FakeKibana, Reply

METRIC, CUSTOM = "metrics.alert.threshold", "observability.rules.custom_threshold"
SOURCE = "infrastructure-ui-source"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SPAN = re.compile(r"[1-9]\d*[smhd]")
AGGREGATIONS = {"avg", "max", "min", "cardinality", "rate", "count", "sum", "p95", "p99"}
COMPARATORS = {"<", "<=", ">", ">=", "between", "outside"}
_NEEDED = {"name": str, "schedule": dict}
_KNOWN = {"name", "tags", "schedule", "throttle", "notify_when", "params", "actions"}
_CREATED = _KNOWN | {"rule_type_id", "consumer", "enabled"}
_DEFAULT_SOURCE = {"name": "Default", "description": "", "metricAlias": "metrics-*,metricbeat-*",
                   "inventoryDefaultView": "0", "metricsExplorerDefaultView": "0", "anomalyThreshold": 50}  # fmt: skip


class RuleStore:
    """The rules of one server, in all its spaces; tests look into `kept` and change it."""

    def __init__(self) -> None:
        self.kept: dict[str, Object] = {}
        """By id; each with its `space`."""
        self.encryption_key = True
        self.secure = True
        """Its Elasticsearch has API keys, or needs none."""
        self.consumers = ["alerts", "infrastructure", "logs"]
        """Where these credentials may write rules."""
        self.types: list[str] | None = None
        """The rule types, where they are not those of the version."""

    def there(self, ident: str, space: str) -> Object:
        rule = self.kept.get(ident)
        if rule is None or rule["space"] != space:
            raise RefusedError(404, f"Saved object [alert/{ident}] not found")
        return rule


def routed(fake: FakeKibana, method: str, path: str, space: str, query: Any, body: Any) -> Reply | None:
    """The answer to a request for a rule or a source, or None."""
    from fakes.kibana import Reply, _json

    if not fake.rules.modern:
        return None
    names = [unquote(name) for name in path.strip("/").split("/")]
    store = fake.alerts
    if names[:3] == ["api", "metrics", "source"] and len(names) == 4:
        return _json(200, _source(fake, method, names[3], space, body))
    if names[:2] != ["api", "alerting"]:
        return None
    match method, names[2:]:
        case "GET", ["_health"]:
            return _json(200, {"is_sufficiently_secure": store.secure,
                               "has_permanent_encryption_key": store.encryption_key})  # fmt: skip
        case "GET", ["rule_types"]:
            known = _types(fake) if space in fake.spaces else []
            return _json(200, [_type(t, store.consumers) for t in known])
        case "GET", ["rules", "_find"]:
            rows = [_shown(r) for r in store.kept.values() if r["space"] == space]
            page, size = int(query.get("page", ["1"])[0]), int(query.get("per_page", ["10"])[0])
            found = rows[(page - 1) * size : page * size]
            return _json(200, {"page": page, "per_page": size, "total": len(rows), "data": found})
        case "GET", ["rule", ident]:
            return _json(200, _shown(store.there(ident, space)))
        case "POST", ["rule", ident]:
            return _json(200, _create(fake, ident, space, body))
        case "PUT", ["rule", ident]:
            return _json(200, _update(fake, ident, space, body))
        case "DELETE", ["rule", ident]:
            store.there(ident, space)
            del store.kept[ident]
            return Reply(204)
        case "POST", ["rule", ident, ("_enable" | "_disable") as verb]:
            store.there(ident, space)["enabled"] = verb == "_enable"
            return Reply(204)
    return None


def _number(fake: FakeKibana) -> tuple[int, ...]:
    return tuple(int(part) for part in fake.version.split("."))


def _types(fake: FakeKibana) -> list[str]:
    if fake.alerts.types is not None:
        return fake.alerts.types
    newer = [CUSTOM] if _number(fake) >= (8, 10, 0) else []
    return [".es-query", ".index-threshold", METRIC, *newer]


def _type(ident: str, consumers: list[str]) -> Object:
    return {"id": ident, "name": ident, "enabled_in_license": True, "minimum_license_required": "basic",
            "authorized_consumers": {c: {"read": True, "all": True} for c in consumers}}  # fmt: skip


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def _shown(rule: Object) -> Object:
    return {k: v for k, v in rule.items() if k != "space"}


def _check(fake: FakeKibana, body: Any, known: set[str]) -> None:
    """What the schema of a body refuses."""
    if not isinstance(body, dict):
        raise RefusedError(400, "[request body]: expected a plain object value, but found [null] instead.")
    for name, kind in _NEEDED.items():
        if not isinstance(body.get(name), kind):
            raise _expected(f"{name}", "string" if kind is str else "object", body.get(name))
    old = _number(fake) < (8, 6, 0)
    if old and not isinstance(body.get("notify_when"), str):
        raise _expected("notify_when", "string", body.get("notify_when"))
    newer = set() if old else {"alert_delay", "flapping"}
    for name in body:
        if name not in known | newer:
            raise RefusedError(400, f"[request body.{name}]: definition for this key is missing")
    if not SPAN.fullmatch(str(body["schedule"].get("interval"))):
        raise RefusedError(400, "[request body.schedule.interval]: string is not a valid duration: "
                           f"{body['schedule'].get('interval')}")  # fmt: skip
    actions = {"group", "id", "params"} | (set() if old else {"uuid", "frequency", "alerts_filter"})
    for i, action in enumerate(body.get("actions", [])):
        for name in action:
            if name not in actions:
                raise RefusedError(400, f"[request body.actions.{i}.{name}]: definition for this key is missing")


def _expected(name: str, kind: str, found: object) -> RefusedError:
    told = "undefined" if found is None else type(found).__name__
    return RefusedError(400, f"[request body.{name}]: expected value of type [{kind}] but got [{told}]")


def _params(kind: str, params: Any) -> None:
    """What a rule type refuses of its parameters."""
    criteria = params.get("criteria")
    if not isinstance(criteria, list):
        raise RefusedError(400, "params invalid: [criteria]: could not parse array value from json input")
    for i, one in enumerate(criteria):
        where = f"params invalid: [criteria.{i}"
        if one.get("comparator") not in COMPARATORS:
            raise RefusedError(400, f"{where}.comparator]: must be one of {' | '.join(sorted(COMPARATORS))}")
        if not all(isinstance(n, int | float) for n in one.get("threshold", [None])):
            raise RefusedError(400, f"{where}.threshold]: expected value of type [number]")
        if not isinstance(one.get("timeSize"), int) or not isinstance(one.get("timeUnit"), str):
            raise RefusedError(400, f"{where}.timeSize]: expected value of type [number]")
        measures = one.get("metrics", []) if kind == CUSTOM else [one]
        field = "field" if kind == CUSTOM else "metric"
        if kind == CUSTOM and ("metric" in one or not measures):
            raise RefusedError(400, f"{where}.metric]: a value wasn't expected to be present")
        for measure in measures:
            if measure.get("aggType") not in AGGREGATIONS or (measure["aggType"] == "count") == (field in measure):
                raise RefusedError(400, f"{where}.aggType]: types that failed validation")
    if kind == METRIC:
        if not isinstance(params.get("sourceId"), str):
            raise RefusedError(400, "params invalid: [sourceId]: expected value of type [string] but got [undefined]")
        text = params.get("filterQuery")
        if text is not None and "bool" not in json.loads(text):
            raise RefusedError(400, "params invalid: [filterQuery]: filterQuery must be a valid Elasticsearch filter")
    if kind == CUSTOM and not isinstance(params.get("searchConfiguration", {}).get("index"), str):
        raise RefusedError(400, "params invalid: [searchConfiguration.index]: expected at least one defined value")


def _create(fake: FakeKibana, ident: str, space: str, body: Any) -> Object:
    store = fake.alerts
    _check(fake, body, _CREATED)
    kind, consumer = body.get("rule_type_id"), body.get("consumer")
    if kind not in _types(fake):
        raise RefusedError(400, f'Rule type "{kind}" is not registered.')
    if space not in fake.spaces or consumer not in store.consumers:
        raise RefusedError(403, f'Unauthorized to create a "{kind}" rule for "{consumer}"')
    _params(kind, body.get("params", {}))
    if not store.encryption_key:
        raise RefusedError(500, "Unable to create alerts client because the Encrypted Saved Objects plugin is missing "
                           "encryption key. Please set xpack.encryptedSavedObjects.encryptionKey in the kibana.yml "
                           "or use the bin/kibana-encryption-keys command.")  # fmt: skip
    if not UUID.fullmatch(ident):
        raise RefusedError(400, "Predefined IDs are not allowed for saved objects with encrypted attributes unless "
                           "the ID is a UUID.: Bad Request")  # fmt: skip
    if ident in store.kept:
        raise RefusedError(409, f"Saved object [alert/{ident}] conflict")
    rule = {
        "id": ident, "name": body["name"], "consumer": consumer, "tags": body.get("tags", []),
        "enabled": body.get("enabled", True), "throttle": body.get("throttle"), "schedule": body["schedule"],
        "params": body.get("params", {}), "rule_type_id": kind, "scheduled_task_id": ident, "created_by": None,
        "updated_by": None, "created_at": _now(), "updated_at": _now(), "api_key_owner": None,
        "notify_when": body.get("notify_when"), "mute_all": False, "muted_alert_ids": [],
        "execution_status": {"status": "pending", "last_execution_date": _now()}, "space": space,
        "actions": [{**a, "connector_type_id": ".server-log"} for a in body.get("actions", [])],
        **{k: body[k] for k in ("alert_delay", "flapping") if k in body},
    }  # fmt: skip
    store.kept[ident] = rule
    return _shown(rule)


def _update(fake: FakeKibana, ident: str, space: str, body: Any) -> Object:
    """All but type and consumer is replaced: what is not sent is gone."""
    _check(fake, body, _KNOWN)
    rule = fake.alerts.there(ident, space)
    _params(rule["rule_type_id"], body.get("params", {}))
    for name in ("alert_delay", "flapping"):
        rule.pop(name, None)
    rule |= {"tags": [], "throttle": None, "notify_when": None, "params": {}, **body, "updated_at": _now()}
    rule["actions"] = [{**a, "connector_type_id": ".server-log"} for a in body.get("actions", [])]
    return _shown(rule)


def _source(fake: FakeKibana, method: str, ident: str, space: str, body: Any) -> Object:
    """A source; one that is not there is told as the one that would be used instead."""
    saved = fake.store.get(SOURCE, ident, space)
    if method == "PATCH":
        for name, value in body.items():
            if name in ("name", "description", "metricAlias") and not isinstance(value, str):
                raise RefusedError(400, f"[request body]: Failed to validate: \n  in /{name}: {value} does not match "
                                   "expected type string")  # fmt: skip
        attributes = {**_DEFAULT_SOURCE, **(saved.attributes if saved else {}), **body}
        made = {"type": SOURCE, "id": ident, "attributes": attributes, "references": [], "stamp": "7.16.2"}
        saved = fake.store.put(made, space)
    told = {"id": ident, "origin": "stored" if saved else "fallback",
            "configuration": saved.attributes if saved else _DEFAULT_SOURCE}  # fmt: skip
    return {"source": told}
