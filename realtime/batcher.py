"""Gathers drafts while one batch commits, and stores them in the next: group commit without a timer.

At low load a batch is one message and nothing waits. The store runs in the database thread; acks and events go out
on the event loop, each ack right before the event of its message, after the commit.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog

from chatproject import db
from chatproject.errors import DomainError, InternalError, Unavailable, failure_of
from messaging.drafts import Draft
from messaging.services import Outcome, store
from realtime.frames import encode
from realtime.parcels import Parcel
from realtime.publisher import collected

log = structlog.get_logger("parley.batcher")

A = TypeVar("A")

BATCH_LIMIT = 256
QUEUE_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one draft: its outcome, the parcel of its event when the message is new, and the message's JSON.

    The JSON is made in the database thread: the content of a message that was there already may have to be decrypted
    with a key that is still in the database.
    """

    outcome: Outcome
    parcel: Parcel | None = None
    body: bytes = b""


Reply = Callable[[Result], None]
Deliver = Callable[[Parcel], None]
Forward = Callable[[Sequence[Parcel]], None]


class Batcher:
    """Feeds `services.store`, one batch at a time."""

    def __init__(self, *, executor: Executor, deliver: Deliver, forward: Forward) -> None:
        """`executor` has the one thread that writes; `deliver` tells sockets here, `forward` the other processes."""
        self._executor = executor
        self._deliver = deliver
        self._forward = forward
        self._waiting: deque[tuple[Draft, Reply]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._commit = asyncio.Event()

    def submit(self, draft: Draft, reply: Reply) -> None:
        """Take a checked draft; `reply` is called on the loop once it is stored or refused.

        Raises `Unavailable` when more drafts wait than can be stored soon, and once it is closed.
        """
        if self._closed or len(self._waiting) >= QUEUE_LIMIT:
            raise Unavailable
        self._waiting.append((draft, reply))
        if self._worker is None:
            # In a context of its own: the log lines of one socket's frame must not carry the names of another's.
            loop = asyncio.get_running_loop()
            self._worker = loop.create_task(self._work(), context=contextvars.Context())

    async def committed(self) -> None:
        """Wait until the next batch has its replies."""
        await self._commit.wait()

    async def drain(self) -> None:
        """Wait until everything that was submitted has its reply."""
        while self._worker is not None:
            await asyncio.shield(self._worker)

    async def close(self) -> None:
        """Refuse every draft from now on, and wait until those that were taken have their replies."""
        self._closed = True
        await self.drain()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_LIMIT))]
                drafts = [draft for draft, _ in batch]
                try:
                    results, others = await loop.run_in_executor(self._executor, _store, drafts)
                except Exception:  # whatever it was, nobody waits for ever: a retry with the same client id is safe
                    log.exception("batch.lost", drafts=len(drafts))
                    results, others = [Result(InternalError()) for _ in drafts], []
                self._answer([reply for _, reply in batch], results, others)
                self._commit.set()
                self._commit = asyncio.Event()
        finally:
            self._worker = None

    def _answer(self, replies: Sequence[Reply], results: Sequence[Result], others: Sequence[Parcel]) -> None:
        """Ack each message and announce it before the next one, so that a client sees its chat's numbers in order."""
        parcels = list(others)
        for parcel in others:
            self._safely(self._deliver, parcel)
        for reply, result in zip(replies, results, strict=True):
            self._safely(reply, result)
            if result.parcel is not None:
                self._safely(self._deliver, result.parcel)
                parcels.append(result.parcel)
        if parcels:
            self._safely(self._forward, parcels)

    @staticmethod
    def _safely(step: Callable[[A], None], argument: A) -> None:
        try:
            step(argument)
        except Exception:  # the socket boundary: one broken socket must not keep the others from their acks
            log.exception("batch.reply_failed")


def _store(drafts: Sequence[Draft]) -> tuple[list[Result], list[Parcel]]:
    """Store a batch in the database thread; when it fails as a whole, each draft on its own."""
    with collected() as parcels:
        outcomes = _outcomes(drafts)
    by_message = {parcel.message_id: parcel for parcel in parcels if parcel.message_id is not None}
    results = [_result(outcome, by_message) for outcome in outcomes]
    return results, [parcel for parcel in parcels if parcel.message_id is None]


def _result(outcome: Outcome, by_message: dict[UUID, Parcel]) -> Result:
    if isinstance(outcome, DomainError):
        return Result(outcome)
    parcel = None if outcome.duplicate else by_message.pop(outcome.message.id, None)
    return Result(outcome, parcel, parcel.data if parcel else encode(outcome.message))


def _outcomes(drafts: Sequence[Draft]) -> list[Outcome]:
    try:
        return store(drafts)
    except DomainError as refusal:
        return [refusal for _ in drafts]
    except Exception as error:  # the boundary of the database thread: every draft gets an answer
        db.discard_broken_connection(error)
        if len(drafts) > 1 and db.is_away(error):  # each on its own would wait as long, and for nothing
            log.warning("batch.failed", drafts=len(drafts), error=f"{type(error).__name__}: {error}")
            return [failure_of(error) for _ in drafts]
        if len(drafts) > 1:
            log.warning("batch.split", drafts=len(drafts), error=type(error).__name__)
            return [outcome for draft in drafts for outcome in _outcomes([draft])]
        log.exception("batch.failed", sender_id=str(drafts[0].sender_id))
        return [failure_of(error)]
