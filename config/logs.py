"""How Daybook logs: one line per event with its context, for people (`console`) or machines (`json`).

Invariant: logs of structlog and of the standard library leave through one formatter, so that every line has the
request's context. Imported by settings alone.
"""

from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured


def logging_settings(*, format_name: str, level: str) -> dict[str, Any]:
    """Configure structlog and return Django's LOGGING. `format_name` is `console` or `json`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "daybook": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *_renderers(format_name),
                ],
                "foreign_pre_chain": shared,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "daybook"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Requests are logged once, with their context, by django-structlog.
            "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }


def _renderers(format_name: str) -> list[Any]:
    if format_name == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if format_name == "console":
        return [structlog.dev.ConsoleRenderer(colors=False)]
    raise ImproperlyConfigured(f"LOG_FORMAT must be console or json, not {format_name!r}")
