"""What every page of the administration has in common: lists that stay quick however much is stored, and no way round
the services.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

COUNTED = 10_000
"""How far a list is counted and can be turned; beyond it the search leads on."""
PER_PAGE = 100

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    _ModelAdmin, _Paginator = admin.ModelAdmin, Paginator

_PAGING = frozenset({"o", "p", "q", "all", "e", "_popup", "_to_field", "_facets"})


class CappedPaginator(_Paginator):
    """Counts no further than `counted`, so that a page of a large table costs what a page of a small one does."""

    counted = COUNTED

    @cached_property
    def count(self) -> int:
        """The number of rows, or `counted` when there are as many or more."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:COUNTED].count()

    @property
    def capped(self) -> bool:
        """Whether there may be more rows than are counted."""
        return self.count >= COUNTED


class MadeFilter(admin.SimpleListFilter):
    """Filters rows by when they were made: their ids begin with that time (RFC 9562), so the primary key answers."""

    title = "made"
    parameter_name = "made"
    spans: ClassVar[dict[str, timedelta]] = {
        "hour": timedelta(hours=1),
        "day": timedelta(days=1),
        "week": timedelta(days=7),
        "month": timedelta(days=30),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the spans to choose from."""
        return [
            ("hour", "In the last hour"),
            ("day", "In the last day"),
            ("week", "In the last 7 days"),
            ("month", "In the last 30 days"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep what was made within the chosen span."""
        span = self.spans.get(self.value() or "")
        return queryset if span is None else queryset.filter(pk__gte=first_id(timezone.now() - span))


def first_id(moment: datetime) -> UUID:
    """Return the lowest id that can have been made at or after a time (aware)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


class QuickAdmin(_ModelAdmin):
    """A list that is sorted by an index and looked up only through indexes. Nothing is deleted here."""

    paginator: ClassVar[Any] = CappedPaginator
    ordering: ClassVar[Any] = ("-id",)
    sortable_by: ClassVar[Any] = ()
    list_per_page = PER_PAGE
    list_max_show_all = PER_PAGE
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_filter: ClassVar[Any] = (MadeFilter,)
    query_filters: ClassVar[Collection[str]] = ("made",)
    """The names that may stand in a list's query string; any other would be a look-up without an index."""

    # Django calls the list searchable when this is not empty; `get_search_results` of each class does the search.
    search_fields = ("id",)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Allow the filters that are offered."""
        return lookup in _PAGING or lookup in self.query_filters

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: rows go through the services or not at all."""
        return False


class ReadOnlyAdmin(QuickAdmin):
    """Shows rows that only services write."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False
