"""The tests that a store cannot pass, each with its reason: the whole list of what differs between the stores.

The plugin expects each of them to fail on its store, counts them at the end of a run, and fails the run when one of
them passes or an entry names no test. A limit is the database's or its backend's own, and holds in service too; a fault
is the test server's alone (`secantusd-py`, with the correction of `tests.stores.wire`); the rest tests what only SQLite
has.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Whose the difference is."""

    LIMIT = "backend limit"
    FAULT = "test server fault"
    OWN = "of SQLite alone"


@dataclass(frozen=True, slots=True)
class Difference:
    """A test, by its id with or without its parameters, and the store that it fails on."""

    test: str
    store: str
    kind: Kind
    reason: str

    def names(self, node_id: str) -> bool:
        """Tell whether this is about the test of that id."""
        return node_id == self.test or node_id.startswith(f"{self.test}[")


def _of_sqlite(test: str, reason: str) -> tuple[Difference, Difference]:
    return tuple(Difference(test, store, Kind.OWN, reason) for store in ("mongodb", "postgres"))  # type: ignore[return-value]


DIFFERENCES = (
    *_of_sqlite("tests/chatproject/test_databases.py::test_sqlite_is_safe_in_fact", "It reads SQLite's settings."),
    *_of_sqlite("tests/accounts/test_admin.py::test_a_name_is_looked_up_in_its_index", "It reads SQLite's plan."),
    *_of_sqlite("tests/messaging/test_admin.py::test_no_list_reads_the_whole_table", "It reads SQLite's plan."),
    *_of_sqlite("tests/faults/test_stores.py::test_the_disk_is_full", "It fills the disk under SQLite's file."),
    Difference(
        "tests/chatproject/test_db.py::test_a_broken_connection_is_given_up[error0-True]",
        "mongodb",
        Kind.LIMIT,
        "The driver's pool replaces broken connections by itself; closing one does nothing.",
    ),
    Difference(
        "tests/messaging/test_fields.py::test_text_cannot_be_written_or_looked_up_without_its_row[bulk update]",
        "mongodb",
        Kind.LIMIT,
        "Within the expression that `bulk_update` makes, the backend never asks the field about its value.",
    ),
    Difference(
        "tests/chatproject/test_db.py::test_times_are_not_read_past_the_orm",
        "mongodb",
        Kind.LIMIT,
        "There is no way past the ORM there, so times can be read.",
    ),
)


def of(store: str) -> list[Difference]:
    """Return those of a store."""
    return [one for one in DIFFERENCES if one.store == store]
