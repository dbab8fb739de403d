"""The cases beside the configuration: `NAME.log` with `NAME.log-expected.json`, what becomes of each line.

`ELKKIT_GOLDEN=generate` writes the expected files anew. The same cases run through the ingest pipeline and through a
real Logstash in `tests/live`.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from elkkit.line import MetricLogger
from elkkit.line.parser import Parser
from golden_cases import CASES, GENERATE, case_lines, expectation, expected_path, shown

SCORED = next(p for p in CASES if p.name == "scored.log")


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_lines_become_what_is_expected(case):
    parser = Parser.of()
    found = shown([expectation(parser.parse(line)) for line in case_lines(case)])
    path = expected_path(case)
    if GENERATE:
        path.write_text(found, "utf-8")
    expected = path.read_text("utf-8") if path.exists() else ""
    names = (f"{path.name} (expected)", f"{path.name} (found)")
    diff = difflib.unified_diff(expected.splitlines(), found.splitlines(), *names, lineterm="")
    assert found == expected, "\n".join(diff) + "\nELKKIT_GOLDEN=generate writes it anew"


def test_every_expectation_has_its_case():
    assert {expected_path(c) for c in CASES} == set(SCORED.parent.glob("*-expected.json"))


def frozen_log(path: Path) -> bytes:
    """What the logger writes for three models and two frames of one run, at fixed times."""
    start = datetime(2026, 11, 22, 10, 0, 0, 123_000, tzinfo=UTC)
    scores = {"IoU": 0.8312, "Recall": float("nan"), "Inference_time": 9.5e-05, "mAP@0.5": 0.1 + 0.2, "loss": -0.0}
    for number, model in enumerate(("lane-a", "lane-b", "lane-c")):
        options = {
            "model_name": model,
            "model_version": 3,
            "run_id": "2026-11-22-night-shift",
            "run_name": "night shift",
        }
        service = f"lane-detection-service-{number + 1}"
        with MetricLogger(path, service_name=service, **options) as log:
            for frame in range(2):
                at = start + timedelta(milliseconds=40 * frame, seconds=number)
                where = {"frame_id": f"scene-7-{frame:06d}", "frame_index": frame, "clip": "clip-003", "timestamp": at}
                for metric, score in scores.items():
                    log.log_metric(metric, score, lane_free=frame == 1, conditions=["night", "rain"], **where)
    return path.read_bytes()


def test_the_logger_writes_the_case_byte_for_byte(tmp_path):
    written = frozen_log(tmp_path / "scored.log")
    if GENERATE:
        SCORED.write_bytes(written)
    assert written == SCORED.read_bytes()
