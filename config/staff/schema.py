"""How the OpenAPI schema describes signing in. Imported once, when Django starts."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A token, or an API key."""

    target_class = "config.staff.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of `POST auth/login`, or an API key made with `manage.py create_api_key`.",
        }
