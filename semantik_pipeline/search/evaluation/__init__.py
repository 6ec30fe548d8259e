"""How good the answers are: queries with judgements, or made of a collection's own titles and sentences, asked in one way
or in several, measured with ir_measures, told from luck, and kept so that runs can be compared."""

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
