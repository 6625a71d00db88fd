"""For every event: what a client holds after it, however it came, is what a client sees that loads everything anew.

Events may come in order, twice, crossed or not at all, and a client may have been away; docs/protocol.md says what
it does then, and `tests.faults.model` does just that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.models import Status
from chatproject.errors import DomainError
from messaging import services
from messaging.models import Chat
from realtime import catalogue, resync
from realtime.catalogue import Told
from realtime.typists import EXPIRES_IN
from tests.faults.model import ClientModel, Frame
from tests.faults.world import Person, Said, World

pytestmark = pytest.mark.django_db(transaction=True)

Step = Callable[[World], object]


def with_a_first_message(world: World) -> None:
    """Open a direct chat by writing to somebody."""
    world.write_to(world.eve, world.zoe)


def with_a_new_group(world: World) -> None:
    """Open a group."""
    services.create_chat(creator_id=world.zoe.id, participant_ids=[world.ada.id, world.bob.id], title="Others")


def with_a_new_member(world: World) -> None:
    """Add somebody, who then speaks."""
    services.add_members(chat_id=world.group.id, user_id=world.ada.id, new_ids=[world.zoe.id])
    world.say(world.zoe, world.group)


def with_an_edit(world: World) -> None:
    """Edit the same message twice."""
    services.edit_message(**world.last_of(world.ada, world.group, 1), content="better")
    services.edit_message(**world.last_of(world.ada, world.group, 1), content="best")


def with_an_edit_and_a_deletion(world: World) -> None:
    """Delete what was edited, and go on."""
    services.edit_message(**world.last_of(world.ada, world.direct), content="better")
    services.delete_message(**world.last_of(world.ada, world.direct))
    world.say(world.bob, world.direct)


def with_receipts_of_all(world: World) -> None:
    """Everybody reads, one after the other, not all of it."""
    for who, seq in ((world.bob, 2), (world.eve, 4), (world.ada, 3), (world.bob, 4)):
        world.read(who, world.group, seq)


def with_a_removal(world: World) -> None:
    """Remove a member, and speak without them."""
    services.remove_member(chat_id=world.group.id, user_id=world.ada.id, member_id=world.eve.id)
    world.say(world.bob, world.group, "without her")


def with_a_return(world: World) -> None:
    """Remove a member and take them in again."""
    services.remove_member(chat_id=world.group.id, user_id=world.ada.id, member_id=world.eve.id)
    services.add_members(chat_id=world.group.id, user_id=world.ada.id, new_ids=[world.eve.id])
    world.say(world.eve, world.group, "back")


def with_a_word_and_its_signs(world: World) -> None:
    """Type, and then say it."""
    world.type_in(world.ada, world.group)
    world.type_in(world.ada, world.group, typing=False)
    world.say(world.ada, world.group)


STEPS: dict[str, tuple[Step, ...]] = {
    "message:receive": (
        lambda world: world.say(world.bob, world.group),
        with_a_first_message,
        with_a_new_group,
        with_a_new_member,
        lambda world: services.rename_chat(chat_id=world.group.id, user_id=world.ada.id, title="Later"),
        lambda world: services.change_role(
            chat_id=world.group.id, user_id=world.ada.id, member_id=world.bob.id, role="admin"
        ),
    ),
    "message:update": (with_an_edit, with_an_edit_and_a_deletion),
    "message:delete": (
        lambda world: services.delete_message(**world.last_of(world.ada, world.group, 2)),
        with_an_edit_and_a_deletion,
    ),
    "message:read": (lambda world: world.read(world.bob, world.direct, 3), with_receipts_of_all),
    "message:delivered": (lambda world: world.get(world.eve, world.group, 4),),
    "user:typing": (lambda world: world.type_in(world.ada, world.group), with_a_word_and_its_signs),
    "user:status": (
        lambda world: world.choose(world.ada, Status.AWAY),
        lambda world: world.go(world.bob),
        lambda world: (world.go(world.bob), world.choose(world.bob, Status.ONLINE)),
    ),
    "chat:removed": (
        with_a_removal,
        with_a_return,
        lambda world: services.remove_member(chat_id=world.group.id, user_id=world.bob.id, member_id=world.bob.id),
        lambda world: services.delete_chat(chat_id=world.group.id, user_id=world.ada.id),
    ),
    "session:end": (lambda world: world.sign_out(world.bob),),
}
"""What brings each event about."""

ANSWERS = {Told.SYNC, Told.SYNC_DONE, Told.SYNC_RESET}
"""What the server says of where chats stand: for every event above, what was lost or missed is found by these."""

WITHOUT_STATE = {Told.HELLO, Told.ERROR, "restarting"}
"""What says nothing of chats or people: the socket's own affairs."""

