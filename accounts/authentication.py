"""Tells DRF who sent a request."""

from rest_framework.authentication import BaseAuthentication


class SessionTokenAuthentication(BaseAuthentication):
    """placeholder replaced below"""
