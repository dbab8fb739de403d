"""Make the rules that watch the models, and take them back: planned, remembered and undone as dashboards are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from elkkit.assets import asset
from elkkit.contract import Contract
from elkkit.errors import ElkkitError, InputError
from elkkit.kibana import alerts as ours
from elkkit.kibana.alerts import CONSUMERS, CUSTOM, FIRST, METRIC, RULE, SOURCE, AlertRule
from elkkit.kibana.common import SavedObject, identity
from elkkit.kibana.order import Key, key_of, line
from elkkit.kibana.plan import Entry, OnConflict, Step, plan, title_of
from elkkit.kibana.semantics import digest, meaning
from elkkit.stack import kibanarules as there
from elkkit.stack.kibana import Kibana, nothing_written
from elkkit.stack.kibanamemory import Memory, Record
from elkkit.stack.kibanarules import RuleType
from elkkit.usecases.applying import Applied, moment, require_unchanged
from elkkit.usecases.dashboards import SpacePlan, Tell
from elkkit.usecases.undoing import Undo, Undone, conclude, judge


def load_rules(contract: Contract) -> tuple[AlertRule, ...]:
    """The rules of `kibana/alerts.toml`. Raises `ConfigError`."""
    path = asset("kibana", "alerts.toml")
    return ours.read_alerts(path.read_text("utf-8"), contract, path.name)


# --- the plan --------------------------------------------------------------------------------------------------------


def survey(
    kibana: Kibana,
    contract: Contract,
    rules: Sequence[AlertRule],
    *,
    space: str = "default",
    on_conflict: OnConflict = "fail",
) -> SpacePlan:
    """The plan for one space: what becomes of each rule, and of the source that some of them need. Writes nothing."""
    kibana.require_space(space)
    memory = Memory(kibana.connection.url, space)
    types = there.rule_types(kibana, space=space)
    keys = [ours.rule_key(contract, rule, space) for rule in rules]
    source = ours.source_key(contract)
    found = fetch(kibana, keys, space) if types is not None else {}
    able = {t for t, known in (types or {}).items() if known.enabled}
    objects: dict[Key, SavedObject] = {}
    unsupported: dict[Key, str] = {}
    view_key = ("index-pattern", identity(contract))
    view = memory.ids.get(view_key, view_key[1])
    chosen: dict[Key, str] = {}
    for key, rule in zip(keys, rules, strict=True):
        present = found[key]["attributes"].get("rule_type_id") if key in found else None
        kind = ours.choose(kibana.server.version, able, present)
        if kind is None:
            unsupported[key] = _lacks(kibana, types)
        else:
            chosen[key] = kind
        objects[key] = ours.rule_object(contract, rule, kind or METRIC, space, view)
    if METRIC in chosen.values():
        found |= fetch(kibana, [source], space)
        objects = {source: ours.source_object(contract), **objects}
    blocked = _blocked(kibana, chosen, types or {}, (view_key[0], view), space)
    steps = plan(list(objects.values()), found, memory.entries, blocked=blocked, unsupported=unsupported)
    steps = [_of_another_type(s, found.get(s.key), objects[s.key]) for s in steps]
    return SpacePlan(space, steps, objects, found, {}, memory, f"elkkit alerts {contract.dataset}", on_conflict)


def _of_another_type(step: Step, old: SavedObject | None, item: SavedObject) -> Step:
    """A rule whose type this server lacks would have to be made anew, without the actions that people gave it."""
    if old is None or step.action != "update" or ours.of_one_type(old, item):
        return step
    kind = old["attributes"].get("rule_type_id")
    return replace(step, action="drifted", why=f"it is of the type {kind}, and a new one would not have its actions")


def fetch(kibana: Kibana, keys: Iterable[Key], space: str) -> dict[Key, SavedObject]:
    """Rules and sources as they are there; those that are not are left out."""
    rows = {key: there.get(kibana, key, space=space) for key in keys}
    return {key: item for key, item in rows.items() if item is not None}


def _lacks(kibana: Kibana, types: dict[str, RuleType] | None) -> str:
    """Why no rule of this Kibana could ask the question."""
    first = ".".join(map(str, FIRST[METRIC][:2]))
    if types is None:
        return f"{kibana.server.kind} has no rules; Kibana {first} and later has them"
    if kibana.server.version < FIRST[METRIC]:
        return (f"the rules of {kibana.server.kind} take no mean or percentile of a model that elkkit could trust; "
                f"those of Kibana {first} and later do")  # fmt: skip
    if any(t in types and not types[t].enabled for t in FIRST):
        return f"the licence of {kibana.server.kind} does not allow rules of the type {METRIC}"
    return f"{kibana.server.kind} shows these credentials neither {METRIC} nor {CUSTOM}, which take means of models"


def _blocked(
    kibana: Kibana, chosen: dict[Key, str], types: dict[str, RuleType], view: Key, space: str
) -> dict[Key, str]:
    """Why rules cannot be made here now."""
    if not chosen:
        return {}
    if (problem := there.no_rules(kibana)) is not None:
        return dict.fromkeys(chosen, f"{problem[0]}: {problem[1]}")
    blocked = {}
    missing = CUSTOM in chosen.values() and kibana.get_many([view], space=space)[view] is None
    for key, kind in chosen.items():
        if CONSUMERS[kind] not in types[kind].consumers:
            blocked[key] = f'these credentials may not write rules of "{CONSUMERS[kind]}" in this space'
        elif kind == CUSTOM and missing:
            blocked[key] = f"the data view {view[1]} is not there: elkkit import-dashboards --only data-views  makes it"
    return blocked


# --- carrying it out -------------------------------------------------------------------------------------------------


def apply(kibana: Kibana, work: SpacePlan, *, disabled: bool = False, tell: Tell = lambda _text: None) -> Applied:
    """Write what a plan says; it must have nothing that is refused. `disabled`: new rules do not run yet.

    What goes wrong on the way is in `error` and `failed`. Raises only what happens before anything is written.
    """
    done, memory = Applied(work.space), work.memory
    with memory.writing():
        _adopt(work)
        if not work.writes:
            memory.save()
            return done
        touched = [s.key for s in work.writes]
        before = fetch(kibana, touched, work.space)
        require_unchanged(work, touched, before)
        record = memory.begin("alerts", kibana.server.kind, touched, {k: line(o) for k, o in before.items()},
                              (line(work.objects[k]) for k in touched))  # fmt: skip
        done.record = record.id
        try:
            for key in touched:
                tell(f"writing {title_of(work.objects[key])}")
                _write(kibana, work.objects[key], before.get(key), work.space, done, disabled=disabled)
        except ElkkitError as error:
            done.error = error
        finally:
            _settle(kibana, work, record, done)
    return done


def _write(
    kibana: Kibana, item: SavedObject, old: SavedObject | None, space: str, done: Applied, *, disabled: bool
) -> None:
    """One object; what is not sure is noted."""
    key, version = key_of(item), kibana.server.version
    try:
        if key[0] == SOURCE:
            there.put_source(kibana, item, space=space)
        elif old is None:
            there.create_rule(kibana, key[1], ours.create_body(item, version, disabled=disabled), space=space)
        elif ours.of_one_type(item, old):
            there.update_rule(kibana, key[1], ours.update_body(item, old, version), space=space)
        else:  # a rule of another type, which was to be overwritten; its actions would not fit
            there.delete(kibana, key, space=space)
            there.create_rule(kibana, key[1], ours.create_body(item, version, disabled=disabled), space=space)
    except ElkkitError as error:
        if nothing_written(error):
            done.failed[key] = error.why or error.message
        else:
            done.unsure.append(key)
        raise
    (done.created if old is None else done.updated).append(key)


def _adopt(work: SpacePlan) -> None:
    """Remember what is there already as it should be."""
    for step in work.steps:
        if step.action == "unchanged" and step.key not in work.memory.entries:
            sent, kept = (digest(meaning(o[step.key])) for o in (work.objects, work.there))
            work.memory.entries[step.key] = Entry(step.id, sent, kept, work.source, moment())


def _settle(kibana: Kibana, work: SpacePlan, record: Record, done: Applied) -> None:
    """Look at what is there now, and remember it."""
    written = [*done.created, *done.updated]
    try:
        now = fetch(kibana, [*written, *done.unsure], work.space)
    except ElkkitError as error:
        done.error = done.error or error
        now = {}
    for key in [k for k in done.unsure if k in now]:
        if meaning(now[key]) == meaning(work.objects[key]):  # it was written, and only the answer was lost
            done.unsure.remove(key)
            written.append(key)
            (done.updated if key in set(record.existed) else done.created).append(key)
    record.after = {f"{t}:{i}": digest(meaning(o)) for (t, i), o in now.items()}
    when = moment()
    memory = work.memory
    done.there = {k: k for k in now}
    memory.remember(
        {k: Entry(k[1], digest(meaning(work.objects[k])), digest(meaning(now[k])), work.source, when)
         for k in written if k in now}, record,
    )  # fmt: skip
    record.status = "done" if done.whole else "partial"
    record.save()
    memory.save()


def refusals(work: SpacePlan) -> list[ElkkitError]:
    """Why a plan is not carried out, an error for each kind of reason; empty if it can be."""
    hints = {
        "drifted": "keep what is there: --on-conflict skip; replace it: --on-conflict overwrite",
        "blocked": "mend that, or leave such rules out: --on-conflict skip",
        "unsupported": "leave such rules out: --on-conflict skip",
    }
    found: list[ElkkitError] = []
    for action, hint in hints.items():
        steps: list[Step] = [s for s in work.refused if s.action == action]
        if steps:
            more = f", and {len(steps) - 1} more" if len(steps) > 1 else ""
            found.append(InputError(f"nothing was written: {len(steps)} {action}",
                                    why=f'"{steps[0].title}": {steps[0].why}{more}', hint=hint))  # fmt: skip
    return found


# --- taking it back --------------------------------------------------------------------------------------------------


def rollback(
    kibana: Kibana,
    memory: Memory,
    record: Record,
    *,
    force: bool = False,
    dry_run: bool = False,
    tell: Tell = lambda _text: None,
) -> Undone:
    """Bring the rules of a record back to what they were; with `force` also those that were edited since.

    Nothing is changed where something is refused. Actions, and whether a rule is enabled, stay as people have them.
    """
    kibana.require_space(memory.space)
    if dry_run:
        return _planned(kibana, memory, record, force=force)
    with memory.writing():
        done = _planned(kibana, memory, record, force=force)
        if done.refused:
            return done
        if done.to_do:
            _take_back(kibana, memory, record.before(), done, tell)
        conclude(memory, record, done)
    return done


def _take_back(kibana: Kibana, memory: Memory, before: dict[Key, SavedObject], done: Undone, tell: Tell) -> None:
    """Write and delete, on a record of its own. A source goes after the rules that look through it, and comes first."""
    wanted = sorted((s for s in done.steps if s.action == "restore"), key=lambda s: s.type == RULE)
    gone = sorted((s for s in done.steps if s.action == "delete"), key=lambda s: s.type == SOURCE)
    keys = [s.key for s in (*wanted, *gone)]
    now = fetch(kibana, keys, memory.space)
    own = memory.begin("rollback", kibana.server.kind, keys, {k: line(o) for k, o in now.items()},
                       (line(before[s.key]) for s in wanted))  # fmt: skip
    done.own_record = own.id
    whole = False
    try:
        for step in wanted:
            tell(f"restoring {step.title}")
            _restore(kibana, before[step.key], memory.space)
            done.restored.append(step.key)
        for step in gone:
            tell(f"deleting {step.title}")
            there.delete(kibana, step.key, space=memory.space)
            done.deleted.append(step.key)
        whole = True
    except ElkkitError as error:
        error.why = f"{error.why}; {len(done.restored)} were restored and {len(done.deleted)} deleted before"
        raise
    finally:
        own.status = "done" if whole else "partial"
        own.save()
    now = fetch(kibana, done.restored, memory.space)
    done.differing = [k for k in done.restored if k not in now or meaning(now[k]) != meaning(before[k])]


def _planned(kibana: Kibana, memory: Memory, record: Record, *, force: bool) -> Undone:
    before, sent = record.before(), record.objects("sent.ndjson")
    now = fetch(kibana, record.touched, memory.space)
    steps = judge(record, before, sent, now, lambda a, b: meaning(a) == meaning(b), force=force)
    return Undone(memory.space, record.id, [_if_unused(kibana, memory.space, s, steps) for s in steps])


def _if_unused(kibana: Kibana, space: str, step: Undo, steps: Sequence[Undo]) -> Undo:
    """A rule whose source is gone would look at other indices without a word, so its source is kept."""
    if step.type != SOURCE or step.action != "delete":
        return step
    leaving = {s.id for s in steps if s.action == "delete"}
    for rule in there.all_rules(kibana, space=space):
        params = rule.get("params")
        if isinstance(params, dict) and params.get("sourceId") == step.id and rule.get("id") not in leaving:
            return Undo(*step.key, step.title, "used", f'the rule "{rule.get("name")}" looks through it')
    return step


def _restore(kibana: Kibana, item: SavedObject, space: str) -> None:
    key, version = key_of(item), kibana.server.version
    if key[0] == SOURCE:
        there.put_source(kibana, item, space=space)
        return
    found = there.get(kibana, key, space=space)
    if found is not None and ours.of_one_type(item, found):
        there.update_rule(kibana, key[1], ours.update_body(item, found, version), space=space)
        return
    if found is not None:
        there.delete(kibana, key, space=space)
    there.create_rule(kibana, key[1], ours.create_body(item, version), space=space)
