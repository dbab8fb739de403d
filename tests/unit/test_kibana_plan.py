"""The plan of an import, without any Kibana: what is done with each object, and why."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from elkkit.contract import load_contract
from elkkit.kibana import TARGETS, bundle
from elkkit.kibana.order import dependents, key_of
from elkkit.kibana.plan import ACTIONS, Entry, Step, copies, counts, localised, orphans, plan, title_of
from elkkit.kibana.semantics import digest, essence, meaning
from lines import SHARED

RECORDED = SHARED / "kibana-exchanges"
VERSIONS = ("7.10.2", "8.3.3", "8.12.2")
WHEN = "2026-11-22T10:00:00+00:00"
BUNDLES = {target: bundle(load_contract(), target) for target in TARGETS}


def view(ident: str = "dv", title: str = "logs-*", **more: Any) -> dict[str, Any]:
    return {"type": "index-pattern", "id": ident, "attributes": {"title": title}, "references": [], **more}


def search(ident: str = "s", on: str = "dv", title: str = "a search", **more: Any) -> dict[str, Any]:
    meta = {"searchSourceJSON": json.dumps({"indexRefName": "i", "query": {"query": "x : 1", "language": "kuery"}})}
    return {"type": "search", "id": ident, "attributes": {"title": title, "kibanaSavedObjectMeta": meta},
            "references": [{"type": "index-pattern", "id": on, "name": "i"}], **more}  # fmt: skip


def board(ident: str = "d", *shown: str, title: str = "a dashboard") -> dict[str, Any]:
    panels = [{"panelIndex": str(i), "gridData": {"x": 0, "y": i, "w": 24, "h": 1, "i": str(i)},
               "panelRefName": f"panel_{i}", "embeddableConfig": {}} for i in range(len(shown))]  # fmt: skip
    return {"type": "dashboard", "id": ident, "attributes": {"title": title, "panelsJSON": json.dumps(panels)},
            "references": [{"type": "search", "id": s, "name": f"panel_{i}"} for i, s in enumerate(shown)]}  # fmt: skip


def there(*objects: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {key_of(o): o for o in objects}


def entry(sent: dict[str, Any], kept: dict[str, Any] | None = None, *, as_id: str | None = None) -> Entry:
    return Entry(as_id or sent["id"], digest(meaning(sent)), digest(meaning(kept or sent)), "a file", WHEN)


def said(steps: list[Step]) -> dict[str, str]:
    return {s.id: s.action for s in steps}


def titled(item: dict[str, Any], title: str) -> dict[str, Any]:
    return {**item, "attributes": {**item["attributes"], "title": title}}


# --- each action -----------------------------------------------------------------------------------------------------


def test_create():
    (step,) = plan([view()], {}, {})
    assert (step.action, step.title, step.why, step.changes) == ("create", "logs-*", "", ())


def test_create_what_was_deleted_there():
    (step,) = plan([view()], {}, {("index-pattern", "dv"): entry(view())})
    assert (step.action, step.why) == ("create", f"it was deleted there since {WHEN}")


def test_unchanged_with_and_without_a_record():
    for remembered in ({}, {key_of(view()): entry(view())}, {key_of(view()): entry(titled(view(), "old"))}):
        (step,) = plan([view()], there(view(updated_at="2026", version="WzEsMV0=", managed=False)), remembered)
        assert (step.action, step.changes) == ("unchanged", ())


def test_unchanged_where_the_server_made_something_else_of_it():
    """What it kept of what was sent before is no edit, though it does not mean the same to us."""
    sent, kept = view(), view(title="logs-* ")
    assert said(plan([sent], there(kept), {key_of(sent): entry(sent, kept)})) == {"dv": "unchanged"}


def test_update_of_only_ours():
    old, new = view(), view(title="logs-2*")
    (step,) = plan([new], there(old), {key_of(old): entry(old)})
    assert step.action == "update"
    assert [c.text for c in step.changes] == ['title: "logs-*" -> "logs-2*"']


def test_drifted():
    ours, theirs = view(), view(title="mine-*")
    (known,) = plan([ours], there(theirs), {key_of(ours): entry(ours)})
    assert (known.action, known.why) == ("drifted", f"it was edited there since {WHEN}")
    assert [c.text for c in known.changes] == ['title: "mine-*" -> "logs-*"']
    (unknown,) = plan([ours], there(theirs), {})
    assert unknown.action == "drifted"
    assert "no record" in unknown.why
    (both,) = plan([view(title="new-*")], there(theirs), {key_of(ours): entry(ours)})
    assert both.action == "drifted"


def test_an_edit_that_says_the_same_as_the_file_is_unchanged():
    """Whoever made the change, there is nothing to be written."""
    old, new = view(), view(title="logs-2*")
    assert said(plan([new], there(new), {key_of(old): entry(old)})) == {"dv": "unchanged"}


def test_unsupported_and_blocked_keep_back_what_refers_to_them():
    objects = [view("bad"), view("odd"), view(), search("s1", "bad"), search("s2", "odd"), search("s3"),
               board("d1", "s1"), board("d2", "s3")]  # fmt: skip
    steps = plan(objects, {}, {}, blocked={("index-pattern", "bad"): "no title"},
                 unsupported={("index-pattern", "odd"): "too new"})  # fmt: skip
    assert said(steps) == {"bad": "blocked", "odd": "unsupported", "dv": "create", "s1": "blocked", "s2": "blocked",
                           "s3": "create", "d1": "blocked", "d2": "create"}  # fmt: skip
    why = {s.id: s.why for s in steps}
    assert (why["bad"], why["odd"]) == ("no title", "too new")
    assert why["s1"] == "it refers to index-pattern bad, which cannot be imported"
    assert why["d1"] == "it refers to search s1, which cannot be imported"
    assert [s.key for s in steps] == [key_of(o) for o in objects]


def test_what_is_there_already_keeps_nothing_back():
    """An older form of what cannot be imported is there, and others can refer to it."""
    objects = [view(), search(), board("d", "s")]
    assert said(plan(objects, there(view(title="old")), {}, unsupported={("index-pattern", "dv"): "too new"})) == {
        "dv": "unsupported", "s": "create", "d": "create"}  # fmt: skip


def test_what_refers_to_something_that_is_there_is_not_kept_back():
    """The search cannot be as the file has it; but it is there, and so the dashboard can have it."""
    objects = [view("bad"), search("s", "bad"), board("d", "s")]
    found = plan(objects, there(search("s", "bad")), {}, blocked={("index-pattern", "bad"): "no title"})
    assert said(found) == {"bad": "blocked", "s": "unchanged", "d": "create"}
    found = plan(objects, there(search("s", "other")), {}, blocked={("index-pattern", "bad"): "no title"})
    assert said(found) == {"bad": "blocked", "s": "blocked", "d": "create"}


def test_a_circle_with_something_blocked_ends():
    objects = [board("a"), board("b"), board("c")]
    for one, other in zip(objects, [*objects[1:], objects[0]], strict=True):
        one["references"] = [{"type": "dashboard", "id": other["id"], "name": "x"}]
    assert set(said(plan(objects, {}, {}, blocked={("dashboard", "b"): "no"})).values()) == {"blocked"}


def test_ids_there():
    ids = {("index-pattern", "dv"): "1f", ("search", "s"): "2f"}
    on_server = there(view("1f", originId="dv"), search("2f", "1f", originId="s"))
    steps = plan([view(), search(), board("d", "s")], on_server, {}, ids=ids)
    assert said(steps) == {"dv": "unchanged", "s": "unchanged", "d": "create"}
    assert [s.key_there[1] for s in steps] == ["1f", "2f", "d"]
    assert steps[0].as_dict()["id_on_server"] == "1f"
    assert "id_on_server" not in steps[2].as_dict()


def test_orphans_and_what_is_removed():
    ours, theirs = view("old"), view("edited", "mine-*")
    gone = {key_of(ours): None, key_of(theirs): None, ("search", "nowhere"): None}
    remembered = {key_of(ours): entry(ours), key_of(theirs): entry(titled(theirs, "ours-*"))}
    found = there(ours, theirs)
    assert said(orphans(gone, found, remembered)) == {"old": "orphan", "edited": "orphan"}
    kept = orphans(gone, found, remembered, prune=True)
    assert said(kept) == {"old": "remove", "edited": "orphan"}
    assert kept[1].why == "it was edited there"
    assert said(orphans(gone, found, remembered, prune=True, force=True)) == {"old": "remove", "edited": "remove"}


def test_orphans_without_a_record_are_removed_only_if_they_are_what_they_were():
    same, other = view("same"), view("other")
    gone = {key_of(same): same, key_of(other): other, ("search", "s"): None}
    found = there(view("same", version="W"), view("other", "mine-*"), search())
    steps = orphans(gone, found, {}, prune=True)
    assert said(steps) == {"same": "remove", "other": "orphan", "s": "orphan"}
    assert "no record" in steps[1].why


def test_counts_and_json():
    steps = plan([view(), view("new")], there(view()), {})
    assert counts(steps) == {"create": 1, "unchanged": 1}
    assert list(counts(steps)) == [a for a in ACTIONS if a in ("create", "unchanged")]
    told = plan([view(title="new")], there(view()), {})[0].as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["changes"] == [{"path": "title", "before": '"logs-*"', "after": '"new"'}]


@pytest.mark.parametrize(
    ("item", "title"),
    [(view(title="t"), "t"), ({"type": "tag", "id": "x", "attributes": {"name": "n"}}, "n"),
     ({"type": "tag", "id": "x", "attributes": []}, "x"), ({"type": "tag", "id": "x"}, "x"),
     (view(title=""), "dv"), ({"type": "map", "id": "x", "attributes": {"title": ["a"]}}, "['a']")],
)  # fmt: skip
def test_titles(item, title):
    assert title_of(item) == title


# --- meaning ---------------------------------------------------------------------------------------------------------


def recorded(version: str, case: str) -> list[dict[str, Any]] | None:
    path = RECORDED / version / f"{case}.json"
    if not path.exists():
        return None
    exchange = json.loads(path.read_text("utf-8"))["response"]
    return [o for o in exchange["body"]["ndjson"] if "type" in o] if exchange["status"] == 200 else None


def sent(version: str, case: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What was sent, as it was recorded; the files in `bundles/` are newer."""
    exchange = json.loads((RECORDED / version / f"{case}.json").read_text("utf-8"))
    text = exchange["request"]["body"]["multipart"]["file"]["content"]
    return there(*(json.loads(row) for row in text.splitlines() if row.strip()))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="shared/ is absent")
