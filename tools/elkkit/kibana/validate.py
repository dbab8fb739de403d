"""Is a bundle whole? What a Kibana does not check, and would only show as a broken panel, is found here.

Pure: objects in, problems out. It takes the bundles of this package and anything that a Kibana exported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from elkkit.contract import Contract
from elkkit.kibana import checks_panels, checks_stamps
from elkkit.kibana.decoded import Found, decode
from elkkit.kibana.problems import Problem
from elkkit.kibana.spec import META

_LINK_KEYS = ("id", "name", "type")
_LINKED = ("index-pattern", "search", "visualization", "lens", "dashboard")


def known_fields(contract: Contract) -> frozenset[str]:
    """What a panel may name: the contract's fields and Elasticsearch's own."""
    return frozenset(contract.fields) | META


def validate(
    objects: Sequence[Any],
    *,
    fields: Collection[str] | None = None,
    outside: Collection[tuple[str, str]] = (),
    limits: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Everything that is wrong, in the bundle's order; empty if it is whole.

    `fields` are the names that panels may use (None: not looked at); `outside` are objects, as (type, id), that the
    server has already; `limits` are the newest stamps that the server takes (see `limits_of`). Never raises.
    """
    problems: list[Problem] = []
    whole: list[Found] = []
    for number, item in enumerate(objects, 1):
        faults = shape(item, number)
        if not faults and item["type"] in (*_LINKED, "query", "tag") and not isinstance(_title(item), str):
            faults = [Problem(f"{item['type']}:{item['id']}", "attributes", "it has no title")]
        problems += faults
        if faults:
            continue
        try:
            whole.append(decode(item, problems))
        except RecursionError:
            problems.append(Problem(f"{item['type']}:{item['id']}", "attributes", "it is nested too deeply"))
    counted = Counter((found.type, found.id) for found in whole)
    problems += [Problem(f"{t}:{i}", "id", f"it is there {n} times") for (t, i), n in counted.items() if n > 1]
    there = set(counted) | set(outside)
    for found in whole:
        problems += checks_stamps.check(found, limits)
        problems += _references(found, there)
        try:
            problems += checks_panels.check(found, fields)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            # a shape that nobody has thought of; saying so beats a traceback over a user's file
            why = f"{type(error).__name__}: {error}"
            problems.append(Problem(found.name, "attributes", f"its shape is not one of this type ({why})"))
    return problems


def shape(item: Any, number: int) -> list[Problem]:
    """What a line must have for a Kibana to answer at all; `number` names one that has no name of its own."""
    if not isinstance(item, dict):
        return [Problem(f"line {number}", "", "it is not a JSON object")]
    kind, own = item.get("type"), item.get("id")
    name = f"{kind}:{own}" if isinstance(kind, str) and isinstance(own, str) else f"line {number}"
    problems = [
        Problem(name, key, "a text that is not empty is needed")
        for key in ("type", "id")
        if not isinstance(item.get(key), str) or not item[key]
    ]
    if not isinstance(item.get("attributes"), dict):
        problems.append(Problem(name, "attributes", "an object is needed"))
    links = item.get("references", [])
    if not isinstance(links, list):
        return [*problems, Problem(name, "references", "a list is needed")]
    for i, link in enumerate(links):
        if not isinstance(link, dict) or not all(isinstance(link.get(k), str) and link[k] for k in _LINK_KEYS):
            problems.append(Problem(name, f"references[{i}]", "id, name and type are needed, each a text"))
    return problems


def _title(item: Mapping[str, Any]) -> object:
    return item["attributes"].get("name" if item["type"] == "tag" else "title")


def _references(found: Found, there: Collection[tuple[str, str]]) -> list[Problem]:
    problems = []
    names = Counter(link["name"] for link in found.references)
    problems += [Problem(found.name, "references", f"{n!r} is there {c} times") for n, c in names.items() if c > 1]
    for i, link in enumerate(found.references):
        if (link["type"], link["id"]) not in there:
            why = f"{link['type']}:{link['id']} is neither in the bundle nor known on the server"
            problems.append(Problem(found.name, f"references[{i}]", why))
    return problems
