"""The server sides that are compared, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.stacks.base import Stack
from bench.stacks.channels import Channels
from bench.stacks.express import Express
from bench.stacks.parley import Parley
from bench.stacks.prosody import Prosody

Maker = Callable[[Path], Stack]

VARIANTS: dict[str, Maker] = {
    "parley-full": partial(Parley, database="full"),
    "parley-normal": partial(Parley, database="normal"),
    "express-full": partial(Express, synchronous="full"),
    "express-normal": partial(Express, synchronous="normal"),
    "channels-full": partial(Channels, synchronous="full"),
    "channels-normal": partial(Channels, synchronous="normal"),
    "prosody-full": partial(Prosody, synchronous="full"),
    "prosody-normal": partial(Prosody, synchronous="normal"),
}
"""What takes part in the closed loop, in the order of a round."""

SERVERS: dict[str, Maker] = {
    "uvicorn-full": partial(Parley, asgi_server="uvicorn"),
    "granian-full": partial(Parley, asgi_server="granian"),
}
"""Parley on other ASGI servers."""

STORES: dict[str, Maker] = {
    "parley-full": VARIANTS["parley-full"],
    "parley-postgres": partial(Parley, database="postgres"),
    "parley-mongodb": partial(Parley, database="mongodb"),
}
"""Parley on its three stores; what the others are measured against comes first."""
