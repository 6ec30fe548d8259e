"""The ledger's mirror of the plugin state file, for history and health. The file is what counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, or_, select, update

from semantik_pipeline.ledger.database.connection import Transaction, insert_for, now
from semantik_pipeline.ledger.tables import plugin_configs


@dataclass(frozen=True, kw_only=True)
class PluginRow:
    """What the state file says of an installed plugin. ``config`` is redacted."""

    id: str
    type: str
    enabled: bool
    config: dict[str, Any] = field(default_factory=dict)


def mirror(tx: Transaction, found: Sequence[PluginRow]) -> None:
    """Make the rows say what these say, whatever they said; rows of other plugins go, health stays."""
    ids = [row.id for row in found]
    tx.execute(delete(plugin_configs).where(plugin_configs.c.id.not_in(ids)))
    if not found:
        return
    statement = insert_for(tx, plugin_configs).values(
        [
            {
                "id": row.id,
                "type": row.type,
                "enabled": row.enabled,
                "config": row.config,
                "health_status": "unknown",
                "created_at": now(),
                "updated_at": now(),
            }
            for row in sorted(found, key=lambda row: row.id)
        ]
    )
    new = statement.excluded
    changes = {name: new[name] for name in ("type", "enabled", "config")}
    differs = or_(*(plugin_configs.c[name] != new[name] for name in changes))
    tx.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={**changes, "updated_at": now()}, where=differs)
    )


def note_health(tx: Transaction, health: Mapping[str, tuple[str, str | None]]) -> None:
    """Plugin id -> (status, reason), as of now. A plugin without a row is left out."""
    for plugin_id, (status, reason) in sorted(health.items()):
        values = {"last_health_check": now(), "health_status": status, "error_message": reason}
        tx.execute(update(plugin_configs).where(plugin_configs.c.id == plugin_id).values(**values))


def read_all(tx: Transaction) -> dict[str, dict[str, Any]]:
    """Plugin id -> its row."""
    return {row["id"]: dict(row) for row in tx.execute(select(plugin_configs)).mappings()}
