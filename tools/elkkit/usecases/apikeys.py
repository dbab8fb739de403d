"""API keys with a role's privileges, no more. The key itself is in the result only: nothing here writes or logs it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from elkkit.contract import Contract
from elkkit.errors import ConfigError, NotAllowedError, UsageError
from elkkit.render.elasticsearch import OWNER
from elkkit.render.roles import RoleKind, privileges, role_name
from elkkit.stack.elastic import Elastic
from elkkit.stack.security import ApiKey, access, create_api_key, lacking

_EXPIRES = re.compile(r"([1-9][0-9]{0,5})([smhdw])", re.ASCII)
_SPACE = re.compile(r"[a-z0-9_-]{1,100}", re.ASCII)
_LACKING_SHOWN = 5


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key, or with a dry run what would be asked for."""

    role: RoleKind
    request: dict[str, Any]
    """As `POST _security/api_key` takes it."""
    where: str
    key: ApiKey | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the key is in it."""
        made = self.key
        secret = {"id": made.id, "api_key": made.api_key, "encoded": made.encoded, "expiration": made.expiration} if (
            made is not None
        ) else {}  # fmt: skip
        return {"server": self.where, "role": str(self.role), "dry_run": made is None, **self.request, **secret}


def make_key(
    elastic: Elastic,
    contract: Contract,
    role: RoleKind,
    *,
    expires: str | None = None,
    space: str = "default",
    dry_run: bool = False,
) -> MadeKey:
    """Make an API key with the privileges of a role, in one space of Kibana.

    `expires`: `30d`, `12h`, or None for never. Raises `UsageError` for another text, `ConfigError` where the server
    has no security or the credentials are a key themselves, `NotAllowedError` where they lack what the key needs.
    """
    request = _request(contract, role, expires, space)
    with elastic.asking("make an API key"):
        may = access(elastic)
        if not may.on:
            raise ConfigError(f"{elastic.where} has no API keys", why=may.why,
                              hint="no key is needed: elkkit ship FILES")  # fmt: skip
        if elastic.connection.api_key:
            raise ConfigError(
                "an API key cannot make another one", why="Elasticsearch would give it no privileges at all",
                hint="ELKKIT_API_KEY= ELKKIT_ES_PASSWORD=… elkkit setup --api-key "
                f"{role} --es-user NAME  asks as a user",
            )  # fmt: skip
        missing = lacking(elastic.client, privileges(contract, role, space))
        if missing:
            more = f" and {len(missing) - _LACKING_SHOWN} more" if len(missing) > _LACKING_SHOWN else ""
            raise NotAllowedError(
                f"cannot make an API key for a {role}",
                why=f"a key has no more privileges than who makes it, and these credentials lack "
                f"{', '.join(missing[:_LACKING_SHOWN])}{more}",
                hint="ask as a user who has them: --es-user NAME",
            )
        made = None if dry_run else create_api_key(elastic.client, request)
    return MadeKey(role, request, elastic.where, made)


def _request(contract: Contract, role: RoleKind, expires: str | None, space: str) -> dict[str, Any]:
    name = role_name(contract, role)
    if not _SPACE.fullmatch(space):
        raise UsageError("--space is wrong", why=f"{space!r:.80} is no name of a space in Kibana",
                         hint="lower-case letters, digits, _ and -: --space team-a")  # fmt: skip
    request: dict[str, Any] = {
        "name": name,
        "role_descriptors": {name: privileges(contract, role, space)},
        "metadata": {"managed_by": OWNER, "role": str(role)},
    }
    if expires is not None:
        given = _EXPIRES.fullmatch(expires)
        if not given:
            raise UsageError("--expires is wrong", why=f"{expires!r:.80} is no time such as 12h, 30d or 8w",
                             hint=f"elkkit setup --api-key {role} --expires 30d")  # fmt: skip
        number, unit = int(given[1]), given[2]
        request["expiration"] = f"{7 * number}d" if unit == "w" else f"{number}{unit}"  # it knows no weeks
    return request
