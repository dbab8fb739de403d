"""`elkkit query` on files: what is found, how it is shown, and how it ends."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import elkkit
from elkkit.cli import app, query
from elkkit.contract import load_contract
from elkkit.kql import parse
from elkkit.usecases.query import Asked, Found, query_files, stored_query

if not any(info.name == "query" for info in app.registered_commands):
    query.register(app)

LINES = b"""\
{"@timestamp":"2026-11-22T10:00:00.000Z","message":"IoU : 0.83","model.name":"lane-a","frame.index":1}
{"@timestamp":"2026-11-22T10:00:01.000Z","message":"IoU : 0.25","model.name":"lane-b","frame.index":2}
{"@timestamp":"2026-11-22T10:00:02.000Z","message":"IoU : 0,5","model.name":"lane-b"}
{"@timestamp":"2026-11-22T10:00:03.000Z","message":"Recall : nan","model.name":"lane-a"}
request timeout after 5 s
IoU : 0.5
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_bytes(LINES)
    return path


def run(*arguments: object, stdin: bytes = b"") -> Any:
    return CliRunner().invoke(app, ["query", *map(str, arguments)], input=stdin)


def messages(*arguments: object, stdin: bytes = b"", code: int = 0) -> list[str]:
    done = run(*arguments, "--json", stdin=stdin)
    assert done.exit_code == code, done.output
    return [event.get("message") for event in json.loads(done.stdout)["data"]["events"]]


@pytest.mark.parametrize(
    ("kql", "found"),
    [
        ("metricscores < 0.6", ["IoU : 0.25", "IoU : 0.5"]),
        ("message : timeout", ["request timeout after 5 s"]),
        ("tags : _malformed_score", ["IoU : 0,5"]),
        ("metricraw : *", ["Recall : nan"]),
        ("model.name : lane-* and not metrictype : IoU", ["IoU : 0,5", "Recall : nan"]),
        ("log.file.path : */a.log and frame.index : *", ["IoU : 0.83", "IoU : 0.25"]),
        ("log.offset : 0", ["IoU : 0.83"]),
        ("event.dataset : lane.eval and frame.index > 1", ["IoU : 0.25"]),
    ],
)
def test_every_kind_of_line_takes_part(log: Path, kql: str, found: list[str]) -> None:
    assert messages(kql, log) == found


def test_all_of_them_for_the_empty_query_and_in_the_order_of_the_files(log: Path, tmp_path: Path) -> None:
    second = tmp_path / "b.log.gz"
    second.write_bytes(gzip.compress(b"IoU : 0.125\n"))
    assert len(messages("", log)) == 6
    assert messages("metrictype : *", second, log)[:2] == ["IoU : 0.125", "IoU : 0.83"]
    assert messages("metrictype : *", "-", stdin=b"IoU : 1\nx\n") == ["IoU : 1"]
    assert messages("not log.file.path : *", "-", stdin=b"IoU : 1\n") == ["IoU : 1"]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--since", "2026-11-22T10:00:02Z"], 4),
        (["--until", "2026-11-22T10:00:02Z"], 5),
        (["--since", "2026-11-22T10:00:01Z", "--until", "2026-11-22T10:00:01Z"], 3),
        (["--until", "30000d"], 2),
        (["--limit", "2"], 2),
        (["--limit", "100"], 6),
    ],
)
def test_limits(log: Path, options: list[str], count: int) -> None:
    assert len(messages("*", log, *options)) == count


def test_rows_and_columns(log: Path) -> None:
    done = run("metrictype : *", log)
    assert done.stdout.splitlines() == [
        "10:00:00Z   lane-a           IoU                   0.8300",
        "10:00:01Z   lane-b           IoU                   0.2500",
        "10:00:03Z ~ lane-a           Recall                   nan",
        "--:--:--    -                IoU                   0.5000",
    ]
    assert (done.exit_code, done.stderr) == (0, "4 matched; 6 lines read\n")
    done = run("frame.index : *", log, "--fields", "model.name,frame.index", "-q")
    assert (done.stdout.split(), done.stderr) == (["lane-a", "1", "lane-b", "2"], "")
    done = run("frame.index : 2", log, "--fields", "metricscores,tags,outcome", "--json")
    assert json.loads(done.stdout)["data"]["events"] == [{"outcome": "scored", "metricscores": 0.25}]


