"""Tests of the two endpoints of attachments: uploads of every kind, downloads whole and in part, and who may."""

from __future__ import annotations

import asyncio
import tempfile
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponseBase, StreamingHttpResponse
from django.test import AsyncClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from rest_framework.test import APIClient

from chatproject.ids import uuid7
from messaging import attachment_files as files
from messaging import attachments, uploads
from messaging.attachment_files import CHUNK, SEALED_CHUNK
from messaging.models import Attachment, Chat
from tests.messaging.conftest import NOWHERE, Person, say

pytestmark = pytest.mark.django_db

CONTENT = bytes(number * number % 251 for number in range(2 * CHUNK + 777))
SIZE = len(CONTENT)


def upload(who: Person, chat: Chat, content: bytes = CONTENT, name: str = "tea.zip", **more: Any) -> Any:
    """Send one file and return the response."""
    file = SimpleUploadedFile(name, content, content_type=more.pop("content_type", "application/zip"))
    return who.api.post("/attachment", {"chatId": str(chat.id), "file": file, **more}, format="multipart")


def uploaded(who: Person, chat: Chat, content: bytes = CONTENT, name: str = "tea.zip", **more: Any) -> dict[str, Any]:
    """Send one file and return its document. Fails when it is refused."""
    response = upload(who, chat, content, name, **more)
    assert response.status_code == 201, response.content
    document: dict[str, Any] = response.json()
    return document


def body(response: HttpResponseBase) -> bytes:
    """Return what a response sends."""
    if not isinstance(response, StreamingHttpResponse):
        return response.content  # type: ignore[attr-defined,no-any-return]

    async def collect() -> bytes:
        return b"".join([chunk async for chunk in response])  # type: ignore[union-attr]

    return asyncio.run(collect())


def refusal(response: Any) -> tuple[int, str]:
    """Return `(status, code)`. Fails when the error has not the one shape."""
    error = response.json()["error"]
    assert set(error) >= {"code", "message", "fields", "requestId"}
    return response.status_code, error["code"]


def problems(response: Any) -> dict[str, str]:
    """Return each field's first code of a 400 answer."""
    assert refusal(response) == (400, "invalid")
    return {name: found[0]["code"] for name, found in response.json()["error"]["fields"].items()}


def picture(kind: str) -> bytes:
    """Return a small picture."""
    target = BytesIO()
    Image.new("RGB", (3, 2), "red").save(target, kind)
    return target.getvalue()


def test_an_upload_comes_back(ada: Person, grace: Person, group: Chat) -> None:
    """The document is the protocol's, and any member gets the very bytes."""
    document = uploaded(ada, group)

    response = grace.api.get(document["url"])

    assert document == {
        "id": document["id"],
        "name": "tea.zip",
        "mediaType": "application/zip",
        "size": SIZE,
        "url": f"/attachment/{document['id']}",
    }
    assert response.status_code == 200
    assert body(response) == CONTENT
    assert {name: response[name] for name in ("Content-Type", "Content-Length", "Accept-Ranges", "ETag")} == {
        "Content-Type": "application/zip",
        "Content-Length": str(SIZE),
        "Accept-Ranges": "bytes",
        "ETag": f'"{document["id"]}"',
    }
    assert response["Cache-Control"] == "private, max-age=31536000, immutable"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"] == 'attachment; filename="tea.zip"'


def test_it_is_sent_with_a_message(ada: Person, grace: Person, group: Chat) -> None:
    """The message carries the same document."""
    document = uploaded(ada, group)

    message = say(ada, group, "", type="file", attachment_id=Attachment.objects.get().id)

    page = grace.api.get(f"/chat/{group.id}").json()
    assert page["messages"][-1]["id"] == str(message.id)
    assert page["messages"][-1]["attachment"] == document


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_pictures_are_shown_in_place(ada: Person, group: Chat, kind: str) -> None:
    """Whatever they were said to be, real pictures come inline under their true type."""
    document = uploaded(ada, group, picture(kind), "photo", content_type="text/html")

    response = ada.api.get(document["url"], headers={"Accept": "image/*"})

    assert body(response) == picture(kind)
    assert document["mediaType"] == f"image/{kind.lower()}"
    assert response["Content-Type"] == document["mediaType"]
    assert response["Content-Disposition"] == 'inline; filename="photo"'


@pytest.mark.parametrize("claimed", ["text/html", "image/svg+xml", "image/png", "text/javascript", "nonsense", ""])
def test_active_content_is_a_download(ada: Person, group: Chat, claimed: str) -> None:
    """A page that was sent as a file never runs on our origin."""
    document = uploaded(ada, group, b"<script>alert(1)</script>", "page.html", content_type=claimed)

    response = ada.api.get(document["url"])

    assert body(response) == b"<script>alert(1)</script>"
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment;")


