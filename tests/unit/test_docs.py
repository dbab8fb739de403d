"""What the README says exists, and what exists is in the README."""

from __future__ import annotations

import re
from pathlib import Path

from elkkit.cli import COMMANDS
from elkkit.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_every_command_and_exit_code_is_in_the_readme():
    for name in COMMANDS:
        assert f"`elkkit {name}" in README
    codes = {int(n) for n in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert codes == set(ExitCode)


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for language, block in re.findall(r"```(python|toml)\n(.*?)```", README, re.DOTALL):
        if language == "toml":
            (tmp_path / "elkkit.toml").write_text(block)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    lines = (tmp_path / "scores.log").read_text().splitlines()
    assert [re.search(r'"message":"([^"]+)"', line)[1] for line in lines] == ["IoU : 0.83", "PCK : 0.912"]
    assert all('"event.dataset":"pose.eval"' in line for line in lines)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (ROOT / target).exists(), target


def test_folders_and_scripts_named_exist():
    for name in re.findall(r"`(tools/[a-z]+)`", README):
        assert (ROOT / name).exists(), name
