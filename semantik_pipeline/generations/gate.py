"""The gate of a build: the checks that must pass before search switches to it.

The checks run in slices so that a maintenance tick stays short. They start again if the verifying process dies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline import configurations, verification
from semantik_pipeline.ledger.catalog.collections import SearchView
from semantik_pipeline.ledger.generations import builds

if TYPE_CHECKING:
    from semantik_pipeline.ledger import Transaction
    from semantik_pipeline.ledger.generations.builds import Build
    from semantik_pipeline.runtime import Runtime

#: Maximum number of documents that a verdict names.
NAMED = 5

#: Number of damaged documents and orphaned points after which the check stops, because the build is rejected anyway.
ENOUGH = 1000

#: A probe must be found among this number of hits.
WITHIN = 10


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of a verification.

    ``reason`` tells why search must not switch to the build; None means that it may.
    """

    losses: int
    lost: list[str] = field(default_factory=list)
    missing: int = 0
    orphaned: int = 0
    stale: int = 0
    probes: int = 0
    found: int = 0
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Gate:
    """One verification of one build."""

    def __init__(self, runtime: Runtime, build: Build) -> None:
        self.generation_id = build.generation_id
        self.compares_with = build.active_generation
        self._runtime = runtime
        self._build = build
        self._verdict = Verdict(losses=0)
        self._steps = self._verify()

    def advance(self, until: float) -> Verdict | None:
        """Continue until about ``until`` (``time.monotonic()``). Returns the verdict, or None if checks are left."""
        for _ in self._steps:
            if self._verdict.reason is not None:
                break
            if time.monotonic() >= until or self._runtime.stopping.is_set():
                return None
        return self._verdict

    def _verify(self) -> Iterator[None]:
        yield from self._complete()
        yield from self._stored()
        yield from self._findable()

    def _note(self, **found: Any) -> None:
        self._verdict = replace(self._verdict, **found)

    def _complete(self) -> Iterator[None]:
        """Check that no document that search finds now is missing."""
        with self._runtime.ledger.read() as tx:
            self._verdict = with_losses(tx, self._build, self._verdict)
        yield

    def _stored(self) -> Iterator[None]:
        """Check that the store matches the ledger, point by point."""
        runtime = self._runtime
        report = verification.GenerationReport(generation=runtime.generation(self.generation_id))
        for _ in verification.comparing(runtime, report):
            if len(report.damaged) + len(report.orphans) > ENOUGH:
                break
            yield
        self._note(missing=report.missing, orphaned=report.orphaned, stale=report.stale)
        if report.missing or report.stale or report.orphaned:
            parts = [f"{getattr(report, name)} {name}" for name in ("missing", "orphaned", "stale")]
            self._note(reason=f"the store does not have what the ledger says: {', '.join(parts)} points")
        yield

    def _findable(self) -> Iterator[None]:
        """Check that searches for the text of sampled chunks find these chunks, with the build's own model."""
        runtime, settings = self._runtime, self._runtime.settings.reindex
        with runtime.ledger.read() as tx:
            probes = builds.probes(tx, self.generation_id, settings.probes)
        view = view_of(runtime, self._build)
        found = 0
        for text in probes:
            found += finds_itself(runtime, view, text)
            self._note(probes=self._verdict.probes + 1, found=found)
            yield
        if probes and found < settings.probe_recall * len(probes):
            said = f"only {found} of {len(probes)} sampled chunks are among the first {WITHIN} hits for their own text"
            self._note(reason=f"{said}; reindex.probe_recall requires {settings.probe_recall:.0%}")
        yield


def with_losses(tx: Transaction, build: Build, verdict: Verdict) -> Verdict:
    """Return the verdict with the documents that search finds now and would not find in the build.

    Such losses are a reason to reject the build, unless the person who requested it accepts losses.
    """
    total, some = builds.losses(tx, build, limit=NAMED)
    lines = [f"{name} ({why})" for name, why in some]
    found = replace(verdict, losses=total, lost=lines)
    if not total or builds.accepts_losses(tx, build):
        return found
    more = f" and {total - len(lines)} more" if total > len(lines) else ""
    said = f"{total} documents that search finds now are not in the build: {', '.join(lines)}{more}"
    return replace(found, reason=f"{said}. To switch anyway, use --accept-losses.")


def view_of(runtime: Runtime, build: Build) -> SearchView:
    """Return the view that a search would read if the build were active."""
    generation = runtime.generation(build.generation_id)
    return SearchView(
        collection=build.collection,
        generation_id=generation.id,
        index=generation.index,
        dimension=generation.dimension,
        config={**generation.config, **dict.fromkeys(configurations.AT_ONCE)},
    )


def finds_itself(runtime: Runtime, view: SearchView, text: str) -> bool:
    """Return whether a search for a chunk's whole text has a hit with exactly this text among the first hits."""
    from semantik_pipeline.search import query

    as_it_stands: dict[str, Any] = {"rerank": False, "postprocessors": (), "interpret": False}
    asked = query.SearchQuery(text=text, collection=view.collection, limit=WITHIN, **as_it_stands)
    return any(hit.text == text for hit in query.search_view(runtime, view, asked).hits)
