"""The people and conversations of the demonstration, read from `demo.txt`, and the picture that they send."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from PIL import Image, ImageDraw

TEXT = Path(__file__).with_name("demo.txt")
NAMESPACE = UUID("6f0c8a5e-5d0f-4b3a-9c57-0d6b4d1f2a31")
EMAIL_DOMAIN = "demo.example"
PASSWORD = "demo-harbour-lantern"  # noqa: S105  printed for everybody

_LINE = re.compile(
    r"(?P<sender>[\w.]+): (?P<image>\[image\] )?(?P<text>.*?)(?: => (?P<edit>.+))?(?P<deleted> \[deleted\])?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something said; `client_id` stays the same from run to run, so that saying it twice says it once."""

    client_id: UUID
    sender: str
    text: str
    image: bool
    edit: str | None
    deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A chat of some people; `title` is None in a direct chat. The first of them opens a group."""

    title: str | None
    people: tuple[str, ...]
    lines: tuple[Line, ...]


def email(username: str) -> str:
    """Return the address of a person of the demonstration."""
    return f"{username}@{EMAIL_DOMAIN}"


def conversations() -> list[Conversation]:
    """Return everything in `demo.txt`.

    `== group: TITLE | NAMES` or `== direct | NAMES` opens a chat; `NAME: TEXT` says something, `=> TEXT` edits it,
    `[deleted]` at its end takes it back, `[image]` at its beginning sends the picture.
    """
    blocks = TEXT.read_text(encoding="utf-8").split("== ")[1:]
    return [_conversation(place, block) for place, block in enumerate(blocks)]


def _conversation(place: int, block: str) -> Conversation:
    head, *said = block.strip().splitlines()
    kind, _, names = head.partition(" | ")
    title = kind.removeprefix("group: ") if kind.startswith("group: ") else None
    lines = tuple(_line(f"{place}:{number}", text) for number, text in enumerate(said))
    return Conversation(title=title, people=tuple(names.split()), lines=lines)


def _line(name: str, text: str) -> Line:
    parts = _LINE.fullmatch(text)
    if parts is None:
        raise ValueError(f"demo.txt: {text!r}")
    return Line(
        client_id=uuid5(NAMESPACE, name),
        sender=parts["sender"],
        text=parts["text"],
        image=parts["image"] is not None,
        edit=parts["edit"],
        deleted=parts["deleted"] is not None,
    )


def people() -> list[str]:
    """Return everybody's username, sorted."""
    return sorted({name for conversation in conversations() for name in conversation.people})


def picture() -> bytes:
    """Return a PNG of a lake at dawn."""
    width, height, shore = 960, 640, 380
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for y, colour in _dawn(height, shore):
        draw.line([(0, y), (width, y)], fill=colour)
    draw.polygon([(0, shore), (220, 190), (430, 330), (640, 150), (960, 340), (960, shore)], fill=(58, 74, 98))
    draw.ellipse([(690, 90), (770, 170)], fill=(255, 236, 190))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _dawn(height: int, shore: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Yield each row with its colour: the sky brightens down to the shore, the water darkens below it."""
    for y in range(height):
        light = y / shore if y < shore else 1 - (y - shore) / (height - shore) * 0.6
        yield y, (int(90 + 150 * light), int(110 + 80 * light), int(150 + 20 * light))
