"""Names the keys in Redis and says on which server each is kept; no name tells whose it is.

A name is `prefix:kind:{tag}:hash`, its hash keyed with the secret key: who reads Redis can neither tell a person nor an
address by it, nor try them out. Keys of one tag are together on one node of a Cluster, so that a script may use them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Generic, TypeVar

from django.conf import settings
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from chatproject.redis_url import Kind, RedisServer

BUCKETS = 16
"""As many tags there are, and so scripts that a question about many keys takes in a Cluster."""
CHUNK = 500
"""Keys of one script: Redis does nothing else meanwhile, which takes some 3 ms."""


def _tag_of(bucket: int) -> bytes:
    """Return the first number whose slot is in this part of all slots: so the tags are spread evenly over the nodes."""
    numbers = (b"%d" % number for number in count())
    return next(one for one in numbers if key_slot(one) * BUCKETS // REDIS_CLUSTER_HASH_SLOTS == bucket)


TAGS = tuple(_tag_of(bucket) for bucket in range(BUCKETS))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group(Generic[T]):
    """Things whose keys may be used by one script on one server, at most `CHUNK`."""

    server: int
    items: Sequence[T]
    keys: Sequence[bytes]


class Keys:
    """The keys of one kind, for things that `subject` turns into bytes. Every process has the servers in one order."""

    def __init__(self, kind: str, servers: Sequence[RedisServer]) -> None:
        """`kind` is part of the name and of the hash, at most 16 characters."""
        self._start = f"{settings.PARLEY_REDIS_PREFIX}:{kind}:".encode()
        self._secret = blake2b(settings.SECRET_KEY.encode(), person=b"parley.redis").digest()
        self._person = kind.encode()
        self._servers = len(servers)
        self._is_cluster = [server.kind is Kind.CLUSTER for server in servers]

    def digest(self, subject: bytes) -> bytes:
        """Return the 128 bits that stand for a subject."""
        return blake2b(subject, digest_size=16, key=self._secret, person=self._person).digest()

    def group(self, items: Iterable[T], subject: Callable[[T], bytes]) -> Iterator[Group[T]]:
        """Yield the things with their keys, by what may be asked at once."""
        together: dict[tuple[int, int], tuple[list[T], list[bytes]]] = defaultdict(lambda: ([], []))
        for item in items:
            digest = self.digest(subject(item))
            server, bucket = digest[0] % self._servers, digest[1] % BUCKETS
            held, keys = together[server, bucket if self._is_cluster[server] else 0]
            held.append(item)
            keys.append(b"%b{%b}:%b" % (self._start, TAGS[bucket], digest))
        for (server, _), (held, keys) in together.items():
            for start in range(0, len(held), CHUNK):
                yield Group(server, held[start : start + CHUNK], keys[start : start + CHUNK])

    def everywhere(self, name: str) -> Iterator[tuple[int, list[bytes]]]:
        """Yield for each server a key of this name, in a Cluster one for each tag: where one is lost, others may be."""
        for server, is_cluster in enumerate(self._is_cluster):
            tags = TAGS if is_cluster else TAGS[:1]
            yield server, [b"%b{%b}:%b" % (self._start, tag, name.encode()) for tag in tags]
