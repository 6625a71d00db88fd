"""The AsyncAPI document of the socket: held to the code's events, fields and close codes, and to real frames."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
import websockets
import yaml
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from accounts.events import SessionEnded
from accounts.models import EndReason, Status
from messaging.events import ChatRemoved, MessageEvent, Receipt
from messaging.models import MessageType, Role
from realtime import catalogue, frames
from realtime.commands import COMMANDS
from realtime.dispatch import SEND
from realtime.events import StatusChanged, TypingChanged
from realtime.sockets import CloseCode
from tests.conftest import DaphneFactory
from tests.live.server import ROOT, Daphne

DOCUMENT = json.loads(json.dumps(yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())))
OFFICIAL_SCHEMA = ROOT / "web" / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0-without-$id.json"
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
CHANNEL = DOCUMENT["channels"]["socket"]
STRUCTS: dict[str, type[frames.Data]] = {SEND: frames.SendMessage, **{k: v.data for k, v in COMMANDS.items()}}
FIELDS = ("type", "enum", "const", "format", "minimum", "maximum", "default")

ID = UUID("019a8c3e-4f60-7d15-8a3b-2c9d1e5f7a10")


def sealed(node: Any) -> Any:
    """Return the document with every object that lists its fields closed to others: what is not described is a bug."""
    if isinstance(node, list):
        return [sealed(one) for one in node]
    if not isinstance(node, dict):
        return node
    closed = {key: sealed(value) for key, value in node.items()}
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


REGISTRY: Registry[Any] = Registry().with_resource(
    "urn:asyncapi", Resource.from_contents(sealed(DOCUMENT), default_specification=DRAFT202012)
)


def validator(pointer: str) -> Draft202012Validator:
    """Return the strict validator of a schema in the document."""
    return Draft202012Validator({"$ref": f"urn:asyncapi#{pointer}"}, registry=REGISTRY, format_checker=FormatChecker())


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow references within the document."""
    while "$ref" in node:
        found: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def key_of(reference: dict[str, str]) -> str:
    """Return the message's key that a reference to the channel leads to."""
    return reference["$ref"].removeprefix("#/channels/socket/messages/")


def by_action(action: str) -> dict[str, str]:
    """Return event name -> message key for what the server receives or sends."""
    keys = [key_of(one) for op in DOCUMENT["operations"].values() if op["action"] == action for one in op["messages"]]
    return {MESSAGES[key]["name"]: key for key in keys}


CLIENT, SERVER = by_action("receive"), by_action("send")


def ack_keys(event: str) -> list[str]:
    """Return the keys of the messages that may answer a client's event."""
    for operation in DOCUMENT["operations"].values():
        if operation["action"] == "receive" and key_of(operation["messages"][0]) == CLIENT[event]:
            return [key_of(one) for one in operation["reply"]["messages"]]
    raise AssertionError(event)


