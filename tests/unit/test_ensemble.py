from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.settings import load_settings
from dataflows.runtime import stages
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.signals import SignalStage
from operators.signals.ensemble import EnsembleSettings, Held, weigh
from operators.strategies import View
from operators.strategies.model import ModelForecast
from schemas.errors import BadInput
from schemas.records import OrderProposal, Prediction, Signal, StrategyWeights
from tests.unit.builders import bar
from tests.unit.test_features import MINUTE
from tests.unit.test_signals import Said, row

NAMES = ("a", "b", "c")
views = st.builds(
    lambda direction, strength, confidence, seq: Held(direction, strength if direction else 0.0, confidence, seq),
    st.sampled_from((-1, 0, 1)),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(0, 3),
)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.lists(views, min_size=3, max_size=3))
def test_the_score_is_the_weighted_mean_of_those_who_spoke(weights: list[float], held: list[Held]) -> None:
    spoken = [(w * v.confidence, v.direction * v.strength) for w, v in zip(weights, held, strict=True) if v.seq]
    opinion = weigh(NAMES, weights, held, 0.1)
    if not spoken:
        assert opinion is None
        return
    assert opinion is not None
    score = sum(w * view for w, view in spoken) / sum(w for w, _ in spoken)
    assert sum(opinion.contributions.values()) == pytest.approx(score)
    assert opinion.strength == (pytest.approx(abs(score)) if opinion.direction else 0.0)
    if abs(abs(score) - 0.1) > 1e-9:
        assert opinion.direction == (0 if abs(score) <= 0.1 else (1 if score > 0 else -1))
    assert 0 <= opinion.confidence <= 1


@given(views.filter(lambda view: view.seq > 0), st.integers(0, 2))
def test_who_speaks_alone_is_followed_as_if_there_were_no_ensemble(view: Held, place: int) -> None:
    held = [Held(), Held(), Held()]
    held[place] = view
    opinion = weigh(NAMES, [0.2, 0.3, 0.5], held, 0.0)
    assert opinion is not None and opinion.direction == view.direction
    assert opinion.strength == pytest.approx(view.strength)


def speaking(scripts: dict[str, Sequence[View | None]], settings: EnsembleSettings) -> list[Signal]:
    stage = SignalStage([Said(script, name) for name, script in scripts.items()], settings)
    out: list[Any] = []
    for seq in range(1, len(next(iter(scripts.values()))) + 1):
        out += stage.on_tick(seq * MINUTE, [row(seq)])
    return out


def view(direction: int, strength: float = 1.0, confidence: float = 1.0) -> View:
    return View(direction, strength, confidence, {})


ON = EnsembleSettings(enabled=True)


def test_the_parts_signals_stay_and_the_ensembles_follows_with_what_each_contributed() -> None:
    a, b, both = speaking({"a": [view(1)], "b": [view(-1, 0.5)]}, ON)
    assert (a.strategy, b.strategy, both.strategy) == ("a", "b", "ensemble")
    assert (both.seq, both.direction, both.strength) == (3, 1, 0.25)
    assert both.parts == {"a": 0.5, "b": -0.25} and both.cause_ids == ["sig-AAPL-1", "sig-AAPL-2"]
    assert (both.price, both.feature_id, both.ts_ns) == (101.0, "feat-AAPL-1", MINUTE)


def test_only_a_change_beyond_the_minimum_is_a_signal_and_a_small_score_is_no_view() -> None:
    settings = EnsembleSettings(enabled=True, threshold=0.3, change_min=0.2)
    script = [view(1), view(1, 0.9), view(1, 0.7), view(1, 0.3), view(0, 0.0), view(-1)]
    got = [one for one in speaking({"a": script}, settings) if one.strategy == "ensemble"]
    assert [(one.direction, one.strength) for one in got] == [(1, 1.0), (1, 0.7), (0, 0.0), (-1, 1.0)]


def test_numbers_are_weights_by_their_ratio_and_a_wrong_name_is_refused() -> None:
    (*_, both) = speaking({"a": [view(1)], "b": [view(-1)]}, EnsembleSettings(enabled=True, weights={"a": 3, "b": 1}))
    assert both.parts == {"a": 0.75, "b": -0.25}
    with pytest.raises(BadInput, match=r"of strategies that run \(a\), found \{'x': 1"):
        SignalStage([Said([], "a")], EnsembleSettings(enabled=True, weights={"x": 1.0}))
    with pytest.raises(BadInput, match="a strategy is called ensemble"):
        SignalStage([Said([], "ensemble")], ON)


