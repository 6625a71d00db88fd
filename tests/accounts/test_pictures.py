"""Tests of profile pictures: what is taken, what is stored, what is refused."""

from __future__ import annotations

import contextlib
import errno
import random
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.db.models.signals import pre_save
from PIL import Image

from accounts import pictures, selectors, services
from accounts.models import User
from accounts.selectors import PictureNotFound, UserNotFound
from accounts.services import SignedIn
from chatproject.errors import InvalidInput
from chatproject.events import Event
from chatproject.ids import uuid7
from tests.chatproject.races import meanwhile

RED, BLUE = (255, 0, 0), (0, 0, 255)


def drawn(kind: str, *, size: tuple[int, int] = (640, 480), mode: str = "RGB", **options: Any) -> BytesIO:
    """Return an image file: its left half red, its right half blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    file = BytesIO()
    image.convert(mode).save(file, kind, **options)
    file.seek(0)
    return file


def stored(content: bytes) -> Image.Image:
    """Open what was stored."""
    image = Image.open(BytesIO(content))
    image.load()
    return image


def is_near(pixel: Any, colour: tuple[int, int, int]) -> bool:
    """Tell whether a pixel has a colour, but for what compression does."""
    return all(abs(one - other) < 40 for one, other in zip(pixel, colour, strict=False))


def files() -> list[Path]:
    """Return the files that are stored."""
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGB"), ("PNG", "P"), ("PNG", "L"), ("PNG", "1"), ("PNG", "LA"), ("JPEG", "RGB"), ("JPEG", "CMYK"),
     ("JPEG", "L"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("GIF", "P")],
)  # fmt: skip
def test_every_kind_becomes_a_small_webp(kind: str, mode: str) -> None:
    """Formats and modes that cameras and programs write."""
    image = stored(pictures.squared(drawn(kind, mode=mode)))

    assert (image.format, image.size) == ("WEBP", (256, 256))


def test_the_middle_is_kept() -> None:
    """A wide picture is cut on both sides, not squeezed."""
    image = stored(pictures.squared(drawn("PNG", size=(2000, 200))))

    assert is_near(image.getpixel((10, 128)), RED)
    assert is_near(image.getpixel((245, 128)), BLUE)


def test_a_tiny_picture_is_enlarged() -> None:
    """Also one pixel is a picture."""
    assert stored(pictures.squared(drawn("PNG", size=(1, 1)))).size == (256, 256)


def test_transparency_is_kept() -> None:
    """A logo keeps its shape."""
    file = BytesIO()
    Image.new("RGBA", (300, 300), (0, 0, 0, 0)).save(file, "PNG")

    assert stored(pictures.squared(file)).getpixel((128, 128))[3] == 0  # type: ignore[index]


def test_metadata_is_dropped_and_the_picture_upright() -> None:
    """Where and with what it was taken is nobody's business; how the camera was held still counts."""
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    exif[0x010F] = "a secret camera"
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 29.0)}

    content = pictures.squared(drawn("JPEG", exif=exif, comment=b"a secret comment"))

    image = stored(content)
    assert b"secret" not in content
    assert not image.getexif()
    assert not {"exif", "xmp", "icc_profile"} & set(image.info)
    assert is_near(image.getpixel((128, 20)), RED)
    assert is_near(image.getpixel((128, 235)), BLUE)


