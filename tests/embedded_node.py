"""elkkit's own embedded Elasticsearch as a real server for the tests, or a skip that says what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elkkit.stack import embedded
from elkkit.stack.embedded import Engine
from elkkit.stack.embedded.java import find_javas


def available() -> None:
    """Skip the test where the engine can neither be started nor fetched."""
    if not any(java.version >= 17 for java in find_javas()):
        pytest.skip("no Java here")
    if not embedded.installed() and shutil.which("mvn") is None:
        pytest.skip("no Maven here")


@contextmanager
def running(state: Path) -> Iterator[Engine]:
    """A node with its data in an empty state folder, until the block ends; its process is gone then."""
    available()
    with embedded.using(install=True, state=state) as engine:
        yield engine
    if not embedded.ended(engine, 20):
        embedded.down(state=state)
        pytest.fail(f"the embedded engine did not end with its user: {engine}")
