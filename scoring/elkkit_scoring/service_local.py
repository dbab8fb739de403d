"""The service on this machine: Azure ML's own server under gunicorn, on the loopback address only."""

from __future__ import annotations

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from elkkit.errors import InternalError, ServiceError, UsageError, from_os_error
from elkkit_scoring.bundled import find_model
from elkkit_scoring.model import LaneModel
from elkkit_scoring.service_metrics import MULTIPROCESS

HOST = "127.0.0.1"
PORT = 5001
START_SECONDS = 120.0
_PACKAGES = {"azureml_inference_server_http": "azureml-inference-server-http", "gunicorn": "gunicorn"}
_NEEDLESS = ("GUNICORN_CMD_ARGS", "AZUREML_CONFIG_FILE", "AZUREML_DEBUG_PORT", "WORKER_PRELOAD")


@dataclass(frozen=True)
class Plan:
    """What is served, and how."""

    models: tuple[Path, ...]
    names: tuple[str, ...]  # `name:version` of each model
    port: int = PORT  # 0: any free one
    workers: int = 1
    threads: int = 0  # of one prediction; 0: the cores shared among the workers
    service: str | None = None
    run_id: str | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    url: str  # of requests for scores
    metrics_url: str | None  # None where prometheus-client is not installed
    run_id: str
    plan: Plan
    process: subprocess.Popen[bytes]

    def wait(self, asked: Callable[[], bool]) -> bool:
        """Wait until the server ends; True where it did so by itself, False where it was ``asked`` to."""
        while self.process.poll() is None:
            if asked():
                return False
            time.sleep(0.1)
        return not asked()


def plan_for(names: Sequence[str], *, threads: int = 0) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Open each model once, as the server will: its paths and `name:version`. Raises `UsageError`."""
    paths = tuple(find_model(name).resolve() for name in names)
    if bad := [path for path in paths if os.pathsep in str(path)]:
        why = f"its path holds {os.pathsep}, which separates models"
        raise UsageError(f"cannot serve {bad[0]}", why=why, hint="serve a copy at another path")
    opened = [LaneModel.load(path, threads=threads) for path in paths]
    known = tuple(f"{model.card.name}:{model.card.version}" for model in opened)
    if twice := sorted({name for name in known if known.count(name) > 1}):
        why = f"{twice[0]} is there twice"
        raise UsageError("cannot serve these models together", why=why, hint="change the version in one card")
    return paths, known


def require_server() -> None:
    """Raises `UsageError` where what the extra `serve` brings is not installed."""
    if missing := [name for module, name in _PACKAGES.items() if find_spec(module) is None]:
        why = f"{' and '.join(missing)} cannot be found by {sys.executable}"
        raise UsageError("the server is not installed", why=why, hint="pip install 'elkkit[serve]'")


@contextmanager
def serving(plan: Plan) -> Iterator[Served]:
    """Start the server, wait until it answers, and end it. Its standard output is this process's: one line a metric.

    Raises `UsageError` where the port or the log cannot be had and `ServiceError` where the server does not start.
    """
    require_server()
    if plan.log is not None:
        _try_log(plan.log)
    with _listening(plan.port) as listener, tempfile.TemporaryDirectory(prefix="elkkit-serve-") as folder:
        port = listener.getsockname()[1]
        run_id = plan.run_id or uuid.uuid4().hex
        root, counts = Path(folder, "root"), Path(folder, "metrics")
        root.mkdir()  # stays empty: the server puts it on Python's path and looks for settings in it
        counts.mkdir()
        process = subprocess.Popen(  # noqa: S603 - our own Python
            _command(plan, listener.fileno()),
            env=_environment(plan, root, counts, run_id),
            pass_fds=(listener.fileno(),),
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C comes to us alone, and we end it in good order
        )
        try:
            _await_answer(process, port)
            shown = f"http://{HOST}:{port}"
            metrics = f"{shown}/metrics" if find_spec("prometheus_client") else None
            yield Served(f"{shown}/score", metrics, run_id, plan, process)
        finally:
            _end(process)


def _command(plan: Plan, descriptor: int) -> list[str]:
    return [
        sys.executable, "-m", "gunicorn", "--config", "python:elkkit_scoring.service_gunicorn",
        "--bind", f"fd://{descriptor}", "--workers", str(plan.workers), "--timeout", "300",
        "azureml_inference_server_http.server.entry:app",
    ]  # fmt: skip


def _environment(plan: Plan, root: Path, counts: Path, run_id: str) -> dict[str, str]:
    given = {
        "AML_APP_ROOT": str(root),
        "AZUREML_ENTRY_SCRIPT": str(Path(__file__).with_name("score.py").resolve()),
        "AZUREML_MODEL_DIR": str(root),  # ELKKIT_MODEL comes first
        "AML_APP_INSIGHTS_ENABLED": "false",
        "WORKER_COUNT": str(plan.workers),
        "ELKKIT_MODEL": os.pathsep.join(str(path) for path in plan.models),
        "ELKKIT_RUN_ID": run_id,
        "ELKKIT_SERVE_PARENT": str(os.getpid()),
        MULTIPROCESS: str(counts),
        "PYTHONUNBUFFERED": "1",
    }
    if plan.threads:
        given["ELKKIT_THREADS"] = str(plan.threads)
    if plan.service:
        given["ELKKIT_SERVICE_NAME"] = plan.service
    if plan.log is not None:
        given["ELKKIT_SERVICE_LOG"] = str(plan.log.resolve())
    kept = {key: value for key, value in os.environ.items() if key not in _NEEDLESS}
    # What was imported here is imported there, whatever path it came by.
    kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return kept | given


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """A socket that is bound before anything starts, so that nobody can take the port in between."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(128)
        except OSError as error:
            hint = "elkkit serve --port 0 takes a free one"
            why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise UsageError(f"cannot listen on {HOST}:{port}", why=why, hint=hint) from None
        yield listener


def _try_log(path: Path) -> None:
    try:
        path.open("ab").close()
    except OSError as error:
        raise from_os_error("write the log", path, error) from None


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            why = f"it ended with {process.returncode}; its own words are above"
            raise ServiceError("the server did not start", why=why, hint="elkkit score opens the same models")
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):  # it listens already, but nobody answers yet
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise ServiceError(
        "the server did not start", why=f"no answer within {START_SECONDS:.0f} s", hint="try fewer --workers"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server in good order: what it is scoring is answered first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=35)  # gunicorn gives requests 30 s
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=5)
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=5)
        raise
    if process.poll() is None:  # not seen: SIGKILL has no answer
        raise InternalError("the server did not end", why=f"process {process.pid} outlived SIGKILL")
