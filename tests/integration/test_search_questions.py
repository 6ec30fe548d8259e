"""What a search asks the ledger, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, event, literal_column, select, text

from semantik_pipeline import vocabulary
from semantik_pipeline.errors import NotFound, PipelineError
from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.questions import Question
from semantik_pipeline.ledger.tables import collections
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.search import SearchQuery, search

LEDGERS = ("sqlite", "postgres")
TEXTS = {"lease": "The lease expires in spring.", "engine": "The engine burns kerosene."}

CONFIGURED = Question(
    select(collections.c.name, collections.c.config).where(
        among(collections.c.name, "names"),
        collections.c.trashed_at.is_(None),
        collections.c.id != bindparam("but"),
        literal_column("1") == 1,
    )
)


@pytest.fixture
def indexed(make_pipeline) -> Ledger:
    pipeline = make_pipeline()
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}))
    return pipeline.runtime.ledger


def test_a_search_asks_three_questions_and_runs_no_other_statement(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}))
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)
    runtime, others, asked = pipeline.runtime, [], []
    query = SearchQuery(text="lease expires", rerank=False)
    assert search(runtime, query).hits
    event.listen(runtime.ledger.engine, "before_cursor_execute", lambda *given: others.append(given[2]))
    ask = Question.asked
    monkeypatch.setattr(Question, "asked", lambda one, *by, **named: [asked.append(one), ask(one, *by, **named)][1])
    assert search(runtime, query).hits
    assert len(asked) == 3
    assert not others


def test_a_question_is_answered_as_its_statement_is(indexed: Ledger) -> None:
    names = {"names": ["default", 'no"body', "élan"], "but": -1}
    with indexed.read() as tx:
        usually = [tuple(row) for row in tx.execute(CONFIGURED._statement, names)]
    assert usually[0][0] == "default"
    assert isinstance(usually[0][1], dict)
    assert CONFIGURED.asked(indexed.engine, **names) == usually
    assert CONFIGURED.asked(indexed.engine, names=[], but=-1) == []
    with indexed.write() as tx:  # connections go back as they came
        tx.execute(collections.update().values(trashed_at=1.0))
        tx.rollback()
    assert CONFIGURED.asked(indexed.engine, **names) == usually


def test_a_question_that_fails_is_told_as_any_statement_is(indexed: Ledger) -> None:
    with pytest.raises(PipelineError, match=r"refused a statement|does not answer"):
        Question(select(text("nothing_of_that_name"))).asked(indexed.engine)
    assert indexed.search_view("default").collection == "default"


def test_a_connection_that_was_cut_keeps_nobody_from_an_answer(indexed: Ledger) -> None:
    indexed.search_view("default")
    connection = indexed.engine.raw_connection()
    driver = connection.driver_connection
    connection.close()
    driver.close()  # in the pool, as by a server that ended this session
    assert indexed.search_view("default").collection == "default"


def test_a_collection_that_is_not_there_is_told_by_name(make_pipeline) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        make_pipeline().runtime.ledger.search_view("nowhere")
