"""Compares the rights of two stores' administrations, and carries them from the one to the other.

Which keys Django's own apps have, numbers or ObjectIds, is settled when a process starts. So a store whose keys are
those of this process is asked here, and one of the other kind by a child, `manage.py staff_rights`, which is configured
for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

from chatproject import db
from chatproject.env import BASE_DIR, of_child
from chatproject.stores import rights
from chatproject.stores.claims import Claim
from chatproject.stores.places import Store, StoreProblem
from realtime.diagnosis.findings import first_line


def alike(store: Store, other: Store) -> bool:
    """Tell whether two stores have the same groups, rights and log. Raises `StoreProblem`."""
    with _dumped(store) as ours, _dumped(other) as theirs:
        return _digest(ours) == _digest(theirs)


def carry(source: Store, target: Store, *, run: str) -> None:
    """Load the one store's into the other, in the name of a run of `store_copy`. Raises `StoreProblem`."""
    with _dumped(source) as lines:
        if _has_our_keys(target):
            rights.load(map(json.loads, lines), hold=Claim(target.alias, run).hold, using=target.alias)
            return
        with _child(target, "load", "--run", run) as child, suppress(BrokenPipeError), child.stdin as taking:  # type: ignore[union-attr]
            taking.writelines(lines)  # a child that ends before has said why


def _has_our_keys(store: Store) -> bool:
    return (store.vendor == "mongodb") == (db.vendor() == "mongodb")


@contextmanager
def _dumped(store: Store) -> Iterator[Iterable[bytes]]:
    """Give the lines of a store's rights."""
    if _has_our_keys(store):
        yield (f"{rights.as_text(line)}\n".encode() for line in rights.dump(using=store.alias))
        return
    with _child(store, "dump") as child:
        yield child.stdout  # type: ignore[misc]


def _digest(lines: Iterable[bytes]) -> tuple[int, int]:
    """Return the number of lines, and a sum of their hashes: entries of one millisecond may come in any order."""
    count, total = 0, 0
    for line in lines:
        count += 1
        total = (total + int.from_bytes(sha256(line).digest())) % 2**256
    return count, total


@contextmanager
def _child(store: Store, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `staff_rights` in a store's configuration. Raises `StoreProblem` with what it said unless it ends well."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, str(BASE_DIR / "manage.py"), "staff_rights", *arguments],
            env=of_child(DATABASE_URL=store.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as child,
    ):
        try:
            yield child
        except BaseException:
            child.kill()
            raise
        if child.wait():
            said.seek(0)
            reason = (said.read().decode(errors="replace").strip() or "no reason given").splitlines()[-1]
            raise StoreProblem(f"The rights of administrators could not be copied: {first_line(Exception(reason))}")
