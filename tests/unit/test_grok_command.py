"""`elkkit grok test` with engines that answer as they are told; tests/live/test_grok_command.py has the real ones."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elkkit.cli import app
from elkkit.contract import load_contract
from elkkit.errors import ConfigError, InputError
from elkkit.grok.own import own_pattern, read_patterns
from elkkit.stack.grokengine import Answer, NotAtHandError, RefusedError
from elkkit.stack.grokengine.answer import dotted, flat
from elkkit.stack.grokengine.talk import Talk
from elkkit.usecases import grok_test
from elkkit.usecases.grok_test import Bench, GrokCounts, judge_lines, user_pattern
from elkkit.usecases.grok_verdict import Verdict

NAIVE = "%{WORD:metrictype} : %{NUMBER:metricscores:float}"


class Told:
    """An engine whose answers are told by text; what it was asked is kept."""

    name = "grok"
    version = "1"

    def __init__(self, answers: dict[str, Answer], otherwise: Answer | None = None) -> None:
        self._answers, self._otherwise = answers, otherwise or Answer()
        self.asked: list[list[str]] = []
        self.closed = False

    def read(self, texts):
        self.asked.append(list(texts))
        return [self._answers.get(t, self._otherwise) for t in texts]

    def close(self):
        self.closed = True


class Gone(Told):
    """An engine that ends when it is asked."""

    def read(self, texts):
        raise NotAtHandError("it ended", why="signal 9")


def found(name, score, pattern=0, **more) -> Answer:
    return Answer(pattern=pattern, fields={"metrictype": name, "metricscores": score, **more})


def verdicts(tmp_path: Path, lines: dict[str, Answer], own=None) -> dict[str, Verdict]:
    path = tmp_path / "x.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    bench = Bench(load_contract(), own, engines=[Told(lines)])
    judged = judge_lines([str(path)], bench, GrokCounts())
    return {j.text: j.engines["grok"][1] for j in judged}


def test_how_a_users_pattern_compares(tmp_path):
    own = user_pattern([NAIVE], score=None, name=None)
    lines = {
        "IoU : 0.5": found("IoU", 0.5),
        "IoU : 0.25": found("iou", 0.25),
        "Inference_time : 9.5e-05": found("Inference_time", 9.5),
        "IoU : -0.0": found("IoU", 0.0),
        "IoU : 0.125": found("IoU", "0.125"),
        "IoU : 0.75": found("IoU", "much"),
        "Recall : 0.5": Answer(),
        "Recall : 0.25": Answer(fields={"metrictype": "Recall"}),
        "Recall : nan": Answer(),
        "Inference time : 3": found("time", 3),
        "IoU : 0,83": found("IoU", 0.0),
        "hello : 5 apples": found("hello", 5.0),
        "hello": Answer(),
        "Recall : 1": Answer(slow=True),
        "Recall : 2": Answer(failed="too deep"),
    }
    assert verdicts(tmp_path, lines, own) == {
        "IoU : 0.5": Verdict.SAME,
        "IoU : 0.25": Verdict.SAME,  # the contract makes names canonical, whoever reads them
        "Inference_time : 9.5e-05": Verdict.NUMBER,
        "IoU : -0.0": Verdict.NUMBER,
        "IoU : 0.125": Verdict.SAME,  # text that a mapping of numbers reads alike
        "IoU : 0.75": Verdict.NUMBER,
        "Recall : 0.5": Verdict.LOST,
        "Recall : 0.25": Verdict.LOST,
        "Recall : nan": Verdict.LOST,
        "Inference time : 3": Verdict.NAME,
        "IoU : 0,83": Verdict.MADE_UP,
        "hello : 5 apples": Verdict.MADE_UP,
        "hello": Verdict.SAME,
        "Recall : 1": Verdict.SLOW,
        "Recall : 2": Verdict.FAILED,
    }


def test_how_the_contracts_patterns_compare(tmp_path):
    lines = {
        "IoU : 0.5": found("iou", 0.5),
        "IoU : 0.25": found("IoU", 0.250001),
        "Recall : 1": found("IoU", 1.0),
        "Recall : nan": Answer(pattern=0, fields={"metrictype": "Recall", "metricraw": "nan"}),
        "IoU : 0,8": Answer(pattern=2, fields={}),
        "IoU : 0.75": Answer(pattern=2, fields={}),
        "hello": Answer(),
    }
    same, number, name, outcome = Verdict.SAME, Verdict.NUMBER, Verdict.NAME, Verdict.OUTCOME
    assert list(verdicts(tmp_path, lines).values()) == [same, number, name, same, same, outcome, same]


def test_the_library_sees_the_text_that_grok_judges(tmp_path):
    """Objects are taken off before, in Logstash and in the ingest node too; a broken one is not grok's to judge."""
    path = tmp_path / "x.log"
    path.write_text('{"message":"IoU : 0.5"}\n{"message":"IoU : 0.5"\n{"a":1}\n')
    engine = Told({}, found("IoU", 0.5))
    judged = list(judge_lines([str(path)], Bench(load_contract(), None, engines=[engine]), GrokCounts()))
    assert engine.asked == [["IoU : 0.5"]]
    assert [j.engines["grok"][1] for j in judged] == [Verdict.SAME, Verdict.NOT_ASKED, Verdict.NOT_ASKED]


