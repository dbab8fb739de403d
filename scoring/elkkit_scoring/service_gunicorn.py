"""gunicorn's settings for `elkkit serve`; it reads this file instead of any that lies in the current folder."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress

control_socket_disable = True  # nothing but the port is opened
accesslog = None  # the server logs requests itself

with suppress(ImportError):  # what the server prints before it says where to is no metric
    from azureml_inference_server_http.print_log_hook import set_print_logger_redirect

    set_print_logger_redirect()

_PR_SET_PDEATHSIG = 1  # Linux: prctl(2)


def _end_with(parent: int) -> None:
    """Get SIGTERM when `elkkit serve` ends in whatever way: a killed one leaves no server behind."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before that took hold
        os.kill(os.getpid(), signal.SIGTERM)


if sys.platform == "linux" and os.environ.get("ELKKIT_SERVE_PARENT", "").isdecimal():
    _end_with(int(os.environ["ELKKIT_SERVE_PARENT"]))
