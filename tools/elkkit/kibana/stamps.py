"""Version stamps: in which Kibana's shape an object is written, and which Kibana can read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})")

CLASSIC: Mapping[str, str] = MappingProxyType(
    {"index-pattern": "7.6.0", "search": "7.9.3", "visualization": "7.10.0", "dashboard": "7.9.3"}
)
"""Read by every Kibana from 7.10 on and by OpenSearch Dashboards. A saved query has none: 7.10 knows no version."""
LENS: Mapping[str, str] = MappingProxyType({**CLASSIC, "lens": "8.3.0", "dashboard": "8.3.0"})
"""Read by every Kibana from 8.3 on. What both bundles hold is the same in both."""

# releases that were tried; a type that is missing is not taken at all, "" takes only what has no stamp
_KNOWN: tuple[tuple[tuple[int, int], Mapping[str, str]], ...] = (
    ((7, 10), {**CLASSIC, "query": ""}),
    (
        (7, 12),
        {
            "index-pattern": "7.11.0",
            "search": "7.9.3",
            "visualization": "7.12.0",
            "dashboard": "7.11.0",
            "lens": "7.12.0",
            "query": "",
            "tag": "",
        },
    ),
    (
        (8, 3),
        {
            **dict.fromkeys(("index-pattern", "search", "query", "tag"), "8.0.0"),
            **dict.fromkeys(("visualization", "lens", "dashboard"), "8.3.0"),
        },
    ),
    (
        (8, 12),
        {
            **dict.fromkeys(("index-pattern", "search", "query", "tag"), "8.0.0"),
            **dict.fromkeys(("lens", "dashboard"), "8.9.0"),
            "visualization": "8.5.0",
        },
    ),
)
TRIED = frozenset(kind for _, limits in _KNOWN for kind in limits)
"""Types whose limits are known for some Kibana: of others nothing can be said."""


def version(text: object) -> tuple[int, int, int] | None:
    """`7.10.2` as numbers; None for anything else, which crashes some Kibanas."""
    found = _VERSION.fullmatch(text) if isinstance(text, str) else None
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def limits_of(kibana: str) -> Mapping[str, str] | None:
    """The newest stamp per type that a Kibana takes; None where nothing is known, as for all after 8.12.

    `kibana` is `8.12` or `8.12.2`; what is older than 7.10, and OpenSearch Dashboards, are to be asked for as `7.10`.
    Between the releases that were tried no stamp is newer than the Kibana itself, and that is all that is said.
    """
    parts = [int(part) for part in re.findall(r"\d+", kibana)[:2]]
    asked = (parts[0], parts[1]) if len(parts) == 2 else (0, 0)
    if not parts or asked > _KNOWN[-1][0]:
        return None
    since, limits = next((entry for entry in reversed(_KNOWN) if asked >= entry[0]), _KNOWN[0])
    if asked > since:
        limits = dict.fromkeys(TRIED, f"{asked[0]}.{asked[1]}.999")
    return MappingProxyType(dict(limits))
