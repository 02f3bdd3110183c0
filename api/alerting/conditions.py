"""Which alerts' conditions are met by the figures of the metrics page, and those of earlier readings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from configs.alerts import Alerts

WINDOW_S = 300.0
ORDERS_MIN = 20
"""A rate over fewer decisions says nothing."""
SETTLE_S = 15.0
"""How long a figure that jumps (a query's time, a queue's length) has to stay above its limit."""

Sample = tuple[dict[str, str], float]


class Found(NamedTuple):
    """A condition that is met now. `key` names the alert and what it is about; `hold_s` is how long it must last."""

    key: str
    name: str
    summary: str
    value: float
    threshold: float
    hold_s: float = 0.0


class Figures:
    """The samples of one reading of the page, by name."""

    def __init__(self, page: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append((dict(sample.labels), sample.value))

    def of(self, name: str, **labels: str) -> Iterator[Sample]:
        for found, value in self._samples.get(name, ()):
            if labels.items() <= found.items():
                yield found, value

    def one(self, name: str, **labels: str) -> float | None:
        return next((value for _, value in self.of(name, **labels)), None)


class Conditions:
    """Call it with each reading. Remembers the last five minutes of what only grows."""

    def __init__(self, settings: Alerts, *, market_open: Callable[[], bool] = lambda: True) -> None:
        self._settings, self._market_open = settings, market_open
        self._past: deque[tuple[float, dict[tuple[str, str], float]]] = deque()

    def of(self, figures: Figures | None, now: float) -> list[Found]:
        """`figures` is None when the page did not answer; `now` in seconds of any steady clock."""
        if figures is None:
            return list(self._down("api", "the API does not answer"))
        grown = self._grown(figures, now)
        return [*self._portfolio(figures), *self._system(figures), *self._flow(grown), *self._trading(figures)]

    def _portfolio(self, figures: Figures) -> Iterator[Found]:
        limits = self._settings.portfolio
        result = figures.one("platform_portfolio_pnl", window="day")
        if limits.daily_loss_threshold is not None and result is not None and result < limits.daily_loss_threshold:
            yield _found(
                "daily_loss_threshold", "", f"today's result is {result:,.2f}", result, limits.daily_loss_threshold
            )
        if limits.position_concentration is not None:
            for labels, share in figures.of("platform_position_share_ratio"):
                if share > limits.position_concentration:
                    said = f"{labels['symbol']} is {share:.1%} of equity"
                    yield _found("position_concentration", labels["symbol"], said, share, limits.position_concentration)
        if limits.margin_utilization is not None:
            for labels, share in figures.of("platform_risk_limit_usage_ratio", symbol=""):
                if labels["measure"].startswith("margin_") and share > limits.margin_utilization:
                    said = f"{labels['measure']} is used by {share:.1%}"
                    yield _found("margin_utilization", labels["measure"], said, share, limits.margin_utilization)

    def _down(self, service: str, said: str) -> Iterator[Found]:
        downtime = self._settings.system.service_downtime
        if downtime is not None:
            yield Found(f"service_downtime/{service}", "service_downtime", said, 0.0, downtime, downtime)

    def _system(self, figures: Figures) -> Iterator[Found]:
        limits = self._settings.system
        for labels, up in figures.of("platform_service_up"):
            if not up:
                yield from self._down(labels["service"], f"{labels['service']} is not healthy")
        for part, server in (("database", "postgres"), ("kafka", "kafka")):
            if figures.one(f"platform_{part}_up") == 0 and figures.one("platform_service_up", service=server) != 0:
                yield from self._down(server, f"{server} does not answer the API")
        took = figures.one("platform_database_query_seconds")
        if limits.database_latency is not None and took is not None and took > limits.database_latency:
            said = f"a small query takes {took * 1000:,.0f} ms"
            yield _found("database_latency", "", said, took, limits.database_latency, SETTLE_S)
        if limits.message_queue_lag is not None:
            for labels, lag in figures.of("platform_kafka_service_lag_messages"):
                if lag > limits.message_queue_lag:
                    said = f"{labels['service']} is {lag:,.0f} messages behind"
                    yield _found("message_queue_lag", labels["service"], said, lag, limits.message_queue_lag, SETTLE_S)
        still = figures.one("platform_dataflow_still_seconds", service="market_data")
        if limits.stale_feed is not None and still is not None and still > limits.stale_feed and self._market_open():
            yield _found("stale_feed", "", f"no tick from the feed for {still:,.0f} s", still, limits.stale_feed)
        if limits.dataflow_halted is not None:
            for labels, halted in figures.of("platform_dataflow_halted"):
                if halted:
                    service = labels["service"]
                    said = f"{service} has halted: too many records were set aside; dead-letters release lets it go on"
                    yield _found("dataflow_halted", service, said, 1.0, 0.0, limits.dataflow_halted)
        if limits.check_failure is not None:
            for labels, ok in figures.of("platform_check_ok"):
                if not ok:
                    said = f"{labels['check']} found a difference"
                    yield _found("check_failure", labels["check"], said, 0.0, 1.0, limits.check_failure)

    def _grown(self, figures: Figures, now: float) -> dict[tuple[str, str], float]:
        """By how much each dataflow's counts grew within the window; a count that fell was begun anew."""
        counts = {
            (name, labels["service"]): value
            for name in ("records_in", "dead_letters", "seq_gaps")
            for labels, value in figures.of(f"platform_dataflow_{name}_total")
        }
        self._past.append((now, counts))
        while self._past[0][0] < now - WINDOW_S:
            self._past.popleft()
        grown = dict.fromkeys(counts, 0.0)
        readings = [reading for _, reading in self._past]
        for before, after in pairwise(readings):
            for key in grown:
                if key in before and key in after:
                    step = after[key] - before[key]
                    grown[key] += step if step >= 0 else after[key]
        return grown

    def _flow(self, grown: Mapping[tuple[str, str], float]) -> Iterator[Found]:
        limits = self._settings.system
        for (name, service), count in grown.items():
            if name == "seq_gaps" and count and limits.missing_records is not None:
                said = f"{service} misses {count:,.0f} records of its inputs"
                yield _found("missing_records", service, said, count, 0.0, limits.missing_records)
            if name == "dead_letters" and count and limits.dead_letter_rate is not None:
                share = count / max(1.0, count + grown.get(("records_in", service), 0.0))
                if share > limits.dead_letter_rate:
                    said = f"{service} cannot take in {share:.1%} of its input ({count:,.0f} dead letters)"
                    yield _found("dead_letter_rate", service, said, share, limits.dead_letter_rate)

    def _trading(self, figures: Figures) -> Iterator[Found]:
        limits = self._settings.trading
        ratio, decided = figures.one("platform_order_rejection_ratio"), figures.one("platform_order_decisions") or 0.0
        most = limits.order_rejection_rate
        if most is not None and ratio is not None and decided >= ORDERS_MIN and ratio > most:
            said = f"{ratio:.1%} of {decided:,.0f} orders are refused"
            yield _found("order_rejection_rate", "", said, ratio, most)
        latency = figures.one("platform_execution_latency_seconds", quantile="0.95")
        if limits.execution_latency is not None and latency is not None:
            waited = latency - (figures.one("platform_bar_interval_seconds") or 0.0)
            if waited > limits.execution_latency:
                said = f"an order waits {waited:,.1f} s longer than a bar for its fill"
                yield _found("execution_latency", "", said, waited, limits.execution_latency, SETTLE_S)
        if limits.circuit_breaker_activation is not None:
            hold_s = limits.circuit_breaker_activation
            for labels, _ in figures.of("platform_circuit_breaker_open"):
                about = "/".join(part for part in (labels["breaker"], labels["scope"], labels["key"]) if part)
                said = f"breaker {about} is {labels['state']}"
                yield _found("circuit_breaker_activation", about, said, 1.0, 0.0, hold_s)
            if figures.one("platform_trading_halted"):
                yield _found("circuit_breaker_activation", "kill_switch", "trading is halted", 1.0, 0.0, hold_s)


def _found(name: str, about: str, summary: str, value: float, threshold: float, hold_s: float = 0.0) -> Found:
    return Found(f"{name}/{about}" if about else name, name, summary, value, threshold, hold_s)
