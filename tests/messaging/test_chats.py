"""Tests of groups: who may do what, what is told in the line of numbers, and how a chat ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from chatproject.errors import DomainError, InvalidInput
from chatproject.ids import uuid7
from messaging import inbox, keys, representation, selectors, services
from messaging.drafts import Draft
from messaging.fields import Sealed, Unreadable
from messaging.models import Attachment, Chat, ChatKey, ChatKind, Membership, Message, MessageType, Role
from messaging.selectors import ChatNotFound
from messaging.services import chats
from messaging.services.chats import DirectChatFixed, LastOwner, RoleRequired
from messaging.services.direct import PersonNotFound
from tests.messaging.conftest import NOWHERE, Announced, Person, crowd, member, open_group, say


def told(chat: Chat) -> list[dict[str, Any]]:
    """Return what the system messages of a chat tell, in order."""
    rows = Message.objects.filter(chat_id=chat.id, type=MessageType.SYSTEM).order_by("seq")
    return [representation.message_body(one)["system"] for one in rows]


def state() -> list[Any]:
    """Return everything that is stored of groups."""
    return [
        list(Chat.objects.order_by("id").values_list("id", "counter", "title")),
        list(Membership.objects.order_by("id").values_list("chat_id", "user_id", "role")),
        Message.objects.count(),
        ChatKey.objects.count(),
    ]


def leave(chat: Chat, who: Person) -> None:
    """Leave a group."""
    services.remove_member(chat_id=chat.id, user_id=who.id, member_id=who.id)


# --- Opening ----------------------------------------------------------------------------------------------------------


def test_a_group_is_opened(published: Announced, ada: Person, grace: Person, alan: Person) -> None:
    """With its key, its owner, its encrypted title and a first message that tells everybody."""
    chat, created = services.create_chat(
        creator_id=ada.id, participant_ids=[grace.id, alan.id, grace.id, ada.id], title="Tea ☕"
    )

    assert created
    assert (chat.kind, chat.title, chat.counter, chat.last_seq) == (ChatKind.GROUP, "Tea ☕", 1, 1)
    assert dict(Membership.objects.values_list("user_id", "role")) == {
        ada.id: Role.OWNER,
        grace.id: Role.MEMBER,
        alan.id: Role.MEMBER,
    }
    assert ChatKey.objects.count() == 1
    assert b"Tea" not in bytes(Chat.objects.values_list("title", flat=True).get())
    assert told(chat) == [{"action": "created", "userId": None, "title": "Tea ☕", "role": None}]
    assert published.told() == [("message:receive", {ada.id, grace.id, alan.id})]


def test_a_group_needs_no_title(ada: Person, grace: Person, alan: Person) -> None:
    """Two participants without a title are a group without one."""
    chat = open_group(ada, grace, alan, title=None)

    assert (chat.kind, chat.title) == (ChatKind.GROUP, None)
    assert told(chat)[0]["title"] is None


@pytest.mark.parametrize("title", ["", " \u3000", "x" * (chats.TITLE_LENGTH + 1)])
def test_titles_have_a_length(published: Announced, ada: Person, grace: Person, title: str) -> None:
    """A refused title leaves nothing behind."""
    with pytest.raises(InvalidInput):
        services.create_chat(creator_id=ada.id, participant_ids=[grace.id], title=title)

    assert state() == [[], [], 0, 0]
    assert published.events == []


def test_everybody_in_a_new_group_has_to_exist(published: Announced, ada: Person, grace: Person) -> None:
    """One unknown person and nothing is opened."""
    with pytest.raises(PersonNotFound):
        services.create_chat(creator_id=ada.id, participant_ids=[grace.id, NOWHERE], title="Tea")

    assert state() == [[], [], 0, 0]
    assert published.events == []


def test_a_group_has_a_size(ada: Person, grace: Person) -> None:
    """The limit counts its creator, and is checked before anybody is looked up."""
    too_many = [uuid7() for _ in range(chats.MEMBERS_LIMIT)]

    with pytest.raises(InvalidInput) as caught:
        services.create_chat(creator_id=ada.id, participant_ids=too_many, title="Tea")

    assert caught.value.fields["participantIds"][0]["code"] == "max_length"


# --- Titles -----------------------------------------------------------------------------------------------------------


def test_a_group_is_renamed(published: Announced, ada: Person, grace: Person, alan: Person, group: Chat) -> None:
    """The new title is stored and told in the line of numbers."""
    published.clear()

    renamed = services.rename_chat(chat_id=group.id, user_id=ada.id, title="Coffee")

    assert (renamed.title, renamed.counter) == ("Coffee", group.counter + 1)
    assert told(group)[-1] == {"action": "renamed", "userId": None, "title": "Coffee", "role": None}
    assert published.told() == [("message:receive", {ada.id, grace.id, alan.id})]
    assert published.events[0].data()["senderId"] == str(ada.id)


# --- Members ----------------------------------------------------------------------------------------------------------


def test_people_are_added(
    published: Announced, ada: Person, grace: Person, alan: Person, mallory: Person, group: Chat
) -> None:
    """They are told like everybody else; who was in stays as they are; what was said before is not unread."""
    say(ada, group)
    published.clear()

    chat = services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[mallory.id, ada.id, mallory.id])

    assert Membership.objects.count() == 4
    assert member(group, ada).role == Role.OWNER
    assert (member(group, mallory).role, member(group, mallory).read_seq) == (Role.MEMBER, 2)
    assert chat.counter == 3
    assert told(group)[-1] == {"action": "added", "userId": str(mallory.id), "title": None, "role": None}
    assert published.told() == [("message:receive", {ada.id, grace.id, alan.id, mallory.id})]
    # The message that tells of it is a system message, which nobody counts.
    assert inbox.entry_of(chat=chat, user_id=mallory.id).unread_count == 0


def test_adding_nobody_new_changes_nothing(published: Announced, ada: Person, grace: Person, group: Chat) -> None:
    """A repeated call is harmless."""
    before = state()
    published.clear()

    services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[grace.id])

    assert state() == before
    assert published.events == []


def test_many_are_added_with_few_statements(ada: Person, group: Chat, person: Callable[[str], Person]) -> None:
    """The cost of a call does not grow with the number of people by more than its rows."""

    def statements(*new: UUID) -> int:
        with CaptureQueriesContext(connections["default"]) as captured:
            services.add_members(chat_id=group.id, user_id=ada.id, new_ids=new)
        return len(captured)

    assert statements(person("one").id) == statements(*crowd(200))


@pytest.mark.parametrize("new_ids", [[NOWHERE], [uuid7() for _ in range(chats.MEMBERS_LIMIT)]])
def test_only_people_who_exist_and_fit_are_added(
    published: Announced, ada: Person, mallory: Person, group: Chat, new_ids: list[Any]
) -> None:
    """Nobody is added when one of them cannot be."""
    before = state()
    published.clear()

    with pytest.raises((PersonNotFound, InvalidInput)):
        services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[mallory.id, *new_ids])

    assert state() == before
    assert published.events == []


def test_somebody_is_removed(published: Announced, ada: Person, grace: Person, alan: Person, group: Chat) -> None:
    """The others and the removed one are told; from then on the chat is not there for them."""
    published.clear()

    services.remove_member(chat_id=group.id, user_id=ada.id, member_id=alan.id)

    assert told(group)[-1] == {"action": "removed", "userId": str(alan.id), "title": None, "role": None}
    assert published.told() == [
        ("message:receive", {ada.id, grace.id, alan.id}),
        ("chat:removed", {alan.id}),
    ]
    assert published.events[-1].data() == {"chatId": str(group.id), "rev": 2}
    [refused] = services.store([Draft(sender_id=alan.id, chat_id=group.id, content="still here?")])
    assert isinstance(refused, ChatNotFound)
    for read in (selectors.history, selectors.changes):
        place = {"before": None} if read is selectors.history else {"after": 0}
        with pytest.raises(ChatNotFound):
            read(chat_id=group.id, user_id=alan.id, limit=1, **place)
    with pytest.raises(ChatNotFound):
        services.mark_read(chat_id=group.id, user_id=alan.id, seq=1)
    assert inbox.read(user_id=alan.id, before=None, limit=10) == ([], None)
    published.clear()
    say(ada, group)
    assert published.told() == [("message:receive", {ada.id, grace.id})]


def test_somebody_leaves_and_comes_back(published: Announced, ada: Person, grace: Person, group: Chat) -> None:
    """As a plain member, with the whole history, and nothing unread of the time away."""
    leave(group, grace)
    assert told(group)[-1]["action"] == "left"
    say(ada, group, "while you were away")

    services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[grace.id])

    page = selectors.history(chat_id=group.id, user_id=grace.id, before=None, limit=50)
    assert "while you were away" in [one.content for one in page.messages]
    assert inbox.entry_of(chat=Chat.objects.get(), user_id=grace.id).unread_count == 0
    assert isinstance(say(grace, group, "back"), Message)


def test_roles_are_changed_and_told(published: Announced, ada: Person, grace: Person, group: Chat) -> None:
    """Once: giving the role that somebody has is no change."""
    published.clear()

    for _ in range(2):
        services.change_role(chat_id=group.id, user_id=ada.id, member_id=grace.id, role=Role.ADMIN)

    assert member(group, grace).role == Role.ADMIN
    assert told(group)[1:] == [{"action": "role", "userId": str(grace.id), "title": None, "role": "admin"}]
    assert len(published.events) == 1


# --- Who may do what --------------------------------------------------------------------------------------------------

MATRIX: list[tuple[str, type[DomainError] | None, type[DomainError] | None, type[DomainError] | None]] = [
    # what                     owner, admin,        member
    ("rename", None, None, RoleRequired),
    ("add", None, None, RoleRequired),
    ("remove a member", None, None, RoleRequired),
    ("remove an admin", None, RoleRequired, RoleRequired),
    ("remove an owner", None, RoleRequired, RoleRequired),
    ("make an admin", None, RoleRequired, RoleRequired),
    ("make an owner", None, RoleRequired, RoleRequired),
    ("unmake an owner", None, RoleRequired, RoleRequired),
    ("erase", None, RoleRequired, RoleRequired),
    ("leave", None, None, None),
    ("say", None, None, None),
]


@pytest.mark.parametrize("role", [*Role.values, "stranger"])
@pytest.mark.parametrize(("what", "owner", "admin", "plain"), MATRIX)
def test_roles(
    published: Announced,
    person: Callable[[str], Person],
    ada: Person,
    mallory: Person,
    what: str,
    owner: type[DomainError] | None,
    admin: type[DomainError] | None,
    plain: type[DomainError] | None,
    role: str,
) -> None:
    """Each act by each role; what is refused changes nothing and is not announced. Strangers find no chat."""
    actor, other_owner, other_admin, other = (person(name) for name in ("actor", "olga", "adam", "mona"))
    chat = open_group(ada, other_owner, other_admin, other, *([actor] if role != "stranger" else []))
    Membership.objects.filter(user_id=other_owner.id).update(role=Role.OWNER)
    Membership.objects.filter(user_id=other_admin.id).update(role=Role.ADMIN)
    if role != "stranger":
        Membership.objects.filter(user_id=actor.id).update(role=role)
    act: dict[str, Callable[[], Any]] = {
        "rename": lambda: services.rename_chat(chat_id=chat.id, user_id=actor.id, title="Mine"),
        "add": lambda: services.add_members(chat_id=chat.id, user_id=actor.id, new_ids=[mallory.id]),
        "erase": lambda: services.delete_chat(chat_id=chat.id, user_id=actor.id),
        "leave": lambda: leave(chat, actor),
        "say": lambda: chats.store([Draft(sender_id=actor.id, chat_id=chat.id, content="x")]),
    }
    for name, target in (("a member", other), ("an admin", other_admin), ("an owner", other_owner)):
        act[f"remove {name}"] = lambda target=target: services.remove_member(
            chat_id=chat.id, user_id=actor.id, member_id=target.id
        )
    for name, target, new in (
        ("make an admin", other, Role.ADMIN),
        ("make an owner", other, Role.OWNER),
        ("unmake an owner", other_owner, Role.MEMBER),
    ):
        act[name] = lambda target=target, new=new: services.change_role(
            chat_id=chat.id, user_id=actor.id, member_id=target.id, role=new
        )
    expected = {"owner": owner, "admin": admin, "member": plain, "stranger": ChatNotFound}[role]
    before = state()
    published.clear()

    outcome: Any = None
    try:
        outcome = act[what]()
    except DomainError as error:
        outcome = error
    if isinstance(outcome, list):
        outcome = outcome[0]

    if expected is None:
        assert not isinstance(outcome, DomainError)
        assert state() != before
        assert published.events
    else:
        assert type(outcome) is expected
        assert state() == before
        assert published.events == []


@pytest.mark.parametrize("role", Role.values)
def test_a_member_who_is_not_there_cannot_be_changed(ada: Person, mallory: Person, group: Chat, role: str) -> None:
    """Neither removed nor given a role."""
    with pytest.raises(PersonNotFound):
        services.change_role(chat_id=group.id, user_id=ada.id, member_id=mallory.id, role=role)
    with pytest.raises(PersonNotFound):
        services.remove_member(chat_id=group.id, user_id=ada.id, member_id=mallory.id)


def test_the_last_owner_stays(published: Announced, ada: Person, grace: Person, group: Chat) -> None:
    """Neither leaving nor another role, until somebody else is owner too."""
    before = state()
    published.clear()
    for change in (
        lambda: leave(group, ada),
        lambda: services.change_role(chat_id=group.id, user_id=ada.id, member_id=ada.id, role=Role.MEMBER),
    ):
        with pytest.raises(LastOwner):
            change()
    assert state() == before
    assert published.events == []

    services.change_role(chat_id=group.id, user_id=ada.id, member_id=grace.id, role=Role.OWNER)
    leave(group, ada)

    assert member(group, grace).role == Role.OWNER


def test_two_owners_who_leave_at_once(published: Announced, ada: Person, grace: Person, group: Chat) -> None:
    """One of them stays: a group with members has an owner."""
    services.change_role(chat_id=group.id, user_id=ada.id, member_id=grace.id, role=Role.OWNER)

    def go(who: Person) -> str:
        try:
            leave(group, who)
        except DomainError as error:
            return error.code
        finally:
            connections.close_all()
        return "left"

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(go, [ada, grace]))

    assert outcomes == ["last_owner", "left"]
    assert Membership.objects.filter(role=Role.OWNER).count() == 1


@pytest.mark.parametrize("who", ["grace", "mallory"])
def test_a_direct_chat_cannot_be_changed(
    published: Announced, request: pytest.FixtureRequest, ada: Person, mallory: Person, direct: Chat, who: str
) -> None:
    """By neither of its two people; to strangers it is not there."""
    actor: Person = request.getfixturevalue(who)
    before = state()
    published.clear()

    for change in (
        lambda: services.rename_chat(chat_id=direct.id, user_id=actor.id, title="Ours"),
        lambda: services.add_members(chat_id=direct.id, user_id=actor.id, new_ids=[mallory.id]),
        lambda: services.change_role(chat_id=direct.id, user_id=actor.id, member_id=ada.id, role=Role.OWNER),
        lambda: services.remove_member(chat_id=direct.id, user_id=actor.id, member_id=ada.id),
        lambda: leave(direct, actor),
        lambda: services.delete_chat(chat_id=direct.id, user_id=actor.id),
    ):
        with pytest.raises(DirectChatFixed if who == "grace" else ChatNotFound):
            change()

    assert state() == before
    assert published.events == []


# --- The end of a chat ------------------------------------------------------------------------------------------------


def test_erasing_a_group_destroys_its_key(
    published: Announced, ada: Person, grace: Person, alan: Person, group: Chat
) -> None:
    """Rows and key are gone, everybody is told, and a ciphertext that somebody kept cannot be read any more."""
    message = say(ada, group)
    kept = Message.objects.values("id", "chat_id", "sender_id", "content").get(id=message.id)
    upload = Attachment(chat_id=group.id, uploader_id=ada.id, name="a", media_type="text/plain", size=1)
    upload.save()
    published.clear()

    services.delete_chat(chat_id=group.id, user_id=ada.id)

    for model in (Chat, ChatKey, Membership, Message, Attachment):
        assert model.objects.count() == 0
    assert published.told() == [("chat:removed", {ada.id, grace.id, alan.id})]
    assert published.events[0].data() == {"chatId": str(group.id), "rev": 2}
    copy = Message(**kept)
    copy.__dict__["content"] = Sealed(kept["content"])
    with pytest.raises(Unreadable):
        _ = copy.content
    with pytest.raises(keys.KeyDestroyed):
        keys.cipher(group.id)


def test_erasing_a_group_loads_no_messages(published: Announced, ada: Person, group: Chat) -> None:
    """However many there are, they are deleted by one statement that names their chat."""
    say(ada, group)

    with CaptureQueriesContext(connections["default"]) as queries:
        services.delete_chat(chat_id=group.id, user_id=ada.id)

    [statement] = [one["sql"] for one in queries.captured_queries if "messages" in one["sql"]]
    assert statement.startswith(("DELETE FROM", "db.messages.delete_many({'chatId'"))


def test_a_failed_erasure_keeps_the_key(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is destroyed before the commit."""
    say(ada, group, "precious")

    def fail(*args: Any) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(chats, "publish", fail)
    with pytest.raises(RuntimeError), chats.db.atomic():
        services.delete_chat(chat_id=group.id, user_id=ada.id)

    keys.forget()
    assert Message.objects.get(type=MessageType.TEXT).content == "precious"


