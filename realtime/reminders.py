"""Finds what was said lately, so that sockets that may have missed it on the way learn of it without a new event.

Messages, edits and deletions are found by their chat's rev, receipts by the sum of the watermarks. The end of a
membership and what somebody shows have no number: they are said again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from accounts import presence
from messaging import selectors
from messaging.events import ChatRemoved
from realtime.events import StatusChanged


def standings(since: datetime) -> Iterator[tuple[list[UUID], dict[str, Any]]]:
    """Yield members and `{chatId, rev, marks}` of each chat that moved since."""
    for one in selectors.standings_since(moment=since):
        yield one.members, {"chatId": str(one.chat_id), "rev": one.rev, "marks": one.marks}


def departures(since: datetime) -> list[ChatRemoved]:
    """Return the ends of memberships since."""
    return [
        ChatRemoved(recipients=(one.user_id,), chat_id=one.chat_id, rev=one.rev)
        for one in selectors.departures_since(moment=since)
    ]


def statuses(since: datetime) -> list[StatusChanged]:
    """Return what people show who have shown something else since."""
    found = presence.shown_since(moment=since)
    peers = selectors.peer_ids_of(user_ids=[one.pk for one in found])
    return [
        StatusChanged(
            recipients=peers.get(one.pk, ()), user_id=one.pk, status=str(one.presence()), last_seen=one.last_seen
        )
        for one in found
    ]
