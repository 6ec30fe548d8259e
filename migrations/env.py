"""Alembic's entry point: runs the migrations on the connection that ``ledger/database/schema.py`` provides."""

from alembic import context

from semantik_pipeline.ledger.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
