"""Holds this process's sockets by person and by session, and writes events to them.

An event is serialised once for all of its recipients; the hub only hands the finished text to their sockets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from uuid import UUID

from realtime.parcels import Parcel
from realtime.sockets import Socket

SOCKETS_PER_USER = 50
CROWD = 64
"""Recipients from which on it pays to remember where they are."""


class Hub:
    """The live sockets of this process."""

    def __init__(self) -> None:
        self._by_user: dict[UUID, set[Socket]] = defaultdict(set)
        self._by_session: dict[UUID, set[Socket]] = defaultdict(set)
        self._crowd: tuple[UUID, ...] | None = None
        self._crowd_sockets: tuple[Socket, ...] = ()

    def __len__(self) -> int:
        return sum(len(sockets) for sockets in self._by_user.values())

    def add(self, socket: Socket) -> bool:
        """Take a socket in; tell whether it is its person's first one here."""
        self._crowd = None
        first = socket.user_id not in self._by_user
        self._by_user[socket.user_id].add(socket)
        self._by_session[socket.session_id].add(socket)
        return first

    def discard(self, socket: Socket) -> bool:
        """Let a socket go; tell whether it was its person's last one here."""
        self._crowd = None
        for index, key in ((self._by_user, socket.user_id), (self._by_session, socket.session_id)):
            sockets = index.get(key)
            if sockets is None or socket not in sockets:
                return False
            sockets.discard(socket)
            if not sockets:
                del index[key]
        return socket.user_id not in self._by_user

    def is_full_for(self, user_id: UUID) -> bool:
        """Tell whether the person has as many sockets as one may have."""
        return len(self._by_user.get(user_id, ())) >= SOCKETS_PER_USER

    @property
    def user_ids(self) -> Collection[UUID]:
        """The people with a socket here."""
        return self._by_user.keys()

    @property
    def session_ids(self) -> Collection[UUID]:
        """The sessions with a socket here."""
        return self._by_session.keys()

    def sockets_of(self, user_id: UUID) -> tuple[Socket, ...]:
        """Return the person's sockets here."""
        return tuple(self._by_user.get(user_id, ()))

    def sockets_of_session(self, session_id: UUID) -> tuple[Socket, ...]:
        """Return the session's sockets here."""
        return tuple(self._by_session.get(session_id, ()))

    def all_sockets(self) -> tuple[Socket, ...]:
        """Return every socket of this process."""
        return tuple(socket for sockets in self._by_user.values() for socket in sockets)

    def deliver(self, parcel: Parcel) -> None:
        """Write an event to its recipients' sockets, except the one that it came from."""
        text, origin = parcel.text, parcel.origin
        for socket in self._audience(parcel.recipients):
            if socket.id != origin:
                socket.push(text)

    def _audience(self, recipients: tuple[UUID, ...]) -> tuple[Socket, ...]:
        """Return the recipients' sockets here.

        A large group's members are one and the same tuple from message to message (`messaging.rosters`); where they are
        is looked up once, until somebody comes or goes.
        """
        if recipients is self._crowd:
            return self._crowd_sockets
        by_user = self._by_user
        found = tuple(socket for user_id in recipients for socket in by_user.get(user_id, ()))
        if len(recipients) >= CROWD:
            self._crowd, self._crowd_sockets = recipients, found
        return found
