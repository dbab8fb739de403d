"""Kibana: the data view that Discover and dashboards look through."""

from __future__ import annotations

import json

from elkkit.contract import Contract

ID = "elkkit-lane-eval"
EXACT = "0,0.[0000000000]"
"""Kibana's own number format shows three decimals: an inference time of 9.5e-05 s would read as 0."""


def data_view(contract: Contract) -> str:
    """`data-view.json`: the body for Kibana's data view API (8.0 and later)."""
    formats = {
        f.name: {"id": "number", "params": {"pattern": EXACT}} for f in contract.fields.values() if f.type == "double"
    }
    view = {
        "id": ID,
        "name": "elkkit scores",
        "title": f"logs-{contract.dataset}-*",
        "timeFieldName": "@timestamp",
        "fieldFormats": formats,
    }
    return json.dumps({"data_view": view, "override": False}, indent=2) + "\n"
