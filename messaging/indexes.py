"""Indexes that differ between the databases: each index costs every insert, so none is kept where nothing reads it."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement


class MongoIndex(models.Index):
    """An index of MongoDB alone; an SQL database runs a statement in its place that does nothing.

    It stands beside a unique index, whose filter keeps MongoDB's planner from using it, or is one that people who read
    the documents expect.
    """

    def create_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: Any
    ) -> Statement:
        """Return the statement that does nothing."""
        return Statement("SELECT 1")

    def remove_sql(self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, **kwargs: Any) -> str:
        """Return the statement that does nothing."""
        return "SELECT 1"


class PartIndex(models.Index):
    """An index of the rows that meet a condition; MongoDB, whose filters cannot say as much, indexes them all."""

    def get_pymongo_index_model(self, *args: Any, **kwargs: Any) -> Any:
        """Return MongoDB's index, without the condition."""
        whole = models.Index(fields=self.fields, name=self.name)
        return whole.get_pymongo_index_model(*args, **kwargs)  # type: ignore[attr-defined]


class PresentIndex(PartIndex):
    """An index of the rows in which its one field has a value."""

    def __init__(self, *, fields: list[str] | tuple[str, ...], name: str, **kwargs: Any) -> None:
        condition = kwargs.pop("condition", None) or models.Q((f"{fields[0]}__isnull", False))
        super().__init__(fields=fields, name=name, condition=condition, **kwargs)

    def deconstruct(self) -> Any:
        """Return the index as migrations write it: the condition follows from the field."""
        path, arguments, options = super().deconstruct()
        options.pop("condition", None)
        return path, arguments, options
