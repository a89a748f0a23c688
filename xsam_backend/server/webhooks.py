"""Webhook events: checked, written to the inbox, acknowledged. And the secret that makes them believable.

Label Studio creates the webhook row itself, right after the setup that connects a backend, and sends no credentials
with it. So after a setup we ask its API for the project's rows and give ours a header with the project's secret.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from xsam_backend.errors import NotFoundError, RequestError, StoreError
from xsam_backend.learning.collecting import PROJECT_DELETED
from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.rounds import Rounds
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.jobs import Job
from xsam_backend.store.projects import ProjectKey, Projects

START_TRAINING = "START_TRAINING"
KNOWN_ACTIONS = frozenset(
    {
        "ANNOTATION_CREATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_DELETED",
        "TASKS_CREATED",
        "TASKS_DELETED",
        "PROJECT_CREATED",
        "PROJECT_UPDATED",
        PROJECT_DELETED,
        START_TRAINING,
    }
)


class WebhookReceiver:
    """Takes events in. Nothing here waits for more than one small transaction.

    Args:
        on_missed: is told of which project an event couldn't be kept: its truth is to be fetched.
    """

    def __init__(
        self,
        inbox: Inbox,
        projects: Projects,
        secrets: WebhookSecrets,
        instance: str,
        monitor: Monitor,
        on_event: Callable[[], None] = lambda: None,
        on_missed: Callable[[ProjectKey], None] = lambda _key: None,
        on_start_training: Callable[[ProjectKey], Job | None] = lambda _key: None,
    ) -> None:
        self._on_event = on_event
        self._on_missed = on_missed
        self._on_start_training = on_start_training
        self._inbox = inbox
        self._projects = projects
        self._secrets = secrets
        self._instance = instance
        self._monitor = monitor

    def receive(self, body: Mapping[str, Any], secret: str | None, *, has_login: bool) -> Job | None:
        """Keep one event; on return it is on disk. So is the job that START_TRAINING queues, which comes out.

        Label Studio sends no secret with START_TRAINING, but basic auth: where that is demanded, the event proves
        itself by it. Where it isn't, whoever reaches the service may ask it for predictions, and for a fine-tuning as
        well: the button would be dead otherwise. It costs them nothing they couldn't spend otherwise: a project has
        one queued job at most, of projects that never called there is none, the data are what Label Studio itself
        has confirmed, and the gate decides what is served.

        Args:
            secret: the webhook header's value, None without it.
            has_login: basic auth is demanded and was right; only START_TRAINING comes with it.

        Raises:
            RequestError: no action, or a project that cannot be read.
            StoreError: the event or the job could not be written, so it must not be acknowledged.
        """
        action = body.get("action")
        if not isinstance(action, str) or not action.isprintable() or not action:  # PostgreSQL takes no NUL
            raise RequestError("action: expected the name of an event, such as ANNOTATION_CREATED, got none")
        project = body.get("project")
        # A deleted project comes as {"id": 21}, which names no project of ours: it is kept as a hint.
        named = project is not None and not (
            action == PROJECT_DELETED and isinstance(project, Mapping) and "created_at" not in project
        )
        key = ProjectKey.from_webhook(self._instance, project) if named else None
        starts_training = action == START_TRAINING
        verified = (starts_training and has_login) or (key is not None and self._secrets.verifies(key, secret))
        try:
            self._inbox.put(
                body,
                str(key) if key else None,
                verified=verified,
                occasion=str(time.time_ns()) if starts_training else "",  # pressed twice is asked twice
            )
        except StoreError:  # Label Studio sends it once
            if key is not None:
                self._on_missed(key)
            raise
        self._on_event()
        self._monitor.events.labels(action if action in KNOWN_ACTIONS else "other", str(verified).lower()).inc()
        if starts_training and key is not None and (verified or self._projects.knows(key)):
            return self._on_start_training(key)
        return None


class WebhookApi(Protocol):
    """What is needed of :class:`~xsam_backend.labelstudio.client.LabelStudioClient`."""

    def project(self, project_id: int) -> dict[str, Any]:
        """One project: ``id``, ``created_at``."""

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """Rows with ``id``, ``url``, ``headers``."""

    def set_webhook_headers(self, webhook_id: int, headers: Mapping[str, str]) -> dict[str, Any]:
        """Let Label Studio send these headers with the webhook."""


@dataclass(frozen=True, order=True)
class _Look:
    """After a project's webhook rows, at ``due_s`` of the monotonic clock, the ``number``-th after a setup."""

    due_s: float
    number: int
    key: ProjectKey = field(compare=False)
    own_host: str = field(compare=False)


