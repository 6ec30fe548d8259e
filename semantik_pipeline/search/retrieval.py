"""From a planned query to candidates that may be shown: both legs in one call to the store, fused and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import SearchRequest
from semantik_pipeline.search.fusion import Candidate, fuse
from semantik_pipeline.search.request import SearchPlan
from semantik_pipeline.search.visibility import document_ids, shown

if TYPE_CHECKING:
    import numpy as np

#: Results of each leg, at least. Min-max needs the leg's lower end to tell a good score from a fair one: on Cranfield's
#: odd queries nDCG@10 is 0.428 at 50, 0.434 at 100 and 0.439 at 200, and no better at 300 to 1,000.
LEG_DEPTH = 200
#: No leg goes deeper, however many of its results may not be shown.
MAX_LEG_DEPTH = 10_000


def retrieve(runtime: Any, view: Any, plan: SearchPlan, vector: np.ndarray | None) -> list[Candidate]:
    """The best ``plan.candidates`` visible candidates, or fewer where there are no more.

    ``vector`` is the query's embedding, (d,) float32; None without a dense leg. Goes deeper while hits that may not
    be shown left fewer than ``plan.limit``.
    """
    # A collection that nothing was indexed into yet has an index all the same, and finds nothing in it.
    index = runtime.index(runtime.generation(view.generation_id))
    depth = max(LEG_DEPTH, plan.candidates)
    while True:
        names = [name for name in ("dense", "sparse") if plan.mode in (name, "hybrid")]
        requests = [_request(name, plan, vector, depth) for name in names]
        legs = runtime.host.call(runtime.store.search, index, requests)
        fused = fuse(dict(zip(names, legs, strict=True)), dense_weight=plan.dense_weight, method=plan.fusion)
        visible = shown(fused, runtime.ledger.visible(view.generation_id, document_ids(fused)))
        exhausted = depth >= MAX_LEG_DEPTH or all(len(leg) < depth for leg in legs)
        if len(visible) >= plan.limit or len(visible) == len(fused) or exhausted:
            return visible[: plan.candidates]
        depth = min(depth * 4, MAX_LEG_DEPTH)


def _request(name: str, plan: SearchPlan, vector: np.ndarray | None, depth: int) -> SearchRequest:
    if name == "dense":
        return SearchRequest(vector=vector, filter=plan.filter, limit=depth)
    return SearchRequest(text=plan.text, filter=plan.filter, limit=depth)
