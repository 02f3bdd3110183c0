"""The name of a log."""

from __future__ import annotations

LogName = tuple[str, int]
"""A log: its topic, without prefix, and its partition."""
