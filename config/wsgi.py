"""The WSGI entry point: what the web server runs."""

import os

from config.celery import warm_publishing
from config.handler import wsgi_application
from config.statement_limits import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = wsgi_application()
limit_statements()
warm_publishing()
