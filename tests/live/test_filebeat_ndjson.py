"""Why Filebeat's own `ndjson` parser is not used: what it does with lines, on a real Filebeat (`ELKKIT_FILEBEAT`).

The table in filebeat/README.md says the same. Should a Filebeat to come do better, these tests say so by failing.
"""

from __future__ import annotations

import pytest

import shippers
from elkkit.line.parser import Outcome, Parser
from roads import flat

pytestmark = pytest.mark.full
ID = "0a46c03b90b5b8b6ae31d4b74b34c00e"
CONFIG = """
filebeat.inputs:
  - type: filestream
    id: ndjson
    paths: ["{folder}/in.log"]
    file_identity.native: ~
    prospector.scanner.fingerprint.enabled: false
    parsers:
      - ndjson: {{target: "", add_error_key: true, overwrite_keys: true, expand_keys: true}}
processors:
  - copy_fields:
      fields: [{{from: event.id, to: "@metadata._id"}}]
      fail_on_error: false
      ignore_missing: true
"""


def ours(rest: str, message: str = '"IoU : 0.5"') -> str:
    return f'{{"message":{message},"event.id":"{ID}"{rest}'


# lines that it reads as they are: line, and fields that it must give
GOOD = {
    "a line of ours": (ours(',"frame.index":7}'), {"frame.index": 7, "event.id": ID}),
    "an integer beyond 2^53": (ours(',"frame.index":9007199254740993}'), {"frame.index": 9007199254740993}),
    "19 digits, as a double": (ours(',"x":0.1234567890123456789}'), {"x": 0.12345678901234568}),
    "a key twice, of which the last counts": (ours(',"message":"IoU : 0.9"}'), {"message": "IoU : 0.9"}),
    "cut off": (ours(',"run.na'), {"message": ours(',"run.na')}),
    "NaN": (ours(',"x":NaN}'), {"message": ours(',"x":NaN}')}),
    "an array": ('["IoU : 0.5"]', {"message": '["IoU : 0.5"]'}),
    "a number": ("0.5", {"message": "0.5"}),
}
# lines that it makes something else of: line, the fields that it gives, and what elkkit reads
BAD = {
    "something behind the object": (ours("} trailing"), {"@metadata._id": ID, "message": "IoU : 0.5"}, "malformed"),
    "two objects": (ours('}{"message":"IoU : 0.9"}'), {"@metadata._id": ID, "message": "IoU : 0.5"}, "malformed"),
    "an index of its own": (
        ours(',"@metadata":{"_id":"x","index":"other","pipeline":"none"}}'),
        {"@metadata.index": "other", "@metadata.pipeline": "none"},
        "scored",
    ),
    "keys that clash": (ours(',"event":"x"}'), {"message": None, "event.id": None, "@metadata._id": None}, "scored"),
    "a number beyond a double": (ours(',"x":1e400}'), {"x": "1e400"}, "scored"),
    "2^63": (ours(',"frame.index":9223372036854775808}'), {"frame.index": 9.223372036854776e18}, "scored"),
    "invalid UTF-8": (ours(',"run.name":"\udcff"}'), {"run.name": "\ufffd", "message": "IoU : 0.5"}, "malformed"),
    "an id that is none": ('{"message":"IoU : 0.5","event.id":"no"}', {"@metadata._id": "no"}, "scored"),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What Filebeat makes of each line, by its name."""
    folder = tmp_path_factory.mktemp("ndjson")
    lines = {**{n: row[0] for n, row in GOOD.items()}, **{n: row[0] for n, row in BAD.items()}, "plain": "IoU : 0.5"}
    (folder / "in.log").write_bytes(b"".join(t.encode("utf-8", "surrogateescape") + b"\n" for t in lines.values()))
    config = folder / "filebeat.yml"
    config.write_text(CONFIG.format(folder=folder))
    command = shippers.filebeat_command(config, folder / "data", *shippers.to_file(folder))
    (folder / "data").mkdir()
    log = folder / "filebeat.log"
    with shippers.running(command, log, {}) as process:
        events = shippers.wait_for(lambda: len(e := shippers.filebeat_events(folder)) >= len(lines) and e, process, log)
    assert len(events) == len(lines)
    return dict(zip(lines, map(flat, events), strict=True))


@pytest.mark.parametrize("name", GOOD)
def test_lines_that_it_reads_as_they_are(read, name):
    for field, want in GOOD[name][1].items():
        assert read[name].get(field) == want


@pytest.mark.parametrize("name", BAD)
def test_lines_that_it_makes_something_else_of(read, name):
    line, fields, want = BAD[name]
    for field, value in fields.items():
        assert read[name].get(field) == value
        assert type(read[name].get(field)) is type(value)
    assert Parser.of().parse(line.encode("utf-8", "surrogateescape")).outcome == Outcome(want)


def test_every_plain_line_is_called_an_error(read):
    assert "error.message" in read["plain"]


def test_document_id_takes_the_id_out_of_the_event(tmp_path):
    (tmp_path / "in.log").write_text(ours("}\n"))
    config = tmp_path / "filebeat.yml"
    text = CONFIG.format(folder=tmp_path).partition("processors:")[0]
    config.write_text(text.replace("expand_keys: true", "expand_keys: true, document_id: event.id"))
    command = shippers.filebeat_command(config, tmp_path / "data", *shippers.to_file(tmp_path))
    (tmp_path / "data").mkdir()
    log = tmp_path / "filebeat.log"
    with shippers.running(command, log, {}) as process:
        (event,) = shippers.wait_for(lambda: shippers.filebeat_events(tmp_path), process, log)
    assert event["@metadata"]["_id"] == ID
    assert "event.id" not in flat(event)