def test_names_of_every_script_survive(ada: Person, group: Chat) -> None:
    """In the document as they are, in the header by RFC 5987."""
    document = uploaded(ada, group, name="Tee ☕.zip")

    response = ada.api.get(document["url"])

    assert body(response) == CONTENT
    assert document["name"] == "Tee ☕.zip"
    assert response["Content-Disposition"] == "attachment; filename*=utf-8''Tee%20%E2%98%95.zip"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\\b\\passwd"])
def test_a_path_in_a_name_is_dropped(ada: Person, group: Chat, name: str) -> None:
    """The name is a bare one."""
    data = multipart(("chatId", None, str(group.id).encode()), ("file", name, b"content"))

    response = ada.api.post("/attachment", data, content_type="multipart/form-data; boundary=parley")

    assert response.json()["name"] == "passwd"


def test_foreign_and_missing_chats_give_the_same_answer(ada: Person, mallory: Person, group: Chat) -> None:
    """404, but for the request's id, and nothing is stored."""
    foreign = upload(mallory, group)
    missing = mallory.api.post("/attachment", {"chatId": str(NOWHERE), "file": BytesIO(b"x")}, format="multipart")

    assert refusal(foreign) == refusal(missing) == (404, "chat_not_found")
    assert foreign.json()["error"]["message"] == missing.json()["error"]["message"]
    assert Attachment.objects.count() == 0


@pytest.mark.parametrize("place", ["foreign", str(NOWHERE), "not-a-uuid", "%00", "019A0000"])
def test_foreign_and_missing_attachments_give_the_same_answer(
    ada: Person, mallory: Person, group: Chat, place: str
) -> None:
    """404, whatever the path and the headers say."""
    url = uploaded(ada, group)["url"] if place == "foreign" else f"/attachment/{place}"

    for headers in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}):
        assert refusal(mallory.api.get(url, headers=headers)) == (404, "attachment_not_found")
    assert mallory.api.head(url).status_code == 404


def test_somebody_who_left_has_no_access(ada: Person, grace: Person, group: Chat) -> None:
    """Membership counts when the file is asked for."""
    url = uploaded(ada, group)["url"]
    assert grace.api.delete(f"/chat/{group.id}/member/{grace.id}").status_code == 204

    assert refusal(grace.api.get(url)) == (404, "attachment_not_found")


def test_both_endpoints_ask_for_a_token(ada: Person, group: Chat) -> None:
    """401 without one."""
    url = uploaded(ada, group)["url"]

    assert refusal(APIClient().get(url)) == (401, "not_authenticated")
    assert refusal(APIClient().post("/attachment", {})) == (401, "not_authenticated")


def multipart(*parts: tuple[str, str | None, bytes]) -> bytes:
    """Write `(name, filename, content)` parts as they go over the wire, with the boundary `parley`."""
    written = b""
    for name, filename, content in parts:
        disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
        written += b"--parley\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
    return written + b"--parley--\r\n"


CHAT = ("chatId", None, b"{chat}")
FILE = ("file", "a.txt", b"content")


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([], {"chatId": "required", "file": "required"}),
        ([CHAT], {"file": "required"}),
        ([FILE], {"chatId": "required"}),
        ([CHAT, FILE, FILE], {"file": "given_twice"}),
        ([CHAT, CHAT, FILE], {"chatId": "given_twice"}),
        ([CHAT, ("file", "a.txt", b"")], {"file": "empty"}),
        ([CHAT, ("file", None, b"text")], {"file": "invalid"}),
        ([CHAT, ("file", "", b"nameless")], {"file": "invalid"}),
        ([("chatId", "chat.txt", b"{chat}"), FILE], {"chatId": "invalid"}),
        ([("chatId", None, b"not-a-uuid"), FILE], {"chatId": "invalid"}),
        ([("chatId", None, b""), FILE], {"chatId": "invalid"}),
        ([("chatId", None, b"\xff\x00"), FILE], {"chatId": "invalid"}),
        ([CHAT, FILE, ("extra", None, b"1")], {"extra": "unknown_field"}),
        ([CHAT, FILE, ("extra", "b.txt", b"1")], {"extra": "unknown_field"}),
    ],
)
def test_every_bad_field_is_named(
    ada: Person, group: Chat, parts: list[tuple[str, str | None, bytes]], found: dict[str, str]
) -> None:
    """400 with the field at fault; nothing is stored."""
    chat_id = str(group.id).encode()
    data = multipart(*((name, filename, content.replace(b"{chat}", chat_id)) for name, filename, content in parts))

    response = ada.api.post("/attachment", data, content_type="multipart/form-data; boundary=parley")

    assert problems(response) == found
    assert Attachment.objects.count() == 0


