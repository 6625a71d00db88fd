"""The only writer of messages. It takes many drafts: one transaction for a batch costs little more than for one.

A draft that may not be stored gives its error and disturbs no other. Sends are idempotent: the client's id is unique
for its sender for ever, and a repeated draft gets the message that the first one became.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import IntegrityError

from chatproject import db
from chatproject.errors import DomainError, Unavailable
from chatproject.times import rfc3339
from messaging import keys, rosters
from messaging.attachments import attachment_body, no_such_upload
from messaging.crypto import nonces
from messaging.drafts import Draft
from messaging.events import MessageReceived, publish
from messaging.models import Attachment, ChatKind, Message, MessageType
from messaging.representation import MessageDocument, ReadMarks, message_document
from messaging.rosters import Roster
from messaging.selectors import ChatNotFound, watermarks_of
from messaging.services import direct, numbers


@dataclass(frozen=True, slots=True)
class Stored:
    """A message that is stored, as every door shows it. `duplicate`: an earlier draft with its client id stored it."""

    message: MessageDocument
    duplicate: bool = False


Outcome = Stored | DomainError

_COLUMNS = tuple(field.attname for field in Message._meta.concrete_fields)
_CONTENT = Message._meta.get_field("content")


class ClientIdReused(DomainError):
    """The client id belongs to a message of this sender in another chat."""

    code = "client_id_reused"
    status = 409
    message = "This clientId was used for a message in another chat."


def store(drafts: Sequence[Draft]) -> list[Outcome]:
    """Store the drafts in one transaction and return, in their order, each one's message or its error.

    Events are published once the transaction has committed; the
    caller acks after this function has returned, never before.

    Repeated drafts are few, and the database refuses them: only then does a second transaction look for their firsts.
    Inside a transaction of the caller's, which a refusal would break, they are looked for at once.
    """
    if not db.in_transaction():
        try:
            return _store_new(drafts)
        except IntegrityError:
            pass
    return _store(drafts)


@db.transactional()
def _store_new(drafts: Sequence[Draft]) -> list[Outcome]:
    """Store drafts of which none was stored before. Raises `IntegrityError` when one was."""
    return _Batch(drafts).store(repeats_are_likely=False)


@db.transactional(retry_conflicts=True)
def _store(drafts: Sequence[Draft]) -> list[Outcome]:
    return _Batch(drafts).store(repeats_are_likely=True)


def store_one(draft: Draft) -> Stored:
    """Store a single draft. Raises its error."""
    outcome = store([draft])[0]
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


class _Batch:
    """The drafts of one transaction on their way to the database."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.outcomes: list[Outcome | None] = [None] * len(drafts)
        self.chat_ids: list[UUID | None] = [draft.chat_id for draft in drafts]
        self.chats: dict[UUID, numbers.Numbering] = {}
        self.rosters: dict[UUID, Roster] = {}
        self.ciphers: dict[UUID, AESGCM] = {}
        self.attachments: dict[UUID, Attachment] = {}
        self.repeats = self._repeats()

    def store(self, *, repeats_are_likely: bool) -> list[Outcome]:
        self._find_chats(self._pending())
        if repeats_are_likely:
            self._find_duplicates(self._pending())
        self._open_chats()
        self._authorise()
        self._check_attachments()
        self._find_ciphers()
        self._insert()
        if not repeats_are_likely:
            self._reconsider_refused()
        self._answer_repeats()
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _reconsider_refused(self) -> None:
        """Answer a refused draft with its message where it was stored while that was still allowed."""
        refused = [place for place, outcome in enumerate(self.outcomes) if isinstance(outcome, DomainError)]
        if refused:
            self._find_duplicates(refused)

    def _pending(self) -> list[int]:
        """Return the places of the drafts that have no outcome yet and do not wait for another."""
        return [place for place, outcome in enumerate(self.outcomes) if outcome is None and place not in self.repeats]

    def _repeats(self) -> dict[int, int]:
        """Return the place of each second draft with one client id, with the place of the first."""
        firsts: dict[tuple[UUID, UUID], int] = {}
        repeats: dict[int, int] = {}
        for place, draft in enumerate(self.drafts):
            first = firsts.setdefault((draft.sender_id, draft.client_id), place)
            if first != place:
                repeats[place] = first
        return repeats

    def _answer_repeats(self) -> None:
        """Give a repeated draft what its first has become: the message, or the same error."""
        if not self.repeats:
            return
        self._find_chats(self.repeats)
        self._find_duplicates(self.repeats)
        for place, first in self.repeats.items():
            if self.outcomes[place] is None:
                self.outcomes[place] = self.outcomes[first]

    def _pairs(self, places: Iterable[int]) -> dict[int, tuple[UUID, UUID]]:
        """Return sender and receiver of those drafts that have no chat yet."""
        return {
            place: (draft.sender_id, draft.receiver_id)
            for place in places
            if self.chat_ids[place] is None and (draft := self.drafts[place]).receiver_id is not None
        }

    def _find_chats(self, places: Iterable[int]) -> None:
        """Find the direct chat of each draft that names a receiver."""
        pairs = self._pairs(places)
        chats = direct.find(pairs.values())
        for place, pair in pairs.items():
            self.chat_ids[place] = chats.get(direct.direct_key(*pair))

    def _open_chats(self) -> None:
        """Open the direct chats that are not there, but for no draft that would be refused in an empty one."""
        pairs = self._pairs(self._pending())
        wanted = [pair for place, pair in pairs.items() if not self.drafts[place].attachment_id]
        chats = direct.open_chats(wanted) if wanted else {}
        for place, pair in pairs.items():
            chat_id = chats.get(direct.direct_key(*pair))
            self.chat_ids[place] = chat_id
            if chat_id is None:
                carrying = self.drafts[place].attachment_id is not None
                self.outcomes[place] = no_such_upload() if carrying else direct.PersonNotFound()

    def _find_duplicates(self, places: Collection[int]) -> None:
        """Give every draft that was stored before its first message."""
        rows = Message.objects.filter(
            sender_id__in={self.drafts[place].sender_id for place in places},
            client_id__in=[self.drafts[place].client_id for place in places],
        ).select_related("attachment")
        stored = {(row.sender_id, row.client_id): row for row in rows}
        own = {}
        for place in places:
            draft = self.drafts[place]
            first = stored.get((draft.sender_id, draft.client_id))
            if first is None:
                continue
            if first.chat_id != self.chat_ids[place]:
                self.outcomes[place] = ClientIdReused()
                continue
            document = message_document(first, ReadMarks(watermarks_of(chat_id=first.chat_id)))
            is_own = first.id == draft.message_id and place not in self.repeats
            self.outcomes[place] = Stored(document, duplicate=not is_own)
            if is_own:
                own[place] = document
        if own:
            self._announce_late(own)

    def _announce_late(self, messages: Mapping[int, MessageDocument]) -> None:
        """Announce drafts that an earlier try has stored, which was told that its commit had failed."""
        chats = numbers.read({message.chat_id for message in messages.values()})
        found = rosters.of_chats((chat_id, chat.roster) for chat_id, chat in chats.items())
        publish(
            *(
                self._received(place, message, found[message.chat_id].members)
                for place, message in messages.items()
                if message.chat_id in found  # it may have been erased just now
            )
        )

    def _received(self, place: int, message: MessageDocument, members: tuple[UUID, ...]) -> MessageReceived:
        return MessageReceived(
            recipients=members, message_id=message.id, body=message, origin=self.drafts[place].origin
        )

    def _authorise(self) -> None:
        """Refuse the drafts for chats that their sender is not in; a missing chat looks the same."""
        pending = self._pending()
        chat_ids = {chat_id for place in pending if (chat_id := self.chat_ids[place])}
        self.chats = numbers.read(chat_ids)
        self.rosters = rosters.of_chats((chat_id, chat.roster) for chat_id, chat in self.chats.items())
        for place in pending:
            roster = self.rosters.get(self.chat_ids[place])  # type: ignore[arg-type]
            if roster is None or self.drafts[place].sender_id not in roster:
                self.outcomes[place] = ChatNotFound()

    def _check_attachments(self) -> None:
        """Refuse attachments that the sender has not uploaded for this chat. The chats' rows have been taken before:
        as long as they are, nobody deletes what is found here (`attachments.delete`).
        """
        wanted = {place: one for place in self._pending() if (one := self.drafts[place].attachment_id)}
        self.attachments = Attachment.objects.in_bulk(list(wanted.values())) if wanted else {}
        for place, attachment_id in wanted.items():
            found = self.attachments.get(attachment_id)
            owned_by = (self.chat_ids[place], self.drafts[place].sender_id)
            if found is None or (found.chat_id, found.uploader_id) != owned_by:
                self.outcomes[place] = no_such_upload()

    def _find_ciphers(self) -> None:
        """Refuse the drafts for chats whose key cannot be had, so that they do not spoil the batch."""
        pending = self._pending()
        self.ciphers = keys.ciphers({self._chat_id(place) for place in pending})
        for place in pending:
            if self.chat_ids[place] not in self.ciphers:
                self.outcomes[place] = Unavailable("The key of this chat is not available at the moment.")

    def _insert(self) -> None:
        """Number, encrypt and insert what is left, and announce it."""
        places = self._pending()
        if not places:
            return
        wanted = Counter(self._chat_id(place) for place in places)
        moment = numbers.now()
        shown = rfc3339(moment)
        numbers.take_for_messages(self.chats, wanted, moment=moment)
        next_numbers = {chat_id: self.chats[chat_id].counter + 1 for chat_id in wanted}
        rows, events = [], []
        for place, nonce in zip(places, nonces(len(places)), strict=True):
            draft, chat_id = self.drafts[place], self._chat_id(place)
            message = self._document(draft, chat_id, next_numbers[chat_id], shown)
            next_numbers[chat_id] += 1
            rows.append(self._row(draft, message, moment, nonce))
            events.append(self._received(place, message, self.rosters[chat_id].members))
            self.outcomes[place] = Stored(message)
        db.insert(Message, rows)
        publish(*events)

    def _chat_id(self, place: int) -> UUID:
        chat_id = self.chat_ids[place]
        assert chat_id is not None  # noqa: S101  drafts without a chat have their outcome by now
        return chat_id

    def _document(self, draft: Draft, chat_id: UUID, number: int, timestamp: str) -> MessageDocument:
        """Return a new message as every door shows it; nobody can have read it yet."""
        is_direct = self.chats[chat_id].kind == ChatKind.DIRECT
        is_system = draft.type == MessageType.SYSTEM
        attachment = self.attachments[draft.attachment_id] if draft.attachment_id else None
        return MessageDocument(
            id=draft.message_id,
            chat_id=chat_id,
            sender_id=draft.sender_id,
            receiver_id=self.rosters[chat_id].other_than(draft.sender_id) if is_direct else None,
            content="" if is_system else draft.content,
            type=draft.type,
            timestamp=timestamp,
            read=False,
            seq=number,
            rev=number,
            client_id=draft.client_id,
            edited_at=None,
            deleted_at=None,
            attachment=attachment_body(attachment) if attachment else None,
            system=json.loads(draft.content) if is_system else None,
            unreadable=False,
        )

    def _row(self, draft: Draft, message: MessageDocument, moment: datetime, nonce: bytes) -> list[Any]:
        """Return the message's row, its content sealed."""
        chat_id, message_id, sender_id = message.chat_id, message.id, message.sender_id
        bound = (chat_id, message_id, sender_id)
        values = {
            "id": message_id,
            "chat_id": chat_id,
            "sender_id": sender_id,
            "receiver_id": message.receiver_id,
            "content": _CONTENT.seal(self.ciphers[chat_id], draft.content, bound, nonce=nonce),
            "type": message.type,
            "timestamp": moment,
            "seq": message.seq,
            "rev": message.rev,
            "client_id": message.client_id,
            "edited_at": None,
            "deleted_at": None,
            "attachment_id": draft.attachment_id,
        }
        return [values[name] for name in _COLUMNS]
