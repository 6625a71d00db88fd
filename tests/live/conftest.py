"""Fixtures of the tests with Socket.IO's own client, which run on one event loop: a module shares what lives on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.live.clients import Account, register
from tests.live.server import Daphne
from tests.live.socketio_people import People


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[People]:
    """The process of the clients."""
    async with People() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def people(node: People) -> AsyncIterator[People]:
    """The process, for the clients of one test."""
    yield node
    node.leave()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ada(live_server_process: Daphne) -> Account:
    """Somebody with a Socket.IO client; signing up takes longer than most of what they do."""
    return await register(live_server_process, "ada")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bob(live_server_process: Daphne) -> Account:
    """Somebody else."""
    return await register(live_server_process, "bob")
