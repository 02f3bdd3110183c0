"""A TCP proxy on loopback that can cut or pause its connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close sends RST, as in a broken connection
_CHUNK = 65_536


class Proxy:
    """A context manager that listens on `port` and forwards all traffic to and from the port `target`."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.connection_count = 0  # connections so far
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._refuse_until = 0.0

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._run_in_loop(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run_in_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def cut(self, refuse_s: float) -> int:
        """Reset all connections, and refuse new ones for `refuse_s` seconds. Return the number of open ones."""
        return int(self._run_in_loop(self._break_connections(refuse_s)))

    def pause(self, pause_s: float) -> None:
        """Forward nothing for `pause_s` seconds, then forward the pending data. Blocks for that time."""
        self._loop.call_soon_threadsafe(self._flowing.clear)
        time.sleep(pause_s)
        self._loop.call_soon_threadsafe(self._flowing.set)

    def _run_in_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._handle_connection, "127.0.0.1", self.port)

    async def _close(self) -> None:
        self._server.close()
        await self._break_connections(0)
        await asyncio.sleep(0.05)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _break_connections(self, refuse_s: float) -> int:
        self._refuse_until = time.monotonic() + refuse_s
        writers = list(self._writers)
        for writer in writers:
            _reset(writer)
        return len(writers) // 2

    async def _handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if time.monotonic() < self._refuse_until:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)  # the server is down, so the proxy refuses too
            return
        self.connection_count += 1
        writers = {writer, far_writer}
        self._writers |= writers
        try:
            await asyncio.gather(self._forward(reader, far_writer), self._forward(far_reader, writer))
        finally:
            self._writers -= writers
            for open_writer in writers:
                open_writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw_socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
