"""A team's own metrics, fields and dataset, added to the contract from `elkkit.toml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, get_args

from elkkit.contract.model import ASCII_LOWER, Better, Contract, Field, Metric, make_field, make_metric
from elkkit.errors import ConfigError

METRIC_KEYS = frozenset({"aliases", "unit", "better", "range", "format", "defined", "tolerance_px"})
FIELD_KEYS = frozenset({"type", "bare", "short", "example", "many"})
FIELD_TYPES = frozenset({"keyword", "long", "double", "boolean", "date"})
# Elasticsearch: lower case, and none of the characters that a data stream's parts may not hold
_DATASET = re.compile(r"[a-z0-9][a-z0-9._]{0,99}")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9._]{0,99}")
_FIELD_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)+")
_NAME = re.compile(r"(?=.{1,64}\Z)[^\W\d_][\w\-@./()]*(?: [0-9_\-@./()]*[^\W\d_][\w\-@./()]*){0,5}")


def extend(
    contract: Contract,
    *,
    dataset: str | None = None,
    namespace: str | None = None,
    own_metrics: str | None = None,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    origin: str = "elkkit.toml",
) -> Contract:
    """Add to the contract. Raises `ConfigError`, naming the key in `origin` that is wrong."""
    changes: dict[str, Any] = {}
    if dataset is not None:
        changes["dataset"] = _fits(dataset, _DATASET, "dataset", origin)
    if namespace is not None:
        changes["namespace"] = _fits(namespace, _NAMESPACE, "namespace", origin)
    if own_metrics is not None:
        if own_metrics not in ("any", "listed"):
            raise _wrong(origin, "own_metrics", f"{own_metrics!r} is neither 'any' nor 'listed'")
        changes["own_metrics"] = own_metrics
    if metrics:
        changes["metrics"] = MappingProxyType(_metrics(contract, metrics, origin))
    if fields:
        changes["fields"] = MappingProxyType(_fields(contract, fields, origin))
    return replace(contract, **changes)


def _wrong(origin: str, key: str, why: str) -> ConfigError:
    return ConfigError(f"{origin}: {key} is wrong", why=why, hint="elkkit config show  prints what is in force")


def _fits(value: object, pattern: re.Pattern[str], key: str, origin: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        why = f"{value!r} is not a name that Elasticsearch takes there: lower-case letters, digits, '.' and '_'"
        raise _wrong(origin, key, why)
    return value


def _known_keys(table: Mapping[str, Any], keys: frozenset[str], key: str, origin: str) -> None:
    if unknown := sorted(set(table) - keys):
        raise _wrong(origin, f"{key}.{unknown[0]}", f"no such key; there are {', '.join(sorted(keys))}")


def _metrics(contract: Contract, tables: Mapping[str, Mapping[str, Any]], origin: str) -> dict[str, Metric]:
    result = dict(contract.metrics)
    for name, table in tables.items():
        key = f"metrics.{name}"
        if not isinstance(table, Mapping):
            raise _wrong(origin, key, "a metric is a table with unit, better, format …")
        _known_keys(table, METRIC_KEYS, key, origin)
        if table.get("better", "none") not in get_args(Better):
            raise _wrong(origin, f"{key}.better", f"{table['better']!r} is none of higher, lower, none")
        aliases = table.get("aliases", [])
        if not isinstance(aliases, list) or not all(isinstance(a, str) for a in aliases):
            raise _wrong(origin, f"{key}.aliases", "aliases are a list of names")
        for spelling in (name, *aliases):
            if not _NAME.fullmatch(spelling):
                raise _wrong(origin, key, f"{spelling!r} is no metric name: 1 to 6 words, at most 64 characters")
        bounds = table.get("range", [0, 1])
        if not (isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(b, int | float) for b in bounds)):
            raise _wrong(origin, f"{key}.range", "a range is two numbers, lowest and highest")
        try:
            format(0.5, table.get("format", "g"))
        except (ValueError, TypeError) as error:
            raise _wrong(origin, f"{key}.format", str(error)) from None
        result[name] = make_metric(name, table)
    seen: dict[str, str] = {}
    for metric in result.values():
        for spelling in metric.spellings:
            other = seen.setdefault(spelling.translate(ASCII_LOWER), metric.name)
            if other != metric.name:
                raise _wrong(origin, f"metrics.{metric.name}", f"{spelling!r} is a name of {other} already")
    return result


def _fields(contract: Contract, tables: Mapping[str, Mapping[str, Any]], origin: str) -> dict[str, Field]:
    result = dict(contract.fields)
    for name, table in tables.items():
        key = f'fields."{name}"'
        if not isinstance(table, Mapping) or not _FIELD_NAME.fullmatch(name):
            raise _wrong(origin, key, "a field is a table under a dotted lower-case name, such as model.backbone")
        if name in contract.fields:
            raise _wrong(origin, key, "the contract has this field already, and its meaning is fixed")
        if clash := [f for f in result if f.startswith(f"{name}.") or name.startswith(f"{f}.")]:
            raise _wrong(origin, key, f"{clash[0]} would need the same name for a value and a group")
        _known_keys(table, FIELD_KEYS, key, origin)
        if table.get("type", "keyword") not in FIELD_TYPES:
            raise _wrong(origin, f"{key}.type", f"{table['type']!r} is none of {', '.join(sorted(FIELD_TYPES))}")
        result[name] = make_field(name, {"type": "keyword", "short": "a field of your own", "example": "", **table})
    return result
