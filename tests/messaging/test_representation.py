"""Pins the JSON of chats and messages, field by field, as docs/protocol.md gives it."""

from __future__ import annotations

from datetime import UTC, datetime

from messaging import inbox, representation, selectors, services
from messaging.fields import Sealed
from messaging.models import Attachment, Chat, Membership, Message
from messaging.representation import ReadMarks
from tests.messaging.conftest import Person, open_direct, say

MOMENT = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
SHOWN = "2026-01-31T12:00:00.123Z"


def test_a_message(ada: Person, grace: Person, direct: Chat) -> None:
    """Exactly these fields, in this order, with these types."""
    message = say(ada, direct, "Tea at four? ☕")
    Message.objects.update(timestamp=MOMENT)
    message.refresh_from_db()

    body = representation.message_body(message)

    assert list(body.items()) == [
        ("id", str(message.id)),
        ("chatId", str(direct.id)),
        ("senderId", str(ada.id)),
        ("receiverId", str(grace.id)),
        ("content", "Tea at four? ☕"),
        ("type", "text"),
        ("timestamp", SHOWN),
        ("read", False),
        ("seq", 1),
        ("rev", 1),
        ("clientId", str(message.client_id)),
        ("editedAt", None),
        ("deletedAt", None),
        ("attachment", None),
        ("system", None),
        ("unreadable", False),
    ]
    assert type(body["type"]) is str


def test_changed_messages(ada: Person, direct: Chat) -> None:
    """The times of the changes are there, and no text once it was deleted."""
    message = say(ada, direct)
    Message.objects.update(edited_at=MOMENT)
    message.refresh_from_db()
    assert representation.message_body(message)["editedAt"] == SHOWN

    services.delete_message(chat_id=direct.id, message_id=message.id, user_id=ada.id)
    Message.objects.update(deleted_at=MOMENT)
    message.refresh_from_db()
    body = representation.message_body(message)

    assert (body["deletedAt"], body["content"], body["rev"]) == (SHOWN, "", 2)


def test_a_system_message(ada: Person, group: Chat) -> None:
    """What it tells stands in `system`; there is no text."""
    body = representation.message_body(Message.objects.get())

    assert (body["type"], body["content"], body["receiverId"]) == ("system", "", None)
    assert body["system"] == {"action": "created", "userId": None, "title": "Tea round", "role": None}


def test_a_message_with_a_file(ada: Person, direct: Chat) -> None:
    """The attachment is described beside the caption."""
    upload = Attachment(chat_id=direct.id, uploader_id=ada.id, name="tea.png", media_type="image/png", size=3)
    upload.save()
    message = say(ada, direct, "look", type="image", attachment_id=upload.id)

    body = representation.message_body(message)

    assert body["content"] == "look"
    assert set(body["attachment"]) == {"id", "name", "mediaType", "size", "url"}
    assert body["attachment"]["id"] == str(upload.id)


def test_an_unreadable_message(ada: Person, direct: Chat) -> None:
    """Everything but the content is told."""
    say(ada, direct)
    Message.objects.update(content=Sealed(b"\x01" + bytes(60)))

    body = representation.message_body(Message.objects.get())

    assert (body["content"], body["unreadable"], body["seq"]) == (None, True, 1)


def test_a_chat(ada: Person, grace: Person, direct: Chat) -> None:
    """Members with their people; the e-mail address is only in one's own."""
    Chat.objects.update(created_at=MOMENT)
    Membership.objects.update(joined_at=MOMENT)
    chat = Chat.objects.get()

    body = representation.chat_body(chat, selectors.memberships_of(chat_id=chat.id), viewer_id=ada.id)

    assert list(body) == ["id", "kind", "title", "createdAt", "rev", "members"]
    assert (body["id"], body["kind"], body["title"], body["rev"]) == (str(direct.id), "direct", None, 0)
    assert body["createdAt"] == SHOWN
    first, second = body["members"]
    assert list(first) == ["userId", "role", "deliveredSeq", "readSeq", "joinedAt", "user"]
    assert (first["userId"], first["role"], first["joinedAt"]) == (str(ada.id), "member", SHOWN)
    assert first["user"]["email"] == ada.user.email
    assert "email" not in second["user"]
    assert second["user"]["id"] == second["userId"] == str(grace.id)


def test_a_chat_whose_title_is_damaged(ada: Person, group: Chat) -> None:
    """It is shown without one, and everything else with it."""
    Chat.objects.update(title=Sealed(b"\x01" + bytes(60)))
    chat = Chat.objects.get()

    body = representation.chat_body(chat, selectors.memberships_of(chat_id=chat.id), viewer_id=ada.id)

    assert body["title"] is None
    assert len(body["members"]) == 3


def test_an_inbox_entry(ada: Person, grace: Person, direct: Chat) -> None:
    """The chat with its last message, read as the members' marks say, and the viewer's unread count."""
    say(ada, direct)
    services.mark_read(chat_id=direct.id, user_id=grace.id, seq=1)
    entry = inbox.entry_of(chat=Chat.objects.get(), user_id=ada.id)

    body = representation.inbox_entry_body(entry, viewer_id=ada.id)

    assert list(body)[-2:] == ["lastMessage", "unreadCount"]
    assert (body["lastMessage"]["seq"], body["lastMessage"]["read"], body["unreadCount"]) == (1, True, 0)


def test_a_page(ada: Person, direct: Chat) -> None:
    """`{chat, messages, hasMore, rev}`, and the rev is the chat's."""
    say(ada, direct)
    page = selectors.history(chat_id=direct.id, user_id=ada.id, before=None, limit=5)

    body = representation.page_body(page, viewer_id=ada.id)

    assert list(body) == ["chat", "messages", "hasMore", "rev"]
    assert (body["rev"], body["hasMore"], len(body["messages"])) == (body["chat"]["rev"], False, 1) == (1, False, 1)


def test_a_receipt(ada: Person, direct: Chat) -> None:
    """Exactly the watermarks and whose they are."""
    say(ada, direct)

    receipt = services.mark_read(chat_id=direct.id, user_id=ada.id, seq=1)

    assert representation.receipt_body(receipt) == {
        "chatId": str(direct.id),
        "userId": str(ada.id),
        "deliveredSeq": 1,
        "readSeq": 1,
    }


def test_read_marks_compare_the_slowest_of_the_others(ada: Person, grace: Person, mallory: Person) -> None:
    """The sender's own mark counts for nothing, wherever it stands; without others nothing is read."""
    chat = open_direct(ada, grace)
    message = Message(chat_id=chat.id, sender_id=ada.id, seq=5)

    def marks(**by_name: int) -> ReadMarks:
        people = {"ada": ada, "grace": grace, "mallory": mallory}
        return ReadMarks(Membership(user_id=people[name].id, read_seq=seq) for name, seq in by_name.items())

    assert marks(ada=0, grace=5, mallory=6).read_by_others(message)
    assert not marks(ada=9, grace=5, mallory=4).read_by_others(message)
    assert not marks(ada=9).read_by_others(message)
    assert not marks().read_by_others(message)
