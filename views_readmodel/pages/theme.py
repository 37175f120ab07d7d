"""Light or dark: the browser's own cookie, so that the first paint is right without a script. It says nothing else."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest

THEMES: Final = ("light", "dark")
THEME_COOKIE: Final = "theme"


def theme_of(request: HttpRequest) -> str:
    """The theme that was chosen here; "" for the system's, and for what is none."""
    chosen: str = request.COOKIES.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""
