"""The read API: what the read models hold, as documents. `config.api` routes here."""
