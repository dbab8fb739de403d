"""What `elkkit setup` puts on a server: each kind can be read, put, compared and removed, and says whose it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from elkkit.render.elasticsearch import OWNER
from elkkit.render.templates import NOTE
from elkkit.stack import shapes
from elkkit.stack.shapes import Difference

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Body = Mapping[str, Any]
# newer servers note when an object was made and changed
_OF_THE_SERVER = ("created_date", "created_date_millis", "modified_date", "modified_date_millis")


class State(StrEnum):
    """How an object on the server stands to the one that is wanted."""

    ABSENT = "absent"
    SAME = "same"
    DIFFERENT = "different"
    YOURS = "yours"
    """It was made once, and belongs to the user."""
    NOT_OURS = "not ours"
    NEWER = "newer"
    """A newer elkkit put it there."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a server has of an object."""

    state: State
    differences: tuple[Difference, ...] = ()
    body: Body | None = None


@dataclass(frozen=True)
class ServerObject(ABC):
    """One object. The client's errors pass through its methods: use them within `asking`."""

    name: str
    wanted: Body
    """As it is sent."""
    yours: bool = False
    """It is made where it is absent and otherwise left alone."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """For people: `component template`."""

    @property
    @abstractmethod
    def path(self) -> str:
        """Where the server shows it."""

    @abstractmethod
    def read(self, client: Elasticsearch) -> Body | None:
        """The object as the server has it, or None."""

    @abstractmethod
    def put(self, client: Elasticsearch, *, create: bool) -> None:
        """Send it. With `create` a server that knows how refuses where there is one by now."""

    @abstractmethod
    def delete(self, client: Elasticsearch) -> None:
        """Remove it from the server, which may refuse since it is in use."""

    @abstractmethod
    def shape(self, body: Body) -> dict[str, str]:
        """What is compared, without `_meta` and what the server adds."""

    def meta(self, body: Body) -> Body:
        """The notes in an object."""
        found = body.get("_meta")
        return found if isinstance(found, Mapping) else {}

    def is_ours(self, body: Body) -> bool:
        """Whether elkkit put it there."""
        return bool(self.meta(body).get("managed_by") == OWNER)

    def version(self, body: Body) -> int:
        """The version of the contract that it was made from."""
        number = self.meta(body).get("contract_version")
        return number if isinstance(number, int) else 0

    def find(self, client: Elasticsearch) -> Found:
        """How the server's object stands to the one that is wanted."""
        body = self.read(client)
        if body is None:
            return Found(State.ABSENT)
        if self.yours:
            return Found(State.YOURS, body=body)
        differ = shapes.differences(self.shape(body), self.shape(self.wanted))
        ours = self.is_ours(body)
        if ours and self.version(body) > self.version(self.wanted):
            return Found(State.NEWER, differ, body)
        if not differ and (not ours or self.version(body) == self.version(self.wanted)):
            return Found(State.SAME, body=body)
        return Found(State.DIFFERENT if ours else State.NOT_OURS, differ, body)

    def apply(self, client: Elasticsearch, state: State) -> bool:
        """Put it, where that is needed. Returns whether it was put; another elkkit may have been faster."""
        from elasticsearch import BadRequestError

        if state not in (State.ABSENT, State.DIFFERENT):
            return False
        try:
            self.put(client, create=state is State.ABSENT)
        except BadRequestError:
            if state is not State.ABSENT or self.find(client).state not in (State.SAME, State.YOURS):
                raise
            return False
        return True


class ComponentTemplate(ServerObject):
    """A component template."""

    kind = "component template"

    @property
    def path(self) -> str:
        """Where the server shows it."""
        return f"_component_template/{self.name}"

    def read(self, client: Elasticsearch) -> Body | None:
        """The template, or None."""
        from elasticsearch import NotFoundError

        try:
            told = client.cluster.get_component_template(name=self.name)
        except NotFoundError:
            return None
        body: Body = told["component_templates"][0]["component_template"]
        return body

    def put(self, client: Elasticsearch, *, create: bool) -> None:
        """Send it."""
        client.cluster.put_component_template(name=self.name, body=dict(self.wanted), create=create)

    def delete(self, client: Elasticsearch) -> None:
        """Remove it."""
        client.cluster.delete_component_template(name=self.name)

    def shape(self, body: Body) -> dict[str, str]:
        """What it gives an index."""
        return shapes.template(body.get("template") or {})


