"""A program that answers each line of its input with one of its output."""

from __future__ import annotations

import os
import queue
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Thread

from elkkit.stack.grokengine.answer import NotAtHandError

_LEAVING = 10.0
_TAIL = 4000


class Talk:
    """A running program; a writer of its own keeps it from waiting for us while we wait for it."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], wanted: Callable[[bytes], bool]) -> None:
        """Start it. `wanted` tells an answer from what the program says otherwise. Raises `NotAtHandError`."""
        self.name = words[0]
        self._wanted = wanted
        self._said = b""
        self._rows: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with tempfile.TemporaryFile() as errors:
            self._errors = open(os.dup(errors.fileno()), "rb")  # noqa: SIM115  closed with the program
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    list(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=dict(environment),
                    start_new_session=True,  # Ctrl-C is for elkkit, which ends it
                )  # fmt: skip
            except OSError as error:
                self._errors.close()
                raise NotAtHandError(f"cannot start {self.name}", why=error.strerror) from None
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for row in self._process.stdout:
            if self._wanted(row):
                self._rows.put(row.rstrip(b"\n"))
            else:
                self._said = (self._said + row)[-_TAIL:]
        self._rows.put(None)

    def ask(self, rows: Sequence[bytes], seconds: float) -> list[bytes]:
        """One answer for each row, which holds no line feed; `seconds` is the limit for each.

        Raises `NotAtHandError` where the program ended, or gave no answer in time.
        """
        writer = Thread(target=self._write, args=(rows,), daemon=True)
        writer.start()
        found = [self.answer(seconds) for _ in rows]
        writer.join()
        return found

    def answer(self, seconds: float) -> bytes:
        """The next answer. Raises `NotAtHandError`."""
        try:
            row = self._rows.get(timeout=seconds)
        except queue.Empty:
            raise NotAtHandError(f"{self.name} gave no answer", why=f"within {seconds:.0f} s") from None
        if row is None:
            self._process.wait()
            said = self.said()
            raise NotAtHandError(f"{self.name} ended", why=f"it said: {said}" if said else "it said nothing")
        return row

    def _write(self, rows: Sequence[bytes]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it has ended: whoever waits for its answers is told
            for row in rows:
                self._process.stdin.write(row + b"\n")
            self._process.stdin.flush()

    def said(self) -> str:
        """The end of what the program said beside its answers."""
        with suppress(OSError):
            size = os.fstat(self._errors.fileno()).st_size
            errors = os.pread(self._errors.fileno(), _TAIL, max(0, size - _TAIL))
            return (self._said + errors).decode("utf-8", "replace")
        return self._said.decode("utf-8", "replace")

    def close(self) -> None:
        """End it, by force where it does not end by itself."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVING)
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
