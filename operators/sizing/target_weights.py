"""Target weights that an optimiser found outside the stages, and a command in the log recorded.

`TARGET_WEIGHTS` has one argument a symbol, its share of equity at full strength (`{"AAPL": "0.25", "MSFT": "0.1"}`).
A command replaces all weights before it: what it does not name has no weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from operators.money import quantize
from schemas.errors import BadInput
from schemas.records import Command

TARGET_WEIGHTS = "TARGET_WEIGHTS"
WEIGHT_MAX = Decimal(10)
SYMBOLS_MAX = 5000
COMMAND_IDS_MAX = 1000
VERSION = 1

_WORD_PATTERN = re.compile(r"[!-~]{1,64}")
_WEIGHT_PATTERN = re.compile(r"\d{1,15}(\.\d{1,9})?")


def parse_weights(arguments: Mapping[str, str]) -> dict[str, Decimal]:
    """By symbol. Raises BadInput, one sentence, for arguments that are no weights.

    >>> parse_weights({"X": "0.25"})
    {'X': Decimal('0.250000000')}
    """
    if not 0 < len(arguments) <= SYMBOLS_MAX:
        raise BadInput(f"target weights must be for 1 to {SYMBOLS_MAX} symbols, found {len(arguments)}")
    weights = {}
    for symbol, text in arguments.items():
        if not _WORD_PATTERN.fullmatch(symbol):
            raise BadInput(f"a symbol must be one word of at most 64 plain characters, found {ascii(symbol)[:80]}")
        if not _WEIGHT_PATTERN.fullmatch(text) or Decimal(text) > WEIGHT_MAX:
            expected = f"a number from 0 to {WEIGHT_MAX} with at most 9 decimals"
            raise BadInput(f"target weight of {symbol} must be {expected}, found {ascii(text)[:64]}")
        weights[symbol] = quantize(Decimal(text))
    return weights


class TargetWeights:
    """The last recorded weights of one account. Memory is bounded by the size of a command."""

    def __init__(self) -> None:
        self.command_id = ""
        """The command that they come from; "" until there is one."""
        self._weights: dict[str, Decimal] = {}
        self._seen_commands: dict[str, None] = {}

    def apply_command(self, command: Command) -> bool:
        """Whether the command brought weights: a repeat, another kind and what is malformed change nothing."""
        new_id = command.command_id
        if command.kind != TARGET_WEIGHTS or new_id in self._seen_commands or not _WORD_PATTERN.fullmatch(new_id):
            return False
        try:
            self._weights = parse_weights(command.arguments)
        except BadInput:
            # Nobody waits for an answer here; who writes the command asks `parse_weights` first.
            return False
        self.command_id = new_id
        self._seen_commands[new_id] = None
        if len(self._seen_commands) > COMMAND_IDS_MAX:
            del self._seen_commands[next(iter(self._seen_commands))]
        return True

    def weight_of(self, symbol: str) -> Decimal | None:
        return self._weights.get(symbol)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """The holding of one symbol goes on under another, and so does its weight, where that one has none."""
        if symbol in self._weights:
            self._weights.setdefault(new_symbol, self._weights.pop(symbol))

    def snapshot(self) -> tuple[Any, ...]:
        return (VERSION, self.command_id, dict(self._weights), list(self._seen_commands))

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        version, self.command_id, weights, seen_commands = snapshot
        assert version == VERSION, f"target weights of version {version}"
        self._weights, self._seen_commands = dict(weights), dict.fromkeys(seen_commands)
