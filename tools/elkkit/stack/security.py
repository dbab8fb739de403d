"""Security of a server: whether it has any, roles, and API keys. The client's errors pass through unless said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elkkit.stack import shapes
from elkkit.stack.elasticerrors import reason
from elkkit.stack.objects import Body, ServerObject

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elkkit.stack.elastic import Elastic

_NO_SUCH_ADDRESS = (400, 404, 405, 410)
_MANAGES = "manage_security"


@dataclass(frozen=True, slots=True)
class Access:
    """What these credentials may do with roles."""

    on: bool
    """The server has security."""
    manages: bool = False
    """Roles may be read and put."""
    why: str = ""
    """Why roles can not be managed, for people."""


def access(elastic: Elastic) -> Access:
    """Whether the server has security, and whether these credentials may manage roles; nothing is changed."""
    from elasticsearch import ApiError

    if elastic.server.bare:
        return Access(on=False, why="this engine has no security: whoever reaches it may do everything")
    try:
        told = elastic.client.security.has_privileges(cluster=[_MANAGES])
    except ApiError as error:
        # without security the address is not there; some versions have it, and say so
        off = error.status_code in _NO_SUCH_ADDRESS or "ecurity is not enabled" in reason(error.body)
        if not off and error.status_code != 403:
            raise
        off_why = "security is off on this server: whoever reaches it may do everything"
        return Access(on=not off, why=off_why if off else reason(error.body))
    if told.get("cluster", {}).get(_MANAGES):
        return Access(on=True, manages=True)
    return Access(on=True, why=f"these credentials lack the cluster privilege {_MANAGES}")


class Role(ServerObject):
    """A role."""

    kind = "role"

    @property
    def path(self) -> str:
        """Where the server shows it."""
        return f"_security/role/{self.name}"

    def read(self, client: Elasticsearch) -> Body | None:
        """The role, or None."""
        from elasticsearch import NotFoundError

        try:
            told = client.security.get_role(name=self.name)
        except NotFoundError:
            return None
        body: Body = told[self.name]
        return body

    def put(self, client: Elasticsearch, *, create: bool) -> None:  # noqa: ARG002  the server knows no such thing
        """Send it."""
        client.security.put_role(name=self.name, body=dict(self.wanted))

    def delete(self, client: Elasticsearch) -> None:
        """Remove it."""
        client.security.delete_role(name=self.name)

    def meta(self, body: Body) -> Body:
        """The notes in the role."""
        found = body.get("metadata")
        return found if isinstance(found, Mapping) else {}

    def shape(self, body: Body) -> dict[str, str]:
        """What it allows; a server may give lists back in another order, and adds what is not the case."""
        added = ("metadata", "transient_metadata", "description")
        flat = shapes.flat(_sorted({n: v for n, v in body.items() if n not in added}))
        return {n: v for n, v in flat.items() if v not in ("[]", "{}", "", "false")}


def _sorted(value: Any) -> Any:
    """Lists without their order, which has no meaning in a role."""
    if isinstance(value, Mapping):
        return {n: _sorted(v) for n, v in value.items()}
    if isinstance(value, list):
        return sorted((_sorted(v) for v in value), key=str)
    return value


def holders(client: Elasticsearch, role: str) -> list[str]:
    """Who has a role, for people: `user anna`, `role mapping admins`. Only users that the server keeps itself."""
    users: Mapping[str, Any] = client.security.get_user().body
    mappings: Mapping[str, Any] = client.security.get_role_mapping().body
    found = [f"user {n}" for n, about in sorted(users.items()) if role in about.get("roles", ())]
    return found + [f"role mapping {n}" for n, about in sorted(mappings.items()) if role in about.get("roles", ())]


# --- API keys --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the server gives it, once."""

    id: str
    name: str
    api_key: str = field(repr=False)
    encoded: str = field(repr=False)
    """Id and key in one word, as ELKKIT_API_KEY takes it."""
    expiration: int | None
    """Milliseconds since 1970, None for never."""


def lacking(client: Elasticsearch, wanted: Mapping[str, Any]) -> list[str]:
    """What of a role's privileges these credentials lack, and with it `manage_own_api_key`: a key has no more.

    Those of Kibana are not asked for: only a Kibana can say what its privileges stand for.
    """
    asked: Sequence[str] = [*wanted["cluster"], "manage_own_api_key"]
    told = client.security.has_privileges(cluster=list(asked), index=wanted["indices"])
    found = [f"{name} on the cluster" for name, has in told.get("cluster", {}).items() if not has]
    for pattern, has in told.get("index", {}).items():
        found += [f"{name} on {pattern}" for name, granted in has.items() if not granted]
    return found


def create_api_key(client: Elasticsearch, request: Mapping[str, Any]) -> ApiKey:
    """Make a key. `request`: `name`, `role_descriptors`, `metadata`, and `expiration` such as `30d` or none."""
    told = client.security.create_api_key(body=dict(request))
    return ApiKey(told["id"], told["name"], told["api_key"], told["encoded"], told.get("expiration"))
