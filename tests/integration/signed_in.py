"""Somebody of the demo data, signed in to a running Daybook by its page."""

from __future__ import annotations

import re

import httpx

from config.demo import PASSWORD


def signed_in(address: str, name: str = "teller") -> httpx.Client:
    """A browser, as it were, in which that person has signed in."""
    client = httpx.Client(base_url=address)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/log-in").text)
    assert token
    fields = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    assert client.post("/log-in", data=fields).status_code == 303
    return client
