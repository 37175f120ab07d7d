"""The accounts context's few things in the database: permissions, and the sequence of account numbers."""
