"""Text output for score explanations, facet counts, and the reason why a document is not among the hits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.wording import one_line, place, printable

if TYPE_CHECKING:
    from rich.console import Console

#: Maximum number of characters of a value in a facet table.
VALUE = 80


def show_explanation(console: Console, explanation: Mapping[str, Any], score: float) -> None:
    """Print the score as a sum of its parts, then a line for each leg, reranker and postprocessor::

    0.884 = 0.391 dense + 0.240 sparse + 0.253 relevance-feedback
      dense              rank 3    score 0.712, normalised 0.931, weight 0.60
    """
    parts = " + ".join(f"{part['value']:.3f} {printable(part['component'])}" for part in explanation["contributions"])
    console.print(f"    {score:.3f} = {parts}", style="dim", soft_wrap=True)
    lines = [*_legs(explanation), *_rerankers(explanation), *_moves(explanation)]
    names, ranks = (max((len(line[column]) for line in lines), default=0) for column in (0, 1))
    for name, rank, told in lines:
        console.print(f"      {name:<{names}}  {rank:<{ranks}}  {told}".rstrip(), style="dim", soft_wrap=True)


def show_facets(console: Console, facets: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print a table for each field, with the number of documents for each value."""
    for key, values in facets.items():
        console.print(f"{printable(key)}", style="bold", soft_wrap=True)
        width = max((len(f"{one['count']:,}") for one in values), default=0)
        for one in values:
            console.print(f"  {one['count']:>{width},}  {_value(one['value'])}", soft_wrap=True)
        if not values:
            console.print("  no matching document has this field", style="dim")
        console.print()


def show_document_explanation(console: Console, found: Mapping[str, Any]) -> None:
    """Print why the document given by ``--why`` is not among the hits."""
    console.print(f"{place(found['document'])}: {printable(found['message'])}", soft_wrap=True)
    if found.get("explanation"):
        show_explanation(console, found["explanation"], found["score"])
    console.print()


def _legs(explanation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, leg in explanation["legs"].items():
        if leg["rank"] is None:
            yield name, "", f"not found, weight {leg['weight']:.2f}"
        else:
            told = f"score {leg['score']:.3f}, normalised {leg['normalised']:.3f}, weight {leg['weight']:.2f}"
            yield name, f"rank {leg['rank']}", told
    fused = explanation["fused"]
    yield f"fused ({fused['method']})", f"rank {fused['rank']}", f"score {fused['score']:.3f}"


def _rerankers(explanation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for one in explanation["rerankers"]:
        score = (
            "not scored" if one["score"] is None else f"score {one['score']:.3f}, normalised {one['normalised']:.3f}"
        )
        yield one["plugin"], f"rank {one['rank']}", f"{score}, weight {one['weight']:.2f}, blended {one['blended']:.3f}"


def _moves(explanation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for one in explanation["postprocessors"]:
        before = "added by it" if one["rank_before"] is None else f"before: rank {one['rank_before']}"
        yield one["plugin"], f"rank {one['rank_after']}", before


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return one_line(value, VALUE) if isinstance(value, str) else str(value)
