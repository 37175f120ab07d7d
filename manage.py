#!/usr/bin/env python
"""Daybook's command line: every operation of the bank is `python manage.py COMMAND --help`.

Invariant: a failure that has one known cause is told in one line, with what to do about it.
"""

import os
import sys


def main() -> None:
    """Run one Django management command.

    Raises SystemExit with one line when an argument is no text, or the embedded servers that the command needs are
    not running.
    """
    if sys.version_info < (3, 11):  # noqa: UP036  (an older interpreter can read this file, and must be told)
        sys.exit("Daybook needs Python 3.11 or newer; this is Python %d.%d." % sys.version_info[:2])  # noqa: UP031
    if any("\udc80" <= character <= "\udcff" for argument in sys.argv for character in argument):
        sys.exit("An argument is not text in UTF-8.")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    if sys.argv[1:2] == ["dispatch"]:  # which serves others, as the web and the workers do
        from config.statement_limits import limit_statements

        limit_statements()
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Daybook cannot start: {error}")
    except OperationalError as error:
        from django.conf import settings

        if settings.DAYBOOK_EMBEDDED_POSTGRES and not settings.DAYBOOK_HOME.postgres_answers():
            line = "The embedded database is not running. Start it with `make run`, then repeat this command."
        elif getattr(error.__cause__, "sqlstate", None) is None:  # the server itself said nothing
            line = f"The database does not answer: {str(error).strip().splitlines()[0]}"
        else:
            raise
        sys.stderr.write(f"{line}\n")
        sys.exit(getattr(error, "returncode", 1))  # a command may say by its exit code that it could not tell


if __name__ == "__main__":
    main()
