"""Empties the database between tests, in place of Django's `flush`, which costs more than most tests do.

Permissions and content types stay: they follow from the models, no test changes them, and after a flush Django makes
them anew, one by one. Rows are deleted, which on small tables is quicker than truncating them, and documents likewise.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.transaction import atomic
from django.test import TransactionTestCase


@cache
def _tables() -> list[str]:
    stay = {Permission._meta.db_table, ContentType._meta.db_table}
    return sorted(set(connections["default"].introspection.django_table_names()) - stay)


def empty(connection: Any) -> None:
    """Delete every row of every model's table, but of those that stay."""
    if connection.vendor == "mongodb":
        for table in _tables():
            connection.database[table].delete_many({})
        return
    with atomic(), connection.cursor() as cursor:
        for table in _tables():
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def disconnect_others(connection: Any) -> None:
    """End the connections that threads of the tests have left open: PostgreSQL drops no database that is in use."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def _fixture_teardown(_: TransactionTestCase) -> None:
    empty(connections["default"])


def use_for_tests() -> None:
    """Let Django's test cases, and with them the fixtures `db` and `transactional_db`, empty the database this way."""
    TransactionTestCase._fixture_teardown = _fixture_teardown  # type: ignore[attr-defined]
