"""What `elkkit render helm-values --set` can set: one table, with a type and a default for each kind and size.

A type is the name of a definition in `helm-values/schemas/types.json`. `DERIVED` marks an option that is left out of
the values, or follows from something else, as long as nobody sets it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from elkkit.errors import UsageError

Kind: TypeAlias = Literal["eck", "classic", "monitoring"]
Size: TypeAlias = Literal["small", "production"]
Scalar: TypeAlias = str | int | bool
KINDS: tuple[Kind, ...] = get_args(Kind)
SIZES: tuple[Size, ...] = get_args(Size)
DERIVED = None
"""No value of its own."""


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be set."""

    name: str
    type: str
    """Of `types.json`."""
    about: str
    defaults: Mapping[Kind, tuple[Scalar | None, Scalar | None]]
    """Of each kind that has it: small and production."""

    def default(self, kind: Kind, size: Size) -> Scalar | None:
        """What holds where it is not set."""
        return self.defaults[kind][SIZES.index(size)]


def _both(small: Scalar | None, production: Scalar | None) -> Mapping[Kind, tuple[Scalar | None, Scalar | None]]:
    return {"eck": (small, production), "classic": (small, production)}


def _same(value: Scalar | None, *kinds: Kind) -> Mapping[Kind, tuple[Scalar | None, Scalar | None]]:
    return dict.fromkeys(kinds, (value, value))


_OPTIONS = (
    Option("namespace", "name", "the stack's namespace in Kubernetes", _same("lane", "eck", "monitoring")),
    Option("version", "eck-version", "version of the stack", _same("9.5.0", "eck")),
    Option("version", "classic-version", "version of the stack", _same("8.5.1", "classic")),
    Option("storage_class", "resource", "storage class of all volumes; else the cluster's own", _same(DERIVED, *KINDS)),
    Option("stream.dataset", "dataset", "the dataset; else the one that `elkkit config show` shows",
           _same(DERIVED, "eck", "classic")),
    Option("stream.namespace", "dataset", "last part of the stream's name; else as `elkkit config show` says",
           _same(DERIVED, "eck", "classic")),
    Option("containers", "containers", "the containers' log files that are read, in /var/log/containers",
           _same("*lane-detection*.log", "eck", "classic")),
    Option("elasticsearch.name", "name", "name of Elasticsearch, from which its services' and secrets' names come",
           _same("elasticsearch", *KINDS)),
    Option("elasticsearch.count", "count", "nodes; one, or three and more", _both(1, 3)),
    Option("elasticsearch.cpu", "cpu", "processors of a node", _both("500m", "2")),
    Option("elasticsearch.memory", "size", "memory of a node, half of it for the heap", _both("2Gi", "8Gi")),
    Option("elasticsearch.storage", "size", "volume of a node", _both("20Gi", "100Gi")),
    Option("elasticsearch.mmap", "switch", "map files into memory; the nodes need vm.max_map_count of 262144 or more",
           _same(False, "eck")),
    Option("kibana.name", "name", "name of Kibana", _same("kibana", "eck", "classic")),
    Option("kibana.count", "count", "pods", {"eck": (1, 2)}),
    Option("kibana.memory", "size", "memory of a pod", _both("2Gi", "2Gi")),
    Option("kibana.url", "url", "address of Kibana in the browser, for links", _same(DERIVED, "eck", "classic")),
    Option("logstash.name", "name", "name of Logstash, from which its service's name comes", _same("logstash", *KINDS)),
    Option("logstash.count", "count", "pods", _both(1, 2)),
    Option("logstash.cpu", "cpu", "processors of a pod", _both("250m", "1")),
    Option("logstash.memory", "size", "memory of a pod, half of it for the heap", _both("2Gi", "4Gi")),
    Option("logstash.storage", "size", "volume of a pod, for its queue", _both("4Gi", "20Gi")),
    Option("filebeat.memory", "size", "memory of a pod, one of which is on every node", _both("300Mi", "500Mi")),
    Option("filebeat.registry", "folder", "folder on the nodes in which Filebeat remembers what it has read",
           _same("/var/lib", "eck", "classic")),
    Option("stack", "stack", "which values the stack was installed with", _same("eck", "monitoring")),
    Option("scoring.namespace", "name", "namespace of the scoring service; else the stack's",
           _same(DERIVED, "monitoring")),
    Option("scoring.app", "label", "the scoring pods' label app.kubernetes.io/name",
           _same("lane-detection", "monitoring")),
    Option("scoring.port", "port", "port of the scoring pods", _same(5001, "monitoring")),
    Option("scoring.path", "path", "path of their metrics", _same("/metrics", "monitoring")),
    Option("prometheus.count", "count", "pods, each with all data", {"monitoring": (1, 2)}),
    Option("prometheus.memory", "size", "memory of a pod", {"monitoring": ("2Gi", "4Gi")}),
    Option("prometheus.storage", "size", "volume of a pod; nine tenths are used", {"monitoring": ("20Gi", "100Gi")}),
    Option("prometheus.retention", "days", "how long metrics are kept", {"monitoring": ("15d", "30d")}),
    Option("alertmanager.enabled", "switch", "send alerts on", {"monitoring": (False, True)}),
    Option("grafana.secret", "resource", "secret with admin-user and admin-password; you make it",
           _same("grafana-admin", "monitoring")),
    Option("grafana.url", "url", "address of Grafana in the browser, for links", _same(DERIVED, "monitoring")),
    Option("grafana.memory", "size", "memory of its pod", _same("512Mi", "monitoring")),
    Option("grafana.storage", "size", "its volume", {"monitoring": ("5Gi", "10Gi")}),
    Option("exporter.secret", "resource", "secret with username and password of a user who may monitor; you make it",
           _same("elasticsearch-exporter", "monitoring")),
)  # fmt: skip


