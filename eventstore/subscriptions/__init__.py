"""Subscriptions: who follows the log, how far each has come, and what it could not handle.

`registry` declares them, `runner` advances one checkpoint by one batch, `parking` keeps what failed.
"""
