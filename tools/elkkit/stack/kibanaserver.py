"""What a Kibana is and how it fares, from its status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elkkit.stack.kibanaerrors import foreign

_STATES = {"green": "available", "yellow": "degraded", "red": "critical"}
Level = Literal["available", "degraded", "unavailable", "critical", "starting"]


@dataclass(frozen=True, slots=True)
class KibanaServer:
    """What a Kibana turned out to be."""

    url: str
    product: Literal["Kibana", "OpenSearch Dashboards"] = "Kibana"
    version: tuple[int, int, int] = (0, 0, 0)
    """(0, 0, 0) while it starts and does not say."""
    version_text: str = ""
    flavour: Literal["default", "oss", "serverless"] = "default"
    """`oss`: without Lens, tags, maps, spaces and alerts."""
    level: Level = "starting"

    @property
    def ready(self) -> bool:
        """It takes requests; `degraded` is what most say for a while after their start."""
        return self.level in ("available", "degraded")

    @property
    def kind(self) -> str:
        """For people: `Kibana 8.12.2`."""
        text = f"{self.product} {self.version_text}".strip()
        return f"{text} (OSS)" if self.flavour == "oss" and self.product == "Kibana" else text


def starting(known: KibanaServer, url: str) -> KibanaServer:
    """The server as it was known, while it starts."""
    return KibanaServer(url, known.product, known.version, known.version_text, known.flavour)


def read_status(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> KibanaServer:
    """What a status says."""
    version, status = body["version"], body["status"]
    text = str(version.get("number", ""))
    if (found := re.match(r"(\d+)\.(\d+)\.(\d+)", text)) is None:
        raise foreign(url, "it answers, but does not say which version it is")
    number = (int(found[1]), int(found[2]), int(found[3]))
    level = _level(status.get("overall"))
    if "osd-name" in headers:
        return KibanaServer(url, "OpenSearch Dashboards", number, text, "oss", level)
    if number < (7, 10, 0):
        raise foreign(url, f"it is Kibana {text}, and 7.10 is the oldest that elkkit speaks to")
    serverless = version.get("build_flavor") == "serverless"
    # only 7.x had a distribution without x-pack; `licensing` is the one plugin that all of x-pack needs
    oss = number < (7, 11, 0) and not any("licensing" in p or "spaces" in p for p in _plugins(status))
    return KibanaServer(url, "Kibana", number, text, "serverless" if serverless else "oss" if oss else "default", level)


def _level(overall: object) -> Level:
    """How it fares, of either shape of a status."""
    if not isinstance(overall, Mapping):
        return "critical"
    told = overall.get("level") or _STATES.get(str(overall.get("state")))
    levels: dict[object, Level] = {"available": "available", "degraded": "degraded", "unavailable": "unavailable"}
    return levels.get(told, "critical")


def _plugins(status: Mapping[str, Any]) -> list[str]:
    """The names of its plugins, of either shape of a status."""
    if isinstance(rows := status.get("statuses"), list):
        return [str(row.get("id")) for row in rows if isinstance(row, Mapping)]
    return [str(name) for name in status.get("plugins") or {}]
