"""`elkkit tail` as its users run it: real processes, real pipes, a real terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import elkkit
from elkkit.cli.output import json_line
from elkkit.cli.rows import _fit, score_text
from elkkit.contract import load_contract
from elkkit.line.parser import Parsed, Parser
from elkkit.stack.growing import FollowedLine
from elkkit.usecases.parse import judge_strictly
from elkkit.usecases.tail import TailCounts, Wanted, tail_documents
from elkkit.usecases.tail import tail as tail_lines

TAIL = [sys.executable, "-m", "elkkit", "tail"]
DEADLINE = 60.0


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ELKKIT_", "NO_COLOR", "FORCE_COLOR", "COLUMNS"))}
    return {**kept, "PYTHONPATH": str(Path(elkkit.__file__).parents[1]), "TERM": "xterm", **more}


class Running:
    """A running `elkkit tail` whose streams are read as they come."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.out = b""
        self.err = b""

    def until(self, pattern: bytes, stream: str = "out") -> None:
        end = time.monotonic() + DEADLINE
        while not re.search(pattern, getattr(self, stream)):
            assert time.monotonic() < end, (pattern, self.out, self.err)
            assert self.pump() or self.process.poll() is None, (pattern, self.out, self.err)

    def pump(self, wait: float = 0.05) -> bool:
        files = [f for f in (self.process.stdout, self.process.stderr) if f is not None]
        ready, _, _ = select.select(files, [], [], wait)
        got = False
        for file in ready:
            data = os.read(file.fileno(), 65536)
            got = got or bool(data)
            if file is self.process.stdout:
                self.out += data
            else:
                self.err += data
        return got

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        while self.pump(0):
            pass
        return code


