"""A desk of trading strategies, a view strategy and a person, who act at random over two symbols.

The books of each service are compared after every time slice: what the portfolio holds for each strategy, the
sub-accounts of risk and of the strategies, attribution, and books that share no code with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

from deploy.verification.strategy_books import StrategyBooks
from operators.feedback import FeedbackSettings
from operators.feedback.stage import FeedbackStage
from operators.reference_data import split_merger
from operators.risk import RiskSettings
from operators.risk.margin import MarginClass, MarginSettings
from operators.strategy_limits import StrategyLimits
from operators.trading.accounts import REMAINDER
from operators.venue import VenueSettings
from schemas.records import (
    TOPIC_OF,
    Attribution,
    CashFlow,
    CorporateAction,
    Execution,
    InternalCross,
    OrderProposal,
    Record,
    Signal,
    SymbolState,
    TradingStatus,
    Valuation,
)
from tests.builders import command, signal, trading_status
from tests.unit.random_actions import ACTIONS, RandomActions
from tests.unit.trading_desk import CAPITAL, TradingDesk, price_bar
from tests.unit.trading_harness import Scripted, minute

D = Decimal
NAMES = ("alpha", "mid", "zeta")
SYMBOLS = ("KO", "PEP")
_FEEDBACK_TOPICS = (
    "reference-data",
    "market-bars",
    "signals",
    "strategy-actions",
    "executions",
    "positions",
    "valuations",
    "order-proposals",
)
_MARGIN_CLASS = MarginClass(
    initial_long=D(9), initial_short=D(9), maintenance_long=D("8.9"), maintenance_short=D("8.9")
)
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class Acting(Scripted):
    """Call the methods of `ctx` that the tape lists for the minute."""

    def __init__(self, name: str, tape: Sequence[Sequence[Call]]) -> None:
        super().__init__(lambda ctx, number: None)
        self.name, self._tape = name, tuple(tuple(one) for one in tape)

    def on_slice(self, ctx: Any) -> None:
        number = int((ctx.time - minute(0)) // (minute(1) - minute(0)))
        for method, arguments, options in self._tape[number - 1] if number <= len(self._tape) else ():
            if method == "amend" or method == "cancel_one":
                orders = ctx.orders()
                if orders:
                    order = orders[arguments[0] % len(orders)]
                    if method == "cancel_one":
                        ctx.cancel(order.id)
                    else:
                        ctx.amend(order.id, quantity=max(1, order.filled + arguments[1]))
            elif method == "trade_distributed":
                held = [one for one in ctx._universe.names.distributed if one in ctx._universe]
                if held:
                    call, *values = arguments[1:]
                    getattr(ctx, call)(held[arguments[0] % len(held)], *values)
            elif method == "raise":
                raise ValueError("as the tape says")
            else:
                # The newest name of a renamed symbol, or the other one after a merger
                named = [one for one in ctx.universe if one.startswith(arguments[0])] or list(ctx.universe)
                getattr(ctx, method)(max(named, key=len), *arguments[1:], **options)


def random_call(random: Random) -> Call:
    symbol, units = random.choice(SYMBOLS), random.randint(1, 40)
    side, price = random.choice(("BUY", "SELL")), round(100 * random.uniform(0.95, 1.05), 2)
    kind = random.randrange(13)
    if kind <= 2:
        return ("target_quantity", (symbol, random.randint(-40, 40)), {})
    if kind == 3:
        return ("target_weight", (symbol, round(random.uniform(-0.1, 0.1), 3)), {})
    if kind == 4:
        return ("target_view", (symbol, random.choice((-1, 0, 1)), 0.5), {})
    if kind == 5:
        return ("submit", (symbol, side, units), {})
    if kind == 6:
        return ("submit", (symbol, side, units), {"limit_price": price, "time_in_force": "GTC"})
    if kind == 7:
        up = 1 if side == "BUY" else -1
        exits = {"take_profit": round(price + up * 5, 2), "stop_loss": round(price - up * 5, 2)}
        return ("submit", (symbol, side, units), {"limit_price": price, **exits})
    if kind == 8:
        return ("submit", (symbol, side, units), {"reduce_only": True})
    if kind == 9:
        return ("submit", (symbol, side, units), {"limit_price": price, "group": "g", "time_in_force": "GTC"})
    if kind == 10:
        return ("amend", (random.randrange(9), units), {})
    if kind == 11:
        return ("cancel_one", (random.randrange(9),), {})
    return ("close", (symbol,), {})


def distributed_call(random: Random) -> Call:
    """Return a call that trades shares which a spin-off has distributed."""
    units = random.randint(1, 12)
    trade = random.choice((("close",), ("target_quantity", units), ("submit", random.choice(("BUY", "SELL")), units)))
    return ("trade_distributed", (random.randrange(9), *trade), {})


class RandomDesk:
    """One run of a seed. `actions` are the kinds of corporate actions that can occur.

    With `removals`, the settings sometimes lose a strategy and sometimes name it again. With `margin`, risk reduces the
    positions whenever they are worth more than a ninth of the equity. With `often`, corporate actions come every four
    minutes. With `distributed`, strategies trade distributed shares, which have corporate actions too, and the view
    strategy has limits, and therefore a sub-account.
    """

    def __init__(
        self,
        seed: int,
        minutes: int = 40,
        *,
        actions: Sequence[str] = ACTIONS,
        restore: bool = False,
        errors: bool = True,
        removals: bool = False,
        margin: bool = False,
        often: bool = False,
        distributed: bool = False,
        names: Sequence[str] = NAMES,
    ) -> None:
        self.random = random = Random(seed)
        self.names, self._restores = tuple(names), restore
        self._limits = {"view": StrategyLimits(max_position_size=D(2_000))} if distributed else {}
        self.present, self._removals, self._margin = self.names, removals, margin
        self._action_chance = 0.25 if often else 0.08
        tapes: dict[str, list[list[Call]]] = {name: [] for name in names}
        for name in names:
            for _ in range(minutes):
                calls = [random_call(random) for _ in range(random.choice((0, 0, 0, 1, 1, 2)))]
                if distributed and random.random() < 0.4:
                    calls.append(distributed_call(random))
                if errors and random.random() < 0.02:
                    calls.append(("raise", (), {}))
                tapes[name].append(calls)
        self._tapes, self._minutes, self._kinds = tapes, minutes, actions
        self.participation = D(random.choice(("0.003", "0.01", "1")))
        self.flatten = [name for name in names if random.random() < 0.5]
        self.desk = self._new_desk(self.names)
        self.feedback = self._new_feedback()
        self.books = StrategyBooks(CAPITAL, lambda symbol: D(1), lambda currency, ts_ns: D(1), (*names, *self._limits))
        self._late: list[Record] = []
        self.actions: dict[str, CorporateAction] = {}
        self._random_actions = RandomActions(random, SYMBOLS, 100.0, distributed_max=2 if distributed else 0)
        self.prices, self.symbols = self._random_actions.prices, self._random_actions.symbols
        self.inputs: list[Record] = []
        self._signal_seq = 0

    def _new_desk(self, names: Sequence[str]) -> TradingDesk:
        limits = (
            RiskSettings.unlimited(initial_capital=CAPITAL, margin=MarginSettings(classes=(_MARGIN_CLASS,)))
            if self._margin
            else None
        )
        return TradingDesk(
            *(Acting(name, self._tapes[name]) for name in names),
            venue=VenueSettings(max_volume_share=self.participation),
            flatten_on_error=[name for name in self.flatten if name in names],
            risk=limits,
            limits=self._limits,
        )

    def _new_feedback(self) -> FeedbackStage:
        settings = FeedbackSettings(attribution_interval_s=60, weights_interval_s=0)
        return FeedbackStage(settings, ("view",), slippage_bps=0.0, trading=(*self.present, *self._limits))

    def run(self) -> None:
        for number in range(1, self._minutes + 1):
            self.step(number)

    def step(self, number: int) -> None:
        random = self.random
        reference = self._reference(number)
        for symbol in self.prices:
            self.prices[symbol] = round(self.prices[symbol] * random.uniform(0.985, 1.015), 2)
        inputs: list[Record] = [*reference, *self._people(number), *self._signals(number)]
        seen, desk = len(self.desk.records), self.desk
        desk.step(1, *inputs, **self.prices)
        published = desk.records[seen:]
        (valuation,) = (one for one in published if type(one) is Valuation)
        bars = [price_bar(one, number, valuation.ts_ns, price) for one, price in sorted(self.prices.items())]
        sorted_inputs = sorted([*inputs, *bars, *published], key=_rank)
        rows = self.feedback.on_slice(
            valuation.ts_ns, [one for one in sorted_inputs if _rank(one) < len(_FEEDBACK_TOPICS)]
        )
        self.inputs += [*inputs, *bars]
        self._book(published, reference, valuation.ts_ns)
        self.check(number, valuation, [one for one in rows if type(one) is Attribution])
        if self._removals and random.random() < 0.1:
            self.present = tuple(name for name in self.names if random.random() < 0.7)
            self.restore()
        elif self._restores:
            self.restore()

    def restore(self) -> None:
        """Continue with the state of all services, as after a restart with the present strategies."""
        after = self._new_desk(self.present)
        after.restore(self.desk.snapshot())
        after.minute, after.records = self.desk.minute, self.desk.records
        self.desk = after
        feedback = self._new_feedback()
        feedback.restore(self.feedback.snapshot())
        self.feedback = feedback

    # -- inputs

    def _people(self, number: int) -> list[Record]:
        random, out = self.random, list[Record]()
        if random.random() < 0.15:
            arguments = {"symbol": random.choice(self.symbols), "side": random.choice(("BUY", "SELL"))}
            arguments["quantity"] = str(random.randint(1, 50))
            out.append(command(f"cmd-{number}", 1, "SUBMIT_ORDER", arguments))
        if random.random() < 0.2:
            out.append(command(f"cmd-r{number}", 1, "RESUME_STRATEGY", {"strategy": random.choice(self.names)}))
        return out

    def _signals(self, number: int) -> list[Record]:
        if self.random.random() > 0.15:
            return []
        self._signal_seq += 1
        symbol, direction = self.random.choice(self.symbols), self.random.choice((-1, 0, 1))
        return [signal(symbol, self._signal_seq, minute(number), 1.0, direction, strategy="view", price=100.0)]

    def _reference(self, number: int) -> list[Record]:
        random = self.random
        if random.random() < 0.08:
            state: SymbolState = random.choice(("HALTED", "TRADING"))
            return [trading_status(random.choice(self.symbols), state, minute(number))]
        if not self._kinds or random.random() > self._action_chance:
            return []
        action = self._random_actions.draw(self._kinds, number)
        for part in split_merger(action):
            assert isinstance(part, CorporateAction)
            self.actions[part.action_id] = part
        return [action]

    # -- independent books

    def _book(self, published: Sequence[Record], reference: Sequence[Record], ts_ns: int) -> None:
        for record in self._late:
            if type(record) is OrderProposal:
                self.books.record_proposal(record)
            elif type(record) is InternalCross:
                self.books.book_cross(record)
        self._late = [one for one in published if type(one) in (OrderProposal, InternalCross)]
        flows = {one.cause_id: one for one in published if type(one) is CashFlow}
        parts = [part for one in reference if type(one) is CorporateAction for part in split_merger(one)]
        for action in parts:
            assert isinstance(action, CorporateAction)
            kind = "DIVIDEND" if action.kind == "CASH_DIVIDEND" else action.kind
            missing = CashFlow(0, ts_ns, "", kind, action.symbol, D(0), D(0), action.action_id, D(0))
            flow = flows.pop(action.action_id, missing)
            self.books.book_flow(flow, action, in_account=flow is not missing)
        for flow in flows.values():
            self.books.book_flow(flow, self.actions.get(flow.cause_id))
        for record in published:
            if type(record) is Execution:
                self.books.book_execution(record)

    # -- comparison

    def held(self) -> dict[str, dict[str, Decimal]]:
        """Return what the portfolio holds, by symbol and strategy, without zeros."""
        targets = self.desk.portfolio._trading.targets
        return _without_zeros({s: {n: t.held for n, t in by_name.items()} for s, by_name in targets.items()})

    def check(self, number: int, valuation: Valuation, rows: Sequence[Attribution]) -> None:
        held = self.held()
        risk = self.desk._loop._risk._strategy_orders._accounts._positions  # type: ignore[attr-defined]
        assert _without_zeros(risk) == held, f"minute {number}: risk and portfolio"
        attributed = {
            symbol: {name: one.quantity for name, one in book.positions.items()}
            for symbol, book in self.feedback._book._attributions.items()
        }
        assert _without_zeros(attributed) == held, f"minute {number}: attribution and portfolio"
        self._check_profits(number, rows)
        accounts = self.desk.strategies.accounts()
        for row in accounts[:-1]:
            naive = self.books.owner(row.strategy)
            names = {*row.quantities, *naive.lots}
            for symbol in names:
                found = row.quantities.get(symbol, D(0))
                assert Fraction(found) == naive.quantity(symbol), f"minute {number}: {row.strategy} {symbol}"
            assert abs(Fraction(row.cash - CAPITAL) - naive.cash) < naive.tolerance(), f"minute {number}: cash"
            assert abs(Fraction(row.fees) - naive.fees) < naive.tolerance(), f"minute {number}: fees"
        assert accounts[-1].strategy == REMAINDER
        assert sum((row.cash for row in accounts), D(0)) == valuation.cash, f"minute {number}"
        assert sum((row.fees for row in accounts), D(0)) == valuation.fees, f"minute {number}"
        assert sum((row.equity for row in accounts), D(0)) == valuation.equity, f"minute {number}: equity"
        total = valuation.realized_pnl + valuation.unrealized_pnl - valuation.fees
        assert sum((row.profit for row in accounts), D(0)) == total, f"minute {number}: profit"
        assert sum((one.realized_pnl + one.cash_flows for one in rows), D(0)) == valuation.realized_pnl
        assert sum((one.unrealized_pnl for one in rows), D(0)) == valuation.unrealized_pnl
        assert "unattributed" not in {one.strategy for one in rows}, f"minute {number}"
        for symbol in {*held, *(one.symbol for one in self.desk.portfolio.ledger.positions())}:
            position = self.desk.portfolio.ledger.quantity(symbol)
            assert sum(held.get(symbol, {}).values(), D(0)) == position, f"minute {number}: {symbol} held"

    def _check_profits(self, number: int, rows: Sequence[Attribution]) -> None:
        """The attributed profit of each trading strategy is that of its sub-account in risk, at the same marks."""
        booked = self.desk._loop._risk._strategy_orders._accounts.rows(self.desk.portfolio.marks.prices)  # type: ignore[attr-defined]
        profits = {row.strategy: row.profit for row in booked}
        for one in rows:
            if one.strategy in profits:
                attributed = one.realized_pnl + one.unrealized_pnl + one.cash_flows - one.fees
                difference = abs(attributed - profits[one.strategy])
                # The last of nine decimals of a quantity, at the highest price
                tolerance = D("1e-8") * D(str(max(100.0, *self.prices.values())))
                assert difference < tolerance, f"minute {number}: profit of {one.strategy} differs by {difference}"


def _without_zeros(books: dict[str, dict[str, Decimal]]) -> dict[str, dict[str, Decimal]]:
    out = {symbol: {name: units for name, units in one.items() if units} for symbol, one in books.items()}
    return {symbol: one for symbol, one in out.items() if one}


def _rank(record: Record) -> int:
    if type(record) is TradingStatus:
        return 0
    topic = "signals" if type(record) is Signal else TOPIC_OF[type(record)]
    return _FEEDBACK_TOPICS.index(topic) if topic in _FEEDBACK_TOPICS else len(_FEEDBACK_TOPICS)
