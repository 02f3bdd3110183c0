"""Whether bars are expected now, by the calendar of the settings."""

from __future__ import annotations

from datetime import UTC, datetime

from configs.settings import Settings


def market_open(settings: Settings, now: datetime) -> bool:
    """Return whether bars are expected. With the calendar XNYS: only during the sessions of the exchange, or from 4:00
    to 20:00 New York time with extended hours. The simulator and other calendars have bars at any time.
    """
    data = settings.market_data
    bars = data.live if data.live_providers() else data.files
    if data.feed == "simulator" or bars.calendar != "XNYS":
        return True
    # Imported here, because pandas and the calendars need much memory and are used only when a feed is silent.
    import exchange_calendars

    local = now.astimezone(UTC)
    calendar = exchange_calendars.get_calendar("XNYS")
    day = local.astimezone(calendar.tz).date()
    if not calendar.is_session(day.isoformat()):
        return False
    opens, closes = calendar.session_open(day.isoformat()), calendar.session_close(day.isoformat())
    before_s, after_s = (0, 0) if bars.session == "regular" else (5.5 * 3600, 4 * 3600)
    return bool(opens.timestamp() - before_s <= local.timestamp() <= closes.timestamp() + after_s)


def slice_interval_s(settings: Settings, now: datetime) -> float:
    """Return the longest time between two time slices of the feed now; 0 if the feed is not live."""
    data = settings.market_data
    if not data.live_providers():
        return 0.0
    return data.live.clock_session_s if market_open(settings, now) else data.live.clock_closed_s
