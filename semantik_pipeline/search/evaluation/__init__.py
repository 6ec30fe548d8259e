"""How good the answers are: a dataset of judged queries, asked one by one, measured with ir_measures."""

from semantik_pipeline.search.evaluation.dataset import Dataset, read_dataset
from semantik_pipeline.search.evaluation.measure import EvaluationReport, evaluate

__all__ = ["Dataset", "EvaluationReport", "evaluate", "read_dataset"]
