"""Tests of the indexes that differ between the databases, on the database that the suite runs on."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, models
from django.db.migrations.writer import MigrationWriter

from messaging.indexes import MongoIndex, PresentIndex
from messaging.models import Attachment, Chat, Membership, Message

pytestmark = pytest.mark.django_db


def index_names(model: type[models.Model]) -> set[str]:
    """Return the names of the indexes and constraints that the database has."""
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, model._meta.db_table))


@pytest.mark.parametrize("model", [Chat, Membership, Message])
def test_indexes_of_mongodb_are_there_alone(model: type[models.Model]) -> None:
    """Elsewhere they would cost each insert, and be read by no query."""
    names = {index.name for index in model._meta.indexes if isinstance(index, MongoIndex)}

    assert names
    assert (names <= index_names(model)) is (connection.vendor == "mongodb")
    assert names.isdisjoint(index_names(model)) is (connection.vendor != "mongodb")


def test_the_index_of_attachments_is_used() -> None:
    """It holds the few messages that have one, and finds them."""
    assert "messages_attachment" in index_names(Message)
    if connection.vendor == "sqlite":
        plan = Message.objects.filter(attachment=Attachment().id).explain()
        assert "messages_attachment" in plan


@pytest.mark.parametrize(
    "index", [MongoIndex(fields=["chat"], name="a"), PresentIndex(fields=["attachment"], name="b")]
)
def test_migrations_write_them_as_they_are(index: models.Index) -> None:
    """With their class and fields, and no condition that follows from them."""
    path, arguments, options = index.deconstruct()

    assert (path, arguments) == (f"messaging.indexes.{type(index).__name__}", ())
    assert options == {"fields": index.fields, "name": index.name}
    written, imports = MigrationWriter.serialize(index)
    made: dict[str, Any] = {}
    exec("\n".join([*imports, f"index = {written}"]), made)
    assert made["index"] == index
