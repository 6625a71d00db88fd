"""Serves the OpenAPI document and its page; neither asks who is reading, and neither loads anything from elsewhere.

The page is Swagger UI from the package's own files, with its script apart from the HTML, so that it runs under the
site's Content-Security-Policy as it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularSwaggerSplitView

CACHING = "no-cache"
"""A new version of the server may answer with another document."""


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Return the OpenAPI document; it is the same as long as the process lives."""
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    return cast("dict[str, Any]", generator.get_schema(request=None, public=True))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1)
def as_json() -> bytes:
    """Return the document as JSON."""
    renderer = OpenApiJsonRenderer()
    return renderer.render(document(), renderer_context={})


@lru_cache(maxsize=1)
def as_yaml() -> bytes:
    """Return the document as YAML; `docs/openapi.yaml` holds the same bytes."""
    return cast("bytes", OpenApiYamlRenderer().render(document()))  # type: ignore[no-untyped-call]


@require_safe
def openapi_json(request: HttpRequest) -> HttpResponse:
    """`GET /docs/openapi.json`."""
    return HttpResponse(as_json(), content_type="application/json", headers={"Cache-Control": CACHING})


@require_safe
def openapi_yaml(request: HttpRequest) -> HttpResponse:
    """`GET /docs/openapi.yaml` (the media type of RFC 9512)."""
    return HttpResponse(as_yaml(), content_type="application/yaml", headers={"Cache-Control": CACHING})


page = SpectacularSwaggerSplitView.as_view(url="/docs/openapi.json", template_name="swagger_ui.html")
"""`GET /docs`."""
