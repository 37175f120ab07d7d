"""Seals: a chain of hashes over the log, by which rewritten history is found whoever rewrote it.

`hashing` says what a seal is made of, `sealer` makes them, `heads` exports the last one and compares a later log with
it. What a seal proves is checked by `eventstore.verification.seals`.
"""
