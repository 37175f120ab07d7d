"""All settings, driven by the environment; `.env.example` lists the variables.

Invariant: it fails loudly. A value that cannot be guessed safely stops the start with a line that names the variable
and the fix. Importing this module starts and creates nothing. Imported by Django alone: code asks `django.conf`.
"""

import logging
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from kombu.entity import Queue

from config.embedded import home as embedded
from config.embedded.credentials import CredentialsUnreadable, new_sealing_key, read_credentials
from config.environment import HIGHEST_PORT, Environment
from config.logs import LOG_FORMATS, LOG_LEVELS, configure_structlog, logging_settings

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()
env.read_env(str(BASE_DIR / ".env"))

# --- What this process is part of ---------------------------------------------------------------------------

DEBUG = env.flag("DEBUG", default=False)
PORT = env.whole("PORT", default=8000, most=HIGHEST_PORT)
# Where people reach Daybook. An https address turns on everything that assumes TLS in front.
PUBLIC_URL = env.origin("PUBLIC_URL", default=f"http://127.0.0.1:{PORT}")
HTTPS = urlsplit(PUBLIC_URL).scheme == "https"
# The bank's own time zone: what "today" means, and what is printed. Inside, all times are UTC.
BANK_TIME_ZONE = env.zone("BANK_TIME_ZONE", default="Europe/Berlin")

# How many processes `manage.py up` runs.
WEB_PROCESSES = env.whole("WEB_PROCESSES", default=1)
WEB_THREADS = env.whole("WEB_THREADS", default=16)  # per process, each with a database connection of its own
WORKER_PROCESSES = env.whole("WORKER_PROCESSES", default=2)
WORKER_QUEUES = ("eventstore",)

DAYBOOK_DATA_DIR = env.folder("DAYBOOK_DATA_DIR", default=BASE_DIR / ".daybook")
DAYBOOK_HOME = embedded.find_home(data_dir=DAYBOOK_DATA_DIR)
_own_database_url = env.postgres_url("DATABASE_URL")
_own_redis_url = env.redis_url("REDIS_URL")
DAYBOOK_EMBEDDED_POSTGRES = not _own_database_url
DAYBOOK_EMBEDDED_REDIS = not _own_redis_url
try:
    _credentials = read_credentials(path=DAYBOOK_HOME.credentials_file)
except CredentialsUnreadable as error:
    if DAYBOOK_EMBEDDED_POSTGRES or DAYBOOK_EMBEDDED_REDIS:
        raise ImproperlyConfigured(str(error)) from error
    _credentials = None

# --- Secrets and hosts --------------------------------------------------------------------------------------

SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY and DAYBOOK_EMBEDDED_POSTGRES and _credentials:
    SECRET_KEY = _credentials.secret_key
elif not SECRET_KEY and DAYBOOK_EMBEDDED_POSTGRES:
    # Nothing was ever started here: no signature has to outlive this process.
    SECRET_KEY = secrets.token_urlsafe(64)
elif not SECRET_KEY and DEBUG:
    SECRET_KEY = "only-for-development"  # noqa: S105 - every process of a developer's must have the same
elif not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. With DATABASE_URL set, give SECRET_KEY a long random value, for example the output of"
        " `python -c 'import secrets; print(secrets.token_urlsafe(64))'`, and keep it"
    )

_loopback_hosts = ["127.0.0.1", "localhost", "[::1]"]
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", default=[urlsplit(PUBLIC_URL).hostname or "", *_loopback_hosts])
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS", default=[PUBLIC_URL])
# How many proxies of ours stand in front, each of which appends to X-Forwarded-For. With none the header is the
# client's own invention, and not read.
PROXIES = env.whole("PROXIES", default=0, least=0)

# --- Applications -------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "config.staff",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "config.staff.admin_app.DaybookAdminConfig",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "django_filters",
    "csp",
    "axes",
    "django_structlog",
    "django_htmx",
    "eventstore",
    "accounts",
    "transfers",
    "views_readmodel",
    "views_readmodel.drafts",
    "config",
]

