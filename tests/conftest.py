"""What all tests share: a clean environment, the choice of tests, and the watch over skips."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

ALLOWED_SKIPS = Path(__file__).with_name("allowed-skips.txt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run what needs services or minutes")
    parser.addoption("--strict-skips", action="store_true", help="fail on a skip that is not in allowed-skips.txt")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    left_out = [i for i in items if i.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [i for i in items if not i.get_closest_marker("full")]


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter, exitstatus, config: pytest.Config) -> None:
    """Name the skips that CI does not allow."""
    for line in config.stash.get(_REFUSED, []):
        terminalreporter.write_line(f"SKIP NOT ALLOWED: {line}", red=True)


_REFUSED = pytest.StashKey[list[str]]()
_SKIPS = pytest.StashKey[list[tuple[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPS] = []
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what we start would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        item.config.stash[_SKIPS].append((item.nodeid, _reason(report)))
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if not session.config.getoption("--strict-skips"):
        return
    lines = (line.partition("#")[0].strip() for line in ALLOWED_SKIPS.read_text("utf-8").splitlines())
    allowed = [line for line in lines if line]
    refused = [f"{n}: {why}" for n, why in session.config.stash[_SKIPS] if not any(why.startswith(a) for a in allowed)]
    session.config.stash[_REFUSED] = refused
    if refused and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of this machine leaks into a test, and the time zone is one where mistakes show."""
    for name in list(os.environ):
        if name.startswith("ELKKIT_") and name != "ELKKIT_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))
    monkeypatch.setenv("ELKKIT_STATE", str(tmp_path_factory.getbasetemp() / "state"))
    monkeypatch.setenv("TZ", "Etc/GMT+2")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    time.tzset()
