"""Settings of the textbook peer; the runner gives what differs through the environment."""

from __future__ import annotations

import os

SECRET_KEY = os.environ["BENCH_SECRET"]
CONTENT_KEY = bytes.fromhex(os.environ["BENCH_KEY"])
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "bench.peers.channels.asgi"
ASGI_APPLICATION = "bench.peers.channels.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "daphne",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "channels",
    "bench.peers.channels.apps.Textbook",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["BENCH_DATABASE"],
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                f"PRAGMA journal_mode=WAL; PRAGMA synchronous={os.environ['BENCH_SYNCHRONOUS']}; PRAGMA foreign_keys=ON;"
            ),
        },
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": os.environ["REDIS_URL"], "socket_timeout": None}]},
    }
}
