"""What is wrong with a strategy is one sentence with its file and line, and all other strategies decide as without it.

Both forms run in the stages of the platform on the same bars, each beside a strategy without an error.
"""

from __future__ import annotations

import copy
import inspect
import pickle
from collections import deque
from collections.abc import Callable
from datetime import time
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest

from configs.read_only import read_only
from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from configs.strategies import load_strategies
from dataflows.runtime import stages
from deploy.commands.strategies import describe
from operators.signals.suspensions import suspension_of
from operators.stage import TimeSlice
from operators.strategies import TradingStrategy
from schemas.errors import BadInput
from schemas.records import SUSPENDED, OrderRefusal, Record, Signal, StrategyAction, StrategySuspension
from tests.builders import feature_row
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import pinned_settings, read_time_slices, replay

TRADING = """from operators.strategies import TradingStrategy

class Bad(TradingStrategy):
    symbols = ("A",)
    features = ({features})

    def on_slice(self, ctx):
{body}
"""
VIEW = """from operators.strategies import TargetView

class Bad:
    name = "bad"
    features = ({features})

    def decide(self, row, state):
{body}
"""
DECIDE_LINE, BODY_LINE = 7, 8
"""Lines of the file: the method, and the first line of its body."""


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("market")
    return read_time_slices(write_market(folder, symbols=("A", "B"), days=[MONDAY], open_time=time(9, 30), minutes=30))


@pytest.fixture(scope="module")
def alone(time_slices: list[TimeSlice]) -> list[tuple[object, ...]]:
    """The signals of the strategy without an error, without another strategy."""
    return signals_of("ema_cross", run(pinned_settings(), time_slices))


def write(folder: Path, form: str, body: str, features: str = "") -> Path:
    file = folder / "bad.py"
    file.write_text(form.format(features=features, body=indent(body, " " * 8)))
    return file


def settings_with(file: Path) -> Settings:
    settings = pinned_settings()
    strategies = (*settings.signals.strategies, StrategyEntry(name=f"{file}:Bad"))
    return settings.model_copy(update={"signals": settings.signals.model_copy(update={"strategies": strategies})})


def run(settings: Settings, time_slices: list[TimeSlice]) -> list[Record]:
    return [record for records in replay(settings.for_backtest(), time_slices) for record in records]


def signals_of(strategy: str, records: list[Record]) -> list[tuple[object, ...]]:
    signals = [one for one in records if type(one) is Signal and one.strategy == strategy]
    return [(one.symbol, one.ts_ns, one.direction, one.strength) for one in signals]


def suspensions_of(records: list[Record]) -> list[StrategySuspension]:
    of_trading = [suspension_of(one) for one in records if type(one) is StrategyAction and one.kind == SUSPENDED]
    return of_trading + [one for one in records if type(one) is StrategySuspension]


