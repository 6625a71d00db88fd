"""The row that keeps writes out of a store; every process of the service reads it (`chatproject.db.freezing`)."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Reason(models.TextChoices):
    """Why a store takes no writes."""

    MAINTENANCE = "maintenance"
    COPY = "copy"


class Freeze(models.Model):
    """Says that the store takes no writes, and why. There is one row or none."""

    ONLY = "freeze"

    id = models.CharField(primary_key=True, max_length=6, default=ONLY, db_column="_id")
    reason = models.CharField(max_length=11, choices=Reason.choices)
    began_at = models.DateTimeField(default=timezone.now, db_column="beganAt")
    settled_at = models.DateTimeField(null=True, db_column="settledAt")
    """Since when nothing is written any more: in maintenance, because every process knows; with a copy, because it is
    complete and verified."""
    source = models.CharField(max_length=500, blank=True, default="", db_column="source")
    """Which store is being copied into this one: host, port and path, without credentials. In maintenance: what this
    store was called when it was copied to `moved_to`."""
    moved_to = models.CharField(max_length=500, blank=True, default="", db_column="movedTo")
    """In maintenance: which store holds a verified copy of this one, and may have been taken into service since."""
    run = models.CharField(max_length=32, blank=True, default="")
    """With a copy: which run of `store_copy` may write into it (`chatproject.stores.claims`)."""
    transactions = models.IntegerField(default=0)
    """How many that run has made."""

    class Meta:
        db_table = "freezes"

    def __str__(self) -> str:
        return f"frozen for {self.reason}"
