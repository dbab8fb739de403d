"""The contract: fields, metrics and patterns, read from `contract.toml` and extended by a team's `elkkit.toml`."""

from elkkit.contract.extend import extend
from elkkit.contract.model import Contract, Field, Judge, Metric, load_contract

__all__ = ["Contract", "Field", "Judge", "Metric", "extend", "load_contract"]
