"""The transfers context's few things in the database: its permissions."""
