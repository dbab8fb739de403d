"""elkkit: from a scoring script's `IoU : 0.8312` to a comparison of models that can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elkkit.contract import Contract, load_contract
    from elkkit.errors import ElkkitError
    from elkkit.line import MetricLogger, Outcome, Parsed, Parser, metric_logger

__version__ = "0.1.0"
__all__ = [
    "Contract",
    "ElkkitError",
    "MetricLogger",
    "Outcome",
    "Parsed",
    "Parser",
    "load_contract",
    "metric_logger",
]

_HOMES = {
    "Contract": "elkkit.contract",
    "ElkkitError": "elkkit.errors",
    "load_contract": "elkkit.contract",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that `import elkkit` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'elkkit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "elkkit.line")), name)
