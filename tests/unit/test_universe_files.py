"""The universe of a strategy from a file: a symbol in each row, and the days on which it is a member."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from configs.strategies import configured_strategies
from configs.universe_files import read_members, universe_members
from dataflows.research.strategy_check import check_strategy
from operators.strategies import TopDollarVolume, TradingStrategy, UniverseFile
from operators.strategies.universe_rules import UniverseMember
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.errors import BadInput
from schemas.records import DELISTING, SYMBOL_CHANGE, StrategyAction
from tests.builders import corporate_action
from tests.replay.runs import pinned_settings
from tests.unit.test_trading_universe import Rotation, changes, slices_of

# The tape has a session on each weekday from Tuesday, 2 January 2024 on.
FILE = """symbol,from,to,name
A,,2024-01-03,Alpha
B,2024-01-03,,Beta
C,20240104,2024-01-04,Gamma
C,2024-01-08,,Gamma
D,2024-02-01,,Delta
"""
DAYS = [dict.fromkeys("ABCD", 1.0)] * 5
DAY_2, DAY_3 = 20240103, 20240104


def write(folder: Path, text: str = FILE) -> Path:
    path = folder / "universe.csv"
    path.write_text(text)
    return path


def stage_of(path: Path, *, symbols: Any = None) -> TradingStrategyStage:
    strategy: Any = Rotation(UniverseFile(str(path)))
    strategy.symbols = symbols
    return TradingStrategyStage([strategy], TradingSettings(universe_files=universe_members([strategy])))


def run(stage: TradingStrategyStage, slices: Any, restart: Any = None) -> list[StrategyAction]:
    out: list[StrategyAction] = []
    for ts_ns, records in slices:
        if restart is not None:
            state = pickle.dumps(stage.snapshot())
            stage = restart()
            stage.restore(pickle.loads(state))  # noqa: S301  (written above)
        out += [one for one in stage.on_slice(ts_ns, records) if type(one) is StrategyAction]
    return out


# By the number of calendar days from the first session.
EXPECTED = [
    (0, "added", "A"),
    (1, "added", "B"),
    (2, "removed", "A"),
    (2, "added", "C"),
    (3, "removed", "C"),
    (6, "added", "C"),
]


@pytest.mark.parametrize("restart", [False, True])
def test_members_of_each_day_are_selected_with_its_first_bar(tmp_path: Path, restart: bool) -> None:
    path = write(tmp_path)
    actions = run(stage_of(path), slices_of(DAYS), (lambda: stage_of(path)) if restart else None)
    assert changes(actions) == EXPECTED
    added = next(one for one in actions if one.symbol == "B" and one.kind == "UNIVERSE_ADDED")
    assert added.arguments == {"file": str(path), "day": "20240103"}
    notes = [one.arguments["text"] for one in actions if one.kind == "NOTE"]
    assert "universe B C" in notes and notes[0] == "UNIVERSE_ADDED A"


def test_declared_symbols_restrict_the_file(tmp_path: Path) -> None:
    found = changes(run(stage_of(write(tmp_path), symbols=("B", "C", "X")), slices_of(DAYS)))
    assert found == [one for one in EXPECTED if one[2] != "A"]


def test_a_renamed_member_stays_selected_and_a_delisted_one_is_removed(tmp_path: Path) -> None:
    path = write(tmp_path, "symbol\nA\nB\n")
    rename = corporate_action("r", SYMBOL_CHANGE, "A", ex_date=DAY_2, new_symbol="D")
    delisting = corporate_action("d", DELISTING, "B", ex_date=DAY_3)
    first_days = {"A": DAY_2, "B": DAY_3}  # from which the symbol has no bars any more
    slices: list[tuple[int, list[Any]]] = [
        (ts_ns, [bar for bar in bars if bar.trading_day < first_days.get(bar.symbol, 99999999)])
        for ts_ns, bars in slices_of(DAYS)
    ]
    slices[2][1].insert(0, rename)
    slices[5][1].insert(0, delisting)
    actions = run(stage_of(path), slices, lambda: stage_of(path))
    assert changes(actions) == [(0, "added", "A"), (0, "added", "B"), (2, "removed", "B")]
    notes = [one.arguments["text"] for one in actions if one.kind == "NOTE"]
    assert notes[-1] == "universe D"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the first line must be a header with a column symbol, found nothing"),
        ("AAPL\nMSFT\n", "line 1: the first line must be a header with a column symbol, found aapl"),
        ("symbol\n", "lists no symbol"),
        ("symbol,from\nA,2024-13-01\n", "line 2: from must be a day such as 2024-01-31, found '2024-13-01'"),
        ("symbol,to\nA,\nB,soon\n", "line 3: to must be a day such as 2024-01-31, found 'soon'"),
        (
            "symbol,from,to\n\nA,2024-02-01,2024-01-01\n",
            "line 3: to must not be before from, found 2024-02-01 and 2024-01-01",
        ),
        ("symbol,from\nA\n", "line 2: expected 2 values as in the header, found 1"),
        ("symbol,from\n,2024-01-01\n", "line 2: symbol must be a symbol, found ''"),
        ("symbol;from\nA B;\n", "line 2: symbol must be a symbol, found 'A B'"),
        ('symbol\n"A\n', "line 2: malformed CSV: unexpected end of data"),
    ],
)
def test_a_bad_file_is_one_sentence_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadInput) as raised:
        read_members(path)
    separator = " " if message.startswith("lists") else ", "
    assert str(raised.value) == f"universe file {path}{separator}{message}"


def test_a_missing_or_binary_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        read_members(tmp_path / "none.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"symbol\n\xff\xfe\n")
    with pytest.raises(BadInput, match="cannot be read as UTF-8 text"):
        read_members(binary)


def test_a_file_may_have_a_byte_order_mark_other_separators_and_the_column_ticker(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffTicker\tFrom\nBRK.B\t2024-01-02\n")
    assert read_members(path) == (UniverseMember("BRK.B", 20240102),)


def settings_with(entry: StrategyEntry) -> Settings:
    settings = pinned_settings()
    return settings.model_copy(update={"signals": settings.signals.model_copy(update={"strategies": (entry,)})})


def test_a_setting_replaces_the_universe_of_a_strategy(tmp_path: Path) -> None:
    path = str(write(tmp_path))
    (strategy,) = configured_strategies(settings_with(StrategyEntry(name="macd_trend", universe=path))).trading
    assert strategy.universe == UniverseFile(path)
    with pytest.raises(BadInput, match="only a trading strategy can have a universe file, found a view strategy"):
        configured_strategies(settings_with(StrategyEntry(name="ema_cross", universe=path)))


STRATEGY = """from operators.strategies import TradingStrategy, UniverseFile


