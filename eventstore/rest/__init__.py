"""The edge: what every REST API over the event store needs, whatever it is about. Knows no bank words.

Errors as problem+json, correlation, idempotency keys, freshness, entity tags, cursors, strict JSON, permissions and
the OpenAPI schema of it all. An `api` module of a context imports these; the core never does.
"""
