"""Take imports back: restore what was there, delete what was not; and remove all that was imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from elkkit.errors import ElkkitError, InputError, ServiceError
from elkkit.kibana.alerts import KINDS
from elkkit.kibana.common import SavedObject
from elkkit.kibana.order import Key, batches, in_order, key_of, line, links_of
from elkkit.kibana.plan import localised, title_of
from elkkit.kibana.semantics import digest, essence, meaning
from elkkit.stack.kibana import MOST, Kibana
from elkkit.stack.kibanamemory import Memory, Record
from elkkit.stack.kibanaprobe import probe, users_of
from elkkit.usecases.applying import GIVE_UP, Sender
from elkkit.usecases.dashboards import BATCH_BYTES, Tell, fetch

What = Literal["restore", "delete", "gone", "same", "edited", "used", "foreign"]


@dataclass(frozen=True, slots=True)
class Undo:
    """One object, and what is done with it, or would be."""

    type: str
    id: str
    title: str
    action: What
    """`same`: it is as it was before; `gone`: it is not there; `edited`, `used`, `foreign`: it is kept."""
    why: str = ""

    @property
    def key(self) -> Key:
        """By the id of the server."""
        return self.type, self.id

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        told = {"type": self.type, "id": self.id, "title": self.title, "action": self.action}
        return told | ({"why": self.why} if self.why else {})


@dataclass(slots=True)
class Undone:
    """What was taken back in one space, or would be."""

    space: str
    record: str | None
    """What was undone."""
    steps: list[Undo]
    restored: list[Key] = field(default_factory=list)
    deleted: list[Key] = field(default_factory=list)
    failed: dict[Key, str] = field(default_factory=dict)
    differing: list[Key] = field(default_factory=list)
    """Restored, and yet not what it was: attributes or references differ."""
    own_record: str | None = None
    """What undoes this."""
    partly: bool = False
    """What is refused keeps nothing else from being done."""

    @property
    def refused(self) -> list[Undo]:
        """What is kept since it was edited after the import, others use it, or elkkit did not write it."""
        return [s for s in self.steps if s.action in ("edited", "used", "foreign")]

    @property
    def to_do(self) -> bool:
        """Something is to be done."""
        return any(s.action in ("restore", "delete") for s in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "space": self.space,
            "record": self.record,
            "steps": [s.as_dict() for s in self.steps],
            **{n: [f"{t}:{i}" for t, i in getattr(self, n)] for n in ("restored", "deleted", "differing")},
            "failed": [{"object": f"{t}:{i}", "why": why} for (t, i), why in self.failed.items()],
            "own_record": self.own_record,
        }


def find_record(memory: Memory, ident: str | None = None) -> Record:
    """The record of that id, or the newest that was not undone. Raises `InputError`."""
    records = memory.records()
    open_ = [r for r in records if r.what != "rollback" and r.status != "undone"]
    if ident is None:
        if not open_:
            why = f'no import into the space "{memory.space}" of {memory.address} is on record here'
            hint = "name the --kibana-url and the --space of the import: elkkit rollback-dashboards --list"
            raise InputError("there is nothing to roll back", why=why, hint=hint)
        return open_[0]
    found = next((r for r in records if r.id == ident), None)
    if found is None:
        names = ", ".join(r.id for r in records[:5]) or "none"
        raise InputError(f"there is no record {ident}", why=f"there are {names}",
                         hint="elkkit rollback-dashboards --list")  # fmt: skip
    if found.status == "undone":
        raise InputError(f"{ident} is undone already", why="nothing is to be done",
                         hint="elkkit rollback-dashboards --list")  # fmt: skip
    return found


def rollback(
    kibana: Kibana,
    memory: Memory,
    record: Record,
    *,
    force: bool = False,
    dry_run: bool = False,
    tell: Tell = lambda _text: None,
) -> Undone:
    """Bring what a record changed back to what it was; with `force` also what was edited since."""
    kibana.require_space(memory.space)
    if any(kind in KINDS for kind, _ in record.touched):
        from elkkit.usecases import alerts  # which needs this module

        return alerts.rollback(kibana, memory, record, force=force, dry_run=dry_run, tell=tell)
    if dry_run:
        return _survey(kibana, memory, record, force=force)
    with memory.writing():
        return undo_record(kibana, memory, record, force=force, tell=tell)


def undo_record(
    kibana: Kibana, memory: Memory, record: Record, *, force: bool = False, tell: Tell = lambda _text: None
) -> Undone:
    """`rollback` for one who is writing already. Nothing is changed where something is refused."""
    done = _survey(kibana, memory, record, force=force)
    if done.refused:
        return done
    if done.to_do:
        before = record.before()
        wanted = [before[s.key] for s in done.steps if s.action == "restore"]
        gone = [s.key for s in done.steps if s.action == "delete"]
        _change(kibana, memory, "rollback", wanted, gone, done, tell)
        if done.failed:
            return done
        now = fetch(kibana, map(key_of, wanted), memory.space)
        done.differing = [key_of(o) for o in wanted if essence(o) != essence(now.get(key_of(o), {}))]
    conclude(memory, record, done)
    return done


def _survey(kibana: Kibana, memory: Memory, record: Record, *, force: bool) -> Undone:
    before, objects = record.before(), record.objects("sent.ndjson")
    now = fetch(kibana, record.touched, memory.space)
    if record.status == "begun":
        ids = _moved(kibana, memory, record, objects, now)
        record.touched = [(t, ids.get((t, i), i)) for t, i in record.touched]
        objects = [localised(o, ids) for o in objects]
    steps = judge(record, before, objects, now, lambda a, b: essence(a) == essence(b), force=force)
    return Undone(memory.space, record.id, steps)


def judge(
    record: Record,
    before: Mapping[Key, SavedObject],
    sent: Sequence[SavedObject],
    now: Mapping[Key, SavedObject],
    same: Callable[[SavedObject, SavedObject], bool],
    *,
    force: bool,
) -> list[Undo]:
    """What becomes of each object of a record; `same` says whether one that is there is what was there before."""
    wrote = {key_of(o): digest(meaning(o)) for o in sent}
    steps = []
    for key in record.touched:
        old, found = before.get(key), now.get(key)
        title = title_of(found or old or {"id": key[1]})
        ours = found is not None and digest(meaning(found)) in (record.after.get(f"{key[0]}:{key[1]}"), wrote.get(key))
        if old is None:
            action: What = "gone" if found is None else "delete"
        else:
            action = "same" if found is not None and same(found, old) else "restore"
        if action in ("delete", "restore") and found is not None and not ours and not force:
            steps.append(Undo(*key, title, "edited", f"it was edited there since {record.when}"))
        else:
            steps.append(Undo(*key, title, action))
    return steps


def conclude(memory: Memory, record: Record, done: Undone) -> None:
    """Remember that a record is undone, so that undoing this can bring it back."""
    own = next((r for r in memory.records() if r.id == done.own_record), None)
    memory.recall(record, own)
    if own is not None:
        own.save()
    record.status = "undone"
    record.save()
    memory.save()


def _moved(
    kibana: Kibana, memory: Memory, record: Record, sent: Sequence[SavedObject], now: dict[Key, SavedObject]
) -> dict[Key, str]:
    """The ids that a server gave what it created, of an import that ended before it could note them."""
    created = set(record.created)
    lost = [o for o in sent if key_of(o) in created and key_of(o) not in now]
    ids = {
        (p.type, p.id): p.destination
        for group in batches(lost, size=BATCH_BYTES, count=MOST - 1)
        for p in probe(kibana, map(line, group), space=memory.space)
        if p.kind == "conflict" and p.destination
    }
    if ids:
        now |= fetch(kibana, [(t, there) for (t, _), there in ids.items()], memory.space)
    return ids


def _change(
    kibana: Kibana,
    memory: Memory,
    what: str,
    wanted: Sequence[SavedObject],
    gone: Sequence[Key],
    done: Undone,
    tell: Tell,
) -> None:
    """Write and delete, on a record of its own."""
    touched = [*map(key_of, wanted), *gone]
    now = fetch(kibana, touched, memory.space)
    own = memory.begin(what, kibana.server.kind, touched, {k: line(o) for k, o in now.items()}, map(line, wanted))
    done.own_record = own.id
    sender, ended = Sender(kibana, memory.space, set(touched), GIVE_UP, tell), False
    try:
        for group in batches(in_order(wanted), size=BATCH_BYTES, count=MOST):
            sender.send(group)
        if not sender.failed:
            deleted = kibana.delete(list(reversed(gone)), space=memory.space)
            done.deleted = [*deleted.done, *deleted.missing]
            done.failed |= deleted.failed
        ended = True
    except ElkkitError as error:
        if wanted:
            error.why = f"{error.why}; {len(sender.written)} of {len(wanted)} objects were restored before"
        raise
    finally:
        done.restored = sender.written
        done.failed |= sender.failed
        own.status = "done" if ended and not done.failed and not sender.failed else "partial"
        own.save()


# --- removing --------------------------------------------------------------------------------------------------------


def removal(kibana: Kibana, memory: Memory, *, force: bool = False) -> Undone:
    """What would be removed of all that was imported into a space: what nobody edited, and nobody else uses."""
    kibana.require_space(memory.space)
    entries = {(k[0], e.there): e for k, e in memory.entries.items() if k[0] not in KINDS}
    if not entries:
        why = f'no import into the space "{memory.space}" of {memory.address} is on record here'
        hint = "name the --kibana-url and the --space of the import"
        raise InputError("there is nothing to remove", why=why, hint=hint)
    there = fetch(kibana, entries, memory.space)
    steps, leaving = [], set(there)
    for key, entry in entries.items():
        found = there.get(key)
        if found is None:
            steps.append(Undo(*key, key[1], "gone"))
        elif not entry.ours and not force:
            leaving.discard(key)
            steps.append(Undo(*key, title_of(found), "foreign", "it was there before, just so"))
        elif digest(meaning(found)) != entry.kept and not force:
            leaving.discard(key)
            steps.append(Undo(*key, title_of(found), "edited", f"it was edited there since {entry.when}"))
        else:
            steps.append(Undo(*key, title_of(found), "delete"))
    if not force:
        steps = _unused(kibana, memory, steps, there, leaving)
    return Undone(memory.space, None, steps, partly=True)


def _unused(
    kibana: Kibana, memory: Memory, steps: list[Undo], there: Mapping[Key, SavedObject], leaving: set[Key]
) -> list[Undo]:
    """The same, but what is used stays, with all that it needs: Kibana would delete that without a word."""
    why: dict[Key, str] = {}
    for step in steps:
        if step.action == "delete":
            users = [u for u in users_of(kibana, step.key, space=memory.space) if (u.type, u.id) not in leaving]
            if users:
                more = f" and {len(users) - 1} more use it" if len(users) > 1 else " uses it"
                why[step.key] = f'{users[0].type} "{users[0].title}"{more}'
    open_ = [k for k in there if k not in leaving or k in why]
    while open_:
        user = there[open_.pop()]
        for link in links_of(user):
            if link in leaving and link not in why:
                why[link] = f'{user["type"]} "{title_of(user)}" stays, and uses it'
                open_.append(link)
    return [Undo(*s.key, s.title, "used", why[s.key]) if s.key in why else s for s in steps]


def remove(kibana: Kibana, memory: Memory, done: Undone, tell: Tell = lambda _text: None) -> Undone:
    """Delete what `removal` found; what is kept stays remembered."""
    with memory.writing():
        gone = [s.key for s in done.steps if s.action == "delete"]
        now = fetch(kibana, gone, memory.space)
        if set(now) != set(gone):
            raise ServiceError("the plan does not hold any more", why="objects were removed meanwhile",
                               hint="run the same command again")  # fmt: skip
        _change(kibana, memory, "remove", [], gone, done, tell)
        left = {*done.deleted, *(s.key for s in done.steps if s.action == "gone")}
        forgotten = [k for k, e in memory.entries.items() if (k[0], e.there) in left]
        record = next((r for r in memory.records() if r.id == done.own_record), None)
        memory.remember(dict.fromkeys(forgotten), record)
        if record is not None:
            record.save()
        memory.save()
    return done
