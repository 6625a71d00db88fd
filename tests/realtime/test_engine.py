"""Tests of the engine: how it starts and ends, the REST door, sessions that end, and the periodic look at chats."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
import time_machine
from django.utils import timezone

from accounts import services as accounts
from accounts import sessions
from accounts.models import EndReason, Session, User
from chatproject.errors import DomainError, Unavailable
from chatproject.ids import uuid7
from messaging import services, submission
from messaging.drafts import Draft
from messaging.models import Chat, Message
from messaging.selectors import ChatNotFound
from realtime import engine as engine_module
from realtime import lookout, presence, reminders
from realtime.engine import Engine
from tests.realtime.client import Client
from tests.realtime.conftest import Connect, Person, sign_in, until

# --- Start and end ----------------------------------------------------------------------------------------------------


async def test_starting_twice_is_starting_once(live: Engine) -> None:
    """Each connection asks for it."""
    hub, bus = live.hub, live.bus

    live.start()

    assert (live.hub, live.bus) == (hub, bus)


async def test_stopping_closes_every_socket(live: Engine, ada: Person, bob: Person) -> None:
    """With 1012, which tells clients to come back; afterwards no thread and no task is left."""
    clients = [await Client(person.token).open() for person in (ada, bob)]
    for client in clients:
        await client.ok("ping")

    stopping = asyncio.ensure_future(live.stop())
    codes = [await client.closed() for client in clients]
    await stopping

    assert codes == [1012, 1012]
    assert [client.close_reason for client in clients] == ["restarting", "restarting"]
    assert [client.inbox[-1]["event"] for client in clients] == ["restarting", "restarting"]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("parley-")] == []
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert others == []
    await live.stop()


async def test_stopping_does_not_wait_for_ever(live: Engine, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not answer the close is left behind."""
    monkeypatch.setattr(engine_module, "CLOSING_SECONDS", 0.1)
    client = await Client(ada.token).open()

    await asyncio.wait_for(live.stop(), 2)

    await client.close()


async def test_stopping_stores_what_was_sent(live: Engine, chat: Chat, ada: Person, bob: Person) -> None:
    """What the server has read is acked before the close."""
    client, on_bob = await Client(ada.token).open(), await Client(bob.token).open()
    for number in range(20):
        await client.send("message:send", {"chatId": str(chat.id), "content": str(number)}, frame_id=number)
    await client.send("ping", frame_id="last")
    await client.ack("last")

    stopping = asyncio.ensure_future(live.stop())
    assert await client.closed() == 1012
    assert await on_bob.closed() == 1012
    await stopping

    assert sorted(frame["ack"] for frame in client.inbox if "ack" in frame) == list(range(20))
    assert len([frame for frame in on_bob.inbox if frame.get("event") == "message:receive"]) == 20


async def test_who_comes_while_it_stops(live: Engine, chat: Chat, ada: Person, bob: Person) -> None:
    """A socket whose handshake was under way is sent away as it joins, and hears of no failure."""
    first = await Client(ada.token).open()
    stopping = asyncio.ensure_future(live.stop())
    await until(lambda: live.ending)
    late = await Client(bob.token).open()
    await late.send("message:send", {"chatId": str(chat.id), "content": "late"}, frame_id=1)
    codes = [await client.closed() for client in (first, late)]
    await stopping

    assert codes == [1012, 1012]
    assert [frame["event"] for frame in late.inbox] == ["restarting"]


async def test_who_comes_when_it_has_stopped(live: Engine, chat: Chat, ada: Person) -> None:
    """Nothing begins anew: a socket is asked to come back later, and so is a message that REST was about to store."""
    submit = live.submit_from_thread
    await live.stop()
    live.start()

    late = await Client(ada.token).open()
    with pytest.raises(Unavailable):
        await in_worker(lambda: submit(Draft(sender_id=ada.id, chat_id=chat.id, content="late")))

    assert late.close_code == 1013
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("parley-")] == []


