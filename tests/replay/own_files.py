"""A view strategy, a trading strategy and an indicator, as the files that a user writes and edits."""

VIEW = """
from operators.strategies import TargetView

class Mine:
    name, features = "mine", ("sma_5",)

    def decide(self, row, state):
        average = row.values.get("sma_5")
        if average is None:
            return None, None
        spread = row.values.get("own_spread", 0.0)
        return None, TargetView(1 if row.close > average else 0, 0.5, 1.0, {"spread": spread})
"""
TRADING = """
from operators.strategies import TradingStrategy

class Trader(TradingStrategy):
    name, symbols, history = "trader", ("A", "B"), {"1m": 2}

    def on_slice(self, ctx):
        for symbol in ctx.closed("1m"):
            ctx.target_weight(symbol, 0.1)
"""
INDICATOR = """
from operators.indicators import Indicator, ValueUnit

class Spread(Indicator):
    kind = "own_spread"
    parameters = {}
    units = (ValueUnit.PRICE_CHANGE,)

    def __init__(self, name):
        self.name = name

    def update(self, bar, values):
        values[self.name] = bar.high - bar.low

    def rescale(self, factor):
        pass

    def snapshot(self):
        return ()

    def restore(self, snapshot):
        pass
"""
