"""Builders of the records from outside the platform, and of dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from configs.recorded_settings import configuration_sha256, recorded_text, source_hashes
from configs.settings import Settings
from schemas.records import (
    BUY,
    KILL_SWITCH,
    BrokerAccount,
    BrokerEvent,
    BrokerUpdate,
    Command,
    Configuration,
    CorporateAction,
    CorporateActionKind,
    DataRow,
    DeadLetter,
    ExchangeRate,
    Fundamentals,
    LlmAnswer,
    LlmRequest,
    NewsItem,
    SymbolState,
    TradingSession,
    TradingStatus,
)
from tests.builders.amounts import ZERO, Amount, optional_decimal, to_decimal


def command(
    command_id: str,
    ts_ns: int = 1,
    kind: str = KILL_SWITCH,
    arguments: Mapping[str, str] | None = None,
    *,
    actor: str = "tester",
    reason: str = "because",
) -> Command:
    return Command(
        command_id=command_id, ts_ns=ts_ns, kind=kind, actor=actor, reason=reason, arguments=dict(arguments or {})
    )


def news_item(
    news_id: str,
    ts_ns: int = 1,
    symbols: Sequence[str] = ("A",),
    *,
    headline: str = "Profit beats estimates",
    published_ns: int | None = None,
    source: str = "wire",
) -> NewsItem:
    """Build a headline that was published when it was received, unless `published_ns` is set."""
    return NewsItem(
        news_id=news_id,
        ts_ns=ts_ns,
        published_ns=ts_ns if published_ns is None else published_ns,
        source=source,
        headline=headline,
        summary="",
        url="",
        symbols=list(symbols),
    )


def llm_answer(
    request: LlmRequest, answer: str, *, answer_id: str | None = None, ts_ns: int = 1, error: str = ""
) -> LlmAnswer:
    return LlmAnswer(
        answer_id=answer_id or f"answer-{request.seq}",
        ts_ns=ts_ns,
        request_id=request.request_id,
        news_id=request.news_id,
        model=request.model,
        prompt=request.prompt,
        answer=answer,
        tokens_in=1,
        tokens_out=1,
        error=error,
    )


def fundamentals(
    fundamentals_id: str,
    ts_ns: int = 1,
    symbol: str = "AAPL",
    *,
    facts: Mapping[str, float] | None = None,
    ratios: Mapping[str, float] | None = None,
    period_end: int = 20231231,
    filed: int = 20240201,
    form: str = "10-K",
    currency: str = "USD",
) -> Fundamentals:
    return Fundamentals(
        fundamentals_id=fundamentals_id,
        ts_ns=ts_ns,
        symbol=symbol,
        period_end=period_end,
        filed=filed,
        form=form,
        source="sec",
        facts=dict(facts or {}),
        ratios=dict(ratios or {}),
        currency=currency,
    )


def configuration(
    number: int,
    settings: Settings | None = None,
    *,
    ts_ns: int = 1,
    text: str | None = None,
    actor: str = "tester",
    reason: str = "because",
    sources: Mapping[str, str] | None = None,
) -> Configuration:
    """Return the configuration of settings; without them, of the defaults. `text` replaces the recorded text."""
    hashes = source_hashes(sources or {})
    text = text if text is not None else "{}" if settings is None else recorded_text(settings)
    return Configuration(
        configuration_id=f"config-{number}",
        ts_ns=ts_ns,
        number=number,
        actor=actor,
        reason=reason,
        release="test",
        settings=text,
        sha256=configuration_sha256(text, hashes),
        overrides={},
        sources=dict(sources or {}),
        source_sha256=hashes,
    )


def corporate_action(
    action_id: str,
    kind: CorporateActionKind,
    symbol: str,
    *,
    ts_ns: int = 0,
    ex_date: int = 0,
    pay_date: int = 0,
    ratio: Amount | None = None,
    amount: Amount | None = None,
    currency: str = "USD",
    new_symbol: str = "",
    cost_share: Amount | None = None,
    cash_per_share: Amount | None = None,
) -> CorporateAction:
    """Build a corporate action. Without `ex_date`, it takes effect at once."""
    return CorporateAction(
        action_id=action_id,
        ts_ns=ts_ns,
        kind=kind,
        symbol=symbol,
        ex_date=ex_date,
        pay_date=pay_date,
        ratio=optional_decimal(ratio),
        amount=optional_decimal(amount),
        currency=currency,
        new_symbol=new_symbol,
        source="test",
        cost_share=optional_decimal(cost_share),
        cash_per_share=optional_decimal(cash_per_share),
    )


def exchange_rate(rate_id: str, rate: Amount, *, ts_ns: int = 0) -> ExchangeRate:
    """Build the price of one euro in dollars."""
    return ExchangeRate(rate_id=rate_id, ts_ns=ts_ns, base="EUR", quote="USD", rate=to_decimal(rate), source="test")


def trading_status(
    symbol: str, state: SymbolState, ts_ns: int, *, code: str = "T1", reason: str = "news pending"
) -> TradingStatus:
    """Build a halt or a resumption. Equal records have the same id."""
    return TradingStatus(
        status_id=f"status-{symbol}-{state}-{ts_ns}",
        ts_ns=ts_ns,
        symbol=symbol,
        state=state,
        code=code,
        reason=reason,
        source="test",
    )


def trading_session(day: int, *, ts_ns: int = 0, close: str = "16:00") -> TradingSession:
    """Build the trading hours of a day of XNYS, from 09:30 to `close` in New York."""
    date = datetime.strptime(f"{day} {close}", "%Y%m%d %H:%M").replace(tzinfo=ZoneInfo("America/New_York"))
    offset = date.utcoffset()
    assert offset is not None, "the time has a zone"
    return TradingSession(
        session_id=f"session-XNYS-{day}",
        ts_ns=ts_ns,
        calendar="XNYS",
        day=day,
        open_ns=int(date.replace(hour=9, minute=30).timestamp()) * 1_000_000_000,
        close_ns=int(date.timestamp()) * 1_000_000_000,
        utc_offset_s=int(offset.total_seconds()),
        early_close=close < "16:00",
    )


def data_row(row_id: str, ts_ns: int = 0, name: str = "vix", symbol: str = "", **values: float) -> DataRow:
    """Build a row of the user's data; without `values`, its column `close` is 14."""
    return DataRow(
        row_id=row_id, ts_ns=ts_ns, name=name, symbol=symbol, values=values or {"close": 14.0}, source="test"
    )


