"""Corporate actions at random, for the desks of `tests/unit/random_desk.py`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from random import Random

from schemas.records import CorporateAction, CorporateActionKind
from tests.builders import corporate_action
from tests.unit.trading_harness import minute

D = Decimal
ACTIONS = ("SPLIT", "REVERSE", "CASH_DIVIDEND", "SPIN_OFF", "SYMBOL_CHANGE")
ENDINGS = ("THIRD", "STOCK_MERGER", "MIXED_MERGER", "CASH_MERGER", "DELISTING")
"""Splits of 3 into 1 without cash for fractions, mergers into a new or the other symbol, and the end of a symbol."""
DISTRIBUTIONS = ("STOCK_DIVIDEND", "RIGHTS", "SPIN_OFF_OF_OTHER")
"""Distributions of the share itself, of a right, and of the other symbol, in which there can be positions."""


class RandomActions:
    """Draw corporate actions of the symbols, and change the symbols and their prices accordingly.

    Up to `distributed_max` symbols whose shares are distributed have actions of their own.
    """

    def __init__(self, random: Random, symbols: Sequence[str], price: float, *, distributed_max: int = 0) -> None:
        self.random, self._distributed_left = random, distributed_max
        self.symbols = list(symbols)  # as they are named now
        self.prices = dict.fromkeys(symbols, price)

    def draw(self, kinds: Sequence[str], number: int) -> CorporateAction:
        """Return an action of one of the kinds, for the minute `number`."""
        random = self.random
        kind, symbol, name = random.choice(kinds), random.choice(self.symbols), f"act-{number}"
        at = minute(number)
        if kind == "SPLIT":
            action = corporate_action(name, "SPLIT", symbol, ts_ns=at, ratio=2)
            self.prices[symbol] /= 2
        elif kind == "REVERSE":
            amount = D(round(self.prices[symbol] / 0.3, 2)).quantize(D("0.01"))
            action = corporate_action(name, "SPLIT", symbol, ts_ns=at, ratio=D("0.3"), amount=amount)
            self.prices[symbol] /= 0.3
        elif kind == "THIRD":
            action = corporate_action(name, "SPLIT", symbol, ts_ns=at, ratio=D("0.333333333"))
            self.prices[symbol] *= 3
        elif kind in ("STOCK_MERGER", "MIXED_MERGER", "CASH_MERGER", "DELISTING"):
            action = self._ending(kind, symbol, number)
        elif kind == "SPIN_OFF" or kind in DISTRIBUTIONS:
            action = self._distribution(kind, symbol, number)
        elif kind == "CASH_DIVIDEND":
            action = corporate_action(name, "CASH_DIVIDEND", symbol, ts_ns=at, amount=D("0.37"))
        else:
            new = symbol + "X"
            action = corporate_action(name, "SYMBOL_CHANGE", symbol, ts_ns=at, new_symbol=new)
            self.prices[new] = self.prices.pop(symbol)
            self.symbols[self.symbols.index(symbol)] = new
        return action

    def _distribution(self, kind: str, symbol: str, number: int) -> CorporateAction:
        action = self._draw_distribution(kind, symbol, number)
        if self._distributed_left and action.new_symbol and action.new_symbol not in self.symbols:
            self._distributed_left -= 1
            self.symbols.append(action.new_symbol)
        return action

    def _draw_distribution(self, kind: str, symbol: str, number: int) -> CorporateAction:
        random, at, name = self.random, minute(number), f"act-{number}"
        if kind == "SPIN_OFF":
            new, cash = f"N{number}", random.choice((None, D(20)))
            self.prices[new] = 30.0
            return corporate_action(
                name,
                "SPIN_OFF",
                symbol,
                ts_ns=at,
                new_symbol=new,
                ratio=D("0.3"),
                cost_share=D("0.1"),
                amount=cash,
            )
        if kind == "STOCK_DIVIDEND":
            ratio, cash = random.choice((D("0.05"), D("0.333333333"))), random.choice((None, D(90)))
            return corporate_action(name, "STOCK_DIVIDEND", symbol, ts_ns=at, ratio=ratio, amount=cash)
        others = [one for one in self.symbols if one != symbol] if kind == "SPIN_OFF_OF_OTHER" else []
        new = others[0] if others else f"R{number}"
        self.prices.setdefault(new, 15.0)
        return corporate_action(
            name,
            "RIGHTS" if kind == "RIGHTS" else "SPIN_OFF",
            symbol,
            ts_ns=at,
            new_symbol=new,
            ratio=random.choice((D("0.25"), D("0.333333333"), D(2))),
            cost_share=D("0.15"),
            amount=random.choice((None, D(18))),
        )

    def _ending(self, kind: str, symbol: str, number: int) -> CorporateAction:
        """End a symbol. Its last price is what its holders receive for it. The last symbol does not end for cash."""
        random, at, name, price = self.random, minute(number), f"act-{number}", self.prices.pop(symbol)
        others = [one for one in self.symbols if one != symbol]
        if kind in ("CASH_MERGER", "DELISTING") and others:
            self.symbols.remove(symbol)
            ending: CorporateActionKind = "CASH_MERGER" if kind == "CASH_MERGER" else "DELISTING"
            return corporate_action(name, ending, symbol, ts_ns=at, amount=D(str(price)))
        cash = round(price / 4, 2) if kind == "MIXED_MERGER" else 0.0
        if others and random.random() < 0.5:
            new = others[0]
            self.symbols.remove(symbol)
        else:
            new = f"{symbol}M"
            self.symbols[self.symbols.index(symbol)], self.prices[new] = new, round((price - cash) / 0.5, 2)
        ratio = D(str((price - cash) / self.prices[new])).quantize(D("0.0001"))
        value = D(str(self.prices[new])).quantize(D("0.01"))
        cash_in_lieu = value if cash or random.random() < 0.7 else None
        return corporate_action(
            name,
            "STOCK_MERGER",
            symbol,
            ts_ns=at,
            new_symbol=new,
            ratio=ratio,
            amount=cash_in_lieu,
            cash_per_share=D(str(cash)) if cash else None,
        )
