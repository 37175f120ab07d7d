"""Operators' commands of the event store."""
