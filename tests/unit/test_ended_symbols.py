"""After a rename, merger or delisting, a strategy sees the new name in the old one's place, and orders only there."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from configs.universe_files import universe_members
from operators.strategies import TopDollarVolume, TradingStrategy, UniverseFile
from operators.strategies.dual_momentum import DualMomentum
from operators.strategies.pairs_reversion import PairsReversion
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.records import (
    BUY,
    DELISTING,
    STOCK_MERGER,
    SUSPENDED,
    SYMBOL_CHANGE,
    TARGET_QUANTITY,
    TARGET_WEIGHT,
    Record,
    StrategyAction,
)
from tests.builders import corporate_action, fundamentals, sentiment_score
from tests.unit.strategy_tapes import tape_of
from tests.unit.test_trading_universe import Rotation, slices_of
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Scripted, closes, feed, minute, notes, run, stage_of

RENAME = corporate_action("r", SYMBOL_CHANGE, "FB", new_symbol="META")
DELISTED = corporate_action("d", DELISTING, "FB", amount=1)
MERGER = corporate_action("m", STOCK_MERGER, "FB", new_symbol="META", ratio="0.5")
SYMBOLS = ("KO", "FB", "AAPL")


def tape(*changes: Record, later: str = "META", slices: int = 5) -> list[list[Record]]:
    """Two minutes of the declared symbols, then `changes`. From there on, `later` trades instead of FB."""
    out: list[list[Record]] = []
    for number in range(1, slices + 1):
        prices = {"AAPL": 50.0, "KO": 60.0, "FB" if number < 3 else later: 300.0 + number}
        out.append([*(changes if number == 3 else ()), *closes(number, **prices)])
    return out


def seen(ctx: Any, number: int) -> None:
    ctx.note(f"{' '.join(ctx.universe)} | {' '.join(ctx.symbols)} | {' '.join(ctx.closed())} | {ctx.current('FB')}")


@pytest.mark.parametrize(
    ("change", "later", "expected"),
    [
        (RENAME, "META", "AAPL META KO | KO META AAPL | AAPL META KO | META"),
        (MERGER, "META", "AAPL META KO | KO META AAPL | AAPL META KO | META"),
        (DELISTED, "OTHER", "AAPL KO | KO AAPL | AAPL KO | None"),
        (RENAME._replace(new_symbol="KO"), "OTHER", "AAPL KO | KO AAPL | AAPL KO | KO"),
    ],
)
def test_the_universe_has_the_new_name_in_the_place_of_the_old_one(change: Record, later: str, expected: str) -> None:
    actions = run(Scripted(seen, symbols=SYMBOLS), tape(change, later=later))
    assert notes(actions) == ["AAPL FB KO | KO FB AAPL | AAPL FB KO | FB"] * 2 + [expected] * 3


def test_a_symbol_keeps_its_place_through_several_changes_and_back() -> None:
    changes = [RENAME, RENAME._replace(action_id="r2", symbol="META", new_symbol="ZZ")]
    back = RENAME._replace(action_id="r3", symbol="ZZ", new_symbol="FB")
    stage = stage_of(Scripted(seen, symbols=SYMBOLS))
    last: list[Record] = [back, *closes(6, AAPL=50.0, FB=1.0, KO=60.0)]
    slices = [*tape(*changes, later="ZZ"), last]
    found = notes(feed(stage, slices))
    assert found[-2:] == ["AAPL ZZ KO | KO ZZ AAPL | AAPL ZZ KO | ZZ", "AAPL FB KO | KO FB AAPL | AAPL FB KO | FB"]


def test_each_declared_company_is_followed_when_another_one_takes_over_its_name_and_changes_it_again() -> None:
    """FB becomes META, then KO becomes FB, then this FB becomes NEW."""
    changes = [
        RENAME,
        RENAME._replace(action_id="r2", symbol="KO", new_symbol="FB"),
        RENAME._replace(action_id="r3", symbol="FB", new_symbol="NEW"),
    ]
    names = [("FB", "KO"), ("META", "KO"), ("META", "FB"), ("META", "NEW")]
    slices: list[list[Record]] = [
        [*changes[max(0, number - 2) : number - 1], *closes(number, AAPL=50.0, **dict.fromkeys(pair, 60.0))]
        for number, pair in enumerate(names, start=1)
    ]

    def create() -> Scripted:
        return Scripted(lambda ctx, number: ctx.note(" ".join(ctx.symbols)), symbols=SYMBOLS)

    assert notes(run(create(), slices)) == ["KO FB AAPL", "KO META AAPL", "FB META AAPL", "NEW META AAPL"]
    assert restarted(create, slices) == run(create(), slices)


def test_the_old_name_has_no_data_and_the_new_one_continues_that_of_the_company() -> None:
    def act(ctx: Any, number: int) -> None:
        for symbol in ("FB", *(("META",) if number > 2 else ())):
            bar, filing, score = ctx.bar(symbol), ctx.fundamentals(symbol), ctx.sentiment(symbol)
            ctx.note(
                f"{symbol} {bar and bar.close:g} {ctx.price(symbol)} {len(ctx.history(symbol)['close'])} "
                f"{filing and filing.fundamentals_id} {score and score.score} {ctx.prediction(symbol)} "
                f"{ctx.feature(symbol, 'sma_2')} {ctx.position(symbol):g} {ctx.orders(symbol)}"
                if bar
                else f"{symbol} None {ctx.price(symbol)} {len(ctx.history(symbol)['close'])} {filing} {score}"
            )

    slices = tape(RENAME, slices=3)
    slices[1] += [fundamentals("f", symbol="FB"), sentiment_score(1, minute(2), "FB", 0.5)]
    found = notes(run(Scripted(act, symbols=SYMBOLS, history={"1m": 3}, features=("sma_2",)), slices))
    assert found[1:] == [
        "FB 302 302.0 2 f 0.5 None None 0 []",
        "FB None None 0 None None",
        "META 303 303.0 1 f 0.5 None None 0 []",
    ]


def test_the_filings_of_a_merged_company_are_not_those_of_the_acquirer() -> None:
    def act(ctx: Any, number: int) -> None:
        if number == 3:
            ctx.note(str(ctx.fundamentals("META")))

    slices = tape(MERGER, slices=3)
    slices[1].append(fundamentals("f", symbol="FB"))
    assert notes(run(Scripted(act, symbols=SYMBOLS), slices)) == ["None"]


ORDERS = {
    "submit": lambda ctx: ctx.submit("FB", BUY, 1),
    "target_weight": lambda ctx: ctx.target_weight("FB", 0.1),
    "target_quantity": lambda ctx: ctx.target_quantity("FB", 1),
    "target_view": lambda ctx: ctx.target_view("FB", 1),
    "close": lambda ctx: ctx.close("FB"),
}


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (RENAME, "FB is META since 2024-01-02; an order must name META"),
        (MERGER, "FB is META since 2024-01-02; an order must name META"),
        (DELISTED, "FB was delisted on 2024-01-02; an order must name a symbol of ctx.universe"),
    ],
)
def test_an_order_under_the_old_name_is_an_error_in_one_sentence(change: Record, sentence: str, order: str) -> None:
    actions = run(
        Scripted(lambda ctx, number: ORDERS[order](ctx) if number == 3 else None, symbols=SYMBOLS), tape(change)
    )
    if (change, order) == (DELISTED, "close"):
        assert actions == [], "nothing is left of a delisted symbol"
        return
    [suspension] = actions
    assert (suspension.kind, suspension.arguments["error_type"]) == (SUSPENDED, "SymbolEnded")
    assert suspension.arguments["message"] == sentence


def reused() -> list[list[Record]]:
    """FB becomes META, and another company trades as FB from the fifth minute on."""
    out = tape(RENAME, slices=4)
    for number in (5, 6):
        out.append([*closes(number, AAPL=50.0, FB=9.0, META=304.0)])
    return out


def test_another_company_under_the_old_name_is_not_the_declared_symbol() -> None:
    def act(ctx: Any, number: int) -> None:
        ctx.note(f"{' '.join(ctx.closed())} {ctx.bar('FB') and ctx.bar('FB').close:g}" if number < 3 else "later")
        if number > 4:
            ctx.note(f"{' '.join(ctx.universe)} | {' '.join(ctx.closed())} {ctx.bar('FB')} {ctx.price('FB')}")
        if number == 6:
            ctx.submit("FB", BUY, 1)

    actions = run(Scripted(act, symbols=SYMBOLS), reused())
    assert [one for one in notes(actions) if "|" in one] == ["AAPL META KO | AAPL META None None"]
    assert actions[-1].arguments["message"] == "FB is META since 2024-01-02; an order must name META"


def test_a_bar_of_another_company_under_the_old_name_calls_no_handler() -> None:
    slices = tape(RENAME, slices=3)
    slices += [[*closes(4, FB=9.0)], [*closes(5, META=1.0)]]
    actions = run(Scripted(lambda ctx, number: ctx.note(f"{number} {ctx.closed()}"), symbols=("FB",)), slices)
    assert notes(actions) == ["1 ('FB',)", "2 ('FB',)", "3 ('META',)", "4 ('META',)"]


def test_a_universe_of_all_symbols_contains_the_other_company() -> None:
    def act(ctx: Any, number: int) -> None:
        ctx.note(" ".join(ctx.universe))
        if number == 6:
            ctx.submit("FB", BUY, 1)

    actions = run(Scripted(act, symbols=None), reused())
    assert notes(actions)[1:] == ["AAPL FB KO", "AAPL META KO", "AAPL META KO", "AAPL FB META KO", "AAPL FB META KO"]
    assert actions[-1].arguments["side"] == BUY


def test_a_symbol_without_bars_before_its_change_may_be_another_company() -> None:
    """The change is older than the tape: FB trades, so that it is the company of today."""
    old = RENAME._replace(ex_date=20220609)
    actions = run(Scripted(seen, symbols=("FB", "KO")), [[old, *closes(1, FB=1.0, KO=2.0)]])
    assert notes(actions) == ["FB META KO | FB KO | FB KO | FB"]
    actions = run(Scripted(seen, symbols=("FB", "KO")), [[old, *closes(1, META=1.0, KO=2.0)]])
    assert notes(actions) == ["META KO | META KO | META KO | META"]


class Handling(TradingStrategy):
    symbols = SYMBOLS

    def on_event(self, ctx: Any, event: Any) -> None:
        ctx.note(f"{event.kind} {event.symbol} {ctx.current(event.symbol)} {' '.join(ctx.universe)}")
        assert ctx.price(event.symbol) in (302.0, 604.0), "its last price, converted by a merger"

    def on_slice(self, ctx: Any) -> None:
        assert (ctx.price("FB") is None) is (ctx.current("FB") != "FB")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (RENAME, ["SYMBOL_CHANGE FB META AAPL META KO"]),
        (MERGER, ["SPLIT FB META AAPL META KO", "SYMBOL_CHANGE FB META AAPL META KO"]),
        (DELISTED, ["DELISTING FB None AAPL KO"]),
    ],
)
def test_the_strategy_receives_the_change_after_its_universe_has_changed(change: Record, expected: list[str]) -> None:
    assert notes(run(Handling(), tape(change))) == expected


def test_an_event_of_another_company_under_the_old_name_is_not_received() -> None:
    slices = reused()
    dividend = corporate_action("c", "CASH_DIVIDEND", "FB", amount=1)
    slices[-1].insert(0, dividend)
    assert notes(run(Handling(), slices)) == ["SYMBOL_CHANGE FB META AAPL META KO"]


def restarted(strategy: Any, slices: Sequence[Sequence[Record]], **settings: Any) -> list[StrategyAction]:
    """Run a strategy with a restart before each time slice."""
    stage, actions = stage_of(strategy(), **settings), []
    for number, records in enumerate(slices, start=1):
        state = pickle.dumps(stage.snapshot())
        stage = stage_of(strategy(), **settings)
        stage.restore(pickle.loads(state))  # noqa: S301  (written above)
        actions += feed(stage, [records], number)
    return actions


@pytest.mark.parametrize("symbols", [SYMBOLS, None])
def test_a_restart_in_any_time_slice_changes_nothing(symbols: Any) -> None:
    def create() -> Scripted:
        return Scripted(seen, symbols=symbols, name="seen", features=("beta_2(FB)",))

    assert restarted(create, reused()) == run(create(), reused())


def test_a_snapshot_of_an_earlier_release_ends_the_symbols_that_the_market_has_retired() -> None:
    """Before version 3, the state of a universe was the list of its symbols, with old and new ones."""
    slices = tape(RENAME)
    stage = stage_of(Scripted(seen, symbols=SYMBOLS, name="seen"))
    feed(stage, slices[:3])
    version, counts, market, accounts, reference, strategies, *rest = stage.snapshot()
    running = list(strategies["seen"])
    assert running[4][0] == 3, "the state of the universe"
    running[4] = ["AAPL", "FB", "KO", "META"]
    older = stage_of(Scripted(seen, symbols=SYMBOLS, name="seen"))
    older.restore((version, counts, market, accounts, reference, {"seen": tuple(running)}, *rest))
    assert notes(feed(older, slices[3:4], 4)) == ["AAPL KO META | KO AAPL | AAPL KO META | None"]


def test_a_strategy_that_is_added_after_the_change_does_not_see_the_old_name() -> None:
    stage = stage_of(Scripted(seen, symbols=SYMBOLS, name="first"))
    feed(stage, tape(RENAME)[:3])
    added = stage_of(Scripted(seen, symbols=SYMBOLS, name="first"), Scripted(seen, symbols=("FB", "KO"), name="second"))
    added.restore(stage.snapshot())
    assert notes(feed(added, tape(RENAME)[3:4], 4))[1] == "KO | KO | KO | None"


def test_beta_to_a_renamed_benchmark_and_of_a_renamed_symbol_continues() -> None:
    prices = [(300.0, 60.0), (303.0, 61.0), (301.0, 60.0), (306.0, 62.0), (308.0, 61.0)]

    def values(benchmark: str, renamed: bool) -> list[str]:
        def act(ctx: Any, number: int) -> None:
            ctx.note(f"{ctx.feature(ctx.current('KO'), f'beta_2({benchmark})')}")

        slices: list[list[Record]] = []
        for number, (first, second) in enumerate(prices, start=1):
            after = renamed and number > 2
            slices.append([*closes(number, **{"META" if after else "FB": first, "PEP" if after else "KO": second})])
        if renamed:
            slices[2][:0] = [RENAME, RENAME._replace(action_id="k", symbol="KO", new_symbol="PEP")]
        return notes(run(Scripted(act, symbols=("KO",), features=(f"beta_2({benchmark})",)), slices))

    expected = values("FB", renamed=False)
    assert expected[2] != "None" and values("FB", renamed=True) == expected


def test_on_error_flatten_closes_the_position_under_the_new_name() -> None:
    def act(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.target_quantity("FB", 10)
        assert number < 5, "fails"

    desk = TradingDesk(Scripted(act, symbols=SYMBOLS, name="own"), flatten_on_error=("own",))
    desk.step(2, AAPL=50.0, FB=300.0, KO=60.0)
    desk.step(1, RENAME, AAPL=50.0, META=300.0, KO=60.0)
    assert desk.position("META") == 10
    desk.step(3, AAPL=50.0, META=300.0, KO=60.0)
    assert [(symbol, quantity) for _, symbol, quantity, _ in desk.trades()] == [("FB", 10), ("META", -10)]


@pytest.mark.parametrize("kind", ["SPIN_OFF", "RIGHTS"])
def test_distributed_shares_can_be_read_and_sold_and_are_no_symbol_of_the_universe(kind: Any) -> None:
    class Selling(TradingStrategy):
        symbols = ("KO",)

        def on_slice(self, ctx: Any) -> None:
            ctx.note(f"{' '.join(ctx.universe)} | {' '.join(ctx.closed())}")
            if not ctx.state.get("entered"):
                ctx.state["entered"] = ctx.submit("KO", BUY, 10)

        def on_event(self, ctx: Any, event: Any) -> None:
            ctx.note(f"{ctx.position(event.new_symbol):g} at {ctx.price(event.new_symbol):g}")
            ctx.close(event.new_symbol)

    distribution = corporate_action("s", kind, "KO", new_symbol="SPIN", ratio="0.5", cost_share="0.2")
    desk = TradingDesk(Selling())
    desk.step(2, KO=100.0)
    desk.step(1, distribution, KO=90.0, SPIN=20.0)
    state = desk.snapshot()
    restored = TradingDesk(Selling())
    restored.restore(state)
    for one in (desk, restored):
        one.minute = 3
        one.step(2, KO=90.0, SPIN=20.0)
        assert one.trades()[-1][1:3] == ("SPIN", -5.0)
        assert not [action for action in one.strategy_actions() if action.kind == SUSPENDED]
    assert desk.notes()[2].startswith("5 at ") and set(desk.notes()) - {desk.notes()[2]} == {"KO | KO"}


def test_a_selected_symbol_is_replaced_and_a_delisted_one_leaves_at_once() -> None:
    slices = [(ts_ns, [*records]) for ts_ns, records in slices_of([{"A": 4.0, "B": 3.0, "C": 1.0}] * 3)]
    rename = corporate_action("r", SYMBOL_CHANGE, "A", ex_date=20240103, new_symbol="Z")
    delisting = corporate_action("d", DELISTING, "B", ex_date=20240103)
    changed: list[tuple[int, list[Any]]] = [
        (ts_ns, [one._replace(symbol="Z") if one.symbol == "A" and index > 3 else one for one in records])
        for index, (ts_ns, records) in enumerate(slices)
    ]
    changed[4][1][:0] = [rename, delisting]
    strategy: Any = Rotation(TopDollarVolume(count=2, min_history=1, days=1, every="1w"))
    strategy.symbols = ("A", "B", "C")
    stage, found = TradingStrategyStage([strategy]), []
    for ts_ns, records in changed:
        found += [one for one in stage.on_slice(ts_ns, records) if type(one) is StrategyAction]
    assert [one for one in notes(found) if one.startswith("universe")] == ["universe", "universe A B", "universe Z"]


def test_a_file_can_list_the_old_name_the_new_one_and_later_another_company(tmp_path: Path) -> None:
    file = tmp_path / "universe.csv"
    file.write_text("symbol,from,to\nA,,2024-01-03\nD,2024-01-04,\nA,2024-01-08,\n")
    strategy: Any = Rotation(UniverseFile(str(file)))
    strategy.symbols = None
    stage = TradingStrategyStage([strategy], TradingSettings(universe_files=universe_members([strategy])))
    rename = corporate_action("r", SYMBOL_CHANGE, "A", ex_date=20240104, new_symbol="D")
    found: list[StrategyAction] = []
    for ts_ns, records in slices_of([{"A": 1.0, "D": 1.0, "E": 1.0}] * 6):
        day = records[0].trading_day
        traded = {one.symbol: one for one in records}
        present = [traded["E"], traded["D"] if day >= 20240104 else traded["A"]]
        present += [traded["A"]] if day >= 20240108 else []
        out = stage.on_slice(ts_ns, [rename, *present] if day == 20240104 else present)
        found += [one for one in out if type(one) is StrategyAction]
    assert [one for one in notes(found) if one.startswith("universe")] == ["universe A", "universe D", "universe A D"]


def test_pairs_reversion_trades_under_the_new_name_and_leaves_when_a_symbol_is_delisted() -> None:
    """PEP is renamed to COLA after three minutes. KO is delisted in each of the later ones."""
    left = 0
    for last in range(6, 12):
        strategy = PairsReversion(symbols=("PEP", "KO"), period=4, half_life_max=1e9, entry=0.1)
        rename = corporate_action("r", SYMBOL_CHANGE, "PEP", new_symbol="COLA")
        delisting = corporate_action("d", DELISTING, "KO", amount=1)
        slices: list[list[Record]] = []
        for n in range(1, last + 1):
            first = {"PEP" if n < 4 else "COLA": 100.0 + n % 3}
            slices.append([*closes(n, **first, KO=50.0 + n % 3 / 2 + n % 2)])
        slices[3].insert(0, rename)
        slices += [[delisting, *closes(last + 1, COLA=100.0)], [*closes(last + 2, COLA=100.0)]]
        actions = run(strategy, slices)
        assert not [one for one in actions if one.kind == SUSPENDED]
        assert {one.symbol for one in actions} <= {"COLA", "KO"}
        after = [(one.kind, one.symbol) for one in actions if one.ts_ns > minute(last)]
        before = [one for one in actions if one.ts_ns <= minute(last)]
        is_held = bool(before) and before[-1].kind == TARGET_WEIGHT
        assert after == ([(TARGET_QUANTITY, "COLA")] if is_held else [])
        left += is_held
    assert left, "a position was open at one of the delistings"


@pytest.mark.parametrize(("change", "expected"), [("rename", ["EFA", "EFA2"]), ("delist", ["EFA", "SPY"])])
def test_dual_momentum_chooses_among_the_present_names(change: str, expected: list[str]) -> None:
    """EFA rises most, then SPY, then AGG. In January, EFA is renamed, or EFA and AGG are delisted."""
    tape = tape_of([{"SPY": 1.01**day, "EFA": 1.02**day, "AGG": 1.0} for day in range(30) for _ in range(6)], 6)
    desk = TradingDesk(DualMomentum(lookback=2), days=tape.days)
    ended = ("EFA",) if change == "rename" else ("EFA", "AGG")
    rename = corporate_action("r", SYMBOL_CHANGE, "EFA", new_symbol="EFA2")
    delistings = [corporate_action(symbol, DELISTING, symbol, amount=1) for symbol in ended]
    for number, (ts_ns, bars) in enumerate(tape.slices):
        records: list[Record] = [*bars]
        if number >= 60:  # the eleventh day
            names = {"EFA": "EFA2"} if change == "rename" else {}
            present = [one for one in bars if change == "rename" or one.symbol not in ended]
            records = [one._replace(symbol=names.get(one.symbol, one.symbol)) for one in present]
        changes = [rename] if change == "rename" else delistings
        desk.on_slice(ts_ns, records, changes if number == 60 else ())
    targets = [one.symbol for one in desk.strategy_actions() if one.kind == TARGET_WEIGHT]
    assert targets == (expected if change == "delist" else expected[:1])
    assert not [one for one in desk.strategy_actions() if one.kind == SUSPENDED]
    assert desk.position(expected[-1]) > 0
