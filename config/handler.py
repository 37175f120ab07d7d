"""Django's WSGI application, with requests that are read as UTF-8 whatever charset they name.

Invariant: no header can break a request before the middleware has it. Django decodes the query while it makes the
request, by the charset that the client names: some that it can look up decode no text, others it cannot even spell, and
some parameters it cannot take apart. `config.plain_text` refuses them all, and so nothing here has to know them.
Imported by `config.wsgi` and `config.asgi`.
"""

from __future__ import annotations

from typing import Any, Final

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters

from config.heads import has_extended_parameter

UNREADABLE: Final = {"charset": "unreadable"}
"""What stands for the parameters of a content type that is not taken apart: no charset that anybody lets through."""


class PlainTextRequest(WSGIRequest):
    """A request that keeps the charset it names for whoever asks, and is never decoded by it."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        named = meta.get("CONTENT_TYPE", "")
        if has_extended_parameter(named):
            self.content_type, self.content_params = "", dict(UNREADABLE)
        else:
            self.content_type, self.content_params = parse_header_parameters(named)


class PlainTextHandler(WSGIHandler):
    """Django's, with such requests."""

    request_class = PlainTextRequest


def wsgi_application() -> WSGIHandler:
    """Sets Django up and makes its application."""
    django.setup(set_prefix=False)
    return PlainTextHandler()
