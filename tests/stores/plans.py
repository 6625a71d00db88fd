"""Tells how a database answers what it was asked: which indexes it uses, and how many rows it looks at.

SQLite names the index but counts no rows: the steps of its virtual machine stand for them. PostgreSQL counts. MongoDB's
test server has a planner of its own, so there the shape of the pipeline is held to the indexes, and `explain` is asked
only of a real server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from django.db import connection
from django.db.transaction import atomic

from tests.stores.watching import Pipeline, Statement

COMPARISONS = {"$eq", "$in", "$gt", "$gte", "$lt", "$lte"}
"""MongoDB's ways to bound a field from which an index can be read."""
WHOLE_TABLES = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
"""PostgreSQL's ways that pay off where much of a table is wanted."""


def sqlite_scans(asked: Statement) -> list[str]:
    """Return the steps of SQLite's plan that read a table or an index from end to end."""
    with connection.cursor() as cursor:
        rows = cursor.execute(f"EXPLAIN QUERY PLAN {asked.sql}", asked.parameters).fetchall()
    return [step for *_, step in rows if step.startswith("SCAN") and "CONSTANT ROW" not in step]


def sqlite_steps(asked: Statement) -> int:
    """Return how many steps of its virtual machine SQLite takes to answer."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with connection.cursor() as cursor:
        connection.connection.set_progress_handler(count, 1)
        try:
            cursor.execute(asked.sql, asked.parameters).fetchall()
        finally:
            connection.connection.set_progress_handler(None, 0)
    return steps


@dataclass(frozen=True, slots=True)
class Reading:
    """How one table was read for a query."""

    table: str
    how: str
    looked_at: int


def postgres_readings(asked: Statement) -> tuple[int, list[Reading]]:
    """Return how many rows PostgreSQL gave for the query, or counted for it, and how it came by them.

    A table of some dozen pages it would rightly read as a whole, so it is asked to do that only where no index serves.
    """
    with atomic(), connection.cursor() as cursor:
        for way in WHOLE_TABLES:
            cursor.execute(f"SET LOCAL {way} = off")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {asked.sql}", asked.parameters)
        [(found,)] = cursor.fetchall()
    plan = (found if isinstance(found, list) else json.loads(found))[0]["Plan"]
    counted = [_rows(child) for node in _nodes(plan) if node["Node Type"] == "Aggregate" for child in node["Plans"]]
    return max([_rows(plan), *counted]), [_reading(node) for node in _nodes(plan) if "Relation Name" in node]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _rows(node: dict[str, Any]) -> int:
    return round(node["Actual Rows"] * node["Actual Loops"])


def _reading(node: dict[str, Any]) -> Reading:
    dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return Reading(node["Relation Name"], node["Node Type"], _rows(node) + round(dropped * node["Actual Loops"]))


def mongodb_indexes(collection: str) -> list[list[str]]:
    """Return the fields of each index that a query may use: those with a filter serve only queries that repeat it."""
    indexes = connection.database[collection].list_indexes()
    return [list(index["key"]) for index in indexes if "partialFilterExpression" not in index]


def mongodb_unserved(asked: Pipeline) -> list[str]:
    """Return what is wrong with a pipeline: it has to begin with conditions on the first fields of an index."""
    if not asked.stages or "$match" not in asked.stages[0]:
        return [f"{asked.collection}: the first stage is no $match: {asked.stages[:1]}"]
    indexes = mongodb_indexes(asked.collection)
    return [
        f"{asked.collection}: no index begins with {sorted(fields)}"
        for fields in map(dict, _alternatives(asked.stages[0]["$match"]))
        if not any(index[0] in fields for index in indexes)
    ]


def mongodb_bounds(asked: Pipeline) -> set[str]:
    """Return how the first stage bounds the fields of the index that fits each of its alternatives best.

    As in `{"chatId $eq, seq $gte $lt"}`: one entry when all alternatives are alike.
    """
    indexes = mongodb_indexes(asked.collection)
    bounds = set()
    for conditions in _alternatives(asked.stages[0].get("$match", {})):
        fields = dict(conditions)
        used = max((list(takewhile(fields.__contains__, index)) for index in indexes), key=len)
        named = [" ".join([one, *sorted(how for field, how in conditions if field == one)]) for one in used]
        bounds.add(", ".join(named))
    return bounds


def mongodb_sorts_in_memory(asked: Pipeline) -> bool:
    """Tell whether the order comes from no index: neither from the fields after those with one value, nor at once."""
    [sort] = [stage["$sort"] for stage in asked.stages if "$sort" in stage] or [None]
    if sort is None:
        return False
    fixed = _fixed(asked.stages[0]["$match"])
    if "_id" in fixed:
        return False
    wanted = list(sort)
    for index in mongodb_indexes(asked.collection):
        rest = [field for place, field in enumerate(index) if field not in fixed or field in wanted]
        if rest[: len(wanted)] == wanted:
            return asked.stages[1] != {"$sort": sort}
    return True


Conditions = set[tuple[str, str]]
"""Fields with how they are compared."""


def _alternatives(condition: dict[str, Any]) -> list[Conditions]:
    """Return what each alternative compares; of an index, any of these fields may be the first."""
    found: list[Conditions] = [set()]
    for key, value in condition.items():
        if key == "$and":
            groups = _product([_alternatives(part) for part in value])
        elif key == "$or":
            groups = [one for part in value for one in _alternatives(part)]
        elif key.startswith("$"):
            groups = [set()]
        else:
            ways = COMPARISONS & value.keys() if isinstance(value, dict) else {"$eq"}
            groups = [{(key, way) for way in ways}]
        found = _product([found, groups])
    return found


def _product(parts: list[list[Conditions]]) -> list[Conditions]:
    made: list[Conditions] = [set()]
    for part in parts:
        made = [one | other for one in made for other in part]
    return made


def _fixed(condition: dict[str, Any]) -> set[str]:
    """Return the fields that have to have one value."""
    parts = condition.get("$and", [condition])
    return {
        key for part in parts for key, value in part.items() if not key.startswith("$") and not isinstance(value, dict)
    }


def mongodb_explained(asked: Pipeline) -> tuple[int, int, set[str]]:
    """Return what a real server says: documents looked at, documents found, and the stages that found them."""
    command = {"aggregate": asked.collection, "pipeline": asked.stages, "cursor": {}}
    told = connection.database.command("explain", command, verbosity="executionStats")
    first = told["stages"][0]["$cursor"] if "stages" in told else told
    stats = first["executionStats"]
    return stats["totalDocsExamined"], stats["nReturned"], set(_named(stats["executionStages"]))


def _named(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "stage" in node:
            yield str(node["stage"])
        for value in node.values():
            yield from _named(value)
    elif isinstance(node, list):
        for value in node:
            yield from _named(value)
