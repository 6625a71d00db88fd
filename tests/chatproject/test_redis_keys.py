"""Tests of the names of keys: they tell nobody whose they are, and scripts find theirs on one node."""

from __future__ import annotations

from typing import Any

from redis.cluster import key_slot

from chatproject.ids import uuid7
from chatproject.redis_keys import BUCKETS, CHUNK, TAGS, Keys
from chatproject.redis_url import parse

ONE = parse("redis://one")
TWO = parse("redis://one,redis://other")
CLUSTER = parse("redis+cluster://one")
SUBJECTS = [uuid7().bytes for _ in range(2000)]


def same(subject: bytes) -> bytes:
    """Return it as it is."""
    return subject


def test_each_thing_has_its_key_once() -> None:
    """On one server in scripts of a bounded size, on two about half each."""
    for servers in (ONE, TWO, CLUSTER):
        groups = list(Keys("presence", servers).group(SUBJECTS, same))

        found = [item for group in groups for item in group.items]
        keys = [key for group in groups for key in group.keys]
        assert sorted(found) == sorted(SUBJECTS)
        assert len(set(keys)) == len(SUBJECTS)
        assert max(len(group.items) for group in groups) <= CHUNK
    shares = [
        sum(len(group.items) for group in Keys("x", TWO).group(SUBJECTS, same) if group.server == n) for n in (0, 1)
    ]
    assert min(shares) > 800


def test_keys_of_a_script_are_on_one_node_of_a_cluster() -> None:
    """Whatever it asks for; and the slots in use are spread evenly, so that each node has its share."""
    groups = list(Keys("presence", CLUSTER).group(SUBJECTS, same))

    slots = [{key_slot(key) for key in group.keys} for group in groups]
    assert all(len(one) == 1 for one in slots)
    assert len(groups) == BUCKETS == len(set(TAGS))
    assert sorted(slot * BUCKETS // 16_384 for (slot,) in slots) == list(range(BUCKETS))


def test_a_name_of_every_place() -> None:
    """One on each server, and one for each tag in a Cluster, whose nodes may lose their data one by one."""
    assert [len(keys) for _, keys in Keys("process", TWO).everywhere("p")] == [1, 1]
    assert [len(keys) for _, keys in Keys("process", CLUSTER).everywhere("p")] == [BUCKETS]


def test_a_name_cannot_be_tried_out(settings: Any) -> None:
    """Who knows all addresses, but not the secret key, finds none; and what is counted for one rule tells no other."""
    address = b"203.0.113.7"
    name = Keys("limit", ONE).digest(address)

    assert name != Keys("presence", ONE).digest(address)
    settings.SECRET_KEY = "another" * 10
    assert name != Keys("limit", ONE).digest(address)


def test_the_prefix(settings: Any) -> None:
    """Two installations can share a Redis."""
    settings.PARLEY_REDIS_PREFIX = "acme"

    (group,) = Keys("presence", ONE).group(SUBJECTS[:1], same)

    assert group.keys[0].startswith(b"acme:presence:{")