def references(node: Any) -> Iterator[str]:
    """Yield every reference in the document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def rules(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a field's schema demands, whichever way it is written; `null` is left out, as the document says."""
    schema = resolve(schema)
    for part in schema.get("allOf", []):
        schema = {**rules(part), **{key: value for key, value in schema.items() if key != "allOf"}}
    if options := [one for one in schema.get("anyOf", []) if one != {"type": "null"}]:
        assert len(options) == 1
        schema = {**options[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
    found = {key: schema[key] for key in FIELDS if key in schema and schema[key] is not None}
    if "enum" in found:
        found["enum"] = sorted(found["enum"])
    if isinstance(schema.get("additionalProperties"), dict):
        schema = {**schema, "values": rules(schema["additionalProperties"])}
    if "values" in schema:
        found["values"] = schema["values"]
    return found


# --- The document itself ----------------------------------------------------------------------------------------------


def test_every_reference_leads_somewhere() -> None:
    """And everything in the components is used."""
    found = set(references(DOCUMENT))

    for reference in found:
        assert resolve({"$ref": reference}) is not None
    assert {f"#/components/messages/{key}" for key in MESSAGES} <= found
    assert {f"#/components/schemas/{key}" for key in SCHEMAS} <= found
    used = {key for one in found if (key := one.removeprefix("#/channels/socket/messages/")) != one}
    assert used == set(CHANNEL["messages"])


def test_its_structure() -> None:
    """AsyncAPI 3 with the parts that the standard requires; each operation has messages of its channel."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert operation["channel"] == {"$ref": "#/channels/socket"}
        assert operation["messages"]
        assert ("reply" in operation) == (operation["action"] == "receive")
    for server in DOCUMENT["servers"].values():
        assert {"host", "protocol", "security"} <= set(server)


def test_it_is_valid_asyncapi() -> None:
    """The document conforms to the standard's own JSON schema."""
    from jsonschema import Draft7Validator

    Draft7Validator(json.loads(OFFICIAL_SCHEMA.read_text())).validate(DOCUMENT)


@pytest.mark.parametrize("key", MESSAGES)
def test_examples_fit_their_messages(key: str) -> None:
    """Each message has examples, and each of them satisfies the strict schema."""
    examples = MESSAGES[key]["examples"]

    assert examples
    for example in examples:
        validator(f"/components/messages/{key}/payload").validate(example["payload"])


def test_the_strict_schema_refuses() -> None:
    """The validation that the tests below rely on sees a missing and a surplus field."""
    strict = validator(f"/components/messages/{SERVER['user:typing']}/payload")
    frame = MESSAGES[SERVER["user:typing"]]["examples"][0]["payload"]
    less = {**frame, "data": {key: value for key, value in frame["data"].items() if key != "typing"}}
    more = {**frame, "data": {**frame["data"], "surplus": 1}}

    for wrong in (less, more):
        with pytest.raises(ValidationError):
            strict.validate(wrong)


# --- The document and the code ----------------------------------------------------------------------------------------


def test_client_events_are_the_commands() -> None:
    """What clients may send is described, and nothing else."""
    assert set(CLIENT) == set(STRUCTS)


@pytest.mark.parametrize("event", STRUCTS)
def test_client_fields_are_the_structs(event: str) -> None:
    """Each field, whether it is required, its type and its limits are those that the frame's data is decoded by."""
    envelope = MESSAGES[CLIENT[event]]["payload"]
    described = resolve(envelope["properties"]["data"])
    generated = msgspec.json.schema(STRUCTS[event])
    coded = generated["$defs"][STRUCTS[event].__name__]

    assert set(described["properties"]) == set(coded["properties"])
    assert set(described.get("required", [])) == set(coded.get("required", []))
    assert described["additionalProperties"] is coded["additionalProperties"] is False
    assert ("data" in envelope["required"]) == bool(described.get("required") or described.get("oneOf")), (
        "data may be absent only where it has no required field"
    )
    for name, schema in described["properties"].items():
        assert rules(schema) == rules(coded["properties"][name]), name


@pytest.mark.parametrize("event", STRUCTS)
def test_client_examples_are_understood(event: str) -> None:
    """The frame parser takes every example of the document."""
    for example in MESSAGES[CLIENT[event]]["examples"]:
        frame = frames.parse(json.dumps(example["payload"]))

        assert frame.event == event
        assert isinstance(frames.parse_data(STRUCTS[event], frame.data), STRUCTS[event])


def test_server_events_are_the_catalogue() -> None:
    """Every event that a client may get is described, and nothing else."""
    assert set(SERVER) == set(catalogue.server_events())


def samples() -> Iterator[Any]:
    """Yield one event of each kind that services and sockets publish, but messages, which the live test brings."""
    people: dict[str, Any] = {"recipients": (ID,)}
    for kind in catalogue.published():
        if issubclass(kind, Receipt):
            yield kind(**people, chat_id=ID, rev=3, user_id=ID, delivered_seq=2, read_seq=1)
        elif kind is ChatRemoved:
            yield kind(**people, chat_id=ID, rev=3)
        elif kind is SessionEnded:
            yield kind(**people, session_id=ID, reason="logout")
        elif kind is StatusChanged:
            yield kind(**people, user_id=ID, status="away", last_seen=None)
        elif kind is TypingChanged:
            yield kind(**people, chat_id=ID, rev=3, user_id=ID, typing=True, expires_in=6)
        else:
            assert issubclass(kind, MessageEvent) or kind.__name__ == "StatusChosen", f"no sample of {kind.__name__}"


@pytest.mark.parametrize("event", [pytest.param(one, id=type(one).__name__) for one in samples()])
def test_published_events_fit(event: Any) -> None:
    """The data that each published event writes is what the document describes, field by field."""
    frame = json.loads(frames.event_frame(event.name, event.data()))

    validator(f"/components/messages/{SERVER[event.name]}/payload").validate(frame)


def test_enumerations_are_the_models() -> None:
    """The values of the document are those of the code."""
    data = {name: MESSAGES[SERVER[name]]["payload"]["properties"]["data"] for name in ("session:end",)}

    assert data["session:end"]["properties"]["reason"]["enum"] == EndReason.values
    assert SCHEMAS["Status"]["enum"] == Status.values
    assert SCHEMAS["Member"]["properties"]["role"]["enum"] == Role.values
    assert SCHEMAS["System"]["properties"]["role"]["enum"] == [*Role.values, None]
    assert SCHEMAS["Message"]["properties"]["type"]["enum"] == MessageType.values


def test_close_codes_are_the_codes() -> None:
    """Every close code with its name; 1009 is the WebSocket layer's own."""
    described = {int(code): entry["name"] for code, entry in CHANNEL["x-closeCodes"].items()}

    assert described.pop(1009) == "message_too_big"
    assert described == {int(code): code.name.lower() for code in CloseCode}


def test_the_protocol_page_names_the_same() -> None:
    """`docs/protocol.md` has a row for each event and each close code."""
    page = (ROOT / "docs" / "protocol.md").read_text()
    from_client, _, from_server = page.partition("### Client to server")[2].partition("### Server to client")

    assert all(f"`{event}`" in from_client for event in CLIENT)
    assert all(f"`{event}`" in from_server for event in SERVER)
    assert all(f"| {code} |" in page for code in CHANNEL["x-closeCodes"])


# --- The document and real frames -------------------------------------------------------------------------------------


class Client:
    """A person with a socket: validates each frame that comes, and remembers what came."""

    def __init__(self, server: Daphne, name: str) -> None:
        self.server = server
        self.name = name
        self.seen: set[str] = set()
        self.acked: set[str] = set()
        self.sent: dict[int, str] = {}
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def arrive(self) -> Client:
        """Register and connect."""
        credentials = {"username": self.name, "email": f"{self.name}@example.org", "password": "correct horse battery"}
        self.http = httpx.AsyncClient(base_url=self.server.url)
        body = (await self.http.post("/auth/register", json=credentials)).raise_for_status().json()
        self.id, self.token = body["user"]["id"], body["accessToken"]
        self.http.headers["Authorization"] = f"Bearer {self.token}"
        self.socket = await websockets.connect(self.server.ws_url, subprotocols=["parley.v1", f"bearer.{self.token}"])
        self.reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        with suppress(websockets.ConnectionClosed):
            async for text in self.socket:
                self.frames.put_nowait(json.loads(text))

    async def leave(self) -> None:
        """Disconnect."""
        await self.socket.close()
        await self.reader
        await self.http.aclose()

    async def ask(self, event: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a frame, which must fit the document, and return its answer, which must fit too."""
        number = len(self.sent) + 1
        self.sent[number] = event
        frame: dict[str, Any] = {"event": event, "id": number} | ({} if data is None else {"data": data})
        if event in CLIENT:
            validator(f"/components/messages/{CLIENT[event]}/payload").validate(frame)
        await self.socket.send(json.dumps(frame))
        return await self.until(lambda one: one.get("ack") == number)

    async def until(self, wanted: Any, *, seconds: float = 10) -> dict[str, Any]:
        """Check and return frames until one is wanted."""
        async with asyncio.timeout(seconds):
            while True:
                frame = await self.frames.get()
                self._check(frame)
                if wanted(frame):
                    return frame

    async def told(self, event: str, *, seconds: float = 10) -> dict[str, Any]:
        """Return the next frame of an event."""
        return await self.until(lambda one: one.get("event") == event, seconds=seconds)

    def _check(self, frame: dict[str, Any]) -> None:
        if "ack" not in frame:
            validator(f"/components/messages/{SERVER[frame['event']]}/payload").validate(frame)
            self.seen.add(frame["event"])
            return
        event = self.sent[frame["ack"]]
        good, failed = ack_keys(event) if event in CLIENT else (None, "errorAck")
        if "error" in frame:
            validator(f"/components/messages/{failed}/payload").validate(frame)
        else:
            validator(f"/components/messages/{good}/payload").validate(frame)
            self.acked.add(event)


@pytest.mark.live
async def test_real_frames_fit(daphne: DaphneFactory, tmp_path: Path) -> None:
    """Two people do everything there is over real sockets; every frame fits, and every event and ack was among them."""
    (tmp_path / "beating_asgi.py").write_text(
        "from chatproject.asgi import application\nfrom realtime import engine\n\nengine.HEARTBEAT = 2.0\n"
    )
    server = daphne(started=False, PYTHONPATH=str(tmp_path))
    server.command[-1] = "beating_asgi:application"
    server.start()
    ada, grace = await Client(server, "ada").arrive(), await Client(server, "grace").arrive()
    await _talk(ada, grace)
    await _resync(ada)
    await _fail(ada)
    await _run_a_group(ada, grace)
    moved = await grace.until(lambda one: one.get("event") == "sync" and "marks" in one["data"])

    renewed = await ada.ask("session:renew", {"accessToken": ada.token})
    assert renewed["data"]["expiresIn"] > 0
    (await ada.http.post("/auth/logout")).raise_for_status()
    assert (await ada.told("session:end"))["data"] == {"reason": "logout"}
    await asyncio.wait_for(ada.reader, 5)
    server.send(signal.SIGTERM)
    await grace.told("restarting")

    assert moved["data"]["rev"] > 0
    assert ada.socket.close_code == CloseCode.UNAUTHENTICATED
    assert ada.seen | grace.seen == set(SERVER)
    assert ada.acked | grace.acked == set(CLIENT)
    await ada.leave()
    await grace.leave()


async def _talk(ada: Client, grace: Client) -> None:
    await ada.told("hello")
    await grace.told("hello")
    first = await ada.ask("message:send", {"receiverId": grace.id, "content": "Tea at four? ☕"})
    message = first["data"]["message"]
    chat_id, seq = message["chatId"], message["seq"]
    assert (await grace.told("message:receive"))["data"] == message
    await ada.ask("message:update", {"chatId": chat_id, "messageId": message["id"], "content": "At five?"})
    await grace.told("message:update")
    await grace.ask("message:delivered", {"chatId": chat_id, "seq": seq})
    await ada.told("message:delivered")
    await grace.ask("message:read", {"chatId": chat_id, "seq": seq})
    await ada.told("message:read")
    await grace.ask("user:typing", {"chatId": chat_id, "typing": True})
    await ada.told("user:typing")
    await grace.ask("user:status", {"status": "away"})
    await ada.told("user:status")
    await ada.ask("message:delete", {"chatId": chat_id, "messageId": message["id"]})
    await grace.told("message:delete")
    await ada.ask("ping")


async def _resync(ada: Client) -> None:
    done = await ada.ask("sync") and await _done_before_ack(ada)
    chat_id, rev = next(iter(done["data"]["chats"].items()))
    await ada.ask("sync", {"cursors": {chat_id: 0, str(ID): 0}})
    await ada.ask("sync", {"cursors": {chat_id: rev + 1}})
    assert {"sync", "sync:done", "sync:reset"} <= ada.seen


async def _done_before_ack(ada: Client) -> dict[str, Any]:
    """Ask again, and return the `sync:done` that comes before the ack."""
    number = len(ada.sent) + 1
    ada.sent[number] = "sync"
    await ada.socket.send(json.dumps({"event": "sync", "id": number}))
    done = await ada.told("sync:done")
    await ada.until(lambda one: one.get("ack") == number)
    return done


async def _fail(ada: Client) -> None:
    """Each kind of failure has the one shape."""
    assert (await ada.ask("message:send", {"chatId": str(ID), "content": "?"}))["error"]["code"] == "chat_not_found"
    assert (await ada.ask("message:explode"))["error"]["code"] == "unknown_event"
    await ada.socket.send("not json")
    assert (await ada.told("error"))["error"]["code"] == "malformed_json"


async def _run_a_group(ada: Client, grace: Client) -> None:
    """A group's changes are system messages; its end is told to those who are out."""
    body = {"participantIds": [grace.id], "title": "Tea round"}
    chat = (await ada.http.post("/chat", json=body)).raise_for_status().json()
    path = f"/chat/{chat['id']}"
    (await ada.http.patch(path, json={"title": "Coffee round"})).raise_for_status()
    member = f"{path}/member/{grace.id}"
    (await ada.http.patch(member, json={"role": "admin"})).raise_for_status()
    actions = [(await grace.told("message:receive"))["data"]["system"]["action"] for _ in range(3)]
    assert actions == ["created", "renamed", "role"]
    await grace.ask("sync", {"cursors": {chat["id"]: 0}})
    (await ada.http.delete(member)).raise_for_status()
    assert (await grace.told("chat:removed"))["data"]["chatId"] == chat["id"]


@pytest.mark.live
@pytest.mark.parametrize(
    ("path", "origin", "text", "code"),
    [
        pytest.param("/ws", None, None, 4401, id="no token"),
        pytest.param("/nowhere", None, None, 4404, id="no such path"),
        pytest.param("/ws", "https://elsewhere.example", None, 4403, id="foreign origin"),
        pytest.param("/ws", None, "x" * (1024 * 1024 + 1), 1009, id="too large"),
    ],
)
async def test_real_close_codes(
    live_server_process: Daphne, path: str, origin: str | None, text: str | None, code: int
) -> None:
    """A client gets the documented code; the server's own codes carry their name as the reason."""
    server = live_server_process
    token = None
    if text is not None:
        credentials = {"username": "alan", "email": "alan@example.org", "password": "correct horse battery"}
        async with httpx.AsyncClient(base_url=server.url) as http:
            token = (await http.post("/auth/register", json=credentials)).raise_for_status().json()["accessToken"]
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    async with websockets.connect(
        server.ws_url.replace("/ws", path), additional_headers=headers, origin=origin
    ) as socket:
        if text is not None:
            assert json.loads(await socket.recv())["event"] == "hello"
            with suppress(websockets.ConnectionClosed):
                await socket.send(text)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 10)

    described = CHANNEL["x-closeCodes"][str(code)]
    assert socket.close_code == code
    assert code == 1009 or socket.close_reason == described["name"]