def bomb() -> bytes:
    """Return a small PNG that claims 60 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (10_000).to_bytes(4, "big") + (6_000).to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(30_001) * 6_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "invalid_image", id="empty"),
        pytest.param(b"hello", "invalid_image", id="text"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "invalid_image", id="svg"),
        pytest.param(drawn("PNG").getvalue()[:-200], "invalid_image", id="cut off"),
        pytest.param(drawn("TIFF").getvalue(), "invalid_image", id="tiff"),
        pytest.param(drawn("BMP").getvalue(), "invalid_image", id="bmp"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "invalid_image", id="eps"),
        pytest.param(bomb(), "too_many_pixels", id="decompression bomb"),
        pytest.param(bomb().replace((10_000).to_bytes(4, "big"), b"\x7f\xff\xff\xff"), "invalid_image", id="absurd"),
    ],
)
def test_refused_files(content: bytes, code: str) -> None:
    """What is no picture, no picture of ours, or too much of one."""
    with pytest.raises(InvalidInput) as failure:
        pictures.squared(BytesIO(content))

    assert failure.value.fields["file"][0]["code"] == code


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_damaged_files_are_the_senders_mistake(kind: str) -> None:
    """However the bytes are mixed up, the answer is a picture or a named error, never another exception."""
    chance = random.Random(kind)
    original = drawn(kind, size=(40, 30)).getvalue()
    for _ in range(300):
        damaged = bytearray(original)
        for _ in range(chance.randint(1, 12)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.3:
            del damaged[chance.randint(1, len(damaged)) :]
        with contextlib.suppress(InvalidInput):
            assert stored(pictures.squared(BytesIO(damaged))).size == (256, 256)


def test_setting_a_picture(published: list[Event], ada: SignedIn) -> None:
    """The user gets a path with an unguessable version, under which the picture is found."""
    user = pictures.set_picture(user_id=ada.user.pk, file=drawn("PNG"), size=1000)

    path, _, version = user.profile_pic.partition("?v=")
    assert path == f"/user/{ada.user.pk}/picture"
    assert len(version) >= 22
    assert [file.name for file in files()] == [f"{ada.user.pk}-{version}.webp"]
    assert stored(selectors.picture_of(user_id=user.pk, version=version)).size == (256, 256)
    assert published == []


@pytest.mark.parametrize("successor", ["another picture", "a URL", "none"])
def test_the_former_picture_goes(published: list[Event], ada: SignedIn, successor: str) -> None:
    """File and address of the old one are void, whatever follows it."""
    former = pictures.set_picture(user_id=ada.user.pk, file=drawn("PNG"), size=1000).profile_pic

    if successor == "another picture":
        pictures.set_picture(user_id=ada.user.pk, file=drawn("GIF"), size=1000)
    else:
        url = "https://example.org/a.png" if successor == "a URL" else ""
        services.update_profile(user_id=ada.user.pk, changes={"profile_pic": url})

    assert len(files()) == (1 if successor == "another picture" else 0)
    with pytest.raises(PictureNotFound):
        selectors.picture_of(user_id=ada.user.pk, version=former.partition("?v=")[2])


@pytest.mark.django_db(transaction=True)
def test_of_two_pictures_at_once_one_stays(ada: SignedIn) -> None:
    """The later one, and no file is left of the other."""

    def draw() -> User:
        return pictures.set_picture(user_id=ada.user.pk, file=drawn("PNG"), size=1000)

    with meanwhile(draw, at=pre_save, of=User) as other:
        draw()
        other.result()

    assert [file.name for file in files()] == [name_of(User.objects.get().profile_pic)]


@pytest.mark.django_db(transaction=True)
def test_a_picture_that_meets_a_change_of_the_profile_stays(ada: SignedIn) -> None:
    """The profile is saved with the picture that it has by then."""
    pictures.set_picture(user_id=ada.user.pk, file=drawn("PNG"), size=1000)

    def draw() -> User:
        return pictures.set_picture(user_id=ada.user.pk, file=drawn("GIF"), size=1000)

    with meanwhile(draw, at=pre_save, of=User) as other:
        services.update_profile(user_id=ada.user.pk, changes={"username": "countess"})
        drawn_at_once = other.result()

    user = User.objects.get()
    assert (user.username, user.profile_pic) == ("countess", drawn_at_once.profile_pic)
    assert [file.name for file in files()] == [name_of(user.profile_pic)]


def name_of(url: str) -> str:
    """Return the name of the file behind a picture's URL."""
    path, _, version = url.partition("?v=")
    return f"{path.split('/')[2]}-{version}.webp"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("successor", ["another picture", "none"])
def test_a_former_picture_that_cannot_be_removed_harms_nothing(
    ada: SignedIn, monkeypatch: pytest.MonkeyPatch, successor: str
) -> None:
    """The change has been committed: it stands, with its file."""
    pictures.set_picture(user_id=ada.user.pk, file=drawn("PNG"), size=1000)
    delete = FileSystemStorage.delete

    def fail_once(storage: FileSystemStorage, name: str) -> None:
        monkeypatch.setattr(FileSystemStorage, "delete", delete)
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(FileSystemStorage, "delete", fail_once)

    if successor == "none":
        user = services.update_profile(user_id=ada.user.pk, changes={"profile_pic": ""})
        assert User.objects.get().profile_pic == user.profile_pic == ""
        return
    user = pictures.set_picture(user_id=ada.user.pk, file=drawn("GIF"), size=1000)
    assert User.objects.get().profile_pic == user.profile_pic
    assert name_of(user.profile_pic) in [file.name for file in files()]


def test_a_picture_that_is_too_large(ada: SignedIn) -> None:
    """More bytes than a picture needs are not even looked at."""
    with pytest.raises(InvalidInput) as failure:
        pictures.set_picture(user_id=ada.user.pk, file=drawn("PNG"), size=pictures.MAXIMUM_BYTES + 1)

    assert failure.value.fields["file"][0]["code"] == "too_large"


@pytest.mark.django_db
def test_a_picture_of_nobody_leaves_no_file() -> None:
    """When the user is gone, so is the file."""
    with pytest.raises(UserNotFound):
        pictures.set_picture(user_id=uuid7(), file=drawn("PNG"), size=1000)

    assert files() == []


@pytest.mark.parametrize("version", ["", "x", "../../secrets", "%00", "\ud800", "é"])
def test_other_versions_lead_nowhere(ada: SignedIn, version: str) -> None:
    """A version is compared before it becomes part of a file's name."""
    pictures.set_picture(user_id=ada.user.pk, file=drawn("PNG"), size=1000)

    for user_id in (ada.user.pk, uuid7(), None):
        with pytest.raises(PictureNotFound):
            selectors.picture_of(user_id=user_id, version=version)


def test_a_picture_whose_file_is_lost(ada: SignedIn) -> None:
    """A restored database without its files gives 404, not 500."""
    url = pictures.set_picture(user_id=ada.user.pk, file=drawn("PNG"), size=1000).profile_pic
    files()[0].unlink()

    with pytest.raises(PictureNotFound):
        selectors.picture_of(user_id=ada.user.pk, version=url.partition("?v=")[2])


@pytest.mark.parametrize("url", ["", "https://example.org/a.png", f"/user/{UUID(int=1)}/picture?v=../x", "/etc/passwd"])
def test_only_our_own_addresses_have_files(url: str) -> None:
    """Discarding any other URL touches nothing."""
    pictures.discard(url=url)

    assert not User().profile_pic
