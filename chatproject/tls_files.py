"""Looks into the files that a URL names for TLS: a wrong one stops the start, rather than each connection.

What is wrong is told in words that stand behind the name of the option, with what to do. They never repeat the path,
which may be a part of a password that was not percent-encoded.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def unreadable(path: str) -> str:
    """Return why a file cannot be read; nothing if it can."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return "names no file: correct its path"
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        return f"cannot be read ({getattr(error, 'strerror', None) or error}): let Parley's user read that file"
    return ""


def no_certificates(path: str) -> str:
    """Return what is wrong with a file of certificates or revocations; nothing if it can be used."""
    if problem := unreadable(path):
        return problem
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "names a file without a certificate: give it one in PEM"
    return ""


def no_own_certificate(path: str, *, key: str | None = None, password: str = "") -> str:
    """Return what is wrong with a certificate and its private key, in the same file or another; nothing if all is well.

    Files of keys are looked at by `unreadable` before.
    """
    if problem := unreadable(path):
        return problem
    try:
        # A password that is given, were it empty: otherwise OpenSSL asks for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, key, lambda: password)
    except (ssl.SSLError, ValueError):  # a password longer than OpenSSL takes is a ValueError
        return "does not fit: it takes a certificate with its private key in PEM, and the key's password if it has one"
    return ""
