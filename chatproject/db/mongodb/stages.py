"""Puts the stages of a pipeline in an order in which MongoDB can use its indexes; the result stays the same.

The backend joins before it filters, and before it sorts it sets each field to itself. As it is written that reads a
whole collection to find one page of a chat, and sorts it in memory; how much of it the server puts right depends on its
version. The rules here know only the shapes that the backend makes, and leave alone what they do not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Stage = dict[str, Any]

_JOINING = ("$lookup", "$set", "$unwind")


def in_order(pipeline: list[Stage]) -> list[Stage]:
    """Return the stages with what needs no join before the joins: the conditions first, then the order."""
    rest = [kept for stage in pipeline if (kept := _without_idle_fields(stage))]
    joins: list[Stage] = []
    while rest and next(iter(rest[0])) in _JOINING:
        joins.append(rest.pop(0))
    if not joins:
        return rest
    joined = _joined(joins)
    first: list[Stage] = []
    if rest and "$match" in rest[0]:
        own, others = _split(rest.pop(0)["$match"], joined)
        first += [{"$match": _all_of(own)}] if own else []
        joins += [{"$match": _all_of(others)}] if others else []
    # A limit stays behind, since a join may drop rows. They come one by one: no more are joined than it lets through.
    if rest and "$sort" in rest[0] and not _roots(rest[0]["$sort"]) & joined:
        first.append(rest.pop(0))
    return [*first, *joins, *rest]


def _without_idle_fields(stage: Stage) -> Stage | None:
    """Return the stage without the fields that it sets to themselves; None when nothing is left."""
    if "$addFields" not in stage:
        return stage
    fields = {name: value for name, value in stage["$addFields"].items() if value != f"${name}"}
    return {"$addFields": fields} if fields else None


def _joined(joins: Iterable[Stage]) -> set[str]:
    """Return the names that are there only once the joins are made."""
    names: set[str] = set()
    for stage in joins:
        names |= {stage["$lookup"]["as"]} if "$lookup" in stage else set()
        names |= _roots(stage.get("$set", ()))
    return names


def _roots(paths: Iterable[str]) -> set[str]:
    return {path.partition(".")[0] for path in paths}


def _split(condition: dict[str, Any], joined: set[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the parts that all have to hold: those on the collection's own fields, and the others."""
    own: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for part in condition.get("$and", [condition]) if len(condition) == 1 else [condition]:
        names = _names(part)
        (others if names is None or names & joined else own).append(part)
    return own, others


def _all_of(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return parts[0] if len(parts) == 1 else {"$and": parts}


def _names(condition: dict[str, Any]) -> set[str] | None:
    """Return the fields that a condition is about; None when it may be about any (`$expr`)."""
    names: set[str] = set()
    for key, value in condition.items():
        if key in ("$and", "$or", "$nor"):
            for part in value:
                inner = _names(part)
                if inner is None:
                    return None
                names |= inner
        elif key.startswith("$"):
            return None
        else:
            names |= _roots([key])
    return names
