"""What can be looked at without any service: settings, contract, files, models, a line, log files."""

from __future__ import annotations

import glob
import os
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from elkkit.assets import assets_root
from elkkit.contract import Contract, load_contract
from elkkit.errors import ElkkitError
from elkkit.stack.files import readable
from elkkit.usecases.findings import Check, fail, failed, ok, skip, warn

if TYPE_CHECKING:
    from elkkit.settings import Settings

MOST_LOGS = 20
"""Files that are looked at one by one; the rest is counted."""
_JUST_NOW = 10.0
"""Seconds within which a line without its end may still be being written."""
_NUMBERS = (0.1 + 0.2, 9.5e-05, 5e-324, -0.0, 1 / 3)


def origins(settings: Settings) -> Check:
    """Where the settings that are not defaults come from; values only of what is no secret."""
    found = [row for row in settings.shown() if row["origin"] != "default"]
    if not found:
        return ok("settings", "all are defaults; elkkit config show  lists them")
    origin = Counter(str(row["origin"]) for row in found)
    named = "; ".join(f"{', '.join(r['name'] for r in found if r['origin'] == o)} from {o}" for o in origin)
    return ok("settings", f"{named}; the rest are defaults")


def consistency(contract: Contract) -> list[Check]:
    """Whether names, patterns and files of the contract fit together, and the stack's files fit these settings."""
    from elkkit.line.parser import Parser

    parser = Parser.of(contract)
    wrong = []
    for metric in contract.metrics.values():
        for spelling in metric.spellings:
            parsed = parser.parse_text(f"{spelling} : 0.5")
            if parsed.fields.get("metrictype") != metric.name:
                wrong.append(f"{spelling} is read as {parsed.fields.get('metrictype', 'no score')}")
    if wrong:
        hint = "rename that metric in elkkit.toml; elkkit config show --json lists all"
        return [fail("contract", f"not every metric is read as itself: {wrong[0]}", hint)]
    found = [ok("contract", f"version {contract.version}, {len(contract.metrics)} metrics, {len(contract.fields)} "
                            f"fields, events go to {contract.stream}")]  # fmt: skip
    shipped = load_contract()
    if contract.dataset != shipped.dataset:
        text = f"logstash/ and filebeat/ are made for the dataset {shipped.dataset}, yours is {contract.dataset}"
        found.append(warn("contract files", text, "ship by elkkit ship, or change the dataset in your copies of them"))
    return found


def assets() -> list[Check]:
    """Whether the stack's files are there, and as the contract makes them."""
    from elkkit.render import generate_all

    root = assets_root()
    wanted = generate_all(load_contract())
    missing, changed = [], []
    for name, text in wanted.items():
        try:
            there = (root / name).read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            missing.append(name)
            continue
        except OSError as error:
            return [fail("assets", f"cannot read {root / name}: {error.strerror}", f"ls -ld {root / name}")]
        if there != text:
            changed.append(name)
    mend = "tools/render" if (root / "tools" / "render").is_file() else "pip install --force-reinstall elkkit"
    if missing:
        return [fail("assets", f"{len(missing)} of {len(wanted)} files are missing, such as {missing[0]}", mend)]
    if changed:
        text = f"{len(changed)} of {len(wanted)} files are not as the contract makes them, such as {changed[0]}"
        return [fail("assets", text, mend)]
    return [ok("assets", f"{len(wanted)} files in {root}, each as the contract makes it")]


