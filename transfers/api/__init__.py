"""The write API of transfers: reads a request, calls one service, answers. `config.api` routes here."""