def test_the_last_to_leave_takes_the_chat_along(
    published: Announced, ada: Person, grace: Person, alan: Person, group: Chat
) -> None:
    """Key included; it is the owner, who is left alone."""
    for other in (grace, alan):
        leave(group, other)
    published.clear()

    leave(group, ada)

    assert state() == [[], [], 0, 0]
    assert published.told() == [("chat:removed", {ada.id})]


def test_other_chats_are_not_touched(ada: Person, grace: Person, group: Chat, direct: Chat) -> None:
    """Erasing one leaves the others readable."""
    say(ada, direct, "stays")

    services.delete_chat(chat_id=group.id, user_id=ada.id)

    keys.forget()
    assert Message.objects.get().content == "stays"


def test_system_messages_stand_in_the_line_of_numbers(ada: Person, grace: Person, alan: Person) -> None:
    """Between the others, dense, and each by the one who acted."""
    chat = open_group(ada, grace)
    say(ada, chat)
    services.add_members(chat_id=chat.id, user_id=ada.id, new_ids=[alan.id])
    say(alan, chat)
    leave(chat, alan)

    rows = Message.objects.order_by("seq").values_list("seq", "rev", "type", "sender_id")

    assert list(rows) == [
        (1, 1, "system", ada.id),
        (2, 2, "text", ada.id),
        (3, 3, "system", ada.id),
        (4, 4, "text", alan.id),
        (5, 5, "system", alan.id),
    ]
    assert [one["action"] for one in told(chat)] == ["created", "added", "left"]
