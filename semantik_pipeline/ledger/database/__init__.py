"""The database: connections and transactions, schema version, bulk statements, statistics, sizes, periodic tasks."""
