"""Takes profile pictures: decodes what people send within bounds, and stores a small, clean copy."""

from __future__ import annotations

import re
import secrets
import struct
from io import BytesIO
from typing import IO
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from PIL import Image, ImageOps

from accounts.models import User
from accounts.selectors import UserNotFound, picture_name, picture_url
from chatproject.db import lock, on_commit, transactional
from chatproject.errors import InvalidInput

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
EDGE = 256
"""Pixels of the stored square."""
MAXIMUM_BYTES = 5 * 1024 * 1024
MAXIMUM_PIXELS = 32_000_000
"""A decoded pixel takes 4 bytes: one upload needs at most 128 MB, whatever its compressed size."""
QUALITY = 85
VERSION_BYTES = 16

_UPLOADED = re.compile(r"/user/([0-9a-f-]{36})/picture\?v=([A-Za-z0-9_-]+)")
# What Pillow's decoders raise on damaged files, beside their own UnidentifiedImageError (an OSError).
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)


def set_picture(*, user_id: UUID, file: IO[bytes], size: int) -> User:
    """Make an uploaded image (PNG, JPEG, WebP or GIF of `size` bytes) the user's picture, and return the user.

    Stored is a 256 x 256 WebP without metadata, made from the decoded pixels (OWASP File Upload Cheat Sheet). Raises
    `InvalidInput` for `file` with the code `too_large`, `too_many_pixels` or `invalid_image`, and `UserNotFound`.
    """
    if size > MAXIMUM_BYTES:
        raise InvalidInput.of("file", "A picture may have 5 MiB.", code="too_large")
    content = squared(file)
    version = secrets.token_urlsafe(VERSION_BYTES)
    name = picture_name(user_id=user_id, version=version)
    default_storage.save(name, ContentFile(content))
    try:
        return _replace_picture(user_id=user_id, url=picture_url(user_id=user_id, version=version))
    except BaseException:
        default_storage.delete(name)
        raise


@transactional(trust_unconfirmed=True)  # or the file of a picture that is in force would be deleted
def _replace_picture(*, user_id: UUID, url: str) -> User:
    lock(User.objects.filter(pk=user_id))
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise UserNotFound
    former, user.profile_pic = user.profile_pic, url
    user.save(update_fields=["profile_pic"])
    discard(url=former)
    return user


def discard(*, url: str) -> None:
    """Delete the file behind an uploaded picture's URL, once the open transaction has committed.

    Any other URL has none. A file that cannot be deleted is logged and stays: the change that it gave way to stands.
    """
    if match := _UPLOADED.fullmatch(url):
        name = picture_name(user_id=UUID(match[1]), version=match[2])
        on_commit(lambda: default_storage.delete(name), robust=True)


def squared(file: IO[bytes]) -> bytes:
    """Return the first frame as a 256 x 256 WebP, upright and cut to its middle, bare. Raises `InvalidInput`."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAXIMUM_PIXELS:
                raise InvalidInput.of("file", "The picture has more than 32 million pixels.", code="too_many_pixels")
            image.draft("RGB", (2 * EDGE, 2 * EDGE))
            upright = ImageOps.exif_transpose(image)
            mode = "RGBA" if upright.has_transparency_data else "RGB"
            pixels = ImageOps.fit(upright.convert(mode), (EDGE, EDGE), Image.Resampling.LANCZOS)
    except _UNREADABLE as error:
        raise InvalidInput.of("file", "Send a PNG, JPEG, WebP or GIF image.", code="invalid_image") from error
    clean = Image.new(mode, pixels.size)
    clean.paste(pixels)
    target = BytesIO()
    clean.save(target, format="WEBP", quality=QUALITY)
    return target.getvalue()
