"""What the ledger does for speed, on both databases: bulk rows, units moved together, statistics, idle connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, select, text, update

from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.database import connection, schema, statistics
from semantik_pipeline.ledger.database.bulk import insert_rows, update_rows
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.tables import chunks, embeddings, extractions

LEDGERS = ("sqlite", "postgres")


@pytest.fixture
def opened(ledger: str | None, tmp_path) -> Iterator[Ledger]:
    found = Ledger(ledger or f"sqlite:///{tmp_path / 'ledger.sqlite3'}", check=False)
    schema.migrate(found.engine)
    yield found
    found.close()


ODD = ['"quoted"', "back\\slash", "{brace,comma}", "null", "", "第一", "line\nbreak", "e\u0301", "tab\t"]


def chunk(ordinal: int, odd: str) -> dict:
    return {
        "generation_id": 1,
        "document_id": 1,
        "epoch": 1,
        "ordinal": ordinal,
        "lead": "",
        "text": odd,
        "text_hash": "h",
        "start": 0,
        "end": len(odd),
        "token_count": 1,
        "metadata": {"section": [odd], "page": None, odd: 1.5},
        "point_id": "p",
        "embed_key": "k",
        "signature": "s",
    }


def test_rows_come_back_as_they_were_given(opened: Ledger) -> None:
    rows = [chunk(ordinal, odd) for ordinal, odd in enumerate(ODD)]
    with opened.write() as tx:
        insert_rows(tx, chunks, rows)
        insert_rows(tx, chunks, [])
    with opened.read() as tx:
        found = tx.execute(select(chunks).order_by(chunks.c.ordinal)).mappings().all()
    assert [{name: row[name] for name in rows[0]} for row in found] == rows


def test_each_update_gives_its_own_values_though_statements_are_kept(opened: Ledger) -> None:
    with opened.write() as tx:
        insert_rows(tx, chunks, [chunk(ordinal, "x") for ordinal in range(3)])
        ids = tx.execute(select(chunks.c.id).order_by(chunks.c.ordinal)).scalars().all()
        for round in (1, 2):
            rows = [{"id": id, "text": f"{id} of {round}", "token_count": 10} for id in ids[:2]]
            about = {"start": round, "metadata": {"round": round}, "text": "of none"}
            update_rows(tx, chunks, rows, by=["id"], fixed=about, more=["token_count"])
        found = select(chunks.c.text, chunks.c.start, chunks.c.metadata, chunks.c.token_count).order_by(
            chunks.c.ordinal
        )
        first, second, third = tx.execute(found).all()
    assert first == (f"{ids[0]} of 2", 2, {"round": 2}, 21)
    assert second == (f"{ids[1]} of 2", 2, {"round": 2}, 21)
    assert third == ("x", 0, chunk(2, "x")["metadata"], 1)


def test_an_update_stamps_and_empties(opened: Ledger) -> None:
    with opened.write() as tx:
        content.save_extractions(tx, {("t", "f"): {"other": 1}})
        tx.execute(update(extractions).values(created_at=0))
        update_rows(tx, extractions, [{"text_hash": "t", "fingerprint": "g"}], by=["text_hash"], stamped=["created_at"])
        stamp, clock = tx.execute(select(extractions.c.created_at, connection.now())).one()
        assert abs(clock - stamp) < 60
        assert content.load_extractions(tx, [("t", "g")]) == {("t", "g"): {"other": 1}}


def test_what_is_there_stays_as_it_is(opened: Ledger) -> None:
    first, second = bytes(range(256)), b"\x00\xff" * 8
    with opened.write() as tx:
        content.save_embeddings(tx, {"a": first})
        content.save_embeddings(tx, {"b": second, "a": second})
        content.save_extractions(tx, {("t", "f"): {"entities": {"x": ODD}}})
        content.save_extractions(tx, {("t", "f"): {"other": 1}, ("u", "f"): {}})
    with opened.read() as tx:
        assert content.load_embeddings(tx, ["a", "b", "c"]) == {"a": first, "b": second}
        assert content.load_extractions(tx, [("t", "f")]) == {("t", "f"): {"entities": {"x": ODD}}}
        stamps = tx.execute(select(embeddings.c.created_at).union_all(select(extractions.c.created_at))).scalars().all()
        clock = tx.execute(select(connection.now())).scalar_one()
    assert len(stamps) == 4
    assert all(abs(clock - stamp) < 60 for stamp in stamps)


def looked_at(ledger: Ledger, table: str) -> bool:
    """Whether the planner has statistics of the table."""
    with ledger.read() as tx:
        if tx.dialect.name == "sqlite":
            there = tx.execute(text("select count(*) from sqlite_master where name = 'sqlite_stat1'")).scalar_one()
            known = f"select count(*) from sqlite_stat1 where tbl = '{table}'" if there else "select 0"
        else:
            known = f"select reltuples from pg_class where relname = '{table}'"
        return tx.execute(text(known)).scalar_one() >= 1


def test_statistics_are_gathered_once_for_each_doubling(opened: Ledger) -> None:
    growth = next(one for one in statistics.GROWTHS if one.counted is chunks)
    with opened.write() as tx:
        if tx.dialect.name == "postgresql":  # its database is used again, and keeps what is known of emptied tables
            tx.execute(text("truncate table chunks"))
        insert_rows(tx, chunks, [chunk(ordinal, "x") for ordinal in range(growth.first - 1)])
    assert (statistics.Statistics().refresh(opened), looked_at(opened, "chunks")) == ([], False)
    with opened.write() as tx:
        insert_rows(tx, chunks, [chunk(ordinal, "x") for ordinal in range(growth.first, 2 * growth.first)])
    one, other = statistics.Statistics(), statistics.Statistics()
    assert one.refresh(opened) == list(growth.tables)
    assert looked_at(opened, "chunks")
    assert (one.refresh(opened), other.refresh(opened)) == ([], []), "neither it nor another process does it again"
    with opened.write() as tx:
        insert_rows(tx, chunks, [chunk(ordinal, "x") for ordinal in range(2 * growth.first, 4 * growth.first)])
    assert one.refresh(opened) == list(growth.tables)


def test_who_dies_before_its_first_look_has_taken_no_doubling(opened: Ledger, monkeypatch) -> None:
    growth = next(one for one in statistics.GROWTHS if one.counted is chunks)
    with opened.write() as tx:
        insert_rows(tx, chunks, [chunk(ordinal, "x") for ordinal in range(growth.first)])

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(statistics, "_look_at", die)
        statistics.Statistics().refresh(opened)
    assert statistics.Statistics().refresh(opened) == list(growth.tables)


def test_a_connection_that_died_while_it_rested_is_replaced(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REST", 0.0)
    ledger = Ledger(postgres_url, check=False)
    with ledger.read() as tx:
        tx.execute(text("select 1"))
    admin = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as tx:
        others = (
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = :name and pid <> pg_backend_pid()"
        )
        assert tx.execute(text(others), {"name": make_url(postgres_url).database}).all()
    with ledger.write() as tx:
        assert tx.execute(text("select 1")).scalar_one() == 1
    admin.dispose()
    ledger.close()
