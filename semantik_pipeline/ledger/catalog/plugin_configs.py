"""The ledger's copy of the plugin state file, with timestamps and health. The file is authoritative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, or_, select, update

from semantik_pipeline.ledger.database.connection import Transaction, insert_for, now
from semantik_pipeline.ledger.tables import plugin_configs


@dataclass(frozen=True, kw_only=True)
class PluginRow:
    """The state of an installed plugin according to the state file. ``config`` is redacted."""

    id: str
    type: str
    enabled: bool
    config: dict[str, Any] = field(default_factory=dict)


def mirror(tx: Transaction, found: Sequence[PluginRow]) -> None:
    """Make the table equal to ``found``: update or add these plugins, delete all others. Health columns are kept."""
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
    """Store the result of a health check: plugin id -> (status, reason). Plugins without a row are ignored."""
    for plugin_id, (status, reason) in sorted(health.items()):
        values = {"last_health_check": now(), "health_status": status, "error_message": reason}
        tx.execute(update(plugin_configs).where(plugin_configs.c.id == plugin_id).values(**values))


def read_all(tx: Transaction) -> dict[str, dict[str, Any]]:
    """Return plugin id -> its row."""
    return {row["id"]: dict(row) for row in tx.execute(select(plugin_configs)).mappings()}
