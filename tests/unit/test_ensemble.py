from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.settings import load_settings
from dataflows.runtime import stages
from operators.signals import SignalStage
from operators.signals.ensemble import EnsembleSettings, LastView, combine_views
from operators.strategies import TargetView
from operators.strategies.model import ModelForecast
from schemas.errors import BadInput
from schemas.records import TRADE, OrderProposal, Signal, StrategyWeights
from tests.builders import bar, prediction
from tests.unit.portfolio_harness import SHARES, PortfolioHarness, signed_quantities
from tests.unit.test_features import MINUTE_NS
from tests.unit.test_signals import ScriptedStrategy, row

NAMES = ("a", "b", "c")
views = st.builds(
    lambda direction, strength, confidence, seq: LastView(direction, strength if direction else 0.0, confidence, seq),
    st.sampled_from((-1, 0, 1)),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(0, 3),
)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.lists(views, min_size=3, max_size=3))
def test_score_is_the_weighted_mean_of_active_strategies(weights: list[float], latest_views: list[LastView]) -> None:
    active = [(w * v.confidence, v.direction * v.strength) for w, v in zip(weights, latest_views, strict=True) if v.seq]
    opinion = combine_views(NAMES, weights, latest_views, 0.1)
    if not active:
        assert opinion is None
        return
    assert opinion is not None
    score = sum(w * view for w, view in active) / sum(w for w, _ in active)
    assert sum(opinion.contributions.values()) == pytest.approx(score)
    assert opinion.strength == (pytest.approx(abs(score)) if opinion.direction else 0.0)
    if abs(abs(score) - 0.1) > 1e-9:
        assert opinion.direction == (0 if abs(score) <= 0.1 else (1 if score > 0 else -1))
    assert 0 <= opinion.confidence <= 1


@given(views.filter(lambda view: view.seq > 0), st.integers(0, 2))
def test_single_active_strategy_is_followed_unchanged(view: LastView, index: int) -> None:
    latest_views = [LastView(), LastView(), LastView()]
    latest_views[index] = view
    opinion = combine_views(NAMES, [0.2, 0.3, 0.5], latest_views, 0.0)
    assert opinion is not None and opinion.direction == view.direction
    assert opinion.strength == pytest.approx(view.strength)


def ensemble_signals(scripts: dict[str, Sequence[TargetView | None]], settings: EnsembleSettings) -> list[Signal]:
    stage = SignalStage([ScriptedStrategy(script, name) for name, script in scripts.items()], settings)
    signals: list[Any] = []
    for seq in range(1, len(next(iter(scripts.values()))) + 1):
        signals += stage.on_slice(seq * MINUTE_NS, [row(seq)])
    return signals


def view(direction: int, strength: float = 1.0, confidence: float = 1.0) -> TargetView:
    return TargetView(direction, strength, confidence, {})


ENSEMBLE_ON = EnsembleSettings(enabled=True)


def test_ensemble_signal_follows_its_parts_with_their_contributions() -> None:
    a, b, combined = ensemble_signals({"a": [view(1)], "b": [view(-1, 0.5)]}, ENSEMBLE_ON)
    assert (a.strategy, b.strategy, combined.strategy) == ("a", "b", "ensemble")
    assert (combined.seq, combined.direction, combined.strength) == (3, 1, 0.25)
    assert combined.parts == {"a": 0.5, "b": -0.25} and combined.cause_ids == ["sig-AAPL-1", "sig-AAPL-2"]
    assert (combined.price, combined.feature_id, combined.ts_ns) == (101.0, "feat-AAPL-1", MINUTE_NS)


def test_only_a_change_above_the_minimum_gives_a_signal() -> None:
    settings = EnsembleSettings(enabled=True, threshold=0.3, change_min=0.2)
    script = [view(1), view(1, 0.9), view(1, 0.7), view(1, 0.3), view(0, 0.0), view(-1)]
    signals = [one for one in ensemble_signals({"a": script}, settings) if one.strategy == "ensemble"]
    assert [(one.direction, one.strength) for one in signals] == [(1, 1.0), (1, 0.7), (0, 0.0), (-1, 1.0)]


def test_weights_count_by_their_ratio_and_unknown_names_are_rejected() -> None:
    (*_, combined) = ensemble_signals(
        {"a": [view(1)], "b": [view(-1)]}, EnsembleSettings(enabled=True, weights={"a": 3, "b": 1})
    )
    assert combined.parts == {"a": 0.75, "b": -0.25}
    with pytest.raises(BadInput, match=r"only running strategies \(a\) and a weight > 0, found \{'x': 1"):
        SignalStage([ScriptedStrategy([], "a")], EnsembleSettings(enabled=True, weights={"x": 1.0}))
    with pytest.raises(BadInput, match="strategy name ensemble is reserved"):
        SignalStage([ScriptedStrategy([], "ensemble")], ENSEMBLE_ON)