@pytest.mark.parametrize(
    ("imported", "case", "versions"),
    [("bundle-A-7.10", "export-A-deep", 3), ("bundle-B-7.10-oldrefs", "export-B-7.10-deep", 2),
     ("bundle-B-8.3", "export-B-8.3-deep", 2), ("bundle-B-8.6", "export-B-8.6-deep", 1)],
)  # fmt: skip
def test_every_kibana_keeps_the_meaning(imported, case, versions):
    """What a real Kibana made of an object still means what was sent: so a second run is `unchanged`."""
    exports = {v: found for v in VERSIONS if (found := recorded(v, case)) is not None}
    assert len(exports) == versions
    for version, objects in exports.items():
        was = sent(version, imported)
        assert {key_of(o) for o in objects} == set(was)
        for item in objects:
            assert meaning(item) == meaning(was[key_of(item)]), (version, key_of(item))


def edited(item: dict[str, Any], change: Callable[[Any], Any], name: str | None = None) -> dict[str, Any]:
    """A copy, with one of its JSON texts changed, or its attributes."""
    made = copy.deepcopy(item)
    if name is None:
        change(made["attributes"])
    else:
        value = json.loads(made["attributes"][name])
        change(value)
        made["attributes"][name] = json.dumps(value)
    return made


def first(target: str, kind: str, *having: str) -> dict[str, Any]:
    return next(o for o in BUNDLES[target] if o["type"] == kind and all(h in json.dumps(o) for h in having))


