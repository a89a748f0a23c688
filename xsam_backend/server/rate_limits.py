"""How many requests a client may make: against one that asks without end, by mistake or on purpose.

Clients are addresses. Label Studio sends everybody's requests from one, so a limit has to be generous there, and is
off unless it is set.
"""

from __future__ import annotations

import ipaddress
import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from werkzeug.exceptions import TooManyRequests

FREE_ENDPOINTS = frozenset({"protocol.health", "protocol.live", "protocol.ready", "protocol.metrics"})
"""Asked again and again by machines, and cheap."""


class ClientLimit:
    """Counts each address's requests of the last minute. Safe to use from several threads."""

    def __init__(self, per_minute: int) -> None:
        self._most = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def demand(self, address: str | None) -> None:
        """Count a request and let it pass.

        Raises:
            TooManyRequests: its client has made too many; says when the next one may come.
        """
        if self._most is None or self._limiter.hit(self._most, client_of(address)):
            return
        wait_s = math.ceil(self._limiter.get_window_stats(self._most, client_of(address)).reset_time - time.time())
        raise TooManyRequests(
            f"expected at most {self._most.amount} requests a minute from {address}, got more: slow down, or raise "
            "requests_per_minute",
            retry_after=max(1, wait_s),
        )


def client_of(address: str | None) -> str:
    """Whom an address stands for: with IPv6 a network of 64 bits, as whoever has one address has all of it."""
    try:
        number = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:  # a server's own words for a client without address
        return "unknown"
    if isinstance(number, ipaddress.IPv6Address):
        return str(number.ipv4_mapped or ipaddress.ip_network((number, 64), strict=False))
    return str(number)
