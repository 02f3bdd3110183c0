"""Whether bars are expected now, by the calendar of the settings."""

from __future__ import annotations

from datetime import UTC, datetime

from configs.settings import Settings


def market_open(settings: Settings, now: datetime) -> bool:
    """Return whether bars are expected. With the calendar XNYS: only during the sessions of the exchange, or from 4:00
    to 20:00 New York time with extended hours. The simulator and other calendars have bars at any time.
    """
    data = settings.market_data
    if data.feed == "simulator" or data.files.calendar != "XNYS":
        return True
    # Imported here, because pandas and the calendars need much memory and are used only when a feed is silent.
    import exchange_calendars

    local = now.astimezone(UTC)
    calendar = exchange_calendars.get_calendar("XNYS")
    day = local.astimezone(calendar.tz).date()
    if not calendar.is_session(day.isoformat()):
        return False
    opens, closes = calendar.session_open(day.isoformat()), calendar.session_close(day.isoformat())
    before_s, after_s = (0, 0) if data.files.session == "regular" else (5.5 * 3600, 4 * 3600)
    return bool(opens.timestamp() - before_s <= local.timestamp() <= closes.timestamp() + after_s)
