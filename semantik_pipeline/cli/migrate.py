"""``semantik migrate``: upgrade the ledger's schema to the version that this program needs."""

from __future__ import annotations

import typer

from semantik_pipeline.cli.invocation import begin


def migrate(context: typer.Context) -> int:
    """Upgrade the database schema to this version. Does nothing if it is current."""
    call = begin(context)
    from semantik_pipeline.ledger import Ledger
    from semantik_pipeline.ledger.database import schema

    with call.runtime() as runtime, runtime.own():
        ledger = Ledger(runtime.settings.database_url, check=False)
        try:
            before = schema.current(ledger.engine)
            if before is not None and before > schema.HEAD:
                schema.check(ledger.engine)  # raises: this program is too old for the database
            before = schema.migrate(ledger.engine)
            schema.check(ledger.engine)
        finally:
            ledger.close()
    answer = {"before": before, "schema": schema.HEAD, "migrated": before != schema.HEAD}
    if not answer["migrated"]:
        done = f"The database schema is already current ({schema.HEAD})."
    elif before:
        done = f"Migrated the database schema from {before} to {schema.HEAD}."
    else:
        done = f"Created the database with schema {schema.HEAD}."
    call.output.give(answer, lambda console: console.print(done))
    return 0
