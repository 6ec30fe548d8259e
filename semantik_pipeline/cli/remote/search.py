"""``semantik search`` by a server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.search import Fusion, Mode, nothing_found, parse_filter, postprocessors_in, rerankers_in
from semantik_pipeline.documents import SearchHit

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server found, as the core's own answer has it."""

    hits: list[SearchHit]
    reranked: bool
    rerankers: list[dict[str, Any]]
    timings_ms: dict[str, float]
    warnings: list[str]
    facets: dict[str, list[dict[str, Any]]]
    absent: dict[str, Any] | None
    understood: dict[str, Any] | None


#: What a hit of the API has beside.
_MORE = ("collection", "rerank_score")


def search(
    call: Invocation,
    client: Client,
    *,
    query: str,
    collection: str,
    limit: int,
    mode: Mode,
    rerank: bool,
    reranker: list[str] | None,
    filter_json: str | None,
    fusion: Fusion | None,
    dense_weight: float | None,
    rerank_weight: float | None,
    facet: list[str] | None,
    postprocessor: list[str] | None,
    explain: bool,
    why: str | None,
    understand: bool,
) -> int:
    asked = parse_filter(filter_json)
    found: dict[str, Any] = {
        **client.search(
            query,
            collection=collection,
            top_k=limit,
            search_mode=mode.value,
            filter=asked,
            use_reranker=rerank,
            reranker_id=rerankers_in(reranker),
            fusion=None if fusion is None else fusion.value,
            dense_weight=dense_weight,
            rerank_weight=rerank_weight,
            facets=facet or (),
            postprocessors=postprocessors_in(postprocessor),
            explain=explain,
            explain_document=why,
            understand=understand,
        )
    }
    hits = [SearchHit.from_dict(_without(hit)) for hit in found["hits"]]
    did = [{name: value for name, value in one.items() if name != "collection"} for one in found["rerankers"]]
    known = {name: found[name] for name in ("reranked", "timings_ms", "warnings", "facets", "understood")}
    answer: Any = Answer(hits=hits, rerankers=did, absent=_absent(found["absent"]), **known)
    note = None
    if not hits:
        indexed = client.collections.show(collection)["documents"].get("indexed", 0)
        note = nothing_found(call, collection, indexed, filtered=asked is not None)

    def show(console: Any) -> None:
        from semantik_pipeline.cli.hits import show_hits

        show_hits(console, answer, note)

    call.output.give(asdict(answer), show)
    return 0


def _without(hit: dict[str, Any]) -> dict[str, Any]:
    """The hit as the core has it."""
    own = {name: value for name, value in hit.items() if name not in _MORE}
    return {**own, "more": [_without(one) for one in hit["more"]]}


def _absent(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """As the core has it, without a place of their own for details."""
    return told and {**{name: value for name, value in told.items() if name != "details"}, **told["details"]}
