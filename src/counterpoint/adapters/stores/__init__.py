"""Where facts are kept: memory, SQLite, PostgreSQL; all pass `testing.contracts.store`."""