class IndexTemplate(ServerObject):
    """A composable index template."""

    kind = "index template"

    @property
    def path(self) -> str:
        """Where the server shows it."""
        return f"_index_template/{self.name}"

    def read(self, client: Elasticsearch) -> Body | None:
        """The template, or None."""
        from elasticsearch import NotFoundError

        try:
            told = client.indices.get_index_template(name=self.name)
        except NotFoundError:
            return None
        body: Body = told["index_templates"][0]["index_template"]
        return body

    def put(self, client: Elasticsearch, *, create: bool) -> None:
        """Send it."""
        client.indices.put_index_template(name=self.name, body=dict(self.wanted), create=create)

    def delete(self, client: Elasticsearch) -> None:
        """Remove it."""
        client.indices.delete_index_template(name=self.name)

    def shape(self, body: Body) -> dict[str, str]:
        """Patterns, priority, parts; of a data stream only that it is one, and what is not the default."""
        added = (*_OF_THE_SERVER, "_meta", "template", "data_stream", "ignore_missing_component_templates")
        found = shapes.flat({n: v for n, v in body.items() if n not in added})
        if (stream := body.get("data_stream")) is not None:
            found["data_stream"] = "true"
            plain = shapes.flat({n: v for n, v in stream.items() if n != "timestamp_field"})
            found |= {f"data_stream.{n}": v for n, v in plain.items() if v != "false"}
        if missing := body.get("ignore_missing_component_templates"):
            found["ignore_missing_component_templates"] = shapes.word(missing)
        return found | shapes.template(body.get("template") or {})


class LifecyclePolicy(ServerObject):
    """A policy of index lifecycle management."""

    kind = "ILM policy"

    @property
    def path(self) -> str:
        """Where the server shows it."""
        return f"_ilm/policy/{self.name}"

    def read(self, client: Elasticsearch) -> Body | None:
        """The policy, or None."""
        from elasticsearch import NotFoundError

        try:
            told = client.ilm.get_lifecycle(name=self.name)
        except NotFoundError:
            return None
        body: Body = told[self.name]
        return body

    def put(self, client: Elasticsearch, *, create: bool) -> None:  # noqa: ARG002  the server knows no such thing
        """Send it."""
        client.ilm.put_lifecycle(name=self.name, body=dict(self.wanted))

    def delete(self, client: Elasticsearch) -> None:
        """Remove it."""
        client.ilm.delete_lifecycle(name=self.name)

    def meta(self, body: Body) -> Body:
        """The notes in the policy."""
        return super().meta(body.get("policy") or {})

    def shape(self, body: Body) -> dict[str, str]:
        """Its phases, less what a server adds to them."""
        found = shapes.flat((body.get("policy") or {}).get("phases") or {})
        defaults = {"min_age": ("0ms", "0s", "0d"), "delete_searchable_snapshot": ("true",)}
        empty = {"delete.actions.delete": "{}"}
        kept = {n: v for n, v in found.items() if v not in defaults.get(n.rpartition(".")[2], ())}
        return {n: v for n, v in kept.items() if empty.get(n) != v}


class IngestPipeline(ServerObject):
    """An ingest pipeline. Its description says whose it is, since not every server takes notes in one."""

    kind = "ingest pipeline"

    @property
    def path(self) -> str:
        """Where the server shows it."""
        return f"_ingest/pipeline/{self.name}"

    def read(self, client: Elasticsearch) -> Body | None:
        """The pipeline, or None."""
        from elasticsearch import NotFoundError

        try:
            told = client.ingest.get_pipeline(id=self.name)
        except NotFoundError:
            return None
        body: Body = told[self.name]
        return body

    def put(self, client: Elasticsearch, *, create: bool) -> None:  # noqa: ARG002  the server knows no such thing
        """Send it."""
        client.ingest.put_pipeline(id=self.name, body=dict(self.wanted))

    def delete(self, client: Elasticsearch) -> None:
        """Remove it."""
        client.ingest.delete_pipeline(id=self.name)

    def is_ours(self, body: Body) -> bool:
        """Whether elkkit put it there."""
        return super().is_ours(body) or str(body.get("description", "")).endswith(NOTE)

    def version(self, body: Body) -> int:
        """The version of the contract that it was made from."""
        number = body.get("version")
        return number if isinstance(number, int) else 0

    def shape(self, body: Body) -> dict[str, str]:
        """Its processors."""
        added = (*_OF_THE_SERVER, "_meta", "description", "version")
        return shapes.flat({n: v for n, v in body.items() if n not in added})


def has_lifecycle(client: Elasticsearch, name: str) -> bool:
    """Whether a server has ILM; it is asked for a policy."""
    from elasticsearch import ApiError

    try:
        client.ilm.get_lifecycle(name=name)
    except ApiError as error:
        if error.status_code in (400, 405, 410):  # no such address here
            return False
        if error.status_code != 404:
            raise
        return "resource_not_found" in str(error.message)
    return True
