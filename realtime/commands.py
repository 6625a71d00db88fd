"""What a client can ask for over a socket: one function for each event, the same behind every kind of socket.

A command takes checked data, calls one service or selector in a database thread, and returns the data of the ack.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from accounts import selectors as people
from accounts import services as accounts
from accounts.models import Status
from accounts.selectors import Principal, SessionHasEnded
from chatproject.ids import uuid7
from chatproject.limits import Rule
from messaging import services
from messaging.drafts import Draft, check
from messaging.representation import ReadMarks, message_body, receipt_body
from messaging.selectors import watermarks_of
from realtime import frames
from realtime.resync import missed
from realtime.sockets import Socket

if TYPE_CHECKING:
    from realtime.engine import Engine

SYNC_FRAMES = 16
"""Frames of an answer to `sync` that are made at a time."""

D = TypeVar("D", bound=frames.Data)
Handler = Callable[["Engine", Socket, Any], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Command:
    """An event that clients may send: the type of its data, what it does, and the limit that it counts towards."""

    data: type[frames.Data]
    run: Handler
    rule: Rule = Rule.COMMAND


def draft_of(socket: Socket, data: frames.SendMessage) -> Draft:
    """Return the checked draft of a `message:send`. Raises `InvalidInput`."""
    return check(
        Draft(
            sender_id=socket.user_id,
            content=data.content,
            type=data.type,
            chat_id=data.chat_id,
            receiver_id=data.receiver_id,
            client_id=data.client_id or uuid7(),
            attachment_id=data.attachment_id,
            origin=socket.id,
        )
    )


async def update_message(engine: Engine, socket: Socket, data: frames.UpdateMessage) -> dict[str, Any]:
    """`message:update`: replace the content of one's own message."""
    return await engine.in_database(_update_message, socket.user_id, data)


def _update_message(user_id: UUID, data: frames.UpdateMessage) -> dict[str, Any]:
    message = services.edit_message(
        chat_id=data.chat_id, message_id=data.message_id, user_id=user_id, content=data.content
    )
    return {"message": message_body(message, ReadMarks(watermarks_of(chat_id=data.chat_id)))}


async def delete_message(engine: Engine, socket: Socket, data: frames.DeleteMessage) -> dict[str, Any]:
    """`message:delete`: delete one's own message."""
    return await engine.in_database(_delete_message, socket.user_id, data)


def _delete_message(user_id: UUID, data: frames.DeleteMessage) -> dict[str, Any]:
    message = services.delete_message(chat_id=data.chat_id, message_id=data.message_id, user_id=user_id)
    return {"message": message_body(message, ReadMarks(watermarks_of(chat_id=data.chat_id)))}


async def mark_read(engine: Engine, socket: Socket, data: frames.Mark) -> dict[str, Any]:
    """`message:read`: everything up to a seq was read."""
    mark = services.mark_read
    return receipt_body(await engine.in_database(mark, chat_id=data.chat_id, user_id=socket.user_id, seq=data.seq))


async def mark_delivered(engine: Engine, socket: Socket, data: frames.Mark) -> dict[str, Any]:
    """`message:delivered`: this device holds everything up to a seq."""
    mark = services.mark_delivered
    return receipt_body(await engine.in_database(mark, chat_id=data.chat_id, user_id=socket.user_id, seq=data.seq))


async def type_on(engine: Engine, socket: Socket, data: frames.Typing) -> dict[str, Any]:
    """`user:typing`: the person types in a chat, or has stopped."""
    await engine.typists.change(chat_id=data.chat_id, user_id=socket.user_id, typing=data.typing)
    return {}


async def set_status(engine: Engine, socket: Socket, data: frames.SetStatus) -> dict[str, Any]:
    """`user:status`: choose what to show while one is there."""
    await engine.in_database(accounts.choose_status, user_id=socket.user_id, status=Status(data.status))
    return {"status": data.status}


async def sync(engine: Engine, socket: Socket, data: frames.Sync) -> dict[str, Any]:
    """`sync`: send what was missed after the cursors, up to `sync:done`, as fast as the client takes it."""
    answer = missed(user_id=socket.user_id, cursors=data.cursors)
    while part := await engine.in_database(lambda: list(islice(answer, SYNC_FRAMES))):
        for name, body in part:
            socket.push_event(name, body)
            await socket.outbox.drained()
    return {}


async def renew_session(engine: Engine, socket: Socket, data: frames.RenewSession) -> dict[str, Any]:
    """`session:renew`: go on with a new access token of the same session."""
    principal: Principal = await engine.in_database(people.authenticate_access_token, token=data.access_token)
    if (principal.user_id, principal.session_id) != (socket.user_id, socket.session_id):
        raise SessionHasEnded
    socket.expires_at = principal.expires_at
    return {"expiresIn": socket.expires_in}


async def ping(engine: Engine, socket: Socket, data: frames.Ping) -> dict[str, Any]:
    """`ping`: a sign of life that a browser can send."""
    return {}


COMMANDS: dict[str, Command] = {
    "message:update": Command(frames.UpdateMessage, update_message, Rule.SEND),
    "message:delete": Command(frames.DeleteMessage, delete_message, Rule.SEND),
    "message:read": Command(frames.Mark, mark_read),
    "message:delivered": Command(frames.Mark, mark_delivered),
    "user:typing": Command(frames.Typing, type_on, Rule.TYPING),
    "user:status": Command(frames.SetStatus, set_status),
    "sync": Command(frames.Sync, sync),
    "session:renew": Command(frames.RenewSession, renew_session),
    "ping": Command(frames.Ping, ping),
}
"""Every event but `message:send`, which goes through the batcher."""
