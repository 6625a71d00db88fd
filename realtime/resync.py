"""Brings a client that comes back up to date: what it missed, or an explicit reset. Never silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from messaging import selectors
from messaging.representation import ReadMarks, member_body, message_body
from realtime.catalogue import Told

MISSED_LIMIT = 200
"""Revs of one chat that are sent again; a client further behind loads the chat anew."""
CHATS_AT_ONCE = 200
"""Chats that are read with the same queries: SQLite takes some 900 alternatives in one."""
ROWS_AT_ONCE = 5_000
"""Their missed revs and members together: what an answer holds in memory while a slow client takes it."""
MISSED_CHARACTERS = 256 * 1024
"""Content of one chat that is sent again: its frame stays far below what a socket may have unsent."""

Frame = tuple[str, dict[str, Any]]


def missed(*, user_id: UUID, cursors: Mapping[UUID, int]) -> Iterator[Frame]:
    """Yield `(event, data)` for everything after the client's cursors, and `sync:done` at last.

    What was missed is read in steps (`_steps`), so that there is a bound to what is in memory. The number of queries
    grows with the steps alone: up to `CHATS_AT_ONCE` chats that missed little take one.
    """
    revs = selectors.revs(user_id=user_id)
    behind: dict[UUID, int] = {}
    for chat_id, cursor in cursors.items():
        rev = revs.get(chat_id)
        if rev is None:
            yield Told.SYNC_RESET, {"chatId": str(chat_id), "rev": 0, "reason": "gone"}
        elif not 0 <= rev - cursor <= MISSED_LIMIT:
            # Too far behind; or ahead, which means that the server was restored from a backup.
            yield Told.SYNC_RESET, {"chatId": str(chat_id), "rev": rev, "reason": "too_far"}
        elif rev > cursor:
            behind[chat_id] = cursor
    for step in _steps(behind, revs):
        yield from _changes(user_id, step, revs)
    yield Told.SYNC_DONE, {"chats": {str(chat_id): rev for chat_id, rev in revs.items()}}


def _steps(behind: Mapping[UUID, int], revs: Mapping[UUID, int]) -> Iterator[dict[UUID, int]]:
    """Yield the cursors of as many chats as may be read at once, until all were there."""
    if not behind:
        return
    members = selectors.member_counts(chat_ids=behind)
    step: dict[UUID, int] = {}
    rows = 0
    for chat_id, cursor in behind.items():
        more = revs[chat_id] - cursor + members.get(chat_id, 0)
        if step and (len(step) == CHATS_AT_ONCE or rows + more > ROWS_AT_ONCE):
            yield step
            step, rows = {}, 0
        step[chat_id] = cursor
        rows += more
    yield step


def _changes(user_id: UUID, cursors: Mapping[UUID, int], revs: Mapping[UUID, int]) -> Iterator[Frame]:
    members = selectors.memberships_of_chats(chat_ids=cursors)
    messages = selectors.changes_of_chats(cursors=cursors)
    for chat_id in cursors:
        marks = ReadMarks(members[chat_id])
        found = messages[chat_id]
        bodies = [message_body(message, marks) for message in found]
        if sum(len(body["content"] or "") for body in bodies) > MISSED_CHARACTERS:
            yield Told.SYNC_RESET, {"chatId": str(chat_id), "rev": revs[chat_id], "reason": "too_far"}
            continue
        yield (
            Told.SYNC,
            {
                "chatId": str(chat_id),
                "rev": max(revs[chat_id], found[-1].rev if found else 0),
                "messages": bodies,
                "members": [member_body(one, one.user, viewer_id=user_id) for one in members[chat_id]],
                "hasMore": False,
            },
        )