CASES = [
    pytest.param(name, step, id=f"{name}-{number}")
    for name, steps in STEPS.items()
    for number, step in enumerate(steps)
]


def untested(events: Collection[str]) -> set[str]:
    """Return the events that nothing here is about."""
    return set(events) - STEPS.keys() - ANSWERS - WITHOUT_STATE


def test_every_event_is_here() -> None:
    """A new kind of event needs an entry: what a client holds after it, and after its loss, is to be shown."""
    assert untested(catalogue.server_events()) == set()
    assert untested([*catalogue.server_events(), "message:pinned"]) == {"message:pinned"}


# --- What is compared -------------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    """People, their chats, and an ear for what is said."""
    with World.open() as opened:
        yield opened


Clients = list[tuple[Person, ClientModel]]


def clients_of(world: World) -> Clients:
    """Let everybody load everything."""
    return [(who, who.client()) for who in world.everybody]


def tell(clients: Clients, said: Collection[Said]) -> None:
    """Bring events to the people they are for."""
    for one in said:
        for who, client in clients:
            if who.id in one.recipients:
                client.take(one.name, one.data)


def settle(clients: Clients) -> None:
    """Let a moment pass, in which everybody asks for what they miss."""
    for _, client in clients:
        client.settle()
        client.wait(EXPIRES_IN)


def fresh_states(world: World) -> list[Frame]:
    """Return what everybody would see who has just come."""
    return [who.client().state() for who in world.everybody]


# --- Each event -------------------------------------------------------------------------------------------------------


def ways(said: list[Said], look: list[Said]) -> Iterator[tuple[str, list[Said]]]:
    """Yield the ways in which events may come; `look` is what the server says by itself within its period."""
    yield "in order", said
    yield "each twice", [one for one in said for _ in range(2)]
    yield "crossed", said[::-1]
    yield "late again", said * 2
    yield "the look as well", said + look
    yield "all lost", look
    for lost in range(len(said)):
        yield f"{said[lost].name} lost at {lost}", said[:lost] + said[lost + 1 :] + look


@pytest.mark.parametrize(("name", "step"), CASES)
def test_equivalence(world: World, name: str, step: Step) -> None:
    """A stale client and the events, or the answer to `sync` and the inbox, make a fresh one, whatever gets lost."""
    stale = clients_of(world)
    step(world)
    fresh = fresh_states(world)
    assert name in {one.name for one in world.said}

    for way, told in ways(world.said, world.look()):
        clients = deepcopy(stale)
        tell(clients, told)
        settle(clients)
        assert [client.state() for _, client in clients] == fresh, way
    for who, client in stale:
        client.resume(world.answer(who, client))
    settle(stale)
    assert [client.state() for _, client in stale] == fresh, "away"


