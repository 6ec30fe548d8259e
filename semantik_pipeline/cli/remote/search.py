"""``semantik search`` on a server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.questions import asking, question
from semantik_pipeline.cli.search import nothing_found
from semantik_pipeline.documents import SearchHit

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The server's answer, with the field names of the core's answer."""

    hits: list[SearchHit]
    reranked: bool
    rerankers: list[dict[str, Any]]
    timings_ms: dict[str, float]
    warnings: list[str]
    facets: dict[str, list[dict[str, Any]]]
    document_explanation: dict[str, Any] | None
    interpretation: dict[str, Any] | None


#: Fields of a hit that only the API has.
_MORE = ("collection", "rerank_score")


@asking
def search(call: Invocation, client: Client, **given: Any) -> int:
    asked = question(**given)
    found: dict[str, Any] = {**client.search(**asked.to_body())}
    answer: Any = _answer(found)
    note = None
    if not answer.hits:
        indexed = client.collections.show(asked.collection)["documents"].get("indexed", 0)
        note = nothing_found(call, asked, indexed, lambda probe: bool(client.search(**probe.to_body())["hits"]))

    def show(console: Any) -> None:
        from semantik_pipeline.cli.hits import show_hits

        show_hits(console, answer, note)

    call.output.give(asdict(answer), show)
    return 0


def _answer(found: dict[str, Any]) -> Answer:
    hits = [SearchHit.from_dict(_without(hit)) for hit in found["hits"]]
    did = [{name: value for name, value in one.items() if name != "collection"} for one in found["rerankers"]]
    known = {name: found[name] for name in ("reranked", "timings_ms", "warnings", "facets", "interpretation")}
    return Answer(hits=hits, rerankers=did, document_explanation=_flattened(found["document_explanation"]), **known)


def _without(hit: dict[str, Any]) -> dict[str, Any]:
    """Convert a hit of the API to the core's form."""
    own = {name: value for name, value in hit.items() if name not in _MORE}
    return {**own, "grouped_hits": [_without(one) for one in hit["grouped_hits"]]}


def _flattened(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Convert an explanation to the core's form: move the fields of ``details`` to the top level."""
    return told and {**{name: value for name, value in told.items() if name != "details"}, **told["details"]}
