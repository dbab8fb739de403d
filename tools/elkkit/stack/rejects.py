"""A file that keeps the lines of documents which were not taken, for another try."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from elkkit.contract import Contract
from elkkit.errors import ConfigError, ElkkitError, from_os_error
from elkkit.line.document import line_again
from elkkit.stack.bulk import Refusal


class Rejects:
    """The file that keeps what was not taken; each line is on its way to the disk before the next chunk is counted."""

    def __init__(self, path: Path | None, contract: Contract) -> None:
        self.path = path
        self.failed: list[ElkkitError] = []
        self._contract = contract
        self._fd = -1
        self._empty = True

    def __enter__(self) -> Rejects:
        if self.path is None:
            return self
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._fd).st_size
        except OSError as error:
            raise from_os_error("write", self.path, error) from error
        if size:
            os.close(self._fd)
            raise ConfigError(
                f"{self.path} is not empty", why="what it keeps would be mixed with what is rejected now",
                hint=f"elkkit ship {self.path}  sends it, or name another file",
            )  # fmt: skip
        return self

    def keep(self, refusals: Sequence[Refusal]) -> None:
        """Append their lines."""
        if self._fd < 0 or not refusals or self.failed:
            return
        lines = [
            line_again(r.document.operation, self._contract, f"{r.status} {r.kind}: {r.why}".strip()) for r in refusals
        ]
        data = memoryview(b"".join(lines))
        try:
            while data:
                data = data[os.write(self._fd, data) :]
                self._empty = False
        except OSError as error:
            self.failed.append(from_os_error("write", self.path, error))

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            if self._empty and self.path is not None:
                self.path.unlink(missing_ok=True)
