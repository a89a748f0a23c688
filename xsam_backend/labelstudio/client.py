"""The part of Label Studio's REST API that the backend needs.

Own calls on ``requests`` rather than the SDK's client: that one takes seconds to import, follows redirects with the
token, and its models refuse answers of servers that are older or newer than it.
"""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from urllib3.exceptions import ReadTimeoutError

from xsam_backend.errors import ImageError, LabelStudioError, NotFoundError, SettingsError
from xsam_backend.labelstudio.bounded_http import BoundedAdapter, TooLargeError, answers_within, read_all
from xsam_backend.labelstudio.deadlines import Deadline
from xsam_backend.labelstudio.egress import WebAddress, redacted

Row = dict[str, Any]
"""One JSON object of Label Studio's."""

_CONNECT_TIMEOUT_S = 5.0
_EXPORT_TIMEOUT_S = 600.0  # Label Studio collects the whole export before its first byte

MAX_ANSWER_BYTES = 256 * 2**20
MAX_EXPORT_BYTES = 2**31
_RENEW_BEFORE_S = 30.0


@dataclass(frozen=True)
class _Answer:
    """What came of one request. ``where`` is its method and address, ``location`` a redirect's."""

    status: int
    where: str
    location: str
    content: bytes


class _StayingSession(requests.Session):
    """Looks at no redirect: ``requests`` would read its body, whatever its size, though it isn't to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class LabelStudioClient:
    """Calls one Label Studio with one user's token. Safe to share between threads.

    ``timeout_s`` is the longest wait for the first byte of an answer and for each further one; all of it must be
    there after twice that time. What is longer than ``max_bytes`` (an export: ``MAX_EXPORT_BYTES``) is refused.

    The token is a legacy one (40 hex digits) or a personal access token. The latter is a refresh token: it is traded
    for an access token of a few minutes, again whenever that one runs out. The token is never part of a message.

    Raises:
        SettingsError: an address or token that cannot be one.
        LabelStudioError: from every call: not reachable, refused, or an answer that isn't Label Studio's.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        try:
            WebAddress.parse(url)
        except ImageError as error:
            raise SettingsError(f"label_studio_url: {error}") from None
        token = token.strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise SettingsError(
                "label_studio_token: expected a token from Account & Settings (40 hex digits, or three parts joined "
                "by dots), got something empty or with spaces or other characters in it"
            )
        self.url = url.rstrip("/")
        self._token = token
        self._is_personal = token.count(".") == 2
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._access = ""
        self._access_until = 0.0  # time.monotonic
        self._session = _StayingSession()
        self._session.trust_env = False  # .netrc would replace the Authorization header
        # With a session cookie Label Studio would want CSRF tokens for every change.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = BoundedAdapter()
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __repr__(self) -> str:
        return f"LabelStudioClient({self.url!r})"

    # Tokens

    @property
    def token_kind(self) -> str:
        """For people: which of Label Studio's two kinds the token is, by its form."""
        return "personal access token" if self._is_personal else "legacy token"

    def authorization(self) -> str:
        """The Authorization header's value, fresh for at least half a minute."""
        if not self._is_personal:
            return f"Token {self._token}"
        with self._lock:
            if time.monotonic() >= self._access_until - _RENEW_BEFORE_S:
                self._trade_token()
            return f"Bearer {self._access}"

    def renew_authorization(self, refused: str) -> str | None:
        """Another header value after ``refused`` met a 401; None for a legacy token, which has no other."""
        if not self._is_personal:
            return None
        with self._lock:
            if f"Bearer {self._access}" == refused:  # else another thread has been here meanwhile
                self._trade_token()
            return f"Bearer {self._access}"

    def _trade_token(self) -> None:
        response = self._send("POST", "/api/token/refresh", None, self._timeout_s, body={"refresh": self._token})
        if response.status in (400, 401, 403):
            raise LabelStudioError(
                f"Label Studio at {self.url} refuses the personal access token (HTTP {response.status}): it is "
                "expired or revoked; make a new one under Account & Settings and set label_studio_token to it"
            )
        answer = self._read(response)
        access = answer.get("access") if isinstance(answer, dict) else None
        if not isinstance(access, str) or not access.isascii() or not access.isprintable():
            raise LabelStudioError(
                f"{self.url}/api/token/refresh: expected an access token, got none: older Label Studios take "
                "legacy tokens only"
            )
        self._access = access
        self._access_until = time.monotonic() + _lifetime_s(access)

    # What can be asked

    def whoami(self) -> Row:
        """The token's user: ``id``, ``email``, ``username``, ..."""
        return _row(self._call("GET", "/api/current-user/whoami"), "a user")

    def version(self) -> str:
        """Label Studio's release, such as "1.23.2"; "unknown" where it doesn't say."""
        answer = _row(self._call("GET", "/api/version/"), "versions")
        return str(answer.get("release") or "unknown")

    def project(self, project_id: int) -> Row:
        """One project: ``id``, ``title``, ``label_config``, ``created_at``, ..."""
        return _row(self._call("GET", f"/api/projects/{project_id:d}/"), "a project")

    def tasks(self, project_id: int, *, page_size: int = 100) -> Iterator[Row]:
        """All tasks of a project with their annotations and predictions, fetched page by page while iterated."""
        yield from self._task_pages({"project": project_id, "fields": "all"}, page_size)

    def chosen_tasks(self, project_id: int, task_ids: Collection[int]) -> list[Row]:
        """Those of these tasks that the project has, with their data as imported and their predictions.

        Unlike other ways to read tasks, this one doesn't make Label Studio ask its backend for predictions.
        """
        chosen = {"selectedItems": {"all": False, "included": sorted(task_ids)}}
        query = {
            "project": project_id,
            "fields": "all",
            "resolve_uri": "false",
            "review": "true",
            "query": json.dumps(chosen, separators=(",", ":")),
        }
        return list(self._task_pages(query, max(len(task_ids), 1)))

    def tasks_after(self, project_id: int, task_id: int, count: int) -> list[Row]:
        """The project's next tasks by number, at most so many, with their data as imported.

        Like ``chosen_tasks``, this doesn't make Label Studio ask its backend for predictions.
        """
        later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task_id}
        query = {
            "project": project_id,
            "resolve_uri": "false",
            "review": "true",
            "page": 1,
            "page_size": count,
            "query": json.dumps(
                {"filters": {"conjunction": "and", "items": [later]}, "ordering": ["tasks:id"]},
                separators=(",", ":"),
            ),
        }
        answer = self._call("GET", "/api/tasks", query)
        return _rows(answer.get("tasks") if isinstance(answer, dict) else answer, "tasks")[:count]

    def _task_pages(self, query: Mapping[str, Any], page_size: int) -> Iterator[Row]:
        """A server may give smaller pages than asked for."""
        seen, page, before = 0, 1, None
        while True:
            try:
                answer = self._call("GET", "/api/tasks", {**query, "page": page, "page_size": page_size})
            except NotFoundError:
                if page == 1:
                    raise
                return  # the page after the last: tasks were deleted meanwhile
            rows = _rows(answer.get("tasks") if isinstance(answer, dict) else answer, "tasks")
            if rows and rows == before:
                raise LabelStudioError(
                    f"{self.url}/api/tasks: expected further tasks on page {page}, got the same again: does "
                    "something between here and Label Studio drop the query of an address?"
                )
            yield from rows
            before = rows
            seen, page = seen + len(rows), page + 1
            total = answer.get("total") if isinstance(answer, dict) else None
            if not rows or (seen >= total if isinstance(total, int) else len(rows) < page_size):
                return

    def add_prediction(self, task_id: int, prediction: Mapping[str, Any]) -> Row:
        """A new prediction of a task: ``result``, ``score``, ``model_version``. One that is there already stays."""
        return _row(self._call("POST", "/api/predictions/", body={"task": task_id, **prediction}), "a prediction")

    def has_project(self, project_id: int) -> bool:
        """Whether there is such a project, for this user. Something else's 404 at that address is no answer."""
        if self._has(f"/api/projects/{project_id:d}/"):
            return True
        self.whoami()
        return False

    def has_annotation(self, annotation_id: int) -> bool:
        """Whether there is such an annotation, for this user."""
        return self._has(f"/api/annotations/{annotation_id:d}/")

    def has_task(self, task_id: int) -> bool:
        """Whether there is such a task, for this user."""
        return self._has(f"/api/tasks/{task_id:d}/")

    def _has(self, path: str) -> bool:
        try:
            self._call("GET", path)
        except NotFoundError:
            return False
        return True

    def export(self, project_id: int, *, annotated_only: bool = True, task_ids: Sequence[int] = ()) -> list[Row]:
        """Tasks with their annotations as Label Studio's JSON export has them; all tasks unless ids are given."""
        query: dict[str, Any] = {"exportType": "JSON", "download_all_tasks": str(not annotated_only).lower()}
        if task_ids:
            query["ids[]"] = list(task_ids)
        answer = self._call(
            "GET",
            f"/api/projects/{project_id:d}/export",
            query,
            timeout_s=_EXPORT_TIMEOUT_S,
            max_bytes=MAX_EXPORT_BYTES,
        )
        return _rows(answer, "tasks")

    def webhooks(self, project_id: int) -> list[Row]:
        """Webhook rows of a project: ``id``, ``url``, ``headers``, ``actions``, ..."""
        return _rows(self._call("GET", "/api/webhooks/", {"project": project_id}), "webhooks")

    def update_webhook(self, webhook_id: int, **fields: Any) -> Row:
        """Change fields of a webhook row; the row as it is then."""
        return _row(self._call("PATCH", f"/api/webhooks/{webhook_id:d}/", body=fields), "a webhook")

    def set_webhook_headers(self, webhook_id: int, headers: Mapping[str, str]) -> Row:
        """Let Label Studio send these headers with the webhook, in place of those it sent so far."""
        return self.update_webhook(webhook_id, headers=dict(headers))

    def ml_backends(self, project_id: int) -> list[Row]:
        """ML backends connected to a project: ``id``, ``url``, ``state``, ``is_interactive``, ...

        Label Studio asks each for ``/health`` and ``/setup`` before it answers: don't call this from a request that
        holds the last free thread of the backend itself.
        """
        return _rows(self._call("GET", "/api/ml", {"project": project_id}), "ML backends")

    # How it is asked

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
    ) -> Any:
        """The decoded JSON answer; a 401 leads to one more try with a new access token."""
        bound_s = timeout_s or self._timeout_s
        token = self.authorization()
        given: dict[str, Any] = {"query": query, "body": body, "files": files, "max_bytes": max_bytes}
        response = self._send(method, path, token, bound_s, **given)
        if response.status == 401:
            renewed = self.renew_authorization(token)
            if renewed is not None:
                response = self._send(method, path, renewed, bound_s, **given)
        return self._read(response)

    def _send(
        self,
        method: str,
        path: str,
        token: str | None,
        timeout_s: float,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        max_bytes: int | None = None,
    ) -> _Answer:
        most, deadline = max_bytes or self._max_bytes, Deadline(2 * timeout_s)
        headers = {"Accept": "application/json", "User-Agent": "xsam-backend"}
        if token is not None:
            headers["Authorization"] = token
        try:
            with (
                answers_within(timeout_s, deadline),
                self._session.request(
                    method,
                    self.url + path,
                    params=query,
                    json=body,
                    files=files,
                    headers=headers,
                    timeout=(_CONNECT_TIMEOUT_S, timeout_s),
                    allow_redirects=False,  # it could carry the token, or the refresh token's body, elsewhere
                    stream=True,
                ) as response,
            ):
                location = response.headers.get("Location", "somewhere else")
                content = read_all(response, most)
                return _Answer(response.status_code, f"{method} {self.url}{path}", location, content)
        except requests.exceptions.SSLError:
            raise LabelStudioError(
                f"the TLS certificate of {self.url} is not trusted: point SSL_CERT_FILE at your certificate "
                "authority's file"
            ) from None
        except TooLargeError:
            raise LabelStudioError(
                f"Label Studio at {self.url} answered {method} {path} with more than {most:,} bytes: is it Label "
                "Studio's address?"
            ) from None
        except requests.exceptions.RequestException as error:
            if deadline.passed:
                raise LabelStudioError(
                    f"Label Studio at {self.url} had not answered {method} {path} in full after "
                    f"{deadline.total_s:g} s: look into its log, or raise label_studio_timeout_s"
                ) from None
            if _is_timeout(error):
                raise LabelStudioError(
                    f"Label Studio at {self.url} did not answer {method} {path} within {timeout_s:g} s: "
                    "try again, or look into its log"
                ) from None
            raise LabelStudioError(
                f"Label Studio cannot be reached at {self.url} ({type(error).__name__}): check label_studio_url, as "
                "seen from this machine or container, and that Label Studio runs"
            ) from None

    def _read(self, response: _Answer) -> Any:
        status, where = response.status, response.where
        if 300 <= status < 400:
            raise LabelStudioError(
                f"{where} was redirected to {redacted(response.location)}, where the token is not sent: set "
                "label_studio_url to the address that Label Studio itself answers at"
            )
        if status == 404:
            raise NotFoundError(f"{where}: {_STATUS[404]}")
        if not 200 <= status < 300:
            said = self._said(response)
            if status in _STATUS:
                words = f"{_STATUS[status]}{f' (it says: {said})' if said else ''}"
            else:
                words = f"Label Studio answered HTTP {status}: " + (said or "look into Label Studio's log")
            refused = TokenRefusedError if status == 401 else LabelStudioError
            raise refused(f"{where}: {words}")
        try:
            return json.loads(response.content) if response.content else None
        except (ValueError, RecursionError):
            raise LabelStudioError(
                f"{where}: expected JSON, got something else: is {self.url} the address of Label Studio, its path "
                "included?"
            ) from None

    def _said(self, response: _Answer) -> str:
        """What Label Studio says about its refusal, short, tokens cut out; empty where it says nothing readable."""
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError):
            return ""
        detail = str(answer.get("detail") or "" if isinstance(answer, dict) else "")[:300]
        for secret in filter(None, (self._token, self._access)):
            detail = detail.replace(secret, "…")
        return detail


