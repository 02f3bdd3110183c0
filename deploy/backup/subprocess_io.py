"""Programs that read and write through pipes, so that what passes them is never in a file."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Self

from deploy.errors import DeployError
from schemas.errors import BadInput

_WAIT_S = 30.0


class Program:
    """A child with pipes; at the end of the block it is killed if it still runs. Raises DeployError with its first
    complaint wherever it ends in an error or takes no more.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name, self._fed = name, False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the block
        self._child = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )
        assert self._child.stdin is not None, "asked for as a pipe"
        assert self._child.stdout is not None, "asked for as a pipe"
        self._input: IO[bytes] = self._child.stdin
        self.output: IO[bytes] = self._child.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        self.output.close()
        self._said.close()

    def write(self, content: bytes) -> None:
        try:
            self._input.write(content)
        except BrokenPipeError:
            self._raise()

    def copy(self, source: IO[bytes]) -> None:
        """All that `source` gives, into its input."""
        try:
            shutil.copyfileobj(source, self._input, 1 << 20)
        except BrokenPipeError:
            self._raise()

    @contextlib.contextmanager
    def fed(self, feed: Callable[[IO[bytes]], None]) -> Iterator[None]:
        """`feed` writes its input, in a thread, while the block reads its output. What `feed` raises is raised here."""
        raised: list[Exception] = []
        self._fed = True

        def run() -> None:
            try:
                feed(self._input)
                self._input.close()
            except BrokenPipeError:
                return  # it ended: the block has the reason
            except (BadInput, OSError, tarfile.TarError) as error:
                raised.append(error)
                self._child.kill()

        feeding = threading.Thread(target=run)
        feeding.start()
        try:
            yield
        except DeployError:
            if not raised:
                raise
        finally:
            # The reader may have gone: what is not read any more must not hold up who writes.
            if self._child.poll() is None:
                self._child.kill()
            feeding.join()
        if raised:
            raise raised[0]

    def end(self) -> None:
        """Its input is at an end; wait for it. Raises DeployError where it ends in an error."""
        if not self._fed:  # else who feeds it closes it
            with contextlib.suppress(BrokenPipeError):
                self._input.close()
        if self._child.wait() != 0:
            self._raise()

    def _raise(self) -> None:
        try:
            code = self._child.wait(_WAIT_S)
        except subprocess.TimeoutExpired as error:
            raise DeployError(f"{self._name} takes no more and does not end") from error
        self._said.seek(0)
        told = self._said.read().decode(errors="replace").splitlines()
        lines = [line for line in told if "error" in line.lower()] or told
        raise DeployError(f"{self._name}: {lines[0].strip() if lines else f'ended with {code}'}")
