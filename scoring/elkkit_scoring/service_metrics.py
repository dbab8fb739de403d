"""What Prometheus reads of the service, right with several worker processes: one set of files, shared by all of them.

    elkkit_requests_total{model, version, outcome}     outcome: scored, refused (400) or failed (500)
    elkkit_inference_seconds{model, version}           histogram, of the session alone
    elkkit_metric{model, version, metric}              the last defined score
    elkkit_undefined_total{model, version, metric}     scores that were undefined
    elkkit_frames_without_lane_total{model, version}   frames whose ground truth has no lane
    elkkit_unlogged_total{model, version}              requests with a line that could not be written

Model and version are empty where a request failed before its model was known. No label comes from a request.
"""

from __future__ import annotations

import math
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from elkkit.errors import StorageError

Outcome = Literal["scored", "refused", "failed"]
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 1.0, 2.5, 10.0)
"""Upper bounds in seconds: a small model takes 2 ms, HybridNets 240 to 430 ms on two cores."""
_LABELS = ("model", "version")


class Counting(Protocol):
    """What the service counts; both ways to do it have this."""

    def expect(self, model: str, version: str) -> None:
        """Begin a deployed model's counts at 0, so that its first request shows as a rise."""

    def request(self, model: str, version: str, outcome: Outcome) -> None:
        """Count one request."""

    def scored(
        self, model: str, version: str, scores: Mapping[str, float | int], *, seconds: float, lane_free: bool | None
    ) -> None:
        """Keep the scores of one frame and the seconds inside the session."""

    def unlogged(self, model: str, version: str) -> None:
        """Count a request of which a line could not be written."""


class NoMetrics:
    """Counts nothing: `prometheus_client` is not installed."""

    def expect(self, model: str, version: str) -> None:
        """Begin a deployed model's counts at 0, so that its first request shows as a rise."""

    def request(self, model: str, version: str, outcome: Outcome) -> None:
        """Count one request."""

    def scored(
        self, model: str, version: str, scores: Mapping[str, float | int], *, seconds: float, lane_free: bool | None
    ) -> None:
        """Keep the scores of one frame and the seconds inside the session."""

    def unlogged(self, model: str, version: str) -> None:
        """Count a request of which a line could not be written."""


class PrometheusMetrics:
    """Counts by `prometheus_client`; in files that all workers share where `PROMETHEUS_MULTIPROC_DIR` names a folder.

    One a process: the files are a process's own.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.shared = bool(os.environ.get(MULTIPROCESS))
        self._registry = registry = CollectorRegistry()
        each = (*_LABELS, "metric")
        self._requests = Counter(
            "elkkit_requests",
            "Requests by outcome: scored, refused or failed",
            (*_LABELS, "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "elkkit_inference_seconds",
            "Seconds inside the model's session",
            _LABELS,
            buckets=BUCKETS,
            registry=registry,
        )
        # Of several workers the one that scored last tells, whether it still lives or not.
        self._last = Gauge(
            "elkkit_metric", "Last defined score", each, registry=registry, multiprocess_mode="mostrecent"
        )
        self._undefined = Counter("elkkit_undefined", "Undefined scores", each, registry=registry)
        self._without_lane = Counter(
            "elkkit_frames_without_lane", "Frames whose ground truth has no lane", _LABELS, registry=registry
        )
        self._unlogged = Counter(
            "elkkit_unlogged", "Requests with a line that could not be written", _LABELS, registry=registry
        )

    def expect(self, model: str, version: str) -> None:
        """Begin a deployed model's counts at 0, so that its first request shows as a rise."""
        with suppress(OSError):
            for outcome in get_args(Outcome):
                self._requests.labels(model, version, outcome)
            for counted in (self._seconds, self._without_lane, self._unlogged):
                counted.labels(model, version)

    def request(self, model: str, version: str, outcome: Outcome) -> None:
        """Count one request."""
        with suppress(OSError):  # a folder that was deleted under us costs numbers, never an answer
            self._requests.labels(model, version, outcome).inc()

    def scored(
        self, model: str, version: str, scores: Mapping[str, float | int], *, seconds: float, lane_free: bool | None
    ) -> None:
        """Keep the scores of one frame and the seconds inside the session."""
        with suppress(OSError):
            self._seconds.labels(model, version).observe(seconds)
            for name, value in scores.items():
                if math.isnan(value):
                    self._undefined.labels(model, version, name).inc()
                else:
                    self._last.labels(model, version, name).set(value)
            if lane_free:
                self._without_lane.labels(model, version).inc()

    def unlogged(self, model: str, version: str) -> None:
        """Count a request of which a line could not be written."""
        with suppress(OSError):
            self._unlogged.labels(model, version).inc()

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """What `/metrics` answers, and its content type, for an Accept header. Raises `StorageError`."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.multiprocess import MultiProcessCollector

        encode, kind = choose_encoder(accept)
        registry: Any = self._registry
        try:
            if self.shared:
                registry = CollectorRegistry()
                MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return encode(registry), kind
        except (OSError, ValueError) as error:  # ValueError: its folder is gone
            where = f" in {os.environ.get(MULTIPROCESS)}" if self.shared else ""
            hint = "restart the service; it makes the folder anew"
            raise StorageError(f"cannot read the metrics of the workers{where}", why=str(error), hint=hint) from None


def open_metrics(*, shared: bool) -> PrometheusMetrics | NoMetrics:
    """Counters for this process; ``shared`` where the processes of one server count together. Raises `StorageError`.

    Must come before anything else imports `prometheus_client`, which looks once where numbers are kept.
    """
    if find_spec("prometheus_client") is None:
        return NoMetrics()
    if shared and not os.environ.get(MULTIPROCESS) and "prometheus_client" not in sys.modules:
        os.environ[MULTIPROCESS] = str(private_folder(f"elkkit-metrics-{os.getuid()}-{server_key()}"))
    return PrometheusMetrics()


def server_key() -> str:
    """What all workers of one server have in common and no other server has: their parent, and when it started."""
    parent = os.getppid()
    try:
        # The name of the program may hold spaces and brackets; the fields after it are numbers.
        fields = Path(f"/proc/{parent}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return f"{parent}-{fields[19]}"
    except (OSError, IndexError):
        return str(parent)


def private_folder(name: str) -> Path:
    """A folder of this user alone below the temporary folder; other users cannot have prepared it."""
    folder = Path(tempfile.gettempdir()) / name
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {folder}", why=str(error.strerror), hint=f"set {MULTIPROCESS} to a folder"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(
            f"cannot use the folder {folder}",
            why="it belongs to someone else, or others may write to it",
            hint=f"set {MULTIPROCESS} to an empty folder of yours",
        )
    return folder
