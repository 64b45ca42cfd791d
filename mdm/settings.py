"""Django's settings, worked out from `mdm/env.py`; nothing here is meant to be edited to deploy."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
from celery.schedules import crontab
from csp.constants import NONE, SELF
from psycopg.conninfo import conninfo_to_dict

from mdm.env import BASE_DIR, Env, Mode
from mdm.local import postgres, valkey
from mdm.logs import mask_paths

ENV = Env.load(os.environ)

SECRET_KEY = ENV.secret_key
ENCRYPTION_KEYS = ENV.encryption_keys
DEBUG = False
ROOT_URLCONF = "mdm.urls"
WSGI_APPLICATION = "mdm.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

_HOSTS = {urlsplit(url).hostname or "" for url in (ENV.public_url, ENV.dashboard_url)}
ALLOWED_HOSTS = sorted(_HOSTS | set(ENV.allowed_hosts)) + (
    [] if ENV.production else ["localhost", "127.0.0.1", "[::1]", "testserver"]
)
CSRF_TRUSTED_ORIGINS = [ENV.dashboard_url, ENV.public_url]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "django_filters",
    "django_htmx",
    "django_prometheus",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "knox",
    "rest_framework",
    "mdm",
    "mdm.accounts",
    "mdm.audit",
    "mdm.webhooks",
    "mdm.health",
    "commands",
    "abm",
    "profiles",
    "enrollment",
    *ENV.extra_apps,
]

# Devices do not pass through here: mdm/wsgi.py serves their endpoints ahead of the middleware.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "mdm.pages.zone.middleware",
    "mdm.pages.policy.middleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Ahead of the apps' own: allauth's pages are drawn in the dashboard's frame.
        "DIRS": [BASE_DIR / "mdm" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "mdm.navigation.context",
            ],
        },
    }
]

# --- Data ---------------------------------------------------------------------------------------


def _database(url: str) -> dict[str, object]:
    given = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": given.pop("dbname", "guardmdm"),
        "USER": given.pop("user", ""),
        "PASSWORD": given.pop("password", ""),
        "HOST": given.pop("host", ""),
        "PORT": given.pop("port", ""),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **given,
            "server_side_binding": True,
            "prepare_threshold": 1,
            "options": "-c jit=off",
        },
    }


DATABASES = {"default": _database(ENV.database_url or postgres.url(ENV.state_dir))}
REDIS_URL = ENV.redis_url or valkey.url(ENV.state_dir)
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
}

# --- Celery -------------------------------------------------------------------------------------


def _broker(url: str) -> str:
    """Celery's spelling of a Redis address."""
    if not url.startswith("unix://"):
        return url
    path, _, query = url.removeprefix("unix://").partition("?")
    return f"redis+socket://{path}?virtual_host={query.removeprefix('db=') or '0'}"