MIDDLEWARE = [
    "eventstore.rest.correlation.correlation_middleware",  # first: every answer carries the id
    # The headers come before all that may answer: files and redirects have them too.
    "config.headers.headers_middleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "config.headers.own_host_middleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.request_log.RequestLogMiddleware",
    "config.plain_text.plain_text_middleware",  # before anything reads a query or a form
    "django.contrib.sessions.middleware.SessionMiddleware",
    "config.staff.limits.page_limit_middleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "config.staff.idle.idle_middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "views_readmodel.pages.shell.zone_middleware",
    "config.staff.passwords.given_password_middleware",  # it looks for htmx's own mark
    "axes.middleware.AxesMiddleware",  # last: what it puts in an answer's place goes through all the others
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "views_readmodel.pages.shell.shell",
            ],
            "builtins": ["views_readmodel.pages.tags"],
        },
    }
]

# --- The database: the app role runs, the owner role migrates -----------------------------------------------


# A server that is gone, or that nothing reaches any more, is given up within half a minute, not after the system's
# quarter of an hour. An address may say otherwise (…/daybook?keepalives_idle=60).
NETWORK_PATIENCE = {
    "connect_timeout": 5,  # seconds
    "keepalives_idle": 10,  # seconds of silence before the first probe
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds that what was sent may go unacknowledged
}


def _database(url: str) -> dict[str, Any]:
    """A DATABASES entry from an address; a socket folder (`?host=/folder`) stands where Django looks for it."""
    entry = dict(env.db_url_config(url))
    options = entry["OPTIONS"] = {**NETWORK_PATIENCE, **entry.get("OPTIONS", {})}
    entry["HOST"] = options.pop("host", "") or entry["HOST"]
    return entry | {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}


_app_url = _own_database_url or DAYBOOK_HOME.database_url(
    user=embedded.APP_ROLE, password=_credentials.app_password if _credentials else "none-yet"
)
if DAYBOOK_EMBEDDED_POSTGRES:
    _owner_url = DAYBOOK_HOME.database_url(
        user=embedded.OWNER_ROLE, password=_credentials.owner_password if _credentials else "none-yet"
    )
else:
    _owner_url = env.postgres_url("DATABASE_OWNER_URL") or _app_url

DATABASES = {"default": _database(_app_url)}
DATABASE_APP_ROLE = DATABASES["default"]["USER"]
# The login of `manage.py migrate`; without DATABASE_OWNER_URL it is the app role's own.
DATABASE_OWNER_LOGIN = {key: _database(_owner_url)[key] for key in ("USER", "PASSWORD")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: cache, marks and wake-ups; nothing in it is the only copy ---------------------------------------

REDIS_URL = _own_redis_url or DAYBOOK_HOME.redis_url(
    password=_credentials.redis_password if _credentials else "none-yet"
)
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "daybook",
        # A Redis that hangs must not hang a request.
        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.3},  # seconds
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"

# --- Celery: every line here stands against a failure that was measured -------------------------------------


def broker_url(redis_url: str) -> str:
    """Celery's name for a Redis address; only sockets are spelled differently."""
    if not redis_url.startswith("unix://"):
        return redis_url
    address, _, query = redis_url.removeprefix("unix://").partition("?")
    return f"redis+socket://{address}?{query.replace('db=', 'virtual_host=')}".rstrip("?")


