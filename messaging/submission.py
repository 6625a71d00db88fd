"""The door to the writer: every entry point that is not a socket hands its draft over here.

`realtime` puts its batcher behind it, so that REST and sockets share one commit; elsewhere a draft is stored at once.
"""

from __future__ import annotations

from collections.abc import Callable

from messaging.drafts import Draft, check
from messaging.services.storing import Stored, store_one

Writer = Callable[[Draft], Stored]

_writer: Writer = store_one


def set_writer(writer: Writer | None) -> None:
    """Install the function that stores a draft and raises its error (None: straight into the database)."""
    global _writer  # noqa: PLW0603
    _writer = writer or store_one


def submit(draft: Draft) -> Stored:
    """Check and store a client's draft. Raises its `DomainError`. Returns after the commit."""
    return _writer(check(draft))
