"""Operators' commands of the event store, one module each."""
