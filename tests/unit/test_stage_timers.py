"""Services publish when their next timer is due, so that a live feed closes a time slice then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from configs.settings import load_settings
from dataflows.runtime import stages
from dataflows.runtime.handler_timeouts import StageWithTimeouts
from dataflows.runtime.stage_timers import StageWithTimers, with_timers
from operators.gateway import GatewaySettings, GatewayStage
from operators.sentiment import LlmSettings, SentimentSettings, SentimentStage
from operators.stage import next_timer_ns
from schemas.records import GTD, REJECTED, Record, StageTimer
from tests.builders import news_item, order
from tests.unit.portfolio_harness import SHARES, PortfolioHarness
from tests.unit.test_trading_timers import CALENDAR, Timed
from tests.unit.trading_harness import OPEN_NS, bars, minute, stage_of

SECOND_NS, MINUTE_NS = 10**9, 60 * 10**9


class Countdown:
    """A stage whose next timer a test sets."""

    due_ns: int | None = None

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return []

    def next_timer_ns(self) -> int | None:
        return self.due_ns

    def snapshot(self) -> Any:
        return ("state",)

    def restore(self, snapshot: Any) -> None:
        assert snapshot == ("state",)


def test_a_timer_is_published_when_it_changes() -> None:
    inner = Countdown()
    stage = StageWithTimers("execution", inner)
    published: list[Record] = []
    for ts_ns, due_ns in ((1, None), (2, 50), (3, 50), (4, 40), (5, None), (6, 40), (40, 40), (41, 30)):
        inner.due_ns = due_ns
        published += stage.on_slice(ts_ns, [])
    expected = [(2, 50), (4, 40), (6, 40)]
    assert published == [StageTimer(ts_ns=ts_ns, service="execution", due_ns=due_ns) for ts_ns, due_ns in expected]
    assert stage.snapshot() == ("state",)
    stage.restore(("state",))


def test_an_expiry_of_an_order_at_a_broker_is_a_timer() -> None:
    stage = GatewayStage(GatewaySettings())
    assert next_timer_ns(stage) is None
    for seq, expires_s in ((1, 50), (2, 30)):
        expiring = order(seq, limit_price=99, time_in_force=GTD, expires_ns=expires_s * SECOND_NS)
        stage.on_slice(seq * SECOND_NS, [expiring])
    assert next_timer_ns(stage) == 30 * SECOND_NS
    stage.on_slice(30 * SECOND_NS, [])
    assert next_timer_ns(stage) == 50 * SECOND_NS, "the broker has not confirmed the cancel of the other one yet"


def test_the_timeout_of_the_language_model_is_a_timer() -> None:
    llm = LlmSettings(enabled=True, base_url="http://127.0.0.1:1/v1", model="m", timeout_s=10.0)
    stage = SentimentStage(SentimentSettings(llm=llm))
    stage.on_slice(SECOND_NS, [news_item("one", 1, ("A",))])
    stage.on_slice(2 * SECOND_NS, [news_item("two", 1, ("A",))])
    assert next_timer_ns(stage) == 11 * SECOND_NS
    stage.on_slice(11 * SECOND_NS, [])
    assert next_timer_ns(stage) == 12 * SECOND_NS


def test_the_retry_of_an_exit_is_a_timer() -> None:
    desk = PortfolioHarness(replace(SHARES, exit_retry_s=90))
    desk.signal(1)
    desk.step()
    desk.report("TRADE")
    desk.signal(0)
    desk.step()
    assert next_timer_ns(desk.stage) is None
    desk.report(REJECTED)
    desk.step()
    assert next_timer_ns(desk.stage) == desk.minute * MINUTE_NS + 90 * SECOND_NS


def test_a_handler_at_a_time_is_a_timer() -> None:
    stage = StageWithTimeouts(stage_of(Timed(), sessions=CALENDAR), {})
    stage.on_slice(minute(1), bars(1, "KO"))
    assert next_timer_ns(stage) == OPEN_NS + 5 * MINUTE_NS
    stage.on_slice(minute(5), bars(5, "KO"))
    assert next_timer_ns(stage) == OPEN_NS + 380 * MINUTE_NS
    stage.on_slice(minute(400), [])
    assert next_timer_ns(stage) == OPEN_NS + 1445 * MINUTE_NS


@pytest.mark.parametrize(("feed", "is_timed"), [("live", True), ("simulator", False)])
def test_only_a_live_feed_needs_timers(feed: str, is_timed: bool) -> None:
    environment = {"MARKET_DATA__FEED": feed, "MARKET_DATA__PROVIDERS": '["simulator"]'}
    settings = load_settings(environment=environment)
    make_stage = stages.portfolio(settings)
    assert isinstance(with_timers("portfolio", make_stage, settings)(), StageWithTimers) == is_timed
