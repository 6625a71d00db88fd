"""The rights of administrators get from one store to the other: in this process, and through one for other keys."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass

import pytest

from accounts.models import User
from chatproject.stores import carrying
from chatproject.stores.claims import LOST, Claim, claim
from chatproject.stores.copying import Copy
from chatproject.stores.places import Store, StoreProblem, open_store
from tests.chatproject.stores.conftest import Pair


@dataclass
class Stores:
    """A source, a target that has its rows but not its rights yet, and who may write into that."""

    source: Store
    target: Store
    claim: Claim


@pytest.fixture(params=["as it is", "of other keys"])
def stores(administrator: User, pair: Pair, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """Two of which the target is one that this process can ask, unless the suite runs on MongoDB, or not."""
    if request.param == "of other keys":
        monkeypatch.setattr(carrying, "_has_our_keys", lambda store: store.alias != "target")
    source = open_store("source", pair.source_url, option="--from")
    target = open_store("target", pair.target_url, option="--to")
    own = claim(target.alias, source=source.name, begun=False)
    Copy(pair.source, pair.target, hold=own.hold).run()
    return Stores(source, target, own)


def test_rights_are_carried_by_name(stores: Stores) -> None:
    """What arrived is what there was, and what is changed there is noticed."""
    carrying.carry(stores.source, stores.target, run=stores.claim.run)

    assert carrying.alike(stores.source, stores.target)
    with closing(sqlite3.connect(stores.target.name, isolation_level=None)) as target:  # whose keys are other ones
        changes = target.execute("SELECT change_message FROM django_admin_log ORDER BY action_time").fetchall()
        assert changes == [("change 0",), ("change 1",), ("change 2",)]
        assert target.execute("SELECT name FROM auth_group").fetchall() == [("readers",)]
        target.execute("UPDATE django_admin_log SET change_message = 'x' WHERE change_message = 'change 1'")
    assert not carrying.alike(stores.source, stores.target)


def test_another_run_may_not_load(stores: Stores) -> None:
    """A child's reason is told as one's own, and the target stays as it is."""
    with pytest.raises(StoreProblem, match=LOST[:30]):
        carrying.carry(stores.source, stores.target, run="another")

    with closing(sqlite3.connect(stores.target.name)) as target:
        assert not target.execute("SELECT name FROM auth_group").fetchall()


def test_the_order_of_one_moment_does_not_count() -> None:
    """What differs does, how often a line is there too."""
    one, other = (json.dumps({"kind": "log", "name": name}).encode() for name in ("a", "b"))

    assert carrying._digest([one, other]) == carrying._digest([other, one])
    assert carrying._digest([one, one]) != carrying._digest([one, other])
    assert carrying._digest([one, one]) != carrying._digest([one])