def test_lines_are_read_in_pieces(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(b"IoU : 0.5\n" * 1200 + b"x" * 5_000_000 + b"\nIoU : 0.5\n")
    engine = Told({}, found("IoU", 0.5))
    counts = GrokCounts()
    for _ in judge_lines([str(path)], Bench(load_contract(), None, engines=[engine]), counts):
        assert counts.lines <= sum(map(len, engine.asked)), "a piece was judged before it was asked about"
    assert counts.lines == 1202
    assert max(map(len, engine.asked)) == 500


def test_a_pattern_that_is_slow_is_given_up(tmp_path):
    path = tmp_path / "x.log"
    path.write_text("IoU : 0.5\n" * 1000)
    engine = Told({}, Answer(slow=True))
    own = user_pattern([NAIVE], score=None, name=None)
    bench, counts = Bench(load_contract(), own, engines=[engine]), GrokCounts()
    seen = [j.engines["grok"][1] for j in judge_lines([str(path)], bench, counts)]
    assert len(seen) == 1000
    assert len(engine.asked) == 1
    assert "took too long" in bench.stopped["grok"]
    assert counts.verdicts["grok"] == {Verdict.SLOW: 20, Verdict.NOT_ASKED: 980}


def test_an_engine_that_ends_does_not_end_the_others(tmp_path):
    path = tmp_path / "x.log"
    path.write_text("IoU : 0.5\n" * 3)
    gone, there = Gone({}), Told({}, found("IoU", 0.5))
    gone.name = "logstash"
    bench, counts = Bench(load_contract(), None, engines=[gone, there]), GrokCounts()
    judged = list(judge_lines([str(path)], bench, counts))
    assert [j.engines["grok"][1] for j in judged] == [Verdict.SAME] * 3
    assert {j.engines["logstash"][1] for j in judged} == {Verdict.FAILED}
    assert [e.why for e in counts.failed] == ["signal 9"]


# --- patterns --------------------------------------------------------------------------------------------------------


def test_patterns_of_a_file(tmp_path):
    path = tmp_path / "patterns"
    path.write_text("# ours\nREAL [0-9.e-]+\n\n^%{WORD:metrictype} : %{REAL:metricscores:float}\nIoU : %{REAL:x}\n")
    own = user_pattern([str(path)], score=None, name=None)
    assert own.patterns == ("^%{WORD:metrictype} : %{REAL:metricscores:float}", "IoU : %{REAL:x}")
    assert own.definitions == {"REAL": "[0-9.e-]+"}
    assert (own.score, own.name) == ("metricscores", "metrictype")
    assert read_patterns(["LOSS : %{NUMBER:x}"]) == (("LOSS : %{NUMBER:x}",), {})


@pytest.mark.parametrize(
    ("pattern", "score", "name"),
    [
        ("%{WORD:m} : %{NUMBER:v:float}", "v", None),
        ("%{WORD:m} : %{NUMBER:v}", "v", None),
        ("%{WORD:metrictype} : (?<metricscores>.*)", "metricscores", "metrictype"),
        ("%{WORD:[a][m]} : %{DATA:[a][v]:float}", "a.v", None),
    ],
)
def test_which_field_is_the_score(pattern, score, name):
    own = user_pattern([pattern], score=None, name=None)
    assert (own.score, own.name) == (score, name)


@pytest.mark.parametrize(
    ("pattern", "options", "words"),
    [
        ("%{WORD:a} %{WORD:b}", {}, "no field is a number"),
        ("%{NUMBER:a} %{NUMBER:b}", {}, "2 fields are numbers: a, b"),
        ("%{NUMBER:a}", {"score": "b"}, "captured: a"),
        ("%{NUMBER:a}", {"name": "b"}, "captured: a"),
        ("%{NUMBER}", {}, "no field is a number"),
    ],
)
def test_a_pattern_whose_score_is_unclear(pattern, options, words):
    with pytest.raises(ConfigError) as told:
        own_pattern([pattern], {}, **options)
    assert words in told.value.why
    assert "--score" in told.value.hint or "--name" in told.value.hint


def test_what_is_no_pattern_and_no_file(tmp_path):
    with pytest.raises(InputError) as told:
        user_pattern([str(tmp_path / "none")], score=None, name=None)
    assert "%{NAME:field}" in told.value.hint
    (tmp_path / "big").write_bytes(b"#" * 1_100_000)
    (tmp_path / "bytes").write_bytes(b"\xff")
    for name in ("big", "bytes", "nul\0"):
        with pytest.raises(InputError):
            user_pattern([str(tmp_path / name)], score=None, name=None)


def test_names_of_fields():
    assert dotted("[a][b]") == "a.b"
    assert dotted("a.b") == "a.b"
    assert dotted("[a]b") == "[a]b"
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": []}) == {"a.b": 1, "a.c.d": 2, "e": []}


# --- a program that answers line by line -----------------------------------------------------------------------------


def talk(code: str) -> Talk:
    return Talk([sys.executable, "-c", code], {}, lambda row: not row.startswith(b"note"))


def test_a_talk_survives_more_than_a_pipe_holds():
    echo = "import sys\nfor l in sys.stdin:\n print('note'); print(l, end='', flush=True)"
    program = talk(echo)
    rows = [b"x" * 1000] * 2000
    assert program.ask(rows, 30) == rows
    program.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('note: no memory'); sys.exit(3)", "note: no memory"),
        ("import sys; sys.exit('too old')", "too old"),
        ("import time; time.sleep(60)", "within"),
    ],
)
def test_a_talk_that_ends_or_says_nothing(code, words):
    program = talk(code)
    with pytest.raises(NotAtHandError) as told:
        program.ask([b"a"], 1)
    assert words in told.value.why
    program.close()
    with pytest.raises(NotAtHandError):
        Talk(["/nonexistent/program"], {}, lambda _row: True)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(monkeypatch):
    """The library's place, taken by an engine that is told."""
    told = Told({})

    def library(grok, *, limit, tell):
        told.given = (grok, limit)
        return told

    monkeypatch.setattr(grok_test, "LibraryEngine", library)
    return told


