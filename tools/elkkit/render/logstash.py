"""Logstash: complete pipelines around one filter, and the settings that lose no acknowledged line.

Logstash joins all files of a folder into one pipeline, so each variant has a folder of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from elkkit.contract import Contract
from elkkit.line.parser import MAX_NESTING
from elkkit.render.judging import engine_patterns, expanded, line_fields, shipper_fields
from elkkit.render.templates import render

WORK = "[@metadata][elkkit]"
"""What the filter keeps while it works on an event; metadata is never sent on."""
PIPELINE_ID = "lane-eval"


@dataclass(frozen=True)
class Target:
    """Where a pipeline reads from and sends to."""

    about: tuple[str, ...]
    tls: Literal["new", "old", "none"]
    """Spelling of the TLS options: the new names are unknown before late 8.x, the old ones refused from 9.0."""
    inputs: tuple[str, ...] = ("beats", "file")
    beats_host: str = "127.0.0.1"
    beats_tls: bool = False
    output: Literal["elasticsearch", "stdout"] = "elasticsearch"
    hosts: str = "${ELKKIT_ELASTICSEARCH_URL:https://localhost:9200}"
    user: str = "${ELKKIT_ELASTICSEARCH_USER:logstash_writer}"
    password: str = "${ELKKIT_ELASTICSEARCH_PASSWORD}"  # noqa: S105  the name of a variable
    authority: str = "${ELKKIT_ELASTICSEARCH_CA}"


_SECURED = (
    "Set before the start: ELKKIT_ELASTICSEARCH_URL, _USER, _PASSWORD and _CA (the certificate authority's file); for",
    "Beats from other hosts ELKKIT_BEATS_HOST, and ELKKIT_BEATS_CERTIFICATE and _KEY (this Logstash's own).",
    "ELKKIT_ALL=true keeps ordinary text too. README.md in the folder above says what each part does.",
)
CURRENT = Target(about=("For Logstash 8.14 and later, 9.x included.", *_SECURED), tls="new", beats_tls=True)
OLD_NAMES = replace(CURRENT, about=("For Logstash 8.3 to 8.13: the TLS options' older names.", *_SECURED), tls="old")
LAPTOP = Target(
    about=(
        "For one machine, every version from 8.3: no TLS and no password, so everything stays on the loopback",
        "address. ELKKIT_ALL=true keeps ordinary text too.",
    ),
    tls="none",
    hosts="${ELKKIT_ELASTICSEARCH_URL:http://127.0.0.1:9200}",
)
TRY_OUT = Target(
    about=("Reads lines from standard input and prints what becomes of them, one JSON object each: for trying out.",),
    tls="none",
    inputs=("stdin",),
    output="stdout",
)


def ruby_filter(contract: Contract) -> str:
    """The code that reads JSON lines, as Ruby text."""
    fields = line_fields(contract)
    return render(
        "line.rb",
        contract=contract,
        work=WORK,
        fields=fields,
        many=[f.name for f in fields if f.many],
        shippers=shipper_fields(contract),
        max_nesting=MAX_NESTING,
        prefix=rf"\A{expanded(contract, '%{ELKKIT_PARTIAL_PREFIX}')}",
    )


def filter_section(contract: Contract) -> str:
    """The `filter { … }` part, the same in every pipeline."""
    patterns = engine_patterns(contract, lambda name: f"{WORK}[{name}]", "float")
    return render("filter.conf.j2", contract=contract, work=WORK, patterns=patterns, ruby="\n" + ruby_filter(contract))


def pipeline(contract: Contract, target: Target) -> str:
    """One complete pipeline."""
    connection = render("connection.conf.j2", contract=contract, **_connection(target))
    return render(
        "pipeline.conf.j2",
        about=target.about,
        inputs=target.inputs,
        tls=target.tls,
        beats_host=target.beats_host,
        beats_tls=target.beats_tls,
        output=target.output,
        connection=connection.rstrip("\n"),
        filter=filter_section(contract),
        work=WORK,
    )


def _connection(target: Target) -> dict[str, str]:
    names = ("hosts", "tls", "user", "password", "authority")
    return {name: getattr(target, name) for name in names}


def current(contract: Contract) -> str:
    """`pipeline/lane-eval.conf`."""
    return pipeline(contract, CURRENT)


def old_names(contract: Contract) -> str:
    """`pipeline-8.3/lane-eval.conf`."""
    return pipeline(contract, OLD_NAMES)


def laptop(contract: Contract) -> str:
    """`pipeline-laptop/lane-eval.conf`."""
    return pipeline(contract, LAPTOP)


def try_out(contract: Contract) -> str:
    """`pipeline-stdin/lane-eval.conf`."""
    return pipeline(contract, TRY_OUT)


def settings(contract: Contract, *, everywhere: bool = False) -> str:  # noqa: ARG001  one shape for all generators
    """`config/logstash.yml`; `everywhere` for a pod, whose probes come from outside it."""
    return render("logstash.yml.j2", everywhere=everywhere)


def pipelines(contract: Contract) -> str:  # noqa: ARG001  as above
    """`config/pipelines.yml`."""
    return render("pipelines.yml.j2", pipeline_id=PIPELINE_ID)
