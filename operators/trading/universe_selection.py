"""The rules that select a universe: by dollar volume, or the members that a file lists for the day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import fsum

from operators.strategies.trading_strategy import TradingStrategy
from operators.strategies.universe_rules import TopDollarVolume, UniverseFile, UniverseMember
from operators.trading.intervals import DAY_NS
from operators.trading.market import Market
from operators.trading.settings import TradingSettings
from operators.trading.symbol_names import EndedSymbol
from operators.trading.universe import SelectedUniverse, Selection, Universe
from schemas.errors import BadInput


class VolumeUniverse(SelectedUniverse):
    """The candidates with the highest dollar volume, as `TopDollarVolume` describes."""

    __slots__ = ("_rule",)

    def __init__(
        self,
        candidates: Iterable[str] | None,
        market: Market,
        rule: TopDollarVolume,
        has_position: Callable[[str], bool],
    ) -> None:
        super().__init__(candidates, market, rule.every, has_position)
        self._rule = rule

    def _choose(self, day: int) -> Selection:
        volumes, filtered = self._dollar_volumes()
        ranked = sorted(volumes, key=lambda symbol: (-volumes[symbol], symbol))
        figures = {symbol: {"filter": reason} for symbol, reason in filtered.items()}
        figures |= {
            symbol: {"rank": str(rank), "dollar_volume": f"{volumes[symbol]:.0f}"}
            for rank, symbol in enumerate(ranked, start=1)
        }
        return Selection(ranked[: self._rule.count], figures)

    def _dollar_volumes(self) -> tuple[dict[str, float], dict[str, str]]:
        """Return the average dollar volume of the candidates that pass the filters, and the filter of the others."""
        volumes: dict[str, float] = {}
        filtered: dict[str, str] = {}
        for symbol, one in self._market.symbols.items():
            if symbol not in self.known or symbol in self.names.distributed:
                continue
            if self.names.has_ended(symbol) and self._market.trades(symbol):
                continue  # the name of another company
            bars = one.histories[DAY_NS].arrays(self._rule.days)
            volume = fsum((bars["close"] * bars["volume"]).tolist()) / max(len(bars["close"]), 1)
            if self._market.is_retired(symbol):
                filtered[symbol] = "delisted"
            elif one.closed_bars(DAY_NS) < self._rule.min_history:
                filtered[symbol] = "min_history"
            elif self._market.prices.get(symbol, 0.0) < self._rule.min_price:
                filtered[symbol] = "min_price"
            elif not volume > 0:
                filtered[symbol] = "no_volume"
            else:
                volumes[symbol] = volume
        return volumes, filtered


class FileUniverse(SelectedUniverse):
    """The members that a file lists for the trading day. A member that was renamed is listed under its new symbol."""

    __slots__ = ("_file", "_members")

    def __init__(
        self,
        candidates: Iterable[str] | None,
        market: Market,
        rule: UniverseFile,
        members: Sequence[UniverseMember],
        has_position: Callable[[str], bool],
    ) -> None:
        names = {member.symbol for member in members}
        super().__init__(names if candidates is None else names.intersection(candidates), market, "1d", has_position)
        self._file, self._members = rule.path, members

    def _choose(self, day: int) -> Selection:
        chosen: set[str] = set()
        figures: dict[str, dict[str, str]] = {}
        for member in self._members:
            symbol = self._present_symbol(member)
            if symbol not in self.known:
                continue
            if symbol not in self or self._market.is_retired(symbol):
                figures[symbol] = {"file": self._file, "filter": "delisted"}
                continue
            figures.setdefault(symbol, {"file": self._file, "day": str(day)})
            if member.contains(day):
                chosen.add(symbol)
        return Selection(sorted(chosen), figures)

    def _present_symbol(self, member: UniverseMember) -> str:
        """Return the present symbol of a member; "" if only another company has its symbol now."""
        ended = self.names.ended.get(member.symbol)
        if ended is None or _is_of_later_company(member, ended):
            return member.symbol
        if ended.new_symbol:
            return self.names.current(ended.new_symbol) or ended.new_symbol
        return "" if ended.is_reused else member.symbol

    def _admits_reuse(self, symbol: str, ended: EndedSymbol) -> bool:
        is_listed = any(one.symbol == symbol and _is_of_later_company(one, ended) for one in self._members)
        return is_listed or super()._admits_reuse(symbol, ended)


def _is_of_later_company(member: UniverseMember, ended: EndedSymbol) -> bool:
    """Whether a row of the file begins after the end of its symbol, so that it names another company."""
    return bool(ended.day) and member.from_day >= ended.day


def candidates_of(strategy: TradingStrategy, settings: TradingSettings) -> tuple[str, ...] | None:
    """Return the symbols that a strategy can ever trade; None for every symbol that has a bar.

    Raises BadInput if its universe is a file whose members are not in the settings.
    """
    symbols = None if strategy.symbols is None else tuple(strategy.symbols)
    if not isinstance(strategy.universe, UniverseFile):
        return settings.universe if symbols is None else symbols
    members = members_of(strategy.universe, settings)
    return tuple(sorted({member.symbol for member in members if symbols is None or member.symbol in symbols}))


def members_of(rule: UniverseFile, settings: TradingSettings) -> tuple[UniverseMember, ...]:
    """Return the members of a file. Raises BadInput if they are not in the settings."""
    members = settings.universe_files.get(rule.path)
    if members is None:
        raise BadInput(f"universe file {rule.path} has not been read")
    return members


def new_universe(
    strategy: TradingStrategy,
    candidates: Sequence[str] | None,
    market: Market,
    settings: TradingSettings,
    has_position: Callable[[str], bool],
) -> Universe:
    """Return the universe of a strategy. `has_position` returns whether it has a position in a symbol."""
    rule = strategy.universe
    if rule is None:
        return Universe(candidates, market)
    if isinstance(rule, UniverseFile):
        return FileUniverse(candidates, market, rule, members_of(rule, settings), has_position)
    return VolumeUniverse(candidates, market, rule, has_position)
