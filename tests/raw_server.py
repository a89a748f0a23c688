"""A server that answers with given bytes, whatever they are, and keeps what it was sent, byte by byte."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class RawServer:
    """Answers each connection's request with ``answer``, then hangs up; ``asked`` are the requests' heads."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                connection, _ = self._listening.accept()
                with connection, suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        head = b""
        while b"\r\n\r\n" not in head:
            received = connection.recv(65536)
            if not received:
                break
            head += received
        self.asked.append(head)
        connection.sendall(self.answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # a close with bytes unread would cost the client the answer
            pass

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)
