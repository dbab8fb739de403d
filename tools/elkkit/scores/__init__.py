"""Scores as a table, and what they say about models: numbers in, verdicts out, no reading and no printing.

The only part of elkkit that needs numpy and scipy: import it inside the function that uses it.
"""

from elkkit.scores.compare import MetricComparison, ModelScores, Pair, Verdict, compare, leading
from elkkit.scores.data import as_data
from elkkit.scores.table import Model, ScoreColumns, Scores
from elkkit.scores.words import sentence, summary

__all__ = [
    "MetricComparison",
    "Model",
    "ModelScores",
    "Pair",
    "ScoreColumns",
    "Scores",
    "Verdict",
    "as_data",
    "compare",
    "leading",
    "sentence",
    "summary",
]