@pytest.mark.parametrize(
    ("form", "body", "line", "message"),
    [
        (TRADING, "ctx.note('x')\n1 / 0", BODY_LINE + 1, "division by zero"),
        (TRADING, "ctx.target_weight('A', float('nan'))", BODY_LINE, "weight must be a finite number, found nan"),
        (
            TRADING,
            "ctx.price('B')",
            BODY_LINE,
            "'B' is not in the universe of strategy bad. The universe has 1 symbols",
        ),
        (TRADING, "ctx.submit('B', 'BUY', 1)", BODY_LINE, "'B' is not in the universe of strategy bad."),
        (TRADING, "self.count = 1", DECIDE_LINE, "on_slice changed self.count, which a snapshot does not contain"),
        (TRADING, "return 5", DECIDE_LINE, "on_slice returned int, expected nothing"),
        (TRADING, "ctx.feature('A', 'sma_20')", BODY_LINE, "feature 'sma_20' of 1m is not declared."),
        (VIEW, "return state, row.close / 0", BODY_LINE, "float division by zero"),
        (VIEW, "return state, row.values['sma_20']", BODY_LINE, "'sma_20'"),
        (
            VIEW,
            "return state, TargetView(1, 1.0, 1.0, {'x': float('inf')})",
            DECIDE_LINE,
            "strategy bad on A: parts must be finite numbers, found x = inf",
        ),
        (
            VIEW,
            "return state, TargetView(1, float('nan'), 1.0, {})",
            DECIDE_LINE,
            "strategy bad on A: direction must be -1, 0 or 1, strength and confidence in [0, 1], found 1, nan and 1.0",
        ),
        (
            VIEW,
            "return state, TargetView(1, 1e9, 1.0, {})",
            DECIDE_LINE,
            "strategy bad on A: direction must be -1, 0 or 1, strength and confidence in [0, 1], found 1, 1000000000.0",
        ),
        (
            VIEW,
            "self.count = row.close\nreturn state, None",
            BODY_LINE,
            "decide changes self.count, which a snapshot does not contain; return it as the state",
        ),
        *(
            (
                VIEW.replace("    def decide", f"    def __init__(self):\n        self.seen = {value}\n    def decide"),
                f"{change}\nreturn state, None",
                BODY_LINE + 2,
                "decide changes self.seen, which a snapshot does not contain; return it as the state",
            )
            for value, change in (
                ("[]", "self.seen.append(row.close)"),
                ("[[1], 2]", "self.seen[0][0] = row.close"),
                ("{{}}", "self.seen[row.symbol] = row.close"),
                ("{{1}}", "self.seen.add(row.close)"),
            )
        ),
        (VIEW, "return 5", DECIDE_LINE, "decide must return its state and a TargetView or None (cannot unpack"),
        (VIEW, "return state, 'buy'", DECIDE_LINE, "decide must return its state and a TargetView or None ('str'"),
    ],
)
def test_a_strategy_that_fails_is_suspended_with_file_and_line_and_stops_no_other(
    tmp_path: Path,
    time_slices: list[TimeSlice],
    alone: list[tuple[object, ...]],
    form: str,
    body: str,
    line: int,
    message: str,
) -> None:
    file = write(tmp_path, form, body)
    records = run(settings_with(file), time_slices)
    suspension, *_ = suspensions_of(records)
    assert (suspension.strategy, suspension.file, suspension.line) == ("bad", str(file), line)
    assert suspension.message.startswith(message), suspension.message
    sentence = describe(suspension)
    assert sentence.endswith(f"{suspension.message} ({file}:{line})") and "\n" not in sentence
    assert (" on A: " in sentence) == (form != TRADING), "a trading strategy has no symbol"
    assert signals_of("ema_cross", records) == alone
    assert alone, "or the equality would prove nothing"


@pytest.mark.parametrize("decorator", ["", "@dataclass", "@dataclass(frozen=True)", "@dataclass(slots=True)"])
def test_a_loaded_view_strategy_keeps_its_class_and_values_it_computes_once(tmp_path: Path, decorator: str) -> None:
    """`cached_property` stores a value that follows from the parameters, which is no memory."""
    lookback = "" if "slots" in decorator else "    @cached_property\n    def lookback(self):\n        return 3 * 7\n"
    file = tmp_path / "sound.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom functools import cached_property\n"
        f"{decorator}\nclass Sound:\n    name: str = 'sound'\n{lookback}"
        "    features = ()\n    def decide(self, row, state):\n        return getattr(self, 'lookback', 21), None\n"
    )
    (one,) = load_strategies([{"name": f"{file}:Sound"}])
    assert type(one).__name__ == "Sound" and inspect.getsourcefile(type(one)) == str(file)
    assert not isinstance(one, TradingStrategy)
    assert one.decide(feature_row("A", 1, 1, 1.0), None) == (21, None)
    assert not decorator or repr(one) == "Sound(name='sound')"
    attribute = "name"
    with pytest.raises(BadInput, match=r"decide changes self\.name, which a snapshot does not contain"):
        setattr(one, attribute, "other")


