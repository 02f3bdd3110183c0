"""A running process that another supervisor started."""

import os
import select
import signal

from deploy.supervisor.processes import ProcessIdentity

UNKNOWN_STATUS = 256
"""In place of the exit status, which only a parent receives."""


class AdoptedProcess:
    """A process with the methods of `subprocess.Popen` that `Child` uses. Raises ProcessLookupError if it has ended."""

    def __init__(self, identity: ProcessIdentity) -> None:
        self.pid = identity.pid
        # The descriptor refers to this process even after another one gets its pid.
        self._descriptor = os.pidfd_open(identity.pid)
        if not identity.alive():
            os.close(self._descriptor)
            raise ProcessLookupError(f"process {identity.pid} has ended")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return None while the process runs, afterwards `UNKNOWN_STATUS`."""
        if self.returncode is None and select.select([self._descriptor], [], [], 0)[0]:
            os.close(self._descriptor)
            self.returncode = UNKNOWN_STATUS
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, signal.Signals(number))

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
