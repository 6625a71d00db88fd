"""Fixtures of the tests with Socket.IO's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.live.clients import Account, register
from tests.live.server import Daphne
from tests.live.socketio_people import People


@pytest.fixture
async def people() -> AsyncIterator[People]:
    """The process of the clients."""
    async with People() as running:
        yield running


@pytest.fixture
async def ada(live_server_process: Daphne) -> Account:
    """Somebody with a Socket.IO client."""
    return await register(live_server_process, "ada")


@pytest.fixture
async def bob(live_server_process: Daphne) -> Account:
    """Somebody else."""
    return await register(live_server_process, "bob")