def options_of(kind: Kind) -> dict[str, Option]:
    """The options of a kind by their names, in the order of the table."""
    return {o.name: o for o in _OPTIONS if kind in o.defaults}


def defaults_of(kind: Kind, size: Size) -> dict[str, Scalar | None]:
    """The value of every option where nothing is set."""
    return {name: option.default(kind, size) for name, option in options_of(kind).items()}


def kinds_with(name: str) -> list[Kind]:
    """The kinds that have an option of this name."""
    return [kind for kind in KINDS if name in options_of(kind)]


# --- what belongs together -------------------------------------------------------------------------------------------

_UNITS = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
_LEAST: Mapping[str, int] = {
    "elasticsearch.memory": 1024,
    "elasticsearch.storage": 1024,
    "kibana.memory": 1024,
    "logstash.memory": 1024,
    "logstash.storage": 3 * 1024,
    "filebeat.memory": 100,
    "prometheus.memory": 512,
    "prometheus.storage": 1024,
    "grafana.memory": 128,
    "grafana.storage": 512,
}
"""Mebibytes below which it does not start, or loses what it is there to keep (Logstash: a queue and a dead letter queue
of a gibibyte each)."""


def mebibytes(size: str) -> int:
    """`2Gi` as 2048."""
    found = re.fullmatch(r"(\d+)(Mi|Gi|Ti)", size)
    if found is None:
        raise UsageError(f"{size!r} is no size", why="it is a whole number of Mi, Gi or Ti", hint="write, say, 20Gi")
    return int(found[1]) * _UNITS[found[2]]


def check(kind: Kind, values: Mapping[str, Any]) -> None:
    """Refuse values, each of its type, that would not work. Raises `UsageError`."""
    hint = f"elkkit render helm-values --kind {kind} --keys  shows every key with its default"
    if values.get("elasticsearch.count") == 2:
        why = "when one of two master nodes is lost the other may not decide: take 1, or 3 and more"
        raise UsageError("elasticsearch.count cannot be 2", why=why, hint=hint)
    for name, least in _LEAST.items():
        if name in values and mebibytes(values[name]) < least:
            raise UsageError(f"{name} is too little: {values[name]}", why=f"it takes {least}Mi or more", hint=hint)
    address = values.get("kibana.url") or values.get("grafana.url") or ""
    port = re.search(r"(?<=:)\d+(?=/|$)", address)
    if port and not 0 < int(port[0]) < 65536:
        raise UsageError(f"{address} cannot be an address", why=f"{port[0]} is no port", hint=hint)
