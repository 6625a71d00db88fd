"""Takes a client's frame to its command and the answer back: exactly one ack for each frame with an id."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import structlog
from structlog.contextvars import bound_contextvars

from chatproject.errors import DomainError, InternalError, failure_of
from chatproject.ids import uuid7
from chatproject.limits import Rule, spend
from realtime import frames
from realtime.batcher import Result
from realtime.commands import COMMANDS, draft_of
from realtime.sockets import Socket

if TYPE_CHECKING:
    from messaging.drafts import Draft
    from realtime.engine import Engine

log = structlog.get_logger("parley.socket")
_standard_log = logging.getLogger("parley.socket")
"""The logger below, which answers in a tenth of the time whether a line would be written."""

SEND = "message:send"
PENDING_SENDS = 64
"""Messages of one socket under way to the database; its next frame waits for a commit."""
_HEAD = 64
"""Where in a frame the event's name is looked for, before the frame is parsed for it."""


async def handle(
    engine: Engine,
    socket: Socket,
    text: str | bytes,
    *,
    read: Callable[[str | bytes], frames.ClientFrame] = frames.parse,
) -> None:
    """Answer one frame, which `read` understands. Nothing that a client sends raises here."""
    started = time.perf_counter()
    frame_id: frames.FrameId | None = None
    event = ""
    try:
        frame = read(text)
        frame_id, event = frame.id, frame.event
        if event == SEND:
            _send_message(engine, socket, frame, started)
            return
        command = COMMANDS.get(event)
        if command is None:
            raise frames.UnknownEvent
        data = frames.parse_data(command.data, frame.data)
        spend(command.rule, socket.user_id)
        answer = await command.run(engine, socket, data)
    except frames.BadFrame as error:
        _fail(socket, error.frame_id, error, event="", started=started)
    except DomainError as error:
        _fail(socket, frame_id, error, event=event, started=started)
    except Exception as error:  # noqa: BLE001  the socket boundary: the client gets an answer, the log the reason
        _crash(socket, frame_id, error, event=event)
    else:
        socket.ack(frame_id, answer)
        _log(socket, event, started, code="ok")


def handle_at_once(engine: Engine, socket: Socket, text: str) -> bool:
    """Take a message on the spot, where nothing is to be waited for; what is false here has to be `handle`d.

    The server offers each text as it reads it: no task is woken for the one frame that chat is made of.
    """
    if socket.busy or socket.pending_sends >= PENDING_SENDS or socket.closing is not None or SEND not in text[:_HEAD]:
        return False
    started = time.perf_counter()
    try:
        frame = frames.parse(text)
        if frame.event != SEND:
            return False
        draft = draft_of(socket, frames.parse_data(frames.SendMessage, frame.data))
    except DomainError:  # nothing has happened yet: `handle` says what is wrong with it
        return False
    try:
        spend(Rule.SEND, socket.user_id)
        _submit(engine, socket, frame.id, draft, started)
    except DomainError as error:
        _fail(socket, frame.id, error, event=SEND, started=started)
    return True


def _send_message(engine: Engine, socket: Socket, frame: frames.ClientFrame, started: float) -> None:
    draft = draft_of(socket, frames.parse_data(frames.SendMessage, frame.data))
    spend(Rule.SEND, socket.user_id)
    _submit(engine, socket, frame.id, draft, started)


def _submit(engine: Engine, socket: Socket, frame_id: frames.FrameId | None, draft: Draft, started: float) -> None:
    """Hand a message to the batcher; its ack follows the commit, while this socket's next frame is read."""

    def reply(result: Result) -> None:
        socket.pending_sends -= 1
        outcome = result.outcome
        if isinstance(outcome, DomainError):
            _fail(socket, frame_id, outcome, event=SEND, started=started)
            return
        if frame_id is not None:
            socket.ack(frame_id, {"message": msgspec.Raw(result.body), "duplicate": outcome.duplicate})
        engine.typists.stop(outcome.message.chat_id, socket.user_id)
        _log(socket, SEND, started, code="duplicate" if outcome.duplicate else "ok")

    engine.batcher.submit(draft, reply)
    socket.pending_sends += 1


def _fail(socket: Socket, frame_id: frames.FrameId | None, error: DomainError, *, event: str, started: float) -> None:
    with bound_contextvars(request_id=str(uuid7())):
        socket.fail(frame_id, error)
        _log(socket, event, started, code=error.code)


def _crash(socket: Socket, frame_id: frames.FrameId | None, error: Exception, *, event: str) -> None:
    """Answer for a failure that nobody expected: a bug has its traceback in the log, an outage a line."""
    failure, details = failure_of(error), {"socket_event": _known(event), "user_id": str(socket.user_id)}
    with bound_contextvars(request_id=str(uuid7())):
        if isinstance(failure, InternalError):
            log.error("socket.failed", exc_info=error, **details)
        else:
            log.error("socket.unavailable", error=f"{type(error).__name__}: {error}", **details)
        socket.fail(frame_id, failure)


def _log(socket: Socket, event: str, started: float, *, code: str) -> None:
    if not _standard_log.isEnabledFor(logging.INFO):  # before anything is put into words: frames are many
        return
    log.info(
        "socket.frame",
        socket_event=_known(event),
        code=code,
        ms=round((time.perf_counter() - started) * 1000, 1),
        user_id=str(socket.user_id),
        socket=socket.id,
    )


def _known(event: str) -> str:
    """Return the event's name for the log; what is no event of ours could be anything, so it is not repeated."""
    return event if event in COMMANDS or event == SEND else "?"
