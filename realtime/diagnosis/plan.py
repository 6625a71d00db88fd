"""The checks of `manage.py doctor`, in the order in which an operator would look."""

from __future__ import annotations

from realtime.diagnosis import configuration, databases, encryption, host, stores
from realtime.diagnosis.findings import Check

CHECKS: dict[str, Check] = {
    "configuration": configuration.settings_in_force,
    "secrets": configuration.secrets,
    "data directory": host.data_directory,
    "database": databases.reachable,
    "durability": databases.durable,
    "migrations": databases.migrated,
    "master keys": encryption.master_keys,
    "redis": stores.redis_server,
    "channel layer": stores.channel_layer,
    "cache": stores.shared_cache,
    "clock": host.clocks,
    "web client": host.web_client,
}