# --- The REST door ----------------------------------------------------------------------------------------------------


async def in_worker(call: Any) -> Any:
    """Run in a thread like those of REST views."""
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, call)


async def test_rest_and_sockets_share_the_writer(
    connect: Connect, chat: Chat, ada: Person, bob: Person, eve: Person
) -> None:
    """A REST message is told to everybody's sockets, the sender's own included."""
    on_ada, on_bob, on_eve = await connect(ada), await connect(bob), await connect(eve)

    stored = await in_worker(lambda: submission.submit(Draft(sender_id=ada.id, chat_id=chat.id, content="from REST")))

    assert (await on_bob.event("message:receive"))["id"] == str(stored.message.id)
    assert (await on_ada.event("message:receive"))["id"] == str(stored.message.id)
    assert await on_eve.events() == []


async def test_refusals_reach_the_rest_door(live: Engine, chat: Chat, eve: Person) -> None:
    """As the error that the draft got."""
    with pytest.raises(ChatNotFound):
        await in_worker(lambda: submission.submit(Draft(sender_id=eve.id, chat_id=chat.id, content="x")))


async def test_a_full_queue_reaches_the_rest_door(
    live: Engine, chat: Chat, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once."""
    monkeypatch.setattr("realtime.batcher.QUEUE_LIMIT", 0)

    with pytest.raises(Unavailable):
        await in_worker(lambda: submission.submit(Draft(sender_id=ada.id, chat_id=chat.id, content="x")))


async def test_a_store_that_takes_too_long(
    live: Engine, chat: Chat, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told to try again, with the same client id."""
    monkeypatch.setattr(engine_module, "SUBMIT_SECONDS", 0.05)
    gate = threading.Event()
    monkeypatch.setattr("realtime.batcher.store", lambda drafts: gate.wait(5) and services.store(drafts))

    with pytest.raises(Unavailable):
        await in_worker(lambda: submission.submit(Draft(sender_id=ada.id, chat_id=chat.id, content="x")))

    gate.set()
    await live.batcher.drain()
    assert await live.in_database(Message.objects.count) == 1


# --- Sessions that end ------------------------------------------------------------------------------------------------


async def test_signing_out_closes_the_sessions_sockets(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """All of that session, told why; another session of the same person and other people stay."""
    elsewhere = await live.in_database(sign_in, ada.id)
    tab, other_tab = await connect(ada), await connect(ada)
    phone, on_bob = await connect(elsewhere), await connect(bob)

    await live.in_database(sessions.sign_out, user_id=ada.id, session_id=ada.session_id)

    for client in (tab, other_tab):
        assert await client.closed() == 4401
        assert (await client.event("session:end"))["reason"] == "logout"
    assert "session:end" not in await phone.events()
    assert "session:end" not in await on_bob.events()


@pytest.mark.usefixtures("quick_timers")
async def test_a_revocation_written_to_the_database(live: Engine, connect: Connect, ada: Person, bob: Person) -> None:
    """Nobody published it; the periodic look finds it."""
    on_ada, on_bob = await connect(ada), await connect(bob)

    await live.in_database(
        Session.objects.filter(pk=ada.session_id).update, ended_at=timezone.now(), end_reason=EndReason.REVOKED
    )

    assert await on_ada.closed() == 4401
    assert (await on_ada.event("session:end"))["reason"] == "revoked"
    await on_bob.ok("ping")


@pytest.mark.usefixtures("quick_timers")
async def test_somebody_deactivated_in_the_database(live: Engine, connect: Connect, ada: Person) -> None:
    """Their sockets go as well."""
    on_ada = await connect(ada)

    await live.in_database(User.objects.filter(pk=ada.id).update, is_active=False)

    assert await on_ada.closed() == 4401


@pytest.mark.usefixtures("quick_timers")
async def test_a_token_that_runs_out(live: Engine, connect: Connect, ada: Person) -> None:
    """The socket ends with its token unless it is renewed."""
    quiet, renewing = await connect(ada), await connect(ada)
    for socket in live.hub.sockets_of(ada.id):
        socket.expires_at = timezone.now() + timedelta(seconds=0.4)

    await renewing.ok("session:renew", {"accessToken": ada.token})

    assert await quiet.closed() == 4401
    assert (await quiet.event("session:end"))["reason"] == "expired"
    await asyncio.sleep(0.2)
    await renewing.ok("ping")


def test_a_revocation_is_found_within_five_seconds() -> None:
    """The period leaves room for the look itself."""
    assert engine_module.SESSION_CHECK <= 4


async def test_a_password_change_ends_the_others(live: Engine, connect: Connect, ada: Person) -> None:
    """The session that changed it stays."""
    elsewhere = await live.in_database(sign_in, ada.id)
    phone, tab = await connect(elsewhere), await connect(ada)

    await live.in_database(
        sessions.end_sessions, user_id=ada.id, reason=EndReason.PASSWORD_CHANGED, except_id=ada.session_id
    )

    assert await phone.closed() == 4401
    assert (await phone.event("session:end"))["reason"] == "password_changed"
    await tab.ok("ping")


# --- The look at chats ------------------------------------------------------------------------------------------------


def unheard(action: Callable[[], object]) -> None:
    """Do something as a process would whose events are lost."""
    from chatproject.events import set_publisher

    former = set_publisher(None)
    try:
        action()
    finally:
        set_publisher(former)


def write_unheard(chat: Chat, sender: Person) -> None:
    """Store a message whose event is lost."""
    unheard(lambda: services.store([Draft(sender_id=sender.id, chat_id=chat.id, content="unheard")]))


@pytest.mark.usefixtures("quick_timers")
async def test_lost_events_are_noticed(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, eve: Person
) -> None:
    """Members' sockets get the chat's rev within a period; strangers get nothing."""
    on_bob, on_eve = await connect(bob), await connect(eve)
    await asyncio.sleep(0.15)
    await on_bob.events()

    await live.in_database(write_unheard, chat, ada)

    assert await on_bob.event("sync", rev=1) == {"chatId": str(chat.id), "rev": 1, "marks": 0}
    assert "sync" not in await on_eve.events()


async def test_a_gap_on_the_bus_is_a_reason_to_look(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """At once, and once for many gaps."""
    on_bob = await connect(bob)
    await live.in_database(write_unheard, chat, ada)

    for _ in range(5):
        live.lookout.events_were_lost()

    await on_bob.event("sync", chatId=str(chat.id), rev=1)
    assert "sync" not in await on_bob.events()


async def test_leases_that_were_lost(live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """Meanwhile nothing was routed to this process, so its sockets are shown where their chats stand."""
    on_bob = await connect(bob)
    await live.in_database(write_unheard, chat, ada)
    await live._check_leases()
    assert "sync" not in await on_bob.events()

    live.leases._marks.clear()  # type: ignore[union-attr]
    await live._check_leases()

    await on_bob.event("sync", chatId=str(chat.id), rev=1)


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "forward"])
async def test_a_clock_that_jumps(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, jump: timedelta
) -> None:
    """What is written after the jump is found."""
    on_bob = await connect(bob)
    await live.lookout.look()

    with time_machine.travel(datetime.now(UTC) + jump, tick=True):
        await live.in_database(write_unheard, chat, ada)
        await live.lookout.look()

    await on_bob.event("sync", chatId=str(chat.id), rev=1)


async def test_a_look_that_fails_is_made_up_for(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one begins where the last good one was."""
    monkeypatch.setattr(lookout, "SYNC_OVERLAP", timedelta(0))
    on_bob = await connect(bob)
    await live.lookout.look()
    await live.in_database(write_unheard, chat, ada)
    with monkeypatch.context() as patch:
        patch.setattr(reminders, "standings", lambda since: 1 / 0)
        live.lookout.events_were_lost()
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)

    await live.lookout.look()

    await on_bob.event("sync", chatId=str(chat.id), rev=1)


async def test_a_lost_receipt_shows_in_the_sum(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """The look names the watermarks' sum, although the chat has no new number."""
    await live.in_database(write_unheard, chat, ada)
    on_ada = await connect(ada)
    await live.lookout.look()
    assert (await on_ada.event("sync", rev=1))["marks"] == 0

    await live.in_database(unheard, lambda: services.mark_read(chat_id=chat.id, user_id=bob.id, seq=1))
    await live.lookout.look()

    assert await on_ada.event("sync", marks=2) == {"chatId": str(chat.id), "rev": 1, "marks": 2}


async def test_a_lost_departure_is_said_again(
    live: Engine, connect: Connect, ada: Person, bob: Person, eve: Person
) -> None:
    """To the one who has gone, and only as long as they have."""

    def make_group() -> Chat:
        return services.create_chat(creator_id=ada.id, participant_ids=[bob.id, eve.id], title="Plans")[0]

    def remove(member: Person) -> None:
        services.remove_member(chat_id=group.id, user_id=ada.id, member_id=member.id)

    group = await live.in_database(make_group)
    on_bob, on_eve = await connect(bob), await connect(eve)
    await live.in_database(unheard, lambda: (remove(bob), remove(eve)))
    await live.in_database(unheard, lambda: services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[eve.id]))

    await live.lookout.look()

    assert await on_bob.event("chat:removed") == {"chatId": str(group.id), "rev": 2}
    assert "chat:removed" not in await on_eve.events()


async def test_statuses_are_said_again_after_a_loss(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """Not at every look: only when the line to the others has lost something."""
    on_bob = await connect(bob)
    await live.in_database(unheard, lambda: presence._show([presence.Change(user_id=ada.id, present=True)]))
    await live.lookout.look()
    assert "user:status" not in await on_bob.events()

    live.lookout.events_were_lost()

    assert (await on_bob.event("user:status", userId=str(ada.id)))["status"] == "online"


async def test_nobody_here_is_no_reason_to_look(live: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle process does not ask the database."""
    monkeypatch.setattr(reminders, "standings", lambda since: pytest.fail("It asked."))

    await live.lookout.look()


# --- Background work --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_timers")
async def test_a_timer_survives_a_failure(live: Engine, connect: Connect, ada: Person) -> None:
    """It is logged, and the next turn comes all the same."""
    turns = []

    async def work() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise RuntimeError("the first turn fails")

    with structlog.testing.capture_logs() as logs:
        live._every(0.01, work)
        await until(lambda: len(turns) > 2)

    assert [line["event"] for line in logs].count("engine.timer_failed") == 1


async def test_background_work_that_fails_is_logged(live: Engine) -> None:
    """And held until then, so that it is not collected half-way."""

    async def work() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("in the background")

    with structlog.testing.capture_logs() as logs:
        live.background(work())
        await until(lambda: logs)

    assert [line["event"] for line in logs] == ["engine.background_failed"]


async def test_errors_of_the_database_threads_are_raised(live: Engine) -> None:
    """Where they were asked for."""

    def fail() -> None:
        raise DomainError("no")

    with pytest.raises(DomainError):
        await live.in_database(fail)


async def test_a_choice_is_settled_here_and_told_to_nobody_as_it_is(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """The event of the choice has no recipients; what it leads to has."""
    on_bob = await connect(bob)

    await live.in_database(accounts.choose_status, user_id=ada.id, status="away")

    told = await on_bob.event("user:status")
    assert set(told) == {"userId", "status", "lastSeen"}


async def test_a_stranger_to_the_chat_gets_nothing_of_a_session(live: Engine, connect: Connect, ada: Person) -> None:
    """The end of a session that nobody has a socket of is nobody's news."""
    on_ada = await connect(ada)
    await on_ada.events()

    await live.in_database(
        lambda: sessions.end_sessions(user_id=uuid7(), reason=EndReason.REVOKED),
    )

    assert await on_ada.events() == []
