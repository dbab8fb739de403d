"""The command line's manners: one envelope, three-line errors, exit codes, light start, harmless output."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from elkkit.cli import COMMANDS, app
from elkkit.cli.output import harmless

LINES = b"IoU : 0.83\nIoU : 0,8\nloss : nan\nhello\n"
ENVELOPE = {"elkkit_result_version", "command", "status", "exit_code", "data", "errors"}


def run(*arguments: str, stdin: bytes = b""):
    return CliRunner().invoke(app, list(arguments), input=stdin)


def test_parse_prints_one_object_a_line_and_a_summary(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(LINES)
    done = run("parse", str(path))
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"line": 1, "outcome": "scored", "message": "IoU : 0.83", "metrictype": "IoU", "metricscores": 0.83},
        {"line": 2, "outcome": "malformed", "message": "IoU : 0,8", "tags": ["_malformed_score"],
         "error.message": "the value of a known metric is not one plain number"},
        {"line": 3, "outcome": "not_finite", "message": "loss : nan", "metrictype": "loss", "metricraw": "nan"},
        {"line": 4, "outcome": "not_a_score", "message": "hello"},
    ]  # fmt: skip
    assert done.stderr == "4 read, 1 scored, 1 not finite, 1 not a score, 1 malformed\n"
    assert done.exit_code == 0


def test_parse_reads_standard_input_and_names_files(tmp_path):
    assert json.loads(run("parse", stdin=b"IoU : -0.0\n").stdout)["metricscores"].hex() == "-0x0.0p+0"
    for name in "ab":
        (tmp_path / name).write_bytes(b"IoU : 1\n")
    done = run("parse", "-q", str(tmp_path / "a"), str(tmp_path / "none"), str(tmp_path / "b"))
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(tmp_path / n) for n in "ab"]
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        f"error: cannot read {tmp_path}/none", "why: No such file or directory", "hint: check the path",
    ]  # fmt: skip


def test_an_unterminated_last_line_is_told():
    done = run("parse", stdin=b"IoU : 0.83")
    assert "the last line of - has no line feed" in done.stderr
    assert json.loads(done.stdout)["outcome"] == "scored"


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (["parse", "--json", "-"], 0, "success"),
        (["parse", "--json", "none.log"], 2, "error"),
        (["config", "show", "--json"], 0, "success"),
        (["config", "show", "--json", "--config", "none.toml"], 2, "error"),
        (["parse", "--json", "--nonsense"], 2, "error"),
        (["prase", "--json"], 2, "error"),
        (["parse", "--json", "-q", "-v"], 2, "error"),
        (["parse", "--json", "--color", "pink"], 2, "error"),
    ],
)
def test_the_envelope(arguments, code, status):
    done = run(*arguments, stdin=LINES)
    result = json.loads(done.stdout)
    assert set(result) == ENVELOPE
    assert (result["elkkit_result_version"], result["status"], result["exit_code"]) == (1, status, code)
    assert done.exit_code == code
    assert all(set(e) == {"code", "message", "hint"} and e["hint"] for e in result["errors"])
    assert bool(result["errors"]) == (code != 0)


def test_errors_are_three_lines_without_a_traceback():
    done = run("prase")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "why", "hint"]
    assert "Did you mean 'parse'?" in done.stderr
    assert done.exit_code == 2


def test_an_error_of_our_own_is_70_and_shows_its_traceback_on_demand(monkeypatch):
    def fail(*_):
        raise RuntimeError("surprise")

    monkeypatch.setattr("elkkit.usecases.parse.parse_files", fail)
    done = run("parse", stdin=LINES)
    assert done.exit_code == 70
    assert "RuntimeError: surprise" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in run("parse", "--debug", stdin=LINES).stderr


def test_every_command_has_help_with_an_example():
    assert "Usage: elkkit" in run("-h").stdout
    for name in COMMANDS:
        inner = {"config": "show", "grok": "test", "model": "inspect", "render": "helm-values", "runs": "show"}
        words = [name, inner[name]] if name in inner else [name]
        text = run(*words, "--help").stdout
        assert "Examples:" in text, name
        assert f"elkkit {' '.join(words)}" in text, name
        assert "--json" in text, name
        assert max(map(len, text.splitlines())) <= 80, name


def test_start_is_light():
    heavy = {"numpy", "cv2", "onnxruntime", "elasticsearch", "scipy", "rich", "jinja2", "yaml", "jsonschema"}
    code = f"import sys, elkkit, elkkit.cli; print(*sorted({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "\n"


def test_version():
    assert run("--version").stdout.startswith("elkkit 0.1.0 (contract 1, Python 3.")


def test_a_closed_pipe_is_no_error(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(LINES * 20_000)
    command = f'"{sys.executable}" -m elkkit parse -q {path} | head -n 1; echo ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[1] == "0"
    assert done.stderr == ""


def test_a_pipe_closed_on_a_table_is_no_error(tmp_path):
    command = f'"{sys.executable}" -m elkkit config show | true; echo ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_config_show_masks_and_names_origins():
    result = CliRunner().invoke(app, ["config", "show"], env={"ELKKIT_API_KEY": "s3cret", "ELKKIT_DATASET": "pose"})
    assert "s3cret" not in result.output
    assert "********" in result.stdout
    assert "ELKKIT_DATASET" in result.stdout
    assert "logs-pose-default" in result.stdout


def test_control_characters_are_made_visible():
    assert harmless("a\x1b[31mb\r\x00\u202e\x9b c\td") == "a\\x1b[31mb\\r\\x00\\u202e\\x9b c\td"
