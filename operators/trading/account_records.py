"""The records of a strategy's sub-account: StrategyAccount and StrategyPosition, each published when it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.money import ZERO
from operators.trading.accounts import SubAccount
from schemas.records import Record, StrategyAccount, StrategyPosition, StrategyState

VERSION = 1


class AccountRecords:
    """The last published records of one strategy. The `seq` of returned records continues from that of the caller."""

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy
        self._account: StrategyAccount | None = None
        self._positions: dict[str, StrategyPosition] = {}
        self._symbols: tuple[str, ...] = ()  # the universe for which `_positions` is complete
        self._ledger_seq = 0  # state of the ledger for which `_positions` is complete

    def changes(
        self,
        seq: int,
        ts_ns: int,
        state: StrategyState,
        account: SubAccount,
        symbols: tuple[str, ...],
        prices: Mapping[str, float],
    ) -> list[Record]:
        """Return the records that differ from the last published ones: positions by symbol, then the account.

        `symbols` is the universe. A symbol has a record if it is in the universe or was traded.
        """
        out: list[Record] = []
        for position in self._changed_positions(account, symbols):
            seq += 1
            out.append(position._replace(seq=seq, ts_ns=ts_ns))
        current = self._account_of(state, account, prices)
        if current != self._account:
            self._account = current
            out.append(current._replace(seq=seq + 1, ts_ns=ts_ns))
        return out

    def _changed_positions(self, account: SubAccount, symbols: tuple[str, ...]) -> list[StrategyPosition]:
        ledger_seq = account.ledger.seq
        if (symbols, ledger_seq) == (self._symbols, self._ledger_seq):
            return []
        examined = {position.symbol for position in account.ledger.positions()}
        examined.update(symbol for symbol, position in self._positions.items() if position.quantity)  # renamed ones
        if symbols != self._symbols:
            examined.update(symbols, self._symbols)
        self._symbols, self._ledger_seq = symbols, ledger_seq
        universe = frozenset(symbols)
        changed: dict[str, StrategyPosition] = {}
        for symbol in examined:
            current = self._position_of(symbol, account, symbol in universe)
            if current != self._positions.get(symbol):
                changed[symbol] = current
        self._positions |= changed
        return [changed[symbol] for symbol in sorted(changed)]

    def _position_of(self, symbol: str, account: SubAccount, in_universe: bool) -> StrategyPosition:
        position = account.ledger.position(symbol)
        return StrategyPosition(
            seq=0,
            ts_ns=0,
            strategy=self._strategy,
            symbol=symbol,
            in_universe=in_universe,
            quantity=ZERO if position is None else position.quantity,
            avg_price=account.entry_price(symbol) or ZERO,
            cost_basis=ZERO if position is None else position.cost,
            realized_pnl=ZERO if position is None else position.realized_pnl,
            fees=ZERO if position is None else position.fees,
        )

    def _account_of(self, state: StrategyState, account: SubAccount, prices: Mapping[str, float]) -> StrategyAccount:
        ledger, equity = account.ledger, account.equity(prices)
        capital = ledger.initial_cash + ledger.net_flows
        return StrategyAccount(
            seq=0,
            ts_ns=0,
            strategy=self._strategy,
            state=state,
            capital=capital,
            equity=equity,
            cash=ledger.cash,
            realized_pnl=ledger.realized_pnl + ledger.income,
            unrealized_pnl=equity - ledger.cash - ledger.accrued - ledger.cost,
            fees=ledger.fees,
            open_positions=sum(1 for position in ledger.positions() if position.quantity),
        )

    # -- state

    def snapshot(self) -> Any:
        account = None if self._account is None else tuple(self._account)
        return (
            VERSION,
            account,
            [tuple(position) for position in self._positions.values()],
            list(self._symbols),
            self._ledger_seq,
        )

    def restore(self, snapshot: Any) -> None:
        version, account, positions, symbols, ledger_seq = snapshot
        assert version == VERSION, f"account records snapshot: version {version}, expected {VERSION}"
        self._account = None if account is None else StrategyAccount(*account)
        self._positions = {one.symbol: one for one in (StrategyPosition(*values) for values in positions)}
        self._symbols, self._ledger_seq = tuple(symbols), ledger_seq