def broker_update(
    client_order_id: str,
    event: BrokerEvent,
    quantity: Amount = 0,
    price: Amount = 0,
    filled: Amount = 0,
    *,
    symbol: str = "AAPL",
    text: str = "",
    ts_ns: int = 0,
) -> BrokerUpdate:
    """Build a report of the broker on an order to buy. Equal reports have the same id."""
    return BrokerUpdate(
        update_id=f"{client_order_id}:{event}:{filled}:{text}",
        ts_ns=ts_ns,
        broker="alpaca",
        client_order_id=client_order_id,
        broker_order_id="",
        event=event,
        symbol=symbol,
        side=BUY,
        quantity=to_decimal(quantity),
        price=to_decimal(price),
        cum_quantity=to_decimal(filled),
        happened_ns=ts_ns,
        text=text,
    )


def broker_account(
    number: int, positions: Mapping[str, str] | None = None, open_orders: Sequence[str] = ()
) -> BrokerAccount:
    """Build the broker's account without money; `open_orders` are client order ids."""
    return BrokerAccount(
        update_id=f"acc-{number}",
        ts_ns=0,
        broker="alpaca",
        cash=ZERO,
        equity=ZERO,
        positions=dict(positions or {}),
        open_orders=dict.fromkeys(open_orders, "new"),
    )


def dead_letter(
    topic: str,
    offset: int = 1,
    *,
    partition: int = 0,
    stage: str = "market_data",
    ts_ns: int = 1,
    reason: str = "bad",
    schema_id: int | None = None,
    raw: bytes = b"",
) -> DeadLetter:
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        stage=stage,
        ts_ns=ts_ns,
        reason=reason,
        schema_id=schema_id,
        raw=raw,
    )
