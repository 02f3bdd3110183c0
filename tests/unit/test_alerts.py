"""Alert settings and conditions: each alert fires beyond its threshold and not at or below it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.alerting.conditions import WINDOW_S, Conditions, MetricsPage
from api.market_hours import market_open, slice_interval_s
from configs.alerts import ALERT_NAMES, QuietHours
from configs.settings import Settings, load_settings
from schemas.errors import BadInput

ROOT = Path(__file__).parents[2]
ALERTS = load_settings(environment={}).alerts
BRIEF = yaml.safe_load(
    """
alerts:
  portfolio: {daily_loss_threshold: -5000, position_concentration: 0.15, margin_utilization: 0.8}
  system: {service_downtime: 30s, database_latency: 100ms, message_queue_lag: 1000}
  trading: {order_rejection_rate: 0.05, execution_latency: 5s, circuit_breaker_activation: immediate}
"""
)["alerts"]


def alert_keys(page: str, conditions: Conditions | None = None, now: float = 0.0) -> set[str]:
    return {alert.key for alert in (conditions or Conditions(ALERTS)).evaluate(MetricsPage(page), now)}


# Each case: metrics that do not fire the alert, metrics that fire it, and its key.
CASES = {
    "suspended strategy": (
        "platform_trading_halted 0",
        'platform_strategy_suspended{strategy="trend",symbol="SPY",error="KeyError",position="trend.py:3"} 1',
        "strategy_suspension/trend",
    ),
    "suspended indicator": (
        "platform_trading_halted 0",
        'platform_analysis_suspended{component="indicator:sma_5",symbol="SPY"} 1',
        "analysis_suspension/indicator:sma_5",
    ),
    "failing risk check": (
        "platform_trading_halted 0",
        'platform_risk_check_errors{check="max_position",error="KeyError"} 2',
        "risk_check_error/max_position",
    ),
    "loss": (
        'platform_portfolio_pnl{window="day"} -5000\nplatform_portfolio_pnl{window="month"} -9000',
        'platform_portfolio_pnl{window="day"} -5000.01',
        "daily_loss_threshold",
    ),
    "position": (
        'platform_position_share_ratio{sector="x",symbol="SPY"} 0.15',
        'platform_position_share_ratio{sector="x",symbol="SPY"} 0.151',
        "position_concentration/SPY",
    ),
    "held symbol without bars": (
        'platform_position_price_age_seconds{sector="x",symbol="META"} 300',
        'platform_position_price_age_seconds{sector="x",symbol="META"} 301',
        "stale_position/META",
    ),
    "margin": (
        'platform_risk_limit_usage_ratio{measure="daily_loss",symbol=""} 0.9',
        'platform_risk_limit_usage_ratio{measure="margin_initial",symbol=""} 0.81',
        "margin_utilization/margin_initial",
    ),
    "service": (
        'platform_service_up{service="risk"} 1',
        'platform_service_up{service="risk"} 0',
        "service_downtime/risk",
    ),
    "postgres": ("platform_database_up 1", "platform_database_up 0", "service_downtime/postgres"),
    "query": (
        "platform_database_query_seconds 0.1",
        "platform_database_query_seconds 0.11",
        "database_latency",
    ),
    "lag": (
        'platform_kafka_service_lag_messages{service="risk"} 1000',
        'platform_kafka_service_lag_messages{service="risk"} 1001',
        "message_queue_lag/risk",
    ),
    "feed": (
        'platform_dataflow_still_seconds{service="market_data"} 300\nplatform_dataflow_still_seconds{service="x"} 999',
        'platform_dataflow_still_seconds{service="market_data"} 301',
        "stale_feed",
    ),
    "halt": (
        'platform_dataflow_halted{service="features"} 0',
        'platform_dataflow_halted{service="features"} 1',
        "dataflow_halted/features",
    ),
    "configuration": (
        'platform_service_configuration_behind{service="risk"} 0',
        'platform_service_configuration_behind{service="risk"} 1',
        "configuration_lag/risk",
    ),
    "check": ('platform_check_ok{check="verify"} 1', 'platform_check_ok{check="verify"} 0', "check_failure/verify"),
    "supervisor": ("platform_supervisor_up 1", "platform_supervisor_up 0", "service_downtime/supervisor"),
    "overdue check": (
        'platform_check_overdue_seconds{check="verify"} 0',
        'platform_check_overdue_seconds{check="verify"} 1',
        "check_overdue/verify",
    ),
    "thread": (
        'platform_thread_death_age_seconds{service="news",thread="news source"} 300',
        'platform_thread_death_age_seconds{service="news",thread="news source"} 299',
        "thread_death/news/news source",
    ),
    "disk": (
        'platform_host_disk_bytes{state="free"} 10\nplatform_host_disk_bytes{state="total"} 100',
        'platform_host_disk_bytes{state="free"} 9\nplatform_host_disk_bytes{state="total"} 100',
        "disk_space",
    ),
    "disk forecast": ("platform_host_disk_days_left 14", "platform_host_disk_days_left 13.9", "disk_days_left"),
    "clock": ("platform_clock_skew_seconds 1", "platform_clock_skew_seconds 1.1", "clock_skew/postgres"),
    "clock step": ("platform_clock_step_seconds 1", "platform_clock_step_seconds 1.1", "clock_skew/step"),
    "rejections": (
        "platform_order_rejection_ratio 0.5\nplatform_order_decisions 19",
        "platform_order_rejection_ratio 0.06\nplatform_order_decisions 20",
        "order_rejection_rate",
    ),
    "fills": (
        'platform_execution_latency_seconds{quantile="0.95"} 65\nplatform_bar_interval_seconds 60',
        'platform_execution_latency_seconds{quantile="0.95"} 6',
        "execution_latency",
    ),
    "breaker": (
        "platform_circuit_breakers_open 0",
        'platform_circuit_breaker_open{breaker="loss",key="",scope="PORTFOLIO",state="HALTED"} 1',
        "circuit_breaker_activation/loss/PORTFOLIO",
    ),
    "unconfirmed halt": (
        "platform_kill_switch_unconfirmed 0",
        "platform_kill_switch_unconfirmed 1",
        "kill_switch_unconfirmed",
    ),
    "kill switch": (
        "platform_trading_halted 0",
        "platform_trading_halted 1",
        "circuit_breaker_activation/kill_switch",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_alert_fires_only_beyond_its_threshold(case: str) -> None:
    quiet_page, firing_page, key = CASES[case]
    assert alert_keys(quiet_page + "\n") == set()
    assert alert_keys(firing_page + "\n") == {key}


def test_emulated_stops_alert_only_while_the_gateway_may_not_run() -> None:
    stops = "platform_emulated_stops 2\n"
    running = 'platform_service_up{service="execution"} 1\nplatform_supervisor_up 1\n'
    assert alert_keys(stops + running) == set()
    assert "emulated_stop" in alert_keys(stops + 'platform_service_up{service="execution"} 0\n')
    assert "emulated_stop" in alert_keys(stops + "platform_supervisor_up 0\n")
    assert "emulated_stop" not in alert_keys("platform_emulated_stops 0\nplatform_supervisor_up 0\n")


def test_dead_letters_and_gaps_count_within_the_window() -> None:
    page = (
        'platform_dataflow_records_in_total{{service="risk"}} {0}\n'
        'platform_dataflow_dead_letters_total{{service="risk"}} {1}\n'
        'platform_dataflow_seq_gaps_total{{service="risk"}} {2}\n'
    )
    conditions = Conditions(ALERTS)
    assert alert_keys(page.format(1000, 50, 2), conditions, 0) == set(), "what was before the first reading is old"
    assert alert_keys(page.format(2000, 59, 2), conditions, 10) == set(), "9 of 1,009"
    assert alert_keys(page.format(2100, 70, 2), conditions, 20) == {"dead_letter_rate/risk"}
    # The counters restart: 3 gaps since then.
    assert alert_keys(page.format(500, 0, 3), conditions, 30) == {"dead_letter_rate/risk", "missing_records/risk"}
    assert alert_keys(page.format(9000, 0, 3), conditions, 31 + WINDOW_S) == set()


def test_a_command_without_a_valid_signature_fires_once_for_all_services() -> None:
    page = "".join(
        f'platform_dataflow_unverified_commands_total{{{{service="{service}"}}}} {{0}}\n'
        for service in ("execution", "portfolio", "risk", "signals")
    )
    conditions = Conditions(ALERTS)
    assert alert_keys(page.format(1), conditions, 0) == set(), "what was before the first reading is old"
    assert alert_keys(page.format(2), conditions, 10) == {"unverified_command"}
    assert alert_keys(page.format(2), conditions, 11 + WINDOW_S) == set()


def test_service_in_a_crash_loop_fires_within_the_window() -> None:
    page = 'platform_service_restarts_total{{service="risk"}} {}\n'
    conditions = Conditions(ALERTS)
    assert alert_keys(page.format(50), conditions, 0) == set(), "what was before the first reading is old"
    assert alert_keys(page.format(53), conditions, 10) == set()
    assert alert_keys(page.format(54), conditions, 20) == {"crash_loop/risk"}
    assert alert_keys(page.format(54), conditions, 21 + WINDOW_S) == set()


def test_crash_loop_stays_open_until_the_service_is_started() -> None:
    page = 'platform_service_crash_loop{{service="risk"}} {}\nplatform_service_crash_loop{{service="api"}} 0\n'
    conditions = Conditions(ALERTS)
    assert alert_keys(page.format(1), conditions, 0) == {"crash_loop/risk"}
    assert alert_keys(page.format(1), conditions, 10 * WINDOW_S) == {"crash_loop/risk"}, "no restart within the window"
    assert alert_keys(page.format(0), conditions, 11 * WINDOW_S) == set()


def test_check_that_did_not_complete_is_not_reported_as_a_difference() -> None:
    page = 'platform_check_ok{check="verify"} 0\nplatform_check_completed{check="verify"} '
    summaries = [Conditions(ALERTS).evaluate(MetricsPage(f"{page}{number}\n"), 0.0)[0].summary for number in (0, 1)]
    hint = "; `status --detailed` shows the message"
    assert summaries == [f"the check verify did not complete{hint}", f"the check verify found a difference{hint}"]
    page = 'platform_check_ok{check="archive"} 0\nplatform_check_completed{check="archive"} 0\n'
    (job,) = Conditions(ALERTS).evaluate(MetricsPage(page), 0.0)
    assert job.summary == f"the nightly job archive create did not complete{hint}"


def test_unreachable_metrics_page_raises_the_api_down_alert() -> None:
    [alert] = Conditions(ALERTS).evaluate(None, 0.0)
    assert (alert.key, alert.hold_s) == ("service_downtime/api", 30.0)


def test_silent_feed_raises_no_alert_while_the_market_is_closed() -> None:
    page = 'platform_dataflow_still_seconds{service="market_data"} 9999\n'
    assert alert_keys(page, Conditions(ALERTS, market_open=lambda: False)) == set()


def test_position_without_bars_fires_only_while_the_market_is_open_and_after_a_while() -> None:
    page = 'platform_position_price_age_seconds{sector="x",symbol="META"} 60000\n'
    assert alert_keys(page, Conditions(ALERTS, market_open=lambda: False)) == set()
    (active,) = Conditions(ALERTS).evaluate(MetricsPage(page), 0.0)
    assert (active.key, active.hold_s) == ("stale_position/META", 300.0), (
        "the first bar of a session has time to arrive"
    )


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2024-03-08T14:30", True),  # Friday 9:30 in New York
        ("2024-03-08T09:30", True),  # 4:30, pre-market
        ("2024-03-08T08:30", False),
        ("2024-03-09T15:00", False),  # Saturday
        ("2024-07-04T15:00", False),  # a holiday
        ("2024-07-03T20:30", True),  # early close at 13:00, then four hours of post-market
        ("2024-07-03T22:30", False),
    ],
)
def test_market_open_follows_the_exchange_hours(at: str, is_open: bool) -> None:
    settings = load_settings(environment={"MARKET_DATA__FEED": "files"})
    assert market_open(settings, datetime.fromisoformat(at).replace(tzinfo=UTC)) is is_open
    assert market_open(load_settings(environment={}), datetime(2024, 3, 9, tzinfo=UTC)), "a simulator never closes"


def test_market_open_of_a_live_feed_follows_its_own_calendar() -> None:
    saturday = datetime(2024, 3, 9, 15, tzinfo=UTC)
    pre_market = datetime(2024, 3, 8, 9, 30, tzinfo=UTC)
    live = {"MARKET_DATA__FEED": "live", "MARKET_DATA__PROVIDERS": "[simulator]"}
    always = load_settings(environment={**live, "MARKET_DATA__LIVE__CALENDAR": "24/7"})
    regular = load_settings(environment={**live, "MARKET_DATA__LIVE__SESSION": "regular"})
    assert market_open(always, saturday)
    assert not market_open(regular, saturday)
    assert not market_open(regular, pre_market)
    assert (slice_interval_s(always, saturday), slice_interval_s(regular, pre_market)) == (1.0, 30.0)
    assert slice_interval_s(load_settings(environment={}), saturday) == 0.0, "not a live feed"


def _settings(**overrides: Any) -> Settings:
    environment = {
        f"ALERTS__{key.upper()}": yaml.safe_dump(value, default_flow_style=True) for key, value in overrides.items()
    }
    return load_settings(environment=environment)


def test_thresholds_match_the_brief_and_the_prometheus_rules() -> None:
    shipped = yaml.safe_load((ROOT / "configs" / "alerts.yaml").read_text())["alerts"]
    for section, entries in BRIEF.items():
        assert entries.items() <= shipped[section].items()
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
    for condition in (
        f'platform_portfolio_pnl{{window="day"}} < {ALERTS.portfolio.daily_loss_threshold:.0f}\n',
        f"platform_position_share_ratio > {ALERTS.portfolio.position_concentration}\n",
        f"> {ALERTS.portfolio.margin_utilization}\n",
        f"platform_position_price_age_seconds > {ALERTS.portfolio.stale_position:.0f}\n",
        f"platform_database_query_seconds[1m]) > {ALERTS.system.database_latency}\n",
        f"platform_kafka_service_lag_messages > {ALERTS.system.message_queue_lag}\n",
        f'{{service="market_data"}} > {ALERTS.system.stale_feed:.0f}\n',
        f"> {ALERTS.system.dead_letter_rate}\n",
        f"platform_order_rejection_ratio > {ALERTS.trading.order_rejection_rate} and",
        f"platform_bar_interval_seconds > {ALERTS.trading.execution_latency:.0f}\n",
    ):
        assert condition in rules, condition
    for condition in (
        f"platform_service_restarts_total[5m]) > {ALERTS.system.crash_loop}\n",
        f'state="total"}} < {ALERTS.system.disk_space}\n',
        f"platform_host_disk_days_left < {ALERTS.system.disk_days_left:.0f}\n",
        f"platform_clock_skew_seconds > {ALERTS.system.clock_skew:.0f}\n",
        f"platform_clock_step_seconds > {ALERTS.system.clock_skew:.0f}\n",
        f"platform_thread_death_age_seconds < {WINDOW_S:.0f}\n",
    ):
        assert condition in rules, condition
    behind_s = ALERTS.system.configuration_lag
    assert behind_s is not None
    assert f"platform_service_configuration_behind == 1\n        for: {behind_s / 60:.0f}m" in rules
    assert f"platform_service_up == 0\n        for: {ALERTS.system.service_downtime:.0f}s" in rules
    assert set(shipped["severity"]) <= ALERT_NAMES


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ALERTS__PORTFOLIO__DAILY_LOSS": "1"}, "alerts.portfolio.daily_loss"),
        ({"ALERTS__SYSTEM__SERVICE_DOWNTIME": "soon"}, "must be a duration"),
        ({"ALERTS__PORTFOLIO__DAILY_LOSS_THRESHOLD": "5000"}, "less than 0"),
        ({"ALERTS__SEVERITY": "{weather: info}"}, "severity: unknown alert 'weather'. Known alerts: "),
        ({"ALERTS__SEVERITY": "{stale_fed: info}"}, "unknown alert 'stale_fed'; did you mean stale_feed?"),
        ({"ALERTS__CHANNELS": "[{name: a, secret: NONE}]"}, "configs/secrets.yaml"),
        ({"ALERTS__CHANNELS": "[{name: a, secret: ALERT_URL}]"}, "did you mean ALERT_URLS?"),
        ({"ALERTS__QUIET_HOURS": "{begin: '22:00', end: '07:00', timezone: Mars/Base}"}, "Mars/Base"),
    ],
)
def test_invalid_settings_give_a_one_line_error(environment: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=r"^(unknown )?setting alerts") as error:
        load_settings(environment=environment)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_disabled_alert_never_fires() -> None:
    disabled = _settings(trading={"circuit_breaker_activation": None}).alerts
    assert alert_keys("platform_trading_halted 1\n", Conditions(disabled)) == set()


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2024-03-08T21:59", None),
        ("2024-03-08T22:00", "2024-03-09T07:00"),
        ("2024-03-09T06:59", "2024-03-09T07:00"),
        ("2024-03-09T07:00", None),
    ],
)
def test_quiet_hours_delay_warnings_until_they_end(at: str, until: str | None) -> None:
    quiet_hours = QuietHours.model_validate({"begin": "22:00", "end": "07:00", "timezone": "UTC"})
    now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    expected = None if until is None else datetime.fromisoformat(until).replace(tzinfo=UTC)
    assert quiet_hours.deferred_until("warning", now) == expected
    assert quiet_hours.deferred_until("critical", now) is None


def test_quiet_hours_use_their_timezone() -> None:
    quiet_hours = QuietHours.model_validate({"begin": "09:00", "end": "17:00", "timezone": "America/New_York"})
    # 12:00 in New York, before and after the change to daylight saving time.
    for hour, day in ((17, 8), (16, 11)):
        until = quiet_hours.deferred_until("warning", datetime(2024, 3, day, hour, tzinfo=UTC))
        assert until is not None and until.astimezone(UTC).hour == hour + 5
