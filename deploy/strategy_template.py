"""Write the file of a new strategy that trades, with its test, into the user's folder."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from operators.strategies import STRATEGIES
from schemas.errors import BadInput

_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,30}[a-z0-9]")

TRADING_TEMPLATE = '''"""Hold a symbol while its price is above an average."""

from operators.strategies import TradingStrategy


class {type}(TradingStrategy):
    """Buy when the close rises above the average of `period` bars, and sell when it falls below it."""

    symbols = None  # the universe of the settings; or a tuple such as ("SPY", "QQQ")

    def __init__(self, *, period: int = 20, weight: float = 0.5, name: str = "{name}") -> None:
        """`period` in bars, `weight` as a share of the equity."""
        self.name, self.weight = name, weight
        self.average = f"sma_{{period}}"
        self.features = (self.average,)
        self.warm_up = period

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            average, price = ctx.feature(symbol, self.average), ctx.price(symbol)
            if average is None:
                continue
            if price > average and not ctx.position(symbol):
                ctx.target_weight(symbol, self.weight, tag="above the average")
            elif price < average and ctx.position(symbol):
                ctx.close(symbol, tag="below the average")
'''
VIEW_TEMPLATE = '''"""Long a symbol while its price is above an average."""

from operators.strategies import TargetView


class {type}:
    """Long while the close is above the average of `period` bars, else flat. Needs no state."""

    def __init__(self, *, period: int = 20, name: str = "{name}") -> None:
        """`period` in bars."""
        self.name = name
        self.average = f"sma_{{period}}"
        self.features = (self.average,)

    def decide(self, row, state):
        average = row.values.get(self.average)
        if average is None:  # still warming up
            return state, None
        direction = 1 if row.close > average else 0
        # Return the view of each row; the platform publishes a signal only if the view changes.
        return state, TargetView(direction, float(direction), 1.0, {{self.average: average}})
'''
TEST_TEMPLATE = '''"""Test the strategy {name}: the check finds nothing, and it trades a rise."""

from pathlib import Path

from dataflows.research.strategy_check import check_strategy
from dataflows.research.strategy_dry_run import decisions_of

SOURCE = f"{{Path(__file__).with_name('{name}.py')}}:{type}"


def test_the_check_has_no_findings():
    assert check_strategy(SOURCE, minutes=120).findings == []


def test_a_rise_is_bought_and_a_fall_is_sold():
    closes = [100.0] * 25 + [101.0] * 5 + [99.0] * 5
    decisions = decisions_of(SOURCE, {{"SPY": closes}})
    {assertion}
'''
_TRADING_ASSERTION = 'assert [action.reason for action in decisions] == ["above the average", "below the average"]'
_VIEW_ASSERTION = "assert [signal.direction for signal in decisions] == [1, 0]"


def write_strategy(name: str, folder: Path, *, view: bool = False) -> tuple[Path, Path, str]:
    """Write NAME.py and test_NAME.py. Return both files and the name of the class.

    Raises BadInput, and writes nothing, if the name is invalid or one of the files exists.
    """
    check_name(name)
    values = {"name": name, "type": "".join(part.capitalize() for part in name.split("_"))}
    assertion = _VIEW_ASSERTION if view else _TRADING_ASSERTION
    contents = {
        folder / f"{name}.py": (VIEW_TEMPLATE if view else TRADING_TEMPLATE).format(**values),
        folder / f"test_{name}.py": TEST_TEMPLATE.format(**values, assertion=assertion),
    }
    for file in contents:
        if file.exists():
            raise BadInput(f"{file} already exists; choose another name or --folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            with file.open("x", encoding="utf-8") as target:
                target.write(content)
    except OSError as error:
        raise BadInput(f"cannot write into the folder {folder}: {error.strerror}") from error
    file, test = contents
    return file, test, values["type"]


def check_name(name: str) -> None:
    """Raise BadInput, with a suggestion, if a name is not valid for a strategy and its file."""
    is_fit = _NAME_PATTERN.fullmatch(name) is not None and not keyword.iskeyword(name) and not name.startswith("test_")
    if not is_fit:
        raise BadInput(
            f"invalid strategy name {name!r:.64}; expected 2 to 32 lower-case letters, digits and _ that start with a "
            f"letter but not with test_, and no Python keyword; did you mean {_fit_name(name)}?"
        )
    if name in STRATEGIES:
        raise BadInput(f"{name} is a strategy of the platform; choose another name, such as my_{name}")


def _fit_name(name: str) -> str:
    """Return a similar name that is valid.

    >>> _fit_name("MyStrategy 2"), _fit_name("class"), _fit_name("")
    ('my_strategy_2', 'my_class', 'my_strategy')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower().strip("_")
    words = words.removeprefix("test_")[:28].strip("_") or "strategy"
    is_fit = words[0].isalpha() and len(words) > 1 and not keyword.iskeyword(words)
    return words if is_fit and words not in STRATEGIES and words != "strategy" else f"my_{words}"
