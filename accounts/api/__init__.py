"""The write API of customers and accounts: reads a request, calls one service, answers. `config.api` routes here."""
