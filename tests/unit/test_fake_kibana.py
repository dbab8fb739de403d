"""The fake Kibana against the real ones: each recorded request gets the recorded answer.

Every exchange is replayed on a fresh fake, after the recorded requests that made the state it needs (`GIVEN`).
"""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from fakes.kibana import FakeKibana, Health
from lines import SHARED

RECORDED = SHARED / "kibana-exchanges"
VERSIONS = ["7.10.2", "8.3.3", "8.12.2"]

_UNSEEN = "the dashboards that it shows were made by requests that are not recorded"
LEFT_OUT = {
    "8.12.2/header-auth-ignored": _UNSEEN,
    "8.12.2/header-elastic-api-version-1": _UNSEEN,
    "8.12.2/header-elastic-api-version-2023-10-31": _UNSEEN,
    "8.12.2/header-elastic-api-version-2099-01-01": _UNSEEN,
    "8.12.2/export-star": "holds the server's own settings, which no request made",
}
"""Exchanges that the fake does not claim to answer, and why."""

DELETE_DATA_VIEW = "delete-data-view"
GIVEN: dict[str, list[str]] = {
    r"reimport-(no-overwrite|overwrite)|sentinel-all-exist.*|dataview-(get|default|swap.*)|dataviews-list":
        ["bundle-first-import"],
    r"index-pattern-get|legacy-dash-export|find-search-prefix|bulk-get.*|resolve-(overwrite-one|conflict.*|new-id)":
        ["bundle-first-import"],
    r"export-(by-type|exclude-details|type-and-objects|star|A-deep|missing-one)|reimport-own-export-A":
        ["bundle-A-7.10"],
    r"export-missing-ref-deep": ["bundle-A-7.10", DELETE_DATA_VIEW],
    r"(export|reimport-own-export)-B-7.10.*": ["bundle-B-7.10-oldrefs"],
    r"(export|reimport-own-export)-B-8.3.*": ["bundle-B-8.3"],
    r"(export|reimport-own-export)-B-8.6.*": ["bundle-B-8.6"],
    r"import-(conflict.*|overwrite|compatibility-mode)": ["import-index-pattern-ok"],
    r"import-search-kql": ["bundle-first-import"],
    r"import-strict-mapping": ["import-details-line"],
    r"find-by-type|find-hasref|delete-referenced-dataview":
        ["bundle-first-import", "resolve-overwrite-one", "resolve-replace-references", "resolve-new-id"],
    r"delete-one": ["bundle-first-import", "resolve-ignore-missing"],
    r"bulk-delete": ["bundle-first-import", "resolve-replace-references"],
    r"resolve-replace-references": ["bundle-first-import"],
    r"saved-object-create-conflict|saved-object-update": ["saved-object-create"],
    r"dataview-create-dup-id": ["dataview-create"],
    r"dataview-create-dup-title": ["dataview-create"],
    r"dataview-create-override": ["dataview-create", "dataview-create-dup-title"],
    r"dataview-delete": ["dataview-create", "dataview-create-dup-id"],
    r"space-(create-again|status|import-second-space|import-only-second)|delete-space": ["space-create"],
    r"space-import-second-space": ["bundle-first-import", "space-create"],
    r"space-import-second-space-(again|overwrite)|space-export|space-get-origin-id|space-resolve-alias":
        ["bundle-first-import", "space-create", "space-import-second-space"],
    r"space-import-then-default": ["space-create", "space-import-only-second"],
    r"space-import-default-after-orphan|space-find-nonexistent-space": ["space-import-nonexistent-space"],
}  # fmt: skip
"""What was done before, by the case's name; the last pattern that fits counts."""
HEALTH = {
    r"starting-status-degraded": Health.DEGRADED,
    r"starting-(status|find|import|root)": Health.STARTING,
    r"es-down-.*": Health.NO_ELASTICSEARCH,
}


def exchanges() -> list[Any]:
    found = sorted(RECORDED.glob("*.*/*.json")) or [RECORDED / "absent.json"]
    named = {f"{path.parent.name}/{path.stem}": path for path in found}
    return [pytest.param(path, id=name.replace("/", "-")) for name, path in named.items() if name not in LEFT_OUT]


def read(path: Path) -> dict[str, Any]:
    exchange: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return exchange


