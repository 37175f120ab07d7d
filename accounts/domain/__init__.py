"""The rules of accounts and customers: pure decisions, no framework, no clock, no database."""
