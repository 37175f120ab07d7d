"""Live updates: tells open pages which streams have changed, as soon as the read models show it.

Only types, ids and versions are told; a page asks again for what it shows, and is authorised as always. Runs beside
Django in the ASGI server (`config.asgi`): no thread and no query per listener.
"""
