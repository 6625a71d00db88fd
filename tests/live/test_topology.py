"""The deployment as deploy/topology.sh starts it: everything here goes through the real proxy, with TLS."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.devices import RESTARTING, Tokens, until
from tests.faults.ledger import Ledger
from tests.faults.readers import Reader, history
from tests.faults.writers import RestWriter, Writer
from tests.live.clients import Account, Talker, register
from tests.live.socketio_people import TRANSPORTS, People
from tests.live.topology import Topology, make_topology

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(240)]

MIB = 1024 * 1024
SOMEBODY_ELSE = "203.0.113.7"


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """All of it, running; the clients of the tests trust its certificate. Nothing of it is left afterwards."""
    with make_topology(tmp_path_factory.mktemp("topology")) as running, pytest.MonkeyPatch.context() as patch:
        running.start()
        patch.setenv("SSL_CERT_FILE", str(running.authority))
        patch.setenv("NODE_EXTRA_CA_CERTS", str(running.authority))
        yield running


@pytest.fixture(scope="module")
def ada(topology: Topology) -> Account:
    """Somebody."""
    return asyncio.run(register(topology, "ada"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bob(topology: Topology) -> Account:
    """Somebody else."""
    return asyncio.run(register(topology, "bob"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def chat_id(topology: Topology, ada: Account, bob: Account) -> str:
    """Their chat."""
    with httpx.Client(base_url=topology.url, headers=ada.headers) as client:
        return str(client.post("/chat", json={"participantIds": [bob.id]}).json()["id"])


@pytest.fixture
async def http(topology: Topology, ada: Account) -> AsyncIterator[httpx.AsyncClient]:
    """Ada's REST client."""
    async with httpx.AsyncClient(base_url=topology.url, headers=ada.headers, timeout=30) as client:
        yield client


async def test_sockets_are_spread_and_messages_cross(topology: Topology, ada: Account, bob: Account) -> None:
    """Four sockets find both Daphnes, and each gets what is said on any of them."""
    async with AsyncExitStack() as stack:
        talkers = [
            await stack.enter_async_context(Talker(topology, person))  # type: ignore[arg-type]
            for person in (ada, bob, ada, bob)
        ]
        for number, talker in enumerate(talkers):
            other = bob if talker.account is ada else ada
            await talker.say(f"from {number}", receiverId=other.id)
            for one in set(range(4)) - {number}:  # who sends gets the ack
                await talkers[one].event("message:receive", content=f"from {number}")
        opened = [len(topology.lines(name, "socket.opened")) for name in topology.daphnes]

    assert all(opened), opened


@pytest.mark.asyncio(loop_scope="module")
@TRANSPORTS
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"])
async def test_socketio_stays_with_its_daphne(
    topology: Topology, people: People, ada: Account, bob: Account, transports: list[str], address: str
) -> None:
    """Polling, and the upgrade from it, reach the same Daphne with every request, whichever the address leads to."""
    on_ada = people.client(topology, ada, transports=transports, localAddress=address)  # type: ignore[arg-type]
    on_bob = people.client(topology, bob, transports=["websocket"])  # type: ignore[arg-type]
    await on_bob.connected()
    await on_ada.connected()
    if len(transports) > 1:
        assert (await on_ada.happens("upgrade"))["to"] == "websocket"

    for number in range(5):
        await on_ada.say(f"{address} {number}", receiverId=bob.id)
        await on_bob.event("message:receive", content=f"{address} {number}")
    await on_bob.say("heard", receiverId=ada.id)
    await on_ada.event("message:receive", content="heard")


async def test_an_upload_of_20_mib(http: httpx.AsyncClient, chat_id: str) -> None:
    """It passes the proxy whole, in both directions."""
    content = secrets.token_bytes(20 * MIB)

    stored = await http.post("/attachment", data={"chatId": chat_id}, files={"file": content})
    read = await http.get(stored.json()["url"])

    assert (stored.status_code, stored.json()["size"]) == (201, len(content))
    assert read.content == content


@pytest.mark.parametrize(
    ("size", "status", "code"), [(25.5, 400, "invalid"), (26.5, 413, "body_too_large"), (40, 413, "body_too_large")]
)
def test_an_upload_that_is_too_large(
    topology: Topology, ada: Account, chat_id: str, tmp_path: Path, size: float, status: int, code: str
) -> None:
    """The view, the server or the proxy refuse it in the one error shape, whichever sees it first."""
    (tmp_path / "file").write_bytes(b"x" * int(size * MIB))

    assert refusal(topology, ada, chat_id, tmp_path / "file", "--http2") == (status, code)


def test_an_upload_without_a_length_that_is_too_large(
    topology: Topology, ada: Account, chat_id: str, tmp_path: Path
) -> None:
    """A client that does not say how much it sends is cut off by the count."""
    (tmp_path / "file").write_bytes(b"x" * 27 * MIB)
    chunked = ("--http1.1", "-H", "Transfer-Encoding: chunked")

    assert refusal(topology, ada, chat_id, tmp_path / "file", *chunked) == (413, "body_too_large")


