"""Changes of many units at once: what :mod:`work` does to one, in one round trip for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, bindparam, update

from semantik_pipeline.ledger.connection import Transaction, now
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.ledger.work import FREED, Unit

_BY_KEY = and_(work.c.document_id == bindparam("d"), work.c.generation_id == bindparam("g"))


def move_all(tx: Transaction, moves: Sequence[tuple[Unit, str, Mapping[str, Any]]]) -> None:
    """Each unit goes on at its stage with its values, as with :func:`work.move`. The value ``embedded_more`` counts up.
    Call under :func:`work.held`."""
    fixed = {**FREED, "attempts": 0, "suspect": False, "error": None}
    _change_all(tx, [(unit, {"stage": stage, **values}) for unit, stage, values in moves], fixed)


def touch_all(tx: Transaction, units: Iterable[Unit]) -> None:
    """The store may hold points of these units from now on. No progress, so attempts stay. Call under
    :func:`work.held`."""
    _change_all(tx, [(unit, {"progress": unit.progress}) for unit in units], {"touched": True})


def _change_all(tx: Transaction, changes: Sequence[tuple[Unit, Mapping[str, Any]]], fixed: Mapping[str, Any]) -> None:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for unit, values in sorted(changes, key=lambda one: one[0].key):
        row = {"d": unit.document_id, "g": unit.generation_id, **{f"{name}_": value for name, value in values.items()}}
        groups.setdefault(tuple(sorted(values)), []).append(row)
    for names, rows in groups.items():
        given: dict[str, Any] = {name: bindparam(f"{name}_") for name in names if name != "embedded_more"}
        if "embedded_more" in names:
            given["embedded"] = work.c.embedded + bindparam("embedded_more_")
        tx.execute(update(work).where(_BY_KEY).values(**fixed, **given, updated_at=now()), rows)
