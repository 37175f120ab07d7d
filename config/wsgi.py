"""The WSGI entry point: what the web server runs."""

import os

from config.celery import warm_publishing
from config.handler import wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = wsgi_application()
warm_publishing()