def weights(seq: int, **by_name: float) -> StrategyWeights:
    return StrategyWeights(seq=seq, ts_ns=1, weights=by_name, scores={}, reason="")


def test_learned_weights_take_effect_in_the_slice_that_carries_them() -> None:
    settings = EnsembleSettings(enabled=True, weights="learned")
    stage = SignalStage(
        [ScriptedStrategy([view(1), None], "a"), ScriptedStrategy([view(-1, 0.5), None], "b")], settings
    )
    stage.on_slice(MINUTE_NS, [row(1)])
    restored = SignalStage(
        [ScriptedStrategy([view(1), None], "a"), ScriptedStrategy([view(-1, 0.5), None], "b")], settings
    )
    restored.restore(stage.snapshot())
    for current in (stage, restored):
        (signal,) = current.on_slice(2 * MINUTE_NS, [weights(1, a=0.2, b=0.8), row(2)])
        assert isinstance(signal, Signal) and signal.direction == -1
        assert signal.strength == pytest.approx(0.2)
        assert signal.parts == {"a": pytest.approx(0.2), "b": pytest.approx(-0.4)}
        assert signal.cause_ids == ["sig-AAPL-1", "sig-AAPL-2", "weights-1"]
        assert current.on_slice(3 * MINUTE_NS, [weights(1, a=0.9, b=0.1)]) == [], "a repeat changes nothing"
        copy = SignalStage([ScriptedStrategy([], "a"), ScriptedStrategy([], "b")], settings)
        copy.restore(current.snapshot())
        assert copy.snapshot() == current.snapshot()


def test_fixed_weights_ignore_feedback() -> None:
    stage = SignalStage([ScriptedStrategy([view(1)], "a"), ScriptedStrategy([view(-1, 0.5)], "b")], ENSEMBLE_ON)
    stage.on_slice(MINUTE_NS, [row(1)])
    assert stage.on_slice(2 * MINUTE_NS, [weights(1, a=0.1, b=0.9)]) == []


def test_portfolio_trades_only_the_ensemble_when_enabled() -> None:
    enabled = load_settings(environment={"SIGNALS__ENSEMBLE__ENABLED": "true"})
    assert (
        enabled.portfolio().strategies == ("ensemble",) and load_settings(environment={}).portfolio().strategies is None
    )
    portfolio = stages.portfolio(enabled)()
    signals = [*ensemble_signals({"a": [view(1)], "b": [view(1)]}, ENSEMBLE_ON)]
    output = portfolio.on_slice(MINUTE_NS, [bar("AAPL", 1, MINUTE_NS), *signals])
    (proposal,) = [one for one in output if type(one) is OrderProposal]
    assert (proposal.strategy, proposal.signal_ids) == ("ensemble", ["sig-AAPL-3"])


def test_positions_from_before_the_ensemble_are_closed() -> None:
    without_ensemble = PortfolioHarness()
    without_ensemble.signal(1)
    assert signed_quantities(without_ensemble.step()) == [100]
    without_ensemble.report(TRADE)
    without_ensemble.step()
    with_ensemble = PortfolioHarness(replace(SHARES, strategies=("ensemble",)))
    with_ensemble.stage.restore(without_ensemble.stage.snapshot())
    with_ensemble.minute = without_ensemble.minute
    assert signed_quantities(with_ensemble.step()) == [-100]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.0}, "threshold must be in"),
        ({"change_min": -0.1}, "change_min must be in"),
        ({"weights": {"a": -1.0}}, "numbers >= 0"),
        ({"weights": {}}, "numbers >= 0"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        EnsembleSettings(**settings)


# -- the model strategy ------------------------------------------------------------------------------------------------


def test_model_strategy_requires_costs_only_at_entry() -> None:
    strategy = ModelForecast(cost_bps=20, probability_min=0.55)
    state: Any = None
    directions = []
    forecasts = [(0.001, 0.9, 0.0), (0.003, 0.54, 0.0), (0.003, 0.6, 0.0), (0.0005, 0.51, 0.0), (-0.001, 0.45, 0.0)]
    forecasts += [(-0.003, 0.4, 0.0), (-0.003, 0.4, 1.0), (-0.003, 0.4, 0.5)]
    for seq, (gain, up, drift) in enumerate(forecasts, 1):
        state, target = strategy.decide(
            prediction("A", seq, seq, gain, probability_up=up, drift=drift),
            state,
        )
        directions.append(None if target is None else target.direction)
    assert directions == [None, None, 1, None, 0, -1, 0, -1]


def test_model_strategy_rejects_invalid_parameters() -> None:
    with pytest.raises(BadInput, match=r"strategy model: probability_min must be from .* found 0.3$"):
        ModelForecast(probability_min=0.3)
