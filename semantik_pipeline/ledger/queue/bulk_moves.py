"""Changes of many units in one round trip; :mod:`work` has the same changes for one unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semantik_pipeline.ledger.database.bulk import update_rows
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.queue.work import FREED, Unit, at
from semantik_pipeline.ledger.tables import work

#: Name of a value that is added to a column -> the column.
_COUNTED = {"embedded_more": "embedded"}


def move_all(tx: Transaction, moves: Sequence[tuple[Unit, str, Mapping[str, Any]]]) -> None:
    """Move each unit to its stage and set its values, as :func:`work.move` does.

    ``moves``: ``(unit, stage, values)``. The value ``embedded_more`` is added to the column ``embedded``. Call under
    :func:`work.held`.
    """
    fixed = {**FREED, "attempts": 0, "suspect": False, "error": None}
    _change_all(tx, [(unit, {**at(stage), **values}) for unit, stage, values in moves], fixed)


def touch_all(tx: Transaction, units: Iterable[Unit]) -> None:
    """Note that the store may hold points of these units from now on, and save their ``progress`` value.

    This is no progress of the work, so attempts stay. Call under :func:`work.held`.
    """
    _change_all(tx, [(unit, {"progress": unit.progress}) for unit in units], {"touched": True})


def _change_all(tx: Transaction, changes: Sequence[tuple[Unit, Mapping[str, Any]]], fixed: Mapping[str, Any]) -> None:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for unit, values in sorted(changes, key=lambda one: one[0].key):
        row: dict[str, Any] = {"document_id": unit.document_id, "generation_id": unit.generation_id}
        row |= {_COUNTED.get(name, name): values[name] for name in sorted(values)}
        groups.setdefault(tuple(row), []).append(row)
    by, counted = ("document_id", "generation_id"), tuple(_COUNTED.values())
    for rows in groups.values():
        update_rows(tx, work, rows, by=by, fixed=fixed, stamped=["updated_at"], more=counted)
