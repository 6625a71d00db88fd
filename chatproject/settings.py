"""Django's settings, derived from `chatproject.env`; nothing here reads the environment itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from chatproject import contrib, databases, logs, redis_clients
from chatproject.env import BASE_DIR, ENV

SECRET_KEY = ENV.secret_key
DEBUG = False
ALLOWED_HOSTS = list(ENV.allowed_hosts)
ROOT_URLCONF = "chatproject.urls"
ASGI_APPLICATION = "chatproject.asgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "accounts",
    "messaging",
    "realtime",
    "chatproject.stores",
]

MIGRATION_MODULES: dict[str, str | None] = {}
if databases.is_mongodb(ENV.database_url):
    INSTALLED_APPS = [contrib.APPS.get(app, app) for app in INSTALLED_APPS]
    MIGRATION_MODULES = dict.fromkeys(contrib.UNMIGRATED)

MIDDLEWARE = [
    "chatproject.middleware.RequestContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "chatproject.middleware.refuse_large_bodies",
    "chatproject.health.HealthMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "chatproject" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Stores -----------------------------------------------------------------------------------------------------------

DATABASES = {
    "default": databases.parse(ENV.database_url, data_dir=ENV.data_dir, sqlite_synchronous=ENV.sqlite_synchronous)
}

DATABASE_ROUTERS = ["chatproject.db.freezing.WriteGuard"]

CHANNEL_LAYERS: dict[str, dict[str, Any]]
CACHES: dict[str, dict[str, Any]]
if ENV.redis:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "realtime.layer.PipelinedLayer",
            "CONFIG": {
                "hosts": [redis_clients.layer_host(server) for server in ENV.redis],
                "prefix": ENV.redis_prefix,
                "symmetric_encryption_keys": [ENV.secret_key],
            },
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "chatproject.caches.SharedCache",
            "LOCATION": ENV.redis,
            "KEY_PREFIX": f"{ENV.redis_prefix}:cache",
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}}
    }
    # One process serves alone on the in-process layer, so its own memory is the shared cache.
    SILENCED_SYSTEM_CHECKS = ["django_ratelimit.E003", "django_ratelimit.W001"]

MEDIA_ROOT = ENV.data_dir / "media"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WEB_CLIENT = BASE_DIR / "web" / "dist"
SERVESTATIC_ROOT = WEB_CLIENT if WEB_CLIENT.is_dir() else None
SERVESTATIC_INDEX_FILE = True
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_ALLOW_ALL_ORIGINS = False


def SERVESTATIC_IMMUTABLE_FILE_TEST(path: str, url: str) -> bool:  # noqa: N802
    """Vite names its assets by their content, so they can be kept for ever."""
    return url.startswith("/assets/")


# --- People -----------------------------------------------------------------------------------------------------------

PASSWORD_HASHERS = ["django.contrib.auth.hashers.BCryptSHA256PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": ENV.jwt_key,
    "ISSUER": "parley",
    "AUDIENCE": "parley",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=10),
    "USER_ID_CLAIM": "sub",
    "LEEWAY": 0,
}
PARLEY_REFRESH_LIFETIME = timedelta(days=30)
PARLEY_PRESENCE_TTL = timedelta(seconds=40)
PARLEY_REDIS = ENV.redis
PARLEY_REDIS_PREFIX = ENV.redis_prefix
PARLEY_TRUSTED_PROXIES = ENV.trusted_proxies
PARLEY_MASTER_KEYS = ENV.master_keys
PARLEY_RATES: dict[str, str] = {}
RATELIMIT_ENABLE = ENV.rate_limits

# --- REST -------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.SessionTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["chatproject.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "chatproject.errors.exception_handler",
    "NUM_PROXIES": ENV.trusted_proxies,
    "UNICODE_JSON": True,
    "COMPACT_JSON": True,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Parley",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "CONTACT": {"name": "The Parley maintainers"},
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_SPLIT_PATCH": False,
    "CAMELIZE_NAMES": True,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "chatproject.openapi.complete"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Without the null Swagger UI would send the document's address to a validator on the internet.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "displayRequestDuration": True, "validatorUrl": None},
}

# --- Security headers, CORS -------------------------------------------------------------------------------------------

CORS_ALLOWED_ORIGINS = list(ENV.allowed_origins)
CORS_EXPOSE_HEADERS = ["X-Request-ID", "Retry-After"]
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "range", "x-request-id"]
CSRF_TRUSTED_ORIGINS = list(ENV.allowed_origins)
CSRF_FAILURE_VIEW = "chatproject.errors.csrf_failure"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:", "https:"],
        "media-src": ["'self'", "blob:"],
        "connect-src": ["'self'", "ws:", "wss:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.https
SECURE_SSL_REDIRECT = ENV.https
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 31_536_000 if ENV.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ENV.https
if ENV.trusted_proxies:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = logs.configure(log_format=ENV.log_format, level=ENV.log_level, cache_loggers=ENV.mode != "test")