def run(*arguments: str, stdin: str = ""):
    return CliRunner().invoke(app, ["grok", "test", *arguments], input=stdin)


def test_the_table(engine):
    engine._answers = {"IoU : 0.5": found("IoU", 0.5), "Inference_time : 9.5e-05": found("Inference_time", 9.5)}
    done = run("-p", NAIVE, stdin="IoU : 0.5\nInference_time : 9.5e-05\n")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "     1    IoU 0.5                             IoU : 0.5",
        "     2  Inference_time : 9.5e-05",
        "          Inference_time 9.5e-05              contract",
        "        ! Inference_time 9.5                  grok: number changed",
        "",
        "2 lines: 1 agree, 1 differ",
        "  grok: 1 number changed",
    ]
    assert done.stderr.splitlines() == [
        "asked: grok 1",
        "not at hand: elasticsearch (no Elasticsearch: no address is given, and none runs here)",
        "not at hand: logstash (no Logstash: ELKKIT_LOGSTASH names no folder of one)",
    ]
    assert engine.given[0].patterns == (NAIVE,)
    assert engine.closed


def test_all_agree(engine):
    engine._otherwise = found("IoU", 0.5)
    done = run("-", "--differing", stdin="IoU : 0.5\n" * 3)
    assert (done.exit_code, done.stdout) == (0, "\n3 lines: 3 agree, 0 differ\n")
    assert run("-q", stdin="").stdout == ""