CELERY_BROKER_URL = env.broker_url("CELERY_BROKER_URL") or broker_url(REDIS_URL)
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
# A wake-up is not acknowledged: a lost one costs the second until the next sweep. An acknowledgement that a hanging
# Redis does not answer leaves its message counted as in hand, and a worker with its hands full fetches nothing more,
# for good (docs/adr/0015-wake-ups-are-not-acknowledged.md).
CELERY_TASK_QUEUES = [Queue(name, no_ack=True) for name in WORKER_QUEUES]  # type: ignore[no-untyped-call]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Above a drain's 20 s and its last batch. No soft limit: its exception would look like the handler's own, and park an
# event for being slow.
CELERY_TASK_TIME_LIMIT = 50  # seconds
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
# What a stopping worker may take to finish; with REMAP_SIGTERM=SIGQUIT in its environment.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = env.seconds("WORKER_SOFT_SHUTDOWN_SECONDS", default=10.0)
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TIMEZONE = "UTC"
# Publishing must be quick when Redis is away: the sweep finds what a lost wake-up left.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.3,
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
CELERY_DB_REUSE_MAX = 1000  # keeps a worker's database connection over so many tasks; see config/celery.py
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    # Finds what a lost wake-up left. One that nobody took in time is of no use: the next is on its way.
    "sweep": {"task": "eventstore.sweep", "schedule": 1.0, "options": {"queue": "eventstore", "expires": 1.0}},
    # Removes sessions, tokens, failed log-ins and drafts that count no more.
    "staff-prune": {"task": "staff.prune", "schedule": 3600.0, "options": {"queue": "eventstore", "expires": 600.0}},
}

# --- The event store ----------------------------------------------------------------------------------------

# They wrap the keys that personal fields are sealed with; the first wraps, all unwrap. Losing them loses the fields.
_sealing_keys = env.sealing_keys("SEALING_KEYS")
if not _sealing_keys and DAYBOOK_EMBEDDED_POSTGRES and _credentials:
    _sealing_keys = [_credentials.sealing_key]
elif not _sealing_keys and DAYBOOK_EMBEDDED_POSTGRES:
    # Nothing was ever stored here.
    _sealing_keys = [new_sealing_key()]
elif not _sealing_keys:
    raise ImproperlyConfigured(
        "SEALING_KEYS is not set. With DATABASE_URL set, give it a key, for example the output of `python -c"
        " 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`, and keep it safe"
    )

