"""What the REST doors of all apps share: reading a body or query, and content negotiation for files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.serializers import Serializer


def parse(serializer_class: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    """Return the validated fields of a body or query. Raises DRF's `ValidationError`."""
    serializer = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class AnyAccept(DefaultContentNegotiation):
    """Takes every `Accept` header: browsers ask for a picture with `image/*`, which no JSON renderer offers."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the first renderer; only errors are rendered by it."""
        first = cast("Sequence[BaseRenderer]", renderers)[0]
        return first, str(first.media_type)
