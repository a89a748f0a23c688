from __future__ import annotations

from typing import Any

import pytest
from app_parts import services_of
from test_app import login
from werkzeug.exceptions import TooManyRequests

from xsam_backend.server.rate_limits import ClientLimit, client_of


def get(app: Any, path: str = "/versions", address: str = "10.0.0.7", **given: Any) -> Any:
    return app.test_client().get(path, environ_base={"REMOTE_ADDR": address}, **given)


def test_too_many_are_told_when_to_come_back(make_app: Any) -> None:
    app = make_app(requests_per_minute=5)
    assert [get(app).status_code for _ in range(7)] == [200] * 5 + [429] * 2
    answer = get(app)
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "at most 5 requests a minute from 10.0.0.7" in answer.get_json()["error"]
    (problem,) = services_of(app).monitor.last_problems
    assert problem.where == "client 10.0.0.7"


def test_others_are_not_counted_along(make_app: Any) -> None:
    app = make_app(requests_per_minute=1)
    assert [get(app, address=f"10.0.0.{number}").status_code for number in range(3)] == [200] * 3
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        assert get(app, path, "10.0.0.1").status_code != 429
    assert get(app, "/jobs", "10.0.0.1").status_code == 429


def test_guessed_passwords_count(make_app: Any) -> None:
    app = make_app(requests_per_minute=2, basic_auth_user="u", basic_auth_password="right")
    guesses = [get(app, headers=login("u", guess)).status_code for guess in ("a", "b", "c", "right")]
    assert guesses == [401, 401, 429, 429]


def test_it_is_off_unless_it_is_set(make_app: Any) -> None:
    app = make_app()
    assert {get(app).status_code for _ in range(200)} == {200}


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_who_an_address_stands_for(address: str | None, client: str) -> None:
    assert client_of(address) == client


def test_the_next_minute_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    limit = ClientLimit(2)
    limit.demand("10.0.0.7")
    limit.demand("10.0.0.7")
    with pytest.raises(TooManyRequests):
        limit.demand("10.0.0.7")
    clock[0] += 121
    limit.demand("10.0.0.7")


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/metrics", "/versions", "/no-such-page"]
)
def test_passwords_are_guessed_nowhere_without_end(make_app: Any, path: str) -> None:
    app = make_app(failed_logins_per_minute=3, basic_auth_user="u", basic_auth_password="right")
    guesses = [get(app, path, headers=login("u", guess)) for guess in ("a", "b", "c", "d", "right")]
    assert [answer.status_code for answer in guesses] == [401] * 3 + [429] * 2
    assert 1 <= int(guesses[-1].headers["Retry-After"]) <= 60
    assert "at most 3 wrong passwords a minute from 10.0.0.7" in guesses[-1].get_json()["error"]
    assert get(app, "/health", "10.0.0.8", headers=login("u", "right")).status_code == 200


def test_the_button_is_no_way_round(make_app: Any) -> None:
    app = make_app(failed_logins_per_minute=2, basic_auth_user="u", basic_auth_password="right")
    event = {"action": "START_TRAINING", "project": {"id": 1, "created_at": "2026-01-01T00:00:00Z"}}
    codes = [
        app.test_client().post("/webhook", json=event, headers=login("u", guess)).status_code
        for guess in ("a", "b", "c", "right")
    ]
    assert codes == [401, 401, 429, 429]


def test_whoever_knew_the_password_is_not_shut_out(make_app: Any) -> None:
    """Label Studio's probes, while somebody guesses at its address, or a second project has a mistyped password."""
    app = make_app(failed_logins_per_minute=2, basic_auth_user="u", basic_auth_password="right")
    codes = []
    for _ in range(10):
        codes.append(get(app, "/health", headers=login("u", "right")).status_code)
        get(app, "/health", headers=login("u", "wrong"))
    assert codes == [200] * 10
    assert get(app, "/health", headers=login("u", "wrong")).status_code == 429


def test_a_question_without_a_password_is_no_guess(make_app: Any) -> None:
    app = make_app(failed_logins_per_minute=2, basic_auth_user="u", basic_auth_password="right")
    assert {get(app, "/health").status_code for _ in range(10)} == {401}
    assert get(app, "/health", headers=login("u", "right")).status_code == 200
