"""Index claims without the units that operations hold, and convert unfinished work of the previous release

Workers of the previous release do not know the new names of a build's phases and of pending holds. Drain them before
this migration if a reindex is running, or if an operation was just paused, resumed or cancelled.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

#: Old name of a build's phase -> new name.
PHASES = {"filling": "backfilling", "judging": "verifying"}


def upgrade() -> None:
    op.drop_index(op.f("ix_work_stage_suspect_lane_turn"), "work")
    free = _where("held_by is null")
    op.create_index(op.f("ix_work_claimable"), "work", ["stage", "suspect", "lane", "turn"], **free)
    op.create_index(op.f("ix_work_generation_id_stage"), "work", ["generation_id", "stage"])
    op.drop_index(op.f("ix_work_lease_token"), "work")
    op.create_index(op.f("ix_work_lease_token"), "work", ["lease_token"], **_where("lease_token is not null"))
    _index_reconcile(sqlite="reconcile = 1")
    _rename(PHASES)
    _rename_holds()
    # deletions are now tried until they succeed; before, a deletion that was quarantined left its points in the index
    again = "stage = 'upsert', touched = true, progress = null, suspect = true, attempts = 0, error = null"
    op.execute(f"update work set {again}, reconcile = false where stage = 'quarantined' and goal <> 'indexed'")


def downgrade() -> None:
    _rename({new: old for old, new in PHASES.items()})
    _index_reconcile(sqlite="reconcile")
    op.drop_index(op.f("ix_work_lease_token"), "work")
    op.create_index(op.f("ix_work_lease_token"), "work", ["lease_token"])
    op.drop_index(op.f("ix_work_generation_id_stage"), "work")
    op.drop_index(op.f("ix_work_claimable"), "work")
    op.create_index(op.f("ix_work_stage_suspect_lane_turn"), "work", ["stage", "suspect", "lane", "turn"])


def _where(condition: str) -> dict[str, sa.TextClause]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _index_reconcile(*, sqlite: str) -> None:
    """Recreate the index with this condition. SQLite uses a partial index only if the query repeats its condition."""
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index(op.f("ix_work_reconcile"), "work")
        op.create_index(op.f("ix_work_reconcile"), "work", ["reconcile"], sqlite_where=sa.text(sqlite))


def _rename(names: dict[str, str]) -> None:
    """Rename the phases of unfinished builds."""
    generations = sa.table("generations", sa.column("id"), sa.column("build", Json))
    rows = op.get_bind().execute(sa.select(generations.c.id, generations.c.build)).all()
    for generation_id, build in rows:
        if build is not None and build.get("phase") in names:
            renamed = {**build, "phase": names[build["phase"]]}
            op.execute(sa.update(generations).where(generations.c.id == generation_id).values(build=renamed))


def _rename_holds() -> None:
    """Convert the ``detail`` of unfinished operations: pending holds, and restores that take up parked documents."""
    columns = ("id", "kind", "state", "detail")
    operations = sa.table("operations", *(sa.column(name, Json if name == "detail" else None) for name in columns))
    left = sa.select(operations.c.id, operations.c.kind, operations.c.detail).where(operations.c.state != "finished")
    for operation_id, kind, detail in op.get_bind().execute(left).all():
        if kind == "restore" and detail is not None and "looked_upto" in detail:
            place = {"of": None, "after": detail.pop("looked_upto"), "behind": detail.pop("behind", 0.0)}
            changes = {"detail": {**detail, "taking_up": place}}
            op.execute(sa.update(operations).where(operations.c.id == operation_id).values(changes))
        if detail is not None and (marking := detail.pop("marking", None)):
            marking["documents"] = marking.pop("units")
            changes = {"detail": {**detail, "pending_holds": marking}}
            op.execute(sa.update(operations).where(operations.c.id == operation_id).values(changes))