@contextmanager
def running(
    *args: object, cwd: Path, stdin: Any = subprocess.DEVNULL, stdout: Any = subprocess.PIPE
) -> Iterator[Running]:
    process = subprocess.Popen(
        [*TAIL, *map(str, args)], cwd=cwd, env=environment(), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
    )
    try:
        yield Running(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for file in (process.stdin, process.stdout, process.stderr):
            if file is not None:
                with suppress(BrokenPipeError):
                    file.close()


def run(*args: object, cwd: Path, data: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    command = [*TAIL, *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=environment(**env), input=data, capture_output=True, timeout=DEADLINE)


def write_log(path: Path, model: str, frames: int) -> None:
    with elkkit.metric_logger(path, model_name=model, model_version=3, run_id="r", contract=load_contract()) as log:
        for i in range(frames):
            log.log_metric("IoU", 0.5 + i / 100, frame_id=f"scene-7-{i:06d}")


BAD = b"".join(
    [
        b"\xef\xbb\xbfIoU : 0.5\r\n",
        b"IoU : 0,83\n",
        b"\xff\xfe Recall : nan\n",
        b"IoU : 0.5\x00\n",
        b"hello \x1b]0;title\x07 world\n",
        b"IoU : \x1b[2J\xc2\x9b31m\xe2\x80\xae0.9 \xe2\x81\xa6x\n",
        b"IoU : " + b"9" * 1_000_000 + b"\n",
        b'{"message":"Accuracy : 0.75","model.name":"a\\u202eb\\u001b[31m","model.version":"1"}\n',
        b"Inference time : 0.00001234\n",
        b"IoU : 0.83",
    ]
)


# --- records and rows -------------------------------------------------------------------------------------------------


def test_json_records_are_those_of_parse(tmp_path: Path) -> None:
    (tmp_path / "bad.log").write_bytes(BAD)
    done = run("bad.log", "--json", "--all", "--no-follow", "-n", "all", cwd=tmp_path)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    parse = [sys.executable, "-m", "elkkit", "parse", "bad.log"]
    parsed = subprocess.run(parse, cwd=tmp_path, env=environment(), capture_output=True, timeout=DEADLINE).stdout
    offset = 0
    lines = BAD.split(b"\n")
    for raw, record, expected in zip(lines[:-1], records, map(json.loads, parsed.splitlines()), strict=False):
        assert record == {"file": "bad.log", "offset": offset, **{k: v for k, v in expected.items() if k != "line"}}
        offset += len(raw) + 1
    assert len(records) == len(lines)
    assert records[-1]["outcome"] == "malformed"
    assert records[-1]["error.message"] == "no line feed ends the line, so its end may be missing"
    assert "metricscores" not in records[-1]
    assert (done.returncode, done.stderr.decode().count("\n")) == (0, 1)
    assert b"10 read, 3 scored" in done.stderr


@pytest.mark.parametrize("options", [["--json"], []])
def test_control_characters_are_harmless(tmp_path: Path, options: list[str]) -> None:
    done = run("-", "--all", *options, cwd=tmp_path, data=BAD)
    assert done.stdout.count(b"\n") == 10
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", done.stdout.decode())


def test_rows_for_people(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(
        '{"@timestamp":"2026-11-22T12:00:05.123+02:00","message":"IoU : 0.83125","model.name":"lane-a",'
        '"model.version":"3","frame.id":"scene-7-000042"}\n'
        '{"@timestamp":"2026-11-22T10:00:06Z","message":"Inference time : 0.0000123","model.name":"lane-a"}\n'
        '{"@timestamp":"soon","message":"Recall : nan","http.request.id":"f3a1"}\n'
        "IoU : 0,83\nsome text\nloss : 12\n"
    )
    done = run("a.log", "--all", "--no-follow", cwd=tmp_path)
    why = "the value of a known metric is not one plain number"
    assert done.stdout.decode().splitlines() == [
        "10:00:05Z   lane-a:3         IoU                   0.8313    scene-7-000042",
        "10:00:06Z   lane-a           Inference_time      1.23e-05 s",
        "--:--:--  ~ -                Recall                   nan    f3a1",
        f"--:--:--  ! -                IoU : 0,83  (malformed: {why})",
        "--:--:--  . -                some text",
        "--:--:--    -                loss                      12",
    ]
    assert done.stderr == b"6 read, 3 scored, 1 not finite, 1 not a score, 1 malformed\n"


def test_several_files_are_named(tmp_path: Path) -> None:
    for name in ("a/x.log", "b/x.log", "y.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"IoU : 0.5\n")
    done = run("a/x.log", "y.log", "--no-follow", cwd=tmp_path)
    assert [row.split()[1] for row in done.stdout.decode().splitlines()] == ["x", "y"]
    done = run("a/x.log", "b/x.log", "--no-follow", cwd=tmp_path)
    assert [row.split()[1] for row in done.stdout.decode().splitlines()] == ["a/x.log", "b/x.log"]


@pytest.mark.parametrize("width", [80, 40])
def test_a_terminal_gets_rows_that_fit(tmp_path: Path, width: int) -> None:
    (tmp_path / "bad.log").write_bytes(BAD + b"\nloss : 1e300\n" + "x : 車両検出車両検出".encode() * 20)
    with elkkit.metric_logger(tmp_path / "b.log", model_name="車" * 40, contract=load_contract()) as log:
        log.log_metric("IoU", 0.5, frame_id="フレーム" * 30)
        log.log_metric("Balanced_accuracy", None, frame_id="f" * 200 + "-000042")
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    out = b""
    args = [*TAIL, "bad.log", "b.log", "--all", "--no-follow", "-n", "all", "-q"]
    with subprocess.Popen(args, cwd=tmp_path, env=environment(), stdout=terminal, stdin=subprocess.DEVNULL) as process:
        os.close(terminal)
        with suppress(OSError):  # the end of a terminal
            while data := os.read(main, 65536):
                out += data
    os.close(main)
    assert process.returncode == 0
    rows = out.decode().replace("\r\n", "\n").splitlines()
    assert len(rows) == 14
    from rich.cells import cell_len

    bare = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in rows]
    assert max(map(cell_len, bare)) <= width
    assert not any("\x1b" in row for row in bare)
    assert any(row.startswith("\x1b[31m") and " ! " in row for row in rows)  # colour, and a mark that says it too
    if width == 80:
        assert any(row.endswith("-000042") for row in bare)


def test_what_is_asked_for(tmp_path: Path) -> None:
    for name in "ab":
        write_log(tmp_path / f"{name}.log", name, 3)
    with (tmp_path / "b.log").open("ab") as file:
        file.write(b"IoU : x\ntext\nLoss : 0.5\n")
    done = run("a.log", "b.log", "--model", "b:3", "--metric", "iou", "--no-follow", "--json", cwd=tmp_path)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r.get("model.name"), r["outcome"]) for r in records] == [*[("b", "scored")] * 3, (None, "malformed")]
    assert b"; not shown: 1 of text (see them with --all), 4 of other models or metrics" in done.stderr
    assert b"did you mean IoU?" in run("-", "--metric", "Iuo", cwd=tmp_path).stderr


def test_files_or_elasticsearch(tmp_path: Path) -> None:
    for option in (["--es"], ["--es-url", "http://localhost:9"]):
        done = run("a.log", *option, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.splitlines()[0] == b"error: files and --es exclude each other"
    done = run("--es-url", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 3
    assert b"http://127.0.0.1:9 is not reachable" in done.stderr
    done = run(cwd=tmp_path, data=b"IoU : 0.5\n", ELKKIT_ES_URL="http://localhost:9")  # a setting alone asks nobody
    assert (done.returncode, done.stdout.split()[-1]) == (0, b"0.5000")


def test_lines_and_quiet(tmp_path: Path) -> None:
    write_log(tmp_path / "a.log", "a", 30)
    assert run("a.log", "--no-follow", "-q", cwd=tmp_path).stdout.count(b"\n") == 10
    assert run("a.log", "--no-follow", "-n", "0", cwd=tmp_path).stdout == b""
    done = run("-", "--no-follow", "-n", "2", "-q", cwd=tmp_path, data=(tmp_path / "a.log").read_bytes())
    assert [row.split()[-1] for row in done.stdout.decode().splitlines()] == ["scene-7-000028", "scene-7-000029"]
    assert done.stderr == b""
    wrong = run("a.log", "-n", "-3", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.decode().splitlines()) == (
        2,
        ["error: --lines is wrong", "why: '-3' is neither a number nor all",
         "hint: elkkit tail --lines 100 FILE, or --lines all"],
    )  # fmt: skip


def test_errors_have_three_lines_and_speak_json(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"IoU : 0.5\n")
    (tmp_path / "loop").symlink_to("loop")
    for name, why in (("..", "Is a directory"), ("loop", "Too many levels of symbolic links")):
        done = run("a.log", name, cwd=tmp_path)
        lines = done.stderr.decode().splitlines()
        assert (done.returncode, done.stdout, lines[:2]) == (2, b"", [f"error: cannot read {name}", f"why: {why}"])
        assert name == "loop" or lines[2].startswith("hint: ")
    done = run("a.log", "nope", "--no-follow", "--json", cwd=tmp_path)
    record, error = map(json.loads, done.stdout.splitlines())
    assert (record["metricscores"], error["errors"][0]["message"], done.returncode) == (
        0.5,
        "cannot read nope: No such file or directory",
        2,
    )
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *TAIL]
    closed = subprocess.run(command, cwd=tmp_path, env=environment(), timeout=DEADLINE, capture_output=True)
    assert (closed.returncode, closed.stderr.splitlines()[1]) == (2, b"why: it is closed")
    with Path("/dev/full").open("wb") as full, running("a.log", cwd=tmp_path, stdout=full) as tail:
        assert tail.end() == 2
        assert b"error: cannot write standard output\nwhy: No space left on device\n" in tail.err


# --- what matches, since when, and which fields -----------------------------------------------------------------------


def write_asked(path: Path) -> None:
    path.write_text(
        '{"@timestamp":"2026-11-22T10:00:00Z","message":"IoU : 0.25","model.name":"a","frame.index":1}\n'
        '{"@timestamp":"2026-11-22T11:00:00Z","message":"IoU : 0.75","model.name":"a","frame.lane_free":true}\n'
        '{"@timestamp":"2026-11-22T12:00:00+02:00","message":"IoU : 0,5","model.name":"b"}\n'
        "Recall : 0.5\nsome text\nother text\n"
    )


@pytest.mark.parametrize(
    ("options", "shown", "hidden"),
    [
        (["--query", "metricscores < 0.5"], ["IoU : 0.25"], "5 filtered out"),
        (["--query", "not model.name : a"], ["IoU : 0,5", "Recall : 0.5"], "2 of text (see them with --all), 2"),
        (["--query", "message : text", "--all"], ["some text", "other text"], "4 filtered out"),
        (["--query", "message : some"], [], "1 of text (see them with --all), 5 filtered out"),
        (["--query", "tags : _malformed_score"], ["IoU : 0,5"], "5 filtered out"),
        (["--query", "metricscores > 0", "--model", "a", "--metric", "IoU"], ["IoU : 0.25", "IoU : 0.75"], "4 f"),
        (["--query", ""], ["IoU : 0.25", "IoU : 0.75", "IoU : 0,5", "Recall : 0.5"], "2 of text"),
        (
            ["--since", "2026-11-22T10:30"],
            ["IoU : 0.75", "Recall : 0.5"],
            "2 of text (see them with --all), 2 filtered",
        ),
        (["--since", "2026-11-22T12:30+02:00"], ["IoU : 0.75", "Recall : 0.5"], "2 of text"),
        (["--since", "2026-11-22", "--query", "model.name : b"], ["IoU : 0,5"], "5 filtered out"),
        (["--since", "2026-11-22", "-n", "3"], ["Recall : 0.5"], "2 of text"),
    ],
)
def test_only_what_matches(tmp_path: Path, options: list[str], shown: list[str], hidden: str) -> None:
    write_asked(tmp_path / "a.log")
    done = run("a.log", "--no-follow", "--json", *options, cwd=tmp_path)
    assert [json.loads(row)["message"] for row in done.stdout.splitlines()] == shown
    assert f"; not shown: {hidden}" in done.stderr.decode()
    assert done.returncode == 0


def test_since_some_time_ago(tmp_path: Path) -> None:
    with (tmp_path / "a.log").open("w") as file:
        for minutes in [5] * 15 + [25, -60]:
            moment = datetime.now(UTC) - timedelta(minutes=minutes)
            file.write(f'{{"@timestamp":"{moment.isoformat()}","message":"IoU : {abs(minutes)}"}}\n')
    for since, count in (("15m", 16), ("1200s", 16), ("1d", 17), ("999999999w", 17), ("0s", 1)):
        done = run("a.log", "--no-follow", "-q", "--since", since, cwd=tmp_path)
        assert done.stdout.count(b"\n") == count, since  # all of the file, not its last 10 lines


def test_only_these_fields(tmp_path: Path) -> None:
    write_asked(tmp_path / "a.log")
    names = "model.name, metricscores,frame.lane_free,message"
    done = run("a.log", "--no-follow", "--fields", names, cwd=tmp_path)
    assert done.stdout.decode().splitlines() == [
        "  a        0.25 -     IoU : 0.25",
        "  a        0.75 true  IoU : 0.75",
        "! b           - -     IoU : 0,5",
        "  -         0.5 -     Recall : 0.5",
    ]
    done = run("a.log", "--no-follow", "--json", "--fields", "frame.index,outcome,file,tags", cwd=tmp_path)
    assert [json.loads(row) for row in done.stdout.splitlines()] == [
        {"outcome": "scored", "frame.index": 1, "file": "a.log"},
        {"outcome": "scored", "file": "a.log"},
        {"outcome": "malformed", "file": "a.log", "tags": ["_malformed_score"]},
        {"outcome": "scored", "file": "a.log"},
    ]
    done = run("-", "--all", "--fields", "message,model.name", cwd=tmp_path, data=BAD)
    assert done.stdout.count(b"\n") == 10
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", done.stdout.decode())


@pytest.mark.parametrize(
    ("options", "error", "why", "hint"),
    [
        (["--query", "a : (b"], "the query is not KQL: a : (b", "  ^ it ends too early", '" a'),
        (["--query", "metricscores > x"], "the query cannot be asked of metricscores", "it is a number", "for exa"),
        (["--since", "yesterday"], "--since is wrong", "'yesterday' is neither a time", "elkkit tail --since 15m"),
        (["--since", "-5m"], "--since is wrong", "'-5m' is neither", ""),
        (["--fields", "modelname"], "--fields is wrong", "fields; did you mean model.name", "its fields are @time"),
        (["--fields", "score"], "--fields is wrong", "'score' is none of the contract's fields", ""),
        (["--fields", " , "], "--fields is wrong", "it names no field", ""),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, options: list[str], error: str, why: str, hint: str) -> None:
    done = run("-", *options, cwd=tmp_path, data=b"IoU : 0.5\n")
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, len(lines), lines[0]) == (2, b"", 3, f"error: {error}")
    assert why in lines[1]
    assert hint.strip('" a') in lines[2]
    envelope = json.loads(run("-", "--json", *options, cwd=tmp_path).stdout)
    assert (envelope["exit_code"], envelope["errors"][0]["code"]) == (2, "usage")


def test_an_unknown_field_of_a_query_is_worth_a_note(tmp_path: Path) -> None:
    done = run("-", "--query", "modelname : a or model : * or frame.* : x", cwd=tmp_path, data=b"IoU : 0.5\n")
    notes = done.stderr.decode().splitlines()[:-1]
    assert notes == ["note: modelname is none of the contract's fields; did you mean model.name?"]


# --- following --------------------------------------------------------------------------------------------------------


def test_follows_through_rotation_until_interrupted(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with running("a.log", cwd=tmp_path) as tail:
        tail.until(b"waiting for a.log: No such file or directory", "err")
        write_log(log, "a", 3)
        tail.until(b"scene-7-000002")
        log.rename(tmp_path / "a.log.1")
        write_log(log, "b", 2)
        tail.until(b"b:3 .*scene-7-000001")
        with log.open("ab") as file:
            file.write(b"IoU : 0.83")
        while tail.pump(0.6):
            pass
        assert b"0.83 " not in tail.out
        code = tail.end(signal.SIGINT)
    assert code == 130
    assert tail.out.splitlines()[-1].startswith(b"--:--:--  ! -                IoU : 0.83  (malformed: no line feed")
    assert tail.err.decode().splitlines()[1:] == [
        "note: a.log has appeared",
        "note: a.log was rotated; going on with the new file",
        "6 read, 5 scored, 0 not finite, 0 not a score, 1 malformed",
        "interrupted",
    ]


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    write_log(tmp_path / "a.log", "a", 3)
    with running("a.log", "--json", cwd=tmp_path) as tail:
        tail.until(b"scene-7-000002")
        assert tail.end(signal.SIGTERM) == 130
    assert tail.err == b"3 read, 3 scored, 0 not finite, 0 not a score, 0 malformed\ninterrupted\n"


def test_standard_input_comes_line_by_line(tmp_path: Path) -> None:
    with running(cwd=tmp_path, stdin=subprocess.PIPE) as tail:
        stdin = tail.process.stdin
        assert stdin is not None
        for i in range(30):  # more than --lines: a stream is shown whole
            os.write(stdin.fileno(), b"IoU : 0.1%03d\nIoU : 0." % i)
            tail.until(b"0.1%03d" % i)
            os.write(stdin.fileno(), b"5\n")
        os.write(stdin.fileno(), b"IoU : 0.83")
        stdin.close()
        tail.until(b"0.83 .*malformed")
        assert tail.end() == 0
    assert tail.err == b"61 read, 60 scored, 0 not finite, 0 not a score, 1 malformed\n"


@pytest.mark.parametrize("args", [["a.log"], ["-"]])
def test_a_closed_pipe_ends_it_though_nothing_happens(tmp_path: Path, args: Sequence[str]) -> None:
    write_log(tmp_path / "a.log", "a", 3)
    with running(*args, cwd=tmp_path, stdin=subprocess.PIPE) as tail:
        assert tail.process.stdin is not None
        assert tail.process.stdout is not None
        os.write(tail.process.stdin.fileno(), b"IoU : 0.5\n")
        tail.until(b"IoU")
        tail.process.stdout.close()
        assert tail.process.wait(DEADLINE) == 0
        assert tail.process.stderr is not None
        assert b"Traceback" not in tail.process.stderr.read()


def test_a_closed_pipe_ends_it_while_it_writes(tmp_path: Path) -> None:
    write_log(tmp_path / "a.log", "a", 3)
    (tmp_path / "a.log").write_bytes((tmp_path / "a.log").read_bytes() * 5000)
    shell = '"$@" -n all a.log | head -1; echo "${PIPESTATUS[0]}"'
    for script in (shell, shell.replace("a.log |", "a.log 2>&1 |")):
        command = ["bash", "-c", script, "bash", *TAIL]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), timeout=DEADLINE, capture_output=True)
        assert done.stdout.splitlines()[1] == b"0"
        assert b"Traceback" not in done.stderr


def test_interrupted_while_the_reader_takes_nothing(tmp_path: Path) -> None:
    write_log(tmp_path / "a.log", "a", 3)
    (tmp_path / "a.log").write_bytes((tmp_path / "a.log").read_bytes() * 5000)
    with running("a.log", "-n", "all", cwd=tmp_path) as tail:
        stdout = tail.process.stdout
        assert stdout is not None
        end = time.monotonic() + DEADLINE
        pending = 0
        while pending < 60_000 and time.monotonic() < end:  # the pipe is full
            pending = struct.unpack("i", fcntl.ioctl(stdout, termios.FIONREAD, b"\0" * 4))[0]
            time.sleep(0.02)
        assert tail.end(signal.SIGINT) == 130
    assert tail.err.endswith(b"malformed\ninterrupted\n")


def test_a_writer_and_its_rotations_are_told_apart_exactly(tmp_path: Path) -> None:
    """The whole road in JSON: every line that was logged comes once, with the number that was logged."""
    log = tmp_path / "a.log"
    writer = """
import logging.handlers, sys, time
handler = logging.handlers.RotatingFileHandler(sys.argv[1], maxBytes=30_000, backupCount=100)
for i in range(5000):
    handler.emit(logging.makeLogRecord({"msg": f"IoU : {i}.25"}))
    if i % 250 == 0: time.sleep(0.01)
"""
    log.touch()
    with running("a.log", "--json", "-n", "all", cwd=tmp_path) as tail:
        with log.open("ab") as file:
            file.write(b"IoU : 0.5\n")
        tail.until(b'"metricscores":0.5')
        subprocess.run([sys.executable, "-c", writer, str(log)], check=True, timeout=DEADLINE)
        tail.until(b'"metricscores":4999.25')
        end = time.monotonic() + DEADLINE
        while tail.out.count(b"\n") < 5001 and time.monotonic() < end:
            tail.pump()
        tail.end(signal.SIGINT)
    scores = [json.loads(line)["metricscores"] for line in tail.out.splitlines()]
    assert sorted(scores[1:]) == [i + 0.25 for i in range(5000)]


# --- parts ------------------------------------------------------------------------------------------------------------


def line(data: bytes, *, ended: bool = True, cut: bool = False) -> FollowedLine:
    return FollowedLine("a.log", 1, 2, 0, 0, data, ended, cut)


@pytest.mark.parametrize("text", ["IoU : 0.83", "Recall : nan"])
def test_an_unfinished_line_is_never_a_score(text: str) -> None:
    parser = Parser.of()
    assert judge_strictly(parser, line(text.encode())).outcome in ("scored", "not_finite")
    judged = judge_strictly(parser, line(text.encode(), ended=False))
    assert judged.outcome == "malformed"
    assert judged.fields["tags"] == [parser.contract.malformed_tag]
    assert not {"metrictype", "metricscores", "metricraw"} & set(judged.fields)


def test_an_unfinished_json_object_is_whole_by_itself() -> None:
    text = b'{"message":"IoU : 0.83","model.name":"a"}'
    assert judge_strictly(Parser.of(), line(text, ended=False)).outcome == "scored"
    assert judge_strictly(Parser.of(), line(text[:-1], ended=False)).outcome == "malformed"


def test_an_unfinished_line_of_text_stays_text() -> None:
    assert judge_strictly(Parser.of(), line(b"starting", ended=False)).outcome == "not_a_score"
    assert judge_strictly(Parser.of(), line(b"IoU : 0.5", cut=True)).fields["tags"][-1] == "_malformed_score"


def test_every_line_is_counted() -> None:
    counts = TailCounts()
    lines = [line(b"IoU : 0.5"), None, line(b"text"), line(b"Recall : 0.5"), line(b"IoU : 0,5")]
    shown = list(tail_lines(lines, Parser.of(), Wanted(metrics=frozenset(["IoU"])), counts))
    assert [r and r["outcome"] for r in shown] == ["scored", None, "malformed"]
    assert (counts.as_dict()["read"], counts.text_hidden, counts.filtered) == (4, 1, 1)


@pytest.mark.parametrize(
    ("name", "score", "expected"),
    [
        ("IoU", 0.83125, "0.8313"),
        ("IoU", 0.0, "0.0000"),
        ("IoU", 1.0, "1.0000"),
        ("IoU", 0.00021, "0.00021"),
        ("Inference_time", 0.0000123, "1.23e-05"),
        ("Inference_time", -4e-320, "-4e-320"),
        ("Truth_px", 123456.0, "123456"),
        ("Truth_px", 1e300, "1e+300"),
        ("loss", 12.0, "12"),
    ],
)
def test_scores_for_people(name: str, score: float, expected: str) -> None:
    assert score_text(load_contract().metric(name), score) == expected


def test_json_stays_the_same_value() -> None:
    record = {"message": 'a\x7f\x9b\u202e\u2028é車\\"', "n": 0.1}
    text = json_line(record)
    assert json.loads(text) == record
    assert text == '{"message":"a\\u007f\\u009b\\u202e\\u2028é車\\\\\\"","n":0.1}\n'.encode()


def test_cells() -> None:
    assert _fit("abc", 5, cut=5) == "abc  "
    assert _fit("abcdef", 4, cut=4) == "abc…"
    assert _fit("abcdef", 4, cut=4, keep_end=True) == "…def"
    assert _fit("abcdef", 4, cut=None) == "abcdef"
    assert _fit("車両検出", 6, cut=6) == "車両 …"
    assert _fit("車両検出", 6, cut=6, keep_end=True) == "…検出 "


def test_a_model_filter_needs_a_model() -> None:
    wanted = Wanted(models=frozenset(["a", "b:2"]))
    parsed = [Parsed("scored", f) for f in ({"model.name": "a"}, {"model.name": "b", "model.version": "2"}, {})]  # type: ignore[arg-type]
    assert [wanted.passes(SimpleNamespace(outcome=p.outcome, fields=p.fields)) for p in parsed] == [True, True, False]  # type: ignore[arg-type]


# --- documents of Elasticsearch ---------------------------------------------------------------------------------------


def test_records_of_documents_are_those_of_lines() -> None:
    source = {"message": "IoU : 0.5", "metrictype": "IoU", "metricscores": 0.5, "model": {"name": "a"},
              "log": {"file": {"path": "/x.log"}, "offset": 7}}  # fmt: skip
    counts = TailCounts()
    sources = [source, None, {"message": "text"}, {"metrictype": "F1", "metricscores": 1}]
    wanted = Wanted(metrics=frozenset(["IoU"]))
    assert list(tail_documents(sources, load_contract(), wanted, counts)) == [
        {"file": "/x.log", "offset": 7, "outcome": "scored", "message": "IoU : 0.5", "metrictype": "IoU",
         "metricscores": 0.5, "model.name": "a", "log.file.path": "/x.log", "log.offset": 7},
        None,
    ]  # fmt: skip
    assert (counts.as_dict()["read"], counts.text_hidden, counts.filtered) == (3, 1, 1)
