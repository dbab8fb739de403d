"""Log lines for the tests: the shared corpus, and a generator of lines and near-misses."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest

from elkkit.contract import load_contract

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

_SPELLINGS = [s for m in load_contract().metrics.values() for s in m.spellings]
_PREFIXES = [
    "2026-11-22 10:00:00,485 I [19634] azmlinfsrv.print - ",
    "INFO:root:",
    "2026-11-22 10:00:00,123 - root - INFO - ",
    "2026-11-22T10:00:00.123456789Z stdout F ",
    "2026-11-22T10:00:00.123456789Z stderr P ",
    "[2026-11-22 10:00:00 +0000] [7] [INFO] ",
    "INFO ",
    "WARNING: ",
    "[info] ",
    "2026-11-22 10:00:00.123 | INFO     | __main__:run:12 - ",
    "Nov 22 10:00:00 host python[123]: ",
    "lane-1  | ",
    "[pod/lane-0/scorer] ",
    "root - INFO - ",
    "ERROR : ",
    "2026-11-22T10:00:00Z stdout F 2026-11-22 10:00:00,485 I [7] azmlinfsrv.print - ",
    "10:00:00 ",
    "I1122 10:00:00.123456 140 file.py:12] ",
]
_OWN = [
    "loss",
    "val_loss",
    "mAP@0.5",
    "IoU/left",
    "best IoU day",
    "精度",
    "Preciſion",
    "lane.f2",
    "F1-score",
    "Ärger",
    "INFO",
    "epoch 3 loss",
    "3d loss",
    "a b c d e f",
    "a b c d e f g",
    "x" * 64,
    "x" * 65,
    "stdout P IoU",
    "½",
    "K",
]
_VALUES = [
    "nan",
    "NaN",
    "-inf",
    "Infinity",
    "+INF",
    "",
    "0,83",
    "83%",
    "0x1F",
    "1.2.3",
    "--5",
    "e5",
    "1e",
    "1e400",
    "1e-400",
    "0.83;",
    "0.83 %",
    "34 ms",
    "tensor(0.83)",
    "[0.83]",
    "None",
    "N/A",
    "−0.5",
    "٠.٥",
    "12:30",
    '"0.83"',
    "0.83f",
    "0.83\x00",
    "0.5\nAccuracy : 0.9",
    "1e307",
    "9.99e307",
    "1e308",
    "1e-323",
    "3e-324",
    "2e-324",
    "5.",
    ".5",
    "5.e3",
    "0.5 IoU : 0.6",
    "infinite",
    "nano",
    "-",
    "+",
    ".",
    "1_000",
    "0.5\u00a0",
    "0.5\u2028x",
]
_BLANKS = ["", "", " ", " ", " ", "  ", "\t", "\u00a0", "\u3000", "\x0b", "\u200b"]
_EDGES = ["", "", "", "", " ", "\t", "\r", "\ufeff", " \r", "\x1f", "\u2028", "\n"]


def corpus() -> list[tuple[bytes, dict]]:
    """The shared corpus as (bytes, wanted) pairs, or a skip."""
    path = SHARED / "line-corpus.json"
    if not path.exists():
        pytest.skip("shared/ is absent")
    cases = json.loads(path.read_text("utf-8"))["cases"]
    return [
        (base64.b64decode(c["line_base64"]) if "line_base64" in c else c["line"].encode(), c["want"]) for c in cases
    ]


def _any_case(rng: random.Random, word: str) -> str:
    return "".join(rng.choice((c.lower(), c.upper())) if c.isascii() else c for c in word)


def _number(rng: random.Random) -> str:
    def digits(most: int) -> str:
        return "".join(rng.choices("0123456789", k=rng.choice((1, 1, 2, 3, 7, 16, 17, most, most + 1))))

    kind = rng.randrange(5)
    if kind == 0:
        return repr(rng.choice((rng.random(), rng.uniform(-1e6, 1e6), 10 ** rng.uniform(-323, 308))))
    text = rng.choice(("", "", "", "+", "-")) + digits(40)
    if kind > 1:
        text += "." + rng.choice(("", digits(40)))
    if kind > 2:
        text += (
            rng.choice("eE") + rng.choice(("", "+", "-")) + str(rng.choice((0, 5, 9, 10, 99, 100, 307, 308, 323, 324)))
        )
    return text if rng.random() < 0.9 else text[1:]


def generated_line(rng: random.Random) -> str:
    """A line that is a score, or nearly one, or nothing of the kind; without colour codes and JSON."""
    name = rng.choice(_SPELLINGS) if rng.random() < 0.5 else rng.choice(_OWN)
    if rng.random() < 0.3:
        name = _any_case(rng, name)
    value = _number(rng) if rng.random() < 0.6 else rng.choice(_VALUES)
    if rng.random() < 0.1:
        value = rng.choice(("", "", "+", "-")) + _any_case(rng, rng.choice(("nan", "inf", "infinity")))
    tidy = rng.random() < 0.6
    before, after = (" ", " ") if tidy else (rng.choice(_BLANKS), rng.choice(_BLANKS))
    line = f"{name}{before}:{after}{value}"
    if not tidy and rng.random() < 0.3:  # a small accident somewhere
        at = rng.randrange(len(line) + 1)
        line = line[:at] + rng.choice(" :.eE+-0aß\t\u0301\x00\ud7ff") + line[at + rng.randrange(2) :]
    if rng.random() < 0.4:
        line = rng.choice(_PREFIXES) + line
        if rng.random() < 0.1:
            line = rng.choice(_PREFIXES) + line
    return line if tidy else rng.choice(_EDGES) + line + rng.choice(_EDGES)
