"""What is wrong with a saved object."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of a bundle."""

    object: str
    """`type:id`, or `line N` where there is no such thing."""
    path: str
    """Where in the object, such as `attributes.visState.aggs[1].params.field`; empty for the whole object."""
    message: str

    def __str__(self) -> str:
        return f"{self.object}: {self.path}: {self.message}" if self.path else f"{self.object}: {self.message}"
