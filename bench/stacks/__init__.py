"""The server sides that are compared, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.stacks.base import Stack
from bench.stacks.channels import Channels
from bench.stacks.express import Express
from bench.stacks.parley import Parley

Maker = Callable[[Path], Stack]

VARIANTS: dict[str, Maker] = {
    "parley-full": partial(Parley, synchronous="full"),
    "parley-normal": partial(Parley, synchronous="normal"),
    "express-full": partial(Express, synchronous="full"),
    "express-normal": partial(Express, synchronous="normal"),
    "channels-full": partial(Channels, synchronous="full"),
    "channels-normal": partial(Channels, synchronous="normal"),
}
