"""`elkkit setup --api-key`: make an API key and print it, once and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from elkkit.cli.output import Output, harmless

if TYPE_CHECKING:
    from rich.console import Console

    from elkkit.contract import Contract
    from elkkit.stack.elastic import Elastic
    from elkkit.usecases.apikeys import MadeKey


def show_key(
    out: Output,
    elastic: Elastic,
    contract: Contract,
    role: str,
    *,
    expires: str | None,
    space: str,
    dry_run: bool,
) -> None:
    """Make a key for a role; the key alone goes to standard output, all else to standard error."""
    from elkkit.render.roles import RoleKind
    from elkkit.usecases.apikeys import make_key

    result = make_key(elastic, contract, RoleKind(role), expires=expires, space=space, dry_run=dry_run)
    key = result.key
    if key is None:
        out.note(f"a key named {result.request['name']} would be made at {elastic.where}; nothing was made")
    else:
        # first of all, so that a key which never reaches its reader can still be found and taken back
        out.note(f"made the key {key.name}, id {key.id}, at {elastic.where}; {_until(key.expiration)}")
        out.note("it is shown this once. ELKKIT_API_KEY takes it as it is, Filebeat's api_key decoded: base64 -d")
    out.finish(result.as_dict(), lambda console: _show(console, result))


def _until(expiration: int | None) -> str:
    if expiration is None:
        return "it never expires: --expires 90d makes one that does"
    moment = datetime.fromtimestamp(expiration / 1000, UTC)
    return f"it expires {moment:%Y-%m-%d %H:%M} UTC"


def _show(console: Console, result: MadeKey) -> None:
    import json

    if result.key is not None:
        console.print(harmless(result.key.encoded), soft_wrap=True)
    else:
        console.print(harmless_json(json.dumps(result.request, indent=2)), soft_wrap=True)


def harmless_json(text: str) -> str:
    """JSON of our own making, whose line feeds are meant."""
    return "\n".join(harmless(row) for row in text.splitlines())