def test_exit_codes_as_those_of_grep(log: Path) -> None:
    done = run("model.name : nope", log)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "0 matched; 6 lines read\n")
    envelope = json.loads(run("model.name : nope", log, "--json").stdout)
    assert (envelope["status"], envelope["exit_code"], envelope["errors"]) == ("partial", 1, [])
    assert envelope["data"] == {"events": [], "counts": {"read": 6, "matched": 0}}
    done = run("*", "none.log", log, "--json")
    envelope = json.loads(done.stdout)
    assert (done.exit_code, envelope["status"], len(envelope["data"]["events"])) == (2, "partial", 6)
    assert envelope["errors"][0]["message"].startswith("cannot read none.log")
    done = run("*", "none.log", log)
    assert (done.exit_code, done.stderr.splitlines()[-3:]) == (
        2, ["error: cannot read none.log", "why: No such file or directory", "hint: check the path"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["a : (b", "x.log"], "the query is not KQL: a : (b"),
        (["metricscores > x", "x.log"], "the query cannot be asked of metricscores"),
        (["*"], "there is nothing to query"),
        (["*", "x.log", "--es"], "files and --es exclude each other"),
        (["*", "x.log", "--since", "soon"], "--since is wrong"),
        (["*", "x.log", "--until", "soon"], "--until is wrong"),
        (["*", "x.log", "--fields", ","], "--fields is wrong"),
        (["*", "x.log", "--limit", "0"], "the command line was not understood"),
        (["a : (b", "--explain"], "the query is not KQL: a : (b"),
    ],
)
def test_what_cannot_be_asked_is_three_lines(arguments: list[str], error: str) -> None:
    done = run(*arguments)
    lines = done.stderr.splitlines()
    assert (done.exit_code, done.stdout, lines[0]) == (2, "", f"error: {error}")
    assert [line.partition(":")[0] for line in lines] == ["error", "why", "hint"]
    assert json.loads(run(*arguments, "--json").stdout)["errors"]


def test_a_fault_is_pointed_at_within_80_columns() -> None:
    for text in (
        "a : (b",
        'model.name : lane-a and metricscores >= 0.5 and frame.conditions : ("night" rain)',
        "\x1b[31m)",
    ):
        lines = run(text, "x.log").stderr.splitlines()
        assert lines[1].startswith("why: at character ")
        at = lines[1].index("^")
        assert (lines[0] + "$")[at] == {"\x1b[31m)": ")", "a : (b": "$"}.get(text, "r")
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in "".join(lines)


def test_explain_prints_the_translation_and_reads_nothing(tmp_path: Path) -> None:
    done = run("--explain", "metrictype : IoU and @timestamp >= now-1d", tmp_path / "none.log")
    assert done.exit_code == 0
    wanted = stored_query(Asked(parse("metrictype : IoU and @timestamp >= now-1d")), {"@timestamp": "date"})
    assert json.loads(done.stdout) == wanted
    told = json.loads(run("--explain", 'model.name : "\x1b[31m\u202eé"', "--json").stdout)["data"]
    shown = run("--explain", 'model.name : "\x1b[31m\u202eé"', "--since", "1d").stdout
    assert told["query"]["bool"]["should"] == [{"match_phrase": {"model.name": "\x1b[31m\u202eé"}}]
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    query, moment = json.loads(shown)["bool"]["filter"]
    assert query == told["query"]
    assert moment["bool"]["should"][0]["range"]["@timestamp"]["format"] == "epoch_millis"


def test_an_unknown_name_is_worth_a_note(log: Path) -> None:
    done = run("modelname : a", log)
    assert done.stderr.splitlines() == [
        "note: modelname is none of the contract's fields; did you mean model.name?", "0 matched; 6 lines read",
    ]  # fmt: skip
    assert "none of the contract's fields" in run("modelname : a", "--explain").stderr


def test_events_come_as_they_are_read(log: Path) -> None:
    found = Found()
    events = query_files([str(log), "none.log"], load_contract(), Asked(parse("*")), found)
    assert (next(events)["offset"], found.read) == (0, 1)
    assert (len(list(events)), found.read, found.matched, len(found.failed)) == (5, 6, 6, 1)


def test_a_query_loads_the_grammar_and_help_does_not() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(elkkit.__file__).parents[1])}
    loaded = "print('lark' in sys.modules)"
    code = f"import sys, elkkit.cli, elkkit.cli.query, elkkit.kql as k; {loaded}; k.parse('a'); {loaded}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
