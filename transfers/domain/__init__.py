"""The rules of a money transfer: pure decisions, no framework, no clock, no database."""
