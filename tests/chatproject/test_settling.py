"""After a freeze nothing is committed any more that was allowed before, in whatever way the store tells."""

from __future__ import annotations

import time
from threading import Event, Thread
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from accounts.models import User
from chatproject import db
from chatproject.databases import PATIENCE_SECONDS
from chatproject.db import settling
from tests.stores.wire import LIFETIME_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)


def settle() -> list[tuple[float, str]]:
    """Wait for writers, and return what would have been waited for beside them."""
    waits: list[tuple[float, str]] = []
    db.wait_for_writers([User._meta.db_table], wait=lambda seconds, why: waits.append((seconds, why)))
    return waits


def test_a_quiet_store_is_not_waited_for() -> None:
    """But for MongoDB, which is asked how long a transaction may live: here 5 s, looked at every 2.5 s."""
    waits = [seconds for seconds, _ in settle()]

    assert waits == ([2 * PATIENCE_SECONDS + 1.5 * LIFETIME_SECONDS] if db.vendor() == "mongodb" else [])


@pytest.mark.skipif(db.vendor() == "mongodb", reason="it tells nobody what is open")
def test_a_transaction_that_has_written_is_waited_for() -> None:
    """Until it has committed; on SQLite those who may have waited for their turn beside us are, too."""
    began = Event()

    def write() -> None:
        with db.atomic():
            User.objects.create(username="ada", email="ada@example.org")
            began.set()
            time.sleep(0.5)
        connections[DEFAULT_DB_ALIAS].close()

    writer = Thread(target=write)
    writer.start()
    began.wait()
    waits = [seconds for seconds, _ in settle()]

    assert User.objects.filter(username="ada").exists()
    writer.join()
    assert waits == (
        [connections[DEFAULT_DB_ALIAS].settings_dict["OPTIONS"]["timeout"]] if db.vendor() == "sqlite" else []
    )


@pytest.mark.parametrize("answer", [{"ok": 1.0}, "refused"])
def test_a_mongodb_that_does_not_tell_has_60_s(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """A user who may not ask, or a `mongos`, which does not know."""
    from pymongo.errors import OperationFailure

    class Silent:
        """A connection whose server keeps it to itself."""

        database = client = admin = property(lambda self: self)

        def ensure_connection(self) -> None:
            """Be there."""

        def command(self, asked: dict[str, Any]) -> Any:
            """Not tell."""
            assert list(asked) == ["getParameter", settling.LIFETIME]
            if answer == "refused":
                raise OperationFailure("not authorized on admin to execute command")
            return answer

    assert settling._seconds_on_mongodb(Silent()) == 2 * PATIENCE_SECONDS + 60 + 30
