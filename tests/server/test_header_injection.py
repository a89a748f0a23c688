"""Line ends in what comes from outside: no header of ours, of a download's request or of the log takes them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from app_parts import PictureServer, click, request_of

LINE_ENDS = ["\r\nX-Evil: 1", "\nX-Evil: 1", "%0d%0aX-Evil: 1", "\u2028X-Evil: 1"]


@pytest.mark.parametrize("end", LINE_ENDS)
def test_an_address_puts_no_header_into_a_download(make_app: Any, picture_server: PictureServer, end: str) -> None:
    app = make_app(allow_private_hosts=("127.0.0.1",))
    for address in (f"{picture_server.url}/a.png{end}", f"{picture_server.url}{end}/a.png"):
        answer = app.test_client().post("/predict", json=request_of(address, context=[click(50, 50)]))
        assert answer.status_code == 422
        assert "X-Evil" not in answer.headers
    assert all("x-evil" not in headers for _, headers in picture_server.asked)


@pytest.mark.parametrize("end", LINE_ENDS)
def test_a_redirect_puts_no_header_into_the_next_request(make_app: Any, end: str) -> None:
    from_there, there = PictureServer(), PictureServer()
    try:
        location = f"{there.url}/b.png" + end.replace("\r", "%0D").replace("\n", "%0A").replace("\u2028", "\xa0")
        from_there.answers["/a.png"] = (302, {"Location": location}, b"")
        app = make_app(allow_private_hosts=("127.0.0.1",))
        body = request_of(f"{from_there.url}/a.png", context=[click(50, 50)])
        assert app.test_client().post("/predict", json=body).status_code == 422
        assert all("x-evil" not in headers for _, headers in there.asked)
    finally:
        from_there.close()
        there.close()


@pytest.mark.parametrize("path", ["/%0d%0aX-Evil:1", "/versions/a%0d%0aX-Evil:1/b.jpg", "/jobs/1%0aX-Evil:1"])
def test_a_path_puts_no_header_into_the_reply(make_app: Any, path: str) -> None:
    answer = make_app().test_client().get(path)
    assert answer.status_code == 404
    assert "X-Evil" not in answer.headers


def test_an_address_forges_no_line_of_the_log(make_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        body = request_of("gopher://a.example/\nERROR all is lost", context=[click(50, 50)])
        make_app().test_client().post("/predict", json=body)
    assert "all is lost" in caplog.text
    assert "\nERROR" not in caplog.text
