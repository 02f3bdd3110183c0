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


class PipedProgram:
    """A child with pipes; at the end of the block it is killed if it still runs. Raises DeployError with its first
    complaint wherever it ends in an error or takes no more.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name, self._is_fed = name, False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the block
        self._child = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
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
        self._stderr.close()

    def write(self, content: bytes) -> None:
        try:
            self._input.write(content)
        except BrokenPipeError:
            self._raise_error()

    def copy(self, source: IO[bytes]) -> None:
        """All that `source` gives, into its input."""
        try:
            shutil.copyfileobj(source, self._input, 1 << 20)
        except BrokenPipeError:
            self._raise_error()

    @contextlib.contextmanager
    def feed_input(self, write_input: Callable[[IO[bytes]], None]) -> Iterator[None]:
        """`write_input` writes its input, in a thread, while the block reads its output. What `write_input` raises is raised here."""
        errors: list[Exception] = []
        self._is_fed = True

        def run() -> None:
            try:
                write_input(self._input)
                self._input.close()
            except BrokenPipeError:
                return  # it ended: the block has the reason
            except (BadInput, OSError, tarfile.TarError) as error:
                errors.append(error)
                self._child.kill()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        except DeployError:
            if not errors:
                raise
        finally:
            # The reader may have gone: what is not read any more must not hold up who writes.
            if self._child.poll() is None:
                self._child.kill()
            thread.join()
        if errors:
            raise errors[0]

    def finish(self) -> None:
        """Its input is at an end; wait for it. Raises DeployError where it ends in an error."""
        if not self._is_fed:  # else who feeds it closes it
            with contextlib.suppress(BrokenPipeError):
                self._input.close()
        if self._child.wait() != 0:
            self._raise_error()

    def _raise_error(self) -> None:
        try:
            code = self._child.wait(_WAIT_S)
        except subprocess.TimeoutExpired as error:
            raise DeployError(f"{self._name} takes no more and does not end") from error
        self._stderr.seek(0)
        stderr_lines = self._stderr.read().decode(errors="replace").splitlines()
        error_lines = [line for line in stderr_lines if "error" in line.lower()] or stderr_lines
        raise DeployError(f"{self._name}: {error_lines[0].strip() if error_lines else f'ended with {code}'}")
