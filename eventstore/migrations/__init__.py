"""Django migrations of the event store; their SQL stands in `sql/` and is frozen once released."""
