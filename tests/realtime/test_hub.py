"""Tests of the hub: which sockets an event reaches."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from chatproject.ids import uuid7
from realtime.hub import CROWD, SOCKETS_PER_USER, Hub
from realtime.parcels import Parcel
from realtime.sockets import Socket
from tests.realtime.conftest import make_socket

ADA, BOB, EVE = uuid7(), uuid7(), uuid7()


class Wire:
    """A socket that notes what is written to it."""

    def __init__(self, user_id: Any = ADA, session_id: Any = None) -> None:
        self.texts: list[str] = []
        self.socket: Socket = make_socket(self.send, user_id=user_id, session_id=session_id or uuid7())

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a frame."""
        self.texts.append(message.get("text", ""))


@pytest.fixture
def hub() -> Hub:
    """An empty hub."""
    return Hub()


def test_first_and_last_sockets_of_a_person(hub: Hub) -> None:
    """Two tabs are one presence."""
    one, other = Wire(), Wire()

    assert hub.add(one.socket) is True
    assert hub.add(other.socket) is False
    assert len(hub) == 2
    assert hub.discard(one.socket) is False
    assert hub.discard(one.socket) is False
    assert hub.discard(other.socket) is True
    assert hub.discard(other.socket) is False
    assert (len(hub), list(hub.user_ids), list(hub.session_ids)) == (0, [], [])


def test_two_sockets_of_one_session(hub: Hub) -> None:
    """The session stays until its last socket is gone."""
    session_id = uuid7()
    one, other = Wire(session_id=session_id), Wire(session_id=session_id)
    hub.add(one.socket)
    hub.add(other.socket)

    assert set(hub.sockets_of_session(session_id)) == {one.socket, other.socket}
    hub.discard(one.socket)
    assert hub.sockets_of_session(session_id) == (other.socket,)
    assert hub.sockets_of(ADA) == (other.socket,)
    assert hub.all_sockets() == (other.socket,)


def test_asking_for_strangers_leaves_no_trace(hub: Hub) -> None:
    """Look-ups do not make the hub grow."""
    assert hub.sockets_of(EVE) == hub.sockets_of_session(uuid7()) == ()
    assert not hub.is_full_for(EVE)
    hub.deliver(Parcel(recipients=(EVE,), text="x"))

    assert not hub.user_ids


async def test_an_event_reaches_its_recipients_alone(hub: Hub) -> None:
    """Every socket of a recipient, but the one that it came from."""
    tab, phone, bob, eve = Wire(), Wire(), Wire(BOB), Wire(EVE)
    for wire in (tab, phone, bob, eve):
        hub.add(wire.socket)

    parcel = Parcel(recipients=(ADA, BOB), text="hello", origin=tab.socket.id)
    hub.deliver(parcel)
    hub.deliver(Parcel(recipients=(BOB,), text="bye"))

    assert (tab.texts, phone.texts, bob.texts, eve.texts) == ([], ["hello"], ["hello", "bye"], [])


async def test_a_socket_that_leaves_while_it_is_written_to(hub: Hub) -> None:
    """The others still get the event."""

    class Leaver(Wire):
        async def send(self, message: MutableMapping[str, Any]) -> None:
            hub.discard(self.socket)

    wires = [Leaver(), Wire(), Wire()]
    for wire in wires:
        hub.add(wire.socket)

    hub.deliver(Parcel(recipients=(ADA,), text="x"))

    assert [wire.texts for wire in wires] == [[], ["x"], ["x"]]


def test_a_person_has_a_limit_of_sockets(hub: Hub) -> None:
    """It counts for each person alone."""
    for _ in range(SOCKETS_PER_USER):
        assert not hub.is_full_for(ADA)
        hub.add(Wire().socket)

    assert hub.is_full_for(ADA)
    assert not hub.is_full_for(BOB)


def test_a_crowd_is_found_once_until_somebody_comes_or_goes() -> None:
    """The same recipients are looked up again only when that may give other sockets."""
    hub, wires = Hub(), [Wire(uuid7()) for _ in range(CROWD)]
    people = tuple(wire.socket.user_id for wire in wires)
    for wire in wires[1:]:
        hub.add(wire.socket)

    def hears() -> list[Wire]:
        before = [len(wire.texts) for wire in wires]
        hub.deliver(Parcel(recipients=people, text="{}"))
        return [wire for wire, count in zip(wires, before, strict=True) if len(wire.texts) > count]

    assert hears() == hears() == wires[1:]
    hub.add(wires[0].socket)
    assert hears() == wires
    hub.discard(wires[5].socket)
    assert hears() == [*wires[:5], *wires[6:]]
