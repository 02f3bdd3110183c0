"""Settings: defaults, then the user's file, then the environment. Each error is one line."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError

from configs.settings import is_overridden, load_settings
from schemas.errors import BadInput


def load(text: str | None = None, folder: Path | None = None, **environment: str) -> Any:
    file = None
    if text is not None and folder is not None:
        file = folder / "mine.yaml"
        file.write_text(text)
    return load_settings(file, environment)


def error_message(text: str | None = None, folder: Path | None = None, **environment: str) -> str:
    with pytest.raises(BadInput) as error:
        load(text, folder, **environment)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_default_files_are_sufficient() -> None:
    settings = load()
    assert settings.portfolio_manager.initial_capital == Decimal(1_000_000)
    assert settings.kafka.symbol_partitions == 4
    assert settings.risk_manager.max_order_notional == Decimal(100_000)


def test_a_key_is_overridden_by_the_users_file_or_the_environment(tmp_path: Path) -> None:
    path = ("signals", "strategies")
    file, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    file.write_text("signals: {strategies: []}")
    other.write_text("signals: {ensemble: {enabled: true}}")
    assert is_overridden(path, file, {}) and is_overridden(path, None, {"PLATFORM_SETTINGS": str(file)})
    assert is_overridden(path, other, {"SIGNALS__STRATEGIES": "[]"})
    assert not is_overridden(path, other, {}) and not is_overridden(path, None, {})


def test_user_file_overrides_defaults_and_environment_overrides_both(tmp_path: Path) -> None:
    text = "portfolio_manager: {initial_capital: 5}\nmarket_data: {simulator: {seed: 8}}\n"
    settings = load(text, tmp_path, PORTFOLIO_MANAGER__INITIAL_CAPITAL="6")
    assert settings.portfolio_manager.initial_capital == 6
    assert settings.market_data.simulator.seed == 8
    assert settings.market_data.simulator.interval_s == 1, "keys beside those named keep their value"


def test_platform_settings_names_the_users_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("market_data: {simulator: {seed: 9}}\n")
    assert load(PLATFORM_SETTINGS=str(tmp_path / "mine.yaml")).market_data.simulator.seed == 9


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("DATABASE_URL", "postgresql://a@b/c", lambda s: s.database.postgres.url),
        ("REDIS_URL", "redis://a/1", lambda s: s.database.redis.url),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2", lambda s: s.kafka.bootstrap_servers),
        ("INITIAL_CAPITAL", "250000.50", lambda s: str(s.portfolio_manager.initial_capital)),
        ("MAX_POSITION_SIZE", "1234.5", lambda s: str(s.risk_manager.max_position_size)),
        ("RISK_TOLERANCE", "0.03", lambda s: str(s.portfolio_manager.sizing.fraction)),
        ("KAFKA__TOPIC_PREFIX", "mine.", lambda s: s.kafka.topic_prefix),
        ("MARKET_DATA__FILES__SPEED", "max", lambda s: s.market_data.files.speed),
        ("RISK_MANAGER__MAX_POSITION", "unlimited", lambda s: s.risk_manager.max_position),
    ],
)
def test_an_environment_variable_sets_its_key(variable: str, value: str, read: Any) -> None:
    assert read(load_settings(environment={variable: value})) == value


def test_a_list_in_the_environment_is_written_as_yaml() -> None:
    settings = load(MARKET_DATA__FILES__PATHS='["a.csv", "b.csv"]', FEATURES__INDICATORS="[sma_5]")
    assert [path.name for path in settings.market_data.files.paths] == ["a.csv", "b.csv"]
    assert settings.features.indicators == ("sma_5",)


def test_a_variable_of_its_own_name_wins_over_the_nested_one() -> None:
    settings = load(DATABASE__POSTGRES__URL="postgresql://nested/x", DATABASE_URL="postgresql://named/x")
    assert settings.database.postgres.url == "postgresql://named/x"


def test_variables_of_other_programs_are_ignored() -> None:
    assert load(MY_TOOL__LEVEL="3", PATH="/bin") == load()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("portfolio_manger: {}", ["unknown setting portfolio_manger", "did you mean portfolio_manager?"]),
        (
            "market_data: {simulator: {volume: 3}}",
            ["unknown setting market_data.simulator.volume", "expected one of interval_s, market, seed, symbols"],
        ),
        ("portfolio_manager: {sizing: {frction: 1}}", ["portfolio_manager.sizing.frction", "did you mean fraction?"]),
        ("portfolio_manager: {rebalance_freqency: 1h}", ["did you mean rebalance_frequency?"]),
        ("risk_manager: {colour: 3}", ["unknown setting risk_manager.colour", "docs/settings.md lists all settings"]),
        ("risk_manager: {max_dayly_loss: 3}", ["unknown setting risk_manager.max_dayly_loss in ", "max_daily_loss?"]),
        ("risk_manager: {breakers: [{measur: lag}]}", ["risk_manager.breakers.0.measur", "did you mean measure?"]),
        ("platform: {dead_letters: {services: {a: {per_minut: 5}}}}", ["services.a.per_minut", "mean per_minute?"]),
        (
            "database: {postgres: {retention: {orders: 5}}}",
            ["database.postgres.retention", "table 'orders' must stay complete, expected one of bars, features"],
        ),
        ("kafka: {topics: {orders: {retention: 5}}}", ["kafka.topics.orders.retention", "mean retention_days?"]),
        ("market_data: {feed: carrier_pigeon}", ["market_data.feed", "simulator", "carrier_pigeon"]),
        ("market_data: {feed: simulater}", ["market_data.feed", "found 'simulater'; did you mean simulator?"]),
        ("market_data: {simulator: {interval_s: 0}}", ["market_data.simulator.interval_s", "found 0"]),
        ("market_data: {files: {speed: -2}}", ["market_data.files.speed"]),
        ("portfolio_manager: {initial_capital: lots}", ["portfolio_manager.initial_capital", "lots"]),
        ("portfolio_manager: {sizing: {method: martingale}}", ["portfolio_manager.sizing", "martingale"]),
        ('portfolio_manager: {rebalance_frequency: "weekly"}', ["portfolio_manager", "duration", "weekly"]),
        ("risk_manager: {max_order_notional: -1}", ["max_order_notional", "-1"]),
        ("kafka: {symbol_partitions: 0}", ["kafka.symbol_partitions", "found 0"]),
        ("platform: {snapshot_interval_s: soon}", ["platform.snapshot_interval_s", "soon"]),
        ("[1, 2]", ["expected keys and values", "list"]),
        ("a: [", ["mine.yaml", "line 2, column 1"]),
        ("risk_manager:\n\tmax_order_notional: 5", ["line 2, column 1: found a tab; indent with spaces"]),
        (
            "risk_manager: {max_order_notional: lots}",
            ["max_order_notional in ", "must be a number or 'unlimited', found 'lots'"],
        ),
        (
            "signals: {strategies: ema_cross}",
            ["signals.strategies in ", "must be a list, such as [a, b], found 'ema_cross'"],
        ),
    ],
)
def test_invalid_settings_give_one_line_with_key_and_value(text: str, parts: list[str], tmp_path: Path) -> None:
    message = error_message(text, tmp_path)
    assert all(part in message for part in [*parts, "mine.yaml"]), message


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"settings file .*nope\.yaml does not exist"):
        load_settings(tmp_path / "nope.yaml", environment={})


def test_invalid_variable_gives_a_one_line_error() -> None:
    assert "kafka.symbol_partitions in environment variable KAFKA__SYMBOL_PARTITIONS" in error_message(
        KAFKA__SYMBOL_PARTITIONS="many"
    )
    assert "portfolio_manager.no_such_key" in error_message(PORTFOLIO_MANAGER__NO_SUCH_KEY="1")
    assert error_message(RISK_MANAGER__MAX_DAYLY_LOSS="5") == (
        "unknown setting risk_manager.max_dayly_loss in environment variable RISK_MANAGER__MAX_DAYLY_LOSS; "
        "did you mean max_daily_loss?"
    )
    assert "environment variable NEWS__FEED: expected YAML" in error_message(NEWS__FEED="a: [")


def test_a_variable_of_a_misspelled_section_logs_a_warning() -> None:
    with structlog.testing.capture_logs() as entries:
        assert load(RISK_MANGER__MAX_DAILY_LOSS="5") == load()
    [entry] = entries
    assert entry["name"] == "RISK_MANGER__MAX_DAILY_LOSS"
    assert entry["reason"] == "unknown section risk_manger; did you mean risk_manager?"


def test_missing_settings_file_gives_a_one_line_error() -> None:
    assert "nowhere.yaml" in error_message(PLATFORM_SETTINGS="/nonexistent/nowhere.yaml")


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.market_data.feed = "files"
    with pytest.raises(AttributeError):
        settings.portfolio_manager.initial_capital = Decimal(0)


def test_risk_counts_cash_from_the_portfolios_initial_capital() -> None:
    assert load(INITIAL_CAPITAL="77").risk().initial_capital == 77


@pytest.mark.parametrize("start", ["2024-03-07T14:30:00Z", "2024-03-07 14:30:00", "2024-03-07", "20240307"])
def test_times_need_no_quotes(start: str, tmp_path: Path) -> None:
    from_file = load(f"market_data: {{files: {{start: {start}}}}}", tmp_path)
    from_environment = load(MARKET_DATA__FILES__START=start)
    quoted = load(f'market_data: {{files: {{start: "{start}"}}}}', tmp_path)
    assert from_file == from_environment == quoted
    assert from_file.market_data.files.start == start
    assert load(MARKET_DATA__FILES__END=start).market_data.files.end == start


def test_the_error_for_an_invalid_time_shows_it_as_written() -> None:
    expected = "setting start must be an ISO date or time such as 2024-01-31, found '14:30'"
    assert error_message(MARKET_DATA__FILES__START="14:30") == expected


def test_times_of_day_and_strategy_parameters_need_no_quotes(tmp_path: Path) -> None:
    text = """
        platform: {checks: {replay_check: 2:30}}
        alerts: {quiet_hours: {begin: 22:00, end: 07:00}}
        signals: {strategies: [{name: mine.py:Mine, parameters: {flat_at: 15:55, until: 2024-03-07}}]}
    """
    settings = load(text, tmp_path)
    assert settings.platform.checks.replay_check == "02:30"
    assert (settings.alerts.quiet_hours.begin, settings.alerts.quiet_hours.end) == (time(22), time(7))
    assert settings.signals.strategies[0].parameters == {"flat_at": "15:55", "until": "2024-03-07"}
