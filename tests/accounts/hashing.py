"""A password hasher that the suite can afford."""

from __future__ import annotations

from django.contrib.auth.hashers import BCryptSHA256PasswordHasher


class FastHasher(BCryptSHA256PasswordHasher):
    """The project's hasher with the least work bcrypt allows."""

    rounds = 4
