"""How Daybook logs: one line per event with its context, for people (`console`) or machines (`json`).

Invariant: logs of structlog and of the standard library leave through one formatter, so that every line has the
request's context; nothing from outside begins a line, or speaks to the terminal. Imported by settings alone.
"""

import logging
import math
import re
import time
from collections.abc import Callable
from io import StringIO
from typing import Any, Final, TextIO

import structlog

LOG_FORMATS = ("console", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_QUOTED_BY_THE_DATABASE = re.compile(r"^(DETAIL|CONTEXT|LINE \d+):.*\n?(^ *\^ *$\n?)?", re.MULTILINE)
_REPEATED_AFTER_SECONDS: Final = 60
_MOST_LINES: Final = 100
QUIET_PATHS = ("GET /health/", "GET /static/")


class Brief(logging.Filter):
    """Keeps a message's first line and no traceback, and each such line once a minute.

    While its broker is away, beat would write a page a second.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._told: dict[str, float] = {}  # by line, when it was last passed on; cleared before it grows

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record, and say whether it is passed on."""
        line, now = record.getMessage().partition("\n")[0], self._now()
        record.msg, record.args = line, ()
        record.exc_info = record.exc_text = record.stack_info = None
        if now < self._told.get(line, -math.inf) + _REPEATED_AFTER_SECONDS:
            return False
        if len(self._told) >= _MOST_LINES:
            self._told.clear()
        self._told[line] = now
        return True


class Refusals(logging.Filter):
    """Makes a warning of one line of what Django refused: anybody can have a request refused as often as they like."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record."""
        if record.name.startswith("django.security."):
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = record.exc_text = record.stack_info = None
        return True


_ADDED_TO_EACH_LINE: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.UnicodeDecoder(),
]


def configure_structlog() -> None:
    """Sends what structlog logs through the standard library; once in a process, before the first line."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _drop_noise,
            *_ADDED_TO_EACH_LINE,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def logging_settings(*, format_name: str, level: str) -> dict[str, Any]:
    """Django's LOGGING. `format_name` is one of LOG_FORMATS, `level` of LOG_LEVELS."""
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
                "foreign_pre_chain": _ADDED_TO_EACH_LINE,
            }
        },
        "filters": {"brief": {"()": Brief}, "refusals": {"()": Refusals}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "daybook", "filters": ["refusals"]},
        },
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
        return [structlog.processors.format_exc_info, _hide_rows, structlog.processors.JSONRenderer()]
    # Plain tracebacks: the rich ones print local variables, and with them secrets and names of customers.
    return [_visible, structlog.dev.ConsoleRenderer(colors=False, exception_formatter=_indented_traceback)]


def _visible(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Shows what has no shape as what it is: a line break, or a word to the terminal, from outside forges no line."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable() and name not in ("exception", "stack"):
            event[name] = _shown(value)
    return event


def _indented_traceback(stream: TextIO, exc_info: Any) -> None:
    """A traceback in which no line, whatever the error says, looks like the beginning of a line of the log."""
    written = StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    stream.write("".join(f"\n  {_shown(line)}" for line in _without_rows(written.getvalue()).split("\n") if line))


def _hide_rows(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if isinstance(event.get("exception"), str):
        event["exception"] = _without_rows(event["exception"])
    return event


def _without_rows(text: str) -> str:
    """A traceback without what the database quotes of statements and rows: a name may be in it."""
    return _QUOTED_BY_THE_DATABASE.sub("", text)


def _shown(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _drop_noise(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave out what would hide the rest: that a request began, and that a probe or a file was served."""
    finished = event.get("event") == "request_finished" and event.get("code", 500) < 400
    if event.get("event") == "request_started" or (finished and event.get("request", "").startswith(QUIET_PATHS)):
        raise structlog.DropEvent
    return event
