"""What became of a shipment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elkkit.errors import ElkkitError, ExitCode, ServiceError


class RefusedError(ServiceError):
    """Elasticsearch took some documents and not others: the answer is no."""

    exit_code = ExitCode.NO
    code = "refused"


@dataclass(slots=True)
class Reason:
    """Documents that were not taken for one kind of reason."""

    status: int
    kind: str
    example: str
    where: str
    count: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"status": self.status, "type": self.kind, "count": self.count,
                "example": self.example, "where": self.where}  # fmt: skip


@dataclass(frozen=True)
class ShipResult:
    """What was read and what became of it; every count is of lines or documents."""

    read: int
    outcomes: dict[str, int]
    sent: int
    created: int
    already_there: int
    conflicting: int
    rejected: int
    unconfirmed: int
    retried: int
    seconds: float
    left_out: int
    """Read, and not to be sent: ordinary text, and malformed lines where they are skipped."""
    not_sent: int
    """To be sent, and not sent any more since the shipment ended before."""
    would_send: int
    """What a dry run would have sent."""
    cut_off: int
    """Last lines without a line feed that may not be whole; they are not in `read`."""
    not_compared: int
    stream: str
    where: str
    reasons: tuple[dict[str, Any], ...]
    conflicts: tuple[dict[str, Any], ...]
    errors: tuple[ElkkitError, ...]
    interrupted: bool

    @property
    def exit_code(self) -> ExitCode:
        """Interrupted, else the gravest error, else done."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        return max((e.exit_code for e in self.errors), default=ExitCode.DONE)

    def as_dict(self) -> dict[str, Any]:
        """`data` of the command's JSON."""
        return {
            "read": self.read,
            **self.outcomes,
            "sent": self.sent,
            "created": self.created,
            "already_there": self.already_there,
            "conflicting": self.conflicting,
            "rejected": self.rejected,
            "unconfirmed": self.unconfirmed,
            "retried": self.retried,
            "seconds": round(self.seconds, 3),
            "left_out": self.left_out,
            "not_sent": self.not_sent,
            "would_send": self.would_send,
            "cut_off": self.cut_off,
            "not_compared": self.not_compared,
            "stream": self.stream,
            "server": self.where,
            "errors_by_reason": list(self.reasons),
            "conflicts": list(self.conflicts),
        }