DASHBOARD, CLASSIC = first("lens", "dashboard"), first("classic", "visualization", "avg")
LENS = first("lens", "lens", "formBased") if any("formBased" in json.dumps(o) for o in BUNDLES["lens"]) else None
LENS = LENS or first("lens", "lens")


@pytest.mark.parametrize(
    ("item", "change", "name"),
    [
        (DASHBOARD, lambda a: a.update(title="other"), None),
        (DASHBOARD, lambda a: a.update(description="other"), None),
        (DASHBOARD, lambda a: a.update(timeFrom="now-1y"), None),
        (DASHBOARD, lambda p: p[0]["gridData"].update(w=p[0]["gridData"]["w"] - 1), "panelsJSON"),
        (DASHBOARD, lambda p: p.pop(), "panelsJSON"),
        (DASHBOARD, lambda p: p[0]["embeddableConfig"].update(vis={"colors": {"a": "#fff"}}), "panelsJSON"),
        (DASHBOARD, lambda p: p[0].update(title="a title of its own"), "panelsJSON"),
        (CLASSIC, lambda v: v["aggs"][0].update(type="max"), "visState"),
        (CLASSIC, lambda v: v["aggs"].pop(), "visState"),
        (CLASSIC, lambda v: v["aggs"][0].update(enabled=False), "visState"),
        (LENS, lambda a: a["state"].update(query={"query": "x : 1", "language": "kuery"}), None),
        (LENS, lambda a: a.update(visualizationType="lnsHeatmap"), None),
    ],
)
def test_an_edit_changes_the_meaning(item, change, name):
    other = edited(item, change, name)
    assert meaning(other) != meaning(item)
    assert digest(meaning(other)) != digest(meaning(item))


