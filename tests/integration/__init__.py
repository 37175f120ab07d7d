"""Tests on a real Postgres and Redis, and on real processes."""
