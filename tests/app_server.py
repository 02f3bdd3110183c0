"""An ASGI application on its own port, as `start` runs it."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import uvicorn


class AppServer:
    """Serves `app` on a free port until `stop`. `address` is `127.0.0.1:<port>`."""

    def __init__(self, app: Any) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, proxy_headers=False))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server has stopped before it started"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server. Fails if a connection outlives it."""
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "a connection outlives its server"
