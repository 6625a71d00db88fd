"""What the tests of the Socket.IO door start from."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from realtime.engine import Engine
from realtime.socketio.door import door
from realtime.socketio.session import Reason


@pytest.fixture
async def served(live: Engine) -> AsyncIterator[None]:
    """A running engine, and so a server of its own; clients that a test leaves behind are not waited for."""
    yield
    if live.loop is not None:
        for session in list(door.server.sessions.values()):
            await session.close(Reason.SERVER_DISCONNECT)
