"""Rules of one Kibana, and the sources that some of them look through: one by one, as their API has it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from elkkit.errors import ConfigError, ElkkitError, InputError, NotAllowedError, ServiceError
from elkkit.kibana.alerts import CONSUMERS, RULE, SOURCE, rule_there, source_there
from elkkit.kibana.common import SavedObject
from elkkit.kibana.order import Key
from elkkit.stack.kibana import Kibana
from elkkit.stack.kibanaerrors import AGAIN, CONFIG_HINT, answered, not_json, reason
from elkkit.stack.kibanawire import Answer

_RULES = "/api/alerting/rule"
_PAGE = 100
_PRIVILEGES: Mapping[str, str] = {"infrastructure": 'Infrastructure (in older versions "Metrics")', "logs": "Logs"}
"""What people call the parts of Kibana that rules belong to."""
_ENCRYPTION = "set xpack.encryptedSavedObjects.encryptionKey in kibana.yml, then restart Kibana"
_API_KEYS = "set xpack.security.enabled: true and xpack.security.authc.api_key.enabled: true in elasticsearch.yml"


@dataclass(frozen=True, slots=True)
class RuleType:
    """A kind of rule that a Kibana has."""

    id: str
    enabled: bool
    """The licence allows it."""
    consumers: frozenset[str]
    """The parts of Kibana where these credentials may write such rules."""


def rule_types(kibana: Kibana, *, space: str | None = None) -> dict[str, RuleType] | None:
    """The kinds of rules, by id, or None where this Kibana has no rules."""
    what = "list the rule types"
    answer = kibana.wire.send("GET", "/api/alerting/rule_types", what=what, space=space)
    if answer.status == 404 and ("kbn-name" in answer.headers or "osd-name" in answer.headers):
        return None
    body = _checked(kibana, answer, what).body
    if not isinstance(body, list) or not all(isinstance(row, Mapping) and "id" in row for row in body):
        raise not_json(kibana.connection.url, answer.raw, answer.headers)
    return {str(row["id"]): _type(row) for row in body}


def _type(row: Mapping[str, Any]) -> RuleType:
    given = row.get("authorized_consumers")
    may = {str(n) for n, m in given.items() if isinstance(m, Mapping) and m.get("all")} if isinstance(given, Mapping) \
        else set()  # fmt: skip
    return RuleType(str(row["id"]), bool(row.get("enabled_in_license", True)), frozenset(may))


def no_rules(kibana: Kibana) -> tuple[str, str] | None:
    """Why this Kibana cannot keep rules now and what mends that, or None where it can or does not say."""
    answer = kibana.wire.send("GET", "/api/alerting/_health", what="ask how rules fare")
    body = answer.body
    if answer.status != 200 or not isinstance(body, Mapping):
        return None
    if body.get("has_permanent_encryption_key") is False:
        return "it has no key to encrypt rules with", _ENCRYPTION
    if body.get("is_sufficiently_secure") is False:
        return "rules run by API keys, and its Elasticsearch has them off or no TLS", _API_KEYS
    return None


def get(kibana: Kibana, key: Key, *, space: str | None = None) -> SavedObject | None:
    """A rule or a source as it is there, or None."""
    kind, ident = key
    what = f"read {_named(kind)} {ident}"
    answer = kibana.wire.send("GET", _path(key), what=what, space=space)
    if answer.status == 404 and "kbn-name" in answer.headers:
        return None
    body = _checked(kibana, answer, what).body
    try:
        if kind == RULE:
            return rule_there(body)
        source = body["source"]
        # for one that is not there Kibana answers what it would use instead
        return source_there(ident, source["configuration"]) if source["origin"] == "stored" else None
    except (KeyError, TypeError, AttributeError):
        raise not_json(kibana.connection.url, answer.raw, answer.headers) from None


def create_rule(kibana: Kibana, ident: str, body: Mapping[str, Any], *, space: str | None = None) -> None:
    """Make a rule. Raises `InputError` where one of that id is there."""
    _write(kibana, "POST", (RULE, ident), f'create the rule "{body["name"]}"', body, space)


def update_rule(kibana: Kibana, ident: str, body: Mapping[str, Any], *, space: str | None = None) -> None:
    """Replace all of a rule but its type, its consumer, and whether it is enabled."""
    _write(kibana, "PUT", (RULE, ident), f'update the rule "{body["name"]}"', body, space)


def put_source(kibana: Kibana, item: SavedObject, *, space: str | None = None) -> None:
    """Make a source, or change one."""
    kibana.require_space(space)  # Kibana would put it into a space that is not there
    key = item["type"], item["id"]
    _write(kibana, "PATCH", key, f"write the metrics source {item['id']}", item["attributes"], space)


def delete(kibana: Kibana, key: Key, *, space: str | None = None) -> bool:
    """Delete a rule or a source; False where it was not there."""
    if key[0] == SOURCE:
        deleted = kibana.delete([key], space=space)
        if deleted.failed:
            raise ServiceError(f"cannot delete {_named(SOURCE)} {key[1]}", why=deleted.failed[key], hint=AGAIN)
        return bool(deleted.done)
    what = f"delete {_named(RULE)} {key[1]}"
    answer = kibana.wire.send("DELETE", _path(key), what=what, space=space)
    if answer.status == 404 and "kbn-name" in answer.headers:
        return False
    _checked(kibana, answer, what)
    return True


def all_rules(kibana: Kibana, *, space: str | None = None) -> Iterator[Mapping[str, Any]]:
    """Every rule of a space, as the server tells it."""
    what, page = "list the rules", 1
    while True:
        query = {"per_page": str(_PAGE), "page": str(page), "sort_field": "name"}
        answer = kibana.wire.send("GET", f"{_RULES}s/_find", what=what, query=query, space=space)
        body = _checked(kibana, answer, what).body
        rows = body.get("data") if isinstance(body, Mapping) else None
        if not isinstance(rows, list):
            raise not_json(kibana.connection.url, answer.raw, answer.headers)
        yield from rows
        if len(rows) < _PAGE:
            return
        page += 1


def rules_address(kibana: Kibana, *, space: str | None = None) -> str:
    """Where a browser shows the rules."""
    prefix = f"/s/{quote(space, safe='')}" if space and space != "default" else ""
    return f"{kibana.connection.url}{prefix}/app/management/insightsAndAlerting/triggersActions/rules"


# --- requests --------------------------------------------------------------------------------------------------------


def _path(key: Key) -> str:
    above = "/api/metrics/source" if key[0] == SOURCE else _RULES
    return f"{above}/{quote(key[1], safe='')}"


def _named(kind: str) -> str:
    return "the metrics source" if kind == SOURCE else "the rule"


def _write(kibana: Kibana, method: str, key: Key, what: str, body: Mapping[str, Any], space: str | None) -> None:
    answer = kibana.wire.send(method, _path(key), what=what, body=json.dumps(body).encode(),
                              content_type="application/json", space=space)  # fmt: skip
    consumer = str(body.get("consumer") or CONSUMERS["metrics.alert.threshold"])
    _checked(kibana, answer, what, consumer)


def _checked(kibana: Kibana, answer: Answer, what: str, consumer: str | None = None) -> Answer:
    """The answer, if it is a success; else its error, in words that fit rules."""
    if 200 <= answer.status < 300:
        return answer
    url, why = kibana.connection.url, reason(answer.body)
    found = answered(what, url, answer.status, answer.body, answer.headers)
    cause = found.__cause__
    error = _worded(found, what, url, answer.status, why, consumer)
    raise error from cause


def _worded(found: ElkkitError, what: str, url: str, status: int, why: str, consumer: str | None) -> ElkkitError:
    if status == 401 or (isinstance(found, ConfigError) and status in (302, 404)):
        return found
    if re.search(r"encryption ?key|encryptedSavedObjects", why, re.IGNORECASE):
        return ServiceError(f"cannot {what}: {url} has no key to encrypt rules with", why=why, hint=_ENCRYPTION)
    if re.search(r"API keys", why, re.IGNORECASE):
        return ServiceError(f"cannot {what}: {url} cannot make API keys, by which rules run", why=why, hint=_API_KEYS)
    if re.search(r"licen[cs]e", why, re.IGNORECASE) and status in (400, 403):
        return ServiceError(f"cannot {what}: the licence of {url} does not allow it", why=why,
                            hint="Kibana names the licence: Stack Management, License Management")  # fmt: skip
    if status == 403:
        part = _PRIVILEGES.get(consumer or "", "Infrastructure, or Logs")
        hint = f"use an API key or a user with the Kibana privilege {part}: all, in that space"
        return NotAllowedError(f"cannot {what}: {url} does not allow it", why=why, hint=hint)
    if status == 409 and what.startswith("create"):
        why = f"{why}; another space may have it, or somebody just made it"
        return InputError(f"cannot {what}: its id is taken", why=why, hint="run the same command again")
    if status == 409:
        return ServiceError(
            f"cannot {what}: it was changed at the same time", why=why, hint="run the same command again"
        )
    if status == 404:
        return ServiceError(f"cannot {what}: it is not there any more", why=why, hint="run the same command again")
    if status == 400:
        return InputError(f"cannot {what}: {url} does not take it", why=why, hint=CONFIG_HINT)
    if status >= 500 and status not in (502, 503, 504):
        return ServiceError(f"cannot {what}: {url} failed", why=why or f"it answers {status}", hint=AGAIN)
    return found