class WebhookGuard(Rounds):
    """Puts each project's secret on its webhook rows, after a setup, in a thread of its own: it waits for Label
    Studio to create the row, and anybody can send setups."""

    DELAYS_S = (1.0, 5.0, 20.0)
    """When to look after a setup, and after each look: Label Studio creates the row once that setup was answered."""

    AGAIN_AFTER_S = 600.0

    LOOKS_LIMIT = 1000
    """Most projects that wait to be looked at; the setups of others come again, with the next opened page."""

    def __init__(self, api: WebhookApi, secrets: WebhookSecrets, monitor: Monitor) -> None:
        super().__init__("webhooks", monitor, 1.0)
        self._api = api
        self._secrets = secrets
        self._lock = threading.Lock()
        self._looks: list[_Look] = []
        self._not_before: dict[ProjectKey, float] = {}

    def after_setup(self, key: ProjectKey, own_host: str) -> None:
        """Look after the rows of ``key`` that point at ``own_host`` (the request's Host header); returns at once.

        Setups come with every opened page, so a project is looked at every ten minutes at most.
        """
        now = time.monotonic()
        with self._lock:
            if now < self._not_before.get(key, 0.0) or len(self._looks) >= self.LOOKS_LIMIT:
                return
            if len(self._not_before) > 10_000:  # setups need no proof: don't let anyone fill the memory
                self._not_before.clear()
            self._not_before[key] = now + self.AGAIN_AFTER_S
            heapq.heappush(self._looks, _Look(now + self.DELAYS_S[0], 0, key, own_host))

    def _round(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                if not self._looks or self._looks[0].due_s > time.monotonic():
                    return
                look = heapq.heappop(self._looks)
            self._guarded(f"webhook of project {look.key}", partial(self._do, look))

    def _do(self, look: _Look) -> None:
        key = look.key
        if look.number == 0 and not self._is_there(key):
            self._monitor.note(
                "SetupOfNoProject",
                "setup",
                f"a setup came for project {key}, which Label Studio hasn't, or the token's user may not see it: its "
                "webhook is left alone",
            )
            return
        rows = [row for row in self._api.webhooks(key.project_id) if _is_ours(row, look.own_host)]
        for row in rows:
            self._set_header(row, key)
        if rows:
            return
        if (number := look.number + 1) < len(self.DELAYS_S):
            with self._lock:
                due_s = time.monotonic() + self.DELAYS_S[number]
                heapq.heappush(self._looks, _Look(due_s, number, key, look.own_host))
            return
        self._monitor.note(
            "WebhookMissing",
            f"project {key}",
            f"Label Studio has no webhook to {look.own_host}/webhook for this project, so annotations are not heard "
            "of: connect the backend again, or add the webhook in the project's settings",
        )

    def _is_there(self, key: ProjectKey) -> bool:
        """Whether Label Studio has the project: a setup could name a number that is another's, whose webhook would
        get a wrong secret."""
        try:
            return ProjectKey.from_webhook(key.instance, self._api.project(key.project_id)) == key
        except NotFoundError:
            return False

    def _set_header(self, row: Mapping[str, Any], key: ProjectKey) -> None:
        kept = row.get("headers")
        headers = dict(kept) if isinstance(kept, Mapping) else {}
        if headers.get(WEBHOOK_HEADER) != self._secrets.of(key):
            headers[WEBHOOK_HEADER] = self._secrets.of(key)
            self._api.set_webhook_headers(int(row["id"]), headers)


def _is_ours(row: Mapping[str, Any], own_host: str) -> bool:
    """Whether a row points at us. A Host header is in lower case and without a usual port; rows are as typed."""
    try:
        there = urlsplit(str(row.get("url")))
        own = urlsplit(f"{there.scheme}://{own_host}")
        usual = {"http": 80, "https": 443}.get(there.scheme)
        same = (there.hostname, there.port or usual) == (own.hostname, own.port or usual)
    except ValueError:  # a port that is none
        return False
    return same and there.path.rstrip("/").endswith("/webhook")
