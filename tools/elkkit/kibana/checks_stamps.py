"""Are the version stamps of an object ones that a Kibana takes, and do they fit its shape?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from elkkit.kibana.decoded import Found
from elkkit.kibana.problems import Problem
from elkkit.kibana.stamps import LENS, TRIED, version

_RENAMED = (8, 6, 0)
"""From here on Lens calls its data source `formBased`."""
_BY_PANEL = (7, 11, 0)
"""From here on a dashboard's references are named `<panel>:panel_<panel>`."""
_CONTROLS = (8, 0, 0)
"""No dashboard stamped before has `controlGroupInput`: strict mappings refuse it."""


def check(found: Found, limits: Mapping[str, str] | None) -> Iterator[Problem]:
    """Stamps of one object."""
    name, kind = found.name, found.type
    legacy, typed, core = (
        found.raw.get(key) for key in ("migrationVersion", "typeMigrationVersion", "coreMigrationVersion")
    )
    if core is not None and version(core) is None:
        yield Problem(name, "coreMigrationVersion", f"{core!r} is not a version such as 8.8.0")
    if legacy is not None and not isinstance(legacy, dict):
        yield Problem(name, "migrationVersion", "an object of type and version is needed")
        return
    if legacy and (version(core) or (0, 0, 0)) >= (8, 8, 0):
        yield Problem(name, "migrationVersion", f"with coreMigrationVersion {core} it is refused as an unknown field")
    if legacy and typed is not None:
        yield Problem(name, "migrationVersion", "typeMigrationVersion is there too: one of them is meant")
    for other in legacy or {}:
        if other != kind:
            yield Problem(name, f"migrationVersion.{other}", f"the object is a {kind}")
    stamp = typed if typed is not None else (legacy or {}).get(kind)
    where = "typeMigrationVersion" if typed is not None else f"migrationVersion.{kind}"
    if limits is not None and kind in TRIED and kind not in limits:
        yield Problem(name, "type", f"that Kibana is not known to take a {kind}")
    if stamp is None:
        if kind in LENS:  # others came without one, and some Kibanas know no version of them
            yield Problem(name, where, "it has no stamp: every migration since 6.x would be run on it")
        return
    numbers = version(stamp)
    if numbers is None:
        yield Problem(name, where, f"{stamp!r} is not a version such as 7.10.0")
        return
    limit = (limits or {}).get(kind)
    if limit is not None and numbers > (version(limit) or (0, 0, 0)):
        known = f"{limit} is the newest" if limit else "it takes none"
        yield Problem(name, where, f"{stamp} is newer than that Kibana takes: {known}")
    yield from _fits(found, where, numbers)


def _fits(found: Found, where: str, stamp: tuple[int, int, int]) -> Iterator[Problem]:
    """A stamp that is not of the object's shape makes migrations run twice, or not at all."""
    text = ".".join(map(str, stamp))
    if found.type == "lens":
        sources = found.at("state.datasourceStates")
        sources = sources if isinstance(sources, dict) else {}
        if stamp < _RENAMED and "formBased" in sources:
            yield Problem(found.name, where, f"formBased is a shape of 8.6 and later, the stamp says {text}")
        if stamp >= _RENAMED and "indexpattern" in sources and "formBased" not in sources:
            yield Problem(found.name, where, f"indexpattern is a shape from before 8.6, the stamp says {text}")
    if found.type != "dashboard":
        return
    if stamp < _CONTROLS and "controlGroupInput" in found.attributes:
        yield Problem(found.name, where, f"controls need a stamp of 8.x, it says {text}")
    for link in found.references:
        if ":panel_" in link["name"] and stamp < _BY_PANEL:
            yield Problem(
                found.name, where, f"reference {link['name']} is named as from 7.11 on, the stamp says {text}"
            )
            break
        if link["name"].startswith("panel_") and stamp >= _BY_PANEL:
            yield Problem(found.name, where, f"reference {link['name']} is named as before 7.11, the stamp says {text}")
            break
