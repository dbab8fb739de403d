"""Ctrl-C and SIGTERM, wherever they come."""

import subprocess
import sys

AT_EVERY_LINE = """
import signal, sys
from types import SimpleNamespace
from elkkit.cli.stopping import Stopping
from elkkit.usecases import engine
from elkkit.usecases.ship import Stop

engine._LOOK = 0.001
engine.embedded = SimpleNamespace(ended=lambda _engine: False)
up = engine.Up("http://here", "8", None, SimpleNamespace(), started=True)

def signal_at(number):
    left = number
    def trace(frame, event, _):
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGTERM)
        return trace
    return trace

for number in range(1, 200):
    stop = Stop()
    with Stopping(stop.ask) as stopping:
        sys.settrace(signal_at(number))
        assert up.wait(lambda: stopping.asked and stop.asked) is False
        sys.settrace(None)
print("ended each time")
"""


def test_a_signal_ends_the_wait_whatever_line_runs():
    """`Event.set` in a handler waits for ever where the main thread was about to wait for that event."""
    done = subprocess.run([sys.executable, "-c", AT_EVERY_LINE], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("ended each time\n", "")