def refusal(topology: Topology, person: Account, chat_id: str, file: Path, *options: str) -> tuple[int, str]:
    """Upload a file with curl, which reads an answer that comes before it has sent everything."""
    headers = [part for name, value in person.headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["curl", "-sS", "-w", "%{stderr}%{http_code}", "--cacert", str(topology.authority), *options, *headers]
    form = ["-F", f"chatId={chat_id}", "-F", f"file=@{file}", f"{topology.url}/attachment"]

    for _ in range(5):  # a client that is still sending may see the connection end before it reads the proxy's answer
        answer = subprocess.run([*command, *form], capture_output=True, text=True, check=False)
        if answer.stdout:
            break

    error = json.loads(answer.stdout)["error"]
    assert set(error) == {"code", "message", "fields", "requestId"}
    return int(answer.stderr[-3:]), error["code"]


async def test_the_real_address_is_seen_and_cannot_be_chosen(topology: Topology) -> None:
    """The log and the rate limits know the client's address, whatever it claims."""
    address = "127.0.0.99"
    transport = httpx.AsyncHTTPTransport(local_address=address, verify=httpx.create_ssl_context())
    claims = {"X-Forwarded-For": SOMEBODY_ELSE, "X-Real-IP": SOMEBODY_ELSE, "Forwarded": f"for={SOMEBODY_ELSE}"}
    answers = []

    async with httpx.AsyncClient(base_url=topology.url, transport=transport, timeout=30) as client:
        for number in range(2 * 30 + 5):  # the minute in which they are counted may end meanwhile
            headers = claims | {"X-Forwarded-For": f"203.0.113.{number}"}
            answers.append(await client.post("/auth/register", json={}, headers=headers))

    lines = [line for name in topology.daphnes for line in topology.lines(name, "http.request")]
    seen = {line["address"] for line in lines if (line["path"], line["status"]) == ("/auth/register", 400)}
    assert {answer.status_code for answer in answers} == {400, 429}
    assert seen == {address}
    assert not [line for line in lines if str(line["address"]).startswith("203.")]


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/readyz", 404), ("/metrics", 404)])
async def test_what_operators_ask_is_not_public(http: httpx.AsyncClient, path: str, status: int) -> None:
    """From outside one sees that it lives, and no more."""
    answer = await http.get(path)

    assert answer.status_code == status
    assert "checks" not in answer.text


async def test_headers_are_there_once(http: httpx.AsyncClient, topology: Topology) -> None:
    """The proxy adds nothing to what Parley says, and takes away which software it is; plain HTTP is redirected."""
    answer = await http.get("/user/me")
    plain = await http.get(topology.url.replace("https", "http").replace("8443", "8080") + "/user/me")

    assert answer.headers.get_list("Strict-Transport-Security") == ["max-age=31536000; includeSubDomains; preload"]
    assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert "Server" not in answer.headers
    assert plain.status_code == 308
    assert plain.headers["Location"].startswith("https://")


async def serves_again(name: str) -> None:
    """Wait until a Daphne is ready, and the proxy asks it again."""
    async with httpx.AsyncClient(base_url=f"http://{name.removeprefix('daphne-')}:8000") as client:
        async with asyncio.timeout(30):
            while True:
                with suppress(httpx.TransportError):
                    if (await client.get("/readyz")).is_success:
                        break
                await asyncio.sleep(0.1)
    await asyncio.sleep(2)  # `fail_duration` in deploy/Caddyfile


async def test_a_rolling_restart(topology: Topology) -> None:
    """Both Daphnes end and come back, one after the other, while people write: nothing that was acked is lost."""
    ada, bob = [await register(topology, name) for name in ("ada", "bob")]  # type: ignore[arg-type]
    ledger = Ledger()
    async with httpx.AsyncClient(base_url=topology.url, headers=ada.headers) as client:
        answer = await client.post("/chat", json={"title": "Rolling", "participantIds": [bob.id]})
    chat_id = answer.json()["id"]
    tokens = [Tokens(ada), Tokens(bob)]
    writers = [Writer(one, topology, ledger, every=0.1) for one in tokens * 2]  # type: ignore[arg-type]
    over_rest = RestWriter(tokens[0], topology, ledger)  # type: ignore[arg-type]
    reader = Reader(tokens[1], topology, ledger, chat_ids=[chat_id])  # type: ignore[arg-type]
    devices = [*writers, over_rest, reader]
    for device in devices:
        device.start()
    for writer in writers:
        writer.write(100, chat_id)
    over_rest.write(100, chat_id)
    await asyncio.sleep(1)

    for name in topology.daphnes:
        await asyncio.to_thread(topology.restart, name)
        await serves_again(name)
    await until(lambda: all(one.done for one in (*writers, over_rest)), seconds=60, what="somebody gave up")

    stored = await history(reader, chat_id)
    for device in devices:
        await device.stop()
    assert topology.errors() == []
    ledger.verify(stored=stored, rows=topology.rows())
    assert ledger.acked_sends == 4 * 100 + 100
    assert ledger.counts[f"closed with {RESTARTING}"] >= len(writers)
    assert ledger.hints


async def test_no_daphne_is_there(http: httpx.AsyncClient, topology: Topology) -> None:
    """The proxy answers as Parley does when it cannot serve, and serves again as soon as one is there."""
    hosts = topology.work / "hosts"
    before = hosts.read_text()
    try:
        hosts.write_text("127.0.0.1 nobody\n")
        await asyncio.sleep(1.5)
        answer = await http.get("/user/me")
    finally:
        hosts.write_text(before)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "2"
    deadline = time.monotonic() + 10
    while (await http.get("/user/me")).status_code != 200:
        assert time.monotonic() < deadline


def test_these_are_the_parts(topology: Topology) -> None:
    """What compose.yaml deploys, and the names that Docker gives out."""
    names = {Path(path).stem for path in topology.work.glob("*.pid")}

    assert names == {"names", "mongodb", "redis", "proxy", *topology.daphnes}
