from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from configs.strategies import feature_specs, load_strategies
from operators.features import FeatureStage
from operators.signals import SignalStage
from operators.strategies import STRATEGIES, Strategy, TargetView, TradingStrategy, reads_of
from operators.strategies.buy_and_hold import BuyAndHold
from operators.strategies.ema_cross import EmaCross
from schemas.errors import BadInput
from schemas.records import Signal
from tests.builders import feature_row, fundamentals, prediction, sentiment_score
from tests.unit.test_features import bars_by_minute


def load_views(entries: list[dict[str, Any]]) -> list[Strategy]:
    return [one for one in load_strategies(entries) if not isinstance(one, TradingStrategy)]


def views_of(strategy: Strategy, rows: list[dict[str, float]]) -> list[TargetView | None]:
    state: Any = None
    views = []
    for index, values in enumerate(rows, 1):
        state, view = strategy.decide(feature_row("AAPL", index, index, values=values), state)
        views.append(view)
    return views


def averages(fast: float, slow: float, rsi: float | None = 50.0) -> dict[str, float]:
    values = {"ema_12": fast, "ema_26": slow}
    return values if rsi is None else {**values, "rsi_14": rsi}


BELOW, LEVEL, ABOVE, HOT = averages(1, 2), averages(2, 2), averages(3, 2), averages(3, 2, 70.0)


@pytest.mark.parametrize(
    ("case", "rows", "directions"),
    [
        ("in at the cross, out when it is undone", [BELOW, ABOVE, ABOVE, BELOW, BELOW], [None, 1, None, 0, None]),
        ("twice", [BELOW, ABOVE, BELOW, ABOVE], [None, 1, 0, 1]),
        ("level counts as not above", [LEVEL, ABOVE, LEVEL, ABOVE], [None, 1, 0, 1]),
        ("no cross without a bar before it", [ABOVE, ABOVE, BELOW, ABOVE], [None, None, None, 1]),
        ("warm-up is waited out", [{}, {"ema_12": 3.0}, BELOW, ABOVE], [None, None, None, 1]),
        ("nothing in warm-up counts as below", [{}, ABOVE], [None, None]),
        ("the RSI filter refuses at its limit", [BELOW, HOT, ABOVE, BELOW, ABOVE], [None, None, None, None, 1]),
        ("an RSI that is absent refuses", [BELOW, averages(3, 2, None), ABOVE], [None, None, None]),
        ("the exit does not need the RSI", [BELOW, ABOVE, averages(1, 2, 99.0)], [None, 1, 0]),
    ],
)  # fmt: skip
def test_ema_cross(case: str, rows: list[dict[str, float]], directions: list[int | None]) -> None:
    views = views_of(EmaCross(), rows)
    assert [view if view is None else view.direction for view in views] == directions, case


def test_ema_cross_views_contain_their_inputs() -> None:
    entry, exit_ = [view for view in views_of(EmaCross(), [BELOW, ABOVE, BELOW]) if view]
    assert entry == TargetView(1, 1.0, 1.0, {"ema_12": 3, "ema_26": 2, "rsi_14": 50.0})
    assert exit_ == TargetView(0, 0.0, 1.0, {"ema_12": 1, "ema_26": 2})


def test_ema_cross_features_match_its_parameters() -> None:
    assert EmaCross().features == ("ema_12", "ema_26", "rsi_14")
    assert EmaCross(fast=5, slow=9, rsi_period=7).features == ("ema_5", "ema_9", "rsi_7")


@pytest.mark.parametrize(
    "parameters",
    [
        {"fast": 26}, {"fast": 0}, {"slow": 12.5}, {"fast": True}, {"rsi_max": 0}, {"rsi_max": 101},
        {"rsi_max": "70"}, {"rsi_period": 1}, {"rsi_max": float("nan")},
    ],
)  # fmt: skip
def test_ema_cross_rejects_invalid_parameters_with_one_line(parameters: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"strategy ema_cross: .* found [^\n]*$"):
        EmaCross(**parameters)


def test_buy_and_hold_is_long_on_every_row() -> None:
    assert views_of(BuyAndHold(), [{}, {}, {}]) == [TargetView(1, 1.0, 1.0, {"close": 100.0})] * 3


OTHER_RECORDS = (
    prediction("AAPL", 1, 1, 0.02, probability_up=0.7),
    fundamentals("f-1", facts={"eps": 5.0}, ratios={"roe": 0.2}),
    sentiment_score(1, 1, "AAPL", 0.8),
)