def weights(seq: int, **by_name: float) -> StrategyWeights:
    return StrategyWeights(seq, 1, by_name, {}, "")


def test_learned_weights_change_the_view_at_the_tick_that_brings_them() -> None:
    settings = EnsembleSettings(enabled=True, weights="learned")
    stage = SignalStage([Said([view(1), None], "a"), Said([view(-1, 0.5), None], "b")], settings)
    stage.on_tick(MINUTE, [row(1)])
    restored = SignalStage([Said([view(1), None], "a"), Said([view(-1, 0.5), None], "b")], settings)
    restored.restore(stage.snapshot())
    for one in (stage, restored):
        (signal,) = one.on_tick(2 * MINUTE, [weights(1, a=0.2, b=0.8), row(2)])
        assert isinstance(signal, Signal) and signal.direction == -1
        assert signal.strength == pytest.approx(0.2)
        assert signal.parts == {"a": pytest.approx(0.2), "b": pytest.approx(-0.4)}
        assert signal.cause_ids == ["sig-AAPL-1", "sig-AAPL-2", "weights-1"]
        assert one.on_tick(3 * MINUTE, [weights(1, a=0.9, b=0.1)]) == [], "a repeat changes nothing"
        again = SignalStage([Said([], "a"), Said([], "b")], settings)
        again.restore(one.snapshot())
        assert again.snapshot() == one.snapshot()


def test_fixed_weights_do_not_listen_to_feedback() -> None:
    stage = SignalStage([Said([view(1)], "a"), Said([view(-1, 0.5)], "b")], ON)
    stage.on_tick(MINUTE, [row(1)])
    assert stage.on_tick(2 * MINUTE, [weights(1, a=0.1, b=0.9)]) == []


def test_the_portfolio_trades_the_ensemble_alone_where_it_is_on() -> None:
    on = load_settings(environment={"SIGNALS__ENSEMBLE__ENABLED": "true"})
    assert on.portfolio().strategies == ("ensemble",) and load_settings(environment={}).portfolio().strategies is None
    portfolio = stages.portfolio(on)()
    signals = [*speaking({"a": [view(1)], "b": [view(1)]}, ON)]
    made = portfolio.on_tick(MINUTE, [bar("AAPL", 1, MINUTE), *signals])
    (proposal,) = [one for one in made if type(one) is OrderProposal]
    assert (proposal.strategy, proposal.signal_ids) == ("ensemble", ["sig-AAPL-3"])


def test_what_a_strategy_held_before_the_ensemble_was_switched_on_is_given_up() -> None:
    alone = PortfolioStage()
    (signal,) = speaking({"a": [view(1)]}, EnsembleSettings())
    assert any(type(one) is OrderProposal for one in alone.on_tick(MINUTE, [bar("AAPL", 1, MINUTE), signal]))
    together = PortfolioStage(PortfolioSettings(strategies=("ensemble",)))
    together.restore(alone.snapshot())
    together._pending.clear()
    together.on_tick(2 * MINUTE, [bar("AAPL", 2, 2 * MINUTE)])
    assert [target.quantity for target in together._targets["AAPL"].values()] == [0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threshold": 1.0}, "threshold must be in"),
        ({"change_min": -0.1}, "change_min must be in"),
        ({"weights": {"a": -1.0}}, "numbers >= 0"),
        ({"weights": {}}, "numbers >= 0"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        EnsembleSettings(**wrong)


# -- the strategy that follows a model ---------------------------------------------------------------------------------


def test_the_model_strategy_asks_for_costs_at_the_entry_only() -> None:
    strategy = ModelForecast(cost_bps=20, probability_min=0.55)
    state: Any = None
    got = []
    forecasts = [(0.001, 0.9, 0.0), (0.003, 0.54, 0.0), (0.003, 0.6, 0.0), (0.0005, 0.51, 0.0), (-0.001, 0.45, 0.0)]
    forecasts += [(-0.003, 0.4, 0.0), (-0.003, 0.4, 1.0), (-0.003, 0.4, 0.5)]
    for seq, (gain, up, drift) in enumerate(forecasts, 1):
        state, said = strategy.decide(Prediction("A", seq, seq, "m", "h", "f", 5, gain, up, drift), state)
        got.append(None if said is None else said.direction)
    assert got == [None, None, 1, None, 0, -1, 0, -1]


def test_the_model_strategy_refuses_wrong_parameters() -> None:
    with pytest.raises(BadInput, match=r"strategy model: probability_min must be from .* found 0.3$"):
        ModelForecast(probability_min=0.3)
