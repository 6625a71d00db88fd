"""Health answers for load balancers: the process is up (`/healthz`), and it can do its work (`/readyz`).

Both are public, so they tell which part is not there and nothing about it; the log and `manage.py doctor` say why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

import structlog
from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from realtime import health

log = structlog.get_logger("parley.health")

CACHE_SECONDS = 1.0

HINTS = {
    "database": "Start the database, or correct DATABASE_URL: manage.py doctor tells which.",
    "migrations": "Run manage.py migrate.",
    "keys": "Put the master key that is missing, or was another one, back into PARLEY_MASTER_KEYS.",
    "layer": "Start Redis, or correct REDIS_URL: manage.py doctor tells which.",
}
"""What an operator does about a part that is not there."""

STANDS_ON = {"migrations": ("database",), "keys": ("database", "migrations")}
"""Parts that are looked up in the database. Where that cannot be done, nothing is known against them."""

SILENT = ("timeout", "unavailable")
"""The states of parts that could not be asked."""

Probe = Callable[[], Awaitable[None]]


class _Threaded:
    """A probe that runs in a thread, one at a time: while one hangs, the next call waits for it and starts no other."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._running: Future[None] | None = None

    async def __call__(self) -> None:
        if self._running is None or self._running.done():
            self._running = health.in_thread(self._function)
        await asyncio.wrap_future(_copy(self._running))


def _copy(source: Future[None]) -> Future[None]:
    """Return a future with the same end, which may be cancelled without ending the source."""
    copy: Future[None] = Future()

    def settle(done: Future[None]) -> None:
        if not copy.set_running_or_notify_cancel():
            return
        error = done.exception()
        if error is None:
            copy.set_result(None)
        else:
            copy.set_exception(error)

    source.add_done_callback(settle)
    return copy


class Readiness:
    """The state of the parts, asked for at most once a second."""

    def __init__(self, probes: dict[str, Probe]) -> None:
        self._probes = probes
        self._asked_at = float("-inf")
        self._states: dict[str, str] = {}

    async def states(self) -> dict[str, str]:
        """Return `ok`, `timeout`, `unavailable` or what a probe says, by the name of the part."""
        if time.monotonic() - self._asked_at >= CACHE_SECONDS:
            found = await asyncio.gather(*(self._ask(name, probe) for name, probe in self._probes.items()))
            self._note(dict(zip(self._probes, found, strict=True)))
        return self._states

    async def _ask(self, name: str, probe: Probe) -> str:
        try:
            await asyncio.wait_for(probe(), timeout=health.SECONDS)
        except TimeoutError:
            return "timeout"
        except health.NotReady as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  whatever a store raises: it is not there
            log.debug("health.probe_failed", part=name, error=repr(error))
            return "unavailable"
        return "ok"

    def _note(self, states: dict[str, str]) -> None:
        """Keep the states, and log those that changed."""
        for name, state in states.items():
            if state != self._states.get(name, "ok"):
                (log.info if state == "ok" else log.warning)("health.changed", part=name, state=state)
        self._states, self._asked_at = states, time.monotonic()


readiness = Readiness(
    {
        "database": _Threaded(health.database),
        "migrations": _Threaded(health.migrations),
        "keys": _Threaded(health.master_keys),
        "layer": health.channel_layer,
    }
)


class HealthMiddleware:
    """Answers both paths before the host is looked at: probes ask by an address that no `ALLOWED_HOSTS` names."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, or pass the request on."""
        if request.path == "/healthz":
            return healthz(request)
        if request.path == "/readyz":
            return await readyz(request)
        return await self.get_response(request)


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process serves requests."""
    return JsonResponse({"status": "ok"})


def hint(name: str, states: dict[str, str]) -> str:
    """Return what helps a part that is not there: where it could not be asked, what helps that which it stands on."""
    below = STANDS_ON.get(name, ())
    if not below or states[name] not in SILENT:
        return HINTS[name]
    return HINTS[next((one for one in below if states[one] not in ("ok", *SILENT)), "database")]


async def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when every part that a message passes is there, otherwise 503.

    `checks` tells of each part, and `hints` what helps those that are not there.
    """
    states = await readiness.states()
    hints = {name: hint(name, states) for name, state in states.items() if state != "ok"}
    if not hints:
        return JsonResponse({"status": "ok", "checks": states})
    return JsonResponse({"status": "unavailable", "checks": states, "hints": hints}, status=503)