EVENTSTORE: dict[str, Any] = {
    "WAKE": "eventstore.celery_wakeup.wake",
    "SEALING_KEYS": tuple(_sealing_keys),
    "MOST_WAITING": WEB_THREADS // 2,  # at least a quarter always serves those who neither wait
    "MOST_DOWNLOADS": max(1, WEB_THREADS // 4),  # nor download
}

# --- Watching it --------------------------------------------------------------------------------------------

# What a Prometheus shows at /metrics; without it only people and programs whose role may.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
# A transfer that has run for longer is somebody's business; one that waits for a person or a date is not meant.
SLOW_TRANSFER_SECONDS = env.whole("SLOW_TRANSFER_SECONDS", default=60)
# A transfer that was released and has not ended after so long is a difference to `verify_ledger`.
OVERDUE_TRANSFER_SECONDS = env.whole("OVERDUE_TRANSFER_SECONDS", default=900)

# --- Who signs in -------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "staff.StaffMember"
LOGIN_URL = "log-in"
# A session ends when nobody works in it, with the closing of the browser (counters are shared), and at the latest when
# a log-in by API would.
SESSION_COOKIE_AGE = env.whole("SESSION_IDLE_MINUTES", default=30) * 60
SESSION_LONGEST_SECONDS = env.whole("TOKEN_HOURS", default=10) * 3600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
# What a page has to say once ("20.00 EUR deposited"): a cookie could be read, and would outlive the log-out.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
CSRF_FAILURE_VIEW = "config.failures.form_expired"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # asks, before a password is looked at, whether it is to be
    "config.staff.authentication.RoleBackend",
]
# Lock-outs: config/staff/lockout.py says what each limit counts.
LOCK_OUT_MINUTES = env.whole("LOCK_OUT_MINUTES", default=15)
LOCK_OUT_FAILURES = env.whole("LOCK_OUT_FAILURES", default=5)
LOCK_OUT_FAILURES_OF_ACCOUNT = env.whole("LOCK_OUT_FAILURES_OF_ACCOUNT", default=20)
LOCK_OUT_FAILURES_OF_ADDRESS = env.whole("LOCK_OUT_FAILURES_OF_ADDRESS", default=50)
AXES_HANDLER = "config.staff.lockout.LockOut"
AXES_LOCKOUT_PARAMETERS = ["username", "ip_address"]
AXES_LOCKOUT_CALLABLE = "config.staff.lockout.refusal"
AXES_CLIENT_IP_CALLABLE = "config.addresses.client_address"
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
# Requests a minute, all of which may come at once; 0 for no limit. A program does in bulk what people do by hand.
RATE_LIMITS = {
    "person_reads": env.whole("RATE_LIMIT_PERSON_READS", default=1_200, least=0),
    "person_writes": env.whole("RATE_LIMIT_PERSON_WRITES", default=300, least=0),
    "program_reads": env.whole("RATE_LIMIT_PROGRAM_READS", default=60_000, least=0),
    "program_writes": env.whole("RATE_LIMIT_PROGRAM_WRITES", default=60_000, least=0),
    # By address, for there is nobody else to count by.
    "anonymous": env.whole("RATE_LIMIT_ANONYMOUS", default=600, least=0),
    "log_ins": env.whole("RATE_LIMIT_LOG_INS", default=60, least=0),
    "refused_tokens": env.whole("RATE_LIMIT_REFUSED_TOKENS", default=60, least=0),
}
API_KEY_TTL = timedelta(days=env.whole("API_KEY_DAYS", default=365, most=36_500))
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- The REST API -------------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "config.staff.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",  # with CSRF
    ],
    "DEFAULT_THROTTLE_CLASSES": ["config.staff.limits.RequestLimit"],
    "DEFAULT_PERMISSION_CLASSES": ["eventstore.rest.permissions.HasRequiredPermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["eventstore.rest.parsing.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "eventstore.rest.schema.EdgeSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
DRF_STANDARDIZED_ERRORS: dict[str, Any] = {
    "EXCEPTION_HANDLER_CLASS": "eventstore.rest.problems.ProblemHandler",
    "EXCEPTION_FORMATTER_CLASS": "eventstore.rest.problems.ProblemFormatter",
    # With DEBUG too a client gets a problem, not a page; the log has the traceback.
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}
PROBLEM_TYPE_PREFIX = "urn:daybook:problem:"
REST_KNOX: dict[str, Any] = {
    "AUTH_HEADER_PREFIX": "Bearer",
    "TOKEN_TTL": timedelta(hours=env.whole("TOKEN_HOURS", default=10)),
    "TOKEN_LIMIT_PER_USER": None,
    "AUTO_REFRESH": False,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Daybook",
    "DESCRIPTION": "An event-sourced bank core: customers, accounts and money transfers.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "PATH_CONVERTER_OVERRIDES": {"id": UUID},
    "COMPONENT_SPLIT_PATCH": False,
    "SORT_OPERATIONS": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# --- Forms ---------------------------------------------------------------------------------------------------

# The longest of ours has three passwords of a thousand characters each, and is anybody's to send before a log-in.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

# --- Security headers ---------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
# With this beginning of its name a browser takes a cookie over TLS and from this very host alone: no neighbouring host
# can plant one.
_cookie_prefix = "__Host-" if HTTPS else ""
SESSION_COOKIE_NAME = f"{_cookie_prefix}sessionid"
CSRF_COOKIE_NAME = f"{_cookie_prefix}csrftoken"
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
# Behind TLS there is a proxy, and it must set this header itself, whatever the client sent.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
# The probes of an orchestrator come past the proxy, in plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^health/"]

# --- Language, time, files, logs ----------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
# Without a folder that `collectstatic` filled, files are served from the applications themselves.
STATIC_ROOT = env.str("STATIC_ROOT", default="") or None
WHITENOISE_USE_FINDERS = not STATIC_ROOT
WHITENOISE_ALLOW_ALL_ORIGINS = False  # nobody else's page has a use for them
LOGGING_CONFIG = "logging.config.dictConfig"
# A 503 asks to come back; what nobody expected is logged as an error with its traceback, where it was raised.
DJANGO_STRUCTLOG_STATUS_5XX_LOG_LEVEL = logging.WARNING
configure_structlog()
LOGGING = logging_settings(
    format_name=env.one_of("LOG_FORMAT", default="console", choices=LOG_FORMATS),
    level=env.one_of("LOG_LEVEL", default="INFO", choices=LOG_LEVELS),
)