def test_another_reference_changes_the_meaning():
    for item in (DASHBOARD, LENS, CLASSIC):
        other = copy.deepcopy(item)
        other["references"][0]["id"] = "elsewhere"
        assert meaning(other) != meaning(item)


def test_a_text_that_is_no_json_is_not_the_same_as_none():
    whole, broken = board("d"), board("d")
    broken["attributes"]["panelsJSON"] = "[broken"
    missing = board("d")
    del missing["attributes"]["panelsJSON"]
    assert meaning(broken) != meaning(missing)
    other = board("d")
    other["attributes"]["panelsJSON"] = "[otherwise broken"
    assert len({digest(meaning(o)) for o in (whole, broken, other)}) == 3


@pytest.mark.parametrize("target", TARGETS)
def test_ours_mean_the_same_however_they_were_read(target):
    for item in BUNDLES[target]:
        assert meaning(json.loads(json.dumps(item))) == meaning(item)
        assert meaning(essence(item)) == meaning(item)


def test_looking_through_a_data_view_is_no_edit():
    seen = view()
    seen["attributes"]["fields"] = json.dumps([{"name": "a", "type": "number"}])
    assert meaning(seen) == meaning(view())
    scripted = view()
    scripted["attributes"]["fields"] = json.dumps([{"name": "a", "type": "number", "scripted": True, "script": "1"}])
    assert meaning(scripted) != meaning(view())


# --- copies, other ids -----------------------------------------------------------------------------------------------


def test_copies_have_the_same_ids_each_time_and_lead_to_each_other():
    objects = [view(), view("other"), search(), search("t", "other"), board("d", "s", "t")]
    made = copies(objects, [("search", "s")])
    assert made == copies([copy.deepcopy(o) for o in objects], {("search", "s")})
    assert [o["type"] for o in made] == ["search", "dashboard"]
    assert {key_of(o) for o in made}.isdisjoint(key_of(o) for o in objects)
    copied, shown = made
    assert copied["references"] == search()["references"]
    assert [r["id"] for r in shown["references"]] == [copied["id"], "t"]
    assert (copied["attributes"]["title"], shown["attributes"]["title"]) == ("a search (copy)", "a dashboard (copy)")
    assert objects[2] == search()
    other = copies([view(), search(title="changed since"), board("d", "s")], [("search", "s")])
    assert other[0]["id"] != copied["id"]


def test_copies_of_tags_and_of_what_has_an_origin():
    tag = {"type": "tag", "id": "t", "attributes": {"name": "n"}, "references": [], "originId": "o"}
    (made,) = copies([tag], [("tag", "t")])
    assert made["attributes"] == {"name": "n (copy)"}
    assert "originId" not in made


def test_localised():
    item = search()
    assert localised(item, {}) is item
    made = localised(item, {("search", "s"): "2f", ("index-pattern", "dv"): "1f", ("tag", "dv"): "no"})
    assert (made["id"], made["references"][0]["id"], made["references"][0]["name"]) == ("2f", "1f", "i")
    assert item == search()
    assert key_of(localised(item, {("search", "other"): "x"})) == ("search", "s")


def test_dependents():
    objects = [view(), search(), board("d", "s"), board("e")]
    assert dependents(objects, [("index-pattern", "dv")]) == {("index-pattern", "dv"), ("search", "s"),
                                                              ("dashboard", "d")}  # fmt: skip
    assert dependents(objects, [("dashboard", "e")]) == {("dashboard", "e")}
    assert dependents(objects, []) == set()