@pytest.mark.parametrize(
    ("data", "content_type", "answer"),
    [
        (b"{}", "application/json", (415, "unsupported_media_type")),
        (b"chatId=1", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
        (b"", "multipart/form-data", (400, "invalid")),
        (b"rubbish", "multipart/form-data", (400, "malformed_json")),
        (b"rubbish", "multipart/form-data; boundary=", (400, "malformed_json")),
        (b"rubbish", "multipart/form-data; boundary=parley", (400, "invalid")),
        (multipart(CHAT, FILE)[:-40], "multipart/form-data; boundary=parley", (400, "invalid")),
        (multipart(*[("f", "a.txt", b"x")] * 101), "multipart/form-data; boundary=parley", (400, "invalid")),
        (multipart(*[("f", None, b"x")] * 1001), "multipart/form-data; boundary=parley", (400, "invalid")),
        (multipart(("chatId", None, b"x" * 1100000)), "multipart/form-data; boundary=parley", (400, "invalid")),
    ],
)
def test_bodies_that_are_no_upload_are_refused(
    ada: Person, data: bytes, content_type: str, answer: tuple[int, str]
) -> None:
    """Always in the one error shape, never a 500."""
    ada.api.raise_request_exception = False

    assert refusal(ada.api.post("/attachment", data, content_type=content_type)) == answer


def test_a_file_above_the_limit_is_refused(ada: Person, group: Chat) -> None:
    """25 MiB and a byte."""
    response = upload(ada, group, bytes(attachments.MAXIMUM_BYTES + 1))

    assert problems(response) == {"file": "too_large"}


def test_a_file_at_the_limit_is_taken(ada: Person, group: Chat) -> None:
    """25 MiB, and its last bytes come back."""
    document = uploaded(ada, group, bytes(attachments.MAXIMUM_BYTES - 3) + b"end")

    response = ada.api.get(document["url"], headers={"Range": "bytes=-5"})

    assert body(response) == b"\0\0end"
    assert response["Content-Range"] == "bytes 26214395-26214399/26214400"


def test_a_large_upload_has_no_name_on_the_disk(
    ada: Person, group: Chat, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is received, no file with readable bytes can be seen in the temporary directory."""
    seen: list[Any] = []
    complete = uploads.NamelessUploadHandler.file_complete

    def look(self: uploads.NamelessUploadHandler, size: int) -> Any:
        seen.append((self.file._rolled, list(tmp_path.glob("upload/*"))))  # type: ignore[attr-defined]
        return complete(self, size)

    (tmp_path / "upload").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "upload"))
    monkeypatch.setattr(uploads.NamelessUploadHandler, "file_complete", look)

    uploaded(ada, group, bytes(2 * 1024 * 1024))

    assert seen == [(True, [])]


def test_a_full_temporary_directory_is_unavailable(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 in the one error shape."""

    class Full(BytesIO):
        def write(self, data: Any) -> int:
            raise OSError("No space left on device")

    monkeypatch.setattr(uploads, "SpooledTemporaryFile", lambda max_size: Full())

    assert refusal(upload(ada, group)) == (503, "unavailable")


def test_a_full_disk_is_unavailable(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 in the one error shape, and nothing is stored."""

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)

    assert refusal(upload(ada, group)) == (503, "unavailable")
    assert Attachment.objects.count() == 0


def test_uploads_are_limited_by_person(ada: Person, grace: Person, group: Chat, settings: Any) -> None:
    """Above the rate 429 with `Retry-After`; others are not concerned."""
    settings.PARLEY_RATES = {"UPLOAD": "2/h"}

    answers = [upload(ada, group, b"x") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert refusal(answers[2]) == (429, "rate_limited")
    assert int(answers[2]["Retry-After"]) > 0
    assert upload(grace, group, b"x").status_code == 201


@given(header=st.tuples(st.integers(0, SIZE + 10), st.integers(0, SIZE + 10), st.sampled_from(["a-b", "a-", "-n"])))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_ranges_are_slices_of_the_original(ada: Person, group: Chat, header: tuple[int, int, str]) -> None:
    """206 with the bytes that `Content-Range` names, 416 outside of the file, 200 for an end before its start."""
    first, last, form = header
    url = f"/attachment/{Attachment.objects.get().id}" if Attachment.objects.exists() else uploaded(ada, group)["url"]
    written = {"a-b": f"{first}-{last}", "a-": f"{first}-", "-n": f"-{last}"}[form]
    part = {
        "a-b": CONTENT[first : last + 1],
        "a-": CONTENT[first:],
        "-n": CONTENT[max(0, SIZE - last) :] if last else b"",
    }

    response = ada.api.get(url, headers={"Range": f"bytes={written}"})

    if form == "a-b" and last < first:
        assert (response.status_code, body(response)) == (200, CONTENT)
    elif not part[form]:
        assert refusal(response) == (416, "range_not_satisfiable")
        assert response["Content-Range"] == f"bytes */{SIZE}"
    else:
        start = max(0, SIZE - last) if form == "-n" else first
        assert response.status_code == 206
        assert body(response) == part[form]
        assert response["Content-Range"] == f"bytes {start}-{start + len(part[form]) - 1}/{SIZE}"
        assert response["Content-Length"] == str(len(part[form]))


@pytest.mark.parametrize(("etag", "status"), [("same", 206), ('"other"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)])
def test_if_range(ada: Person, group: Chat, etag: str, status: int) -> None:
    """A part of another content is not asked for: the whole file is the answer."""
    document = uploaded(ada, group)
    condition = f'"{document["id"]}"' if etag == "same" else etag

    response = ada.api.get(document["url"], headers={"Range": "bytes=0-1", "If-Range": condition})

    assert response.status_code == status
    assert len(body(response)) == (2 if status == 206 else SIZE)


def test_if_none_match(ada: Person, group: Chat) -> None:
    """Who has it gets 304, with the headers that keep it."""
    document = uploaded(ada, group)

    same = ada.api.get(document["url"], headers={"If-None-Match": f'"x", "{document["id"]}"', "Range": "bytes=0-1"})
    other = ada.api.get(document["url"], headers={"If-None-Match": '"x"'})

    assert (same.status_code, body(same)) == (304, b"")
    assert same["ETag"] == other["ETag"]
    assert same["Cache-Control"] == other["Cache-Control"]
    assert (other.status_code, body(other)) == (200, CONTENT)


def test_head_has_the_headers_alone(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is decrypted, and a range is not looked at (RFC 9110, section 14.2)."""
    url = uploaded(ada, group)["url"]
    monkeypatch.setattr(attachments, "open_content", None)

    response = ada.api.head(url, headers={"Range": "bytes=0-1"})

    assert (response.status_code, response["Content-Length"], body(response)) == (200, str(SIZE), b"")


def test_a_file_that_is_damaged_at_once_is_unavailable(ada: Person, group: Chat) -> None:
    """A clean 503 in the one error shape, for the whole file and for a part in the damaged chunk."""
    document = uploaded(ada, group)
    damage(chunk=1)

    assert body(ada.api.get(document["url"], headers={"Range": "bytes=0-9"})) == CONTENT[:10]
    assert refusal(ada.api.get(document["url"], headers={"Range": f"bytes={CHUNK}-"})) == (503, "unavailable")
    damage(chunk=0)
    assert refusal(ada.api.get(document["url"])) == (503, "unavailable")


def damage(*, chunk: int) -> None:
    """Change a byte of the only file."""
    path = files.path_of(Attachment.objects.get().id)
    data = bytearray(path.read_bytes())
    data[chunk * SEALED_CHUNK + 100] ^= 1
    path.write_bytes(data)


@pytest.mark.django_db(transaction=True)
async def test_the_asgi_side_streams_chunk_by_chunk(ada: Person, group: Chat) -> None:
    """The response is an asynchronous one: no more than a chunk is held at a time."""
    client = AsyncClient()
    file = SimpleUploadedFile("tea.zip", CONTENT, content_type="application/zip")
    headers = {"Authorization": f"Bearer {ada.token}"}
    sent = await client.post("/attachment", {"chatId": str(group.id), "file": file}, headers=headers)

    response = await client.get(sent.json()["url"], headers={**headers, "Range": f"bytes=10-{2 * CHUNK + 9}"})

    assert isinstance(response, StreamingHttpResponse)
    assert response.is_async
    pieces = [piece async for piece in response]  # type: ignore[union-attr]
    assert [len(piece) for piece in pieces] == [CHUNK - 10, CHUNK, 10]
    assert b"".join(pieces) == CONTENT[10 : 2 * CHUNK + 10]


def test_ids_in_other_spellings_are_found_or_not_at_all(ada: Person, group: Chat) -> None:
    """Upper case is the same UUID; braces and bare hexadecimals are no UUID here."""
    attachment_id = uploaded(ada, group)["id"]

    assert body(ada.api.get(f"/attachment/{attachment_id.upper()}")) == CONTENT
    for spelling in (attachment_id.replace("-", ""), "{" + attachment_id + "}", f"{attachment_id}/", str(uuid7())):
        assert ada.api.get(f"/attachment/{spelling}").status_code == 404
