"""Parts of Daphne with a transport in memory."""

from __future__ import annotations

from types import SimpleNamespace

from twisted.internet.testing import StringTransport
from twisted.web.http_headers import Headers

from realtime.daphne_http import BoundedRequest


class Transport(StringTransport):
    """A TCP transport whose peer reads when it is told to."""

    dataBuffer = b""  # noqa: N815  Twisted's name
    offset = 0

    @property
    def _tempDataLen(self) -> int:  # noqa: N802
        return len(self.value())


class Upload(BoundedRequest):
    """A request whose other half is noted instead of served."""

    def __init__(self) -> None:
        self.channel = SimpleNamespace(transport=StringTransport())
        self.requestHeaders, self.responseHeaders = Headers(), Headers()
        self._response_started = False
        self.content = None
        self.kept = 0
