"""End a process whose handler computes in C code that never releases the GIL, so that no other Python thread runs.

The operating system counts the processor time of the process from the start of each call. At the limit, it sends
SIGPROF. `faulthandler` then writes the position of all threads into a file, without the interpreter, and the signal
ends the process. A second file names the call that runs. The next start turns both into a `HandlerTimeout`, before a
stage processes anything. A process that ended for another reason has written no positions and gets no timeout.
"""

from __future__ import annotations

import faulthandler
import mmap
import re
import signal
from pathlib import Path

from operators.handler_limit import HandlerCall
from schemas.records import PROCESSOR_TIME, HandlerTimeout

FACTOR = 3
"""The process ends after this multiple of the limit. Before that, the watchdog ends all other handlers."""
_SIZE = 4096
_LENGTH_BYTES = 2


class HandlerBackstop:
    """The files and the timer of one process with one worker. Create it once in a process, after `read_timeout`.

    `process` names the process. No two running processes may have the same name.
    """

    def __init__(self, folder: Path, process: str) -> None:
        call_file, trace_file = _files(folder, process)
        folder.mkdir(parents=True, exist_ok=True)
        with call_file.open("w+b") as file:
            file.write(bytes(_SIZE))
            file.flush()
            self._memory = mmap.mmap(file.fileno(), _SIZE)
        self._trace = trace_file.open("wb")
        faulthandler.register(signal.SIGPROF, file=self._trace, all_threads=True, chain=True)

    def begin(self, call: HandlerCall, limit_s: float) -> None:
        """Record the call, and start the timer."""
        fields = (str(call.ts_ns), call.strategy, call.symbol, str(call.number), call.handler, str(limit_s), call.file)
        content = "\0".join(fields).encode()[: _SIZE - _LENGTH_BYTES]
        self._memory[: len(content) + _LENGTH_BYTES] = len(content).to_bytes(_LENGTH_BYTES) + content
        signal.setitimer(signal.ITIMER_PROF, limit_s * FACTOR)

    def end(self) -> None:
        """Stop the timer."""
        signal.setitimer(signal.ITIMER_PROF, 0)


def read_timeout(folder: Path, process: str) -> HandlerTimeout | None:
    """Return the timeout of the call at which the last process of this name ended, None if it ended otherwise."""
    call_file, trace_file = _files(folder, process)
    try:
        content, trace = call_file.read_bytes(), trace_file.read_text(errors="replace")
    except FileNotFoundError:
        return None
    length = int.from_bytes(content[:_LENGTH_BYTES])
    fields = content[_LENGTH_BYTES : _LENGTH_BYTES + length].decode(errors="replace").split("\0")
    if not trace or len(fields) != len(("ts_ns", "strategy", "symbol", "number", "handler", "limit_s", "file")):
        return None
    ts_ns, strategy, symbol, number, handler, limit_s, file = fields
    position = re.search(rf'File "{re.escape(file)}", line (\d+)', trace)
    if position is None:
        return None
    return HandlerTimeout(
        ts_ns=int(ts_ns),
        strategy=strategy,
        symbol=symbol,
        call=int(number),
        handler=handler,
        measure=PROCESSOR_TIME,
        limit_s=float(limit_s),
        file=file,
        line=int(position[1]),
    )


def _files(folder: Path, process: str) -> tuple[Path, Path]:
    return folder / f"{process}.call", folder / f"{process}.trace"
