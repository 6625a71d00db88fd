"""What a run consists of: the variants, the loads, how long and how often."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.stacks.databases import MongoDB


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run's sizes; seconds where nothing else is said."""

    rounds: int
    loads: tuple[tuple[int, int], ...]
    """Sockets, and messages in flight of each."""
    warmup: float
    """Long enough for connections to settle, and for a process to find that it is alone on its Redis."""
    seconds: float
    extras: bool
    """Whether everything besides the closed loop is measured: rate, idle sockets, fan-out, REST, storm."""

    stores: bool
    """Whether Parley is measured on its three stores as well."""
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Messages of the long chat (see `bench.seed_sizes`)."""
    stand_in_sizes: tuple[int, ...] = (1_000, 10_000)
    """The same on the MongoDB-wire test server, where a page takes longer the longer the chat is."""
    missed: int = 10_000

    people: int = 1000
    rate_sockets: int = 100
    idle_sockets: int = 2000
    idle_warm: int = 100
    idle_seconds: float = 45
    """Two heartbeats of Parley's, one of Socket.IO's."""
    group: int = 1000
    group_in_flight: tuple[int, ...] = (1, 4)
    large_chat: int = 1_000_000
    small_chat: int = 1_000
    page_rounds: int = 300
    storm_clients: int = 3000
    storm_missed: int = 5
    store_loads: tuple[tuple[int, int], ...] = ((100, 1), (100, 4))
    store_people: int = 100
    short_chats: int = 1_000
    request_rounds: int = 60
    resync_rounds: int = 7
    size_seconds: float = 20
    """After this no other round of requests or of resync begins at a size."""
    batches: int = 40

    def sizes_on(self, store: str) -> tuple[int, ...]:
        """Return the sizes to measure on a variant of the stores."""
        return self.stand_in_sizes if store == "parley-mongodb" and not MongoDB.named else self.sizes

    def missed_on(self, store: str) -> int:
        """Return how many messages a client is behind, which is no more than there are at the smallest size."""
        return min(self.missed, *self.sizes_on(store))

    def with_rounds(self, rounds: int) -> Plan:
        return replace(self, rounds=rounds)


QUICK = Plan(
    rounds=1, loads=((100, 1), (100, 4), (1000, 1)), warmup=5, seconds=4, extras=False, stores=False,
    sizes=(1_000, 4_000), stand_in_sizes=(300, 1_000), short_chats=100, request_rounds=20, resync_rounds=3, batches=10,
)  # fmt: skip
FULL = Plan(
    rounds=3,
    loads=((100, 1), (100, 4), (1000, 1), (1000, 4)),
    warmup=4,
    seconds=4,
    extras=True,
    stores=True,
)
