"""Alert channels: apprise URLs that are stored in secrets. A URL is a secret and is never logged."""

from __future__ import annotations

from collections.abc import Mapping

import apprise
import structlog

from api.alerting.outbox import Message
from configs import logs
from configs.alerts import CRITICAL, INFO, AlertsSection
from configs.secrets import secret
from schemas.errors import BadInput

log = structlog.get_logger(__name__)

_KINDS = {INFO: apprise.NotifyType.INFO, CRITICAL: apprise.NotifyType.FAILURE}


class AlertChannels:
    """Sends messages to the addresses of the channels in the settings."""

    def __init__(self, settings: AlertsSection, environment: Mapping[str, str] | None = None) -> None:
        """Raises BadInput if a line of a secret is not an apprise URL."""
        self._targets: dict[str, apprise.Apprise] = {}
        for channel in settings.channels:
            lines = [line.strip() for line in (secret(channel.secret, environment) or "").splitlines() if line.strip()]
            logs.mask_values(lines)
            target = apprise.Apprise()
            for number, line in enumerate(lines, 1):
                if not target.add(line):
                    raise BadInput(
                        f"secret {channel.secret}: line {number} is not an apprise URL, "
                        "expected for example mailto://… or json://…"
                    )
            self._targets[channel.name] = target

    def address_count(self, channel: str) -> int:
        """Return the number of addresses of a channel; 0 for an unknown channel."""
        return len(self._targets[channel]) if channel in self._targets else 0

    def send(self, message: Message) -> str | None:
        """Send a message to all addresses of its channel. Return the error, or None if all addresses accepted it.

        A channel without addresses only logs the message.
        """
        target = self._targets.get(message.channel)
        if target is None:
            return f"channel {message.channel!r} is no longer in the settings"
        if not len(target):
            log.warning("alert", title=message.title, body=message.body, channel=message.channel, addresses=0)
            return None
        kind = _KINDS.get(message.severity, apprise.NotifyType.WARNING)
        body = f"{message.body}\nid {message.delivery_id}"
        accepted = target.notify(body=body, title=message.title, notify_type=kind)
        log.info("alert sent" if accepted else "alert not sent", title=message.title, channel=message.channel)
        return None if accepted else "an address of the channel rejected the message"
