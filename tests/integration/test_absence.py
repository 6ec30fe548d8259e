"""Why a document is not among the hits: each cause, made to happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from semantik_pipeline import operations, push
from semantik_pipeline.ledger.documents import document_reports
from semantik_pipeline.ledger.tables import documents
from semantik_pipeline.ledger.tables import work as work_table
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchQuery, search
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

LEDGERS = ("sqlite", "postgres")


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    poison = {"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}}
    made = make_pipeline(plugins=poison, retention={"trash_days": 7})
    made.runtime.collection("default", FAKE_COLLECTION)
    return made


def give(pipeline: Pipeline, *given: Given, run: bool = True) -> None:
    push.push(pipeline.runtime, given, collection="default")
    if run:
        pipeline.run()


def text(name: str, content: str, **about: Any) -> Given:
    return Given(unique_id=name, content=content, **about)


def absent(pipeline: Pipeline, name: str, query: str = "lease", **options: Any) -> dict[str, Any]:
    asked = SearchQuery(text=query, explain_document=name, **{"rerank": False, "limit": 3, **options})
    answer = search(pipeline.runtime, asked)
    assert "explain" in answer.timings_ms
    assert answer.document_explanation is not None
    return answer.document_explanation


def cause(pipeline: Pipeline, name: str, query: str = "lease", **options: Any) -> str:
    return absent(pipeline, name, query, **options)["cause"]


def ids(pipeline: Pipeline, *names: str) -> list[dict[str, Any]]:
    with pipeline.runtime.ledger.read() as tx:
        return document_reports.find_documents(tx, list(names))


def test_another_sources_document_of_the_same_id_is_another_one(pipeline: Pipeline) -> None:
    for name, content in (("one", "about barns"), ("two", "a lease")):
        given = {"documents": {"same": content}}
        pipeline.index(SourceRequest(connector="fake-connector", name=name, config=given))
    assert cause(pipeline, "same", "lease", mode="sparse") == "legs"
    assert cause(pipeline, "same", "barns", mode="sparse") == "shown"


def test_what_the_ledger_knows(pipeline: Pipeline) -> None:
    assert cause(pipeline, "a") == "not-found"
    give(pipeline, text("a", "a lease"), text("gone", "a lease too"), text("purged", "a lease"), text("void", "  "))
    found = absent(pipeline, "a")
    assert found["cause"] == "shown" and f"number {found['ranks'][0]}" in found["message"]
    operations.begin_drop(pipeline.runtime, ids(pipeline, "gone"))
    assert cause(pipeline, "gone") == "trashed", "from the moment on, whatever the store still has"
    operations.begin_drop(pipeline.runtime, ids(pipeline, "purged"), purge=True)
    pipeline.run()
    assert "restore" in absent(pipeline, "gone")["message"]
    assert cause(pipeline, "purged") == "deleted"
    assert cause(pipeline, "void") == "skipped"
    assert cause(pipeline, "nowhere") == "not-found"


def test_what_fails_and_what_is_on_its_way(pipeline: Pipeline) -> None:
    give(pipeline, text("bad", "POISON lease"), text("good", "lease one"))
    told = absent(pipeline, "bad")
    assert (told["cause"], told["error"]["stage"]) == ("quarantined", "embed")
    assert "POISON" in told["message"] or told["error"]["message"] in told["message"]
    give(pipeline, text("new", "lease two"), run=False)
    told = absent(pipeline, "new")
    assert (told["cause"], told["stage"]) == ("in-progress", "chunk")
    give(pipeline, text("good", "POISON now"))
    told = absent(pipeline, "good", filter={"must": [{"key": "page", "match": {"value": 7}}]})
    assert told["cause"] == "filter"
    assert "its revision 2 is in quarantine" in told["message"], "what was indexed before is still searched"


def test_whom_it_is_not_open_to_is_told_what_is_told_of_none(pipeline: Pipeline) -> None:
    give(pipeline, text("hers", "a lease", principals=["anna"]), text("all", "a lease"))
    assert cause(pipeline, "hers", principals=["anna"]) == "shown"
    for asker in (["ben"], []):
        closed = absent(pipeline, "hers", principals=asker)
        none = absent(pipeline, "nobodys", principals=asker)
        assert {name: str(value).replace("nobodys", "hers") for name, value in none.items()} == closed
    give(pipeline, text("hers", "a lease", principals=["anna", "ben"]), run=False)
    told = absent(pipeline, "hers", principals=["ben"])
    assert (told["cause"], "have not been updated yet" in told["message"]) == ("in-progress", True)
    assert "anna" not in str(told)
    pipeline.run()
    assert cause(pipeline, "hers", principals=["ben"]) == "shown"


def test_which_condition_it_does_not_meet(pipeline: Pipeline) -> None:
    about = {"team": "it", "year": 2020}
    give(pipeline, text("a", "lease one", metadata=about), text("b", "lease two", metadata={**about, "team": "hr"}))
    team = {"key": "metadata.team", "match": {"value": "hr"}}
    year = {"key": "metadata.year", "range": {"gte": 2020}}
    for filter in ({"must": [year, team]}, {"must": [{"must": team}, year]}, {"should": [team], "must": year}):
        told = absent(pipeline, "a", filter=filter, principals=[])
        assert told["cause"] == "filter"
        assert told["conditions"] in ([team], [{"should": [team]}])
        assert "principals" not in str(told)
    told = absent(pipeline, "a", filter={"must_not": [{"key": "metadata.team", "match": {"value": "it"}}]})
    assert told["conditions"] == [{"must_not": [{"key": "metadata.team", "match": {"value": "it"}}]}]


def test_conditions_that_no_chunk_meets_at_once(pipeline: Pipeline) -> None:
    give(pipeline, text("a", "\n\n".join(f"lease paragraph {number} " + "word " * 35 for number in range(3))))
    first, last = ({"key": "ordinal", "match": {"value": value}} for value in (0, 2))
    told = absent(pipeline, "a", filter={"must": [first, last]})
    assert (told["cause"], told["conditions"]) == ("filter", [])


def test_what_the_store_has_lost(pipeline: Pipeline) -> None:
    give(pipeline, text("a", "a lease"), text("b", "a lease"))
    runtime = pipeline.runtime
    index = runtime.index(runtime.generation(1))
    runtime.host.call(runtime.store.delete, index, filter={"must": [{"key": "document", "match": {"value": "a"}}]})
    assert cause(pipeline, "a") == "lost"
    assert cause(pipeline, "b") == "shown"
    runtime.drop_index(index)
    assert cause(pipeline, "b") == "lost"


def test_it_is_found_by_the_end_of_its_path(pipeline: Pipeline) -> None:
    give(pipeline, text("file:///srv/papers/lease.md", "a lease"), text("file:///srv/other/lease.md", "a river"))
    assert absent(pipeline, "papers/lease.md")["document"] == "file:///srv/papers/lease.md"
    assert cause(pipeline, "apers/lease.md") == "not-found"


def test_an_index_that_has_nothing_of_it_yet(pipeline: Pipeline) -> None:
    """A generation that is being built, looked at before it is filled."""
    give(pipeline, text("a", "a lease"))
    with pipeline.runtime.ledger.write() as tx:
        (document_id,) = tx.execute(select(documents.c.id)).scalars()
        tx.execute(work_table.delete().where(work_table.c.document_id == document_id))
    told = absent(pipeline, "a")
    assert (told["cause"], told["stage"]) == ("in-progress", None)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(documents).values(deleted_at=1.0))
    assert cause(pipeline, "a") == "deleted"