def body_of(exchange: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """What was sent, and with which headers."""
    request, headers = exchange["request"], dict(exchange["request"]["headers"])
    body, form = request["body"], "multipart/form-data; boundary=b"
    if exchange["case"] == "import-10001":  # described, not recorded
        line = '{"type":"index-pattern","id":"%d","attributes":{"title":"x"},"references":[]}'
        body = {"multipart": {"file": {"filename": "o.ndjson", "content": "\n".join(line % n for n in range(10_001))}}}
    elif exchange["case"] == "import-too-large":
        content = '{"type":"index-pattern","id":"1","attributes":{"title":"' + "x" * 27_000_000 + '"}}'
        body = {"multipart": {"file": {"filename": "o.ndjson", "content": content}}}
    if isinstance(body, dict) and "multipart" in body:
        parts = []
        for name, part in body["multipart"].items():
            if isinstance(part, str):
                head, content = "", part
            else:
                head, content = f'; filename="{part["filename"]}"', part["content"]
                head += f"\r\nContent-Type: {part.get('content_type', 'application/ndjson')}"
            parts.append(f'--b\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n{content}\r\n')
        return ("".join(parts) + "--b--\r\n").encode(), {**headers, "content-type": form}
    if body is None:
        return b"", headers
    return (body if isinstance(body, str) else json.dumps(body)).encode(), headers


def send(fake: FakeKibana, exchange: dict[str, Any], seconds: float = 30) -> tuple[int, dict[str, str], bytes]:
    request = exchange["request"]
    body, headers = body_of(exchange)
    query = [tuple(p) for p in request["query"]] if isinstance(request["query"], list) else request["query"]
    target = request["path"] + ("?" + urlencode(query) if query else "")
    connection = http.client.HTTPConnection("127.0.0.1", int(fake.url.rpartition(":")[2]), timeout=seconds)
    try:
        connection.request(request["method"], target, body or None, headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def decoded(value: Any) -> Any:
    """With the JSON in its strings decoded, and what changes from run to run made the same."""
    if isinstance(value, dict):
        return {k: _STEADY.get(k) or decoded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [decoded(v) for v in value]
    if isinstance(value, str):
        if value[:1] in ("[", "{"):
            try:
                return decoded(json.loads(value))
            except json.JSONDecodeError:
                return value
        return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", value)
    return value


_STEADY = {"updated_at": "<time>", "created_at": "<time>", "since": "<time>", "score": "<score>"}


def plain(case: str, body: Any) -> Any:
    """A body without what depends on the machine it was recorded on."""
    body = decoded(body)
    if isinstance(body, str) and body.startswith("<"):
        return re.findall(r"<title>(.*?)</title>", body)
    if isinstance(body, dict) and "metrics" in body:  # which plugins there are, and what they say, is not told
        overall = body["status"]["overall"]
        return {"version": body["version"], "keys": sorted(body), "status": sorted(body["status"]),
                "overall": {k: overall.get(k) for k in ("level", "state")}}  # fmt: skip
    rows = [body] + [r for k in ("saved_objects", "ndjson", "objects") for r in _rows(body, k)]
    rows += [
        body[k] for k in ("data_view", "index_pattern") if isinstance(body, dict) and isinstance(body.get(k), dict)
    ]
    if case == "space-export":  # sorted by ids that are random
        body["ndjson"].sort(key=lambda row: row.get("originId", "~"))
    for row in rows:
        if isinstance(row, dict):
            row.pop("version", None) if row is not body or "namespaces" in row else None
            row.pop("sort", None)
            if "fieldFormats" in row:
                row["fields"] = "<those of the indices>"
    return body


def _rows(body: Any, key: str) -> list[Any]:
    return body[key] if isinstance(body, dict) and isinstance(body.get(key), list) else []


def last_fit(table: dict[str, Any], case: str) -> Any:
    return next((v for k, v in reversed(table.items()) if re.fullmatch(k, case)), None)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="shared/ is absent")
@pytest.mark.parametrize("path", exchanges())
def test_recorded_exchange(path: Path) -> None:
    exchange = read(path)
    case, expected = exchange["case"], exchange["response"]
    with FakeKibana(path.parent.name) as fake:
        for before in last_fit(GIVEN, case) or []:
            if before == DELETE_DATA_VIEW:  # not recorded by itself
                del fake.store.kept["index-pattern", "elkkit-eval"]
            elif (earlier := path.with_name(f"{before}.json")).exists():
                send(fake, read(earlier))
        fake.health = last_fit(HEALTH, case) or Health.READY
        if expected["status"] == 0:
            with pytest.raises(TimeoutError):
                send(fake, exchange, 0.3)
            return
        status, headers, body = send(fake, exchange)
    assert status == expected["status"], body
    for name in ("kbn-name", "location", "retry-after") if len(expected["headers"]) > 1 else ():
        assert headers.get(name) == expected["headers"].get(name), name
    kind = expected["headers"].get("content-type", "").split(";")[0]
    if expected["body"] and expected["headers"]:
        assert headers["content-type"].split(";")[0] == kind
    if kind == "application/ndjson":
        got: Any = {"ndjson": [json.loads(line) for line in body.decode().splitlines()]}
    elif isinstance(expected["body"], dict | list):
        got = json.loads(body)
    else:
        got = body.decode()
    assert plain(case, got) == plain(case, expected["body"])


@pytest.mark.skipif(not RECORDED.is_dir(), reason="shared/ is absent")
def test_only_what_is_recorded_is_left_out() -> None:
    assert all((RECORDED / f"{name}.json").is_file() for name in LEFT_OUT)
