"""The table of scores: what is kept, what counts once, and what is refused."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elkkit.errors import InputError
from elkkit.scores import Model, Scores
from elkkit.scores.table import FrameFacts

A, B = Model("lane-a", "3"), Model("lane-b", "1")


def event(score: float | str, *, model: str = "lane-a:3", metric: str = "IoU", frame: str | None = "f1",
          run: str = "r1", service: str = "s1", event_id: str | None = "", **more: Any) -> dict[str, Any]:  # fmt: skip
    """Fields of a parsed line; its id is made of what identifies it unless one is given."""
    name, _, version = model.partition(":")
    if event_id == "":
        event_id = hashlib.md5(repr((model, metric, frame, run, service)).encode()).hexdigest()
    fields = {
        "model.name": name, "model.version": version, "metrictype": metric, "frame.id": frame, "run.id": run,
        "service.name": service, "event.id": event_id, **more,
        **({"metricraw": score} if isinstance(score, str) else {"metricscores": score}),
    }  # fmt: skip
    return {k: v for k, v in fields.items() if v is not None}


def table(*events: dict[str, Any]) -> Scores:
    scores = Scores()
    for one in events:
        scores.add(one)
    return scores


def test_scores_come_back_by_model_and_metric_in_the_order_of_their_frames():
    columns = table(
        event(0.3, frame="f3"), event(0.1, frame="f1"), event(0.9, frame="f2", model="lane-b:1"),
        event(0.02, frame="f1", metric="Inference_time"), event(0.2, frame="f2"),
    ).columns()  # fmt: skip
    assert columns.models == (A, B)
    assert columns.metrics == ("Inference_time", "IoU")
    assert columns.frames == ("f1", "f2", "f3")
    assert columns.of(A, "IoU").scores.tolist() == [0.1, 0.2, 0.3]
    assert columns.of(A, "IoU").frames.tolist() == [0, 1, 2]
    assert columns.of(B, "IoU").frames.tolist() == [1]
    assert columns.of(B, "Inference_time").scores.tolist() == []


def test_every_double_is_kept_bit_for_bit():
    values = [0.1, -0.0, 5e-324, 9.999e307, 1 / 3]
    columns = table(*(event(v, frame=f"f{i}") for i, v in enumerate(values))).columns()
    assert [v.hex() for v in columns.of(A, "IoU").scores.tolist()] == [v.hex() for v in values]


def test_undefined_scores_are_kept_as_what_they_are():
    columns = table(event("NaN", frame="f1"), event("-INF", frame="f2"), event("infinity", frame="f3")).columns()
    scores = columns.of(A, "IoU").scores.tolist()
    assert math.isnan(scores[0])
    assert scores[1:] == [-math.inf, math.inf]


def test_versions_are_sorted_by_their_numbers():
    models = ["m:10", "m:9", "m:9-rc2", "m:1.10", "m:1.9", "m", "a:2"]
    columns = table(*(event(0.5, model=m) for m in models)).columns()
    assert [m.label for m in columns.models] == ["a:2", "m", "m:1.9", "m:1.10", "m:9", "m:9-rc2", "m:10"]


def test_an_event_without_a_model_belongs_to_its_source():
    scores = Scores()
    scores.add({"metrictype": "IoU", "metricscores": 0.5}, "lane-detection-service-1")
    assert scores.columns().models == (Model("lane-detection-service-1", ""),)


def test_what_the_first_event_of_a_frame_says_is_kept():
    facts = {"frame.clip": "c1", "frame.conditions": ["night", "rain"], "frame.lane_free": True}
    columns = table(event(0.5, **facts), event(0.4, frame="f0", **{"frame.conditions": "day"})).columns()
    assert columns.facts[1] == FrameFacts("c1", ("night", "rain"), True)
    assert columns.facts[0].conditions == ("day",)


def test_the_same_event_counts_once_however_often_it_is_read():
    columns = table(event(0.5), event(0.5), event("nan", frame="f2"), event("nan", frame="f2"), event(0.5)).columns()
    assert columns.already_seen == 3
    assert len(columns.of(A, "IoU").scores) == 2


def test_events_without_an_id_and_a_frame_all_count():
    same = event(0.5, frame=None, event_id=None)
    assert len(table(same, same, same).columns().of(A, "IoU").scores) == 3


def test_an_id_of_zeros_is_an_id():
    zeros = event(0.5, event_id="0" * 32)
    columns = table(zeros, zeros, event(0.5, frame="f2", event_id=None)).columns()
    assert columns.already_seen == 1
    assert len(columns.of(A, "IoU").scores) == 2


@pytest.mark.parametrize(
    "other", [{"score": 0.6}, {"score": "nan"}, {"frame": "f2"}, {"metric": "F1"}, {"model": "x:1"}]
)
def test_one_id_with_two_meanings_is_refused_and_named(other):
    first = event(0.5)
    second = event(**{"score": 0.5, **other, "event_id": first["event.id"]})
    with pytest.raises(InputError) as error:
        table(first, second).columns()
    assert first["event.id"] in error.value.why
    assert error.value.hint


def test_an_error_about_many_conflicts_names_some_and_counts_the_rest():
    events = [event(s, frame=f"f{i}") for i in range(5) for s in (0.1, 0.2)]
    with pytest.raises(InputError) as error:
        table(*events).columns()
    assert "5 event ids" in error.value.message
    assert "and 2 more" in error.value.why


def test_conflicts_outside_what_was_chosen_do_not_matter():
    scores = table(event(0.5), event(0.02, metric="Inference_time"), event(0.03, metric="Inference_time"))
    assert scores.columns(metrics={"IoU"}).left_out == 2
    with pytest.raises(InputError):
        scores.columns()


def test_two_runs_of_one_model_are_refused_with_the_options_that_choose_one():
    scores = table(
        event(0.5, run="r1"), event(0.4, run="late run"), event(0.3, run="r3", model="lane-b:1"),
    )  # fmt: skip
    with pytest.raises(InputError) as error:
        scores.columns()
    assert "lane-a:3" in error.value.message
    assert "r1" in error.value.why
    assert "--run 'late run' --run r3" in error.value.hint
    columns = scores.columns(runs={"late run", "r3"})
    assert columns.of(A, "IoU").scores.tolist() == [0.4]
    assert columns.of(B, "IoU").scores.tolist() == [0.3]
    assert columns.left_out == 1
    assert columns.runs == {A: ("late run",), B: ("r3",)}
    assert table(event(0.5), event(0.5, frame="f2", run="r2")).columns(runs={"r2"}).frames_used == 1


def test_runs_of_different_frames_are_one_sample():
    columns = table(event(0.5, run="r1"), event(0.4, run="r2", frame="f2")).columns()
    assert columns.of(A, "IoU").scores.tolist() == [0.5, 0.4]
    assert columns.runs == {A: ("r1", "r2")}


def test_a_run_can_be_chosen_by_its_name():
    scores = table(event(0.5, run="r1", **{"run.name": "night shift"}), event(0.4, run="r2"))
    assert scores.columns(runs={"night shift"}).of(A, "IoU").scores.tolist() == [0.5]


def test_two_services_that_scored_the_same_frame_are_refused():
    with pytest.raises(InputError, match="more than one score") as error:
        table(event(0.5, service="s1"), event(0.4, service="s2")).columns()
    assert "s1" in error.value.why
    assert "service" in error.value.hint


def test_the_same_frame_twice_in_one_run_is_refused():
    with pytest.raises(InputError, match="more than one score") as error:
        table(event(0.5, event_id=None), event(0.5, event_id=None)).columns()
    assert "frame f1" in error.value.why


def test_a_frame_with_several_metrics_and_models_is_no_repetition():
    events = [event(0.5, metric=m, model=x) for m in ("IoU", "F1") for x in ("lane-a:3", "lane-b:1")]
    assert len(table(*events).columns().columns) == 4


def test_an_empty_table_has_no_columns():
    assert Scores().columns().columns == {}


@given(st.permutations([event(i / 8, frame=f"f{i % 4}", model=f"m:{i // 4}") for i in range(8)]))
def test_the_order_of_events_does_not_matter(events):
    ordered = table(*sorted(events, key=lambda e: e["event.id"])).columns()
    columns = table(*events, *events[:3]).columns()
    assert columns.already_seen == 3
    assert (columns.models, columns.frames) == (ordered.models, ordered.frames)
    for model in columns.models:
        assert columns.of(model, "IoU").scores.tolist() == ordered.of(model, "IoU").scores.tolist()


def test_an_event_takes_few_bytes():
    import tracemalloc

    events = [event(i / 1000, frame=f"f{i % 50}", metric=f"m{i // 50}") for i in range(20_000)]
    scores = Scores()
    tracemalloc.start()
    for one in events:
        scores.add(one)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / len(events) < 60
