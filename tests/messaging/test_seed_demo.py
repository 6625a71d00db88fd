"""Tests of `manage.py seed_demo`: what is there afterwards, and that running it again is harmless."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from accounts import services as accounts
from accounts.models import User
from messaging import attachments, services
from messaging.drafts import Draft
from messaging.management import demo
from messaging.management.commands import seed_demo
from messaging.models import Attachment, Chat, ChatKind, Membership, Message, MessageType
from tests.live.server import Daphne
from tests.messaging.conftest import Announced, Person, say

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str) -> str:
    """Run the command and return what it says."""
    output = io.StringIO()
    call_command("seed_demo", *arguments, stdout=output)
    return output.getvalue()


def rows() -> tuple[int, ...]:
    """Return how many rows there are of everything."""
    return tuple(model.objects.count() for model in (User, Chat, Membership, Message, Attachment))


def in_mode(monkeypatch: pytest.MonkeyPatch, *, production: bool) -> None:
    """Let the command believe that it runs in another mode."""

    class Mode:
        def __init__(self) -> None:
            self.production = production

    monkeypatch.setattr(seed_demo, "ENV", Mode())


def test_the_demo_is_believable() -> None:
    """People can sign in; chats of both kinds have text, edits, deletions, pictures, and something unread."""
    output = run()

    assert accounts.sign_in(username="mara.lind", password=demo.PASSWORD).user.email in output
    assert {chat.kind for chat in Chat.objects.all()} == {ChatKind.DIRECT, ChatKind.GROUP}
    assert User.objects.count() == 8
    assert Message.objects.exclude(type=MessageType.SYSTEM).count() >= 190
    assert Message.objects.filter(edited_at__isnull=False).exists()
    assert Message.objects.filter(deleted_at__isnull=False).exists()
    group = Message.objects.get(seq=1, chat__title__isnull=False, sender__username="tom.baker").chat
    assert group.title == "Sunday football"
    read = Membership.objects.filter(chat=group).values_list("user__username", "read_seq")
    assert dict(read)["tom.baker"] == group.last_seq
    assert dict(read)["jonas.weber"] < group.last_seq


async def test_the_picture_is_a_picture() -> None:
    """It can be fetched by those who got it."""
    await asyncio.to_thread(run)
    message = await Message.objects.filter(type=MessageType.IMAGE).afirst()
    assert message is not None

    found = await asyncio.to_thread(
        attachments.attachment_for_member, attachment_id=message.attachment_id, user_id=message.sender_id
    )
    content = attachments.open_content(attachment=found, part=range(found.size))
    image = Image.open(io.BytesIO(b"".join([chunk async for chunk in content])))

    assert (found.name, found.media_type, image.size) == ("lake.png", "image/png", (960, 640))


def test_a_second_run_changes_nothing(published: Announced) -> None:
    """It says so, and still says who can sign in; nobody is told anything."""
    run()
    before = rows()
    published.clear()

    output = run()

    assert rows() == before
    assert "The demo is there already." in output
    assert "mara.lind@demo.example" in output
    assert published.events == []


def test_an_interrupted_run_is_completed() -> None:
    """What is missing is added, and nothing twice."""
    run()
    before = rows()
    conversation = demo.conversations()[-1]
    Message.objects.filter(client_id__in=[line.client_id for line in conversation.lines[5:]]).delete()

    output = run()

    assert rows() == before
    assert f"Stored {len(conversation.lines) - 5} messages." in output


def test_everybody_is_told(published: Announced) -> None:
    """The demo comes through the services: a message goes to every member of its chat."""
    run()

    for event in published.events:
        if event.name == "message:receive":
            body: dict[str, Any] = event.data()
            members = Membership.objects.filter(chat_id=body["chatId"]).values_list("user_id", flat=True)
            assert set(event.recipients) == set(members)
    assert len([event for event in published.events if event.name == "message:receive"]) >= 190
    assert {event.name for event in published.events} == {
        *("message:receive", "message:update", "message:delete", "message:read", "message:delivered"),
    }


def test_reset_removes_the_demo_and_nothing_else(ada: Person, grace: Person) -> None:
    """A chat of others stays; one that a person of the demo is in goes."""
    run()
    chat, _ = services.create_chat(creator_id=ada.id, participant_ids=[grace.id], title=None)
    kept = say(ada, chat)
    mara = User.objects.get(username="mara.lind")
    services.store([Draft(sender_id=ada.id, receiver_id=mara.pk, content="Hello!")])

    output = run("--reset")

    assert "Stored" in output
    assert not User.objects.filter(pk=mara.pk).exists()
    assert User.objects.count() == 10
    assert list(Message.objects.filter(sender_id=ada.id)) == [kept]


def test_a_name_that_is_taken_stops_it(person: Callable[[str], Person]) -> None:
    """Somebody else's account is not taken over."""
    person("mara.lind")

    with pytest.raises(CommandError, match="taken"):
        run()


def test_production_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its people's password is public, so it takes a word; removing takes more than a word."""
    in_mode(monkeypatch, production=True)

    with pytest.raises(CommandError, match="--force"):
        run()
    with pytest.raises(CommandError, match="not in production"):
        run("--reset", "--force")
    assert User.objects.count() == 0

    run("--force")
    assert User.objects.count() == 8


def test_a_line_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A slip in the text is found before anything is stored."""
    text = tmp_path / "demo.txt"
    text.write_text("== direct | ada grace\nno colon here\n")
    monkeypatch.setattr(demo, "TEXT", text)

    with pytest.raises(ValueError, match="no colon here"):
        demo.conversations()


@pytest.mark.live
def test_an_operator_runs_it(daphne: Callable[..., Daphne]) -> None:
    """The whole command, in a process of its own."""
    server = daphne(started=False)

    assert "Stored" in server.manage("seed_demo")
