"""Changes of settings at run time: what they may touch, how errors read, and what a record holds."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from configs.configuration_changes import is_live, next_configuration, sort_overrides, with_overrides
from configs.configuration_publishing import Origin, prepare_change
from configs.recorded_settings import DECISION_SECTIONS, recorded_text, settings_of
from configs.settings import Settings, load_settings
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.live_configuration import require_host_files
from schemas.errors import BadInput
from schemas.records import Configuration
from tests.builders import configuration

SECRETS = {
    "DATABASE_URL": "postgresql://desk:fake-database-password@db/trading",  # pragma: allowlist secret
    "API_JWT_KEY": "fake-jwt-key-" * 4,
    "ALPACA_API_KEY": "fake-alpaca-key",
    "ALPACA_SECRET_KEY": "fake-alpaca-secret",
    "POLYGON_API_KEY": "fake-polygon-key",
    "KAFKA_PASSWORD": "fake-kafka-password",
}
STRATEGY = """
from operators.strategies import TargetView

class Mine:
    name, features = "mine", ()

    def decide(self, row, state):
        return None, TargetView(1, 0.5, 1.0, {})
"""


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(environment={})


@pytest.mark.parametrize(
    "file", [None, *sorted(Path("configs/examples").glob("*.yaml")), Path("tests/replay/settings.yaml")]
)
def test_the_recorded_settings_are_read_back_unchanged_and_hold_no_secret(file: Path | None) -> None:
    own = load_settings(file, SECRETS)
    text = recorded_text(own)
    assert not [value for value in SECRETS.values() if value in text] and "***" not in text
    recorded = settings_of(configuration(1, text=text), own)
    assert recorded == own and recorded_text(recorded) == text


def test_a_credential_in_an_address_is_not_recorded(settings: Settings) -> None:
    news = settings.news.model_copy(
        update={
            "rss": settings.news.rss.model_copy(
                update={"urls": ("https://zoe:fakepw@feeds.example/rss?token=fake123",)}
            )
        }
    )
    text = recorded_text(settings.model_copy(update={"news": news}))
    assert "https://feeds.example/rss?" in text and "fake123" not in text and "zoe" not in text


def test_connections_stay_those_of_the_process(settings: Settings, tmp_path: Path) -> None:
    own = load_settings(environment={"KAFKA_BOOTSTRAP_SERVERS": "other:1", "PLATFORM_HOME": str(tmp_path)})
    taken = settings_of(configuration(1, with_overrides(settings, {"risk_manager.max_order_notional": "5"})), own)
    assert taken.risk_manager.max_order_notional == 5
    assert (taken.kafka, taken.predictions.registry) == (own.kafka, own.predictions.registry)


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("risk_manager.max_dayly_loss", "5", r"unknown setting risk_manager.max_dayly_loss; did you mean max_daily"),
        ("risk_manger.max_position", "5", r"unknown setting risk_manger.max_position; did you mean risk_manager"),
        ("risk_manager.max_order_notional", '"much"', r"setting risk_manager.max_order_notional.*found 'much'"),
        ("kafka.symbol_partitions", "5", r"kafka.symbol_partitions takes effect only at a restart"),
        ("portfolio_manager.initial_capital", "5", r"takes effect only at a restart: change it in the settings file"),
        ("risk_manager.approvals", "[]", r"takes effect only at a restart"),
        ("signals.strategies.ema_cros.capital", '"0.5"', r"unknown strategy ema_cros.*did you mean ema_cross"),
        ("signals.strategies.ema_cross.name", '"x"', r"takes effect only at a restart"),
        ("signals.strategies", '[{"name": "nothing"}]', r"unknown strategy 'nothing'"),
        ("signals.strategies.ema_cross.parameters.fast", '"x"', r"ema_cross"),
        ("features.indicators", '["sma_x"]', r"sma_x"),
        ("features.indicators.a", "1", r"unknown setting features.indicators.a"),
        ("risk_manager.initial_capital", "5", r"set by the platform from portfolio_manager.initial_capital: change"),
        ("risk_manager.account_currency", '"EUR"', r"set by the platform from portfolio_manager.currency: change"),
        ("risk_manager.accruals.margin_rate", "0", r"set by the platform from portfolio_manager.accruals: change"),
        ("portfolio_manager.capital", "{}", r"set by the platform from signals.strategies: change"),
        ("feedback.learning_rate", "NaN", r"learning_rate must be a number >= 0, found nan"),
        ("feedback.learning_rate", '"1e999"', r"learning_rate must be a number >= 0, found inf"),
        ("feedback.prior_outcomes", "Infinity", r"prior_outcomes must be a number > 0, found inf"),
        ("portfolio_manager.sizing.lot_size", '"1e999999"', r"lot_size must be > 0 and at most 1,000,000,000"),
        ("feedback.benchmark", '"\\ud800"', r"expected JSON with Unicode text"),
        ("risk_manager", '{"approvals": []}', r"risk_manager contains risk_manager.approvals, which takes effect only"),
        ("signals", "{}", r"signals contains signals.handler_time_limit_s, which takes effect only at a restart"),
    ],
)
def test_an_invalid_change_is_one_sentence(settings: Settings, setting: str, value: str, error: str) -> None:
    with pytest.raises(BadInput, match=error) as raised:
        prepare_change(settings, configuration(1, settings), {setting: value}, Origin("ann", "test"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["trend", "Trend"])
def test_a_strategy_called_by_the_name_in_its_file_gets_the_name_in_the_settings(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from operators.strategies import TradingStrategy\n\n\n"
        'class Trend(TradingStrategy):\n    name, symbols = "trend", ("SPY",)\n'
    )
    source = f"{file}:Trend"
    own = with_overrides(settings, {"signals.strategies": json.dumps([{"name": source}])})
    with pytest.raises(BadInput) as error:
        with_overrides(own, {f"signals.strategies.{name}.capital": "0.5"})
    assert str(error.value) == (
        f"unknown strategy {name} in signals.strategies.{name}.capital: its name in the settings is {source}; "
        f"did you mean signals.strategies.{source}.capital?"
    )
    changed = with_overrides(own, {f"signals.strategies.{source}.capital": "0.5"})
    assert [one.capital for one in changed.signals.strategies] == [Decimal("0.5")]


def test_a_change_does_not_put_an_edited_file_into_force(settings: Settings) -> None:
    """Without a restart, and without a second person."""
    last = configuration(1, settings)
    edited = with_overrides(settings, {"risk_manager.max_daily_loss": '"unlimited"'})
    with pytest.raises(BadInput, match=r"the settings file differs from config-1 in risk_manager: run .*restart"):
        prepare_change(edited, last, {"feedback.horizon_bars": "50"}, Origin("ann", "test"))


@pytest.mark.parametrize("topic", ["market-quotes", "news", "market-trades"])
def test_a_strategy_that_needs_a_topic_which_is_not_read_is_refused(
    settings: Settings, tmp_path: Path, topic: str
) -> None:
    declared = {"market-quotes": 'events = ("quotes",)', "news": 'events = ("news",)', "market-trades": ""}[topic]
    history = '{"100t": 5}' if topic == "market-trades" else "{}"
    file = tmp_path / "flow.py"
    file.write_text(
        "from operators.strategies import TradingStrategy\n\n\n"
        f'class Flow(TradingStrategy):\n    symbols, history = ("SPY",), {history}\n    {declared}\n'
    )
    changes = {"signals.strategies": json.dumps([{"name": f"{file}:Flow"}])}
    with pytest.raises(BadInput, match=f"a strategy needs {topic}, which the running service strategies does not read"):
        prepare_change(settings, configuration(1, settings), changes, Origin("ann", "test"))
    already = with_overrides(settings, changes)
    allowed = {"risk_manager.max_order_notional": "5"}
    change = prepare_change(already, configuration(1, already), allowed, Origin("", ""))
    assert change.record is not None


def test_a_change_is_an_override_that_survives_a_changed_file_and_can_end(settings: Settings) -> None:
    last = next_configuration(None, settings, overrides={}, actor="ann", reason="start", release="1")
    changes = {"risk_manager.max_order_notional": "500", "signals.strategies.ema_cross.capital": '"0.5"'}
    change = prepare_change(settings, last, changes, Origin("bob", "earnings"))
    record = change.record
    assert record is not None and (record.number, record.actor, record.release) == (2, "bob", "1")
    taken = settings_of(record, settings)
    assert taken.risk_manager.max_order_notional == 500
    assert [entry.capital for entry in taken.signals.strategies] == [Decimal("0.5")]
    assert prepare_change(settings, record, changes, Origin("bob", "retry")).record is None

    edited = with_overrides(settings, {"risk_manager.max_order_notional": "900", "signals.strategies": "[]"})
    usable, dropped = sort_overrides(edited, record.overrides)
    assert usable == {"risk_manager.max_order_notional": "500"}
    assert list(dropped) == ["signals.strategies.ema_cross.capital"]
    assert dropped["signals.strategies.ema_cross.capital"].startswith("unknown strategy ema_cross")
    ended = prepare_change(settings, record, dict.fromkeys(changes), Origin("ann", "over")).record
    assert ended is not None and ended.overrides == {} and ended.sha256 == last.sha256
    with pytest.raises(BadInput, match="was not changed at run time; changed settings: none"):
        prepare_change(settings, ended, dict.fromkeys(changes), Origin("ann", "again"))


def test_a_whole_section_and_a_list_of_strategies_can_change(settings: Settings) -> None:
    changes = {"feedback": '{"horizon_bars": 77}', "signals.strategies": '[{"name": "grid"}]'}
    last = configuration(1, settings)
    record = prepare_change(settings, last, changes, Origin("ann", "test")).record
    assert record is not None
    taken = settings_of(record, settings)
    assert taken.feedback.horizon_bars == 77 and [one.name for one in taken.signals.strategies] == ["grid"]
    later = prepare_change(settings, record, {"signals.strategies.grid.capital": "0.5"}, Origin("ann", "test")).record
    assert later is not None and [one.capital for one in settings_of(later, settings).signals.strategies] == [
        Decimal("0.5")
    ]
    for value in ("5", '"x"', "[5]", '[{"parameters": 5}]', "{}"):
        wrong = {"signals.strategies": value, "signals.strategies.grid.capital": "0.5"}
        with pytest.raises(BadInput, match=r"unknown strategy grid|signals.strategies"):
            prepare_change(settings, last, wrong, Origin("ann", "test"))


def test_an_override_of_an_earlier_release_without_effect_can_end(settings: Settings) -> None:
    setting = "risk_manager.initial_capital"
    last = configuration(1, with_overrides(settings, {setting: "5"}))._replace(overrides={setting: "5"})
    record = prepare_change(settings, last, {setting: None}, Origin("ann", "test")).record
    assert record is not None and record.overrides == {}
    usable, dropped = sort_overrides(settings, last.overrides)
    assert usable == {} and dropped[setting].startswith(f"setting {setting} is set by the platform from")


def test_only_sections_that_change_decisions_are_live() -> None:
    assert all(is_live(f"{name}.x") for name in ("risk_manager", "portfolio_manager", "feedback", "instruments"))
    others = set(Settings.model_fields) - set(DECISION_SECTIONS)
    assert not [name for name in others if is_live(name)]
    assert not is_live("execution.broker") and is_live("execution.venue.slippage_bps")


def test_a_stage_refuses_a_file_that_is_not_that_of_its_configuration(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(STRATEGY)
    named = with_overrides(settings, {"signals.strategies": json.dumps([{"name": f"{file}:Mine"}])})
    last = next_configuration(None, named, overrides={}, actor="ann", reason="start", release="1")
    assert last.sources == {str(file): STRATEGY}
    made: list[Settings] = []
    newest: list[Configuration] = [last]
    monkeypatch.setattr("dataflows.runtime.live_configuration.newest_of", lambda _: newest[0])

    def make(current: Settings) -> object:
        made.append(current)
        return object

    factory = StageFactory(make, settings, check_sources=lambda one: require_host_files(one, settings))  # type: ignore[arg-type]
    factory.constructor(last)
    file.write_text(STRATEGY + "\n# edited\n")
    with pytest.raises(BadInput, match=r"mine.py of this host is not that of config-1: expected sha256 .*restart"):
        factory.constructor(last)
    newest[0] = next_configuration(last, named, overrides={}, actor="ann", reason="start", release="1")
    assert newest[0].sha256 != last.sha256
    factory.constructor(last)
    factory.constructor(newest[0])
    file.unlink()
    with pytest.raises(BadInput, match="found no file"):
        factory.constructor(last)
