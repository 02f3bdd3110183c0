"""The token of `/metrics`: METRICS_TOKEN, or a generated one that the processes of one state folder share."""

from __future__ import annotations

from pathlib import Path

from api.tokens import load_or_create_secret
from configs.settings.platform import ApiSection

METRICS_TOKEN_FILE = "metrics-token"  # noqa: S105  (a file's name)


def load_metrics_token(settings: ApiSection, secrets_folder: Path) -> str:
    """Return the configured token, else the one in the file `metrics-token` of the folder.

    Creates the file on first use, readable only by its owner.
    """
    if settings.metrics_token is not None:
        return settings.metrics_token.get_secret_value()
    return load_or_create_secret(secrets_folder, METRICS_TOKEN_FILE)
