"""Receives an uploaded file before it is encrypted: in memory, or beyond 1 MiB in a temporary file without a name.

Django's own handler gives large files a name in the temporary directory, where a killed process leaves them readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from rest_framework.parsers import MultiPartParser

from chatproject.errors import Unavailable


class NamelessUploadHandler(FileUploadHandler):
    """Keeps one file of the body."""

    file: IO[bytes]

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Start the next file."""
        super().new_file(*args, **kwargs)
        self.file = SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE)  # noqa: SIM115  closed with the request

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Take some bytes. Raises `Unavailable` when the temporary directory is full."""
        try:
            self.file.write(raw_data)
        except OSError as error:
            raise Unavailable("The file could not be received.") from error

    def file_complete(self, file_size: int) -> UploadedFile[Any]:
        """Return the file, at its start."""
        self.file.seek(0)
        return UploadedFile(
            file=self.file, name=self.file_name, content_type=self.content_type, size=file_size, charset=self.charset
        )


class UploadParser(MultiPartParser):
    """Parses multipart/form-data with `NamelessUploadHandler`."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the fields and files. Raises `ParseError`."""
        request = (parser_context or {})["request"]
        request.upload_handlers = [NamelessUploadHandler(request)]
        return super().parse(stream, media_type, parser_context)
