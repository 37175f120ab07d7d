"""How Daybook logs: one line per event with its context, for people (`console`) or machines (`json`).

Invariant: logs of structlog and of the standard library leave through one formatter, so that every line has the
request's context. Imported by settings alone.
"""

import logging
from typing import Any

import structlog

LOG_FORMATS = ("console", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
QUIET_PATHS = ("GET /health/", "GET /static/")


class FirstLineOnly(logging.Filter):
    """Keeps a message's first line and no traceback: while its broker is away, beat would write a page a second."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record; it is always passed on."""
        record.msg, record.args = record.getMessage().partition("\n")[0], ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def logging_settings(*, format_name: str, level: str) -> dict[str, Any]:
    """Configure structlog and return Django's LOGGING. `format_name` is one of LOG_FORMATS, `level` of LOG_LEVELS."""
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
            _drop_noise,
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
        "filters": {"brief": {"()": FirstLineOnly}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "daybook"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Requests are logged once, with their context, by django-structlog.
            "django.request": {"level": "ERROR"},
            "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "celery.beat": {"level": "WARNING", "filters": ["brief"]},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }


def _renderers(format_name: str) -> list[Any]:
    if format_name == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # Plain tracebacks: the rich ones print local variables, and with them secrets and names of customers.
    return [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]


def _drop_noise(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave out what would hide the rest: that a request began, and that a probe or a file was served."""
    finished = event.get("event") == "request_finished" and event.get("code", 500) < 400
    if event.get("event") == "request_started" or (finished and event.get("request", "").startswith(QUIET_PATHS)):
        raise structlog.DropEvent
    return event
