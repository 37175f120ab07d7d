"""An event store on Postgres: append, publish and subscribe, exactly once within one database.

Knows nothing of banks. Pure modules (`events`, `registry`, `aggregates`, `metadata`, `ids`, `buckets`) import no
framework; the rest is Django. Start reading at `store.py`.
"""