class Listed(TradingStrategy):
    universe = UniverseFile({path!r})
    history = {{"1m": 30}}

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            ctx.target_weight(symbol, 0.01 * len(ctx.history("A", "1m")["close"]) / 30)
"""


def test_the_check_of_a_strategy_reads_its_file(tmp_path: Path) -> None:
    path, file = write(tmp_path), tmp_path / "listed.py"
    file.write_text(STRATEGY.format(path=str(path)))
    report = check_strategy(f"{file}:Listed", minutes=30)
    assert report.findings == [] and report.decisions > 0
    assert report.declarations["universe"] == f"the symbols that {path} lists for the day"
    path.write_text("symbol\n")
    (finding,) = check_strategy(f"{file}:Listed", minutes=30).findings
    assert (finding.message, finding.line) == (f"universe file {path} lists no symbol", 5)


@pytest.mark.parametrize("path", ["", 5])
def test_a_path_must_be_text(path: Any) -> None:
    with pytest.raises(BadInput, match="UniverseFile: path must be the path of a CSV file"):
        UniverseFile(path)


def test_a_strategy_that_had_another_rule_keeps_its_selection(tmp_path: Path) -> None:
    path = write(tmp_path, "symbol\nB\nC\n")

    class Named(Rotation):
        name = "rotation"

    before = TradingStrategyStage([Named(TopDollarVolume(count=2, min_history=1, days=1, every="1d"))])
    run(before, slices_of(DAYS[:2]))
    strategy: TradingStrategy = Named(UniverseFile(str(path)))
    after = TradingStrategyStage([strategy], TradingSettings(universe_files=universe_members([strategy])))
    after.restore(before.snapshot())
    found = changes(run(after, slices_of(DAYS)[6:]))
    assert found == [(2, "removed", "A"), (2, "added", "C")]
