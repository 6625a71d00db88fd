"""What every door does with a socket once it knows whose it is: greet it, and take its frames in turn."""

from __future__ import annotations

from collections.abc import Callable

from realtime.catalogue import Told
from realtime.dispatch import PENDING_SENDS, handle
from realtime.engine import HEARTBEAT, Engine
from realtime.frames import ClientFrame, parse
from realtime.sockets import Socket


async def greet(engine: Engine, socket: Socket) -> None:
    """Say `hello` and take the socket in."""
    socket.push_event(
        Told.HELLO,
        {
            "userId": str(socket.user_id),
            "sessionId": str(socket.session_id),
            "expiresIn": socket.expires_in,
            "heartbeat": int(HEARTBEAT),
        },
    )
    await engine.join(socket)


async def take(
    engine: Engine,
    socket: Socket,
    text: str | bytes,
    *,
    read: Callable[[str | bytes], ClientFrame] = parse,
) -> None:
    """Answer a frame of this socket, unless it is closing; `read` understands the door's way of writing it."""
    if socket.closing is not None:
        return
    socket.busy = True
    try:
        while socket.pending_sends >= PENDING_SENDS:
            await engine.batcher.committed()
        await handle(engine, socket, text, read=read)
    finally:
        socket.busy = False
