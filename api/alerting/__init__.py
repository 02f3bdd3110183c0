"""Alerts: conditions over the metrics page, what is open, and who is told. Decides nothing about trading."""