def a_line(contract: Contract) -> Check:
    """Whether numbers go through a line and come out as they were, bit for bit."""
    from elkkit.line import Outcome, Parser, make_event
    from elkkit.line.strictjson import loads

    name = next(iter(contract.metrics))
    parser = Parser.of(contract)
    import orjson

    for number in _NUMBERS:
        event = make_event(contract, name, number, fields={"frame.id": "doctor", "run.id": "doctor"})
        line = orjson.dumps(event)
        for text, form in ((line, "JSON"), (event["message"].encode(), "plain")):
            parsed = parser.parse(text)
            same = parsed.score is not None and struct.pack(">d", parsed.score) == struct.pack(">d", number)
            if parsed.outcome is not Outcome.SCORED or not same:
                text = f"{event['message']!r} ({form}) comes out as {parsed.outcome}, {parsed.score}"
                return fail("a test line", text, "report this with the version that elkkit --version prints")
        if loads(line)["event.id"] != parser.parse(line).fields.get("event.id"):
            return fail("a test line", "its event.id is not read back", "report this with your elkkit.toml")
    return ok("a test line", f"{len(_NUMBERS)} numbers written and read, JSON and plain, each bit equal")


def models() -> list[Check]:
    """Whether the bundled models load and answer."""
    missing = [name for name in ("numpy", "cv2", "onnxruntime", "elkkit_scoring") if find_spec(name) is None]
    if missing:
        return [skip("models", f"not looked at: {missing[0]} is not installed, which only scoring needs")]
    from elkkit_scoring.bundled import bundled_models, find_model
    from elkkit_scoring.model import LaneModel

    names = bundled_models()
    if not names:
        return [fail("models", "no bundled model is there", "pip install --force-reinstall elkkit")]
    for name in names:
        try:
            LaneModel.load(find_model(name), threads=1)
        except ElkkitError as error:
            return [failed("models", error)]
    return [ok("models", f"{', '.join(names)} load and answer")]


# --- log files -------------------------------------------------------------------------------------------------------


def named_logs(given: Sequence[str], pattern: str | None) -> list[str]:
    """The files that were named, else those that the setting's pattern means, without compressed ones."""
    if given or not pattern:
        return list(given)
    found = glob.glob(pattern)  # noqa: PTH207  as Filebeat reads it, which may begin anywhere
    return sorted(f for f in found if not f.endswith(".gz") and Path(f).is_file())


def log_files(given: Sequence[str], pattern: str | None, now: Callable[[], float] = time.time) -> list[Check]:
    """Whether log files can be read, and their last line has its end."""
    files = named_logs(given, pattern)
    if not files:
        if pattern:
            text = f"no file matches {pattern}"
            return [fail("log files", text, "check ELKKIT_LOG_FILES, which Filebeat reads too")]
        return [skip("log files", "none is named", "elkkit doctor --log FILE, or set ELKKIT_LOG_FILES")]
    found = [_log_file(name, now()) for name in files]
    wrong = [check for check in found if check.hint]
    fine = len(found) - len(wrong)
    if fine:
        what = f"{readable(files[0])}" if len(files) == 1 else f"{fine} of {len(files)}"
        wrong.insert(0, ok("log files", f"{what}: readable, the last line has its line feed"))
    if len(wrong) > MOST_LOGS:
        left = len(wrong) - MOST_LOGS
        wrong[MOST_LOGS:] = [warn("log files", f"{left} more are not as they should be", "elkkit doctor --log FILE")]
    return wrong


def _log_file(name: str, now: float) -> Check:
    shown = readable(name)
    try:
        with open(name, "rb") as file:
            if not Path(name).is_file():
                return fail("log files", f"{shown} is no ordinary file", "name the file that the scorer writes")
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return warn("log files", f"{shown} is empty", "elkkit tail FILE  shows lines as they come")
            file.seek(size - 1)
            ended, age = file.read(1) == b"\n", now - os.fstat(file.fileno()).st_mtime
    except OSError as error:
        return fail("log files", f"cannot read {shown}: {error.strerror}", f"ls -ld {shown}")
    if ended:
        return ok("log files", shown)
    text = f"the last line of {shown} has no line feed, and Filebeat ships a line only once it has one"
    if age < _JUST_NOW:
        return warn("log files", f"{text}; it may be being written just now", "look again: elkkit doctor --log FILE")
    return fail("log files", text, f"let the scorer end each line; for the last one: echo >> {shown}")
