"""Tests of the order of a pipeline's stages: conditions and order before joins, and the same rows as before."""

from __future__ import annotations

from typing import Any

import pytest

from chatproject.db.mongodb.stages import in_order

Stage = dict[str, Any]
LOOKUP: Stage = {"$lookup": {"from": "users", "as": "users", "localField": "userId", "foreignField": "_id"}}
OUTER: Stage = {"$set": {"users": {"$cond": [{"$eq": [{"$size": "$users"}, 0]}, [{}], "$users"]}}}
UNWIND: Stage = {"$unwind": "$users"}
OWN: Stage = {"chatId": "x"}
THEIRS: Stage = {"users.isActive": True}


def match(*parts: Stage) -> Stage:
    """Return a stage of which all parts have to hold."""
    return {"$match": parts[0] if len(parts) == 1 else {"$and": list(parts)}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([match(OWN)], [match(OWN)], id="nothing to do"),
        pytest.param([LOOKUP, UNWIND, match(OWN)], [match(OWN), LOOKUP, UNWIND], id="join"),
        pytest.param([LOOKUP, OUTER, UNWIND, match(OWN)], [match(OWN), LOOKUP, OUTER, UNWIND], id="outer join"),
        pytest.param(
            [LOOKUP, UNWIND, match(THEIRS, OWN, {"seq": 1})],
            [match(OWN, {"seq": 1}), LOOKUP, UNWIND, match(THEIRS)],
            id="part of it needs the join",
        ),
        pytest.param(
            [LOOKUP, UNWIND, match({"$or": [OWN, THEIRS]})],
            [LOOKUP, UNWIND, match({"$or": [OWN, THEIRS]})],
            id="an alternative needs the join",
        ),
        pytest.param(
            [LOOKUP, UNWIND, match({"$nor": [THEIRS]}, {"$expr": {"$eq": ["$rev", "$seq"]}})],
            [LOOKUP, UNWIND, match({"$nor": [THEIRS]}, {"$expr": {"$eq": ["$rev", "$seq"]}})],
            id="unknown",
        ),
        pytest.param(
            [LOOKUP, UNWIND, match(OWN), {"$addFields": {"seq": "$seq"}}, {"$sort": {"seq": -1}}, {"$limit": 3}],
            [match(OWN), {"$sort": {"seq": -1}}, LOOKUP, UNWIND, {"$limit": 3}],
            id="order",
        ),
        pytest.param(
            [LOOKUP, UNWIND, match(OWN), {"$sort": {"users.name": 1}}],
            [match(OWN), LOOKUP, UNWIND, {"$sort": {"users.name": 1}}],
            id="order by what is joined",
        ),
        pytest.param(
            [LOOKUP, UNWIND, {"$addFields": {"a": "$a", "b": "$c"}}, {"$sort": {"b": 1}}],
            [LOOKUP, UNWIND, {"$addFields": {"b": "$c"}}, {"$sort": {"b": 1}}],
            id="order by what is made",
        ),
        pytest.param(
            [match(OWN), {"$addFields": {"seq": "$seq"}}, {"$sort": {"seq": 1}}],
            [match(OWN), {"$sort": {"seq": 1}}],
            id="a field set to itself",
        ),
    ],
)
def test_what_an_index_can_answer_comes_first(given: list[Stage], expected: list[Stage]) -> None:
    """As far as it stays the same question."""
    assert in_order(given) == expected
