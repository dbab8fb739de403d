"""Filebeat: which files, and where their lines go. Parsing is the next stage's, so that there is one meaning."""

from __future__ import annotations

from elkkit.contract import Contract
from elkkit.render import elasticsearch
from elkkit.render.templates import render

_DROPPED = ("agent", "ecs", "input")
_LINES = "${ELKKIT_LOG_FILES:/var/log/elkkit/*.log*}"
_CONTAINERS = "${ELKKIT_CONTAINERS:/var/log/containers/*lane-detection*.log}"
_LOGSTASH_HERE = "127.0.0.1:5044"
LOGSTASH_ON_ECK = "logstash-ls-beats:5044"
"""ECK names a service <name>-ls-<service>."""


def to_logstash(contract: Contract) -> str:
    """`filebeat.yml`."""
    return _file(
        contract,
        about=("Reads the log files of scorers and sends their lines to Logstash, which makes events of them.",),
        output="logstash",
    )


def to_elasticsearch(contract: Contract) -> str:
    """`filebeat-elasticsearch.yml`."""
    return _file(
        contract,
        about=(
            "Reads the log files of scorers and sends their lines straight to Elasticsearch, whose ingest pipeline",
            "makes events of them: no Logstash is needed. Templates and pipelines come first, see README.md.",
        ),
        output="elasticsearch",
    )


def kubernetes(contract: Contract) -> str:
    """`filebeat-kubernetes.yml`."""
    return _file(
        contract,
        about=(
            "Reads the logs of the scorers' containers on one node and sends their lines to Logstash. It looks at",
            "files, not at the events of pods, so a scorer that runs for seconds is read too.",
        ),
        output="logstash",
        on_kubernetes=True,
    )


def _file(contract: Contract, *, about: tuple[str, ...], output: str, on_kubernetes: bool = False) -> str:
    dropped = (*_DROPPED, "kubernetes.labels", "kubernetes.annotations") if on_kubernetes else _DROPPED
    return render(
        "filebeat.yml.j2",
        about=about,
        all=elasticsearch.ALL,
        contract=contract,
        dropped=dropped,
        id=f"elkkit-{contract.dataset.replace('.', '-')}{'-containers' if on_kubernetes else ''}",
        kubernetes=on_kubernetes,
        logstash=LOGSTASH_ON_ECK if on_kubernetes else _LOGSTASH_HERE,
        output=output,
        paths=_CONTAINERS if on_kubernetes else _LINES,
        pipeline=elasticsearch.name(contract),
    )
