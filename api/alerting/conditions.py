"""Evaluate the conditions of the alerts on the metrics page and on earlier readings of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from configs.alerts import AlertsSection
from operators.strategy_limits import LOSS_STOP
from schemas.counted import counted

WINDOW_S = 300.0
ORDERS_MIN = 20
"""The rejection rate is evaluated only with at least this many decisions."""
SETTLE_S = 15.0
"""How long a fluctuating value (query time, queue length) must exceed its limit."""

Sample = tuple[dict[str, str], float]


class ActiveCondition(NamedTuple):
    """A condition that is currently met. `key` is the alert's name and subject; `hold_s` is how long it must last."""

    key: str
    name: str
    summary: str
    value: float
    threshold: float
    hold_s: float = 0.0


class MetricsPage:
    """The samples of one reading of the metrics page, by name."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append((dict(sample.labels), sample.value))

    def samples(self, name: str, **labels: str) -> Iterator[Sample]:
        for sample_labels, value in self._samples.get(name, ()):
            if labels.items() <= sample_labels.items():
                yield sample_labels, value

    def value(self, name: str, **labels: str) -> float | None:
        return next((value for _, value in self.samples(name, **labels)), None)


class Conditions:
    """Evaluates successive readings of the metrics page. Keeps the counters of the last five minutes."""

    def __init__(self, settings: AlertsSection, *, market_open: Callable[[], bool] = lambda: True) -> None:
        self._settings, self._market_open = settings, market_open
        self._readings: deque[tuple[float, dict[tuple[str, str], float]]] = deque()

    def evaluate(self, page: MetricsPage | None, now: float) -> list[ActiveCondition]:
        """Return the active conditions. `page` is None if the request failed; `now` is in seconds of a monotonic
        clock.
        """
        if page is None:
            return list(self._service_down("api", "the API does not respond"))
        increases = self._increases(page, now)
        return [
            *self._portfolio(page),
            *self._system(page),
            *self._dataflow_conditions(increases),
            *self._trading(page),
        ]

    def _portfolio(self, page: MetricsPage) -> Iterator[ActiveCondition]:
        limits = self._settings.portfolio
        daily_pnl = page.value("platform_portfolio_pnl", window="day")
        if (
            limits.daily_loss_threshold is not None
            and daily_pnl is not None
            and daily_pnl < limits.daily_loss_threshold
        ):
            yield _active(
                "daily_loss_threshold",
                "",
                f"today's P&L is {daily_pnl:,.2f}",
                daily_pnl,
                limits.daily_loss_threshold,
            )
        if limits.position_concentration is not None:
            for labels, share in page.samples("platform_position_share_ratio"):
                if share > limits.position_concentration:
                    summary = f"the position in {labels['symbol']} is {share:.1%} of equity"
                    yield _active(
                        "position_concentration", labels["symbol"], summary, share, limits.position_concentration
                    )
        if limits.margin_utilization is not None:
            for labels, share in page.samples("platform_risk_limit_usage_ratio", symbol=""):
                if labels["measure"].startswith("margin_") and share > limits.margin_utilization:
                    summary = f"{share:.1%} of {labels['measure']} is used"
                    yield _active("margin_utilization", labels["measure"], summary, share, limits.margin_utilization)

        yield from self._stale_positions(page)

    def _stale_positions(self, page: MetricsPage) -> Iterator[ActiveCondition]:
        """Held symbols whose price is old although others have bars: risk rejects their orders.

        The condition must hold as long again, so that the first minutes of a session have no alert.
        """
        limit = self._settings.portfolio.stale_position
        if limit is None or not self._market_open():
            return
        for labels, age_s in page.samples("platform_position_price_age_seconds"):
            if age_s > limit:
                symbol = labels["symbol"]
                summary = (
                    f"{symbol} is held and has had no bar for {age_s:,.0f} s, so that risk rejects its orders; if it "
                    "is new after a symbol change, add it to market_data.live.symbols and restart market_data"
                )
                yield _active("stale_position", symbol, summary, age_s, limit, limit)

    def _service_down(self, service: str, summary: str) -> Iterator[ActiveCondition]:
        downtime = self._settings.system.service_downtime
        if downtime is not None:
            yield ActiveCondition(
                key=f"service_downtime/{service}",
                name="service_downtime",
                summary=summary,
                value=0.0,
                threshold=downtime,
                hold_s=downtime,
            )

    def _system(self, page: MetricsPage) -> Iterator[ActiveCondition]:
        limits = self._settings.system
        for labels, up in page.samples("platform_service_up"):
            if not up:
                yield from self._service_down(labels["service"], f"{labels['service']} is not healthy")
        if page.value("platform_supervisor_up") == 0:
            yield from self._service_down("supervisor", "the supervisor does not report; no service is restarted")
        for part, server in (("database", "postgres"), ("kafka", "kafka")):
            if page.value(f"platform_{part}_up") == 0 and page.value("platform_service_up", service=server) != 0:
                yield from self._service_down(server, f"{server} does not respond to the API")
        query_s = page.value("platform_database_query_seconds")
        if limits.database_latency is not None and query_s is not None and query_s > limits.database_latency:
            summary = f"a small query takes {query_s * 1000:,.0f} ms"
            yield _active("database_latency", "", summary, query_s, limits.database_latency, SETTLE_S)
        if limits.message_queue_lag is not None:
            for labels, lag in page.samples("platform_kafka_service_lag_messages"):
                if lag > limits.message_queue_lag:
                    summary = f"{labels['service']} is {lag:,.0f} messages behind"
                    yield _active(
                        "message_queue_lag", labels["service"], summary, lag, limits.message_queue_lag, SETTLE_S
                    )
        idle_s = page.value("platform_dataflow_still_seconds", service="market_data")
        if limits.stale_feed is not None and idle_s is not None and idle_s > limits.stale_feed and self._market_open():
            yield _active("stale_feed", "", f"no data from the feed for {idle_s:,.0f} s", idle_s, limits.stale_feed)
        if limits.dataflow_halted is not None:
            for labels, suspended in page.samples("platform_dataflow_halted"):
                if suspended:
                    service = labels["service"]
                    summary = (
                        f"{service} is suspended because of too many dead letters; `dead-letters release` resumes it"
                    )
                    yield _active("dataflow_halted", service, summary, 1.0, 0.0, limits.dataflow_halted)
        if limits.configuration_lag is not None:
            for labels, behind in page.samples("platform_service_configuration_behind"):
                if behind:
                    service = labels["service"]
                    summary = (
                        f"{service} has not applied the newest configuration; `status --detailed` shows its number"
                    )
                    yield _active("configuration_lag", service, summary, 1.0, 0.0, limits.configuration_lag)
        if limits.check_failure is not None:
            for labels, ok in page.samples("platform_check_ok"):
                if not ok:
                    completed = page.value("platform_check_completed", check=labels["check"]) != 0
                    found = "found a difference" if completed else "did not complete"
                    summary = f"{_scheduled(labels['check'])} {found}; `status --detailed` shows the message"
                    yield _active("check_failure", labels["check"], summary, 0.0, 1.0, limits.check_failure)

        if limits.crash_loop is not None:
            for labels, failed in page.samples("platform_service_crash_loop"):
                if failed:
                    service = labels["service"]
                    summary = f"{service} is in a crash loop and is not restarted; `service start {service}` starts it"
                    yield _active("crash_loop", service, summary, 1.0, 0.0)
        yield from self._machine(page)

    def _machine(self, page: MetricsPage) -> Iterator[ActiveCondition]:
        """Checks that did not run, threads that died, the disk and the clock."""
        limits = self._settings.system
        if limits.check_overdue is not None:
            for labels, overdue_s in page.samples("platform_check_overdue_seconds"):
                if overdue_s > 0:
                    summary = f"{_scheduled(labels['check'])} should have finished {overdue_s:,.0f} s ago"
                    yield _active("check_overdue", labels["check"], summary, overdue_s, 0.0, limits.check_overdue)
        if limits.thread_death is not None:
            for labels, age_s in page.samples("platform_thread_death_age_seconds"):
                if age_s < WINDOW_S:
                    subject = f"{labels['service']}/{labels['thread']}"
                    summary = f"the thread {labels['thread']} of {labels['service']} died; its log has the error"
                    yield _active("thread_death", subject, summary, age_s, WINDOW_S, limits.thread_death)
        free, total = (page.value("platform_host_disk_bytes", state=state) for state in ("free", "total"))
        if limits.disk_space is not None and free is not None and total and free / total < limits.disk_space:
            summary = f"{free / total:.1%} of the disk of the state folder is free ({free / 1e9:,.1f} GB)"
            yield _active("disk_space", "", summary, free / total, limits.disk_space)
        days_left = page.value("platform_host_disk_days_left")
        if limits.disk_days_left is not None and days_left is not None and days_left < limits.disk_days_left:
            summary = f"the disk of the state folder is full in {days_left:,.0f} days at the present growth"
            yield _active("disk_days_left", "", summary, days_left, limits.disk_days_left)
        if limits.clock_skew is not None:
            for name, what in (
                ("platform_clock_skew_seconds", "this machine's and PostgreSQL's clock differ by"),
                ("platform_clock_step_seconds", "this machine's clock was changed by"),
            ):
                skew_s = page.value(name)
                if skew_s is not None and skew_s > limits.clock_skew:
                    subject = "postgres" if name == "platform_clock_skew_seconds" else "step"
                    yield _active("clock_skew", subject, f"{what} {skew_s:,.1f} s", skew_s, limits.clock_skew)

    def _increases(self, page: MetricsPage, now: float) -> dict[tuple[str, str], float]:
        """Return the increase of each service's counters within the window. A counter that decreased was reset."""
        counts = {
            (name, labels["service"]): value
            for name in ("records_in", "dead_letters", "seq_gaps", "unverified_commands")
            for labels, value in page.samples(f"platform_dataflow_{name}_total")
        } | {
            ("restarts", labels["service"]): value for labels, value in page.samples("platform_service_restarts_total")
        }
        self._readings.append((now, counts))
        while self._readings[0][0] < now - WINDOW_S:
            self._readings.popleft()
        increases = dict.fromkeys(counts, 0.0)
        readings = [reading for _, reading in self._readings]
        for before, after in pairwise(readings):
            for key in increases:
                if key in before and key in after:
                    increase = after[key] - before[key]
                    increases[key] += increase if increase >= 0 else after[key]
        return increases

    def _dataflow_conditions(self, increases: Mapping[tuple[str, str], float]) -> Iterator[ActiveCondition]:
        limits = self._settings.system
        for (name, service), count in increases.items():
            if name == "seq_gaps" and count and limits.missing_records is not None:
                summary = f"{count:,.0f} records are missing in the inputs of {service}"
                yield _active("missing_records", service, summary, count, 0.0, limits.missing_records)
            # Every service that reads commands comes to the same verdict, so that one reports it.
            is_new = name == "unverified_commands" and service == "risk" and count
            if is_new and limits.unverified_command is not None:
                summary = (
                    f"{count:,.0f} commands in the log have no valid signature; `dead-letters list --topic commands` "
                    "shows who they claim to be from"
                )
                yield _active("unverified_command", "", summary, count, 0.0, limits.unverified_command)
            if name == "restarts" and limits.crash_loop is not None and count > limits.crash_loop:
                summary = f"{service} was restarted {count:,.0f} times within {WINDOW_S / 60:.0f} minutes"
                yield _active("crash_loop", service, summary, count, limits.crash_loop)
            if name == "dead_letters" and count and limits.dead_letter_rate is not None:
                share = count / max(1.0, count + increases.get(("records_in", service), 0.0))
                if share > limits.dead_letter_rate:
                    summary = f"{share:.1%} of the input of {service} became dead letters ({count:,.0f} records)"
                    yield _active("dead_letter_rate", service, summary, share, limits.dead_letter_rate)

    def _trading(self, page: MetricsPage) -> Iterator[ActiveCondition]:
        limits = self._settings.trading
        ratio, decided = page.value("platform_order_rejection_ratio"), page.value("platform_order_decisions") or 0.0
        rejection_limit = limits.order_rejection_rate
        if rejection_limit is not None and ratio is not None and decided >= ORDERS_MIN and ratio > rejection_limit:
            summary = f"{ratio:.1%} of {decided:,.0f} orders were rejected"
            yield _active("order_rejection_rate", "", summary, ratio, rejection_limit)
        latency = page.value("platform_execution_latency_seconds", quantile="0.95")
        if limits.execution_latency is not None and latency is not None:
            excess_s = latency - (page.value("platform_bar_interval_seconds") or 0.0)
            if excess_s > limits.execution_latency:
                summary = f"orders wait {excess_s:,.1f} s longer than one bar for their fills"
                yield _active("execution_latency", "", summary, excess_s, limits.execution_latency, SETTLE_S)
        if limits.analysis_suspension is not None:
            symbols_of: dict[str, list[str]] = {}
            for labels, _ in page.samples("platform_analysis_suspended"):
                symbols_of.setdefault(labels["component"], []).append(labels["symbol"])
            for component, symbols in symbols_of.items():
                name, total = component.replace(":", " "), float(len(symbols))
                suspended = counted(len(symbols), "symbol", "symbols")
                summary = f"{name} failed and is suspended for {suspended}, such as {min(symbols)}"
                yield _active("analysis_suspension", component, summary, total, 0.0, limits.analysis_suspension)
        if limits.risk_check_error is not None:
            for labels, count in page.samples("platform_risk_check_errors"):
                check, error = labels["check"], labels["error"]
                summary = f"the risk check {check} raised {error} and rejected {count:,.0f} orders"
                yield _active("risk_check_error", check, summary, count, 0.0, limits.risk_check_error)
        if limits.kill_switch_unconfirmed is not None and page.value("platform_kill_switch_unconfirmed"):
            summary = (
                "trading is halted on the host, but the gateway has not confirmed that no order works at the broker"
            )
            yield _active("kill_switch_unconfirmed", "", summary, 1.0, 0.0, limits.kill_switch_unconfirmed)
        stops = page.value("platform_emulated_stops")
        gateway_is_down = page.value("platform_service_up", service="execution") == 0
        if (
            limits.emulated_stop is not None
            and stops
            and (gateway_is_down or page.value("platform_supervisor_up") == 0)
        ):
            summary = f"{stops:,.0f} open stops work only while the platform runs, and the gateway may not run"
            yield _active("emulated_stop", "", summary, stops, 0.0, limits.emulated_stop)
        if limits.strategy_suspension is not None:
            for labels, _ in page.samples("platform_strategy_suspended"):
                summary = _suspension_summary(labels)
                hold_s = limits.strategy_suspension
                yield _active("strategy_suspension", labels["strategy"], summary, 1.0, 0.0, hold_s)
        if limits.circuit_breaker_activation is not None:
            hold_s = limits.circuit_breaker_activation
            for labels, _ in page.samples("platform_circuit_breaker_open"):
                subject = "/".join(part for part in (labels["breaker"], labels["scope"], labels["key"]) if part)
                summary = f"circuit breaker {subject} is {labels['state']}"
                yield _active("circuit_breaker_activation", subject, summary, 1.0, 0.0, hold_s)
            if page.value("platform_trading_halted"):
                yield _active("circuit_breaker_activation", "kill_switch", "trading is halted", 1.0, 0.0, hold_s)


def _suspension_summary(labels: dict[str, str]) -> str:
    strategy, position = labels["strategy"], labels["position"]
    if labels["error"] == LOSS_STOP:
        cause = "it has lost more than its limits allow"
    else:
        cause = f"{labels['error']} at {position} on {labels['symbol']}"
    return f"strategy {strategy} is suspended: {cause}; `strategies resume {strategy}` resumes it"


def _scheduled(name: str) -> str:
    """Name a scheduled check, or the nightly job that compares nothing."""
    return "the nightly job archive create" if name == "archive" else f"the check {name}"


def _active(
    name: str, subject: str, summary: str, value: float, threshold: float, hold_s: float = 0.0
) -> ActiveCondition:
    return ActiveCondition(
        key=f"{name}/{subject}" if subject else name,
        name=name,
        summary=summary,
        value=value,
        threshold=threshold,
        hold_s=hold_s,
    )
