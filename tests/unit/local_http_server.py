"""A small HTTP server for tests. A test sets the response of each path, and the server records the requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class RecordedRequest(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


ServerResponse = tuple[int, dict[str, str], bytes]


class LocalServer:
    """`responses[path]` is a function from a request to a response. A path without an entry returns 404."""

    def __init__(self) -> None:
        self.responses: dict[str, Callable[[RecordedRequest], ServerResponse]] = {}
        self.requests: list[RecordedRequest] = []
        outer = self

        class OneRequest(BaseHTTPRequestHandler):
            def _respond(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = RecordedRequest(self.command, self.path, headers, self.rfile.read(length))
                outer.requests.append(request)
                responder = outer.responses.get(self.path.split("?")[0])
                status, response_headers, body = responder(request) if responder else (404, {}, b"")
                self.send_response(status)
                for name, value in response_headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self._respond()

            def do_POST(self) -> None:
                self._respond()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing, so that the test output stays readable."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), OneRequest)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def set_response(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        response_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.responses[path] = lambda request: (status, response_headers, body)

    def serve(self) -> None:
        self._server.serve_forever(0.02)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def local_server() -> Iterator[LocalServer]:
    server = LocalServer()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
