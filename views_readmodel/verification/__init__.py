"""Checks the whole ledger against its events: what the store's checks know, and what only a bank knows.

`checks` lists them all; `manage.py verify_ledger` runs them. Nobody else imports this package.
"""
