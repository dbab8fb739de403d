"""Helm values with the generated files inside: for the ECK operator's charts, for the last of the older charts, and
for monitoring.

What can be set comes in as options of known types (`helm_options`), is written by the filter `yaml`, and so stays the
scalar that it was. The committed files of `helm-values/` are the same templates with every default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from elkkit.contract import Contract
from elkkit.render import filebeat, logstash
from elkkit.render.helm_options import KINDS, SIZES, Kind, Size, check, defaults_of, mebibytes
from elkkit.render.templates import render

CHARTS: Mapping[Kind, tuple[str, ...]] = {
    "eck": ("eck-stack",),
    "classic": ("elasticsearch", "kibana", "logstash", "filebeat"),
    "monitoring": ("kube-prometheus-stack", "prometheus-elasticsearch-exporter", "prometheus-json-exporter"),
}
"""The charts of each kind: a file of values each, named after it, in the order of their installation."""
BEATS_PORT, LOGSTASH_API_PORT, FILEBEAT_STATS_PORT = 5044, 9600, 5066
EXPORTER_PORT = 7979
CLASSIC_CERTIFICATES = "/usr/share/logstash/config/certs/"
_DEAD_LETTERS = 256
"""Mebibytes of Logstash's dead letter queue under ECK."""

ON_ECK = logstash.Target(
    about=("Inside Kubernetes: ECK gives the address, user, password and certificate authority of Elasticsearch.",),
    tls="new",
    inputs=("beats",),
    beats_host="0.0.0.0",  # noqa: S104  the pod's own address; only the cluster reaches it
    hosts="${ECK_ES_HOSTS}",
    user="${ECK_ES_USER}",
    password="${ECK_ES_PASSWORD}",  # noqa: S106  the name of a variable
    authority="${ECK_ES_SSL_CERTIFICATE_AUTHORITY}",
)
ON_CLASSIC = logstash.Target(
    about=("Inside Kubernetes, for Logstash 8.3 to 8.13: the TLS options' older names.",),
    tls="old",
    inputs=("beats",),
    beats_host="0.0.0.0",  # noqa: S104  as above
    hosts="https://elasticsearch-master:9200",
    user="${ELKKIT_ELASTICSEARCH_USER}",
    authority=f"{CLASSIC_CERTIFICATES}ca.crt",
)


def logstash_host(kind: Kind, name: str) -> str:
    """Where Filebeat finds Logstash: ECK names a service <name>-ls-<service>, the older chart as the whole of it."""
    return f"{name}-ls-beats:{BEATS_PORT}" if kind == "eck" else f"{name}:{BEATS_PORT}"


def values(
    contract: Contract, kind: Kind, size: Size, given: Mapping[str, Any] | None = None, *, note: str | None = None
) -> dict[str, str]:
    """The values of every chart of a kind, by the chart's name; the stream is the contract's.

    `given`: options that differ from the defaults, each of its type; `note` replaces the first line, which says where
    the file comes from. Raises `UsageError` where they do not go together.
    """
    options = defaults_of(kind, size) | dict(given or {})
    check(kind, options)
    context = {
        # a dot in a name would be a look-up
        **{name.replace(".", "_"): value for name, value in options.items()},
        "kind": kind,
        "size": size,
        "contract": contract,
        "beats_port": BEATS_PORT,
        **_DERIVE[kind](contract, options),
    }
    if note is not None:
        context["note"] = note
    return {chart: render(f"helm/{kind}/{chart}.yaml.j2", **context) for chart in CHARTS[kind]}


def _eck(contract: Contract, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "filebeat_text": filebeat.kubernetes(contract),
        "logstash_host": logstash_host("eck", options["logstash.name"]),
        "logstash_heap": _half(options["logstash.memory"]),
        "pipeline_id": logstash.PIPELINE_ID,
        "pipeline_text": logstash.pipeline(contract, ON_ECK),
        # what is left of the volume is for the page that is being written, and for the dead letters
        "queue": (mebibytes(options["logstash.storage"]) - _DEAD_LETTERS) * 3 // 4,
        "dead_letters": _DEAD_LETTERS,
        "settings_text": logstash.settings(contract, everywhere=True),
    }


def _classic(contract: Contract, options: Mapping[str, Any]) -> dict[str, Any]:
    master = f"{options['elasticsearch.name']}-master"
    target = replace(ON_CLASSIC, hosts=f"https://{master}:9200")
    return {
        "certificates": CLASSIC_CERTIFICATES,
        "elasticsearch_heap": _half(options["elasticsearch.memory"]),
        "filebeat_text": filebeat.kubernetes(contract),
        "kibana_heap": mebibytes(options["kibana.memory"]) * 7 // 8,
        "logstash_host": logstash_host("classic", options["logstash.name"]),
        "logstash_heap": _half(options["logstash.memory"]),
        "master": master,
        "pipeline_text": logstash.pipeline(contract, target),
        "settings_text": logstash.settings(contract, everywhere=True),
    }


def _monitoring(contract: Contract, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001  one shape for all
    on_eck = options["stack"] == "eck"
    name, namespace, shipper = options["elasticsearch.name"], options["namespace"], options["logstash.name"]
    return {
        "on_eck": on_eck,
        "elasticsearch_host": f"{name}-es-http" if on_eck else f"{name}-master",
        "elasticsearch_authority": f"{name}-es-http-certs-public" if on_eck else f"{name}-master-certs",
        "exporter_host": f"prometheus-json-exporter.{namespace}.svc:{EXPORTER_PORT}",
        "exporter_port": EXPORTER_PORT,
        "filebeat_port": FILEBEAT_STATS_PORT,
        "logstash_api_authority": f"{shipper}-ls-http-certs-public",
        "logstash_api_host": f"{shipper}-ls-api.{namespace}.svc",
        "logstash_api_port": LOGSTASH_API_PORT,
        "pipeline_id": logstash.PIPELINE_ID if on_eck else "main",
        "retention_size": f"{mebibytes(options['prometheus.storage']) * 9 // 10}MB",
        "scoring_namespace": options["scoring.namespace"] or namespace,
    }


_DERIVE: Mapping[Kind, Callable[[Contract, Mapping[str, Any]], dict[str, Any]]] = {
    "eck": _eck,
    "classic": _classic,
    "monitoring": _monitoring,
}


def _half(memory: str) -> int:
    """Mebibytes of a Java heap; the other half is for the files' cache and for what lies outside the heap."""
    return mebibytes(memory) // 2


def path(kind: Kind, size: Size, chart: str) -> str:
    """Where the committed file lies."""
    return f"helm-values/{kind}/{size}/{chart}.yaml"


def _committed(kind: Kind, size: Size, chart: str) -> Callable[[Contract], str]:
    return lambda contract: values(contract, kind, size)[chart]


OUTPUTS: tuple[tuple[str, Callable[[Contract], str]], ...] = tuple(
    (path(kind, size, chart), _committed(kind, size, chart))
    for kind in KINDS
    for size in SIZES
    for chart in CHARTS[kind]
)
"""The committed files: every kind and size with its defaults."""
