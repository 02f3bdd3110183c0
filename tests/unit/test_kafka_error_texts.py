"""A cluster that does not respond: the error has the transport's own text, not only that a time limit has passed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from dataflows.sources.existing_topics import wait_for_topics
from deploy.errors import DeployError
from deploy.supervisor.topics import create_topics, missing_topics, platform_topics
from schemas.errors import Unavailable


@pytest.fixture
def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
    return port


def test_a_refused_connection_is_named(closed_port: int) -> None:
    address = f"127.0.0.1:{closed_port}"
    expected = rf"cannot list the topics of {address}: .*Connect to .*{closed_port} failed: Connection refused$"
    with pytest.raises(DeployError, match=expected):
        missing_topics(address, ["orders"], timeout_s=1)
    with pytest.raises(DeployError, match=rf"cannot create topics on {address}: .*Connection refused$"):
        create_topics(address, platform_topics("")[:1], timeout_s=1)
    with pytest.raises(Unavailable, match=rf"Kafka at {address}: .*Connection refused$"):
        wait_for_topics(address, ["orders"], timeout_s=1)


@pytest.fixture
def closing_server() -> Iterator[int]:
    """A server that accepts a connection and closes it, as a broker does that requires authentication."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_a_closed_connection_names_the_authentication(closing_server: int) -> None:
    with pytest.raises(DeployError, match="it closed the connection, probably because it requires authentication"):
        missing_topics(f"127.0.0.1:{closing_server}", ["orders"], timeout_s=2)
