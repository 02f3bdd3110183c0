"""An indicator of a user that does not return. The tests load it by the path of this file."""

from __future__ import annotations

from typing import Any

from operators.indicators import Indicator


class EndlessRange(Indicator):
    """High minus low. It spins on the bar with the number `at`."""

    kind = "endless_range"
    parameters = {"at": int}  # noqa: RUF012  (as a user writes it)

    def __init__(self, name: str, at: int) -> None:
        self.name, self.at = name, at

    def update(self, bar: Any, values: dict[str, float]) -> None:
        while bar.seq == self.at:
            pass
        values[self.name] = bar.high - bar.low

    def rescale(self, factor: float) -> None:
        pass

    def snapshot(self) -> tuple[Any, ...]:
        return ()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        pass
