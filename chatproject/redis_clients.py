"""Makes every client of Redis, from the servers that `REDIS_URL` describes: for the bus, leases, limits and checks.

Publishing and subscribing need no slot: in a Cluster any node takes them and tells the others. So the channel layer
has a plain connection there, to whichever node answers, and needs no client of its own for a Cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import redis
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from chatproject.redis_url import Address, Kind, RedisServer

SECONDS = 2.0
"""How long Redis may take to answer."""

AWAY = (RedisError, RedisClusterException, OSError)
"""What a client raises when Redis is not there, or not in its right mind."""


def client(server: RedisServer, *, seconds: float = SECONDS) -> Any:
    """Return a client that blocks, a `Redis` or a `RedisCluster`, which connects at once; others when they are used."""
    patience = _patience(seconds) | {"retry": Retry(NoBackoff(), 1), "retry_on_error": [NotConnected]}
    if server.kind is Kind.CLUSTER:
        nodes = [redis.cluster.ClusterNode(*address) for address in server.addresses]
        return redis.RedisCluster(startup_nodes=nodes, require_full_coverage=False, **_options(server), **patience)
    if server.kind is Kind.SENTINEL:
        sentinel = redis.Sentinel(server.addresses, sentinel_kwargs=_sentinel_options(server, seconds))
        return sentinel.master_for(server.service, **_options(server), **patience)
    return redis.Redis(**_place(server), **_options(server), **patience)


def ask_each(client: Any, server: RedisServer, *command: str) -> list[Any]:
    """Return what the server answers to a command without keys, in a Cluster what each node does."""
    if server.kind is Kind.CLUSTER:
        return list(client.execute_command(*command, target_nodes=redis.RedisCluster.ALL_NODES).values())
    return [client.execute_command(*command)]


def async_client(server: RedisServer) -> Any:
    """Return a client for the running loop, a `Redis` or a `RedisCluster` of `redis.asyncio`."""
    # A connection from before a restart of Redis fails once.
    patience = _patience(SECONDS) | {"retry": AsyncRetry(NoBackoff(), 1), "retry_on_error": [NotConnected]}
    if server.kind is Kind.CLUSTER:
        nodes = [redis_asyncio.cluster.ClusterNode(*address) for address in server.addresses]
        return redis_asyncio.RedisCluster(
            startup_nodes=nodes, require_full_coverage=False, **_options(server), **patience
        )
    if server.kind is Kind.SENTINEL:
        sentinel = redis_asyncio.Sentinel(server.addresses, sentinel_kwargs=_sentinel_options(server, SECONDS))
        return sentinel.master_for(server.service, **_options(server), **patience)
    return redis_asyncio.Redis(**_place(server), **_options(server), **patience)


async def learn_nodes(clients: Iterable[Any]) -> None:
    """Let each Cluster's client learn its nodes, unless it knows them; call this before several commands at once.

    Of commands that all wait for that, redis-py 8.1 loses some to a connection that another of them closes.
    """
    for one in clients:
        if isinstance(one, redis_asyncio.RedisCluster):
            await one.initialize()


def layer_host(server: RedisServer) -> dict[str, Any]:
    """Return the entry of the channel layer's `hosts`: keyword arguments of a connection pool, as channels-redis says.

    redis-py 8 gives sockets a timeout that ends an idle subscription; None keeps it.
    """
    options = _options(server) | {"socket_timeout": None, "socket_connect_timeout": SECONDS}
    if server.kind is Kind.SENTINEL:
        return options | {
            "sentinels": list(server.addresses),
            "master_name": server.service,
            "sentinel_kwargs": _sentinel_options(server, SECONDS),
        }
    tls = options.pop("ssl", False)
    if server.kind is Kind.CLUSTER:
        kind = _AnyNodeTLSConnection if tls else _AnyNodeConnection
        return options | {"connection_class": kind, "nodes": deque(server.addresses)}
    if server.socket_path:
        path = {"connection_class": redis_asyncio.UnixDomainSocketConnection, "path": server.socket_path}
        return options | path
    place = {"connection_class": redis_asyncio.SSLConnection if tls else redis_asyncio.Connection}
    return options | place | _place(server)


def _place(server: RedisServer) -> dict[str, Any]:
    if server.socket_path:
        return {"unix_socket_path": server.socket_path}
    return dict(zip(("host", "port"), server.addresses[0], strict=True))


def _options(server: RedisServer) -> dict[str, Any]:
    """Return what a connection to the data needs, wherever it goes."""
    database = {} if server.kind is Kind.CLUSTER else {"db": server.database}
    return {**database, **server.login, **_tls(server)}


def _sentinel_options(server: RedisServer, seconds: float) -> dict[str, Any]:
    return {**server.sentinel_login, **_tls(server), **_patience(seconds)}


def _tls(server: RedisServer) -> dict[str, Any]:
    return {} if server.tls_options is None else {"ssl": True, **server.tls_options}


def _patience(seconds: float) -> dict[str, Any]:
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds}


class _AnyNodeConnection(redis_asyncio.Connection):
    """A connection to the first of some nodes that takes it; all connections of a pool share the order."""

    def __init__(self, *, nodes: deque[Address], **options: Any) -> None:
        super().__init__(**options)
        self._nodes = nodes

    async def connect(self) -> None:
        """Connect, unless that is so. Raises what the last node of all says."""
        if self.is_connected:
            return
        for left in range(len(self._nodes) - 1, -1, -1):
            self.host, self.port = self._nodes[0]
            try:
                await super().connect()  # type: ignore[no-untyped-call]
            except BaseException as error:
                self._nodes.rotate(-1)  # whoever gives up meanwhile begins with the next one
                if left == 0 or not isinstance(error, AWAY):
                    raise
            else:
                return


class _AnyNodeTLSConnection(_AnyNodeConnection, redis_asyncio.SSLConnection):
    """The same over TLS."""
