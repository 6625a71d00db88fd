"""What a server may offer beside ASGI: its own end of a socket, for the frames that are too many for the long way.

`realtime.daphne_wire` offers it under Daphne. Without it everything works by ASGI's `receive` and `send` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

WIRE = "parley.wire"
"""The ASGI extension that holds a socket's `Wire`."""


class Wire(Protocol):
    """A server's own end of a socket. `take` is offered each text that comes, and tells whether it took it."""

    take: Callable[[str], bool] | None

    def write(self, text: str) -> None:
        """Send a text frame."""

    def backlog(self) -> int:
        """Return the bytes that wait for the peer."""
