#!/usr/bin/env python
"""Runs Parley's operator commands: the way in for people at a terminal."""

import os
import sys


def main() -> None:
    """Hand the command line to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
    from django.apps import apps  # noqa: PLC0415
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Parley cannot start: {error}")
    except Exception as error:
        if not apps.ready:  # nothing has been asked of the store yet
            raise
        from chatproject.errors import DomainError  # noqa: PLC0415  it needs settings
        from chatproject.stores.places import trouble_with  # noqa: PLC0415

        # Such as a store in maintenance, or away; what the operator does about it is in the line, or in the docs.
        line = error.message if isinstance(error, DomainError) else trouble_with(error)
        if line is None or "--traceback" in sys.argv:
            raise
        sys.exit(line)


if __name__ == "__main__":
    main()
