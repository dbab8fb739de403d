"""Roles of least privilege: what shippers, whoever imports dashboards, and whoever looks at the scores may do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from elkkit.contract import Contract
from elkkit.render.elasticsearch import name
from elkkit.render.templates import NOTE


class RoleKind(StrEnum):
    """For whom a role is."""

    WRITER = "writer"
    """Filebeat, Logstash and `elkkit ship`."""
    IMPORTER = "importer"
    """`elkkit import-dashboards` and its sisters."""
    VIEWER = "viewer"
    """People in Kibana, `elkkit tail --es`, `compare --es`, `query --es`."""


ABOUT: Mapping[RoleKind, str] = {
    RoleKind.WRITER: "Filebeat, Logstash and elkkit ship: create documents, overwrite and delete none",
    RoleKind.IMPORTER: "elkkit import-dashboards: dashboards, searches and data views of one space",
    RoleKind.VIEWER: "people and elkkit compare --es: read the scores and the dashboards of one space",
}
_CLUSTER: Mapping[RoleKind, tuple[str, ...]] = {
    RoleKind.WRITER: ("monitor",),  # every client asks the server first what it is
    RoleKind.IMPORTER: (),  # it speaks to Kibana only
    RoleKind.VIEWER: ("monitor",),
}
# auto_configure: a stream of another namespace comes into being with its first document, and takes the fields that a
# user's own template lets it take. read and maintenance: ship compares what is there already, and refreshes older
# indices before it looks into them.
_INDEX: Mapping[RoleKind, tuple[str, ...]] = {
    RoleKind.WRITER: ("auto_configure", "create_doc", "maintenance", "read", "view_index_metadata"),
    RoleKind.IMPORTER: ("view_index_metadata",),  # Kibana asks on its behalf which fields there are
    RoleKind.VIEWER: ("read", "view_index_metadata"),
}
# Kibana 8.18 and later have new names for these, and go on taking the old ones, which the versions before need
_KIBANA: Mapping[RoleKind, tuple[str, ...]] = {
    RoleKind.WRITER: (),
    RoleKind.IMPORTER: (
        "feature_dashboard.all",
        "feature_discover.all",
        "feature_indexPatterns.all",
        "feature_visualize.all",
    ),
    RoleKind.VIEWER: ("feature_dashboard.read", "feature_discover.read"),
}
_APPLICATION = "kibana-.kibana"


def role_name(contract: Contract, kind: RoleKind) -> str:
    """What a role of the dataset is called: `lane-eval-writer`."""
    return f"{name(contract)}-{kind}"


def privileges(contract: Contract, kind: RoleKind, space: str = "default") -> dict[str, Any]:
    """What a role allows, as roles and API keys take it: `cluster`, `indices`, `applications`.

    It covers the streams of all namespaces of the dataset, and one space of Kibana.
    """
    kibana = _KIBANA[kind]
    at = {"application": _APPLICATION, "privileges": list(kibana), "resources": [f"space:{space}"]}
    return {
        "cluster": list(_CLUSTER[kind]),
        "indices": [{"names": [f"logs-{contract.dataset}-*"], "privileges": list(_INDEX[kind])}],
        "applications": [at] if kibana else [],
    }


def role_body(contract: Contract, kind: RoleKind, space: str = "default") -> dict[str, Any]:
    """A role as `PUT _security/role/NAME` takes it."""
    notes = {"generated_by": NOTE, "managed_by": "elkkit", "contract_version": contract.version, "for": ABOUT[kind]}
    return {**privileges(contract, kind, space), "metadata": notes}
