"""Alerts: conditions on the metrics page, open alerts and their notifications. Makes no trading decisions."""
