"""Numbers what a process publishes, so that the others notice what the channel layer dropped without a word.

There is one stream from each process to everybody and one from each process to each other one. A probe to everybody
tells where the sender's streams stand, so that a last message that was lost is noticed as well.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

EVERYBODY = ""
"""The target of the stream that all processes hear."""
FORGET_SECONDS = 600.0
"""After how long a process that is silent, or that nothing was sent to, is forgotten."""


class Sent:
    """The numbers of this process's own streams."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float]] = {}

    def next(self, target: str) -> int:
        """Take the next number of a stream. Taken and not published, it is a gap that the target will notice."""
        number = self._last.get(target, (0, 0.0))[0] + 1
        self._last[target] = (number, time.monotonic())
        return number

    def last(self) -> dict[str, int]:
        """Return where each stream to one process stands."""
        return {target: number for target, (number, _) in self._last.items() if target != EVERYBODY}

    def forget(self) -> None:
        """Drop the streams that nothing was sent on for long."""
        oldest = time.monotonic() - FORGET_SECONDS
        self._last = {target: last for target, last in self._last.items() if target == EVERYBODY or last[1] > oldest}


@dataclass(slots=True)
class _Peer:
    """What was heard of a process: the last number of its stream to everybody, and of that to this process."""

    common: int = 0
    direct: int = 0
    heard_at: float = field(default_factory=time.monotonic)


class Heard:
    """The numbers of the other processes' streams."""

    def __init__(self, *, process: str) -> None:
        """`process` is this process's name."""
        self._process = process
        self._peers: dict[str, _Peer] = {}

    def __contains__(self, sender: str) -> bool:
        return sender in self._peers

    def note(self, sender: str, number: int, *, direct: bool, last: Mapping[str, int] | None = None) -> int:
        """Take note of a message and return how many before it were missed; `last` is what a probe tells.

        A process that is heard for the first time has missed what was said before: it may have been taken for dead.
        """
        peer = self._peers.setdefault(sender, _Peer())
        peer.heard_at = time.monotonic()
        if direct:
            missed = number - peer.direct - 1
            peer.direct = max(peer.direct, number)
            return max(0, missed)
        missed = number - peer.common - 1
        peer.common = number
        if last is not None:
            told = last.get(self._process, 0)
            missed += max(0, told - peer.direct)
            peer.direct = told
        return max(0, missed)

    def living(self, *, within: float) -> int:
        """Return how many processes were heard within these seconds."""
        oldest = time.monotonic() - within
        return sum(peer.heard_at > oldest for peer in self._peers.values())

    def forget(self) -> None:
        """Drop the processes that have been silent for long: what is known must not grow with each restart."""
        oldest = time.monotonic() - FORGET_SECONDS
        self._peers = {sender: peer for sender, peer in self._peers.items() if peer.heard_at > oldest}
