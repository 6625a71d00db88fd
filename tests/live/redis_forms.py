"""Real Redis servers in the forms that `REDIS_URL` knows: behind TLS, behind a Sentinel, and as a Cluster."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.certificates import Certificates
from tests.live.server import LOOPBACK, Process, Redis, free_port, make_redis, redis_executable

CHUNK = 64 * 1024
SLOTS = 16_384
BUS_OFFSET = 10_000
"""How far above its port a node of a Cluster hears the others."""
PATIENCE = 15.0


def wait_until(is_so: Callable[[], bool], *, what: str) -> None:
    """Poll until it is so. Raises `AssertionError`."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


# --- TLS --------------------------------------------------------------------------------------------------------------


@contextmanager
def tls_in_front_of(port: int, certificates: Certificates) -> Iterator[int]:
    """Take TLS on a port of its own, which is yielded, and speak plainly to the given one: not every Redis has TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    listener = socket.create_server((LOOPBACK, 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=[connection], daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), ExitStack() as stack:
            upstream = stack.enter_context(socket.create_connection((LOOPBACK, port)))
            client = stack.enter_context(context.wrap_socket(stack.enter_context(connection), server_side=True))
            while True:
                readable = [client] if client.pending() else select.select([client, upstream], [], [])[0]
                for source in readable:
                    if not (chunk := source.recv(CHUNK)):
                        return
                    (upstream if source is client else client).sendall(chunk)

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


# --- Sentinel ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A master with a replica, and a Sentinel that makes the one the other."""

    master: Redis
    replica: Redis
    port: int
    password: str

    @property
    def url(self) -> str:
        """The address, for `REDIS_URL`."""
        password = f"{self.password}s"
        return f"redis+sentinel://:{self.password}@{LOOPBACK}:{self.port}/mymaster?sentinel_password={password}"

    @property
    def master_port(self) -> int:
        """The port of the server that the Sentinel takes for the master."""
        with redis.Redis(port=self.port, password=f"{self.password}s") as client:
            return int(client.sentinel_get_master_addr_by_name("mymaster")[1])


@contextmanager
def sentinel(directory: Path, *, password: str = "sesame") -> Iterator[Sentinel]:
    """Start one; it takes a master for dead after half a second."""
    options = ["--requirepass", password, "--masterauth", password, "--repl-diskless-sync-delay", "0"]
    with ExitStack() as stack:
        master = stack.enter_context(make_redis(directory, *options))
        replica = stack.enter_context(make_redis(directory, *options, "--replicaof", LOOPBACK, str(master.port)))
        for server in (master, replica):
            server.start()
        with redis.Redis(port=replica.port, password=password) as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", what="no replica")
        port = free_port()
        lines = [
            f"port {port}\nbind {LOOPBACK}\nrequirepass {password}s\ndir {directory}",
            f"sentinel monitor mymaster {LOOPBACK} {master.port} 1",
            f"sentinel auth-pass mymaster {password}",
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 2000\n",
        ]
        (directory / "sentinel.conf").write_text("\n".join(lines))
        watcher = Process(
            name="sentinel",
            command=[redis_executable(), str(directory / "sentinel.conf"), "--sentinel"],
            log_path=directory / "sentinel.log",
        )
        stack.enter_context(watcher).start()
        with redis.Redis(port=port, password=f"{password}s") as client:
            wait_until(lambda: _knows_a_replica(client), what=watcher.log)
        yield Sentinel(master=master, replica=replica, port=port, password=password)


def _knows_a_replica(client: redis.Redis) -> bool:
    with suppress(redis.ConnectionError):
        return int(client.sentinel_master("mymaster")["num-slaves"]) == 1
    return False


# --- Cluster ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cluster:
    """Three masters that share the slots."""

    nodes: list[Redis]

    @property
    def url(self) -> str:
        """The address, for `REDIS_URL`."""
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def clients(self) -> list[redis.Redis]:
        """Return a client of each node."""
        return [redis.Redis(port=node.port) for node in self.nodes]


@contextmanager
def cluster(directory: Path, *, nodes: int = 3) -> Iterator[Cluster]:
    """Start one. Nobody answers for the slots of a node that is away, and the others go on."""
    with ExitStack() as stack:
        servers = []
        for _ in range(nodes):
            port = _port_for_a_node()
            options = ["--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{port}.conf"]
            options += ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000"]
            server = stack.enter_context(make_redis(directory, *options, port=port))
            server.start()
            servers.append(server)
        clients = [stack.enter_context(redis.Redis(port=server.port)) for server in servers]
        for place, client in enumerate(clients):
            slots = range(SLOTS * place // nodes, SLOTS * (place + 1) // nodes)
            client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
        for server in servers[1:]:
            clients[0].execute_command("CLUSTER", "MEET", LOOPBACK, server.port)
        wait_until(lambda: all(_is_complete(client, nodes) for client in clients), what="the nodes do not meet")
        yield Cluster(servers)


def _is_complete(client: redis.Redis, nodes: int) -> bool:
    lines = client.execute_command("CLUSTER", "INFO").decode().splitlines()
    return {"cluster_state:ok", f"cluster_known_nodes:{nodes}", f"cluster_slots_ok:{SLOTS}"} <= set(lines)


def _port_for_a_node() -> int:
    while True:
        port = free_port()
        if port + BUS_OFFSET > 65_535:
            port -= 20_000
        with (
            suppress(OSError),
            socket.create_server((LOOPBACK, port)),
            socket.create_server((LOOPBACK, port + BUS_OFFSET)),
        ):
            return port
