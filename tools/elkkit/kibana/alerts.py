"""Rules that watch the models: read from a small spec, and written as Kibana's rule types ask for them.

A rule is handled as a saved object of the type `alert`, though its API is another, so that plans, differences and
fingerprints are those of dashboards.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from elkkit.contract import Contract, Metric
from elkkit.errors import ConfigError, UsageError
from elkkit.kibana.common import SavedObject, identity, kql
from elkkit.kibana.order import Key
from elkkit.kibana.tables import Table, read_toml
from elkkit.kql import to_query

Measure: TypeAlias = Literal["mean", "p95", "silent"]
Side: TypeAlias = Literal["below", "above"]
RULE = "alert"
SOURCE = "infrastructure-ui-source"
"""Which indices rules of the type `METRIC` look at. Each dataset has its own, so that nobody's Metrics app changes."""
KINDS = frozenset({RULE, SOURCE})
"""What is not imported as a file of saved objects is."""
METRIC = "metrics.alert.threshold"
CUSTOM = "observability.rules.custom_threshold"
CONSUMERS: Mapping[str, str] = {METRIC: "infrastructure", CUSTOM: "logs"}
"""The part of Kibana that a rule belongs to: whoever may write there may write the rule."""
FIRST: Mapping[str, tuple[int, int, int]] = {CUSTOM: (8, 13, 0), METRIC: (8, 3, 0)}
"""The first version whose rule type has mean, p95 and silent groups, the one to be preferred first."""
FRESH = "onActionGroupChange"
"""Actions run when an alert begins or ends, not at every check."""
_PER_ACTION = (8, 6, 0)
"""Before it, a rule must say when its actions run; from it on, each action says so."""
_SPAN = re.compile(r"([1-9][0-9]{0,4})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGGREGATIONS: Mapping[Measure, str] = {"mean": "avg", "p95": "p95", "silent": "count"}
_LONGEST_NAME = 256
_OF_ACTIONS = ("id", "group", "params", "uuid", "frequency", "alerts_filter", "use_alert_data_for_template")
_OF_USERS = ("throttle", "notify_when", "alert_delay", "flapping", "artifacts")
"""What only people set on a rule, and an update takes away unless it is sent again."""
_OF_RULES = ("name", "rule_type_id", "consumer", "tags", "schedule", "params")


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One question that is asked of the models again and again."""

    id: str
    title: str
    measure: Measure
    metric: str | None
    """None for `silent`, which counts lines of any kind."""
    comparator: Literal["<", ">"]
    threshold: float
    """In the unit of the metric; 1 for `silent`."""
    window: str
    """How far back it looks: a number of s, m, h or d."""
    interval: str
    """How often."""
    model: str | None = None
    """The one model that is watched; None for each that sends lines."""

    @property
    def name(self) -> str:
        """For people."""
        return f"elkkit: {self.title}" + (f": {self.model}" if self.model else "")

    @property
    def query(self) -> str:
        """KQL for the events that it is about; empty for all."""
        parts = [f"metrictype : {_quoted(self.metric)}"] if self.metric else []
        parts += [f"model.name : {_quoted(self.model)}"] if self.model else []
        return " and ".join(parts)


# --- the spec --------------------------------------------------------------------------------------------------------


def read_alerts(text: str, contract: Contract, origin: str = "alerts") -> tuple[AlertRule, ...]:
    """Rules from their TOML. Raises `ConfigError` that names the key that is wrong."""
    table = Table(origin, "", read_toml(text, origin), contract)
    rules: list[AlertRule] = []
    for entry in table.tables("rules"):
        rules.append(_read(entry, {r.id for r in rules}))
        entry.done()
    table.done()
    return tuple(rules)


def _read(table: Table, taken: Collection[str]) -> AlertRule:
    ident, title = table.id(taken), table.text("title")
    measure = table.choice("measure", ("mean", "p95", "silent"))
    spans = {key: table.text(key) for key in ("window", "interval")}
    for key, span in spans.items():
        if not _SPAN.fullmatch(span):
            raise table.wrong(key, f"{span!r} is not a number of s, m, h or d, such as 15m")
    if seconds(spans["window"]) < seconds(spans["interval"]):
        raise table.wrong("window", "it is shorter than the interval, so lines would be looked at by no check")
    if measure == "silent":
        return AlertRule(ident, title, measure, None, "<", 1, **spans)
    metric = table.text("metric")
    if metric not in table.contract.metrics:
        raise table.wrong("metric", f"the contract has no metric {metric!r}")
    if ("below" in table.left) == ("above" in table.left):
        raise table.wrong("below", "a rule has below or above, and not both")
    side: Side = "below" if "below" in table.left else "above"
    if (why := unfit(table.contract.metrics[metric], side, value := table.left.pop(side))) is not None:
        raise table.wrong(side, why)
    return AlertRule(ident, title, measure, metric, "<" if side == "below" else ">", value, **spans)


def unfit(metric: Metric, side: Side, value: object) -> str | None:
    """Why a threshold makes no sense for a metric, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"{value!r} is not a number"
    if metric.better == ("lower" if side == "below" else "higher"):
        return f"{metric.name} is better {metric.better}, so a model that is {side} it is a good one"
    low, high = metric.range
    if not low <= value <= high or value == (low if side == "below" else high):
        least, most = f"{low:g}", f"{high:g}"
        return f"{value:g} is never crossed or always: {metric.name} goes from {least} to {most}"
    return None


def adjusted(
    rules: Sequence[AlertRule],
    contract: Contract,
    *,
    below: float | None = None,
    above: float | None = None,
    window: str | None = None,
    silent: str | None = None,
    models: Iterable[str] = (),
) -> tuple[AlertRule, ...]:
    """The rules with other thresholds and windows, and for each of `models` one that needs no line to know of it.

    Raises `UsageError`.
    """
    made = []
    for rule in rules:
        span = silent if rule.measure == "silent" else window
        option = "--silent" if rule.measure == "silent" else "--window"
        value = below if rule.comparator == "<" else above
        if span is not None:
            _check_span(span, option, rule)
            rule = replace(rule, window=span)
        if value is not None and rule.metric is not None:
            side: Side = "below" if rule.comparator == "<" else "above"
            if (why := unfit(contract.metrics[rule.metric], side, value)) is not None:
                raise UsageError(f"--{side} is wrong", why=why, hint="elkkit import-alerts --help")
            rule = replace(rule, threshold=value)
        made.append(rule)
    for model in dict.fromkeys(models):
        if not model.strip() or not model.isprintable() or len(model) > _LONGEST_NAME:
            raise UsageError("--model is wrong", why=f"{model!r:.80} is no name of a model",
                             hint="elkkit import-alerts --model lane-a")  # fmt: skip
        made += [replace(r, model=model) for r in made if r.measure == "silent" and r.model is None]
    return tuple(made)


def _check_span(span: str, option: str, rule: AlertRule) -> None:
    if not _SPAN.fullmatch(span):
        why = f"{span!r:.80} is not a number of s, m, h or d"
    elif seconds(span) < seconds(rule.interval):
        why = f"{span} is less than {rule.interval}, the time between two checks"
    else:
        return
    raise UsageError(f"{option} is wrong", why=why, hint=f"elkkit import-alerts {option} 15m")


def seconds(span: str) -> int:
    """The seconds of such as `15m`."""
    size, unit = _split(span)
    return size * _SECONDS[unit]


def _split(span: str) -> tuple[int, str]:
    found = _SPAN.fullmatch(span)
    if found is None:  # pragma: no cover - every span was checked where it came in
        raise ConfigError(f"{span!r} is no span of time", why="it is not a number of s, m, h or d", hint="write 15m")
    return int(found[1]), found[2]


# --- what Kibana is given --------------------------------------------------------------------------------------------


def choose(version: tuple[int, int, int], types: Collection[str], present: str | None = None) -> str | None:
    """The rule type for a server that has `types`, or None where none asks the right question.

    `present`: the type of the rule that is there; it stays, since no rule can change its type and keep its actions.
    """
    fit = [t for t, first in FIRST.items() if t in types and version >= first]
    return present if present in fit else next(iter(fit), None)


def rule_key(contract: Contract, rule: AlertRule, space: str) -> Key:
    """Type and fixed id. Ids of rules must be UUIDs, and no two spaces can have the same one."""
    parts = ("elkkit", contract.dataset, rule.id, rule.model or "", space)
    mark = hashlib.sha256("\n".join(parts).encode()).digest()
    return RULE, str(uuid.UUID(bytes=mark[:16], version=4))


def source_key(contract: Contract) -> Key:
    """What the source of a dataset is called."""
    return SOURCE, identity(contract)


def source_object(contract: Contract) -> SavedObject:
    """The indices of a dataset, for rules of the type `METRIC`."""
    attributes = {
        "name": f"elkkit {contract.dataset}",
        "description": "The scores that rules of elkkit look at.",
        "metricAlias": f"logs-{contract.dataset}-*",
    }
    return _object(source_key(contract), attributes)


def asked(contract: Contract, rule: AlertRule) -> str:
    """KQL for the events that a rule looks at: those that it is about, and no canaries."""
    return " and ".join(filter(None, [rule.query, f"not tags : {_quoted(contract.canary_tag)}"]))


def rule_object(
    contract: Contract, rule: AlertRule, kind: str, space: str, data_view: str | None = None
) -> SavedObject:
    """A rule as one of the types of `FIRST`; `data_view`: the id of the dataset's there, if it is another."""
    size, unit = _split(rule.window)
    limit = int(rule.threshold) if float(rule.threshold).is_integer() else rule.threshold
    criterion: dict[str, Any] = {
        "comparator": rule.comparator, "threshold": [limit], "timeSize": size, "timeUnit": unit,
    }  # fmt: skip
    aggregation, query = _AGGREGATIONS[rule.measure], asked(contract, rule)
    # a rule that watches each model remembers those that it saw: one that falls silent is a group that disappears
    params: dict[str, Any] = {
        "criteria": [criterion],
        "alertOnNoData": rule.model is not None,
        "alertOnGroupDisappear": rule.measure == "silent" and rule.model is None,
    }
    if rule.model is None:
        params["groupBy"] = ["model.name"]
    if kind == CUSTOM:
        field = {} if rule.measure == "silent" else {"field": "metricscores"}
        criterion["metrics"] = [{"name": "A", "aggType": aggregation, **field}]
        params["searchConfiguration"] = {"index": data_view or identity(contract), "query": kql(query)}
    else:
        criterion["aggType"] = aggregation
        if rule.measure != "silent":
            criterion["metric"] = "metricscores"
        params["sourceId"] = source_key(contract)[1]
        types = {name: field.type for name, field in contract.fields.items()}
        params["filterQuery"] = json.dumps(to_query(query, types), separators=(",", ":"), ensure_ascii=False)
        params["filterQueryText"] = query  # what people see and edit
    attributes = {
        "name": rule.name,
        "rule_type_id": kind,
        "consumer": CONSUMERS[kind],
        "tags": ["elkkit", contract.dataset],
        "schedule": {"interval": rule.interval},
        "params": params,
    }
    return _object(rule_key(contract, rule, space), attributes)


def rule_there(answer: Mapping[str, Any]) -> SavedObject:
    """A rule as the server has it: what elkkit sets as its attributes, and `operation`, which belongs to people."""
    item = _object((RULE, str(answer["id"])), {k: answer[k] for k in _OF_RULES if k in answer})
    kept = {k: answer[k] for k in _OF_USERS if answer.get(k) is not None}
    actions = [{k: a[k] for k in _OF_ACTIONS if a.get(k) is not None} for a in answer.get("actions") or []]
    return {**item, "operation": {**kept, "actions": actions, "enabled": bool(answer.get("enabled", True))}}


def source_there(ident: str, configuration: Mapping[str, Any]) -> SavedObject:
    """A source as the server has it."""
    return _object((SOURCE, ident), {k: configuration.get(k, "") for k in ("name", "description", "metricAlias")})


def create_body(item: SavedObject, version: tuple[int, int, int], *, disabled: bool = False) -> dict[str, Any]:
    """The body of `POST /api/alerting/rule/{id}`; a rule that was there comes back with what people had set."""
    kept = dict(item.get("operation", {"actions": [], "enabled": not disabled}))
    if version < _PER_ACTION:
        kept.setdefault("notify_when", FRESH)
    return {**item["attributes"], **kept}


def update_body(item: SavedObject, there: SavedObject, version: tuple[int, int, int]) -> dict[str, Any]:
    """The body of `PUT /api/alerting/rule/{id}`: the rule is `item`'s, and its actions stay those that are there."""
    kept = {k: v for k, v in there["operation"].items() if k != "enabled"}
    if version < _PER_ACTION:
        kept.setdefault("notify_when", FRESH)
    own = {k: v for k, v in item["attributes"].items() if k not in ("rule_type_id", "consumer")}
    return {**own, **kept}


def of_one_type(one: SavedObject, other: SavedObject) -> bool:
    """Whether an update can make one rule of the other."""
    return all(one["attributes"].get(k) == other["attributes"].get(k) for k in ("rule_type_id", "consumer"))


def _object(key: Key, attributes: Mapping[str, Any]) -> SavedObject:
    return {"type": key[0], "id": key[1], "attributes": dict(attributes), "references": []}


def _quoted(text: str) -> str:
    """A text in KQL, as one phrase."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
