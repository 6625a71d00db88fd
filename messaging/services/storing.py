"""The only writer of messages. It takes many drafts: one transaction for a batch costs little more than for one.

A draft that may not be stored gives its error and disturbs no other. Sends are idempotent: the client's id is unique
for its sender for ever, and a repeated draft gets the message that the first one became.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from chatproject import db
from chatproject.errors import DomainError, InvalidInput, Unavailable
from messaging import keys
from messaging.drafts import Draft
from messaging.events import MessageReceived, publish
from messaging.models import Attachment, Chat, ChatKind, Message
from messaging.representation import message_body
from messaging.selectors import ChatNotFound, member_ids_of_chats
from messaging.services import direct, numbers

Outcome = Message | DomainError


class ClientIdReused(DomainError):
    """The client id belongs to a message of this sender in another chat."""

    code = "client_id_reused"
    status = 409
    message = "This clientId was used for a message in another chat."


@db.transactional(retry_conflicts=True)
def store(drafts: Sequence[Draft]) -> list[Outcome]:
    """Store the drafts in one transaction and return, in their order, each one's message or its error.

    A message that was there already has `duplicate` set. Events are published once the transaction has committed; the
    caller acks after this function has returned, never before.
    """
    return _Batch(drafts).store()


def store_one(draft: Draft) -> Message:
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
        self.members: dict[UUID, tuple[UUID, ...]] = {}
        self.attachments: dict[UUID, Attachment] = {}
        self.repeats = self._repeats()

    def store(self) -> list[Outcome]:
        self._find_chats(self._pending())
        self._find_duplicates(self._pending())
        self._check_attachments()
        self._open_chats()
        self._authorise()
        self._check_keys()
        self._insert()
        self._answer_repeats()
        return [outcome for outcome in self.outcomes if outcome is not None]

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
        """Open the direct chats that are not there; only now, so that no refused draft leaves an empty one behind."""
        pairs = self._pairs(self._pending())
        chats = direct.open_chats(pairs.values()) if pairs else {}
        for place, pair in pairs.items():
            chat_id = chats.get(direct.direct_key(*pair))
            self.chat_ids[place] = chat_id
            if chat_id is None:
                self.outcomes[place] = direct.PersonNotFound()

    def _find_duplicates(self, places: Collection[int]) -> None:
        """Give every draft that was stored before its first message."""
        client_ids = [self.drafts[place].client_id for place in places]
        rows = Message.objects.filter(client_id__in=client_ids).select_related("attachment")
        stored = {(row.sender_id, row.client_id): row for row in rows}
        for place in places:
            draft = self.drafts[place]
            first = stored.get((draft.sender_id, draft.client_id))
            if first is None:
                continue
            if first.chat_id == self.chat_ids[place]:
                first.duplicate = True
                self.outcomes[place] = first
            else:
                self.outcomes[place] = ClientIdReused()

    def _check_attachments(self) -> None:
        """Refuse attachments that the sender has not uploaded for this chat."""
        wanted = {attachment_id for place in self._pending() if (attachment_id := self.drafts[place].attachment_id)}
        if wanted:
            self.attachments = Attachment.objects.in_bulk(list(wanted))
        for place in self._pending():
            draft = self.drafts[place]
            if draft.attachment_id is None:
                continue
            found = self.attachments.get(draft.attachment_id)
            if found is None or (found.chat_id, found.uploader_id) != (self.chat_ids[place], draft.sender_id):
                self.outcomes[place] = InvalidInput.of("attachmentId", "There is no such upload in this chat.")

    def _authorise(self) -> None:
        """Refuse the drafts for chats that their sender is not in; a missing chat looks the same."""
        chat_ids = {chat_id for place in self._pending() if (chat_id := self.chat_ids[place])}
        db.lock(Chat.objects.filter(id__in=chat_ids))
        self.members = member_ids_of_chats(chat_ids=chat_ids)
        for place in self._pending():
            if self.drafts[place].sender_id not in self.members.get(self.chat_ids[place], ()):  # type: ignore[arg-type]
                self.outcomes[place] = ChatNotFound()

    def _check_keys(self) -> None:
        """Refuse the drafts for chats whose key cannot be had, so that they do not spoil the batch."""
        usable = keys.preload(self._chat_id(place) for place in self._pending())
        for place in self._pending():
            if self.chat_ids[place] not in usable:
                self.outcomes[place] = Unavailable("The key of this chat is not available at the moment.")

    def _insert(self) -> None:
        """Number, encrypt and insert what is left, and announce it."""
        places = self._pending()
        if not places:
            return
        wanted = Counter(self._chat_id(place) for place in places)
        messages = self._number(places, wanted, numbers.take_for_messages(wanted))
        Message.objects.bulk_create(messages.values())
        for place, message in messages.items():
            self.outcomes[place] = message
        publish(*(self._event(place, message) for place, message in messages.items()))

    def _chat_id(self, place: int) -> UUID:
        chat_id = self.chat_ids[place]
        assert chat_id is not None  # noqa: S101  drafts without a chat have their outcome by now
        return chat_id

    def _number(
        self, places: Sequence[int], wanted: Mapping[UUID, int], chats: Mapping[UUID, Chat]
    ) -> dict[int, Message]:
        """Make the messages, each with its number; a chat's numbers and ids follow the order of its drafts."""
        last = {chat_id: chat.counter - wanted[chat_id] for chat_id, chat in chats.items()}
        moment = numbers.now()
        messages: dict[int, Message] = {}
        for place in places:
            draft, chat_id = self.drafts[place], self._chat_id(place)
            number = last[chat_id] = last[chat_id] + 1
            attachment = self.attachments.get(draft.attachment_id) if draft.attachment_id else None
            messages[place] = Message(
                chat_id=chat_id,
                sender_id=draft.sender_id,
                receiver_id=self._receiver_id(chats[chat_id], draft.sender_id),
                content=draft.content,
                type=draft.type,
                timestamp=moment,
                seq=number,
                rev=number,
                client_id=draft.client_id,
                attachment=attachment,
            )
        return messages

    def _receiver_id(self, chat: Chat, sender_id: UUID) -> UUID | None:
        if chat.kind != ChatKind.DIRECT:
            return None
        return next((one for one in self.members[chat.id] if one != sender_id), None)

    def _event(self, place: int, message: Message) -> MessageReceived:
        return MessageReceived(
            recipients=self.members[message.chat_id],
            message_id=message.id,
            body=message_body(message),
            origin=self.drafts[place].origin,
        )