CELERY_BROKER_URL = _broker(REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True
# A worker takes what it can begin at once, and no more.
CELERY_WORKER_DISABLE_PREFETCH = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A worker waits for its broker however long that is away; by default it ends within the hour.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Whoever publishes while the broker is down hears so at once: the work stands in Postgres, and the
# beat finds it.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "max_retries": 0,
    "socket_connect_timeout": 2,
    # A task is the worker's once it has it. To acknowledge it to the broker wins nothing where the
    # work stands in Postgres, and ends the whole worker when the broker goes while a task runs
    # (Celery 5.7: AttributeError from a closed channel).
    "ack_emulation": False,
}
# A task that nobody took in time is not kept: each of these finds its work in Postgres.
CELERY_BEAT_SCHEDULE = {
    "drain replies": {
        "task": "commands.tasks.drain_replies",
        "schedule": timedelta(seconds=1),
        "options": {"expires": 5},
    },
    "ask first inventories": {
        "task": "commands.tasks.ask_first_inventories",
        "schedule": timedelta(seconds=1),
        "options": {"expires": 5},
    },
    "wake enrollments": {
        "task": "mdm.tasks.wake_due",
        "schedule": timedelta(seconds=1),
        "options": {"expires": 5},
    },
    "send webhooks": {
        "task": "mdm.tasks.send_webhooks",
        "schedule": timedelta(seconds=1),
        "options": {"expires": 5},
    },
    "tell of what ends soon": {
        "task": "mdm.tasks.tell_of_expiries",
        "schedule": crontab(hour="6", minute="30"),
        "options": {"expires": 3600},
    },
    "expire commands": {
        "task": "commands.tasks.expire_commands",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 60},
    },
    "let held commands go": {
        "task": "commands.tasks.release_held",
        "schedule": timedelta(seconds=2),
        "options": {"expires": 5},
    },
    "count entries": {
        "task": "commands.tasks.count_entries",
        "schedule": timedelta(seconds=5),
        "options": {"expires": 5},
    },
    "write to approvers": {
        "task": "commands.tasks.tell_approvers",
        "schedule": timedelta(seconds=20),
        "options": {"expires": 20},
    },
    "remove old commands": {
        "task": "commands.tasks.remove_old",
        "schedule": timedelta(hours=1),
        "options": {"expires": 600},
    },
    "remove old history": {
        "task": "mdm.tasks.remove_old",
        "schedule": timedelta(hours=1),
        "options": {"expires": 600},
    },
    "seal the audit log": {
        "task": "mdm.tasks.seal_audit",
        "schedule": timedelta(seconds=5),
        "options": {"expires": 5},
    },
    # Every 5 minutes for every server in ABM: Apple asks for no less, and nobody should wait more.
    "sync with ABM": {
        "task": "abm.tasks.sync_due",
        "schedule": timedelta(minutes=5),
        "options": {"expires": 240},
    },
    "follow news about devices": {
        "task": "profiles.tasks.follow",
        "schedule": timedelta(seconds=5),
        "options": {"expires": 5},
    },
    "let configured devices go": {
        "task": "enrollment.tasks.follow_awaiting",
        "schedule": timedelta(seconds=2),
        "options": {"expires": 5},
    },
    "read ABM's whole lists": {
        "task": "abm.tasks.ask_for_lists",
        "schedule": crontab(hour="2", minute="17"),
        "options": {"expires": 3600},
    },
    "remind of server tokens": {
        "task": "abm.tasks.remind",
        "schedule": timedelta(hours=1),
        "options": {"expires": 600},
    },
    "remove old arrivals": {
        "task": "enrollment.tasks.remove_old",
        "schedule": timedelta(hours=1),
        "options": {"expires": 600},
    },
    "look whether everything works": {
        "task": "mdm.health.tasks.look_around",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 55},
    },
    "remove old runs and ledger entries": {
        "task": "abm.tasks.remove_old",
        "schedule": timedelta(hours=1),
        "options": {"expires": 600},
    },
}
# A sync may take long and mostly waits for Apple, webhooks wait for their receivers: they have
# workers of their own.
CELERY_TASK_ROUTES = {
    "abm.tasks.*": {"queue": "abm"},
    "mdm.tasks.send_webhooks": {"queue": "webhooks"},
}
# That each queue is worked on shows a task that goes through it (mdm/health/pulse.py).
CELERY_BEAT_SCHEDULE |= {
    f"see that the queue {queue} is worked on": {
        "task": "mdm.health.tasks.answer",
        "schedule": timedelta(seconds=15),
        "args": [queue],
        "options": {"queue": queue, "expires": 15},
    }
    for queue in ("celery", *{route["queue"] for route in CELERY_TASK_ROUTES.values()})
}

