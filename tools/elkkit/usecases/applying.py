"""Carry a plan of an import out: what is there is put aside first, and what was written is looked at afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from elkkit.errors import ElkkitError, InputError, ServiceError, StorageError
from elkkit.kibana.common import SavedObject
from elkkit.kibana.order import Key, batches, halves, in_order, key_of, line
from elkkit.kibana.plan import Action, Entry, counts, localised
from elkkit.kibana.semantics import digest, meaning
from elkkit.stack.kibana import MOST, ImportReply, Kibana, Retry, status_of, wait_ready
from elkkit.stack.kibanamemory import Memory, Record
from elkkit.usecases.dashboards import BATCH_BYTES, OWN, TOO_LARGE, SpacePlan, Tell, fetch

GIVE_UP = 60.0
"""Seconds for which a request that may succeed later is tried again."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_LATER = frozenset({0, 415, 429, 502, 503, 504})
"""No answer, not yet ready, too much to do, or a proxy that lost patience."""


@dataclass(slots=True)
class Applied:
    """What was done in one space."""

    space: str
    created: list[Key] = field(default_factory=list)
    """By the ids of the server, like all here."""
    updated: list[Key] = field(default_factory=list)
    removed: list[Key] = field(default_factory=list)
    failed: dict[Key, str] = field(default_factory=dict)
    """What was not written, and why."""
    unsure: list[Key] = field(default_factory=list)
    """What was sent, and nobody knows whether it was written."""
    there: dict[Key, Key] = field(default_factory=dict)
    """What is there now as the file has it: by type and id in the file."""
    record: str | None = None
    """What `rollback` takes to undo it; None where nothing was changed."""
    undone: bool = False
    error: ElkkitError | None = None
    """Why it ended early."""

    @property
    def written(self) -> int:
        """How many objects are as the file has them."""
        return len(self.created) + len(self.updated)

    @property
    def whole(self) -> bool:
        """All that was planned was done."""
        return not self.failed and not self.unsure and self.error is None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        named = {n: [f"{t}:{i}" for t, i in getattr(self, n)] for n in ("created", "updated", "removed", "unsure")}
        failed = [{"object": f"{t}:{i}", "why": why} for (t, i), why in self.failed.items()]
        return {"space": self.space, **named, "failed": failed, "record": self.record, "undone": self.undone}


def apply(
    kibana: Kibana,
    plan: SpacePlan,
    *,
    atomic: bool = False,
    give_up: float = GIVE_UP,
    tell: Tell = lambda _text: None,
    asked_to_end: Callable[[], bool] = lambda: False,
) -> Applied:
    """Write and remove what a plan says; it must have nothing that is refused.

    What goes wrong on the way is in `error` and `failed`, and with `atomic` all that was done is undone. Raises only
    what happens before anything is written.
    """
    done = Applied(plan.space, there={s.key: s.key_there for s in plan.steps if s.action == "unchanged"})
    memory = plan.memory
    with memory.writing():
        _adopt(plan)
        if not plan.writes and not plan.removes:
            memory.save()
            return done
        objects = in_order([localised(plan.objects[s.key], plan.ids) for s in plan.writes])
        touched = [*map(key_of, objects), *(s.key_there for s in plan.removes)]
        before = fetch(kibana, touched, plan.space)
        require_unchanged(plan, touched, before)
        record = memory.begin("import", kibana.server.kind, touched, {k: line(o) for k, o in before.items()},
                              map(line, objects))  # fmt: skip
        done.record = record.id
        sender = Sender(kibana, plan.space, set(before), give_up, tell)
        try:
            for group in batches(objects, size=BATCH_BYTES, count=MOST):
                if asked_to_end():
                    raise ServiceError("the import was ended early", why="it was asked to")
                sender.send(group)
                if sender.failed:
                    break
            if not sender.failed and plan.removes:
                _remove(kibana, plan, done)
        except ElkkitError as error:
            done.error = error
        finally:
            try:
                _settle(kibana, plan, record, sender, done)
            except StorageError as error:  # what was written must be told all the same
                done.error = done.error or error
        if atomic and not done.whole:
            _undo(kibana, memory, record, done, tell)
    return done


def _undo(kibana: Kibana, memory: Memory, record: Record, done: Applied, tell: Tell) -> None:
    from elkkit.usecases.undoing import undo_record

    tell("undoing what was written, since not all could be")
    try:
        failed = undo_record(kibana, memory, record, force=True).failed
        why = next(iter(failed.values()), None)
    except ElkkitError as error:
        why = error.why or error.message
    done.undone = why is None
    if why is None:
        done.there.clear()
    else:
        tell(f"it could not be undone: {why}")