VIEW_STRATEGIES = sorted(name for name, one in STRATEGIES.items() if not issubclass(one, TradingStrategy))


@pytest.mark.parametrize("name", VIEW_STRATEGIES)
def test_every_strategy_is_a_function_of_its_arguments(name: str) -> None:
    strategy = STRATEGIES[name]()
    before = repr(vars(strategy))
    rows: list[Any] = [
        row for minute_bars in bars_by_minute(200) for row in FeatureStage(strategy.features).on_slice(0, minute_bars)
    ]
    state: Any = None
    for row in rows:
        for record in (row, *OTHER_RECORDS):
            if type(record) in reads_of(strategy):
                after, view = strategy.decide(record, state)
                assert strategy.decide(record, state) == (after, view)
                state = after
                hash(state)  # hash() fails on a mutable state
    assert repr(vars(strategy)) == before


def test_strategies_are_loaded_by_the_name_of_their_file() -> None:
    assert {"ema_cross": EmaCross, "buy_and_hold": BuyAndHold}.items() <= STRATEGIES.items()


# --- named in the settings ---------------------------------------------------------------------------------------

USER_STRATEGIES = """
from dataclasses import dataclass

from operators.strategies import TargetView


@dataclass(frozen=True)
class Dip:
    below: float = 30.0
    name: str = "dip"
    features: tuple = ("rsi_2",)

    def decide(self, row, state):
        rsi = row.values.get("rsi_2")
        if rsi is None:
            return state, None
        direction = 1 if rsi < self.below else 0
        return direction, TargetView(direction, float(direction), 0.5, {"rsi_2": rsi})


class NoName:
    features = ()

    def decide(self, row, state):
        return state, None


class Wide(Dip):
    def __init__(self, *, size: float = 1.0, **parameters):
        super().__init__(**parameters)


class Open(NoName):
    def __init__(self, **parameters):
        self.below = parameters["below"] + 1


class Needs(NoName):
    def __init__(self, size: float, name: str = "needs"):
        self.size, self.name = size, name


class NoFeatures(NoName):
    name = "x"
    features = ["ema_3"]


class WrongSpec(NoName):
    name = "x"
    features = ("magic_3",)


class NoDecision:
    name = "x"
    features = ()


class WrongReads(NoName):
    name = "x"
    reads = ("FeatureRow",)


class WrongDecision(NoDecision):
    def decide(self, row):
        return None


class Fails(NoName):
    name = "x"

    def __init__(self, size=1):
        self.size = 1 / size
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(USER_STRATEGIES)
    return file


def test_strategies_are_loaded_by_name_with_parameters_in_their_order() -> None:
    first, second = load_strategies(
        [
            {"name": "buy_and_hold"},
            {"name": "ema_cross", "parameters": {"fast": 3, "slow": 5}},
        ]
    )
    assert (first.name, second.name, second.features) == ("buy_and_hold", "ema_cross", ("ema_3", "ema_5", "rsi_14"))


def test_one_strategy_runs_twice_under_two_names() -> None:
    entries: list[dict[str, Any]] = [
        {"name": "ema_cross"},
        {"name": "ema_cross", "parameters": {"fast": 5, "name": "quick_cross"}},
    ]
    assert [strategy.name for strategy in load_strategies(entries)] == ["ema_cross", "quick_cross"]
    with pytest.raises(BadInput, match="two strategies are named ema_cross"):
        load_strategies([{"name": "ema_cross"}, {"name": "ema_cross", "parameters": {"fast": 5}}])


def test_user_strategy_file_in_another_folder_trades(user_file: Path) -> None:
    (strategy,) = load_views([{"name": f"{user_file}:Dip", "parameters": {"below": 40.0}}])
    features, signals = FeatureStage(feature_specs([strategy])), SignalStage([strategy])
    emitted: list[Any] = []
    for minute_bars in bars_by_minute(100):
        emitted += signals.on_slice(minute_bars[0].ts_ns, features.on_slice(minute_bars[0].ts_ns, minute_bars))
    assert len(emitted) > 10 and all(type(one) is Signal and one.strategy == "dip" for one in emitted)
    assert all((one.parts["rsi_2"] < 40.0) == (one.direction == 1) for one in emitted)


def test_a_relative_path_counts_from_the_folder_of_the_settings(user_file: Path) -> None:
    assert load_strategies([{"name": "mine.py:Dip"}], user_file.parent)[0].name == "dip"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"name": "ema_crss"},
            "'ema_crss'; did you mean ema_cross? Known strategies: bollinger_reversion, ",
        ),
        (
            {"name": "ema_cross", "parameters": {"fasst": 3}},
            "strategy 'ema_cross' has no parameter fasst; did you mean fast? Its parameters: fast, slow",
        ),
        ({"name": "ema_cross", "parameters": {"fast": 30}}, "fast must be below slow, found 30 and 26"),
        ({"name": "ema_cross", "parameters": [3]}, "parameters must be a mapping of names to values"),
        ({"name": "ema_cross", "params": {}}, "must have a name and, optionally, parameters"),
        ({"parameters": {}}, "must have a name and, optionally, parameters"),
        ({"name": "OWN"}, "expected path/to/file.py:ClassName"),
        ({"name": "OWN:"}, "expected path/to/file.py:ClassName"),
        ({"name": "missing.py:Dip"}, "missing.py does not exist"),
        ({"name": "OWN:Dep"}, "mine.py has no class Dep; did you mean Dip? Its classes: Dip, NoName"),
        ({"name": "OWN:dataclass"}, "has no class dataclass"),
        (
            {"name": "OWN:Dip", "parameters": {"over": 1}},
            "has no parameter over. Its parameters: below, name, features",
        ),
        (
            {"name": "OWN:Wide", "parameters": {"bellow": 1}},
            "no parameter bellow; did you mean below? Its parameters: size, below, ",
        ),
        ({"name": "OWN:Open", "parameters": {"below": "x"}}, "rejects {'below': 'x'}: TypeError: "),
        ({"name": "OWN:Needs"}, "needs a value for size. Its parameters: size, name"),
        ({"name": "OWN:NoName"}, "`name` must be a non-empty string, found None"),
        ({"name": "OWN:NoFeatures"}, "`features` must be a tuple of indicator specs"),
        ({"name": "OWN:WrongSpec"}, "unknown indicator 'magic_3'"),
        ({"name": "OWN:NoDecision"}, "has no method decide(row, state)"),
        ({"name": "OWN:WrongReads"}, "types out of FeatureRow, Prediction, Fundamentals, SentimentScore, found"),
        ({"name": "OWN:WrongDecision"}, "decide must accept (row, state)"),
        ({"name": "OWN:Fails", "parameters": {"size": 0}}, "ZeroDivisionError: division by zero"),
    ],
)
def test_invalid_entry_gives_a_one_line_error(user_file: Path, entry: dict[str, Any], message: str) -> None:
    if "name" in entry:
        entry = {**entry, "name": entry["name"].replace("OWN", str(user_file))}
    with pytest.raises(BadInput) as error:
        load_strategies([entry])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module_anywhere\n", "ModuleNotFoundError"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two lines"),
    ],
)
def test_failing_file_gives_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(BadInput) as error:
        load_strategies([{"name": f"{file}:Any"}])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_two_files_with_the_same_name_are_independent(tmp_path: Path) -> None:
    entries = []
    for folder in ("a", "b"):
        file = tmp_path / folder / "mine.py"
        file.parent.mkdir()
        file.write_text(USER_STRATEGIES.replace('"dip"', f'"dip_{folder}"'))
        entries.append({"name": f"{file}:Dip"})
    assert [strategy.name for strategy in load_strategies(entries)] == ["dip_a", "dip_b"]


def test_an_edited_file_runs_its_new_source_even_if_its_length_and_time_are_unchanged(user_file: Path) -> None:
    entry, before = {"name": f"{user_file}:Dip"}, user_file.stat()
    assert load_strategies([entry])[0].name == "dip"
    user_file.write_text(USER_STRATEGIES.replace('"dip"', '"rip"'))
    os.utime(user_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_strategies([entry])[0].name == "rip"
    assert list(user_file.parent.iterdir()) == [user_file]


def test_features_are_the_configured_ones_then_those_needed_each_once() -> None:
    strategies = load_views([{"name": "ema_cross"}, {"name": "buy_and_hold"}])
    assert feature_specs(strategies, ["sma_20", "ema_26"]) == ("sma_20", "ema_26", "ema_12", "rsi_14")
    with pytest.raises(BadInput, match="did you mean sma_20"):
        feature_specs(strategies, ["sna_20"])