# --- People -------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_REDIRECT_URL = "/"
LOGIN_URL = "account_login"
ACCOUNT_ADAPTER = "mdm.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = None
# Failed sign-ins: by address and by name; from a browser that is known for the person, by the
# browser (mdm/accounts/adapter.py).
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/300s/key", "login_failed_here": "10/300s/key"}
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[GuardMDM] "
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not ENV.production
# Which identity providers there are is ENV.oidc; see mdm/accounts/oidc.py.
SOCIALACCOUNT_ADAPTER = "mdm.accounts.social.SocialAccountAdapter"
SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"provider_class": "mdm.accounts.oidc.Provider"}}
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
# Whoever connects an account can sign in with it from then on.
SOCIALACCOUNT_REAUTHENTICATION_REQUIRED = True
KNOX_TOKEN_MODEL = "accounts.ApiToken"
# Its migrations would make a table for the model that ours replaces.
MIGRATION_MODULES = {"knox": None}
REST_KNOX = {
    "TOKEN_TTL": timedelta(days=365),
    "TOKEN_PREFIX": "guard_",
    "AUTH_HEADER_PREFIX": "Bearer",
}

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.dashboard_url.startswith("https://")
SESSION_COOKIE_AGE = 12 * 3600
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if ENV.production else 0
SILENCED_SYSTEM_CHECKS = [
    # Whether all hosts below this one speak TLS, and go on any browser's list, is for who owns the
    # domain to say.
    "security.W005",
    "security.W021",
    # Plain http reaches people's port from the proxy that ends TLS, and from probes; who comes to
    # the proxy without TLS is redirected there.
    "security.W008",
]
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}


def _mail(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": parts.scheme != "smtps" and parts.hostname not in {"localhost"},
        "EMAIL_TIMEOUT": 10,
    }


EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV.mail_from
if ENV.smtp_url:
    globals().update(_mail(ENV.smtp_url))

# --- API ----------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "mdm.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["mdm.api.permissions.HasRight"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["mdm.api.limits.Budget"],
    "DEFAULT_PARSER_CLASSES": ["mdm.api.parsing.JSONParser"],
    "DEFAULT_FILTER_BACKENDS": [
        "mdm.api.permissions.Seen",
        "django_filters.rest_framework.DjangoFilterBackend",
    ],
    "DEFAULT_PAGINATION_CLASS": "mdm.pagination.CursorPagination",
    "DEFAULT_SCHEMA_CLASS": "mdm.api.schema.AutoSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "DEFAULT_METADATA_CLASS": None,
    "PAGE_SIZE": 100,
}
# 100,000 receivers by UDID fit twice.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "mdm.api.answers.ExceptionHandler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "GuardMDM",
    "DESCRIPTION": "Devices, enrollments, commands, links and Apple Business Manager, as the"
    " dashboard has them.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["mdm.api.permissions.HasRight"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "Role": "mdm.accounts.rights.Role",
        "EnrollmentState": "mdm.models.Enrollment.State",
        "EnrollmentKind": "mdm.models.Enrollment.Kind",
        "EntryState": "commands.models.QueueEntry.State",
        "QuarantineState": "mdm.models.Quarantine.State",
        "UploadState": "abm.models.TokenUpload.State",
        "ApprovalState": "commands.models.Approval.State",
        "ActorKind": "mdm.audit.models.AuditEvent.ActorKind",
        "RunState": "abm.models.SyncRun.State",
        "DeliveryState": "mdm.webhooks.models.Delivery.State",
        "ThingState": "mdm.api.health.THING_STATES",
        "ProbeState": "mdm.api.health.PROBE_STATES",
        "HealthState": "mdm.api.health.HEALTH_STATES",
        "NameKind": "commands.serializers.NAME_KINDS",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "mdm.api.webhooks.add_webhooks",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- Static files -------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = ENV.state_dir / "static"
STATICFILES_DIRS = [BASE_DIR / "var" / "assets" / "dist"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- Logs ---------------------------------------------------------------------------------------

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    mask_paths,
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processor": structlog.processors.JSONRenderer()
            if ENV.mode is Mode.PRODUCTION
            else structlog.dev.ConsoleRenderer(colors=False),
            "foreign_pre_chain": _SHARED,
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": ENV.log_level},
    "loggers": {
        "httpx": {"level": "WARNING"},
        "django_structlog": {"level": "WARNING"},
        "aioapns": {"level": "WARNING"},
    },
}
structlog.configure(
    processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
