"""Daybook's own Postgres and Redis servers, for a machine that has none."""
