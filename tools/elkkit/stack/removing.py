"""Delete documents of a stream, all that fit and no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from elkkit.errors import ServiceError, UnreachableError
from elkkit.stack.elasticerrors import reason
from elkkit.stack.reading import WAITS, Query, patiently, snapshot

if TYPE_CHECKING:
    from elkkit.stack.elastic import Elastic

_AT_ONCE = 20_000
"""Documents a request of delete by query, so that none runs into a timeout."""
_PAGE = 2000
_ROUNDS = 4
"""How often a server is searched again for what was written, or refused, meanwhile."""
_WHAT = "delete the documents"


def remove(
    elastic: Elastic, stream: str, query: Query, *, progress: Callable[[int], None] = lambda _done: None
) -> tuple[int, int]:
    """Delete the documents that fit; how many were deleted, and how many are there now all the same.

    Those that are left were written meanwhile. `progress` is told how many are deleted. Raises what `Elastic.asking`
    raises, and `ServiceError` for a document that the server does not delete.
    """
    deleted, left = 0, 1
    by_query = not elastic.server.bare  # the bare engine lacks it
    for _ in range(_ROUNDS):
        for done in _by_query(elastic, stream, query) if by_query else _one_by_one(elastic, stream, query):
            deleted += done
            progress(deleted)
        with elastic.asking(_WHAT):
            patiently(lambda: elastic.client.indices.refresh(index=stream))
        with snapshot(elastic, stream, _WHAT) as view:
            left = view.count(query)
        if not left:
            break
    return deleted, left


def _by_query(elastic: Elastic, stream: str, query: Query) -> Iterable[int]:
    while True:
        with elastic.asking(_WHAT):
            answer = patiently(
                lambda: (
                    elastic.client.delete_by_query(
                        index=stream, query=query, max_docs=_AT_ONCE, conflicts="proceed", refresh=True
                    ).body
                )
            )
        if failures := answer.get("failures"):
            raise _refused(elastic, failures[0].get("cause", failures[0]))
        yield answer["deleted"]
        if answer["total"] < _AT_ONCE:
            return


def _one_by_one(elastic: Elastic, stream: str, query: Query) -> Iterable[int]:
    """Each in the index that it is in, since a stream's name leads writes to its newest one only."""
    with snapshot(elastic, stream, _WHAT) as view:
        hits = view.hits(query, False, page=_PAGE, keep="_index,_id")
        while page := list(islice(hits, _PAGE)):
            yield _delete(elastic, [{"delete": {"_index": hit["_index"], "_id": hit["_id"]}} for hit in page])


def _delete(elastic: Elastic, operations: list[dict[str, Any]]) -> int:
    """How many of these documents were deleted; one that is gone already is not counted."""
    deleted: int = 0
    why = ""
    for wait in (*WAITS, None):
        with elastic.asking(_WHAT):
            send = partial(elastic.client.bulk, operations=operations, filter_path="items.*.status,items.*.error")
            results: list[dict[str, Any]] = [item["delete"] for item in patiently(send)["items"]]
        deleted += [result["status"] for result in results].count(200)
        for result in results:
            if result["status"] not in (200, 404, 429):
                raise _refused(elastic, result["error"])
        busy = [(o, r) for o, r in zip(operations, results, strict=True) if r["status"] == 429]
        if not busy:
            return deleted
        operations, why = [o for o, _ in busy], reason({"error": busy[0][1]["error"]})
        if wait is not None:
            time.sleep(wait)
    raise UnreachableError(f"cannot {_WHAT}: {elastic.server.url} has too much to do", why=why, hint="try again later")


def _refused(elastic: Elastic, error: Any) -> ServiceError:
    return ServiceError(f"cannot {_WHAT}: {elastic.server.url} refuses one", why=reason({"error": error}),
                        hint="elkkit status")  # fmt: skip