def test_who_was_away_for_too_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat that has moved on too far is reset, and loaded anew; one that is gone is forgotten."""
    monkeypatch.setattr(resync, "MISSED_LIMIT", 2)
    clients = clients_of(world)
    for number in range(4):
        world.say(world.bob, world.group, str(number))
    services.remove_member(chat_id=world.group.id, user_id=world.ada.id, member_id=world.eve.id)
    world.say(world.bob, world.direct)
    reasons = set()

    for who, client in clients:
        answer = world.answer(who, client)
        reasons |= {data["reason"] for name, data in answer if name == "sync:reset"}
        client.resume(answer)

    assert reasons == {"too_far", "gone"}
    settle(clients)
    assert [client.state() for _, client in clients] == fresh_states(world)


def test_a_client_from_before_a_restore(world: World) -> None:
    """It holds more than the server: its chat is reset."""
    clients = clients_of(world)
    for _, client in clients:
        for chat in client.chats.values():
            chat.take_changes([], chat.rev + 5)

    for who, client in clients:
        client.resume(world.answer(who, client))

    settle(clients)
    assert [client.state() for _, client in clients] == fresh_states(world)


# --- Histories --------------------------------------------------------------------------------------------------------


def act(world: World, kind: int, one: int, other: int, number: int) -> None:
    """Do one of the things that people do; what is refused changes nothing."""
    who, whom = world.everybody[one], world.everybody[other]
    chats = list(Chat.objects.filter(memberships__user_id=who.id).order_by("id")) or [world.group]
    chat = chats[number % len(chats)]
    named = {"chat_id": chat.id, "user_id": who.id}
    steps: list[Callable[[], object]] = [
        lambda: world.say(who, chat),
        lambda: world.write_to(who, whom),
        lambda: services.edit_message(**world.last_of(who, chat, number), content=f"better {number}"),
        lambda: services.delete_message(**world.last_of(who, chat, number)),
        lambda: world.read(who, chat, number),
        lambda: world.get(who, chat, number),
        lambda: services.rename_chat(**named, title=f"Title {number}"),
        lambda: services.add_members(**named, new_ids=[whom.id]),
        lambda: services.remove_member(**named, member_id=whom.id),
        lambda: services.change_role(**named, member_id=whom.id, role=("admin", "member", "owner")[number % 3]),
        lambda: services.create_chat(creator_id=who.id, participant_ids=[whom.id], title=f"Group {number}"),
        lambda: services.delete_chat(**named),
        lambda: world.choose(who, (Status.ONLINE, Status.AWAY, Status.OFFLINE)[number % 3]),
        lambda: world.go(who),
        lambda: world.type_in(who, chat),
    ]
    with suppress(DomainError):
        steps[kind % len(steps)]()


HISTORIES = int(os.environ.get("TEST_HISTORIES", "8"))
"""How many are told in a suite; `TEST_HISTORIES=500` takes its time."""
ACTIONS = st.tuples(st.integers(0, 14), st.integers(0, 3), st.integers(0, 3), st.integers(0, 12))


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * HISTORIES)
@settings(max_examples=HISTORIES, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(
    history=st.lists(ACTIONS, min_size=1, max_size=25),
    fates=st.lists(st.sampled_from(("comes", "comes", "comes", "is lost", "comes twice")), min_size=1, max_size=12),
    delays=st.lists(st.integers(0, 4), min_size=1, max_size=12),
)
def test_any_history(history: list[tuple[int, int, int, int]], fates: list[str], delays: list[int]) -> None:
    """Whatever people do, and whatever becomes of the events: after the next look, or a resync, all hold the same."""
    with World.open() as world:
        present = clients_of(world)
        away = deepcopy(present)
        for action in history:
            act(world, *action)
        copies = {"comes": 1, "is lost": 0, "comes twice": 2}
        said = [
            (place + delays[place % len(delays)], one)
            for place, one in enumerate(world.said)
            for _ in range(copies[fates[place % len(fates)]])
        ]

        tell(present, [one for _, one in sorted(said, key=lambda pair: pair[0])])
        tell(present, world.look())
        for who, client in away:
            client.resume(world.answer(who, client))

        settle(present + away)
        assert [client.state() for _, client in present + away] == fresh_states(world) * 2
