"""Makes pipelines of the ORM's queries, with their stages in an order that the indexes serve."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError
from django_mongodb_backend import compiler
from django_mongodb_backend.query import MongoQuery
from pymongo.errors import BulkWriteError

from chatproject.db.mongodb import stages


class Query(MongoQuery):
    """A query whose pipeline begins with what an index can answer."""

    def get_pipeline(self) -> list[dict[str, Any]]:
        """Return the stages."""
        return stages.in_order(super().get_pipeline())


class SQLCompiler(compiler.SQLCompiler):
    """Reads."""

    query_class = Query


class SQLInsertCompiler(compiler.SQLInsertCompiler):
    """Inserts."""

    query_class = Query

    def insert(self, docs: list[dict[str, Any]], returning_fields: Any = None) -> list[tuple[Any]]:
        """Store documents. Raises Django's errors, also where the backend lets the driver's pass: of no majority."""
        try:
            inserted: list[tuple[Any]] = super().insert(docs, returning_fields=returning_fields)
        except BulkWriteError as error:
            raise DatabaseError(str(error)) from error
        return inserted


class SQLDeleteCompiler(compiler.SQLDeleteCompiler):
    """Deletes."""

    query_class = Query


class SQLUpdateCompiler(compiler.SQLUpdateCompiler):
    """Updates."""

    query_class = Query


class SQLAggregateCompiler(compiler.SQLAggregateCompiler):
    """Counts and sums."""

    query_class = Query
