"""Target weights from an optimizer outside the stages, recorded in the log by a command.

`TARGET_WEIGHTS` takes one argument per symbol: its share of equity at full strength (`{"AAPL": "0.25"}`).
A command replaces all previous weights. A symbol that it does not contain has no weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from operators.money import quantize
from schemas.errors import BadInput
from schemas.records import Command

TARGET_WEIGHTS: Final = "TARGET_WEIGHTS"
WEIGHT_MAX = Decimal(10)
SYMBOLS_MAX = 5000
COMMAND_IDS_MAX = 1000
VERSION = 1

_IDENTIFIER_PATTERN = re.compile(r"[!-~]{1,64}")
_WEIGHT_PATTERN = re.compile(r"\d{1,15}(\.\d{1,9})?")


def parse_weights(arguments: Mapping[str, str]) -> dict[str, Decimal]:
    """Parse the weights by symbol. Raises BadInput for an invalid symbol, weight or number of symbols.

    >>> parse_weights({"X": "0.25"})
    {'X': Decimal('0.250000000')}
    """
    if not 0 < len(arguments) <= SYMBOLS_MAX:
        raise BadInput(f"target weights must be for 1 to {SYMBOLS_MAX} symbols, found {len(arguments)}")
    weights = {}
    for symbol, text in arguments.items():
        if not _IDENTIFIER_PATTERN.fullmatch(symbol):
            expected = "1 to 64 printable ASCII characters without spaces"
            raise BadInput(f"target weights: a symbol must be {expected}, found {ascii(symbol)[:80]}")
        if not _WEIGHT_PATTERN.fullmatch(text) or Decimal(text) > WEIGHT_MAX:
            expected = f"a number from 0 to {WEIGHT_MAX} with at most 9 decimals"
            raise BadInput(f"target weight of {symbol} must be {expected}, found {ascii(text)[:64]}")
        weights[symbol] = quantize(Decimal(text))
    return weights


class TargetWeights:
    """The last recorded weights of one account. Memory is bounded by the size of a command."""

    def __init__(self) -> None:
        self.command_id = ""
        """Id of the command that set the weights; "" before the first one."""
        self._weights: dict[str, Decimal] = {}
        self._seen_commands: dict[str, None] = {}

    def apply_command(self, command: Command) -> bool:
        """Apply a command. Return False, without a change, for a duplicate, malformed or other command."""
        new_id = command.command_id
        if command.kind != TARGET_WEIGHTS or new_id in self._seen_commands or not _IDENTIFIER_PATTERN.fullmatch(new_id):
            return False
        try:
            self._weights = parse_weights(command.arguments)
        except BadInput:
            # The publisher validates a command with `parse_weights`, so an invalid one here is discarded.
            return False
        self.command_id = new_id
        self._seen_commands[new_id] = None
        if len(self._seen_commands) > COMMAND_IDS_MAX:
            del self._seen_commands[next(iter(self._seen_commands))]
        return True

    def weight_of(self, symbol: str) -> Decimal | None:
        return self._weights.get(symbol)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Move a symbol's weight to `new_symbol`, unless that symbol has a weight."""
        if symbol in self._weights:
            self._weights.setdefault(new_symbol, self._weights.pop(symbol))

    def snapshot(self) -> tuple[Any, ...]:
        return (VERSION, self.command_id, dict(self._weights), list(self._seen_commands))

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        version, self.command_id, weights, seen_commands = snapshot
        assert version == VERSION, f"target weights snapshot: version {version}, expected {VERSION}"
        self._weights, self._seen_commands = dict(weights), dict.fromkeys(seen_commands)
