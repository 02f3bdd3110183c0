"""Run programs that read and write through pipes, so that their data are never in a file."""

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


class StreamedProgram:
    """A child with pipes. It is killed at the end of the block if it still runs.

    Methods raise DeployError with its first error line if it fails or stops reading its input.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name, self._is_fed = name, False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the block
        self._child = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
        )
        assert self._child.stdin is not None, "stdin and stdout are pipes"
        assert self._child.stdout is not None, "stdin and stdout are pipes"
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
        """Copy `source` into the program's input."""
        try:
            shutil.copyfileobj(source, self._input, 1 << 20)
        except BrokenPipeError:
            self._raise_error()

    @contextlib.contextmanager
    def feed_input(self, write_input: Callable[[IO[bytes]], None]) -> Iterator[None]:
        """Run `write_input` with the program's input in a thread, while the block reads its output.

        Errors of `write_input` are raised at the end of the block.
        """
        errors: list[Exception] = []
        self._is_fed = True

        def run() -> None:
            try:
                write_input(self._input)
                self._input.close()
            except BrokenPipeError:
                return  # the program has ended; the block raises the reason
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
            # If the block stopped reading, the program must not block the writing thread.
            if self._child.poll() is None:
                self._child.kill()
            thread.join()
        if errors:
            raise errors[0]

    def finish(self) -> None:
        """Close the program's input and wait for it. Raises DeployError if it fails."""
        if not self._is_fed:  # else the feeding thread closes it
            with contextlib.suppress(BrokenPipeError):
                self._input.close()
        if self._child.wait() != 0:
            self._raise_error()

    def _raise_error(self) -> None:
        try:
            code = self._child.wait(_WAIT_S)
        except subprocess.TimeoutExpired as error:
            raise DeployError(
                f"{self._name} stopped reading its input and did not exit within {_WAIT_S:.0f} s"
            ) from error
        self._stderr.seek(0)
        stderr_lines = self._stderr.read().decode(errors="replace").splitlines()
        error_lines = [line for line in stderr_lines if "error" in line.lower()] or stderr_lines
        raise DeployError(f"{self._name}: {error_lines[0].strip() if error_lines else f'exited with status {code}'}")
