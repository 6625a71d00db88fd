"""The harness can fail: each loss, doubling and lie that it looks for is found when it is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.fleet import Row
from tests.faults.ledger import Ledger, Sent
from tests.faults.readers import View

CHAT, ADA = "chat", "ada"


def message(seq: int, **changes: Any) -> dict[str, Any]:
    """Make a message as the server tells it."""
    facts = {"id": f"m{seq}", "clientId": f"c{seq}", "content": f"text {seq}", "chatId": CHAT, "senderId": ADA}
    return {**facts, "seq": seq, "rev": seq, **changes}


class Run:
    """A run of three sends in which all went well, until a test spoils it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.stored = [message(seq) for seq in (1, 2, 3)]
        self.rows = [Row(f"m{seq}", CHAT, ADA, f"c{seq}", seq, seq) for seq in (1, 2, 3)]
        for seq in (1, 2, 3):
            self.ledger.sends(Sent(f"c{seq}", CHAT, ADA, f"text {seq}"))
            self.ledger.acked(f"c{seq}", message(seq), duplicate=False)

    def ack_again(self, seq: int = 1, *, duplicate: bool = True, tries: int = 2, **changes: Any) -> None:
        """Let the server ack a send once more."""
        self.ledger.tries[f"c{seq}"] = tries
        self.ledger.acked(f"c{seq}", message(seq, **changes), duplicate=duplicate)

    def verify(self) -> None:
        """Hold everything against each other."""
        self.ledger.verify(stored=self.stored, rows=self.rows)


def test_a_run_in_which_all_went_well() -> None:
    """Also with a send that was repeated."""
    run = Run()
    run.ack_again()

    run.verify()


FAULTS: dict[str, Callable[[Run], Any]] = {
    "lost from the database": lambda run: run.rows.pop(),
    "lost from the answers": lambda run: run.stored.pop(),
    "stored twice": lambda run: run.rows.append(dataclasses.replace(run.rows[0], id="other", seq=4)),
    "given twice": lambda run: run.stored.append(run.stored[0]),
    "a gap in the numbers": lambda run: run.stored.append(message(5)),
    "out of order": lambda run: run.stored.reverse(),
    "another text stored": lambda run: run.stored[0].update(content="something else"),
    "another number stored": lambda run: run.rows.__setitem__(0, dataclasses.replace(run.rows[0], seq=9)),
    "acked twice as new": lambda run: run.ack_again(duplicate=False),
    "acked as another message": lambda run: run.ack_again(id="m9"),
    "acked with another text": lambda run: run.ack_again(content="something else"),
    "a duplicate of nothing": lambda run: run.ack_again(tries=1),
    "told and not stored": lambda run: run.ledger.told(message(4)),
    "told differently": lambda run: run.ledger.told(message(1, senderId="bob")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    """Whatever of it: stored, answered, acked or told."""
    run = Run()
    FAULTS[fault](run)

    with pytest.raises((AssertionError, KeyError)):
        run.verify()


def test_a_view_is_complete_up_to_its_rev() -> None:
    """What comes early waits, what comes again is passed over, and nothing is left out."""
    view = View()

    for seq in (1, 3, 1, 4):
        view.take(message(seq))
    assert (view.rev, sorted(view.early)) == (1, [3, 4])

    view.take(message(2))
    assert (view.rev, view.early) == (4, {})
    assert view.order == [(seq, f"m{seq}") for seq in (1, 2, 3, 4)]
