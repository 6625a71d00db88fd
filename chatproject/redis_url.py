"""Reads `REDIS_URL`: which Redis servers there are, and how each of them is reached.

Sentinel and Cluster are written as Redis-Sentinel-Url and docket write them; the options are those of redis-py's URLs.
Credentials are percent-encoded. They are in no message and no `repr`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, unquote

from django.core.exceptions import ImproperlyConfigured

from chatproject import tls_files

Address = tuple[str, int]

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_ANOTHER_URL = re.compile(r",(?=\s*[a-z+]+://)")
_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<login>[^/?]*)@)?(?P<hosts>[^/?@]*)(?:/(?P<path>[^?@]*))?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+)(?::(?P<port>\d{1,5}))?")

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHOICES: dict[str, dict[str, str | bool]] = {
    "ssl_cert_reqs": {"required": "required", "none": "none"},
    "ssl_check_hostname": {"true": True, "yes": True, "false": False, "no": False},
}
_SENTINEL_LOGIN = {"sentinel_username": "username", "sentinel_password": "password"}


class Kind(StrEnum):
    """Which way a server is found: at its address, through Sentinels, or as the nodes of a Cluster."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES = {
    "redis": (Kind.SINGLE, False),
    "rediss": (Kind.SINGLE, True),
    "unix": (Kind.SINGLE, False),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """One Redis as Parley sees it: a single server, a master behind Sentinels, or a Cluster.

    `addresses` are those of the server, of the Sentinels, or of some nodes. `login`, `sentinel_login` and `tls_options`
    are keyword arguments of redis-py's clients; `tls_options` is None without TLS.
    """

    kind: Kind
    addresses: tuple[Address, ...] = ()
    socket_path: str = ""
    service: str = ""
    database: int = 0
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls_options: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """Return where the server is, for people: never its credentials."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses)
        if self.kind is Kind.CLUSTER:
            return f"the cluster at {hosts}"
        place = f"{self.service} of the sentinels at {hosts}" if self.service else hosts or self.socket_path
        return place if self.database == 0 else f"{place}, database {self.database}"


def parse(value: str) -> tuple[RedisServer, ...]:
    """Parse `REDIS_URL`; several URLs, comma-separated, are independent servers. Raises `ImproperlyConfigured`."""
    urls = [url for part in _ANOTHER_URL.split(value) if (url := part.strip().rstrip(","))]
    return tuple(_server(url) for url in urls)


def _wrong(problem: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"REDIS_URL: {problem}.")


def _server(url: str) -> RedisServer:
    found = _URL.fullmatch(url)
    if found is None:
        raise _wrong("it must be scheme://host:port, with `/`, `?` and `@` in a password percent-encoded")
    scheme, hosts, path = found["scheme"], found["hosts"], unquote(found["path"] or "")
    if scheme not in _SCHEMES:
        raise _wrong(f"the scheme must be one of {', '.join(_SCHEMES)}")
    kind, tls = _SCHEMES[scheme]
    common: dict[str, Any] = {"kind": kind, "login": _login(found["login"])}
    common |= _options(found["query"] or "", kind=kind, tls=tls)
    if scheme == "unix":
        if hosts or not path:
            raise _wrong("a socket is written unix:///its/path")
        return RedisServer(**common, socket_path=f"/{path}")
    addresses = tuple(
        _address(host, SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT) for host in hosts.split(",")
    )
    if kind is Kind.SINGLE and len(addresses) > 1:
        raise _wrong("several servers are several URLs: redis://one,redis://other")
    service = ""
    if kind is Kind.SENTINEL:
        service, _, path = path.partition("/")
        if not service:
            raise _wrong("Sentinel needs the name of the service after the hosts: redis+sentinel://host/mymaster")
    database = _database(path)
    if kind is Kind.CLUSTER and database:
        raise _wrong("a Cluster has database 0 alone")
    return RedisServer(**common, addresses=addresses, service=service, database=database)


def _login(credentials: str | None) -> dict[str, str]:
    username, _, password = (credentials or "").partition(":")
    named = {"username": unquote(username), "password": unquote(password)}
    if username and not password:
        raise _wrong("a user needs a password: redis://user:password@host; a password alone is written :password@host")
    return {name: value for name, value in named.items() if value}


def _address(text: str, default_port: int) -> Address:
    found = _HOST.fullmatch(text.strip())
    if found is None:
        raise _wrong("each host must be host, host:port or [address]:port")
    port = int(found["port"] or default_port)
    if not 0 < port < 65_536:
        raise _wrong(f"port {port} is none")
    return found["host"].strip("[]"), port


def _database(path: str) -> int:
    if not re.fullmatch(r"\d{0,5}", path):
        raise _wrong("the database after the last `/` must be a number")
    return int(path or 0)


def _options(query: str, *, kind: Kind, tls: bool) -> dict[str, Any]:
    """Return `tls_options` and `sentinel_login`, as the query has them."""
    tls_options: dict[str, Any] = {}
    sentinel_login: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _SENTINEL_LOGIN and kind is Kind.SENTINEL:
            sentinel_login[_SENTINEL_LOGIN[name]] = value
        elif name in (*_FILES, *_CHOICES) and tls:
            tls_options[name] = _tls_option(name, value)
        elif name in (*_FILES, *_CHOICES, *_SENTINEL_LOGIN):
            fitting = "rediss://" if name.startswith("ssl_") else "redis+sentinel://"
            raise _wrong(f"the option {name} is for {fitting}")
        else:
            raise _wrong(f"it has an option that is none of {', '.join([*_FILES, *_CHOICES, *_SENTINEL_LOGIN])}")
    certificate, key = tls_options.get("ssl_certfile"), tls_options.get("ssl_keyfile")
    if key and not certificate:
        raise _wrong("ssl_keyfile is the key of a certificate: name that one too, by ssl_certfile")
    if certificate and (problem := tls_files.no_own_certificate(certificate, key=key)):
        raise _wrong(f"ssl_certfile {problem}")
    if tls_options.get("ssl_cert_reqs") == "none":
        tls_options["ssl_check_hostname"] = False
    return {"tls_options": tls_options if tls else None, "sentinel_login": sentinel_login}


def _tls_option(name: str, value: str) -> str | bool:
    if name in _FILES:
        if problem := tls_files.no_certificates(value) if name == "ssl_ca_certs" else tls_files.unreadable(value):
            raise _wrong(f"{name} {problem}")
        return value
    choices = _CHOICES[name]
    if value.lower() not in choices:
        raise _wrong(f"{name} must be one of {', '.join(choices)}")
    return choices[value.lower()]
