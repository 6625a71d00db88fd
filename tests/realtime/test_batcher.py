"""Tests of group commit: what is stored together, and in which order it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog
from django.db import DatabaseError, OperationalError, connections

from chatproject.errors import DomainError, InternalError, Unavailable
from chatproject.events import set_publisher
from chatproject.ids import uuid7
from messaging.drafts import Draft
from messaging.models import Chat, Message
from messaging.selectors import ChatNotFound
from messaging.services import Outcome, store
from realtime import batcher as batcher_module
from realtime.batcher import Batcher, Result
from realtime.parcels import Parcel
from realtime.publisher import publisher_to
from tests.chatproject.commits import lose_answer
from tests.realtime.conftest import Person, until


class Bench:
    """A batcher whose store can be held, and a record of what comes out of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.told: list[tuple[str, Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.poison: dict[str, Exception] = {}
        self.executor = ThreadPoolExecutor(1)
        self.forwarded: list[list[Any]] = []
        self.batcher = Batcher(executor=self.executor, deliver=self.deliver, forward=self.forward)
        monkeypatch.setattr(batcher_module, "store", self.store)

    def store(self, drafts: Sequence[Draft]) -> list[Outcome]:
        """Note the call, wait at the gate, fail where a draft is poisoned, and else do the real thing."""
        self.calls.append([draft.content for draft in drafts])
        assert self.gate.wait(5)
        for draft in drafts:
            if draft.content in self.poison:
                raise self.poison[draft.content]
        return store(drafts)

    def deliver(self, parcel: Parcel) -> None:
        """Note the event."""
        self.told.append(("event", parcel.message_id))

    def forward(self, parcels: Sequence[Parcel]) -> None:
        """Note what other processes are told together."""
        self.forwarded.append([parcel.message_id for parcel in parcels])

    def submit(self, draft: Draft) -> None:
        """Submit, and note the reply."""

        def reply(result: Result) -> None:
            outcome = result.outcome
            self.told.append(("refused", outcome) if isinstance(outcome, DomainError) else ("ack", outcome.message.id))

        self.batcher.submit(draft, reply)

    @property
    def acks(self) -> list[Any]:
        """The ids of the messages that were acked."""
        return [value for kind, value in self.told if kind == "ack"]

    @property
    def refusals(self) -> list[DomainError]:
        """The errors of the drafts that were refused."""
        return [value for kind, value in self.told if kind == "refused"]


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> AsyncIterator[Bench]:
    """A bench whose thread and connection end with the test."""
    made = Bench(monkeypatch)
    former = set_publisher(publisher_to(lambda parcels: [made.deliver(one) for one in parcels]))
    yield made
    made.gate.set()
    await made.batcher.drain()
    set_publisher(former)
    await asyncio.get_running_loop().run_in_executor(made.executor, connections.close_all)
    made.executor.shutdown()


@pytest.fixture
def draft_of(chat: Chat, ada: Person) -> Callable[..., Draft]:
    """Return a function that makes Ada's drafts for her chat with Bob."""

    def make(content: str, **options: Any) -> Draft:
        return Draft(**{"sender_id": ada.id, "chat_id": chat.id, "content": content, **options})

    return make


async def test_one_message_is_a_batch_of_one(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """Nothing waits for company; the ack comes before the event."""
    bench.submit(draft_of("hello"))
    await bench.batcher.drain()

    assert bench.calls == [["hello"]]
    assert [kind for kind, _ in bench.told] == ["ack", "event"]
    assert bench.told[0][1] == bench.told[1][1]


async def test_what_gathers_during_a_commit_is_one_batch(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """While one batch is in the store, the next one gathers, into one call."""
    bench.gate.clear()
    bench.submit(draft_of("first"))
    await until(lambda: bench.calls)
    for number in range(40):
        bench.submit(draft_of(str(number)))
    assert bench.told == []

    bench.gate.set()
    await bench.batcher.drain()

    assert bench.calls == [["first"], [str(number) for number in range(40)]]
    assert len(bench.acks) == 41


async def test_acks_and_events_follow_the_numbers(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """Each message is acked right before its event, and a chat's messages come in the order of their seqs."""
    for number in range(30):
        bench.submit(draft_of(str(number)))
    await bench.batcher.drain()

    assert [kind for kind, _ in bench.told] == ["ack", "event"] * 30
    in_order = await asyncio.get_running_loop().run_in_executor(
        bench.executor, lambda: list(Message.objects.order_by("seq").values_list("id", flat=True))
    )
    assert bench.acks == in_order


async def test_a_batch_has_a_limit(
    bench: Bench, draft_of: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is more goes into the batch after it."""
    monkeypatch.setattr(batcher_module, "BATCH_LIMIT", 4)

    for number in range(10):
        bench.submit(draft_of(str(number)))
    await bench.batcher.drain()

    assert [len(call) for call in bench.calls] == [4, 4, 2]


async def test_a_refused_draft_disturbs_no_other(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """An expected error is that draft's alone, without a second transaction."""
    bench.submit(draft_of("a"))
    bench.submit(draft_of("b", chat_id=uuid7()))
    bench.submit(draft_of("c"))
    await bench.batcher.drain()

    assert len(bench.calls) == 1
    assert [kind for kind, _ in bench.told] == ["ack", "event", "refused", "ack", "event"]
    assert isinstance(bench.refusals[0], ChatNotFound)


@pytest.mark.parametrize(
    ("poison", "expected"), [(ValueError("poison"), InternalError), (DatabaseError("too large"), Unavailable)]
)
async def test_a_poisoned_draft_fails_alone(
    bench: Bench, draft_of: Callable[..., Draft], poison: Exception, expected: type[DomainError]
) -> None:
    """A batch that fails as a whole is stored one by one, and each of its drafts gets its own answer."""
    bench.poison["poison"] = poison

    for content in ("a", "poison", "b"):
        bench.submit(draft_of(content))
    await bench.batcher.drain()

    assert bench.calls == [["a", "poison", "b"], ["a"], ["poison"], ["b"]]
    assert [type(error) for error in bench.refusals] == [expected]
    assert len(bench.acks) == 2


async def test_a_database_that_is_away_is_asked_once(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """Each draft on its own might wait for as long as the whole batch has, one after the other."""
    bench.poison["b"] = OperationalError("the connection was lost")

    for content in ("a", "b", "c"):
        bench.submit(draft_of(content))
    await bench.batcher.drain()

    assert bench.calls == [["a", "b", "c"]]
    assert [type(error) for error in bench.refusals] == [Unavailable] * 3


async def test_a_repeat_gets_the_first_message_and_no_event(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """In the same batch and in a later one."""
    client_id = uuid7()
    bench.submit(draft_of("once", client_id=client_id))
    bench.submit(draft_of("once", client_id=client_id))
    await bench.batcher.drain()
    bench.submit(draft_of("once", client_id=client_id))
    await bench.batcher.drain()

    assert len(set(bench.acks)) == 1
    assert [kind for kind, _ in bench.told] == ["ack", "event", "ack", "ack"]


async def test_a_batch_whose_commit_was_done_and_not_confirmed(
    bench: Bench, draft_of: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each draft on its own finds its message, and is acked and announced as if nothing had happened."""
    bench.submit(draft_of("keeps the thread busy"))
    await bench.batcher.drain()
    bench.told.clear()
    lose_answer(monkeypatch, DatabaseError("no such transaction"))
    for content in ("one", "two"):
        bench.submit(draft_of(content))
    await bench.batcher.drain()

    assert bench.calls[1:] == [["one", "two"], ["one"], ["two"]]
    assert [kind for kind, _ in bench.told] == ["ack", "event"] * 2
    assert bench.forwarded[1:] == [list(dict.fromkeys(bench.acks))]


async def test_too_many_waiting_drafts_are_refused_at_once(
    bench: Bench, draft_of: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that has fallen behind says so instead of filling the memory."""
    monkeypatch.setattr(batcher_module, "QUEUE_LIMIT", 2)
    bench.gate.clear()
    bench.submit(draft_of("in the store"))
    await until(lambda: bench.calls)
    bench.submit(draft_of("a"))
    bench.submit(draft_of("b"))

    with pytest.raises(Unavailable):
        bench.submit(draft_of("c"))

    bench.gate.set()
    await bench.batcher.drain()
    assert len(bench.acks) == 3


async def test_broken_sockets_do_not_stop_the_others(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """Neither a reply that raises nor a delivery that does."""
    delivered = bench.deliver

    def broken(parcels: Sequence[Parcel]) -> None:
        delivered(parcels)
        raise RuntimeError("a broken socket")

    def broken_reply(result: Result) -> None:
        raise RuntimeError("another one")

    bench.batcher._deliver = broken
    bench.batcher.submit(draft_of("a"), broken_reply)
    bench.submit(draft_of("b"))
    await bench.batcher.drain()

    assert [kind for kind, _ in bench.told] == ["event", "ack", "event"]


async def test_nobody_waits_for_ever(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """When the thread itself is gone every draft is answered, and who waits for the commit goes on."""
    bench.executor.shutdown()
    waiting = asyncio.ensure_future(bench.batcher.committed())

    bench.submit(draft_of("a"))
    await bench.batcher.drain()
    await asyncio.wait_for(waiting, 1)

    assert [type(error) for error in bench.refusals] == [InternalError]
    bench.executor = ThreadPoolExecutor(1)


async def test_the_worker_has_no_ones_context(bench: Bench, draft_of: Callable[..., Draft]) -> None:
    """What one frame bound for its log lines does not reach the replies to others."""
    seen: list[dict[str, Any]] = []

    with structlog.contextvars.bound_contextvars(socket="somebody's"):
        bench.batcher.submit(draft_of("a"), lambda _: seen.append(structlog.contextvars.get_contextvars()))
    await bench.batcher.drain()

    assert seen == [{}]
