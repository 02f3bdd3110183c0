"""When the venue's orders may trade, and when time ends them, whether or not their symbol trades.

IOC, FOK  end with the first bar or quote after their arrival while the session is open
OPG       trades at the open of the first regular bar of a day after its arrival, or expires with it
CLS       trades at the close of the last regular bar of a day, or expires with it
GTD       expires at its time; of a bar that contains it, only the open counts
DAY       expires at the end of its trading day
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Literal

from operators.money import multiply, to_decimal
from operators.venue.fills import VenueFills
from operators.venue.matching import expiry_text
from operators.venue.settings import VenueSettings
from operators.venue.venue_order import VenueOrder
from operators.venue.venue_rules import VenueRules
from schemas.records import (
    CANCELED,
    CLS,
    CONTINUOUS,
    DAY,
    EXPIRED,
    FOK,
    IOC,
    OPG,
    POST,
    PRE,
    REGULAR,
    Bar,
    Record,
    SessionPhase,
    TradingSession,
)

CALENDAR = "XNYS"
RECORDED_DAYS_MAX = 64
"""Number of recent days whose recorded trading hours are stored."""
SessionEnd = Callable[[int], int | None]
"""Returns the end (ns) of the session that contains a time (ns); None if it has none."""


class OrderLifetimes:
    """The sessions of the bars, and the time in force of the orders.

    session         trading day and session of the first bar in the last time slice with bars
    regular_day     trading day of the last regular bar
    recorded_hours  open and close of recent days whose trading hours were recorded, in place of `session_end`
    """

    def __init__(
        self, settings: VenueSettings, rules: VenueRules, fills: VenueFills, session_end: SessionEnd | None
    ) -> None:
        self._settings, self._rules, self._fills, self._session_end = settings, rules, fills, session_end
        self._last_session = POST if POST in settings.sessions else REGULAR
        self.session: tuple[int, SessionPhase | Literal[""]] = (0, "")
        self.regular_day = 0
        self._session_opens = False  # whether this time slice has the first regular bars of a trading day
        self._known_end: tuple[int, SessionPhase, int | None] = (0, REGULAR, None)
        self.recorded_hours: dict[int, tuple[int, int]] = {}

    def record_hours(self, hours: TradingSession) -> None:
        """Use the recorded trading hours of a day of the exchange, if its calendar is used at all."""
        if self._session_end is None or hours.calendar != CALENDAR or hours.close_ns <= hours.open_ns:
            return
        self.recorded_hours[hours.day] = (hours.open_ns, hours.close_ns)
        if len(self.recorded_hours) > RECORDED_DAYS_MAX:
            del self.recorded_hours[min(self.recorded_hours)]
        self._known_end = (0, REGULAR, None)

    def begin_bars(self, records: Sequence[Record], first_bar: Bar) -> None:
        """Note the session of the first bar of a time slice, and whether a day's regular session opens with it."""
        self.session = (first_bar.trading_day, first_bar.session)
        bar: Bar | None = first_bar
        if first_bar.session == CONTINUOUS:
            # Crypto trades at all times; the shares in the same time slice have sessions.
            bar = next((one for one in records if type(one) is Bar and one.session != CONTINUOUS), None)
        self._session_opens = bar is not None and bar.session == REGULAR and bar.trading_day != self.regular_day
        if self._session_opens and bar is not None:
            self.regular_day = bar.trading_day

    def works_in_bar(self, ts_ns: int, order: VenueOrder, bar: Bar, out: list[Record]) -> bool:
        """Whether an order may trade in a bar or at a quote, except at the close. An order whose time is over ends."""
        if not order.is_open:
            return False  # ended with its parent
        day, terms = bar.trading_day, order.terms
        time_in_force = terms.time_in_force
        if not order.first_day:
            order.first_day = day
        elif time_in_force == DAY and day > order.first_day:
            self._end_day_order(ts_ns, order, out)
            return False
        if terms.expires_ns is not None and bar.open_ns >= terms.expires_ns:
            self._fills.end(ts_ns, order, EXPIRED, expiry_text(terms), out)
            return False
        if order.waits_for_parent:
            return False
        if time_in_force in (OPG, CLS):
            return self._works_at_auction(ts_ns, order, bar, out)
        return self._rules.can_trade(order, bar)

    def meets_close(self, order: VenueOrder, bar: Bar) -> bool:
        """Whether an on-close order meets its auction at the end of this bar, if the ends of sessions are known."""
        if order.terms.time_in_force != CLS or order.waits_for_parent:
            return False
        return bar.session == REGULAR and self._ends_session(bar)

    def end_after_bar(self, ts_ns: int, order: VenueOrder, bar: Bar, out: list[Record]) -> None:
        """End an order whose time is over with the end of the bar."""
        terms = order.terms
        time_in_force = terms.time_in_force
        if not order.is_open:
            return
        if terms.expires_ns is not None and bar.ts_ns >= terms.expires_ns:
            self._fills.end(ts_ns, order, EXPIRED, expiry_text(terms), out)
        elif time_in_force == DAY:
            if bar.session == self._last_session and self._ends_session(bar):
                self._end_day_order(ts_ns, order, out)
        elif order.waits_for_parent:
            return
        elif time_in_force in (IOC, FOK):
            has_arrived = bar.open_ns >= order.active_ns + self._settings.latency_ns
            if has_arrived and self._rules.is_open_session(order, bar):
                self._fills.end(ts_ns, order, CANCELED, f"{time_in_force}: remaining quantity not filled", out)
        elif self.meets_close(order, bar):
            self._fills.end(ts_ns, order, EXPIRED, "CLS: no trade at the close", out)

    def _works_at_auction(self, ts_ns: int, order: VenueOrder, bar: Bar, out: list[Record]) -> bool:
        """Whether an on-open order meets its auction in this bar. An on-close order never works before the close."""
        if bar.session == CONTINUOUS:
            text = f"{order.terms.time_in_force}: a continuous market has no auction"
            self._fills.end(ts_ns, order, EXPIRED, text, out)
        elif order.terms.time_in_force == CLS:
            self._note_close(ts_ns, order, bar, out)
        elif bar.session == REGULAR and bar.trading_day > order.auction_after_day:
            if self._session_opens and bar.traded:
                return self._rules.can_trade(order, bar)
            self._fills.end(ts_ns, order, EXPIRED, "OPG: no trade at the open", out)
        return False

    def _note_close(self, ts_ns: int, order: VenueOrder, bar: Bar, out: list[Record]) -> None:
        """Without known session ends, trade at the close of the last regular bar when the next session begins."""
        if bar.session == REGULAR and (order.last_regular_bar is None or bar.trading_day == order.first_day):
            order.first_day = bar.trading_day
            order.last_regular_bar = (bar.close, bar.ts_ns, bar.seq if bar.traded else 0, bar.volume)
        elif order.last_regular_bar is not None:
            close, closed_ns, seq, volume = order.last_regular_bar
            closing_bar = bar._replace(open=close, open_ns=closed_ns, seq=seq, volume=volume)
            price, limit = to_decimal(close), order.terms.limit_price
            if seq and not self._session_end and (limit is None or _is_met(order, limit, price)):
                share = self._settings.max_volume_share
                volume_left = None if share is None else multiply(to_decimal(volume), share)
                self._fills.trade(ts_ns, order, closing_bar, price, True, volume_left, out)
                self._fills.activated.clear()  # its exits start with this bar
                self._fills.end_exits_of_closed(ts_ns, bar.symbol, out)
            if order.is_open:
                self._fills.end(ts_ns, order, EXPIRED, "CLS: remaining quantity not filled at the close", out)

    def _end_day_order(self, ts_ns: int, order: VenueOrder, out: list[Record]) -> None:
        text = f"day order expired after trading day {order.first_day}"
        self._fills.end(ts_ns, order, EXPIRED, text, out)

    def _ends_session(self, bar: Bar) -> bool:
        end_ns = self._end_of(bar)
        return end_ns is not None and bar.ts_ns >= end_ns

    def _end_of(self, bar: Bar) -> int | None:
        """Return the end of the bar's session; None if it is unknown."""
        if self._session_end is None:
            return None
        day, session, end_ns = self._known_end
        if (day, session) != (bar.trading_day, bar.session):
            recorded = self.recorded_hours.get(bar.trading_day)
            if recorded is not None and bar.session in (PRE, REGULAR):
                end_ns = recorded[0] if bar.session == PRE else recorded[1]
            else:
                end_ns = self._session_end(bar.open_ns)
            self._known_end = (bar.trading_day, bar.session, end_ns)
        return end_ns


def _is_met(order: VenueOrder, limit: Decimal, price: Decimal) -> bool:
    return price <= limit if order.buying else price >= limit
