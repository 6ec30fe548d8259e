"""Collections, their generations, plugin configurations, evaluations."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, Integer, LargeBinary, Table, Text

from semantik_pipeline.ledger.tables.columns import Id, Json, metadata, reference

collections = Table(
    "collections",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("config", Json, nullable=False),
    Column("active_generation", Id),  # decides what search reads: its index and its model together
    Column("created_at", Double, nullable=False),
    Column("trashed_at", Double),  # when it was deleted: hidden since then, purged when the trash window is over
    Column("importing_at", Double),  # when an import last showed that it is alive; hidden until the import ends
)

generations = Table(
    "generations",
    metadata,
    Column("id", Id, primary_key=True),
    reference("collections.id", index=True),
    Column("state", Text, nullable=False),  # building | active | kept (for a rollback) | retired (being removed)
    Column("config", Json, nullable=False),  # frozen: the options that shape output
    Column("fingerprints", Json, nullable=False),  # stage -> fingerprint
    Column("index_name", Text, nullable=False, unique=True),
    Column("dimension", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("operation_id", Id),  # the reindex that builds, or built, this generation
    Column("wanted", Json),  # the collection's configuration from which `config` was frozen
    Column("plugins", Json),  # plugin -> its version when the configuration was frozen
    Column("build", Json),  # progress of the build, and the result of its verification
    Column("activated_at", Double),
    Column("retire_at", Double),  # when a kept generation is retired
)

plugin_configs = Table(
    "plugin_configs",
    metadata,
    Column("id", Text, primary_key=True),  # the rows mirror the shared state file; the file is authoritative
    Column("type", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("config", Json, nullable=False),
    Column("last_health_check", Double),
    Column("health_status", Text, nullable=False),  # healthy | unhealthy | unknown
    Column("error_message", Text),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run", Text, nullable=False),  # the same for all ways of searching that one evaluation compared
    Column("at", Double, nullable=False, index=True),
    Column("kind", Text, nullable=False),  # judged | known-items
    Column("subject", Text, nullable=False),  # name of the dataset or the collection
    Column("fingerprint", Text, nullable=False),  # of the queries and their judgements
    Column("collection", Text, nullable=False),
    # what was measured: configuration of the generation and of the search, and the release
    Column("configuration", Json, nullable=False),
    Column("way", Text, nullable=False),  # name of the way of searching
    Column("is_default", Boolean, nullable=False),  # the way of a search that set no options
    Column("measures", Json, nullable=False),
    Column("queries", Integer, nullable=False),
    # query id -> score in the measure that decides: JSON, deflated
    Column("scores", LargeBinary, nullable=False),
)
