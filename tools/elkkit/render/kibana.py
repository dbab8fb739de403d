"""Kibana: the data view that Discover and dashboards look through, and the bundles of dashboards."""

from __future__ import annotations

import json
from collections.abc import Callable

from elkkit.contract import Contract
from elkkit.kibana.bundle import DASHBOARDS, DATA_VIEWS, QUERIES, SEARCHES, TARGETS, Target, bundle_files, encode
from elkkit.kibana.common import SCORE

ID = "elkkit-lane-eval"


def data_view(contract: Contract) -> str:
    """`data-view.json`: the body for Kibana's data view API (8.0 and later)."""
    formats = {
        f.name: {"id": "number", "params": {"pattern": SCORE}} for f in contract.fields.values() if f.type == "double"
    }
    view = {
        "id": ID,
        "name": "elkkit scores",
        "title": f"logs-{contract.dataset}-*",
        "timeFieldName": "@timestamp",
        "fieldFormats": formats,
    }
    return json.dumps({"data_view": view, "override": False}, indent=2) + "\n"


def _file(target: Target, name: str) -> Callable[[Contract], str]:
    return lambda contract: encode(bundle_files(contract, target)[name])


BUNDLES: tuple[tuple[str, Callable[[Contract], str]], ...] = tuple(
    (f"kibana/bundles/{target}/{name}", _file(target, name))
    for target in TARGETS
    for name in (DATA_VIEWS, SEARCHES, QUERIES, *(f"{dashboard}.ndjson" for dashboard in DASHBOARDS))
)
"""Both bundles, made from the specs in `kibana/dashboards/`: saved objects, one a line."""