def test_an_order_of_a_billion_shares_is_rejected_in_one_sentence_and_stops_no_other(
    tmp_path: Path, time_slices: list[TimeSlice], alone: list[tuple[object, ...]]
) -> None:
    records = run(settings_with(write(tmp_path, TRADING, "ctx.submit('A', 'BUY', 1e9)")), time_slices)
    refusals = [one for one in records if type(one) is OrderRefusal and one.cause_id.startswith("act-bad-")]
    sentences = {one.message for one in refusals}
    assert sentences and all(
        one.startswith("max_order_notional: A order is worth ") and one.endswith(".00 USD, limit 5,100.00")
        for one in sentences
    )
    assert suspensions_of(records) == []
    assert signals_of("ema_cross", records) == alone


@pytest.mark.parametrize("form", [TRADING, VIEW])
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("'smaa_20',", "unknown indicator 'smaa_20'; did you mean sma_20? Its form is sma_<period>"),
        ("'sma_0',", "indicator sma_0: a period must be at least 1 bars, found 0"),
    ],
)
def test_an_unknown_indicator_is_refused_at_the_start_with_file_and_line(
    tmp_path: Path, form: str, features: str, message: str
) -> None:
    file = write(tmp_path, form, "return None", features)
    with pytest.raises(BadInput) as raised:
        stages.features(settings_with(file))
    sentence = str(raised.value)
    assert sentence.startswith("strategy ") and message in sentence and sentence.endswith(f"({file}:5)")
    assert "\n" not in sentence


@pytest.mark.parametrize("form", [TRADING, VIEW])
def test_a_declaration_that_raises_is_refused_at_the_start_with_file_and_line(tmp_path: Path, form: str) -> None:
    file = write(tmp_path, form, "return None")
    declared = "    @property\n    def features(self):\n        return (1 / 0,)\n"
    file.write_text(file.read_text().replace("    features = ()\n", declared))
    with pytest.raises(BadInput) as raised:
        stages.features(settings_with(file))
    assert str(raised.value) == (
        f"strategy '{file}:Bad': its property `features` raises ZeroDivisionError: division by zero ({file}:7)"
    )


def test_containers_of_a_view_strategy_reject_changes_and_behave_like_plain_ones() -> None:
    plain = {"levels": [1, 2, (3, [4])], "names": {"A"}, "window": deque([1, 2], maxlen=2)}
    protected = read_only("values", plain)
    assert protected == plain and isinstance(protected, dict)
    assert pickle.loads(pickle.dumps(protected)) == plain == copy.deepcopy(protected)  # noqa: S301  (written here)
    assert pickle.loads(pickle.dumps(protected["window"])).maxlen == 2  # noqa: S301  (as above)
    assert (protected["levels"].copy(), sorted(protected["names"])) == (plain["levels"], ["A"])
    changes: list[Callable[[], object]] = [
        lambda: protected.update(x=1),
        lambda: protected["levels"].sort(),
        lambda: protected["levels"][2][1].append(5),
        lambda: protected["names"].add("B"),
        lambda: protected["window"].append(3),
        lambda: protected["levels"].__setitem__(0, 9),
        lambda: protected["levels"].__iadd__([9]),
    ]
    for change in changes:
        with pytest.raises(BadInput, match=r"decide changes self\.values, which a snapshot does not contain"):
            change()
    levels = read_only("levels", np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        levels[0] = 1.0


def test_a_container_of_the_class_of_a_view_strategy_rejects_changes(tmp_path: Path) -> None:
    file = tmp_path / "sound.py"
    file.write_text(
        "class Sound:\n    name, features, seen = 'sound', (), []\n"
        "    def decide(self, row, state):\n        self.seen.append(1)\n        return state, None\n"
    )
    (one,) = load_strategies([{"name": f"{file}:Sound"}])
    assert not isinstance(one, TradingStrategy)
    with pytest.raises(BadInput, match=r"decide changes self\.seen, which a snapshot does not contain"):
        one.decide(feature_row("A", 1, 1, 1.0), None)
