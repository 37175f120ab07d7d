"""Settings of the shop: the event store, one database under another alias, and nothing else.

Where that database is stands in libpq's own environment variables (`PGHOST`, `PGUSER` …).
"""

import os

SECRET_KEY = "only-for-tests"
USE_TZ = True
INSTALLED_APPS = ["eventstore"]
DATABASES = {
    "default": {},  # nothing of the event store may go there
    "carts": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ.get("PGDATABASE", "")},
}
EVENTSTORE = {"SEALING_KEYS": (os.environ.get("SHOP_SEALING_KEY", ""),)}  # and no WAKE: nobody is woken
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
