"""The checks of `manage.py doctor`, in the order in which an operator would look."""

from __future__ import annotations

from realtime.diagnosis import configuration, databases, durability, encryption, host, stores
from realtime.diagnosis.findings import Check

CHECKS = (
    Check("configuration", configuration.settings_in_force),
    Check("secrets", configuration.secrets),
    Check("data directory", host.data_directory),
    Check("database", databases.reachable),
    Check("durability", durability.durable, needs="database"),
    Check("migrations", databases.migrated, needs="database"),
    Check("master keys", encryption.master_keys, needs="migrations"),
    Check("redis", stores.redis_server),
    Check("channel layer", stores.channel_layer, needs="redis"),
    Check("cache", stores.shared_cache, needs="redis"),
    Check("clock", host.own_clock),
    Check("database clock", host.database_clock, needs="database"),
    Check("redis clock", host.redis_clock, needs="redis"),
    Check("web client", host.web_client),
)
