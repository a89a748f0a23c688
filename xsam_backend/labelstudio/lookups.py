"""Looking up host names, so that names that never resolve keep nobody else's waiting.

``getaddrinfo`` can't be given a time limit, so it runs in threads where waiting for it can be given up. Such a thread
is taken for as long as the system's resolver tries, and whoever writes task data may name hosts whose name servers
don't answer. So the operator's hosts have threads of their own, and no domain has more than its share of the others.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from xsam_backend.labelstudio.deadlines import Deadline
from xsam_backend.labelstudio.egress import Resolver

THREADS = 32
TRUSTED_THREADS = 4

SHARE = 4
"""Of the threads, for all names of a domain: those that end in the same two labels."""


class Lookups:
    """Looks names up in threads. Safe to use from several threads."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._trusted = ThreadPoolExecutor(TRUSTED_THREADS, thread_name_prefix="resolve-trusted")
        self._others = ThreadPoolExecutor(THREADS, thread_name_prefix="resolve-host")
        self._changed = threading.Condition()
        self._under_way: Counter[str] = Counter()

    def addresses(self, host: str, port: int, deadline: Deadline, *, trusted: bool) -> list[str]:
        """IP addresses of a host.

        Args:
            trusted: the operator has named it.

        Raises:
            OSError: no such name, or nobody to ask; the resolver's own.
            TimeoutError: not found by the deadline.
        """
        if trusted:
            return self._trusted.submit(self._resolver, host, port).result(deadline.at_most(deadline.total_s))
        domain = ".".join(host.rstrip(".").split(".")[-2:])
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._under_way[domain] < SHARE, deadline.at_most(deadline.total_s)
            ):
                raise TimeoutError(f"other names of {domain} don't resolve")
            self._under_way[domain] += 1
        found = self._others.submit(self._resolver, host, port)
        found.add_done_callback(lambda _: self._done(domain))
        try:
            return found.result(deadline.at_most(deadline.total_s))
        finally:
            found.cancel()  # while it waits for a thread, nobody needs it any more

    def _done(self, domain: str) -> None:
        with self._changed:
            self._under_way[domain] -= 1
            if not self._under_way[domain]:
                del self._under_way[domain]
            self._changed.notify_all()
