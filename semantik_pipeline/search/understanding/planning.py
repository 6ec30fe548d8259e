"""The interpretation step of a search, which needs the ledger and the index."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import PipelineError, UsageError
from semantik_pipeline.search.permitted import permitted
from semantik_pipeline.search.understanding.corrections import corrected, corrections
from semantik_pipeline.search.understanding.fields import Condition
from semantik_pipeline.search.understanding.meaning import Interpretation, narrowed
from semantik_pipeline.spelling import forms

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.questions import SearchQuery
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search.request import SearchPlan

log = logging.getLogger(__name__)

#: The maximum of documents that a ``path:`` may match; if it matches more, the maximum that it may leave out.
MOST_DOCUMENTS = 50_000


def interpret(runtime: Runtime, view: SearchView, query: SearchQuery, plan: SearchPlan) -> SearchPlan:
    """Return the plan with patterns of paths resolved to documents, and typing errors corrected.

    Raises UsageError for a ``path:`` that both matches and leaves out more than MOST_DOCUMENTS documents.
    """
    interpretation = plan.interpretation
    if interpretation is None:
        return plan
    if interpretation.paths or interpretation.not_paths:
        interpretation = _resolved(runtime, view, interpretation, plan.principals)
        plan = replace(plan, interpretation=interpretation, **filters(query, interpretation))
    if not plan.text or not runtime.settings.search.spelling_correction:
        return plan
    kept = (*interpretation.phrases, *interpretation.excluded)
    try:
        found = corrections(runtime, view, plan.text, kept=kept, filter=plan.filter, principals=plan.principals)
    except PipelineError as error:  # the search works without corrections
        log.warning("Typos of a query could not be corrected: %s", error)
        return replace(plan, warnings=[*plan.warnings, "typos could not be corrected"])
    if not found:
        return plan
    meant = corrected(plan.text, found)
    known = replace(interpretation, text=meant, corrections=found)
    # BM25 searches the words as typed, too: they may have been meant.
    return replace(plan, interpretation=known, text=meant, words=" ".join([meant, *found]))


def filters(query: SearchQuery, interpretation: Interpretation) -> dict[str, Any]:
    """Return the plan's ``filter``, and the ``loose`` one without the conditions on what chunks contain."""
    return {
        "filter": permitted(narrowed(query.filter, interpretation), query.principals),
        "loose": permitted(narrowed(query.filter, interpretation, read=False), query.principals),
    }


def _resolved(
    runtime: Runtime, view: SearchView, interpretation: Interpretation, principals: Collection[str] | None
) -> Interpretation:
    """Return the interpretation with patterns of paths replaced by conditions on document ids."""
    must, must_not = list(interpretation.must), list(interpretation.must_not)
    for patterns, conditions, others in (
        (interpretation.paths, must, must_not),
        (interpretation.not_paths, must_not, must),
    ):
        if patterns:
            condition, negated = _documents(runtime, view, patterns, principals)
            (others if negated else conditions).append(condition)
    return replace(interpretation, must=tuple(must), must_not=tuple(must_not), paths=(), not_paths=())


def _documents(
    runtime: Runtime, view: SearchView, patterns: tuple[str, ...], principals: Collection[str] | None
) -> tuple[Condition, bool]:
    either = [form for one in patterns for form in forms(one)]
    ask = runtime.ledger.documents_at
    try:
        ids, negated = ask(view.generation_id, either, principals=principals, limit=MOST_DOCUMENTS)
    except ValueError:
        named = " ".join(f"path:{pattern}" for pattern in patterns)
        raise UsageError(
            f"{named} matches more than {MOST_DOCUMENTS:,} documents of {view.collection!r}, and excludes as many.",
            "Narrow it, or filter by `source:`.",
        ) from None
    return {"key": "document_id", "match": {"any": ids}}, negated
