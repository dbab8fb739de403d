"""Helm values with the generated files inside: for the ECK operator's charts, and for the last of the older charts."""

from __future__ import annotations

from elkkit.contract import Contract
from elkkit.render import filebeat, logstash
from elkkit.render.templates import render

ECK_STACK_VERSION = "9.5.0"
LEGACY_VERSION = "8.5.1"
LEGACY_CERTIFICATES = "/usr/share/logstash/config/certs/"
LEGACY_LOGSTASH = "logstash-logstash:5044"

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
ON_LEGACY = logstash.Target(
    about=("Inside Kubernetes, for Logstash 8.3 to 8.13: the TLS options' older names.",),
    tls="old",
    inputs=("beats",),
    beats_host="0.0.0.0",  # noqa: S104  as above
    hosts="https://elasticsearch-master:9200",
    user="${ELKKIT_ELASTICSEARCH_USER}",
    authority=f"{LEGACY_CERTIFICATES}ca.crt",
)


def eck(contract: Contract) -> str:
    """`eck/values.yaml`."""
    return render(
        "eck.yaml.j2",
        version=ECK_STACK_VERSION,
        settings=logstash.settings(contract, everywhere=True),
        pipeline_id=logstash.PIPELINE_ID,
        pipeline=logstash.pipeline(contract, ON_ECK),
        filebeat=filebeat.kubernetes(contract),
    )


def legacy_elasticsearch(contract: Contract) -> str:  # noqa: ARG001  one shape for all generators
    """`legacy-8.5.1/elasticsearch.yaml`."""
    return render("legacy-elasticsearch.yaml.j2", version=LEGACY_VERSION)


def legacy_kibana(contract: Contract) -> str:  # noqa: ARG001  as above
    """`legacy-8.5.1/kibana.yaml`."""
    return render("legacy-kibana.yaml.j2", version=LEGACY_VERSION)


def legacy_logstash(contract: Contract) -> str:
    """`legacy-8.5.1/logstash.yaml`."""
    return render(
        "legacy-logstash.yaml.j2",
        version=LEGACY_VERSION,
        settings=logstash.settings(contract, everywhere=True),
        pipeline=logstash.pipeline(contract, ON_LEGACY),
        certificates=LEGACY_CERTIFICATES,
    )


def legacy_filebeat(contract: Contract) -> str:
    """`legacy-8.5.1/filebeat.yaml`."""
    return render(
        "legacy-filebeat.yaml.j2",
        version=LEGACY_VERSION,
        filebeat=filebeat.kubernetes(contract),
        logstash=LEGACY_LOGSTASH,
    )
