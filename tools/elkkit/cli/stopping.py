"""Ctrl-C and SIGTERM for commands that end in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self


class Stopping:
    """Within it, Ctrl-C and SIGTERM set `asked` and call `stop`; a second one ends the command at once.

    While `at_once` is true the first one ends it too, by `KeyboardInterrupt` as always. `stop` must take no lock, as
    `Event.set` does: the handler runs in the middle of what the main thread does, which may hold it.
    """

    def __init__(self, stop: Callable[[], None] = lambda: None, *, at_once: bool = False) -> None:
        self.asked = False
        self.at_once = at_once
        self._stop = stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # a shell's background job ignores Ctrl-C
                with suppress(ValueError):  # not in the main thread
                    self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked(self, _number: int, _frame: object) -> None:
        if self.at_once:
            raise KeyboardInterrupt
        again, self.asked = self.asked, True
        self._stop()
        if again:
            raise KeyboardInterrupt
