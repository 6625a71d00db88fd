"""Tests of `REDIS_URL`: every form of it, and that a wrong one is told in a line without its password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from chatproject.redis_url import Kind, RedisServer, parse
from tests.certificates import make_certificates

SINGLE, SENTINEL, CLUSTER = Kind.SINGLE, Kind.SENTINEL, Kind.CLUSTER
LOGIN = {"username": "ada", "password": "p@ss/w,rd"}
WRITTEN = "ada:p%40ss%2Fw%2Crd"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("redis://h", {"kind": SINGLE, "addresses": (("h", 6379),)}),
        ("redis://h:1/2", {"kind": SINGLE, "addresses": (("h", 1),), "database": 2}),
        ("redis://[::1]:1/0", {"kind": SINGLE, "addresses": (("::1", 1),)}),
        (f"redis://{WRITTEN}@h", {"kind": SINGLE, "addresses": (("h", 6379),), "login": LOGIN}),
        ("redis://:sesame@h", {"kind": SINGLE, "addresses": (("h", 6379),), "login": {"password": "sesame"}}),
        ("rediss://h", {"kind": SINGLE, "addresses": (("h", 6379),), "tls_options": {}}),
        (
            "rediss://h?ssl_cert_reqs=none",
            {
                "kind": SINGLE,
                "addresses": (("h", 6379),),
                "tls_options": {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
            },
        ),
        ("unix:///run/redis.sock", {"kind": SINGLE, "socket_path": "/run/redis.sock"}),
        (
            f"redis+sentinel://{WRITTEN}@a,[::1]:1,c:2/mymaster/3?sentinel_username=eve&sentinel_password=x%26y",
            {
                "kind": SENTINEL,
                "addresses": (("a", 26379), ("::1", 1), ("c", 2)),
                "service": "mymaster",
                "database": 3,
                "login": LOGIN,
                "sentinel_login": {"username": "eve", "password": "x&y"},
            },
        ),
        (
            "rediss+sentinel://a/mymaster",
            {"kind": SENTINEL, "addresses": (("a", 26379),), "service": "mymaster", "tls_options": {}},
        ),
        ("redis+cluster://a:1,b:2", {"kind": CLUSTER, "addresses": (("a", 1), ("b", 2))}),
        ("rediss+cluster://a/0", {"kind": CLUSTER, "addresses": (("a", 6379),), "tls_options": {}}),
    ],
)
def test_forms(value: str, expected: dict[str, Any]) -> None:
    """Each is one server, with the defaults of what it leaves out."""
    assert parse(value) == (RedisServer(**expected),)


def test_several_servers() -> None:
    """They are independent of each other, whatever each of them is; a comma inside of one ends none."""
    servers = parse(f"redis://{WRITTEN}@h:1/2, redis+sentinel://a,b/one ,rediss+cluster://c,d,")

    assert [str(server) for server in servers] == [
        "h:1, database 2",
        "one of the sentinels at a:26379,b:26379",
        "the cluster at c:6379,d:6379",
    ]


def test_none() -> None:
    """An empty variable is none."""
    assert parse("") == ()


def test_certificates_are_files(tmp_path: Path) -> None:
    """What is configured is looked for at the start, not at the first connection."""
    make_certificates(tmp_path)

    (server,) = parse(f"rediss://h?ssl_ca_certs={tmp_path}/ca.pem&ssl_check_hostname=no")

    assert server.tls_options == {"ssl_ca_certs": f"{tmp_path}/ca.pem", "ssl_check_hostname": False}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("localhost", "it must be scheme://host:port"),
        ("http://SESAME@h", "the scheme must be one of redis, rediss"),
        ("redis://", "each host must be"),
        ("redis://:SESAME@h:port", "each host must be"),
        ("redis://:SESAME@h:0", "port 0 is none"),
        ("redis://:SESAME@h:65536", "port 65536 is none"),
        ("redis://SESAME@h", "a user needs a password"),
        ("redis://:SESA/ME@h/1", "it must be scheme://host:port"),
        ("redis://:SESAME@h/x", "the database after the last `/` must be a number"),
        ("redis://:SESA?ME@h", "it has an option that is none of ssl_ca_certs"),
        ("redis://:SESA/ME", "each host must be"),
        ("redis://:SESAME@a,b", "several servers are several URLs"),
        ("redis://:SESAME@h?SESAME=1", "it has an option that is none of ssl_ca_certs"),
        ("redis://:SESAME@h?ssl_ca_certs=/etc/passwd", "the option ssl_ca_certs is for rediss://"),
        ("rediss://:SESAME@h?ssl_ca_certs=/SESAME", "ssl_ca_certs names no file"),
        ("rediss://:SESAME@h?ssl_ca_certs=/etc/passwd", "ssl_ca_certs names a file without a certificate"),
        ("rediss://:SESAME@h?ssl_certfile=/etc/passwd", "ssl_certfile does not fit: it takes a certificate"),
        ("rediss://:SESAME@h?ssl_keyfile=/SESAME", "ssl_keyfile names no file"),
        ("rediss://:SESAME@h?ssl_keyfile=/etc/passwd", "ssl_keyfile is the key of a certificate"),
        ("rediss://:SESAME@h?ssl_cert_reqs=SESAME", "ssl_cert_reqs must be one of required, none"),
        ("redis://:SESAME@h?sentinel_password=SESAME", "the option sentinel_password is for redis+sentinel://"),
        ("redis+sentinel://:SESAME@a,b", "Sentinel needs the name of the service"),
        ("redis+cluster://:SESAME@a,b/1", "a Cluster has database 0 alone"),
        ("unix://h/SESAME", "a socket is written unix:///its/path"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(value: str, problem: str) -> None:
    """And no secret is in it, nor in the error that it came from."""
    with pytest.raises(ImproperlyConfigured) as caught:
        parse(value)

    message = str(caught.value)
    assert message.startswith(f"REDIS_URL: {problem}")
    assert "\n" not in message
    assert not {"SESAME", "SESA"} & set(message.replace("/", " ").replace(":", " ").split())
    assert caught.value.__cause__ is None


def test_a_certificate_of_our_own(tmp_path: Path) -> None:
    """It is taken with its key, and with no other one."""
    (tmp_path / "other").mkdir()
    files, others = make_certificates(tmp_path), make_certificates(tmp_path / "other")

    (server,) = parse(f"rediss://h?ssl_certfile={files.certificate}&ssl_keyfile={files.key}")

    assert server.tls_options == {"ssl_certfile": str(files.certificate), "ssl_keyfile": str(files.key)}
    with pytest.raises(ImproperlyConfigured, match="ssl_certfile does not fit"):
        parse(f"rediss://h?ssl_certfile={files.certificate}&ssl_keyfile={others.key}")


def test_secrets_are_in_no_text() -> None:
    """Neither for people nor for debuggers."""
    (server,) = parse("redis+sentinel://eve:SESAME@a/mymaster?sentinel_password=SESAME2")

    assert "SESAME" not in f"{server} {server!r}"