class Sender:
    """Sends objects, again and again while that may help, and keeps count of what became of each."""

    def __init__(self, kibana: Kibana, space: str, existing: set[Key], give_up: float, tell: Tell) -> None:
        """`existing`: what may be overwritten; the rest must not be there."""
        self._kibana = kibana
        self._space = space
        self._existing = existing
        self._give_up = give_up
        self._tell = tell
        self.written: list[Key] = []
        """By the ids of the server."""
        self.renamed: dict[Key, Key] = {}
        """What the server gave another id, by the id it was sent with."""
        self.failed: dict[Key, str] = {}
        self.unsure: list[Key] = []

    def send(self, objects: list[SavedObject]) -> None:
        """Write objects that refer to each other or to what is there. Raises what cannot be mended by trying again."""
        objects = [localised(o, {k: new for k, (_, new) in self.renamed.items()}) for o in objects]
        deadline, pause, again = time.monotonic() + self._give_up, _FIRST_PAUSE, False
        while True:
            try:
                reply = self._attempt(objects, overwrite=again)
            except ElkkitError as error:
                status = status_of(error)
                if status == TOO_LARGE and len(objects) > 1:
                    for part in halves(objects):
                        self.send(part)
                        if self.failed:
                            return
                    return
                if status not in _LATER:
                    raise
                again = again or status in (0, 502, 504)  # it may have been written: then our own is in the way
                try:
                    if time.monotonic() + pause > deadline:
                        raise
                    self._tell(f"{error.why or error.message}; trying again")
                    time.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    if status in (0, 415, 503):
                        wait_ready(self._kibana, max(deadline - time.monotonic(), 1), self._tell)
                except ElkkitError:
                    if again:
                        self.unsure += map(key_of, objects)
                    raise
            else:
                self._note(objects, reply)
                return

    def _attempt(self, objects: Sequence[SavedObject], *, overwrite: bool) -> ImportReply:
        keys = [key_of(o) for o in objects]
        retries = [Retry(*k, overwrite=overwrite or k in self._existing) for k in keys]
        return self._kibana.resolve(map(line, objects), retries, space=self._space)

    def _note(self, objects: Sequence[SavedObject], reply: ImportReply) -> None:
        """An answer's objects are written only where it says so; those it does not name are not."""
        for problem in reply.problems:
            self.failed[problem.type, problem.id] = problem.why
        kept = reply.objects if reply.written != "nothing" else ()
        for one in kept:
            self.written.append(one.key)
            if one.key != (one.type, one.id):
                self.renamed[one.type, one.id] = one.key
        named = {(w.type, w.id) for w in kept}
        for key in map(key_of, objects):
            if key not in named and key not in self.failed:
                self.failed[key] = "it was not written, since others of the same request were refused"


def _adopt(plan: SpacePlan) -> None:
    """Remember what is there already as it should be."""
    now = moment()
    for step in plan.steps:
        entry, source = plan.memory.entries.get(step.key), plan.source_of(step.key)
        if step.action != "unchanged" or (entry and entry.source == source and entry.there == step.key_there[1]):
            continue
        wanted = localised(plan.objects[step.key], plan.ids)
        plan.memory.entries[step.key] = Entry(
            step.key_there[1], digest(meaning(wanted)), digest(meaning(plan.there[step.key_there])), source, now,
            ours=entry.ours if entry else source.startswith(OWN),
        )  # fmt: skip


def require_unchanged(plan: SpacePlan, touched: Sequence[Key], now: Mapping[Key, SavedObject]) -> None:
    """Raise `ServiceError` where what is there now is not what the plan was made from."""
    for key in touched:
        was, found = plan.there.get(key), now.get(key)
        if (was is None) != (found is None) or (was and found and meaning(was) != meaning(found)):
            raise ServiceError("the plan does not hold any more", why=f"{key[0]} {key[1]} was changed meanwhile",
                               hint="run the same command again")  # fmt: skip


def _remove(kibana: Kibana, plan: SpacePlan, done: Applied) -> None:
    deleted = kibana.delete([s.key_there for s in plan.removes], space=plan.space)
    done.removed += [*deleted.done, *deleted.missing]
    done.failed |= deleted.failed


def _settle(kibana: Kibana, plan: SpacePlan, record: Record, sender: Sender, done: Applied) -> None:
    """Look at what is there now, and remember it."""
    keys_in_file = {(s.type, s.there or s.id): s.key for s in plan.writes}
    existed = set(record.existed)
    for key in sender.written:
        (done.updated if key in existed else done.created).append(key)
    done.failed |= sender.failed
    done.unsure += sender.unsure
    for sent, key in sender.renamed.items():  # the id was taken in another space
        record.touched = [key if k == sent else k for k in record.touched]
        keys_in_file[key] = keys_in_file.pop(sent, sent)
    try:
        now = fetch(kibana, [*sender.written, *sender.unsure], plan.space)
    except ElkkitError as error:
        done.error = done.error or error
        now = {}
    record.after = {f"{t}:{i}": digest(meaning(o)) for (t, i), o in now.items()}
    ids = {**plan.ids, **{keys_in_file[k]: k[1] for k in sender.renamed.values()}}
    when, entries = moment(), dict[Key, Entry | None]()
    for key in sender.written:
        own = keys_in_file.get(key, key)
        done.there[own] = key
        if key in now and own in plan.objects:
            sent_as = digest(meaning(localised(plan.objects[own], ids)))
            entries[own] = Entry(key[1], sent_as, digest(meaning(now[key])), plan.source_of(own), when)
    gone = set(done.removed)
    entries |= {s.key: None for s in plan.removes if s.key_there in gone}
    plan.memory.remember(entries, record)
    record.status = "done" if done.whole else "partial"
    record.save()
    plan.memory.save()


def refusals(plan: SpacePlan) -> list[ElkkitError]:
    """Why a plan is not carried out, in one error that counts each kind of reason; empty if it can be."""
    hints: Mapping[Action, str] = {
        "drifted": "keep yours: --on-conflict skip; take the file's: --on-conflict overwrite; both: --on-conflict copy",
        "unsupported": "leave such objects out: --on-conflict skip",
        "blocked": "mend the file, name what is meant: --map-ref OLD=NEW, or leave such out: --on-conflict skip",
    }
    refused = sorted(plan.refused, key=lambda s: list(hints).index(s.action))
    if not refused:
        return []
    first = refused[0]
    found = counts(refused)
    what = f"nothing was written: {', '.join(f'{found[a]} {a}' for a in hints if a in found)}"
    if plan.space != "default":
        what = f"space {plan.space}: {what}"
    more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
    why = f'{first.type} "{first.title}": {first.why}{more}'
    return [InputError(what, why=why, hint=hints[first.action])]


def moment() -> str:
    """Now, as entries have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