_STATUS = {
    401: (
        "Label Studio refuses the token (HTTP 401): it is revoked, or the organization has disabled legacy tokens; "
        "set label_studio_token to a personal access token from Account & Settings"
    ),
    403: (
        "the token's user may not do this (HTTP 403): add the user to the project, or use an administrator's token"
    ),
    404: (
        "Label Studio has no such thing, or the token's user may not see it (HTTP 404): check the id and that "
        "label_studio_url names the right Label Studio"
    ),
}


class TokenRefusedError(LabelStudioError):
    """Label Studio answered 401: it doesn't know the token, or not any more."""


def _is_timeout(error: requests.exceptions.RequestException) -> bool:
    """Also while a body is read, where ``requests`` calls it a lost connection."""
    inner = error.args[0] if error.args else None
    return isinstance(error, requests.exceptions.Timeout) or isinstance(inner, ReadTimeoutError)


def _lifetime_s(access_token: str) -> float:
    """Seconds that a fresh access token lives, by its own claims; the clocks of both machines may differ."""
    try:
        payload = access_token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        lifetime_s = float(claims["exp"]) - float(claims.get("iat", time.time()))
        if math.isfinite(lifetime_s):
            return min(max(lifetime_s, 0.0), 86_400.0)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError):
        pass
    return 2 * _RENEW_BEFORE_S  # not readable: used for half a minute, then traded again


def _row(answer: Any, expected: str) -> Row:
    if not isinstance(answer, dict):
        raise LabelStudioError(f"expected {expected} (a JSON object) of Label Studio, got {type(answer).__name__}")
    return answer


def _rows(answer: Any, expected: str) -> list[Row]:
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise LabelStudioError(f"expected {expected} (a list of objects) of Label Studio, got another kind of answer")
    return answer
