"""``semantik migrate``: bring the ledger's schema to this program's."""

from __future__ import annotations

import typer

from semantik_pipeline.cli.invocation import begin


def migrate(context: typer.Context) -> int:
    """Upgrade the database schema to this version; does nothing if it is current."""
    call = begin(context)
    from semantik_pipeline.ledger import Ledger
    from semantik_pipeline.ledger.database import schema

    with call.runtime() as runtime, runtime.own():
        ledger = Ledger(runtime.settings.database_url, check=False)
        try:
            before = schema.current(ledger.engine)
            if before is not None and before > schema.HEAD:
                schema.check(ledger.engine)  # says that this program is too old
            before = schema.migrate(ledger.engine)
            schema.check(ledger.engine)
        finally:
            ledger.close()
    answer = {"before": before, "schema": schema.HEAD, "migrated": before != schema.HEAD}
    done = f"The ledger has schema {schema.HEAD}" + (
        f", {f'migrated from {before}' if before else 'new'}." if answer["migrated"] else " already."
    )
    call.output.give(answer, lambda console: console.print(done))
    return 0
