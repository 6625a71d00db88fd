"""Finds the address that a request or socket really comes from, for logs and rate limits."""

from __future__ import annotations

import ipaddress


def client_address(*, peer: str | None, forwarded_for: str | None, trusted_proxies: int) -> str:
    """Return the client's address, or an empty string when it is not known.

    Each trusted proxy appends the address it saw to `X-Forwarded-For`, so the entry that the outermost of them wrote is
    the n-th from the right; everything left of it is the client's own claim and is ignored (OWASP API4:2023).
    """
    if trusted_proxies and forwarded_for:
        hops = [hop.strip() for hop in forwarded_for.split(",")]
        claimed = hops[-trusted_proxies] if len(hops) >= trusted_proxies else hops[0]
        try:
            return str(ipaddress.ip_address(claimed))
        except ValueError:
            return peer or ""
    return peer or ""
