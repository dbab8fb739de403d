"""Filebeat and Logstash as hops of a canary: their counters name no event, and count what went through since."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from elkkit.errors import ElkkitError, ServiceError
from elkkit.stack.monitoring import Counters, number, option
from elkkit.usecases.canary import Canary, Hop
from elkkit.usecases.doctor_shippers import our_pipeline, rejected, retried

_PATIENCE = 2.0
_SENT = ("libbeat", "output", "events")


class NotAsked:
    """A hop that nobody can look at."""

    names_event = False
    lost = True

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.passed: float | None = None
        self._why = why

    def begin(self) -> None:
        """Nothing is to be seen."""

    def look(self, canary: Canary, now: float) -> None:
        """Nothing is to be seen."""

    def tell(self, start: float, *, beyond: bool) -> Hop:  # noqa: ARG002
        """Why it is not looked at."""
        return Hop(self.name, "skipped", None, self._why)


class _Counting(ABC):
    """A service whose counters are asked again and again."""

    names_event = False
    lost = False
    name = ""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters.within(_PATIENCE)
        self.passed: float | None = None
        self._before: Mapping[str, int] = {}
        self._now: Mapping[str, int] = {}
        self._error: ElkkitError | None = None

    def begin(self) -> None:
        """Keep the counters as they are."""
        self._before = self._now = self._read() or {}

    def _read(self) -> dict[str, int] | None:
        try:
            found = self._count(self._counters)
        except ElkkitError as error:
            self._error = error
            return None
        except (AttributeError, TypeError):
            self._error = ServiceError(f"cannot read the counters of {self.name}", why="they have a form of no version "
                                       "that elkkit knows", hint=f"check {option(self._counters.name)}")  # fmt: skip
            return None
        self._error = None
        return found

    @abstractmethod
    def _count(self, counters: Counters) -> dict[str, int]:
        """The counters that matter, by name."""

    def _since(self, name: str) -> int:
        """How much a counter rose; one that begins anew with its service counts from nothing."""
        before, now = self._before.get(name, 0), self._now.get(name, 0)
        return now - before if now >= before else now

    def _hop(self, state: Any, start: float, text: str, hint: str | None = None) -> Hop:
        return Hop(self.name, state, None if self.passed is None else max(0.0, self.passed - start), text, hint)


def _events(count: int) -> str:
    return f"{count:,} event{'s' if count != 1 else ''}"


class FilebeatStation(_Counting):
    """Filebeat: has it read something since, and was that acknowledged?"""

    name = "Filebeat"

    def __init__(self, counters: Counters) -> None:
        super().__init__(counters)
        self._read_at: float | None = None
        self._sent_at: float | None = None

    def _count(self, counters: Counters) -> dict[str, int]:
        stats = counters.get("/stats")
        return {
            "read": number(stats, "libbeat", "pipeline", "events", "published"),
            "sent": number(stats, *_SENT, "total"),
            "acked": number(stats, *_SENT, "acked") + number(stats, *_SENT, "duplicates"),
            "lost": number(stats, *_SENT, "dropped"),
        }

    def look(self, canary: Canary, now: float) -> None:  # noqa: ARG002
        """It has passed the canary on when something was acknowledged since."""
        found = self._read()
        if found is None:
            return
        self._now = found
        if self._since("read") and self._read_at is None:
            self._read_at = now
        if self._since("sent") and self._sent_at is None:
            self._sent_at = now
        if self._since("read") and self._since("acked"):
            self.passed = self._sent_at or now

    def tell(self, start: float, *, beyond: bool) -> Hop:
        """By its counters."""
        read = self._since("read")
        if self.passed is not None:
            others = "" if read == 1 else "; the counters do not say which is the canary"
            waited = max(0.0, (self._read_at or start) - start)
            return self._hop("passed", start, f"read after {waited:.1f} s, sent, acknowledged: {_events(read)}{others}")
        if beyond:
            text = "its counters did not move: is --filebeat-url the one that reads this log?"
            return self._hop("unsure", start, self._error.message if self._error else text)
        if self._error is not None:
            return self._hop("stopped", start, str(self._error), self._error.hint)
        if read and self._since("lost"):
            return self._hop("stopped", start, f"it gave {_events(self._since('lost'))} up",
                             "read Filebeat's log; elkkit setup --check  compares the templates")  # fmt: skip
        if read:  # the next hop does not take it
            self.passed = self._sent_at or self._read_at
            return self._hop("passed", start, f"read {_events(read)} since; none is acknowledged, so it tries again")
        return self._hop(
            "stopped", start, "it has read nothing since: it does not see this log, or not yet",
            "compare the log with ELKKIT_LOG_FILES where Filebeat runs; it looks for new files every 10 s",
        )  # fmt: skip


class LogstashStation(_Counting):
    """Logstash: did something come in since, and go out?"""

    name = "Logstash"

    def _count(self, counters: Counters) -> dict[str, int]:
        stats = counters.get("/_node/stats/pipelines")
        found = our_pipeline(stats.get("pipelines") or {})
        if found is None:
            return {"none": 1}
        pipeline = found[1]
        outputs = (pipeline.get("plugins") or {}).get("outputs") or []
        return {
            "in": number(pipeline, "events", "in"),
            "filtered": number(pipeline, "events", "filtered"),
            "sent": sum(number(o, "events", "out") for o in outputs),
            "refused": rejected(pipeline),
            "again": retried(pipeline),
        }

    def look(self, canary: Canary, now: float) -> None:  # noqa: ARG002
        """It has passed the canary on when something went in and out since, and nothing was refused."""
        found = self._read()
        if found is None:
            return
        self._now = found
        if self._since("in") and self._since("sent") and not self._since("refused"):
            self.passed = now

    def tell(self, start: float, *, beyond: bool) -> Hop:
        """By its counters."""
        taken, sent = self._since("in"), self._since("sent")
        if self.passed is not None:
            others = "" if taken == 1 else "; the counters do not say which is the canary"
            return self._hop("passed", start, f"parsed and sent on: {taken:,} in, {sent:,} out since{others}")
        if beyond:
            text = "its counters did not move: does the canary go another way?"
            return self._hop("unsure", start, self._error.message if self._error else text)
        if self._error is not None:
            return self._hop("stopped", start, str(self._error),
                             "start Logstash: Filebeat keeps the line and sends it then. Then look again")  # fmt: skip
        if self._now.get("none"):
            return self._hop("stopped", start, "it runs no pipeline of elkkit's", "read Logstash's log")
        if refused := self._since("refused"):
            return self._hop("stopped", start, f"Elasticsearch refused {_events(refused)} that Logstash sent",
                             "Logstash's log says why; elkkit setup --check  compares the templates")  # fmt: skip
        if not taken:
            return self._hop("stopped", start, "nothing came in since",
                             "is its Beats port the one that Filebeat sends to? filebeat test output")  # fmt: skip
        if not self._since("filtered"):
            return self._hop("stopped", start, f"{taken:,} in, and none through its filter yet",
                             "is it busy? GET /_node/hot_threads of its API")  # fmt: skip
        if self._since("again"):
            return self._hop("stopped", start, f"{taken:,} in, none out: Elasticsearch does not take them; Logstash "
                             "tries again", "is Elasticsearch reachable from Logstash? Its log says why")  # fmt: skip
        return self._hop(
            "stopped", start, f"{taken:,} in, none out: its filter dropped them, or they wait for Elasticsearch",
            "does it run logstash/pipeline/lane-eval.conf of this version? Its log says what Elasticsearch answers",
        )  # fmt: skip
