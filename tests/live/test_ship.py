"""`elkkit ship` into real Elasticsearch: every bit of every score, refusals, outages, TLS, and a data stream."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import embedded_node
import opensearch_node
from elkkit.cli import app
from elkkit.contract import Contract, extend, load_contract
from elkkit.errors import ConfigError, ExitCode, UnreachableError
from elkkit.line.logger import metric_logger
from elkkit.line.parser import Parser
from elkkit.stack import bulk
from elkkit.stack.elastic import Connection, Elastic, connect
from elkkit.stack.streams import Kind, find_stream
from elkkit.usecases.setup import setup
from elkkit.usecases.ship import ShipOptions, ship
from elkkit.usecases.shipped import ShipResult
from faulty_proxy import Fault, faulty_proxy

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_node.running(tmp_path_factory.mktemp("engine")) as engine:
        yield engine.url


@pytest.fixture
def elastic(node: str) -> Iterator[Elastic]:
    with connect(Connection(node)) as found:
        yield found


def made_stream(elastic: Elastic, dataset: str) -> Contract:
    """A stream of its own for a test."""
    contract = extend(load_contract(), dataset=dataset)
    setup(elastic, contract)
    return contract


def send(elastic: Elastic, contract: Contract, *files: Path, **options: Any) -> ShipResult:
    return ship(elastic, [str(f) for f in files], contract, ShipOptions(**options))


def log(path: Path, contract: Contract, scores: list[float], run: str = "r1") -> Path:
    with metric_logger(str(path), model_name="lane-a", run_id=run, contract=contract) as logger:
        for i, score in enumerate(scores):
            logger.log_metric("IoU", score, frame_id=f"f{i}", frame_index=i)
    return path


def stored(elastic: Elastic, contract: Contract) -> list[dict[str, Any]]:
    from elasticsearch import helpers

    elastic.client.indices.refresh(index=contract.stream)
    return [hit["_source"] for hit in helpers.scan(elastic.client, index=contract.stream, size=5000)]


def bits(score: float) -> bytes:
    return struct.pack(">d", score)


def doubles(count: int) -> list[float]:
    """Doubles of every magnitude that a line admits, and those where readers go wrong."""
    rng = random.Random(5)
    tiny, largest = 5e-324, 9.999999999999999e307
    found = [0.0, -0.0, tiny, -tiny, sys.float_info.min, sys.float_info.min - tiny, largest, -largest, 0.1 + 0.2]
    found += [1 / 3, 9.5e-05, 2.0**53, 2.0**53 + 2, 1e22, 1e23, 5e-5, 0.1, 123456789.12345679, 1e16, 1e15]
    while len(found) < count:
        score = struct.unpack(">d", rng.randbytes(8))[0]
        if abs(score) < 1e308:
            found.append(score)
    return found


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_every_double_survives_bit_for_bit(elastic: Elastic, tmp_path: Path):
    contract = made_stream(elastic, "live.doubles")
    scores = doubles(20_000)
    result = send(elastic, contract, log(tmp_path / "a.log", contract, scores))
    assert (result.created, result.exit_code) == (20_000, ExitCode.DONE)
    found = {d["frame.index"]: d for d in stored(elastic, contract)}
    assert [bits(found[i]["metricscores"]) for i in range(len(scores))] == [bits(s) for s in scores]
    # not only as it was sent: the column that is searched and averaged holds the same bits
    fields = elastic.client.search(
        index=contract.stream, size=1000, source=False, docvalue_fields=["metricscores", "frame.index"],
        query={"range": {"frame.index": {"lt": 1000}}},
    )["hits"]["hits"]  # fmt: skip
    columns = {h["fields"]["frame.index"][0]: h["fields"]["metricscores"][0] for h in fields}
    assert [bits(columns[i]) for i in range(1000)] == [bits(s) for s in scores[:1000]]


def test_zeros_of_both_signs_contradict_each_other(elastic: Elastic, tmp_path: Path):
    contract = made_stream(elastic, "live.zeros")
    send(elastic, contract, log(tmp_path / "a.log", contract, [-0.0, 0.5]))
    result = send(elastic, contract, log(tmp_path / "b.log", contract, [0.0, 0.5]))
    assert (result.conflicting, result.already_there, result.exit_code) == (1, 1, ExitCode.NO)
    assert result.conflicts[0]["stored"] == "IoU : -0.0"


def test_lines_of_every_kind(elastic: Elastic, tmp_path: Path):
    contract = made_stream(elastic, "live.kinds")
    path = tmp_path / "a.log"
    path.write_bytes(
        b"2026-11-22 10:00:00,485 I [19634] azmlinfsrv.print - IoU : 0.5\nIoU : nan\nIoU : 0,83\ntext\nIoU : \xff\n"
    )
    result = send(elastic, contract, path, everything=True)
    assert (result.read, result.created) == (5, 5)
    found = sorted(stored(elastic, contract), key=lambda d: d["log.offset"])
    wanted = [Parser.of(contract).parse(line).fields for line in path.read_bytes().splitlines()]
    assert [{n: d[n] for n in w} for d, w in zip(found, wanted, strict=True)] == wanted


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_document_that_the_mapping_refuses(elastic: Elastic, tmp_path: Path):
    contract = extend(load_contract(), dataset="live.mapping")
    elastic.client.indices.create(
        index=f"{contract.stream}-000001", aliases={contract.stream: {"is_write_index": True}},
        mappings={"properties": {"frame.clip": {"type": "date"}, "metricscores": {"type": "double"}}},
    )  # fmt: skip
    path, kept = tmp_path / "a.log", tmp_path / "kept.jsonl"
    with metric_logger(str(path), model_name="a", run_id="r", contract=contract) as logger:
        for i, clip in enumerate(["2026-11-22", "clip-3", "2026-11-23"]):
            logger.log_metric("IoU", 0.5, frame_id=f"f{i}", clip=clip)
    result = send(elastic, contract, path, rejected=kept)
    assert (result.created, result.rejected, result.exit_code) == (2, 1, ExitCode.NO)
    assert "failed to parse field [frame.clip] of type [date]" in str(result.errors[0])
    mended = tmp_path / "mended.jsonl"
    mended.write_text(kept.read_text().replace("clip-3", "2026-11-24"))
    assert send(elastic, contract, mended).created == 1
    assert len({d["event.id"] for d in stored(elastic, contract)}) == 3


def test_an_index_that_is_read_only_and_a_full_disk(elastic: Elastic, tmp_path: Path):
    contract = made_stream(elastic, "live.blocks")
    path, index = log(tmp_path / "a.log", contract, [0.1, 0.2]), find_stream(elastic, contract.stream).write_index
    elastic.client.indices.put_settings(index=index, settings={"index.blocks.write": True})
    result = send(elastic, contract, path)
    assert (result.rejected, result.retried, result.exit_code) == (2, 0, ExitCode.NO)
    assert "blocked by" in str(result.errors[0])
    flood = {"index.blocks.write": None, "index.blocks.read_only_allow_delete": True}
    elastic.client.indices.put_settings(index=index, settings=flood)
    result = send(elastic, contract, path, give_up=1)
    assert (result.unconfirmed, result.exit_code) == (2, ExitCode.UNREACHABLE)
    assert "flood-stage watermark" in str(result.errors[0])
    elastic.client.indices.put_settings(index=index, settings={"index.blocks.read_only_allow_delete": None})
    assert send(elastic, contract, path).created == 2


def test_a_stream_that_is_not_there_is_not_made_up(elastic: Elastic, tmp_path: Path):
    contract = extend(load_contract(), dataset="live.absent")
    path = log(tmp_path / "a.log", contract, [0.1])
    with pytest.raises(ConfigError):
        send(elastic, contract, path)
    assert find_stream(elastic, contract.stream).kind is Kind.ABSENT


def test_a_stream_that_goes_away_meanwhile_is_not_made_up_either(elastic: Elastic, tmp_path: Path):
    contract = made_stream(elastic, "live.gone")
    stream = find_stream(elastic, contract.stream)
    elastic.client.indices.delete(index=stream.write_index)
    sender = bulk.Sender(elastic, stream, contract.stream, give_up=1)
    sent = sender.send([bulk.Document("0" * 32, b'{"create":{"_id":"x"}}\n{"metricscores":"0.5"}', "a.log", 0)])
    assert [r.status for r in sent.rejected] == [404]
    assert find_stream(elastic, contract.stream).kind is Kind.ABSENT


def test_who_may_not_send_is_told_so(elastic: Elastic, node: str, tmp_path: Path):
    contract = made_stream(elastic, "live.allowed")
    path = log(tmp_path / "a.log", contract, [0.1])
    with faulty_proxy(node) as proxy, connect(Connection(proxy.url)) as behind:
        for fault in (Fault.UNAUTHORIZED, Fault.FORBIDDEN):
            proxy.always(fault)
            result = send(behind, contract, path)
            assert (result.rejected, result.exit_code) == (1, ExitCode.NOT_ALLOWED)


# --- rollover --------------------------------------------------------------------------------------------------------


def test_a_rollover_between_two_ships(elastic: Elastic, tmp_path: Path):
    contract = made_stream(elastic, "live.rollover")
    path = log(tmp_path / "a.log", contract, doubles(6000))
    plain = tmp_path / "plain.log"
    plain.write_bytes(b"IoU : 0.5\n" * 100)
    assert send(elastic, contract, path, plain).created == 6100
    for _ in range(2):
        elastic.client.indices.rollover(alias=contract.stream)
        result = send(elastic, contract, path, plain)
        assert (result.created, result.already_there, result.exit_code) == (0, 6100, ExitCode.DONE)
    assert len(find_stream(elastic, contract.stream).indices) == 3
    other = send(elastic, contract, log(tmp_path / "b.log", contract, [7.0, *doubles(30)[1:]]))
    assert (other.conflicting, other.already_there) == (1, 29)
    assert len(stored(elastic, contract)) == 6100


@pytest.fixture(scope="module")
def data_streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[opensearch_node.Node, str]]:
    with opensearch_node.running(tmp_path_factory.mktemp("opensearch")) as opensearch:
        opensearch_node.install(opensearch, load_contract())
        with opensearch_node.elasticsearch_front(opensearch) as url:
            yield opensearch, url


def test_a_data_stream_that_rolls_over(data_streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opensearch, url = data_streams
    monkeypatch.setattr(bulk, "_DATA_STREAM_FLAG", (99, 0))  # the engine behind the front does not know the flag
    contract = load_contract()
    opensearch.call("PUT", f"/_data_stream/{contract.stream}")
    path = log(tmp_path / "a.log", contract, doubles(2000))
    with connect(Connection(url)) as elastic:
        assert send(elastic, contract, path).created == 2000
        opensearch.call("POST", f"/{contract.stream}/_rollover")
        stream = find_stream(elastic, contract.stream)
        assert (stream.kind, len(stream.indices)) == (Kind.DATA_STREAM, 2)
        result = send(elastic, contract, path)
        assert (result.created, result.already_there, result.exit_code) == (0, 2000, ExitCode.DONE)
        more = send(elastic, contract, log(tmp_path / "b.log", contract, [7.0, -0.0, *doubles(2100)[2:]]))
        assert (more.created, more.already_there, more.conflicting) == (100, 1999, 1)
    assert opensearch.stored(contract.stream, 2100) == 2100


def test_a_server_of_another_make_is_refused(data_streams, tmp_path: Path):
    opensearch, _ = data_streams
    path = log(tmp_path / "a.log", load_contract(), doubles(10))
    done = CliRunner().invoke(app, ["ship", str(path), "--es-url", opensearch.url])
    assert done.exit_code == ExitCode.USAGE
    assert f"it is OpenSearch {opensearch_node.VERSION}" in done.stderr


# --- TLS -------------------------------------------------------------------------------------------------------------


@contextmanager
def https(node: str, folder: Path) -> Iterator[tuple[str, Path, str]]:
    """The engine behind HTTPS: its address, its self-signed certificate and that one's fingerprint."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
    with faulty_proxy(node, tls=tls) as proxy:
        yield proxy.url, certificate, digest


def test_through_tls_that_is_verified(elastic: Elastic, node: str, tmp_path: Path):
    contract = made_stream(elastic, "live.tls")
    path = log(tmp_path / "a.log", contract, doubles(100))
    with https(node, tmp_path) as (url, certificate, fingerprint):
        with pytest.raises(UnreachableError, match="not trusted"):
            connect(Connection(url))
        with connect(Connection(url, ca_cert=str(certificate))) as trusted:
            assert send(trusted, contract, path).created == 100
        with connect(Connection(url, fingerprint=fingerprint)) as pinned:
            assert send(pinned, contract, path).already_there == 100
    assert json.loads(path.read_text().splitlines()[0])["event.id"] in {
        d["event.id"] for d in stored(elastic, contract)
    }
