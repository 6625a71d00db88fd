"""Writes down who may do what in the administration, and its log, in words that mean the same in every store.

Django's own tables have keys that differ between the stores: numbers in SQL, ObjectIds in MongoDB. So they are not
copied row by row, but by names; `chatproject.stores.carrying` takes these from the one store to the other. What is not
in it: the administrators' sign-ins (they sign in again), and content types and permissions, which `migrate` makes.
"""

from __future__ import annotations

import json
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS

from chatproject.stores.claims import Hold, held
from chatproject.times import rfc3339

BATCH = 500

Line = dict[str, Any]


def dump(*, using: str = DEFAULT_DB_ALIAS) -> Iterator[Line]:
    """Yield the groups, the rights of people, and the log of a store's administration."""
    names = {one.pk: name for name, one in _permissions(using).items()}
    groups = dict(Group.objects.using(using).order_by("name").values_list("pk", "name"))
    of_groups = _linked(Group.permissions.through, "group_id", "permission_id", names, using)
    for pk, name in groups.items():
        yield {"kind": "group", "name": name, "permissions": of_groups[pk]}
    people: Any = get_user_model()
    in_groups = _linked(people.groups.through, "user_id", "group_id", groups, using)
    own = _linked(people.user_permissions.through, "user_id", "permission_id", names, using)
    for pk in sorted({*in_groups, *own}):
        yield {"kind": "person", "id": str(pk), "groups": in_groups[pk], "permissions": own[pk]}
    yield from _log(using)


def _log(using: str) -> Iterator[Line]:
    types = {one.pk: name for name, one in _types(using).items()}
    for entry in LogEntry.objects.using(using).order_by("pk").iterator(chunk_size=BATCH):
        yield {
            "kind": "log",
            "at": rfc3339(entry.action_time),
            "person": str(entry.user_id),
            "type": types.get(entry.content_type_id) if entry.content_type_id else None,
            "object": entry.object_id,
            "name": entry.object_repr,
            "action": entry.action_flag,
            "change": entry.change_message,
        }


def _linked(through: Any, owner: str, other: str, names: dict[Any, str], using: str) -> defaultdict[Any, list[str]]:
    """Return the sorted names of what each owner is linked to; without a join, which MongoDB is slow at."""
    found: defaultdict[Any, list[str]] = defaultdict(list)
    for owner_key, other_key in through._default_manager.using(using).values_list(owner, other):
        if name := names.get(other_key):  # not one that was made, or on MongoDB deleted, beside this reading
            insort(found[owner_key], name)
    return found


def _permissions(using: str) -> dict[str, Permission]:
    types = {one.pk: name for name, one in _types(using).items()}
    return {f"{types[one.content_type_id]}.{one.codename}": one for one in Permission.objects.using(using)}


def _types(using: str) -> dict[str, Any]:
    return {f"{one.app_label}.{one.model}": one for one in ContentType.objects.using(using)}


def load(lines: Iterable[Line], *, hold: Hold, using: str = DEFAULT_DB_ALIAS) -> None:
    """Put these in the place of all rights and log entries of a store; each transaction begins with `hold`.

    A transaction has at most `BATCH` entries of the log, however many there are: MongoDB ends one that takes long. So
    what is killed halfway has to be loaded again.
    """
    types = _types(using)
    entries = LogEntry.objects.using(using)
    rights, log = _parted(lines)
    while keys := list(entries.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        with held(hold, using=using):
            entries.filter(pk__in=keys).delete()
    with held(hold, using=using):
        _load_rights(rights, using)
    for some in _batches(log):
        with held(hold, using=using):
            entries.bulk_create(_entry(line, types) for line in some)


def _parted(lines: Iterable[Line]) -> tuple[list[Line], Iterator[Line]]:
    """Return the groups and people, which are few, and what yields the log, which comes after them."""
    rest = iter(lines)
    rights: list[Line] = []
    for line in rest:
        if line["kind"] == "log":
            return rights, chain([line], rest)
        rights.append(line)
    return rights, rest


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while some := list(islice(lines, BATCH)):
        yield some


def _load_rights(lines: Iterable[Line], using: str) -> None:
    people: Any = get_user_model()
    permissions, groups = _permissions(using), {}
    for relation in (people.groups, people.user_permissions):
        relation.through._default_manager.using(using).delete()
    Group.objects.using(using).delete()
    for line in lines:
        held = [permissions[name].pk for name in line["permissions"] if name in permissions]
        if line["kind"] == "group":
            group = groups[line["name"]] = Group.objects.using(using).create(name=line["name"])
            _link(Group.permissions.through, {"group_id": group.pk}, "permission_id", held, using)
        else:
            person = {"user_id": UUID(line["id"])}
            _link(people.groups.through, person, "group_id", [groups[name].pk for name in line["groups"]], using)
            _link(people.user_permissions.through, person, "permission_id", held, using)


def _link(through: Any, owner: dict[str, Any], other: str, keys: Iterable[Any], using: str) -> None:
    through._default_manager.using(using).bulk_create(through(**owner, **{other: key}) for key in keys)


def _entry(line: Line, types: dict[str, Any]) -> LogEntry:
    return LogEntry(
        action_time=datetime.fromisoformat(line["at"]),
        user_id=UUID(line["person"]),
        content_type=types.get(line["type"]),
        object_id=line["object"],
        object_repr=line["name"],
        action_flag=line["action"],
        change_message=line["change"],
    )


def as_text(line: Line) -> str:
    """Return a line as it is passed on: in ASCII, whatever a process takes for the encoding of its pipes."""
    return json.dumps(line, sort_keys=True)
