"""The last closed bars of one symbol and interval as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.records import Bar

COLUMNS = ("open", "high", "low", "close", "volume")
FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.int64]


class BarHistory:
    """The last `size` closed bars, newest last. Adding one costs O(1)."""

    __slots__ = ("_columns", "_end", "_times", "_values", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        capacity = max(2 * size, 64)
        self._times: TimeArray = np.zeros(capacity, dtype=np.int64)
        self._values: FloatArray = np.zeros((len(COLUMNS), capacity))
        self._end = 0
        # Views of the same memory that strategies cannot write to.
        self._columns: dict[str, npt.NDArray[Any]] = {"time": self._times.view()}
        self._columns |= {name: self._values[index] for index, name in enumerate(COLUMNS)}
        for column in self._columns.values():
            column.flags.writeable = False

    def __len__(self) -> int:
        return min(self._end, self.size)

    def append(self, bar: Bar) -> None:
        end = self._end
        if end == len(self._times):
            # Move the newest bars to the front, so that the arrays stay contiguous.
            start = end - self.size
            self._times[: self.size] = self._times[start:].copy()
            self._values[:, : self.size] = self._values[:, start:].copy()
            end = self.size
        self._times[end] = bar.ts_ns
        self._values[:, end] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        self._end = end + 1

    def arrays(self, size: int) -> dict[str, npt.NDArray[Any]]:
        """Return the last `size` bars as read-only arrays `time` (end of the bar, nanoseconds), `open` … `volume`.

        The arrays are valid during the evaluation of a strategy: later bars reuse their memory.
        """
        start, end = max(self._end - min(size, self.size), 0), self._end
        return {name: column[start:end] for name, column in self._columns.items()}

    def rescale(self, factor: float) -> None:
        """Convert all bars after a split: multiply prices by `factor`, divide volumes by it."""
        self._values[:4] *= factor
        self._values[4] /= factor

    def snapshot(self) -> Any:
        start = self._end - len(self)
        return (self._times[start : self._end].tolist(), self._values[:, start : self._end].tolist())

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot, also one of another size: the newest bars that fit."""
        times, values = snapshot
        count = min(len(times), self.size)
        self._times[:count] = times[len(times) - count :]
        for index, column in enumerate(values):
            self._values[index, :count] = column[len(times) - count :]
        self._end = count
