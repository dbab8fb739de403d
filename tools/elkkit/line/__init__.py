"""The line: writing it strictly, reading it tolerantly, and the id that makes it count once."""

from elkkit.line.event import Score, make_event, score_text
from elkkit.line.identity import event_id, is_event_id, subject
from elkkit.line.logger import MetricLogger, metric_logger
from elkkit.line.parser import Outcome, Parsed, Parser

__all__ = [
    "MetricLogger",
    "Outcome",
    "Parsed",
    "Parser",
    "Score",
    "event_id",
    "is_event_id",
    "make_event",
    "metric_logger",
    "score_text",
    "subject",
]
