"""A real Elasticsearch of the user's own, started and ended by elkkit."""

from elkkit.stack.embedded.files import RELEASES, Place, Release
from elkkit.stack.embedded.node import (
    HEAP,
    Engine,
    EngineMissingError,
    delete_data,
    down,
    ended,
    installed,
    keep,
    running,
    using,
    would_start,
)

__all__ = [
    "HEAP",
    "RELEASES",
    "Engine",
    "EngineMissingError",
    "Place",
    "Release",
    "delete_data",
    "down",
    "ended",
    "installed",
    "keep",
    "running",
    "using",
    "would_start",
]
