"""Makes pipelines of the ORM's queries, with their stages in an order that the indexes serve."""

from __future__ import annotations

from typing import Any

from django_mongodb_backend import compiler
from django_mongodb_backend.query import MongoQuery

from chatproject.db.mongodb import stages
from chatproject.db.mongodb.errors import raising_djangos


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

    insert = raising_djangos(compiler.SQLInsertCompiler.insert)


class SQLDeleteCompiler(compiler.SQLDeleteCompiler):
    """Deletes."""

    query_class = Query


class SQLUpdateCompiler(compiler.SQLUpdateCompiler):
    """Updates."""

    query_class = Query


class SQLAggregateCompiler(compiler.SQLAggregateCompiler):
    """Counts and sums."""

    query_class = Query
