"""The database itself: connections and transactions, the schema's version, bulk statements, statistics, room, and when
what is done once in a while was done last."""