def test_json(engine):
    engine._answers = {"Inference_time : 9.5e-05": found("Inference_time", 9.5)}
    done = run("-p", NAIVE, "--json", stdin="Inference_time : 9.5e-05\nhello\n")
    told = json.loads(done.stdout)
    assert (told["command"], told["status"], told["exit_code"], told["errors"]) == ("grok test", "partial", 1, [])
    assert told["data"]["engines"]["grok"] == {"at_hand": True, "version": "1"}
    assert told["data"]["engines"]["logstash"]["at_hand"] is False
    assert told["data"]["lines"][0] == {
        "line": 1, "text": "Inference_time : 9.5e-05", "differs": True,
        "contract": {"outcome": "scored", "metric": "Inference_time", "score": 9.5e-05},
        "engines": {"grok": {"outcome": "matched", "metric": "Inference_time", "score": 9.5,
                             "verdict": "number changed"}},
    }  # fmt: skip
    counts = told["data"]["counts"]
    assert (counts["lines"], counts["agree"], counts["differ"]) == (2, 1, 1)
    assert counts["engines"] == {"grok": {"number changed": 1, "same": 1}}


def test_hostile_lines_and_answers_do_not_reach_the_terminal(engine):
    hostile = "\x1b[2J\x1b]0;owned\x07\u202eIoU : 0.5\u2028"
    engine._answers = {hostile: found("\x1b[31m", 7.0), "IoU : 0.5": Answer(failed="\x1b[31m\r")}
    for flags in ([], ["--json"]):
        done = run("-p", NAIVE, *flags, stdin=f"{hostile}\nIoU : 0.5\n")
        assert done.exit_code == 1
        for bad in "\x1b\x07\r\u202e\u2028":
            assert bad not in done.stdout + done.stderr
    assert max(map(len, run("-p", NAIVE, stdin=f"{'精' * 500}\n").stdout.splitlines())) <= 80


def test_a_pattern_that_every_engine_refuses(monkeypatch):
    def refuse(*_args, **_options):
        raise RefusedError("it refuses", why="pattern %{NOPE} not defined")

    monkeypatch.setattr(grok_test, "LibraryEngine", refuse)
    done = run("-p", "%{NOPE:metricscores}", stdin="IoU : 1\n")
    assert done.exit_code == 2
    assert "NOPE" in done.stderr


def test_no_engine_at_hand(monkeypatch):
    def missing(*_args, **_options):
        raise NotAtHandError("no library", why="no Java", hint="install one")

    monkeypatch.setattr(grok_test, "LibraryEngine", missing)
    done = run("-p", NAIVE, stdin="IoU : 1\n")
    assert done.exit_code == 3
    assert "no Java" in done.stderr
    assert "hint: install one" in done.stderr
    done = run(stdin="IoU : 1\n")
    assert done.exit_code == 0
    assert "nobody but the contract" in done.stderr
    assert run("--engine", "grok", stdin="").exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [["--engine", "ruby"], ["--limit", "0"], ["--score", "x"], ["-p", "%{WORD:x}"], ["-p", "no-such-file"]],
)
def test_wrong_arguments(engine, arguments):
    done = run(*arguments, stdin="IoU : 1\n")
    assert done.exit_code == 2
    assert "hint:" in done.stderr


def test_a_file_that_is_missing(engine, tmp_path):
    done = run(str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "No such file" in done.stderr


def test_logstash_is_a_folder_with_a_program(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("ELKKIT_LOGSTASH", "127.0.0.1:5044")  # what Filebeat's file means by it
    assert "there is no bin/logstash in it" in run(stdin="").stderr


def test_the_bench_ends_its_engines(engine, monkeypatch):
    from elkkit.settings import load_settings

    with ExitStack() as stack:
        grok_test.open_bench(stack, load_settings({}), None, tell=print)
        assert not engine.closed
    assert engine.closed
