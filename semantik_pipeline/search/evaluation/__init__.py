"""Evaluation of search quality.

Queries with judgements, or queries made of a collection's own titles and sentences, are asked in one way of searching
or in several. The answers are measured with ir_measures, differences are tested for significance, and runs are stored
so that they can be compared.
"""

from semantik_pipeline.search.evaluation.comparison import Compared, Comparison, compare
from semantik_pipeline.search.evaluation.dataset import Dataset, read_dataset
from semantik_pipeline.search.evaluation.judged import Judged
from semantik_pipeline.search.evaluation.known_items import KnownItems, known_items
from semantik_pipeline.search.evaluation.measure import EvaluationReport, evaluate
from semantik_pipeline.search.evaluation.recommendation import Recommendation, recommended

__all__ = [
    "Compared",
    "Comparison",
    "Dataset",
    "EvaluationReport",
    "Judged",
    "KnownItems",
    "Recommendation",
    "compare",
    "evaluate",
    "known_items",
    "read_dataset",
    "recommended",
]
