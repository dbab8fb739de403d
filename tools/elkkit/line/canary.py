"""The canary: a line that only tests the road. Its tag is in the contract, and nothing of ours counts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elkkit.contract import Contract

CANARY = "canary"
"""What a canary is called where others are called by their outcome."""


def is_canary(contract: Contract, fields: Mapping[str, Any]) -> bool:
    """Whether an event, by its fields, is a canary, whatever it says besides."""
    return contract.canary_tag in fields.get("tags", ())


def asks_for_canaries(contract: Contract, kql: str | None) -> bool:
    """Whether a person's query names the tag: then it is about canaries, and they are shown."""
    return kql is not None and contract.canary_tag in kql
